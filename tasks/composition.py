"""Rows that change several things at once: what their parts change from training, merged.

Two parts are refused that set the same field differently, and three kinds whose fields could be merged, but not their
meaning: both put something at the third place of a layout, the distractors' pool of one lacks the targets of the other,
or one adds nothing to the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from itertools import combinations, permutations
from typing import Any

from .variants import UnknownVariant, Variant, variant

_NAMES = ("id", "title", "protocol")
_TARGETS = {"object": "objects", "receptacle": "receptacles"}


def changes(row: Variant) -> dict[str, Any]:
    """What a row of the table has otherwise than ``train``: field of ``Variant`` -> the row's value."""
    training = variant("train", row.protocol)
    names = [field.name for field in fields(Variant) if field.name not in _NAMES]
    return {name: getattr(row, name) for name in names if getattr(row, name) != getattr(training, name)}


def merge(rows: Sequence[Variant]) -> dict[str, Any]:
    """The changes of several rows of the table together.

    Raises:
        UnknownVariant: two of them do not go together; the message names both, the field, and an id that would do.
    """
    for first, second in combinations(rows, 2):
        reason = _why_not(first, second)
        if reason is not None:
            dropped = second if changes(second).items() <= changes(first).items() else first
            rest = "+".join(row.id for row in rows if row is not dropped)
            raise UnknownVariant(f"{first.id} and {second.id} cannot be composed: {reason}; try {rest!r}")
    return {name: value for row in rows for name, value in changes(row).items()}


def _why_not(first: Variant, second: Variant) -> str | None:
    """The reason why two rows do not go together, or None."""
    for one, other in permutations((first, second)):
        if changes(one).items() <= changes(other).items():
            return f"{one.id} changes nothing that {other.id} does not ({', '.join(changes(one))})"
    for name in changes(first).keys() & changes(second).keys():
        if getattr(first, name) != getattr(second, name):
            return f"both change {name!r}, in different ways"
    for one, other in permutations((first, second)):
        if one.distractor is None:
            continue
        if other.reposition_at_step is not None:
            return "both need the third place on the table ('distractor' and 'reposition_at_step')"
        targets = _TARGETS[one.distractor.kind]
        if targets in changes(other) and not set(getattr(other, targets)) <= set(one.distractor.pool):
            return f"{other.id} takes its {targets!r} from outside the pool of {one.id}'s 'distractor'"
    return None
