"""What the page shows, as values of JSON: numbers as they stand in the frames, and episodes as one character each.

200 entries of 3072 episodes are 0.6 MB this way. ``script/data.js`` is the other side of it.
"""

from __future__ import annotations

import math
import os
import string
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd

from vlagen.benchmark.statistics import HELD_OUT_AXES, UNKNOWN_FAILURE, is_derived
from vlagen.benchmark.taxonomy import DESCRIPTIONS
from vlagen.leaderboard.frames import AXIS_NUMBERS, MEASURED, PUBLISHED, ROW_NUMBERS, Frames
from vlagen.leaderboard.summaries import HELD_OUT
from vlagen.tasks.variants import AXES, ROW_IDS

# Characters that mean nothing to JSON or HTML.
_ALPHABET = string.digits + string.ascii_letters + "-_~!*'().,:;@$+[]{}|^`?/%="

_FACTS = ("scope", "value", "success", "episodes", "temperature", "source", "citation", "evidence")


def payload(frames: Frames, folder: Path, tied: Mapping[str, frozenset[str]] | None = None) -> dict[str, Any]:
    """Puts a table's data together.

    Args:
        frames: see there.
        folder: that the page will be in; videos are named relative to it.
        tied: for each row id, axis and ``held-out`` the entries to set in bold.

    Returns:
        Values of JSON; None stands for what is undefined.
    """
    rows, axes = frames.rows, frames.axes
    ids = _ordered(rows["row"], ROW_IDS)
    axis_of = dict(zip(rows["row"], rows["axis"], strict=True))
    names = list(dict.fromkeys([*rows["entry"], *axes["entry"], *frames.published["entry"]]))
    axis_names = _ordered(axes["axis"], AXES, last=HELD_OUT)
    row_numbers = _numbers(rows, "row", ROW_NUMBERS)
    axis_numbers = _numbers(axes, "axis", AXIS_NUMBERS)
    episodes = Episodes(frames, folder)
    about = {line["entry"]: line for line in rows.drop_duplicates("entry").to_dict("records")}
    for line in frames.published.drop_duplicates("entry").to_dict("records"):
        named = {"policy": line["model"], "method": line["method"], "protocol": PUBLISHED, "assets": PUBLISHED}
        about.setdefault(line["entry"], named)
    measured = set(rows.loc[rows["kind"] == MEASURED, "entry"])
    return {
        "protocol": frames.protocol,
        "assets": frames.assets,
        "conditions": frames.conditions,
        "rows": [{"id": row, "axis": axis_of[row], "derived": is_derived(row)} for row in ids],
        "axes": axis_names,
        "heldOut": list(HELD_OUT_AXES),
        "failures": _categories(frames.episodes["failure"]),
        "codes": episodes.codes,
        "lists": episodes.lists,
        "instructions": episodes.instructions,
        "entries": [
            {
                "name": name,
                "kind": MEASURED if name in measured else PUBLISHED,
                **{key: _plain(about[name].get(key)) for key in ("policy", "method", "protocol", "assets", "seeds")},
                "rows": [row_numbers.get((name, row)) for row in ids],
                "axes": [axis_numbers.get((name, axis)) for axis in axis_names],
                "episodes": {str(ids.index(row)): found for row, found in episodes.of(name).items()},
                "runs": _records(frames.runs, name, ("run", "seed", "fingerprint", "digest", "episodes")),
                "facts": _records(frames.published, name, _FACTS),
            }
            for name in names
        ],
        "tied": {column: [names.index(name) for name in names if name in tied[column]] for column in tied or {}},
    }


class Episodes:
    """The episodes of a table in a compact form.

    Attributes:
        codes: what each character means: outcome, failure category or None, success at some step or None.
        lists: episode indices and places of their instructions in ``instructions``; entries that have played the same
            episodes of a row share one.
        instructions: all texts.
    """

    def __init__(self, frames: Frames, folder: Path) -> None:
        episodes = frames.episodes
        self.codes, characters = _encode(episodes)
        self.lists: list[dict[str, list[int]]] = []
        self._list_numbers: dict[tuple[str, bytes], int] = {}
        instruction = episodes["instruction"].astype("category")
        self.instructions = [str(text) for text in instruction.cat.categories]
        self._found: dict[str, dict[str, list[dict[str, Any]]]] = {}
        columns = {
            "characters": characters,
            "index": episodes["index"].to_numpy(dtype=np.int64),
            "instruction": instruction.cat.codes.to_numpy().astype(int),
            "steps": episodes["steps"].to_numpy(dtype=float),
            "video": episodes["video"].to_numpy(dtype=object),
            "outcome": episodes["outcome"].to_numpy(dtype=object),
        }
        keys = [episodes[name].astype("category") for name in ("entry", "row", "seed", "run")]
        order = np.lexsort((columns["index"], *(key.cat.codes for key in reversed(keys))))
        columns = {name: values[order] for name, values in columns.items()}
        codes = np.array([key.cat.codes.to_numpy()[order] for key in keys])
        starts = np.flatnonzero(np.diff(codes, axis=1, prepend=-1).any(axis=0)) if len(order) else []
        paths = dict(zip(frames.runs["run"], frames.runs["path"], strict=True)) if len(frames.runs) else {}
        # Seeds with one number are of one policy; without any, each is its own.
        trainings = dict(zip(frames.runs["run"], frames.runs["training"], strict=True)) if len(frames.runs) else {}
        for start, end in zip(starts, [*starts[1:], len(order)], strict=True):
            entry, row, seed, run = (key.cat.categories[code] for key, code in zip(keys, codes[:, start], strict=True))
            base = _relative(Path(paths.get(run, run)), folder)
            found = self._pack({name: values[start:end] for name, values in columns.items()}, row, base)
            self._found.setdefault(entry, {}).setdefault(row, []).append(
                {"seed": _plain(seed), "training": _plain(trainings.get(run, run)), **found}
            )

    def of(self, entry: str) -> dict[str, list[dict[str, Any]]]:
        """Returns an entry's episodes: one item a seed for each row."""
        return self._found.get(entry, {})

    def _pack(self, columns: Mapping[str, np.ndarray], row: str, base: str) -> dict[str, Any]:
        steps = [_plain(value) for value in columns["steps"]]
        known = {value for value in steps if value is not None}
        return {
            "list": self._list(row, columns["index"], columns["instruction"]),
            "outcomes": "".join(columns["characters"]),
            # Nearly always the horizon; an error has no number of steps.
            "steps": known.pop() if len(known) == 1 else steps if known else None,
            **_videos(columns, base),
        }

    def _list(self, row: str, indices: np.ndarray, instructions: np.ndarray) -> int:
        key = row, indices.tobytes()
        if key not in self._list_numbers:
            self._list_numbers[key] = len(self.lists)
            self.lists.append({"indices": indices.tolist(), "instructions": instructions.tolist()})
        return self._list_numbers[key]


