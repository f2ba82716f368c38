"""From episode records to rates with intervals; ``docs/statistics.md`` has the formulas and their coverage."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from vlagen.benchmark.records import EpisodeRecord
from vlagen.tasks.rows import KINDS
from vlagen.tasks.variants import AXES, ROW_IDS

HELD_OUT_AXES = tuple(axis for axis in AXES if axis != "in-distribution")
UNKNOWN_FAILURE = "unknown"
"""What ``count_failures`` calls a failure whose record names no category."""

_HELD_OUT_ROWS = frozenset(row for row in ROW_IDS if "/" in row)
_DRAWS = 10_000  # the bounds' own noise is then below 2% of the half-width


class Interval(NamedTuple):
    """Lower and upper bound; NaN where nothing was observed."""

    low: float
    high: float


UNDEFINED = Interval(math.nan, math.nan)


class Estimate(NamedTuple):
    """A number and its 95% interval."""

    value: float
    interval: Interval


@dataclass(frozen=True)
class RowSummary:
    """How one row went. Rates are over ``n``, the episodes that ended without an error, and NaN if there were none.

    Attributes:
        axis: one of ``AXES``, or another word for rows that are not the study's own.
        interval: Wilson 95% interval of ``success_at_end``.
        grasped: NaN also where the task cannot tell.
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
        interval: 95% interval of ``success_at_end``: the row's own for one row, else ``stratified_interval``.
    """

    axis: str
    rows: int
    n: int
    success_at_end: float
    interval: Interval
    success_once: float
    grasped: float
    errors: int


@dataclass(frozen=True)
class HeldOutSummary:
    """The one number of a run: the mean of the held-out axes' means, every axis with equal weight.

    Attributes:
        axes: the held-out axes that have results and so are in it.
        missing: those that are not.
        rows: rows with results in these axes.
        complete: all of the study's held-out rows have results.
        n: their episodes without an error.
        interval: 95% interval of ``success_at_end``, see ``stratified_interval``.
        in_distribution: success at the end on the training task, NaN if it was not played.
        relative_drop: ``1 - success_at_end / in_distribution``, NaN if the latter is 0 or unknown.
        drop_interval: its 95% interval.
    """

    axes: tuple[str, ...]
    missing: tuple[str, ...]
    rows: int
    complete: bool
    n: int
    success_at_end: float
    interval: Interval
    in_distribution: float
    relative_drop: float
    drop_interval: Interval

    @property
    def label(self) -> str:
        """Words what was averaged, e.g. ``held-out mean of vision, execution (no semantics)``."""
        if not self.axes:
            return "held-out mean (no held-out row)"
        absent = f" (no {', no '.join(self.missing)})" if self.missing else ""
        return f"held-out mean of {', '.join(self.axes)}{absent}"


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
        return UNDEFINED
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    rate = successes / n
    centre = (rate + z**2 / (2 * n)) / (1 + z**2 / n)
    half_width = z / (1 + z**2 / n) * math.sqrt(rate * (1 - rate) / n + z**2 / (4 * n**2))
    # At 0 and n one bound is exact in theory; rounding must not leave it a hair inside or outside of [0, 1].
    return Interval(0.0 if successes == 0 else centre - half_width, 1.0 if successes == n else centre + half_width)


def stratified_interval(
    successes: Sequence[int],
    trials: Sequence[int],
    weights: Sequence[float] | None = None,
    confidence: float = 0.95,
) -> Interval:
    """The interval of a weighted mean of independent proportions: a Bayesian bootstrap within each row.

    Rubin's bootstrap (1981) gives every episode of a row a random weight instead of resampling; of yes and no it makes
    draws of Beta(successes, failures). Half an episode of either outcome, shared by all rows, keeps it from shrinking
    to a point where every episode went alike. One half for every row, which would be Jeffreys' prior row by row, adds
    up: over 15 rows that nearly always succeed, its interval misses the truth most of the time.

    The draws have a fixed seed, and the order of the rows does not matter.

    Args:
        successes: (R,) counts.
        trials: (R,) counts, each at least 1.
        weights: (R,) which sum to 1; equal ones by default.
        confidence: two-sided coverage in (0, 1).

    Returns:
        The bounds; 0 or 1 exactly where no episode or every episode succeeded, NaN without rows.
    """
    if not len(trials):
        return UNDEFINED
    weights = np.full(len(trials), 1 / len(trials)) if weights is None else np.asarray(weights, dtype=float)
    means = _draw_means(np.asarray(successes), np.asarray(trials), weights, np.random.default_rng(0))
    low, high = _percentiles(means, confidence)
    return Interval(0.0 if not sum(successes) else low, 1.0 if sum(successes) == sum(trials) else high)


def summarize_row(protocol: str, assets: str, row_id: str, axis: str, records: Iterable[EpisodeRecord]) -> RowSummary:
    """Counts what happened on one row, whether or not the variant table has it.

    Args:
        protocol: for the summary, as are ``assets`` and ``axis``.
        assets: name of the asset pack.
        row_id: the row; records of other rows are ignored.
        axis: see ``RowSummary``.
        records: finished episodes.
    """
    own = [record for record in records if record.row == row_id]
    scored = [record for record in own if record.outcome != "error"]
    successes = sum(bool(record.success_at_end) for record in scored)
    return RowSummary(
        protocol=protocol,
        assets=assets,
        row=row_id,
        axis=axis,
        n=len(scored),
        successes=successes,
        success_at_end=_rate([record.success_at_end for record in scored]),
        interval=wilson_interval(successes, len(scored)),
        success_once=_rate([record.success_once for record in scored]),
        grasped=_rate([record.grasped for record in scored]),
        errors=len(own) - len(scored),
    )


def summarize_axes(rows: Sequence[RowSummary]) -> tuple[AxisSummary, ...]:
    """Averages rows over each axis that has any, in the order of ``AXES``; other axes follow as they appear.

    Derived rows are left out: their mean would depend on which of them were asked for.
    """
    plain = [row for row in rows if not is_derived(row.row)]
    axes = dict.fromkeys([*AXES, *(row.axis for row in plain)])
    groups = {axis: [row for row in plain if row.axis == axis] for axis in axes}
    return tuple(_summarize_axis(axis, group) for axis, group in groups.items() if group)


def summarize_held_out(rows: Sequence[RowSummary]) -> HeldOutSummary:
    """Computes the aggregate of a run and its drop from the training task, see ``HeldOutSummary``."""
    scored = [row for row in rows if row.n and not is_derived(row.row)]
    groups = {axis: [row for row in scored if row.axis == axis] for axis in HELD_OUT_AXES}
    groups = {axis: group for axis, group in groups.items() if group}
    held_out = [row for group in groups.values() for row in group]
    weights = axis_weights([row.axis for row in held_out])
    rate = float(np.dot(weights, [row.success_at_end for row in held_out])) if held_out else math.nan
    training = next((row for row in scored if row.axis == "in-distribution"), None)
    reference = training.success_at_end if training else math.nan
    drop, drop_interval = math.nan, UNDEFINED
    if training and training.successes and held_out:
        drop, drop_interval = 1 - rate / reference, _relative_drop_interval(held_out, weights, training)
    return HeldOutSummary(
        axes=tuple(groups),
        missing=tuple(axis for axis in HELD_OUT_AXES if axis not in groups),
        rows=len(held_out),
        complete={row.row for row in held_out} >= _HELD_OUT_ROWS,
        n=sum(row.n for row in held_out),
        success_at_end=rate,
        interval=stratified_interval([row.successes for row in held_out], [row.n for row in held_out], weights),
        in_distribution=reference,
        relative_drop=drop,
        drop_interval=drop_interval,
    )


def curve_area(values: Sequence[float], successes: Sequence[int], trials: Sequence[int]) -> Estimate:
    """The area under a curve of rates over a swept value by the trapezoid rule, divided by the range swept.

    It is a weighted mean of the rates and lies in [0, 1]; NaN if a point has no trial.

    Args:
        values: (P,) what was swept, increasing, at least 2.
        successes: (P,) counts.
        trials: (P,) counts.

    Raises:
        ValueError: the values do not increase, or there are too few.
    """
    if len(values) < 2 or np.any(np.diff(values) <= 0):
        raise ValueError(f"a curve over {list(values)}; allowed: at least two values, each above the one before")
    if min(trials) == 0:
        return Estimate(math.nan, UNDEFINED)
    steps = np.diff(np.asarray(values, dtype=float))
    weights = (np.append(steps, 0) + np.append(0, steps)) / (2 * steps.sum())
    area = float(np.dot(weights, np.asarray(successes) / np.asarray(trials)))
    return Estimate(area, stratified_interval(successes, trials, weights))


def count_failures(records: Iterable[EpisodeRecord]) -> dict[str, Counter[str]]:
    """Counts each row's failures by category; successes and errors are not counted.

    Returns:
        A counter for every row that has a record, empty if the row has no failure. Its total is the number of
        failures: those without a category count as ``UNKNOWN_FAILURE``.
    """
    counts: dict[str, Counter[str]] = {}
    for record in records:
        row = counts.setdefault(record.row, Counter())
        if record.outcome == "failure":
            row[record.failure or UNKNOWN_FAILURE] += 1
    return counts


def is_derived(row_id: str) -> bool:
    """Whether a row is made of rows of the table: a composition, severity, part or control arm, see ``tasks.rows``."""
    return any(sign in row_id for sign in KINDS)


def axis_weights(axes: Sequence[str]) -> np.ndarray:
    """Weights (R,) that average rows within each axis and then the axes; ``axes`` has one name a row."""
    counts: Mapping[str, int] = Counter(axes)
    return np.array([1 / (len(counts) * counts[axis]) for axis in axes])


def _summarize_axis(axis: str, rows: Sequence[RowSummary]) -> AxisSummary:
    scored = [row for row in rows if row.n]
    # One row keeps its interval: the same number must not stand in a table with two of them.
    interval = (
        scored[0].interval
        if len(scored) == 1
        else stratified_interval([row.successes for row in scored], [row.n for row in scored])
    )
    return AxisSummary(
        axis=axis,
        rows=len(scored),
        n=sum(row.n for row in scored),
        success_at_end=_rate([row.success_at_end for row in scored]),
        interval=interval,
        success_once=_rate([row.success_once for row in scored]),
        grasped=_rate([row.grasped for row in scored]),
        errors=sum(row.errors for row in rows),
    )


def _relative_drop_interval(held_out: Sequence[RowSummary], weights: np.ndarray, training: RowSummary) -> Interval:
    generator = np.random.default_rng(0)
    counts = np.array([row.successes for row in held_out]), np.array([row.n for row in held_out])
    means = _draw_means(*counts, weights, generator)
    reference = _draw_means(np.array([training.successes]), np.array([training.n]), np.ones(1), generator)
    low, high = _percentiles(1 - means / reference, 0.95)
    # A drop of everything is the largest there is.
    return Interval(low, 1.0 if not counts[0].any() else high)


def _draw_means(
    successes: np.ndarray, trials: np.ndarray, weights: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Draws weighted means (D,) of rates; (R,) counts and weights."""
    order = np.lexsort((successes, trials, weights))
    share = 0.5 / len(trials)
    rates = generator.beta(successes[order] + share, (trials - successes)[order] + share, size=(_DRAWS, len(trials)))
    return rates @ weights[order]


def _percentiles(draws: np.ndarray, confidence: float) -> tuple[float, float]:
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _rate(values: Iterable[float | bool | None]) -> float:
    """The mean of what is known, NaN if nothing is."""
    known = [value for value in values if value is not None]
    return float(np.mean(np.asarray(known, dtype=float))) if known else math.nan
