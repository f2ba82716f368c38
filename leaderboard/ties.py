"""Which entries of a column are statistically tied with its best: a paired test on the same episodes, Holm adjusted.

If two entries are equally good, then the sign of each episode's difference between them is a coin's. The test flips
all signs and asks how often the sum is as large as the observed one, over all possible flips. With one seed each that
is the exact test of McNemar; with several, the difference of an episode is that of its means over the seeds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np

from vlagen.benchmark.records import ORACLE_MARK
from vlagen.benchmark.significance import holm
from vlagen.benchmark.statistics import HELD_OUT_AXES, is_derived
from vlagen.leaderboard.frames import Frames
from vlagen.leaderboard.summaries import HELD_OUT, RowOutcomes, axis_of, expected_rows

LEVEL = 0.05
_LARGEST_WEIGHT = 500  # beyond it, weights are rounded: the test stays exact, for a mean of these weights


def flip_test(differences: Sequence[np.ndarray], weights: Sequence[Fraction]) -> float:
    """The two-sided p-value of a weighted sum of paired differences under all flips of their signs.

    Args:
        differences: (N,) of each row, whole numbers.
        weights: of one unit of difference in each row, positive.
    """
    magnitudes: dict[int, int] = {}
    observed = 0
    for values, weight in zip(differences, _whole(weights), strict=True):
        observed += weight * int(values.sum())
        for magnitude, count in enumerate(np.bincount(np.abs(values).astype(int)).tolist()):
            if magnitude and count:
                magnitudes[weight * magnitude] = magnitudes.get(weight * magnitude, 0) + count
    largest = sum(step * count for step, count in magnitudes.items())
    if not largest:
        return 1.0
    # A sum of independent signed steps: its characteristic function is a product of cosines, and its distribution on
    # the whole numbers from -size/2 on is the Fourier transform of that.
    size = 1 << (2 * largest).bit_length()
    angles = 2 * np.pi * np.arange(size // 2 + 1) / size
    transform = np.ones(len(angles))
    for step, count in magnitudes.items():
        cosines = np.cos(step * angles)
        # By logarithms, which take a tenth of the time of powers; zero stays as good as zero.
        transform *= np.sign(cosines) ** (count % 2) * np.exp(count * np.log(np.abs(cosines) + 1e-300))
    at_least = np.fft.irfft(transform, size)[abs(observed) : largest + 1].sum()
    return float(np.clip(2 * at_least, 0.0, 1.0)) if observed else 1.0


def paired_p(a: Mapping[str, RowOutcomes], b: Mapping[str, RowOutcomes], rows: Mapping[str, Fraction]) -> float:
    """The p-value of a weighted mean over rows that both entries have.

    Args:
        a: outcomes of one entry by row.
        b: of the other.
        rows: weight of each row's mean; they need not sum to 1.

    Returns:
        The p-value; NaN if there is no pair.
    """
    differences, weights = [], []
    for row, weight in rows.items():
        there, here = paired(a[row], b[row])
        if there.shape[1]:
            unit = Fraction(1, len(there) * len(here) * there.shape[1])
            differences.append(len(there) * here.sum(axis=0) - len(here) * there.sum(axis=0))
            weights.append(weight * unit)
    return flip_test(differences, weights) if differences else math.nan


def paired(a: RowOutcomes, b: RowOutcomes) -> tuple[np.ndarray, np.ndarray]:
    """The outcomes (S, N) of two entries on the episodes that neither has as errors."""
    if len(a.known) != len(b.known):
        raise ValueError("outcomes of different lists of episodes cannot be paired")
    both = a.known & b.known
    return a.at_end[:, both[a.known]], b.at_end[:, both[b.known]]


def paired_by_policy(a: RowOutcomes, b: RowOutcomes) -> tuple[np.ndarray, np.ndarray]:
    """The same with one line for each policy (G, N): the means over its seeds."""
    both = a.known & b.known
    return a.by_policy[:, both[a.known]], b.by_policy[:, both[b.known]]


def column_rows(column: str, row_ids: Sequence[str]) -> dict[str, Fraction]:
    """The rows behind a column, a row's id, an axis or ``HELD_OUT``, and their weights in its mean."""
    if column in row_ids:
        return {column: Fraction(1)}
    rows = [row for row in row_ids if not is_derived(row)]
    if column != HELD_OUT:
        own = [row for row in rows if axis_of(row) == column]
        return {row: Fraction(1, len(own)) for row in own}
    axes = [axis_of(row) for row in rows]
    present = {axis: axes.count(axis) for axis in HELD_OUT_AXES if axis in axes}
    held_out = [(row, axis) for row, axis in zip(rows, axes, strict=True) if axis in present]
    return {row: Fraction(1, len(present) * present[axis]) for row, axis in held_out}


def tied_with_best(frames: Frames) -> dict[str, frozenset[str]]:
    """Finds the best of each column and all that are tied with it.

    Args:
        frames: of a table; only measured entries take part, and no oracles, which see what no camera shows.

    Returns:
        The names of the entries to set in bold by column: row ids, axes and ``HELD_OUT``. Empty for a column in which
        fewer than two entries can be compared.
    """
    columns = [*expected_rows(frames.row_ids), *frames.row_ids]
    return {column: _tied(frames, column_rows(column, frames.row_ids)) for column in columns}


def _tied(frames: Frames, rows: Mapping[str, Fraction]) -> frozenset[str]:
    known = {
        name: outcomes
        for name, outcomes in frames.outcomes.items()
        if not name.endswith(ORACLE_MARK) and all(row in outcomes and outcomes[row].at_end.size for row in rows)
    }
    if len(known) < 2:
        return frozenset()
    means = {
        name: sum(float(weight) * outcomes[row].at_end.mean() for row, weight in rows.items())
        for name, outcomes in known.items()
    }
    best = max(means, key=lambda name: means[name])
    others = [name for name in known if name != best]
    adjusted = holm([paired_p(known[best], known[name], rows) for name in others])
    return frozenset([best, *(name for name, p in zip(others, adjusted, strict=True) if not p <= LEVEL)])


def _whole(weights: Sequence[Fraction]) -> list[int]:
    """Whole numbers in the same proportions, or nearly so where these would be too large to enumerate."""
    common = math.lcm(*(weight.denominator for weight in weights))
    numbers = [int(weight * common) for weight in weights]
    divisor = math.gcd(*numbers)
    numbers = [number // divisor for number in numbers]
    if max(numbers) > _LARGEST_WEIGHT:
        numbers = [max(1, round(number * _LARGEST_WEIGHT / max(numbers))) for number in numbers]
    return numbers
