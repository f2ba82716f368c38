import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.benchmark.toys import record
from vlagen.benchmark.statistics import (
    RowSummary,
    count_failures,
    curve_area,
    stratified_interval,
    summarize_axes,
    summarize_held_out,
    summarize_row,
    wilson_interval,
)
from vlagen.tasks.variants import ROW_IDS


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


@pytest.mark.parametrize(("successes", "n"), [(15, 148), (32, 64), (1, 29), (60, 64)])
def test_a_mean_of_one_row_has_the_quantiles_of_its_beta_distribution(successes, n):
    """Of 10 000 draws the 2.5% quantile strays by 2.7% of a standard deviation; four times that is allowed."""
    stats = pytest.importorskip("scipy.stats")
    posterior = stats.beta(successes + 0.5, n - successes + 0.5)
    assert stratified_interval([successes], [n]) == pytest.approx(
        posterior.ppf([0.025, 0.975]), abs=0.11 * posterior.std()
    )


def test_a_mean_of_many_middling_rows_approaches_the_normal_interval():
    # variance of the mean of 10 rows of 400: 0.25 / 4000, so 1.95996 * 0.00790569 = 0.015495 either way
    assert stratified_interval([200] * 10, [400] * 10) == pytest.approx((0.484505, 0.515495), abs=5e-4)


def test_the_interval_does_not_shrink_to_a_point_where_all_episodes_went_alike():
    stats = pytest.importorskip("scipy.stats")
    low, high = stratified_interval([64] * 15, [64] * 15)
    assert high == 1.0
    # Failures per row then are gamma distributed with shape 1/30 each, 1/2 together: half a chi-squared variable with
    # one degree of freedom, over 15 rows of 65 weighted episodes.
    assert 1 - low == pytest.approx(stats.chi2(1).ppf(0.975) / 2 / (15 * 65), rel=0.1)
    assert stratified_interval([0] * 15, [64] * 15).low == 0.0


def test_the_interval_depends_neither_on_the_order_of_rows_nor_on_chance():
    successes, trials = [3, 60, 12, 40], [64, 64, 16, 48]
    assert stratified_interval(successes, trials) == stratified_interval(successes[::-1], trials[::-1])
    assert stratified_interval(successes, trials) == stratified_interval(successes, trials)


def test_weights_decide_what_counts():
    assert stratified_interval([64, 0], [64, 64], [1.0, 0.0]).low > 0.9
    assert stratified_interval([64, 0], [64, 64], [0.0, 1.0]).high < 0.1


@given(
    st.lists(st.integers(1, 200).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), min_size=1, max_size=16)
)
def test_the_interval_holds_the_mean_and_stays_in_range(counts):
    successes, trials = zip(*counts, strict=True)
    low, high = stratified_interval(successes, trials)
    mean = np.mean(np.array(successes) / np.array(trials))
    assert 0 <= low < high <= 1
    assert low <= mean + 1e-12
    assert mean - 1e-12 <= high


@pytest.mark.parametrize(
    ("rates", "rows"),
    [([0.05], 15), ([0.5], 15), ([0.98], 15), ([0.98], 5), ([0.05, 0.5, 0.9], 3), ([0.5, 1.0, 1.0, 0.98, 1.0], 5)],
)
def test_the_interval_covers_at_its_level(rates, rows):
    """Of 300 simulated axes about 95% contain the truth; 3 standard errors are 3.8 points.

    Jeffreys' prior row by row covers 70% in the third case.
    """
    generator, truth, n = np.random.default_rng(0), np.resize(rates, rows), 64
    hits = 0
    for counts in generator.binomial(n, truth, size=(300, rows)):
        low, high = stratified_interval(counts, [n] * rows)
        hits += low <= truth.mean() <= high
    assert hits / 300 == pytest.approx(0.95, abs=0.038)


