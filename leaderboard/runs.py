"""Runs on disk: found, read, and checked to be complete and what their ``run.json`` says."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vlagen.benchmark.records import SCHEMA, BrokenRecords, conditions, fingerprint, read_run
from vlagen.leaderboard.errors import BadRun
from vlagen.leaderboard.lines import GripperPaths, digest, read_columns
from vlagen.tasks.rows import file_name

_EXAMPLES = 3
_SEEDS = 1 << 63  # what a column of whole numbers can hold


@dataclass(frozen=True, eq=False)
class Run:
    """A complete run.

    Attributes:
        path: its folder.
        description: its ``run.json``.
        episodes: see ``lines.read_columns``, in the order of the plan; with a column ``video``, the path of an
            episode's video relative to the folder, or None.
        gripper_paths: of the same episodes.
        digest: SHA-256 of its ``episodes.jsonl``.
        protocol: whose rules were played.
        assets: name of the asset pack.
    """

    path: Path
    description: Mapping[str, Any]
    episodes: pd.DataFrame
    gripper_paths: GripperPaths
    digest: str
    protocol: str
    assets: str

    @property
    def identity(self) -> Mapping[str, Any]:
        """What can move a number."""
        return self.description["identity"]

    @property
    def policy(self) -> Mapping[str, Any]:
        """Which policy played, and how it was called."""
        return self.identity["policy"]

    @property
    def seed(self) -> int:
        """Of the policy's own randomness."""
        return self.identity["seed"]


