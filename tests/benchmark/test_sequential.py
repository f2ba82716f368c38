import functools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlagen.benchmark.sequential import BATCH, BadHalfWidth, confidence_sequence, is_precise, needed
from vlagen.benchmark.statistics import wilson_interval

cached = functools.cache(confidence_sequence)


def test_bounds_of_one_success_by_hand():
    """The bet on one success is the mean of its Beta distribution over the rate: ``(16 p + 1/4) / (16.5 p)``.

    It has won 20 times its stake where ``16 p + 1/4 = 330 p``, at ``p = 1 / 1256``.
    """
    assert confidence_sequence(1, 1) == pytest.approx((1 / 1256, 1.0))
    assert confidence_sequence(0, 1) == pytest.approx((0.0, 1255 / 1256))


def test_bounds_of_two_successes_by_hand():
    # (16 p + 1/4)(16 p + 5/4) / (16.5 * 17.5 p^2) = 20 is 5519 p^2 - 24 p - 5/16 = 0
    assert confidence_sequence(2, 2).low == pytest.approx((24 + math.sqrt(24**2 + 4 * 5519 * 5 / 16)) / (2 * 5519))


def test_the_bound_is_where_a_bet_from_scipy_has_won():
    stats = pytest.importorskip("scipy.stats")
    for successes, n in ((10, 64), (500, 1000), (1023, 1024)):
        for rate in confidence_sequence(successes, n):
            mixture = stats.betabinom(n, 16 * rate + 0.25, 16 * (1 - rate) + 0.25).pmf(successes)
            assert mixture / stats.binom(n, rate).pmf(successes) == pytest.approx(20, rel=1e-5)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_sequence_is_wider_than_an_interval_for_one_look_and_mirrors(counts):
    successes, n = counts
    low, high = confidence_sequence(successes, n)
    assert 0 <= low < high <= 1
    assert low <= successes / n <= high
    once = wilson_interval(successes, n)
    assert high - low > once.high - once.low
    mirrored = confidence_sequence(n - successes, n)
    assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((low, high), abs=1e-9)


def test_impossible_counts_are_refused_and_no_trials_are_undefined():
    assert all(math.isnan(bound) for bound in confidence_sequence(0, 0))
    with pytest.raises(ValueError, match="6 successes in 5 trials"):
        confidence_sequence(6, 5)


@pytest.mark.parametrize("rate", [0.05, 0.5, 0.9, 0.98])
def test_the_sequence_holds_at_every_look_at_once(rate):
    """Of 1000 simulated rows, at most 5% may ever be outside at any of 64 looks; Wilson's interval fails this."""
    totals = np.cumsum(np.random.default_rng(0).random((1000, 1024)) < rate, axis=1)
    looks = range(BATCH, 1025, BATCH)
    ever_wrong, ever_wrong_wilson = 0, 0
    for row in totals:
        intervals = [cached(int(row[n - 1]), n) for n in looks]
        ever_wrong += any(not low <= rate <= high for low, high in intervals)
        once = [wilson_interval(int(row[n - 1]), n) for n in looks]
        ever_wrong_wilson += any(not low <= rate <= high for low, high in once)
    assert ever_wrong / 1000 <= 0.05
    assert ever_wrong_wilson / 1000 > 0.15


@pytest.mark.parametrize("rate", [0.05, 0.5, 0.9])
def test_a_row_that_stops_by_the_rule_is_covered(rate):
    outcomes = np.random.default_rng(1).random((300, 512)) < rate
    wrong = 0
    for row in outcomes:
        played = needed(row.tolist(), 0.1, limit=512)
        low, high = confidence_sequence(int(row[:played].sum()), played)
        assert high - low <= 0.2
        wrong += not low <= rate <= high
    assert wrong / 300 <= 0.05


@pytest.mark.parametrize(
    ("outcomes", "half_width", "episodes"),
    [([True] * 1024, 0.05, 64), ([True, False] * 1024, 0.05, 1040), ([True, False] * 1024, 0.1, 240)],
)
def test_the_documented_price(outcomes, half_width, episodes):
    assert needed(outcomes, half_width, limit=2048) == episodes


def test_what_is_missing_is_asked_for_batch_by_batch():
    assert needed([], 0.05) == 16
    assert needed([True] * 15, 0.05) == 16
    assert needed([True] * 16, 0.05) == 32
    assert needed([True] * 63, 0.05) == 64
    assert needed([True] * 64, 0.05) == 64
    assert needed([True] * 900, 0.05) == 64
    assert needed([True, False] * 40, 0.05, limit=50) == 50
    assert needed([True] * 40, 0.05, batch=100, limit=50) == 50


def test_errors_count_as_played_but_tell_nothing():
    assert not is_precise([None] * 500, 0.49)
    assert needed([None] * 500, 0.05, limit=512) == 512
    assert needed([None] * 16 + [True] * 64, 0.05) == 80


@pytest.mark.parametrize("half_width", [0, -0.1, 0.5, 5])
def test_a_senseless_half_width_is_refused(half_width):
    with pytest.raises(BadHalfWidth, match=r"above 0 and below 0\.5"):
        needed([], half_width)


@given(
    st.lists(st.sampled_from([True, True, True, False, None]), min_size=256, max_size=256),
    st.sampled_from([0.05, 0.1, 0.2]),
    st.lists(st.integers(1, 60), min_size=1, max_size=40),
)
def test_the_stopping_point_depends_on_outcomes_alone(outcomes, half_width, portions):
    """However the episodes come in, in portions of any size, the same number of them ends up being played."""
    whole = needed(outcomes, half_width, limit=256)
    played = 0
    for portion in [*portions, *[7] * 64]:
        asked = needed(outcomes[:played], half_width, limit=256)
        assert asked <= whole
        played = min(asked, played + portion)
    assert played == whole
