"""From outcomes to the numbers of one entry: its rows, its axes, the held-out mean and the drops.

One seed goes through ``benchmark.statistics``, so that its numbers are those that ``vlagen-eval`` prints; for several
seeds ``crossed`` gives the intervals.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vlagen.benchmark.statistics import (
    HELD_OUT_AXES,
    UNDEFINED,
    Interval,
    RowSummary,
    axis_weights,
    is_derived,
    summarize_axes,
    summarize_held_out,
    wilson_interval,
)
from vlagen.leaderboard.crossed import CrossedMean, crossed_drop_interval, crossed_interval, crossed_mean
from vlagen.tasks.rows import row_axis
from vlagen.tasks.variants import AXES, ROW_IDS

HELD_OUT = "held-out"
"""What the aggregate over the held-out axes is called where axes are listed."""


@dataclass(frozen=True, eq=False)
class RowOutcomes:
    """How an entry's S seeds went on those N episodes of a row that ended without an error under all of them.

    Attributes:
        at_end: (S, N) success at the end, 0 or 1.
        once: (S, N) success at some step, NaN where unknown.
        policies: (S,) the same number for seeds of the same policy.
        known: which of the row's episodes these are, True for N of them.
        errors: how many episodes, all seeds together, ended in errors.
    """

    at_end: np.ndarray
    once: np.ndarray
    policies: np.ndarray
    known: np.ndarray
    errors: int

    @property
    def by_policy(self) -> np.ndarray:
        """Success at the end (G, N) of each of G policies: the mean over its seeds."""
        return np.array([self.at_end[self.policies == policy].mean(axis=0) for policy in np.unique(self.policies)])


@dataclass(frozen=True)
class RowNumbers:
    """A row of an entry; ``summary`` counts the episodes of all seeds."""

    seeds: int
    summary: RowSummary


@dataclass(frozen=True)
class AxisNumbers:
    """An axis of an entry, or ``HELD_OUT``; rates are means of rows, then of axes.

    Attributes:
        rows: that are in the mean.
        relative_drop: from the training row, NaN if that is unknown or 0.
    """

    axis: str
    rows: int
    n: int
    success_at_end: float
    interval: Interval
    relative_drop: float
    drop_interval: Interval


def axis_of(row: str) -> str:
    """The axis of a row, see ``tasks.rows.row_axis``; of another suite's row, what its id begins with."""
    if row in ROW_IDS or is_derived(row):
        return row_axis(row)
    return row.split("/")[0] if "/" in row else "other"


def summarize(
    protocol: str, assets: str, outcomes: Mapping[str, RowOutcomes], expected: Mapping[str, int]
) -> tuple[tuple[RowNumbers, ...], tuple[AxisNumbers, ...]]:
    """Computes the numbers of one entry.

    Args:
        protocol: for the summaries.
        assets: for the summaries.
        outcomes: of each row.
        expected: how many rows of each axis the table has. A mean over fewer would not be comparable and is NaN.
    """
    rows = tuple(_row(protocol, assets, row, found) for row, found in outcomes.items())
    axes = summarize_rows([row.summary for row in rows], expected)
    if max((row.seeds for row in rows), default=1) > 1:
        plain, training = _plain([row.summary for row in rows])
        axes = tuple(
            _with_crossed_intervals(numbers, _members(numbers.axis, plain), training, outcomes) for numbers in axes
        )
    return rows, axes


def summarize_rows(rows: Sequence[RowSummary], expected: Mapping[str, int]) -> tuple[AxisNumbers, ...]:
    """Averages the rows of one entry over its axes, see ``summarize``; the intervals are those of one seed."""
    plain, training = _plain(rows)
    axes = [_axis(axis, _members(axis, plain), training) for axis in expected]
    return tuple(numbers if numbers.rows == expected[numbers.axis] else _undefined(numbers) for numbers in axes)