RECORDS = [
    record("vision/table", 1, "success"),
    record("vision/table", 2, "failure", success_once=True, failure="dropped"),
    record("vision/table", 3, "error"),
    record("vision/table", 4, "failure"),
    record("vision/noise-weak", 1, "success"),
    record("train", 1, "error"),
]


def axis_of(row):
    return row.split("/")[0] if "/" in row else "in-distribution"


def summarize(*rows):
    return [summarize_row("vlagen-v1", "builtin", row, axis_of(row), RECORDS) for row in rows]


def counted(row, successes, n, axis=None):
    """A row as it would be summarized after so many successes."""
    rate = successes / n
    axis = axis or (row.split("/")[0] if "/" in row else "in-distribution")
    return RowSummary(
        "vlagen-v1", "builtin", row, axis, n, successes, rate, wilson_interval(successes, n), rate, rate, 0
    )


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


def test_any_row_can_be_summarized_and_what_a_task_cannot_tell_is_undefined():
    records = [record("maniskill:StackCube-v1", i, "success" if i < 3 else "failure", grasped=None) for i in range(4)]
    summary = summarize_row("maniskill", "none", "maniskill:StackCube-v1", "maniskill", records)
    assert (summary.row, summary.axis, summary.n, summary.successes) == ("maniskill:StackCube-v1", "maniskill", 4, 3)
    assert math.isnan(summary.grasped)
    (axis,) = summarize_axes([summary])
    assert (axis.axis, axis.success_at_end) == ("maniskill", 0.75)
    assert math.isnan(axis.grasped)


def test_axes_weigh_rows_equally_and_skip_those_without_results():
    in_distribution, vision = summarize_axes(summarize("train", "vision/table", "vision/noise-weak"))
    assert (vision.axis, vision.rows, vision.n, vision.errors) == ("vision", 2, 4, 1)
    assert vision.success_at_end == pytest.approx((1 / 3 + 1) / 2)
    assert (in_distribution.rows, in_distribution.errors) == (0, 1)
    assert math.isnan(in_distribution.success_at_end)


def test_an_axis_of_one_row_has_that_rows_interval():
    (train,) = summarize_axes([counted("train", 50, 64)])
    assert train.interval == wilson_interval(50, 64)


def test_compositions_severities_and_controls_do_not_enter_the_studys_axes():
    plain = [counted("train", 60, 64), counted("vision/table", 32, 64), counted("vision/noise-weak", 16, 64)]
    derived = [
        counted("vision/table+execution/moved-midway", 1, 64, "vision"),
        counted("vision/texture-weak@0.35", 2, 64, "vision"),
        counted("vision/table~control", 64, 64, "vision"),
    ]
    assert summarize_axes(plain + derived) == summarize_axes(plain)
    assert summarize_held_out(plain + derived) == summarize_held_out(plain)


def study(training, held_out, n=64):
    """All 16 rows: so many successes in training, and so many in each held-out row by axis."""
    return [counted("train", training, n), *(counted(row, held_out[row.split("/")[0]], n) for row in ROW_IDS[1:])]


def test_the_aggregate_weighs_axes_equally_whatever_their_number_of_rows():
    summary = summarize_held_out(study(48, {"vision": 48, "semantics": 36, "execution": 24}))
    assert (summary.axes, summary.missing) == (("vision", "semantics", "execution"), ())
    assert (summary.rows, summary.n, summary.complete) == (15, 960, True)
    assert summary.success_at_end == pytest.approx((0.75 + 0.5625 + 0.375) / 3)  # the mean of the rows is 0.5875
    assert summary.in_distribution == 0.75
    assert summary.relative_drop == pytest.approx(0.25)
    assert summary.interval.low < 0.5625 < summary.interval.high
    assert summary.drop_interval.low < 0.25 < summary.drop_interval.high
    assert summary.label == "held-out mean of vision, semantics, execution"