def _encode(episodes: pd.DataFrame) -> tuple[dict[str, list[Any]], np.ndarray]:
    """Gives each combination of outcome, failure and success at some step a character; (E,) of them."""
    keys = pd.DataFrame({name: episodes[name].astype(object) for name in ("outcome", "failure", "success_once")})
    unknown = (keys["outcome"] == "failure") & keys["failure"].isna()
    keys.loc[unknown, "failure"] = UNKNOWN_FAILURE
    places = [pd.factorize(keys[name], use_na_sentinel=True) for name in keys]
    combined = np.zeros(len(keys), dtype=np.int64)
    for codes, values in places:
        combined = combined * (len(values) + 1) + codes + 1
    numbers, examples, places_of = np.unique(combined, return_index=True, return_inverse=True)
    if len(numbers) > len(_ALPHABET):
        raise ValueError(f"{len(numbers)} kinds of episodes; the page has characters for {len(_ALPHABET)}")
    meanings = keys.iloc[examples].to_numpy(dtype=object).tolist()
    legend = dict(zip(_ALPHABET, ([_plain(value) for value in meaning] for meaning in meanings), strict=False))
    return legend, np.array(list(_ALPHABET))[places_of]


def _videos(columns: Mapping[str, np.ndarray], base: str) -> dict[str, Any]:
    """Names a group's videos by a pattern of index and outcome where they follow one, else one by one."""
    there = [place for place, video in enumerate(columns["video"]) if isinstance(video, str)]
    if not there:
        return {}
    urls = {place: base + quote(str(columns["video"][place])) for place in there}
    first = there[0]
    folder, _, name = urls[first].rpartition("/")
    name = name.replace(str(columns["index"][first]), "{index}", 1).replace(columns["outcome"][first], "{outcome}", 1)
    pattern = f"{folder}/{name}"
    if all(_fill(pattern, columns, place) == url for place, url in urls.items()):
        return {"video": pattern, "videos": there if len(there) < len(columns["video"]) else None}
    return {"videos": {str(place): url for place, url in urls.items()}}


def _fill(pattern: str, columns: Mapping[str, np.ndarray], place: int) -> str:
    index, outcome = str(columns["index"][place]), columns["outcome"][place]
    return pattern.replace("{index}", index).replace("{outcome}", outcome)


def _relative(run: Path, folder: Path) -> str:
    """Writes the address of a run's folder as seen from the page's: relative, so that it is never of another scheme."""
    return "./" + quote(Path(os.path.relpath(run.resolve(), folder.resolve())).as_posix()) + "/"


def _categories(failures: pd.Series) -> dict[str, str]:
    """Describes the taxonomy's categories, those that records have beyond them, and the absence of one."""
    foreign = [category for category in failures.dropna().unique() if category not in DESCRIPTIONS]
    described = {**DESCRIPTIONS, **dict.fromkeys(foreign, ""), UNKNOWN_FAILURE: "the record does not say how it failed"}
    return {str(category): text for category, text in described.items()}


def _ordered(names: pd.Series, first: Sequence[str], last: str | None = None) -> list[str]:
    """Puts names into the study's order, foreign ones behind: published entries may have rows that no run has."""
    present = list(dict.fromkeys(names))
    foreign = [name for name in present if name not in first and name != last]
    return [name for name in (*first, *foreign, last) if name in present]


def _numbers(frame: pd.DataFrame, name: str, columns: Sequence[str]) -> dict[tuple[str, str], list[Any]]:
    values = [[_plain(value) for value in frame[column]] for column in columns]
    lines = map(list, zip(*values, strict=True))
    return dict(zip(zip(frame["entry"], frame[name], strict=True), lines, strict=True))


def _records(frame: pd.DataFrame, entry: str, columns: Sequence[str]) -> list[dict[str, Any]]:
    if not len(frame):
        return []
    own = frame.loc[frame["entry"] == entry, [column for column in columns if column in frame]]
    return [{key: _plain(value) for key, value in line.items()} for line in own.to_dict("records")]


def _plain(value: Any) -> Any:
    """Turns a number of NumPy into one of Python, rounded to what can matter, and NaN into None."""
    if value is None or value is pd.NA:
        return None
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return int(value) if value.is_integer() else round(value, 6)
    return value
