import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.benchmark.toys import record
from vlagen.benchmark.paired import NotComparable, compare, compare_with_control, paired_interval
from vlagen.benchmark.significance import detectable_difference, holm, mcnemar
from vlagen.tasks.variants import ROW_IDS

OUTCOMES = st.sampled_from(["success", "failure", "error"])


def run(outcomes):
    """Records of {row: "+-x..."}: success, failure and error of episodes 0, 1, ..."""
    words = {"+": "success", "-": "failure", "x": "error"}
    return [record(row, i, words[sign]) for row, signs in outcomes.items() for i, sign in enumerate(signs)]


@pytest.mark.parametrize(
    ("only_a", "only_b", "two_sided"),
    [  # statsmodels 0.15.0: mcnemar(table, exact=True).pvalue
        (6, 0, 0.03125),
        (10, 2, 0.03857421875),
        (3, 3, 1.0),
        (12, 5, 0.143463134765625),
        (121, 59, 4.4344492637551645e-06),  # the approval survey in Agresti's and statsmodels' documentation
        (0, 0, 1.0),
        (1, 0, 1.0),
    ],
)
def test_mcnemar_against_statsmodels(only_a, only_b, two_sided):
    assert mcnemar(only_a, only_b).two_sided == pytest.approx(two_sided, rel=1e-12)
    assert mcnemar(only_b, only_a).two_sided == pytest.approx(two_sided, rel=1e-12)


def test_one_sided_mcnemar_agrees_with_scipy_for_all_small_counts():
    stats = pytest.importorskip("scipy.stats")
    for only_a in range(12):
        for only_b in range(1, 12):
            ours = mcnemar(only_a, only_b)
            drop = stats.binomtest(only_a, only_a + only_b, alternative="greater").pvalue
            gain = stats.binomtest(only_b, only_a + only_b, alternative="greater").pvalue
            assert (ours.drop, ours.gain) == pytest.approx((drop, gain), rel=1e-12)


def test_mcnemar_of_thousands_of_pairs_neither_overflows_nor_takes_long():
    p = mcnemar(5200, 4800)
    # normal approximation with continuity correction: z = (400 - 1) / 100
    assert p.drop == pytest.approx(0.5 * math.erfc(3.99 / math.sqrt(2)), rel=0.01)
    assert mcnemar(10_000, 0).drop == 0.0  # 2^-10000, which no float can hold


@given(st.integers(0, 300), st.integers(0, 300))
def test_p_values_are_probabilities_and_mirror(only_a, only_b):
    p, mirrored = mcnemar(only_a, only_b), mcnemar(only_b, only_a)
    assert all(0 <= value <= 1 for value in p)
    assert (mirrored.two_sided, mirrored.drop, mirrored.gain) == (p.two_sided, p.gain, p.drop)
    assert p.drop + p.gain >= 1  # both tails include what was observed


@pytest.mark.parametrize(
    ("p", "adjusted"),
    [  # statsmodels 0.15.0: multipletests(p, method="holm")[1]
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.2, 0.001, 0.02, 0.02, 0.9, 0.013], [0.4, 0.006, 0.08, 0.08, 0.9, 0.065]),
        ([0.5, 0.6], [1.0, 1.0]),
        ([], []),
    ],
)
def test_holm_against_statsmodels(p, adjusted):
    assert holm(p) == pytest.approx(adjusted)


def test_holm_leaves_rows_without_a_test_out_of_the_family():
    assert holm([0.01, math.nan, 0.04]) == pytest.approx((0.02, math.nan, 0.04), nan_ok=True)


@given(st.lists(st.floats(0, 1), max_size=20))
def test_holm_keeps_the_order_and_only_ever_raises(p):
    adjusted = holm(p)
    assert all(before <= after <= 1 for before, after in zip(p, adjusted, strict=True))
    by_p = [value for _, value in sorted(zip(p, adjusted, strict=True))]
    assert by_p == sorted(by_p)


def exact_power(pairs, share, difference, sides):
    """The probability that the exact test finds a difference, summed over all numbers of discordant pairs."""
    stats = pytest.importorskip("scipy.stats")
    share = max(share, difference)
    total = 0.0
    for discordant in range(pairs + 1):
        counts = np.arange(discordant + 1)
        critical = counts[sides * stats.binom.sf(counts - 1, discordant, 0.5) <= 0.05]
        if len(critical):
            law = stats.binom(discordant, (share + difference) / (2 * share))
            found = law.sf(critical[0] - 1) + (law.cdf(discordant - critical[0]) if sides == 2 else 0)
            total += stats.binom.pmf(discordant, pairs, share) * found
    return total


