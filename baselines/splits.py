"""In distribution and held out, for policies that may have been trained on a part of the training row only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vlagen.benchmark.paired import RowComparison, paired_interval
from vlagen.benchmark.significance import mcnemar
from vlagen.benchmark.statistics import Interval, RowSummary, axis_weights, stratified_interval
from vlagen.tasks.variants import ROW_IDS, variant


@dataclass(frozen=True)
class Score:
    """A mean of rows, every axis with equal weight, and within it every row.

    Attributes:
        rows: how many are in it.
        n: their episodes without an error.
        interval: 95%; of one row Wilson's.
        errors: episodes that ended in an error, which are left out.
    """

    rows: int
    n: int
    rate: float
    interval: Interval
    errors: int


@dataclass(frozen=True)
class Gain:
    """How much better than the warm-up, on the same episodes.

    Attributes:
        pairs: episodes.
        difference: of the means, weighted as in ``Score``.
        interval: its 95% interval, see ``paired.paired_interval``.
        better: pairs that the warm-up failed and this solved.
        worse: the reverse.
        p: two-sided exact McNemar of ``better`` and ``worse``.
    """

    pairs: int
    difference: float
    interval: Interval
    better: int
    worse: int
    p: float


def held_out_axes(rows: Sequence[str], trained_on: str) -> dict[str, str]:
    """The rows that count as held out, and their axes: those of the table, or, without any, parts of them.

    Args:
        rows: ids of what was played.
        trained_on: id of the row that was trained on.
    """
    plain, parts = {}, {}
    for row in rows:
        base, bracket, _ = row.partition("[")
        if row == trained_on or base not in ROW_IDS or row.endswith("~control"):
            continue
        axis = variant(base).axis
        if axis != "in-distribution":
            (parts if bracket else plain)[row] = axis
    return plain or parts


def score(summaries: Sequence[RowSummary], axes: Mapping[str, str]) -> Score | None:
    """The mean of the rows that ``axes`` names; None if none of them has an episode without an error.

    Args:
        summaries: of rows; others are ignored.
        axes: row id to axis.
    """
    played = [summary for summary in summaries if summary.row in axes and summary.n]
    if not played:
        return None
    weights = axis_weights([axes[summary.row] for summary in played])
    successes, trials = [summary.successes for summary in played], [summary.n for summary in played]
    return Score(
        rows=len(played),
        n=sum(trials),
        rate=float(np.dot(weights, [summary.success_at_end for summary in played])),
        interval=played[0].interval if len(played) == 1 else stratified_interval(successes, trials, weights),
        errors=sum(summary.errors for summary in summaries if summary.row in axes),
    )


def gain(comparisons: Sequence[RowComparison], axes: Mapping[str, str]) -> Gain | None:
    """The mean difference over the rows that ``axes`` names; None if none of them has pairs."""
    rows = [row for row in comparisons if row.row in axes and row.pairs]
    if not rows:
        return None
    weights = axis_weights([axes[row.row] for row in rows])
    counts = np.array([(row.both, row.only_a, row.only_b, row.neither) for row in rows])
    better, worse = sum(row.only_b for row in rows), sum(row.only_a for row in rows)
    return Gain(
        pairs=sum(row.pairs for row in rows),
        difference=float(np.dot(weights, [row.difference for row in rows])),
        interval=paired_interval(counts, weights),
        better=better,
        worse=worse,
        p=mcnemar(worse, better).two_sided,
    )
