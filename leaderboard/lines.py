"""The lines of an ``episodes.jsonl`` as columns, checked: what is read here can be counted without further doubt.

A line is taken apart by ``json`` and nothing else looks at it in Python; all checks go over whole columns.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any

import numpy as np
import pandas as pd

from vlagen.assets.errors import unknown
from vlagen.benchmark.records import EpisodeRecord
from vlagen.benchmark.taxonomy import FAILURES
from vlagen.leaderboard.errors import BadRun

OUTCOMES = ("success", "failure", "error")

_FIELDS = {field.name for field in fields(EpisodeRecord)}
_REQUIRED = {
    field.name for field in fields(EpisodeRecord) if field.default is MISSING and field.default_factory is MISSING
}
_NUMBER = (int, float)
_PATH = re.compile(rb'"gripper_path": (null|\[[-0-9, ]*\])')
# What JSON may hold in each field that is looked at; None stands for an absent value.
_TYPES: Mapping[str, tuple[type, ...]] = {
    "protocol": (str,),
    "row": (str,),
    "index": (int,),
    "assets": (str,),
    "seed": (int,),
    "instruction": (str, type(None)),
    "outcome": (str,),
    "success_at_end": (bool, type(None)),
    "success_once": (bool, type(None)),
    "first_success_step": (int, type(None)),
    "grasped": (bool, type(None)),
    "consecutive_grasp": (bool, type(None)),
    "episode_return": (*_NUMBER, type(None)),
    "steps": (int, type(None)),
    "trajectory": (str, type(None)),
    "failure": (str, type(None)),
    "closest_approach": (*_NUMBER, type(None)),
    "gripper_path": (list, type(None)),
    "cut_steps": (int, type(None)),
    "error": (str, type(None)),
}
_TEXTS = ("protocol", "row", "assets", "instruction", "failure")
_ANSWERS = ("success_at_end", "success_once", "grasped")
_NUMBERS = ("first_success_step", "episode_return", "steps", "closest_approach")


@dataclass(frozen=True, eq=False)
class GripperPaths:
    """Where the gripper went in E episodes, strung together.

    Attributes:
        points: (P, 3) int16, x, y, z [mm] in the robot's base frame.
        ends: (E,) where each episode's points end in ``points``; an episode without any has none.
    """

    points: np.ndarray
    ends: np.ndarray

    def split(self) -> np.ndarray:
        """Returns (E,) objects: each episode's (T, 3) points, or None where it has none."""
        paths = np.full(len(self.ends), None, dtype=object)
        start = 0
        for position, end in enumerate(self.ends.tolist()):
            if end > start:
                paths[position] = self.points[start:end]
            start = end
        return paths


def read_columns(content: bytes, place: str) -> tuple[pd.DataFrame, GripperPaths]:
    """Reads the lines of a record file.

    Args:
        content: of the file.
        place: its name, for messages.

    Returns:
        One row an episode, in the order of the file, with those fields of ``EpisodeRecord`` that a leaderboard shows:
        texts are categorical, answers and numbers float (1, 0, NaN for unknown), ``error`` is a text or None. And the
        gripper's paths.

    Raises:
        BadRun: a line is cut off, is no record, or contradicts itself; the message names it.
    """
    if content and not content.endswith(b"\n"):
        raise BadRun(
            f"{place} breaks off in line {content.count(10) + 1}: the run was interrupted while it wrote; the same "
            "vlagen-eval command plays what is missing"
        )
    paths = _cut_paths(content, place)
    lines = _PATH.sub(b'"gripper_path": null', content) if paths is not None else content
    records = [_parse(line, number, place) for number, line in enumerate(lines.split(b"\n")[:-1], start=1)]
    strange = set().union(*records) - _FIELDS
    if strange:
        _refuse(records, lambda record: not record.keys() <= _FIELDS, f"unknown field {min(strange)!r}", place)
    if not all(record.keys() >= _REQUIRED for record in records):
        _refuse(records, lambda record: not record.keys() >= _REQUIRED, "a field is missing", place)
    columns = {name: [record.get(name) for record in records] for name in _FIELDS}
    if paths is None:
        paths = _gripper_paths(columns["gripper_path"], place)
    return episode_columns(columns, place), paths


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number that a record can hold")


_decode = json.JSONDecoder(parse_constant=_no_number).decode


def digest(content: bytes) -> str:
    """Hashes a record file."""
    return hashlib.sha256(content).hexdigest()


def _parse(line: bytes, number: int, place: str) -> dict[str, Any]:
    try:
        record = _decode(line.decode())
    except ValueError as error:
        raise BadRun(f"{place}, line {number} is damaged ({error}); play that episode again") from None
    if type(record) is not dict:
        raise BadRun(f"{place}, line {number} is no episode record but {line[:40]!r}")
    return record


def _refuse(records: Sequence[Mapping[str, Any]], is_bad, what: str, place: str) -> None:
    number = next(number for number, record in enumerate(records, start=1) if is_bad(record))
    raise BadRun(f"{place}, line {number} is no episode record of this version of vlagen: {what}")


