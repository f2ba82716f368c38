"""Whether a submission is what was submitted: every hash, every rule of a run, and every number from its records."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vlagen.leaderboard.compact import unpack
from vlagen.leaderboard.entry import FORMAT, SCHEMA, Card, hash_of, parts, results
from vlagen.leaderboard.errors import BadEntry, BadRun, NotOneTable
from vlagen.leaderboard.frames import build_frames
from vlagen.leaderboard.lines import GripperPaths
from vlagen.leaderboard.naming import Entry, check_names, entry_of
from vlagen.leaderboard.runs import Run, check_description, check_episodes
from vlagen.leaderboard.tracks import Track, check_same_episodes
from vlagen.tasks.rows import find_row
from vlagen.tasks.sampling import episode_indices
from vlagen.tasks.variants import PROTOCOLS, UnknownVariant

_TEXTS = ("name", "policy", "method", "protocol", "assets", "conditions", "digest")
_FIELDS = {"format", "schema", "card", "runs", "results", "digests", *_TEXTS}
_RUN_FIELDS = {"schema", "fingerprint", "conditions", "identity", "plan", "sessions", "digest", "records"}
# Of an interval's width: bounds come from random draws, which another version of numpy may draw otherwise.
_NOISE = 0.05


def read_entry(path: Path) -> dict[str, Any]:
    """Reads the file of a submission, unchecked.

    Raises:
        BadEntry: it is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadEntry(f"{path} is no submission ({error}); vlagen-leaderboard submit makes one") from None


def verify(content: Mapping[str, Any], place: str) -> Entry:
    """Checks a submission from its form to its numbers.

    Args:
        content: the JSON value.
        place: its name, for messages.

    Returns:
        The entry, whose runs may stand in a table.

    Raises:
        BadEntry: says which part was edited or is wrong, and what its records give instead.
    """
    _check_form(content, place)
    # Of the results, the recomputation says more.
    _check_hashes(content, place, but="results.")
    runs = tuple(_run(run, number, content, place) for number, run in enumerate(content["runs"]))
    try:
        check_names([content["name"]])
        entry = entry_of(content["name"], content["policy"], content["method"], runs)
        track = Track(content["protocol"], content["assets"], content["conditions"], (entry,))
        check_same_episodes(track)
        found = results(build_frames(track))
    except NotOneTable as error:
        raise BadEntry(f"{place}: {error}") from None
    _check_numbers(content["results"], found, place)
    _check_hashes(content, place)
    return entry


def _check_form(content: Mapping[str, Any], place: str) -> None:
    if not isinstance(content, Mapping) or content.get("format") != FORMAT:
        raise BadEntry(f"{place} is no submission: its format is not {FORMAT!r}")
    if content.get("schema") != SCHEMA:
        raise BadEntry(f"{place} has schema {content.get('schema')!r}, and this version of vlagen reads {SCHEMA}")
    if set(content) != _FIELDS:
        raise BadEntry(f"{place} lacks fields or has others: {', '.join(sorted(set(content) ^ _FIELDS))}")
    for name in _TEXTS:
        if not isinstance(content[name], str):
            raise BadEntry(f"{place}: {name} is no text")
    if not _is_sound(content):
        raise BadEntry(f"{place}: card, runs, results or digests are not as vlagen-leaderboard submit writes them")
    for number, run in enumerate(content["runs"]):
        if set(run) != _RUN_FIELDS or not isinstance(run["records"], Mapping):
            raise BadEntry(f"{place}: runs.{number} lacks fields or has others than {', '.join(sorted(_RUN_FIELDS))}")
    try:
        Card(**content["card"]).check()
    except (TypeError, BadEntry) as error:
        raise BadEntry(f"{place}: {error}") from None


