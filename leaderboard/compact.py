"""The records of a run in little space: what numbers are computed from, and what shows that episodes went alike.

A row's episodes are columns in the order of the plan, which has the indices: answers as texts of one character an
episode (``1``, ``0``, ``-`` for unknown), the rest as lists. Instructions, gripper paths and timing stay with the run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from vlagen.leaderboard.errors import BadEntry, BadRun
from vlagen.leaderboard.lines import episode_columns

ANSWERS = ("success_at_end", "success_once", "grasped")
VALUES = ("first_success_step", "steps", "failure", "episode_return", "closest_approach", "trajectory")
_CHARACTERS = {True: "1", False: "0", None: "-"}
_MEANINGS = {character: answer for answer, character in _CHARACTERS.items()}

Records = Mapping[str, Mapping[str, Any]]
"""Columns by row id and field."""


def pack(records: Sequence[Mapping[str, Any]], plan: Mapping[str, Sequence[int]]) -> dict[str, dict[str, Any]]:
    """Packs the records of a complete run, none of which is an error.

    Args:
        records: as JSON objects.
        plan: the run's.
    """
    by_key = {(record["row"], record["index"]): record for record in records}
    packed = {}
    for row, indices in plan.items():
        own = [by_key[row, index] for index in indices]
        packed[row] = {
            **{name: "".join(_CHARACTERS[record.get(name)] for record in own) for name in ANSWERS},
            **{name: [record.get(name) for record in own] for name in VALUES},
        }
    return packed


def unpack(packed: Records, plan: Mapping[str, Sequence[int]], protocol: str, assets: str, place: str) -> pd.DataFrame:
    """Reads packed records as ``lines.read_columns`` reads those on disk.

    Raises:
        BadEntry: they do not belong to the plan, or are no records.
    """
    if not isinstance(packed, Mapping) or list(packed) != list(plan):
        raise BadEntry(f"{place}: its records are not of the rows of its plan")
    columns: dict[str, list] = {name: [] for name in ("row", "index", *ANSWERS, *VALUES)}
    for row, indices in plan.items():
        own = packed[row]
        if not isinstance(own, Mapping) or set(own) != {*ANSWERS, *VALUES}:
            raise BadEntry(f"{place}, row {row}: its records have other fields than {', '.join((*ANSWERS, *VALUES))}")
        for name in (*ANSWERS, *VALUES):
            kind = str if name in ANSWERS else list
            if type(own[name]) is not kind or len(own[name]) != len(indices):
                raise BadEntry(f"{place}, row {row}: {name} is not of {len(indices)} episodes, as many as were planned")
        for name in ANSWERS:
            if not set(own[name]) <= _MEANINGS.keys():
                raise BadEntry(f"{place}, row {row}: {name} has other signs than {', '.join(_MEANINGS)}")
            columns[name] += [_MEANINGS[character] for character in own[name]]
        for name in VALUES:
            columns[name] += own[name]
        columns["row"] += [row] * len(indices)
        columns["index"] += indices
    count = len(columns["row"])
    outcomes = ["success" if answer else "failure" for answer in columns["success_at_end"]]
    columns |= {"outcome": outcomes, "protocol": [protocol] * count, "assets": [assets] * count, "seed": [0] * count}
    try:
        return episode_columns(columns, place)
    except BadRun as error:
        raise BadEntry(str(error)) from None