@pytest.mark.parametrize("sides", [1, 2])
@pytest.mark.parametrize(("pairs", "discordant"), [(8, 2), (16, 3), (64, 0), (64, 6), (64, 26), (192, 38)])
def test_the_detectable_difference_is_found_with_the_promised_power(pairs, discordant, sides):
    difference = detectable_difference(pairs, discordant, sides=sides)
    assert 0.8 <= exact_power(pairs, discordant / pairs, difference, sides) <= 0.94


def test_the_detectable_difference_by_hand_and_at_its_limits():
    # 0.07147 * sqrt(640) - 1 / sqrt(640) = 1.80805 - 0.03953 = 1.76852 and
    # 1.95996 * sqrt(0.4) + 0.84162 * sqrt(0.4 - 0.07147^2) = 1.23959 + 0.52889 = 1.76848
    assert detectable_difference(640, 256) == pytest.approx(0.07147, abs=1e-5)
    assert math.isnan(detectable_difference(0, 0))
    assert math.isnan(detectable_difference(5, 0))  # 2 / 2^5 is more than 5%: five pairs can never convince
    assert 0.8 < detectable_difference(6, 0) <= 1
    assert detectable_difference(64, 6, alpha=0.05 / 16) > detectable_difference(64, 6)


def test_a_comparison_by_hand():
    a = run({"train": "++++----", "vision/table": "+++++x+++-+"})
    b = run({"train": "+++-+---", "vision/table": "-----+--x-+", "execution/position": "++"})
    result = compare(a, b)
    train, table = result.rows
    assert (train.both, train.only_a, train.only_b, train.neither) == (3, 1, 1, 3)
    assert (train.rate_a, train.rate_b, train.difference) == (0.5, 0.5, 0.0)
    assert (table.pairs, table.both, table.only_a, table.only_b, table.neither) == (9, 1, 7, 0, 1)
    assert (table.errors, table.axis) == (2, "vision")
    assert table.difference == pytest.approx(-7 / 9)
    assert table.p == (2 / 2**7, 1 / 2**7, 1.0)
    assert table.adjusted.two_sided == 4 / 2**7  # two rows; the other's p is 1
    assert table.interval.low < -7 / 9 < table.interval.high < 0
    assert (result.unmatched_a, result.unmatched_b) == (0, 2)
    assert result.coverage == (
        "17 pairs of episodes compared; left out: 2 with an error on either side, 0 that only A played, "
        "2 that only B played"
    )
    assert [group.name for group in result.axes] == ["in-distribution", "vision"]
    assert (result.held_out.rows, result.held_out.difference) == (1, table.difference)
    assert result.overall.difference == pytest.approx((0 - 7 / 9) / 2)


def test_the_aggregate_weighs_axes_equally():
    a = run({"vision/table": "++++", "vision/noise-weak": "++++", "execution/position": "++++"})
    b = run({"vision/table": "----", "vision/noise-weak": "++++", "execution/position": "+++-"})
    result = compare(a, b)
    assert result.held_out.difference == pytest.approx(((-1 + 0) / 2 - 0.25) / 2)
    assert result.overall.difference == pytest.approx((-1 + 0 - 0.25) / 3)
    assert result.held_out.pairs == 12


def test_a_row_with_errors_only_is_shown_and_belongs_to_no_mean_and_no_family():
    result = compare(run({"train": "xx", "vision/table": "++++++"}), run({"train": "++", "vision/table": "------"}))
    train, table = result.rows
    assert (train.pairs, train.errors) == (0, 2)
    assert math.isnan(train.difference)
    assert math.isnan(train.p.drop)
    assert table.adjusted == table.p
    assert result.overall.rows == 1


def test_what_cannot_be_compared_is_refused_with_the_reason():
    a = run({"train": "+"})
    with pytest.raises(NotComparable, match="no episode in common: A has 1 of train, B has 2 of vision/table"):
        compare(a, run({"vision/table": "++"}))
    with pytest.raises(NotComparable, match="B has none"):
        compare(a, [])
    with pytest.raises(NotComparable, match="A has protocol vlagen-v1 and B rl4vla"):
        compare(a, [replace(each, protocol="rl4vla") for each in a])
    with pytest.raises(NotComparable, match="A has assets builtin and B rl4vla"):
        compare(a, [replace(each, assets="rl4vla") for each in a])