def find_runs(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Finds the folders of runs: the given ones, and all below those that are none themselves; each once.

    Raises:
        BadRun: there is none at or below one of the paths.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        if path.name == "run.json":
            path = path.parent
        below = [path] if (path / "run.json").is_file() else sorted(file.parent for file in path.rglob("run.json"))
        if not below:
            raise BadRun(f"no run at or below {path}; give the folder that vlagen-eval wrote, which holds a run.json")
        for folder in below:
            found.setdefault(folder.resolve(), folder)
    return tuple(found.values())


def load_runs(
    paths: Iterable[Path], *, allow_errors: bool = False, executor: Executor | None = None
) -> tuple[Run, ...]:
    """Reads runs.

    Args:
        paths: folders of runs, or folders that hold such.
        allow_errors: take runs in which episodes ended in errors; these stay out of every rate.
        executor: reads in other processes.

    Raises:
        BadRun: one of them is damaged or incomplete, or there is none; says what and where.
    """
    folders = find_runs(paths)
    read = functools.partial(load_run, allow_errors=allow_errors)
    return tuple(map(read, folders) if executor is None else executor.map(read, folders))


def load_run(path: Path, allow_errors: bool = False) -> Run:
    """Reads one run, see ``load_runs``."""
    description = read_description(path)
    file = path / "episodes.jsonl"
    try:
        content = file.read_bytes()
    except OSError as error:
        raise BadRun(f"{path} has no readable episodes.jsonl ({error.strerror}); play the run again") from None
    if not content:
        raise BadRun(f"{file} holds no episode; the same vlagen-eval command plays the run")
    found = digest(content)
    if description.get("digest") not in (None, found):
        raise BadRun(f"{file} was changed after the run ended: its digest is {found[:12]}..., not the one in run.json")
    episodes, gripper_paths = read_columns(content, str(file))
    check_episodes(episodes, description, str(path), allow_errors)
    # Of this type explicitly: pandas would make texts of it, and NaN of None.
    episodes["video"] = pd.Series(_videos(path, episodes), dtype=object)
    protocol, assets = episodes["protocol"].iloc[0], episodes["assets"].iloc[0]
    return Run(path, description, episodes.drop(columns="error"), gripper_paths, found, protocol, assets)


def read_description(path: Path) -> dict[str, Any]:
    """Reads the ``run.json`` of a run's folder and checks that it is what was written.

    Raises:
        BadRun: it is not there, of another schema, or was edited.
    """
    try:
        description = read_run(path / "run.json")
    except BrokenRecords as error:
        raise BadRun(str(error)) from None
    check_description(description, str(path / "run.json"))
    return description


def check_description(description: Mapping[str, Any], place: str) -> None:
    """Checks that a run's description is of this schema and hashes to what it says.

    Raises:
        BadRun: it is not.
    """
    schema = description.get("schema")
    if schema != SCHEMA:
        raise BadRun(f"{place} has schema {schema!r}, and this version of vlagen reads {SCHEMA}; play the run with it")
    identity, plan = description["identity"], description["plan"]
    try:
        sound = isinstance(identity["policy"]["name"], str)
        sound &= type(identity["seed"]) is int and abs(identity["seed"]) < _SEEDS
        sound &= all(type(index) is int for indices in plan.values() for index in indices)
    except (KeyError, TypeError, AttributeError):
        sound = False
    if not sound:
        raise BadRun(f"{place} does not say which policy played which episodes with which seed")
    for name, actual in (("fingerprint", fingerprint(identity, plan)), ("conditions", conditions(identity))):
        if description.get(name) != actual:
            raise BadRun(f"{place} was edited: its {name} is {description.get(name)}, and its content gives {actual}")
    if not any(plan.values()):
        raise BadRun(f"{place} plans no episode")


def check_episodes(episodes: pd.DataFrame, description: Mapping[str, Any], place: str, allow_errors: bool) -> None:
    """Checks that a run has exactly the episodes it planned, each once and scored, under one protocol and pack.

    Raises:
        BadRun: says which episodes, or which values, are not as they should be.
    """
    identity, plan = description["identity"], description["plan"]
    for name in ("protocol", "assets"):
        values = list(episodes[name].cat.categories)
        claimed = identity.get(name)
        claimed = claimed.get("name") if isinstance(claimed, Mapping) else claimed
        if len(values) > 1 or claimed not in (None, values[0]):
            raise BadRun(f"{place} mixes {name} {', '.join(map(repr, values))}; run.json says {claimed!r}")
    keys = list(zip(episodes["row"], episodes["index"].tolist(), strict=True))
    planned = [(row, index) for row, indices in plan.items() for index in indices]
    if keys != planned:
        _refuse_episodes(keys, planned, place)
    errors = np.flatnonzero(episodes["outcome"] == "error")
    if len(errors) and not allow_errors:
        shown = _examples([keys[position] for position in errors])
        last_line = (str(episodes["error"].iloc[errors[0]]).strip().splitlines() or ["no message"])[-1]
        raise BadRun(
            f"{place} is incomplete: {len(errors)} of {len(keys)} episodes ended in errors, {shown} (the first: "
            f"{last_line}); the same vlagen-eval command with --retry-errors plays them again"
        )


def _refuse_episodes(keys: Sequence[tuple[str, int]], planned: Sequence[tuple[str, int]], place: str) -> None:
    known, wanted = set(keys), set(planned)
    if len(wanted) < len(planned):
        raise BadRun(f"{place}: the plan in run.json names episodes twice; it was edited")
    if len(known) < len(keys):
        seen: set[tuple[str, int]] = set()
        twice = [key for key in keys if key in seen or seen.add(key)]
        raise BadRun(f"{place} holds {len(twice)} episodes more than once, {_examples(twice)}")
    surplus = sorted(known - wanted)
    if surplus:
        raise BadRun(f"{place} holds {len(surplus)} episodes that its plan does not have, {_examples(surplus)}")
    missing = [key for key in planned if key not in known]
    if missing:
        raise BadRun(
            f"{place} is incomplete: {len(missing)} of {len(planned)} episodes are missing, {_examples(missing)}; the "
            "same vlagen-eval command plays them"
        )
    raise BadRun(f"{place}: its episodes are not in the order of its plan; the same vlagen-eval command completes it")


def _examples(keys: Sequence[tuple[str, int]]) -> str:
    shown = ", ".join(f"{row} {index}" for row, index in keys[:_EXAMPLES])
    return f"e.g. {shown}, ..." if len(keys) > _EXAMPLES else f"namely {shown}"


def _videos(path: Path, episodes: pd.DataFrame) -> np.ndarray:
    """Where the video of each episode lies, as ``benchmark.video.video_path`` names it; None where there is none."""
    videos = np.full(len(episodes), None, dtype=object)
    folder = path / "videos"
    if not folder.is_dir():
        return videos
    there = {f"{file.parent.name}/{file.name}" for file in folder.glob("*/*.mp4")}
    named = zip(episodes["row"], episodes["index"], episodes["outcome"], strict=True)
    for position, (row, index, outcome) in enumerate(named):
        name = f"{file_name(row)}/{index}_{outcome}.mp4"
        if name in there:
            videos[position] = f"videos/{name}"
    return videos