def episode_columns(columns: Mapping[str, Sequence[Any]], place: str) -> pd.DataFrame:
    """Checks values and puts them into the frame that ``read_columns`` returns.

    Args:
        columns: values by field, as JSON holds them, one for each episode; fields may be absent.
        place: for messages.

    Raises:
        BadRun: a value is of another type, or an episode contradicts itself.
    """
    count = len(columns["index"])
    columns = {name: columns.get(name, [None] * count) for name in _FIELDS - {"timing"}}
    for name, values in columns.items():
        if not set(map(type, values)) <= set(_TYPES[name]):
            line = next(line for line, value in enumerate(values, start=1) if type(value) not in _TYPES[name])
            raise BadRun(f"{place}, line {line}: {name} is {values[line - 1]!r}, which no episode record can hold")
    for line, outcome in enumerate(columns["outcome"], start=1):
        if outcome not in OUTCOMES:
            raise BadRun(f"{place}, line {line}: {unknown('outcome', outcome, OUTCOMES)}")
    try:
        frame = pd.DataFrame({"index": np.array(columns["index"], dtype=np.int64)})
        for name in (*_ANSWERS, *_NUMBERS):
            frame[name] = np.array(columns[name], dtype=np.float64 if name == "episode_return" else np.float32)
    except OverflowError:
        raise BadRun(f"{place} holds a number that is too large for any episode record") from None
    for name in _TEXTS:
        frame[name] = pd.Categorical(columns[name])
    frame["outcome"] = pd.Categorical(columns["outcome"], categories=OUTCOMES)
    frame["error"] = pd.Series(columns["error"], dtype=object)
    _check_consistency(frame, columns, place)
    return frame


def _cut_paths(content: bytes, place: str) -> GripperPaths | None:
    """Reads the gripper's paths without ``json``, which would spend half of its time on them.

    Within a text of JSON a quote follows a backslash, so the pattern only fits the field itself. None where not every
    line has it in the form in which it is written.
    """
    found = _PATH.findall(content)
    if len(found) != content.count(b"\n"):
        return None
    lengths = np.array([text.count(b",") + 1 if len(text) > 2 else 0 for text in found], dtype=np.int64)
    lengths[[text == b"null" for text in found]] = 0
    text = b",".join(text[1:-1] for text, length in zip(found, lengths, strict=True) if length).decode()
    try:
        numbers = np.fromstring(text, dtype=np.int64, sep=",")
    except ValueError:
        return None
    return _strung(numbers, lengths, place)


def _gripper_paths(values: Sequence[Sequence[int] | None], place: str) -> GripperPaths:
    lengths = np.array([len(value or ()) for value in values], dtype=np.int64)
    numbers = list(itertools.chain.from_iterable(filter(None, values)))
    if not set(map(type, numbers)) <= {int}:
        raise BadRun(f"{place}: a gripper_path is no sequence of whole millimetres")
    return _strung(np.array(numbers, dtype=np.int64), lengths, place)


def _strung(numbers: np.ndarray, lengths: np.ndarray, place: str) -> GripperPaths:
    bad = np.flatnonzero(lengths % 3)
    if len(bad):
        raise BadRun(f"{place}, line {bad[0] + 1}: gripper_path is no sequence of x, y, z")
    limits = np.iinfo(np.int16)
    if len(numbers) != lengths.sum() or (
        len(numbers) and not limits.min <= numbers.min() <= numbers.max() <= limits.max
    ):
        raise BadRun(f"{place}: a gripper_path is no sequence of whole millimetres within {limits.max / 1000:.0f} m")
    return GripperPaths(numbers.astype(np.int16).reshape(-1, 3), np.cumsum(lengths) // 3)


def _check_consistency(frame: pd.DataFrame, columns: Mapping[str, list], place: str) -> None:
    """Checks that the fields of each line agree with one another: an edit of one of them shows."""
    outcome, at_end, once = (frame[name] for name in ("outcome", "success_at_end", "success_once"))
    failed, first, error = outcome == "error", frame["first_success_step"], frame["error"].notna()
    played = ~failed
    rules: Iterable[tuple[str, pd.Series]] = (
        ("outcome and success_at_end disagree", played & (at_end != (outcome == "success"))),
        ("it has the outcome error and a result", failed & at_end.notna()),
        ("outcome and error disagree", failed != error),
        ("it succeeded at the end and not once", played & (at_end == 1) & (once == 0)),
        ("success_once and first_success_step disagree", played & once.notna() & (first.notna() != (once == 1))),
        ("it succeeded after its last step", first > frame["steps"]),
        ("its failure is none of the taxonomy", frame["failure"].notna() & ~frame["failure"].isin(FAILURES)),
        ("it succeeded and has a failure", frame["failure"].notna() & (outcome != "failure")),
        ("its index is negative", frame["index"] < 0),
        ("episode_return is not finite", np.isinf(frame["episode_return"])),
    )
    for what, bad in rules:
        if bad.any():
            line = int(np.argmax(bad.to_numpy()))
            raise BadRun(
                f"{place}, line {line + 1} ({columns['row'][line]} {columns['index'][line]}) contradicts itself: "
                f"{what}; records are not to be edited"
            )