def test_the_last_record_of_an_episode_counts():
    assert compare(run({"train": "x"}) + run({"train": "+"}), run({"train": "-"})).rows[0].only_a == 1


def test_a_row_is_compared_with_its_control_arm():
    records = run(
        {"train": "++", "vision/table": "+---", "vision/table~control": "++++", "vision/table@0.5": "--"}
        | {"vision/table@0.5~control": "++"}
    )
    result = compare_with_control(records)
    table, severe = result.rows
    assert (table.row, table.axis, table.difference, table.only_a) == ("vision/table", "vision", -0.75, 3)
    assert (severe.row, severe.axis, severe.difference) == ("vision/table@0.5", "severity", -1.0)
    assert result.held_out.difference == -0.75  # the severity is not one of the study's rows
    assert (result.unmatched_a, result.unmatched_b) == (0, 0)
    with pytest.raises(NotComparable, match="no control arm; play it again with --control"):
        compare_with_control(run({"train": "+"}))


@given(
    st.lists(
        st.tuples(st.sampled_from(ROW_IDS), st.integers(0, 30), OUTCOMES, OUTCOMES),
        min_size=1,
        max_size=40,
        unique_by=lambda episode: episode[:2],
    )
)
def test_b_against_a_is_the_exact_mirror_of_a_against_b(episodes):
    a = [record(row, index, outcome) for row, index, outcome, _ in episodes]
    b = [record(row, index, outcome) for row, index, _, outcome in episodes]
    forth, back = compare(a, b), compare(b, a)
    rows = [*zip(forth.rows, back.rows, strict=True), *zip(forth.axes, back.axes, strict=True)]
    for one, other in rows:
        mirrored = (-other.difference, -other.interval.high, -other.interval.low)
        assert (one.difference, *one.interval) == pytest.approx(mirrored, abs=1e-12, nan_ok=True)
        if one.pairs:
            assert one.interval.low <= one.difference + 1e-12
            assert one.difference <= one.interval.high + 1e-12
            assert -1 <= one.interval.low < one.interval.high <= 1
    for row in forth.rows:
        assert row.both + row.only_a + row.only_b + row.neither == row.pairs
        assert all(math.isnan(p) or 0 <= p <= q <= 1 for p, q in zip(row.p, row.adjusted, strict=True))


def test_the_interval_is_that_of_a_dirichlet_distribution():
    """With nothing in the concordant kinds the difference is 2 Beta(b, a) - 1, up to half a pair for each of them."""
    stats = pytest.importorskip("scipy.stats")
    low, high = paired_interval(np.array([[0, 4000, 6000, 0]]), np.ones(1))
    expected = 2 * stats.beta(6000, 4000).ppf([0.025, 0.975]) - 1
    assert (low, high) == pytest.approx(expected, abs=1e-3)


def test_the_interval_neither_vanishes_without_differences_nor_depends_on_the_order_of_rows():
    low, high = paired_interval(np.array([[40, 0, 0, 24]]), np.ones(1))
    assert -low == high
    assert 0.02 < high < 0.05
    counts, weights = np.array([[3, 5, 1, 7], [9, 0, 2, 5], [3, 1, 5, 7]]), np.array([0.5, 0.25, 0.25])
    order = [2, 0, 1]
    assert paired_interval(counts, weights) == paired_interval(counts[order], weights[order])


@pytest.mark.parametrize(("only_a", "only_b"), [(0.02, 0.02), (0.1, 0.1), (0.3, 0.05), (0.05, 0.0)])
@pytest.mark.parametrize("rows", [1, 5])
def test_the_paired_interval_covers_at_its_level(only_a, only_b, rows):
    """Of 300 simulated comparisons. Long simulations give 93.5 to 97.5%; 3 standard errors are 4.3 points."""
    generator = np.random.default_rng(0)
    hits = 0
    for counts in generator.multinomial(64, [0.5 - only_a, only_a, only_b, 0.5 - only_b], size=(300, rows)):
        low, high = paired_interval(counts, np.full(rows, 1 / rows))
        hits += low <= only_b - only_a <= high
    assert 0.892 <= hits / 300 <= 0.998
