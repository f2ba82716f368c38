"""The paired test is McNemar's for one seed, exact by enumeration for all else, and decides what is bold."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest

from tests.leaderboard.conftest import frames_of
from tests.leaderboard.synthetic import write_run
from vlagen.benchmark.significance import mcnemar
from vlagen.leaderboard.ties import column_rows, flip_test, tied_with_best


def enumerated(differences, weights) -> float:
    values = np.concatenate([float(w) * np.asarray(d) for d, w in zip(differences, weights, strict=True)])
    sums = [abs(np.dot(signs, values)) for signs in itertools.product([1, -1], repeat=len(values))]
    return float(np.mean(np.array(sums) >= abs(values.sum()) - 1e-9))


@pytest.mark.parametrize(
    ("lost", "won", "same"), [(5, 0, 3), (0, 7, 9), (3, 6, 0), (40, 22, 100), (2, 2, 1), (0, 0, 4)]
)
def test_one_seed_is_mcnemars_test(lost, won, same):
    difference = np.array([-1] * lost + [1] * won + [0] * same)
    assert flip_test([difference], [Fraction(1, 7)]) == pytest.approx(mcnemar(lost, won).two_sided, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_all_flips_are_counted(seed):
    generator = np.random.default_rng(seed)
    differences = [generator.integers(-2, 3, size) for size in (4, 5, 3)]
    weights = [Fraction(1, 4), Fraction(1, 5), Fraction(2, 3)]
    assert flip_test(differences, weights) == pytest.approx(enumerated(differences, weights), abs=1e-10)


def test_the_test_holds_its_level_also_with_rounded_weights():
    generator = np.random.default_rng(0)
    weights = [Fraction(1, 191), Fraction(1, 193), Fraction(1, 64)]
    found = [flip_test([generator.integers(-1, 2, size) for size in (191, 193, 64)], weights) for _ in range(200)]
    assert np.mean(np.array(found) <= 0.05) <= 0.08
    assert 0.4 < np.mean(found) < 0.6


def test_weights_average_rows_within_axes_and_then_axes():
    rows = ("train", "vision/table", "vision/noise-weak", "execution/position", "vision/table~control")
    assert column_rows("vision/table", rows) == {"vision/table": 1}
    assert column_rows("vision", rows) == {"vision/table": Fraction(1, 2), "vision/noise-weak": Fraction(1, 2)}
    assert column_rows("held-out", rows) == {
        "vision/table": Fraction(1, 4),
        "vision/noise-weak": Fraction(1, 4),
        "execution/position": Fraction(1, 2),
    }


def test_what_a_test_cannot_tell_from_the_best_is_bold(tmp_path):
    # Against 12 of 12: losing 4 has p = 1/8, losing all 12 has 2/4096, which Holm doubles for two comparisons.
    for policy, marks in {"best": "1" * 12, "near": "1" * 8 + "0" * 4, "far": "0" * 12}.items():
        write_run(tmp_path / policy, {"train": marks}, policy=policy)
    assert tied_with_best(frames_of(tmp_path)) == {
        "in-distribution": {"best", "near"},
        "train": {"best", "near"},
    }


def test_more_comparisons_make_more_ties(tmp_path):
    # Losing 6 of 6 has p = 1/32: clear for one comparison, not after Holm for two.
    write_run(tmp_path / "best", {"train": "1" * 6}, policy="best")
    write_run(tmp_path / "other", {"train": "0" * 6}, policy="other")
    assert tied_with_best(frames_of(tmp_path))["train"] == {"best"}
    write_run(tmp_path / "third", {"train": "0" * 6}, policy="third")
    assert tied_with_best(frames_of(tmp_path))["train"] == {"best", "other", "third"}


def test_an_oracle_is_no_competitor(tmp_path):
    for policy, marks in {"expert (oracle)": "1" * 12, "good": "1" * 11 + "0", "bad": "0" * 12}.items():
        write_run(tmp_path / policy, {"train": marks}, policy=policy)
    assert tied_with_best(frames_of(tmp_path))["train"] == {"good"}


def test_nothing_is_bold_for_one_entry_alone(tmp_path):
    write_run(tmp_path / "only", {"train": "10"})
    assert tied_with_best(frames_of(tmp_path))["train"] == frozenset()


def test_published_results_take_no_part(example_frames):
    from vlagen.leaderboard.published import read_published, with_published

    assert tied_with_best(with_published(example_frames, read_published())) == tied_with_best(example_frames)
