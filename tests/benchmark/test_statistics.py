import math

import numpy as np
import pytest

from vlagen.benchmark.records import EpisodeRecord
from vlagen.benchmark.statistics import Interval, mean_interval, summarize_axes, summarize_row, wilson_interval
from vlagen.tasks.variants import variant


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),  # Newcombe 1998, table I, method 3
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (8, 10, 0.4902, 0.9433),  # by hand: (0.8 + 0.19207 -+ 1.95996 * sqrt(0.016 + 0.0096037)) / 1.38415
        (0, 10, 0.0000, 0.2775),  # z^2 / (n + z^2) = 3.84146 / 13.84146
        (192, 192, 0.9804, 1.0000),  # n / (n + z^2) = 192 / 195.84146
    ],
)
def test_wilson_against_published_and_hand_worked_values(successes, n, low, high):
    assert wilson_interval(successes, n) == pytest.approx((low, high), abs=5e-5)


def test_wilson_agrees_with_scipy_and_mirrors():
    stats = pytest.importorskip("scipy.stats")
    for n in (1, 7, 64):
        for successes in range(n + 1):
            ours = wilson_interval(successes, n, 0.9)
            theirs = stats.binomtest(successes, n).proportion_ci(0.9, method="wilson")
            assert ours == pytest.approx((theirs.low, theirs.high), abs=1e-12)
            mirrored = wilson_interval(n - successes, n, 0.9)
            assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx(ours, abs=1e-12)


def test_wilson_bounds_are_exact_at_the_ends_and_undefined_without_trials():
    assert wilson_interval(0, 64).low == 0.0
    assert wilson_interval(64, 64).high == 1.0
    assert all(math.isnan(bound) for bound in wilson_interval(0, 0))


@pytest.mark.parametrize(("successes", "n"), [(-1, 5), (6, 5)])
def test_wilson_refuses_impossible_counts(successes, n):
    with pytest.raises(ValueError, match=f"{successes} successes in {n} trials"):
        wilson_interval(successes, n)


def test_mean_of_one_row_keeps_its_interval():
    assert mean_interval([0.8], [Interval(0.5, 0.9)]) == pytest.approx((0.5, 0.9))


def test_mean_of_two_rows_by_hand():
    # mean 0.6; below sqrt(0.3^2 + 0.4^2) / 2 = 0.25; above sqrt(0.06^2 + 0.08^2) / 2 = 0.05
    low, high = mean_interval([0.8, 0.4], [Interval(0.5, 0.86), Interval(0.0, 0.48)])
    assert (low, high) == pytest.approx((0.35, 0.65))


def test_mean_interval_covers_at_its_level():
    """Of 2000 simulated axes with three rows of 64, about 95% contain the truth; 3 standard errors are 1.5 points."""
    generator, truth, n = np.random.default_rng(0), np.array([0.05, 0.5, 0.9]), 64
    hits = 0
    for counts in generator.binomial(n, truth, size=(2000, 3)):
        low, high = mean_interval(list(counts / n), [wilson_interval(int(count), n) for count in counts])
        hits += low <= truth.mean() <= high
    assert hits / 2000 == pytest.approx(0.95, abs=0.015)


def record(row, index, outcome, once=False):
    known = outcome != "error"
    return EpisodeRecord(
        protocol="vlagen-v1",
        row=row,
        index=index,
        assets="builtin",
        seed=0,
        outcome=outcome,
        success_at_end=outcome == "success" if known else None,
        success_once=(once or outcome == "success") if known else None,
        grasped=True if known else None,
    )


RECORDS = [
    record("vision/table", 1, "success"),
    record("vision/table", 2, "failure", once=True),
    record("vision/table", 3, "error"),
    record("vision/table", 4, "failure"),
    record("vision/noise-weak", 1, "success"),
    record("train", 1, "error"),
]


def summarize(*rows):
    return [summarize_row(variant(row), "builtin", RECORDS) for row in rows]


def test_errors_stay_out_of_rates():
    (summary,) = summarize("vision/table")
    assert (summary.n, summary.successes, summary.errors) == (3, 1, 1)
    assert summary.success_at_end == pytest.approx(1 / 3)
    assert summary.success_once == pytest.approx(2 / 3)
    assert summary.grasped == 1.0
    assert summary.interval == wilson_interval(1, 3)


def test_rows_without_results_are_undefined_not_zero():
    (summary,) = summarize("train")
    assert (summary.n, summary.errors) == (0, 1)
    assert math.isnan(summary.success_at_end)
    assert math.isnan(summary.interval.low)


def test_axes_weigh_rows_equally_and_skip_those_without_results():
    in_distribution, vision = summarize_axes(summarize("train", "vision/table", "vision/noise-weak"))
    assert (vision.axis, vision.rows, vision.n, vision.errors) == ("vision", 2, 4, 1)
    assert vision.success_at_end == pytest.approx((1 / 3 + 1) / 2)
    assert (in_distribution.rows, in_distribution.errors) == (0, 1)
    assert math.isnan(in_distribution.success_at_end)