def _is_sound(content: Mapping[str, Any]) -> bool:
    """Whether everything that has parts with names has them."""
    runs, groups = content["runs"], content["results"]
    objects = [content["card"], content["digests"], groups, *(runs if isinstance(runs, list) and runs else [None])]
    if not all(isinstance(value, Mapping) for value in objects) or set(groups) != {"rows", "axes"}:
        return False
    if not all(isinstance(group, Mapping) for group in groups.values()):
        return False
    return all(isinstance(numbers, Mapping) for group in groups.values() for numbers in group.values())


def _check_hashes(content: Mapping[str, Any], place: str, but: str | None = None) -> None:
    found = {name: hash_of(part) for name, part in parts(content).items()}
    stored = content["digests"]
    edited = [name for name in found if found[name] != stored.get(name) and not (but and name.startswith(but))]
    gone = [name for name in stored if name not in found]
    if edited or gone:
        raise BadEntry(f"{place} was edited: {', '.join((edited + gone)[:5])}; submit the run again instead")
    if content["digest"] != hash_of(stored):
        raise BadEntry(f"{place} was edited: digests; submit the run again instead")


def _run(run: Mapping[str, Any], number: int, content: Mapping[str, Any], place: str) -> Run:
    here = f"{place}, runs.{number}"
    protocol, assets = content["protocol"], content["assets"]
    description = {name: run[name] for name in ("schema", "fingerprint", "conditions", "identity", "plan", "sessions")}
    try:
        check_description(description, here)
        episodes = unpack(run["records"], run["plan"], protocol, assets, here)
        check_episodes(episodes, description, here, allow_errors=False)
    except (BadRun, KeyError, TypeError, AttributeError) as error:
        raise BadEntry(f"{error}" if isinstance(error, BadRun) else f"{here} does not describe a run") from None
    if description["conditions"] != content["conditions"]:
        raise BadEntry(f"{here} was played under other conditions than the entry says")
    _check_plan(run["plan"], protocol, here)
    episodes["video"] = pd.Series([None] * len(episodes), dtype=object)
    paths = GripperPaths(np.zeros((0, 3), dtype=np.int16), np.zeros(len(episodes), dtype=np.int64))
    return Run(
        Path(f"{place}#{number}"), description, episodes.drop(columns="error"), paths, run["digest"], protocol, assets
    )


def _check_plan(plan: Mapping[str, list[int]], protocol: str, place: str) -> None:
    """Checks that the episodes are the first of each row's fixed list: nobody can choose the easy ones."""
    if protocol not in PROTOCOLS:
        return
    for row, indices in plan.items():
        try:
            official = episode_indices(find_row(row, protocol), len(indices))
        except (UnknownVariant, ValueError) as error:
            raise BadEntry(f"{place}: {error}") from None
        if tuple(indices) != official:
            raise BadEntry(f"{place}: its episodes of row {row} are not the first {len(indices)} of that row's list")


def _check_numbers(stored: Mapping[str, Any], found: Mapping[str, Any], place: str) -> None:
    for kind, group in found.items():
        strange = set(stored[kind]) ^ set(group)
        if strange:
            raise BadEntry(f"{place}: results.{kind} has {min(strange)} and its records do not, or the reverse")
        for key, numbers in group.items():
            theirs = stored[kind][key]
            for name, value in numbers.items():
                if not _agree(name, theirs.get(name), value, numbers):
                    raise BadEntry(
                        f"{place} was edited: results.{kind}.{key}.{name} is {theirs.get(name)!r}, and its records "
                        f"give {value!r}; submit the run again instead"
                    )
            if set(theirs) != set(numbers):
                raise BadEntry(f"{place} was edited: results.{kind}.{key} has {', '.join(set(theirs) ^ set(numbers))}")


def _agree(name: str, stored: Any, found: Any, numbers: Mapping[str, Any]) -> bool:
    if type(stored) is bool or stored is None or found is None or not name.endswith(("_low", "_high")):
        return type(stored) is type(found) and stored == found
    prefix = name.rsplit("_", 1)[0]
    width = numbers[f"{prefix}_high"] - numbers[f"{prefix}_low"]
    return type(stored) is float and abs(stored - found) <= _NOISE * width
