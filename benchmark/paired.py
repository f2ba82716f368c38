"""Two sets of records on the same episodes: what differs, how sure that is, and what could have been noticed.

A difference is always B minus A, so that a drop from A to B is negative. ``docs/statistics.md`` has the formulas.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vlagen.assets.errors import VlagenError
from vlagen.benchmark.records import EpisodeKey, EpisodeRecord
from vlagen.benchmark.significance import McNemar, detectable_difference, holm, mcnemar
from vlagen.benchmark.statistics import HELD_OUT_AXES, UNDEFINED, Interval, axis_weights, is_derived
from vlagen.tasks.rows import CONTROL, row_axis
from vlagen.tasks.variants import AXES, ROW_IDS

_DRAWS = 10_000


class NotComparable(VlagenError, ValueError):
    """Two sets of records that have no episode in common."""


@dataclass(frozen=True)
class RowComparison:
    """How B differs from A on one row. Everything but counts is NaN if the row has no pair.

    Attributes:
        axis: one of ``AXES``, or another word for rows that are not the study's own.
        pairs: episodes that ended without an error on both sides; all else is over them.
        both: episodes that both solved.
        only_a: episodes that A solved and B did not.
        only_b: the reverse.
        neither: episodes that neither solved.
        errors: episodes played on both sides that ended in an error on at least one, and so are left out.
        difference: ``rate_b - rate_a``.
        interval: its 95% interval, see ``paired_interval``.
        p: exact McNemar p-values of this row alone.
        adjusted: the same, each adjusted over all rows that have pairs (Holm).
        detectable: the difference that this row shows with a probability of 80%, see ``detectable_difference``.
    """

    row: str
    axis: str
    pairs: int
    both: int
    only_a: int
    only_b: int
    neither: int
    errors: int
    rate_a: float
    rate_b: float
    difference: float
    interval: Interval
    p: McNemar
    adjusted: McNemar
    detectable: float


@dataclass(frozen=True)
class GroupComparison:
    """How B differs from A on average over several rows; rows without pairs do not enter.

    Attributes:
        name: of an axis, ``held-out`` (every held-out axis weighs the same) or ``all rows`` (every row does).
        interval: 95% interval of ``difference``, see ``paired_interval``.
    """

    name: str
    rows: int
    pairs: int
    rate_a: float
    rate_b: float
    difference: float
    interval: Interval


@dataclass(frozen=True)
class Comparison:
    """Two runs side by side.

    Attributes:
        rows: those with episodes on both sides, in A's order.
        axes: of the study that have pairs, in the order of ``AXES``.
        held_out: the same aggregate as ``statistics.HeldOutSummary``; None without pairs on a held-out row.
        overall: all rows, each with equal weight; None without any pair.
        unmatched_a: episodes that only A played.
        unmatched_b: episodes that only B played.
    """

    rows: tuple[RowComparison, ...]
    axes: tuple[GroupComparison, ...]
    held_out: GroupComparison | None
    overall: GroupComparison | None
    unmatched_a: int
    unmatched_b: int

    @property
    def coverage(self) -> str:
        """Words how many episodes were compared and how many were left out, and why."""
        pairs, errors = sum(row.pairs for row in self.rows), sum(row.errors for row in self.rows)
        return (
            f"{pairs} pairs of episodes compared; left out: {errors} with an error on either side, "
            f"{self.unmatched_a} that only A played, {self.unmatched_b} that only B played"
        )


def compare(
    records_a: Iterable[EpisodeRecord], records_b: Iterable[EpisodeRecord], axes: Mapping[str, str] | None = None
) -> Comparison:
    """Compares two sets of records on the episodes that both played.

    Args:
        records_a: the reference. Of several records of an episode the last counts.
        records_b: what is compared with it.
        axes: row id to axis, for rows that the variant table does not have.

    Raises:
        NotComparable: another protocol or asset pack, hence other episodes; or none in common.
    """
    by_key_a = {record.key: record for record in records_a}
    by_key_b = {record.key: record for record in records_b}
    for what in ("protocol", "assets"):
        there, here = ({getattr(record, what) for record in side.values()} for side in (by_key_a, by_key_b))
        if there and here and there != here:
            raise NotComparable(
                f"A has {what} {', '.join(sorted(there))} and B {', '.join(sorted(here))}, so their episodes differ; "
                "compare runs with the same"
            )
    return _compare(by_key_a, by_key_b, axes or {})


def compare_with_control(records: Iterable[EpisodeRecord], axes: Mapping[str, str] | None = None) -> Comparison:
    """Compares each row of a run (B) with its own control arm, the same episodes unperturbed (A).

    Args:
        records: of one run; rows without a control arm are ignored.
        axes: as for ``compare``.

    Raises:
        NotComparable: the run has no control arm, or none with an episode of its row.
    """
    by_key = {record.key: record for record in records}
    controls = {
        (row.removesuffix(CONTROL), index): record for (row, index), record in by_key.items() if row.endswith(CONTROL)
    }
    if not controls:
        raise NotComparable("this run has no control arm; play it again with --control")
    rows = {row for row, _ in controls}
    return _compare(controls, {key: record for key, record in by_key.items() if key[0] in rows}, axes or {})


def paired_interval(counts: np.ndarray, weights: np.ndarray) -> Interval:
    """The 95% interval of a weighted mean of paired differences: a Bayesian bootstrap of the pairs within each row.

    As in ``statistics.stratified_interval``, every row's pairs get random weights, and half a pair of each of the four
    kinds, shared by all rows, keeps the interval from shrinking to a point where the two sides never differ. Swapping A
    and B swaps and negates the bounds exactly.

    Args:
        counts: (R, 4) pairs of each row: both, only A, only B, neither.
        weights: (R,) which sum to 1.

    Returns:
        The bounds; NaN without rows.
    """
    if not len(counts):
        return UNDEFINED
    strata = sorted(zip(weights.tolist(), counts.tolist(), strict=True))
    mirrored = sorted((weight, [both, only_b, only_a, neither]) for weight, (both, only_a, only_b, neither) in strata)
    # One orientation is drawn and the other derived from it, in an order of its own.
    drawn_weights, drawn = (np.array(column) for column in zip(*max(strata, mirrored), strict=True))
    share = 0.5 / len(drawn)
    generator, size = np.random.default_rng(0), (_DRAWS, len(drawn))
    concordant = generator.standard_gamma(drawn[:, 0] + drawn[:, 3] + 2 * share, size)
    lost, won = (generator.standard_gamma(drawn[:, kind] + share, size) for kind in (1, 2))
    differences = (won - lost) / (concordant + lost + won) @ drawn_weights
    observed = float((drawn[:, 2] - drawn[:, 1]) / drawn.sum(axis=1) @ drawn_weights)
    low, high = (float(bound) for bound in np.quantile(differences, [0.025, 0.975]))
    # Where every pair went one way the draws, which admit the others, would leave out what was seen.
    low, high = min(low, observed), max(high, observed)
    if strata == mirrored:
        return Interval((low - high) / 2, (high - low) / 2)
    return Interval(low, high) if strata > mirrored else Interval(-high, -low)


def _compare(
    by_key_a: Mapping[EpisodeKey, EpisodeRecord],
    by_key_b: Mapping[EpisodeKey, EpisodeRecord],
    axes: Mapping[str, str],
) -> Comparison:
    shared = [key for key in by_key_a if key in by_key_b]
    if not shared:
        raise NotComparable(
            f"no episode in common: A has {_describe(by_key_a)}, B has {_describe(by_key_b)}; play the same rows"
        )
    by_row: dict[str, list[tuple[EpisodeRecord, EpisodeRecord]]] = {}
    for key in shared:
        by_row.setdefault(key[0], []).append((by_key_a[key], by_key_b[key]))
    rows = _adjust([_compare_row(row, axes.get(row) or _axis(row), pairs) for row, pairs in by_row.items()])
    used = [row for row in rows if row.pairs]
    plain = [row for row in used if not is_derived(row.row)]
    held_out = [row for row in plain if row.axis in HELD_OUT_AXES]
    groups = {axis: [row for row in plain if row.axis == axis] for axis in AXES}
    return Comparison(
        rows=rows,
        axes=tuple(_average(axis, group) for axis, group in groups.items() if group),
        held_out=_average("held-out", held_out, axis_weights([row.axis for row in held_out])) if held_out else None,
        overall=_average("all rows", used) if used else None,
        unmatched_a=len(by_key_a) - len(shared),
        unmatched_b=len(by_key_b) - len(shared),
    )


def _compare_row(row: str, axis: str, records: Sequence[tuple[EpisodeRecord, EpisodeRecord]]) -> RowComparison:
    pairs = [
        (bool(a.success_at_end), bool(b.success_at_end)) for a, b in records if "error" not in (a.outcome, b.outcome)
    ]
    kinds, n = Counter(pairs), len(pairs)
    both, only_a, only_b = kinds[True, True], kinds[True, False], kinds[False, True]
    p = mcnemar(only_a, only_b) if n else McNemar(math.nan, math.nan, math.nan)
    return RowComparison(
        row=row,
        axis=axis,
        pairs=n,
        both=both,
        only_a=only_a,
        only_b=only_b,
        neither=kinds[False, False],
        errors=len(records) - n,
        rate_a=(both + only_a) / n if n else math.nan,
        rate_b=(both + only_b) / n if n else math.nan,
        difference=(only_b - only_a) / n if n else math.nan,
        interval=paired_interval(np.array([[both, only_a, only_b, kinds[False, False]]]), np.ones(1))
        if n
        else UNDEFINED,
        p=p,
        adjusted=p,
        detectable=detectable_difference(n, only_a + only_b),
    )


def _adjust(rows: Sequence[RowComparison]) -> tuple[RowComparison, ...]:
    adjusted = zip(*(holm([row.p[kind] for row in rows]) for kind in range(3)), strict=True)
    return tuple(replace(row, adjusted=McNemar(*p)) for row, p in zip(rows, adjusted, strict=True))


def _average(name: str, rows: Sequence[RowComparison], weights: np.ndarray | None = None) -> GroupComparison:
    weights = np.full(len(rows), 1 / len(rows)) if weights is None else weights
    counts = np.array([(row.both, row.only_a, row.only_b, row.neither) for row in rows])
    return GroupComparison(
        name=name,
        rows=len(rows),
        pairs=sum(row.pairs for row in rows),
        rate_a=float(np.dot(weights, [row.rate_a for row in rows])),
        rate_b=float(np.dot(weights, [row.rate_b for row in rows])),
        difference=float(np.dot(weights, [row.difference for row in rows])),
        interval=rows[0].interval if len(rows) == 1 else paired_interval(counts, weights),
    )


def _axis(row: str) -> str:
    return row_axis(row) if row in ROW_IDS or is_derived(row) else "other"


def _describe(by_key: Mapping[EpisodeKey, EpisodeRecord]) -> str:
    counts = Counter(row for row, _ in by_key)
    shown = [f"{count} of {row}" for row, count in list(counts.items())[:3]]
    return ", ".join([*shown, "..."] if len(counts) > 3 else shown) or "none"