def test_a_partial_aggregate_says_what_is_in_it():
    rows = [counted("vision/table", 32, 64), counted("execution/position", 16, 64)]
    summary = summarize_held_out(rows)
    assert summary.label == "held-out mean of vision, execution (no semantics)"
    assert (summary.success_at_end, summary.complete) == (0.375, False)
    assert math.isnan(summary.relative_drop)
    assert math.isnan(summary.drop_interval.high)
    nothing = summarize_held_out([counted("train", 3, 8)])
    assert nothing.label == "held-out mean (no held-out row)"
    assert math.isnan(nothing.success_at_end)
    assert math.isnan(nothing.interval.low)


def test_a_drop_from_nothing_is_undefined_and_a_drop_of_everything_is_one():
    assert math.isnan(summarize_held_out([counted("train", 0, 64), counted("vision/table", 3, 64)]).relative_drop)
    everything = summarize_held_out([counted("train", 60, 64), counted("vision/table", 0, 64)])
    assert (everything.relative_drop, everything.drop_interval.high) == (1.0, 1.0)
    assert everything.drop_interval.low > 0.9


def test_aggregate_and_drop_cover_at_their_level():
    """200 simulated runs of all 16 rows; 3 standard errors are 4.6 points."""
    generator, n, truth = np.random.default_rng(0), 64, {"vision": 0.9, "semantics": 0.7, "execution": 0.4}
    aggregate, drop = np.mean(list(truth.values())), 1 - np.mean(list(truth.values())) / 0.95
    hits = np.zeros(2)
    for _ in range(200):
        rates = [0.95, *(truth[row.split("/")[0]] for row in ROW_IDS[1:])]
        rows = [counted(row, int(generator.binomial(n, p)), n) for row, p in zip(ROW_IDS, rates, strict=True)]
        summary = summarize_held_out(rows)
        hits += (
            summary.interval.low <= aggregate <= summary.interval.high,
            summary.drop_interval.low <= drop <= summary.drop_interval.high,
        )
    assert hits / 200 == pytest.approx([0.95, 0.95], abs=0.046)


def test_the_area_under_a_curve_by_hand():
    # trapezoids over 0-1 and 1-4: (1 + 0.5) / 2 * 1 + (0.5 + 0) / 2 * 3 = 1.5; the range is 4
    area, (low, high) = curve_area([0, 1, 4], [64, 32, 0], [64, 64, 64])
    assert area == pytest.approx(0.375)
    assert low < 0.375 < high
    assert curve_area([0, 0.3, 0.7], [64] * 3, [64] * 3).value == pytest.approx(1.0)
    assert curve_area([0, 0.3, 0.7], [64] * 3, [64] * 3).interval.high == 1.0
    assert math.isnan(curve_area([0, 1], [3, 0], [8, 0]).value)


@pytest.mark.parametrize("values", [[0.5], [0, 0.5, 0.5], [1, 0]])
def test_a_curve_needs_increasing_values(values):
    with pytest.raises(ValueError, match="at least two values, each above the one before"):
        curve_area(values, [1] * len(values), [2] * len(values))


def test_failures_are_counted_by_row_and_category():
    counts = count_failures(RECORDS)
    assert counts == {"vision/table": {"dropped": 1, "unknown": 1}, "vision/noise-weak": {}, "train": {}}


def test_ten_thousand_episodes_a_row_are_summarized_at_once():
    records = [record(row, i, "success" if i % 3 else "failure") for row in ROW_IDS for i in range(625)]
    before = time.perf_counter()
    rows = [summarize_row("vlagen-v1", "builtin", row, axis_of(row), records) for row in ROW_IDS]
    axes, held_out = summarize_axes(rows), summarize_held_out(rows)
    elapsed = time.perf_counter() - before
    assert len(axes) == 4
    assert held_out.n == 15 * 625
    assert elapsed < 1.0  # the limit for 10 000 records; about 0.1 s on a quiet machine
