"""Intervals for a method that was run repeatedly on the same episodes.

Repetitions and episodes are crossed: every repetition meets every episode. An episode that is hard is hard for all of
them, so S repetitions of N episodes are worth less than S N episodes: the bootstrap draws whole episodes. Where one
policy was run with several seeds, that is all, as its random numbers are independent from episode to episode. Where
policies were trained repeatedly, one that came out badly is bad on all rows: how they vary beyond what a two-way
analysis of variance expects of the episodes is added. ``docs/leaderboard.md`` has the formulas, and the coverage in
simulation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vlagen.benchmark.statistics import UNDEFINED, Interval

_DRAWS = 10_000


@dataclass(frozen=True, eq=False)
class CrossedMean:
    """A weighted mean over rows, and what is needed for its interval.

    Attributes:
        value: the mean.
        draws: (D,) of it, as episodes vary; policies stay as they are.
        by_policy: (G,) the mean of each policy.
        residual: the part of the variance of the mean that is due to neither policy nor episode; 0 for one policy.
    """

    value: float
    draws: np.ndarray
    by_policy: np.ndarray
    residual: float


def crossed_mean(rows: Sequence[np.ndarray], weights: Sequence[float]) -> CrossedMean:
    """Averages rows.

    Args:
        rows: of each row (G, N) success of the same G policies on N >= 1 episodes, in [0, 1]: means over seeds.
        weights: of the rows; they sum to 1.
    """
    generator, share = np.random.default_rng(0), 0.5 / len(rows)
    draws, by_policy, residual = np.zeros(_DRAWS), np.zeros(len(rows[0])), 0.0
    for successes, weight in zip(rows, weights, strict=True):
        draws += weight * _draw_row(successes, share, generator)
        by_policy += weight * successes.mean(axis=1)
        residual += weight**2 * _residual_variance(successes)
    return CrossedMean(float(by_policy.mean()), draws, by_policy, residual)


def crossed_interval(mean: CrossedMean) -> Interval:
    """The 95% interval of a mean over new episodes, and of policies over new trainings."""
    low, high = _percentiles(mean.draws + _policy_noise(mean.by_policy, mean.residual, 1))
    # As in statistics.stratified_interval: nobody who always succeeded has a bound below.
    return Interval(max(0.0, low) if mean.value > 0 else 0.0, min(1.0, high) if mean.value < 1 else 1.0)


def crossed_drop_interval(held_out: CrossedMean, training: CrossedMean) -> Interval:
    """The 95% interval of ``1 - held_out / training``; NaN where a policy never succeeded in training."""
    if not training.by_policy.all():
        return UNDEFINED
    ratio = held_out.value / training.value
    residual = (held_out.residual + ratio**2 * training.residual) / training.value**2
    by_policy = 1 - held_out.by_policy / training.by_policy
    low, high = _percentiles(1 - held_out.draws / training.draws + _policy_noise(by_policy, residual, 1))
    return Interval(low, min(1.0, high) if held_out.value > 0 else 1.0)


def crossed_difference_interval(
    rows_a: Sequence[np.ndarray], rows_b: Sequence[np.ndarray], weights: Sequence[float]
) -> Interval:
    """The 95% interval of the mean of B minus that of A, who met the same episodes.

    Args:
        rows_a: of each row (G, N) success of A's policies, in [0, 1].
        rows_b: of each row (G', N) of B's; columns are the same episodes.
        weights: of the rows; they sum to 1.
    """
    generator, share = np.random.default_rng(0), 0.5 / len(rows_a)
    draws = np.zeros(_DRAWS)
    for a, b, weight in zip(rows_a, rows_b, weights, strict=True):
        # Half a pair of each kind, both of the kinds without a difference among them, as in paired.paired_interval.
        values = np.concatenate([b.mean(axis=0) - a.mean(axis=0), [-1, 0, 1]])
        known = np.concatenate([np.ones(a.shape[1]), [share, 2 * share, share]])
        draws += weight * _weighted_mean(values, known, generator)
    for stream, side in enumerate((rows_a, rows_b), start=1):
        by_policy = sum(weight * row.mean(axis=1) for row, weight in zip(side, weights, strict=True))
        residual = sum(weight**2 * _residual_variance(row) for row, weight in zip(side, weights, strict=True))
        draws += _policy_noise(by_policy, residual, stream)
    low, high = _percentiles(draws)
    return Interval(max(-1.0, low), min(1.0, high))


def _draw_row(successes: np.ndarray, share: float, generator: np.random.Generator) -> np.ndarray:
    """A Bayesian bootstrap of episodes: an episode's weight is the same for all policies and seeds.

    ``share`` of an episode in which nobody succeeded and one in which everybody did is added, as in
    ``statistics.stratified_interval``, which this is for one seed.
    """
    values = np.concatenate([successes.mean(axis=0), [0, 1]])
    return _weighted_mean(values, np.array([1.0] * successes.shape[1] + [share] * 2), generator)


def _weighted_mean(values: np.ndarray, counts: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Draws the mean of values (K,) that occur ``counts`` (K,) times, each occurrence with a random weight."""
    # Equal values are drawn together. Rounded, as a mean of three may be 1/3 in more than one way.
    kinds, places = np.unique(values.round(9), return_inverse=True)
    weights = generator.standard_gamma(np.bincount(places, weights=counts), (_DRAWS, len(kinds)))
    return weights @ kinds / weights.sum(axis=1)


def _residual_variance(successes: np.ndarray) -> float:
    """The residual mean square of the two-way layout over the number of cells; 0 where it has no residual."""
    policies, episodes = successes.shape
    if episodes == 1 or policies == 1:
        return 0.0
    residuals = successes - successes.mean(axis=0) - successes.mean(axis=1, keepdims=True) + successes.mean()
    return float((residuals**2).sum() / ((policies - 1) * (episodes - 1)) / successes.size)


def _policy_noise(by_policy: np.ndarray, residual: float, stream: int) -> np.ndarray:
    """How policies vary beyond what the residual explains: draws (D,) of Student's t with their degrees of freedom."""
    policies = len(by_policy)
    if policies == 1:
        return np.zeros(_DRAWS)
    variance = max(0.0, by_policy.var(ddof=1) / policies - residual)
    return math.sqrt(variance) * np.random.default_rng(stream).standard_t(policies - 1, _DRAWS)


def _percentiles(draws: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)