def expected_rows(rows: Sequence[str]) -> dict[str, int]:
    """Counts the rows of each axis of a table, in the order of ``AXES``; the held-out aggregate comes last."""
    plain = [axis_of(row) for row in rows if not is_derived(row)]
    counts = {axis: plain.count(axis) for axis in dict.fromkeys([*AXES, *plain]) if axis in plain}
    held_out = sum(counts.get(axis, 0) for axis in HELD_OUT_AXES)
    return counts | ({HELD_OUT: held_out} if held_out else {})


def _plain(rows: Sequence[RowSummary]) -> tuple[list[RowSummary], list[RowSummary]]:
    """The rows that enter means, and those of them that are the training task."""
    plain = [row for row in rows if row.n and not is_derived(row.row)]
    return plain, [row for row in plain if row.axis == "in-distribution"]


def _members(axis: str, plain: Sequence[RowSummary]) -> list[RowSummary]:
    return [row for row in plain if row.axis == axis or (axis == HELD_OUT and row.axis in HELD_OUT_AXES)]


def _row(protocol: str, assets: str, row: str, outcomes: RowOutcomes) -> RowNumbers:
    seeds, episodes = outcomes.at_end.shape
    n, successes = seeds * episodes, int(outcomes.at_end.sum())
    if seeds > 1 and episodes:
        interval = crossed_interval(crossed_mean([outcomes.by_policy], [1.0]))
    else:
        interval = wilson_interval(successes, n)
    known = outcomes.once[~np.isnan(outcomes.once)]
    summary = RowSummary(
        protocol=protocol,
        assets=assets,
        row=row,
        axis=axis_of(row),
        n=n,
        successes=successes,
        success_at_end=successes / n if n else math.nan,
        interval=interval,
        success_once=float(known.mean()) if len(known) else math.nan,
        grasped=math.nan,
        errors=outcomes.errors,
    )
    return RowNumbers(seeds, summary)


def _axis(axis: str, members: Sequence[RowSummary], training: Sequence[RowSummary]) -> AxisNumbers:
    n = sum(row.n for row in members)
    if not members:
        return AxisNumbers(axis, 0, 0, math.nan, UNDEFINED, math.nan, UNDEFINED)
    if axis not in HELD_OUT_AXES and axis != HELD_OUT:
        (summary,) = summarize_axes(members)
        return AxisNumbers(axis, len(members), n, summary.success_at_end, summary.interval, math.nan, UNDEFINED)
    # Of the rows of one axis alone, it is the mean of that axis.
    found = summarize_held_out([*training, *members])
    # A single row keeps its interval: one number must not stand in a table with two of them.
    interval = members[0].interval if len(members) == 1 else found.interval
    return AxisNumbers(axis, len(members), n, found.success_at_end, interval, found.relative_drop, found.drop_interval)


def _with_crossed_intervals(
    numbers: AxisNumbers,
    members: Sequence[RowSummary],
    training: Sequence[RowSummary],
    outcomes: Mapping[str, RowOutcomes],
) -> AxisNumbers:
    if math.isnan(numbers.success_at_end):
        return numbers
    mean = _crossed(members, outcomes)
    interval = members[0].interval if len(members) == 1 else crossed_interval(mean)
    if math.isnan(numbers.relative_drop):
        return replace(numbers, interval=interval)
    drop_interval = crossed_drop_interval(mean, _crossed(training, outcomes))
    return replace(numbers, interval=interval, drop_interval=drop_interval)


def _crossed(members: Sequence[RowSummary], outcomes: Mapping[str, RowOutcomes]) -> CrossedMean:
    return crossed_mean([outcomes[row.row].by_policy for row in members], axis_weights([row.axis for row in members]))


def _undefined(numbers: AxisNumbers) -> AxisNumbers:
    return replace(
        numbers,
        success_at_end=math.nan,
        interval=UNDEFINED,
        relative_drop=math.nan,
        drop_interval=UNDEFINED,
    )
