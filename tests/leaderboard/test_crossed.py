"""Intervals over seeds and trainings: limits, invariances, and coverage in a small simulation."""

from __future__ import annotations

import numpy as np
import pytest

from vlagen.benchmark.statistics import stratified_interval
from vlagen.leaderboard.crossed import (
    crossed_difference_interval,
    crossed_drop_interval,
    crossed_interval,
    crossed_mean,
)


def matrix(*texts: str) -> np.ndarray:
    return np.array([[float(character) for character in text] for text in texts])


def width(rows, weights=None):
    low, high = crossed_interval(crossed_mean(rows, weights or [1 / len(rows)] * len(rows)))
    return high - low


def test_one_policy_is_the_bootstrap_of_episodes():
    row = matrix("1" * 30 + "0" * 34)
    found = crossed_interval(crossed_mean([row], [1.0]))
    assert found == pytest.approx(stratified_interval([30], [64]), abs=0.01)


def test_nobody_who_always_or_never_succeeded_has_a_bound_beyond():
    always, never = matrix("1111", "1111"), matrix("0000", "0000")
    assert crossed_interval(crossed_mean([always], [1.0])).high == 1
    assert crossed_interval(crossed_mean([never], [1.0])).low == 0
    assert crossed_drop_interval(crossed_mean([never], [1.0]), crossed_mean([always], [1.0])).high == 1


def test_policies_that_differ_no_more_than_episodes_explain_add_nothing():
    # Each succeeds on half of the episodes, on others than its fellow: no effect of the policy is left to estimate.
    alike = matrix("10" * 32, "01" * 32)
    mean = crossed_mean([alike], [1.0])
    assert mean.by_policy.tolist() == [0.5, 0.5]
    # Every episode has the mean 1/2, so only the half episode of either outcome varies.
    assert width([alike]) < 0.1


def test_a_policy_that_is_worse_everywhere_widens_every_mean():
    same, apart = matrix("1" * 32 + "0" * 32, "1" * 32 + "0" * 32), matrix("1" * 48 + "0" * 16, "1" * 16 + "0" * 48)
    assert width([apart]) > 2 * width([same])
    assert width([apart, apart]) > 2 * width([same, same])


def test_the_drop_is_undefined_where_a_policy_never_succeeded_in_training():
    low, high = crossed_drop_interval(
        crossed_mean([matrix("10", "10")], [1.0]), crossed_mean([matrix("11", "00")], [1.0])
    )
    assert np.isnan(low)
    assert np.isnan(high)


def test_the_difference_of_an_entry_to_itself_is_around_zero():
    row = matrix("110" * 10, "100" * 10)
    low, high = crossed_difference_interval([row], [row], [1.0])
    assert low < 0 < high
    assert high == pytest.approx(-low, abs=0.03)


def test_a_difference_on_every_episode_is_sure():
    low, high = crossed_difference_interval([matrix("0" * 64, "0" * 64)], [matrix("1" * 64)], [1.0])
    assert low > 0.9
    assert high <= 1


@pytest.mark.slow
@pytest.mark.parametrize(("effect", "least"), [(0.0, 0.93), (0.5, 0.90), (1.0, 0.87)])
def test_three_trainings_are_covered_whether_or_not_they_differ(effect, least):
    """Success on the scale of log-odds: 0.7, with a spread of 2 between episodes and ``effect`` between trainings."""
    generator, trials, hits = np.random.default_rng(0), 200, 0
    population = 0.7 + 2 * generator.normal(size=200_000) + effect * generator.normal(size=200_000)
    truth = (1 / (1 + np.exp(-population))).mean()
    for _ in range(trials):
        trained = effect * generator.normal(size=(3, 1))
        rows = [
            (generator.random((3, 64)) < 1 / (1 + np.exp(-(0.7 + 2 * generator.normal(size=64) + trained)))).astype(
                float
            )
            for _ in range(5)
        ]
        low, high = crossed_interval(crossed_mean(rows, [0.2] * 5))
        hits += low <= truth <= high
    assert hits / trials >= least
