"""From episode records to rates with intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from vlagen.benchmark.records import EpisodeRecord
from vlagen.tasks.variants import AXES, Variant


class Interval(NamedTuple):
    """Lower and upper bound; NaN where nothing was observed."""

    low: float
    high: float


@dataclass(frozen=True)
class RowSummary:
    """How one row went. Rates are over ``n``, the episodes that ended without an error, and NaN if there were none.

    Attributes:
        interval: Wilson 95% interval of ``success_at_end``.
    """

    protocol: str
    assets: str
    row: str
    axis: str
    n: int
    successes: int
    success_at_end: float
    interval: Interval
    success_once: float
    grasped: float
    errors: int


@dataclass(frozen=True)
class AxisSummary:
    """The mean over the rows of one axis, every row with equal weight.

    Attributes:
        rows: how many rows have at least one episode without an error; only they enter.
        n: their episodes without an error.
        interval: 95% interval of ``success_at_end``, see ``mean_interval``.
    """

    axis: str
    rows: int
    n: int
    success_at_end: float
    interval: Interval
    success_once: float
    grasped: float
    errors: int


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """The score interval of a proportion (Wilson 1927; Brown, Cai and DasGupta 2001 recommend it for small n).

    Args:
        successes: between 0 and ``n``.
        n: independent trials; NaN bounds if 0.
        confidence: two-sided coverage in (0, 1).

    Raises:
        ValueError: the counts are impossible.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes in {n} trials; allowed: 0 <= successes <= trials")
    if n == 0:
        return Interval(math.nan, math.nan)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    rate = successes / n
    centre = (rate + z**2 / (2 * n)) / (1 + z**2 / n)
    half_width = z / (1 + z**2 / n) * math.sqrt(rate * (1 - rate) / n + z**2 / (4 * n**2))
    # At 0 and n one bound is exact in theory; rounding must not leave it a hair inside or outside of [0, 1].
    return Interval(0.0 if successes == 0 else centre - half_width, 1.0 if successes == n else centre + half_width)


def mean_interval(rates: Sequence[float], intervals: Sequence[Interval]) -> Interval:
    """The interval of a mean of independent proportions, recovered from their own intervals.

    The method of variance estimates recovery, which Zou, Huang and Zhang (2009, Computational Statistics & Data
    Analysis 53) show to keep its coverage with Wilson limits. Unlike the normal approximation it does not shrink to a
    point when every rate is 0 or 1.

    Args:
        rates: (R,) proportions.
        intervals: (R,) their Wilson intervals.
    """
    if not rates:
        return Interval(math.nan, math.nan)
    rate, low, high = np.asarray(rates), *np.asarray(intervals).T
    mean = float(rate.mean())
    below, above = np.sqrt(((rate - low) ** 2).sum()), np.sqrt(((high - rate) ** 2).sum())
    return Interval(float(mean - below / len(rate)), float(mean + above / len(rate)))


def summarize_row(row: Variant, assets: str, records: Iterable[EpisodeRecord]) -> RowSummary:
    """Counts what happened on one row.

    Args:
        row: the row; records of other rows are ignored.
        assets: name of the asset pack, for the summary.
        records: finished episodes.
    """
    own = [record for record in records if record.row == row.id]
    scored = [record for record in own if record.outcome != "error"]
    successes = sum(bool(record.success_at_end) for record in scored)
    return RowSummary(
        protocol=row.protocol,
        assets=assets,
        row=row.id,
        axis=row.axis,
        n=len(scored),
        successes=successes,
        success_at_end=_rate([record.success_at_end for record in scored]),
        interval=wilson_interval(successes, len(scored)),
        success_once=_rate([record.success_once for record in scored]),
        grasped=_rate([record.grasped for record in scored]),
        errors=len(own) - len(scored),
    )


def summarize_axes(rows: Sequence[RowSummary]) -> tuple[AxisSummary, ...]:
    """Averages rows over each axis that has any, in the order of ``AXES``."""
    return tuple(
        _summarize_axis(axis, [row for row in rows if row.axis == axis])
        for axis in AXES
        if any(row.axis == axis for row in rows)
    )


def _summarize_axis(axis: str, rows: Sequence[RowSummary]) -> AxisSummary:
    scored = [row for row in rows if row.n]
    rates = [row.success_at_end for row in scored]
    return AxisSummary(
        axis=axis,
        rows=len(scored),
        n=sum(row.n for row in scored),
        success_at_end=_rate(rates),
        interval=mean_interval(rates, [row.interval for row in scored]),
        success_once=_rate([row.success_once for row in scored]),
        grasped=_rate([row.grasped for row in scored]),
        errors=sum(row.errors for row in rows),
    )


def _rate(values: Sequence[float | bool | None]) -> float:
    return float(np.mean(np.asarray(values, dtype=float))) if values else math.nan
