"""A comparison agrees with the paired statistics that the evaluation uses, and its words with its numbers."""

from __future__ import annotations

import io
import math
import re

import pytest
from rich.console import Console

from tests.leaderboard.conftest import frames_of
from tests.leaderboard.synthetic import random_outcomes, write_run
from vlagen.benchmark import paired
from vlagen.benchmark.records import read_records
from vlagen.leaderboard.breaking import BreakableName
from vlagen.leaderboard.compare import compare
from vlagen.leaderboard.errors import NotOneTable
from vlagen.leaderboard.frames import build_frames
from vlagen.leaderboard.naming import Name
from vlagen.leaderboard.runs import load_runs
from vlagen.leaderboard.tracks import tracks
from vlagen.leaderboard.verdict import tables, verdict


def two(tmp_path, a, b, **options):
    write_run(tmp_path / "a", a, policy="A", **options)
    write_run(tmp_path / "b", b, policy="B", **options)
    return compare(frames_of(tmp_path, common=True), "A", "B")


def test_one_seed_each_is_what_the_evaluation_compares(tmp_path):
    found = two(tmp_path, random_outcomes(0, 24, 0.5), random_outcomes(1, 24, 0.9))
    expected = paired.compare(*(read_records(tmp_path / name / "episodes.jsonl")[0] for name in "ab"))
    for ours, theirs in zip(found.rows, expected.rows, strict=True):
        assert (ours.name, ours.episodes) == (theirs.row, theirs.pairs)
        assert (ours.better, ours.worse) == (theirs.only_b, theirs.only_a)
        assert ours.interval == theirs.interval
        assert ours.p == pytest.approx(theirs.p.two_sided, abs=1e-12)
        assert ours.adjusted == pytest.approx(theirs.adjusted.two_sided, abs=1e-12)
        assert ours.detectable == pytest.approx(theirs.detectable, nan_ok=True)
    for ours, theirs in zip((*found.axes, found.headline), (*expected.axes, expected.held_out), strict=True):
        assert (ours.name, ours.rows, ours.episodes) == (theirs.name, theirs.rows, theirs.pairs)
        assert ours.difference == pytest.approx(theirs.difference)
        assert ours.interval == pytest.approx(theirs.interval, abs=1e-9)


def test_a_clear_difference_is_called_one_with_where_and_how_sure(tmp_path):
    found = two(tmp_path, {"train": "1" * 8, "vision/table": "0" * 8}, {"train": "1" * 8, "vision/table": "1" * 8})
    text = verdict(found)
    assert text.startswith("B is better than A on the held-out rows: 100.0% against 0.0% (+100.0 points, 95% interval ")
    assert "p = 0.008, 8 paired episodes of 1 row)" in text
    assert "By axis, in points: vision +100.0 (p = 0.016). No clear difference elsewhere: in-distribution." in text
    assert "Of 2 rows, B is clearly better on 1 (vision/table) and worse on none" in text


def test_no_clear_difference_is_called_that_with_what_would_have_shown(tmp_path):
    found = two(tmp_path, {"vision/table": "11110000" * 4}, {"vision/table": "11110001" * 4})
    text = verdict(found)
    assert text.startswith("These episodes do not tell B from A on the held-out rows: 62.5% against 50.0%")
    assert "is better" not in text
    assert re.search(r"a true difference of \d+ points would have shown four times in five", text)


def test_the_worse_is_called_worse(tmp_path):
    found = two(tmp_path, {"train": "1" * 10}, {"train": "0" * 10})
    assert found.headline.name == "all rows"
    assert verdict(found).startswith("B is worse than A over all rows: 0.0% against 100.0% (−100.0 points")


def test_telling_episodes_are_those_of_the_rows_that_differ_most(tmp_path):
    marks = {"train": "1111", "vision/table": "1100", "vision/noise-weak": "0000"}
    other = {"train": "1110", "vision/table": "1111", "vision/noise-weak": "1o00"}
    write_run(tmp_path / "a", marks, policy="A", videos=[("vision/table", 2)])
    write_run(tmp_path / "b", other, policy="B", videos=[("vision/table", 2)])
    found = compare(frames_of(tmp_path, common=True), "A", "B").episodes
    assert [(pair.row, pair.index) for pair in found] == [
        ("vision/table", 23),
        ("vision/table", 33),
        ("train", 33),
        ("vision/noise-weak", 3),
    ]
    assert (found[0].rate_a, found[0].rate_b) == (0, 1)
    assert found[0].video_a == f"{tmp_path}/a/videos/vision-table/23_failure.mp4"
    assert found[0].video_b == f"{tmp_path}/b/videos/vision-table/23_success.mp4"
    assert found[0].failure_a in ("never-reached", "reached-not-grasped", "wrong-object")
    assert (found[2].failure_a, found[2].failure_b is None, found[1].video_a) == (None, False, None)


def test_seeds_of_both_sides_are_averaged_episode_by_episode(tmp_path):
    for seed, (a, b) in enumerate([("1100", "1111"), ("1000", "1111")]):
        write_run(tmp_path / f"a{seed}", {"train": a}, policy="A", seed=seed)
        write_run(tmp_path / f"b{seed}", {"train": b}, policy="B", seed=seed)
    row = compare(frames_of(tmp_path, common=True), "A", "B").rows[0]
    assert (row.rate_a, row.rate_b, row.episodes) == (0.375, 1.0, 4)
    assert (row.better, row.worse) == (3, 0)
    # Three episodes differ, all in one direction: two of the eight ways to flip their signs are as extreme.
    assert row.p == pytest.approx(0.25)
    assert row.interval.low < 0.625 < row.interval.high <= 1
    assert math.isnan(row.detectable)


def test_trainings_that_vary_make_the_difference_less_sure(tmp_path):
    for seed, marks in enumerate(["1" * 14 + "00", "1" * 8 + "0" * 8, "1" * 2 + "0" * 14]):
        write_run(tmp_path / f"a{seed}", {"train": marks}, arguments={"checkpoint": seed})
    write_run(tmp_path / "b", {"train": "1" * 16}, policy="B")
    widths = []
    for paths in ([tmp_path / "a1"], [tmp_path / f"a{seed}" for seed in range(3)]):
        frames = frames_of(*paths, tmp_path / "b", names=[Name(("a?",), "A")], common=True)
        low, high = compare(frames, "A", "B").headline.interval
        widths.append(high - low)
    assert widths[1] > 1.3 * widths[0]


def test_errors_and_rows_of_one_side_are_left_out_and_said(tmp_path):
    write_run(tmp_path / "a", {"train": "11e", "vision/table": "1"}, policy="A")
    write_run(tmp_path / "b", {"train": "110"}, policy="B")
    (track,) = tracks(load_runs([tmp_path], allow_errors=True), common=True)
    found = compare(build_frames(track, common=True), "A", "B")
    assert found.rows[0].episodes == 2
    assert found.left_out == "1 rows that only A has played, e.g. vision/table; 1 episodes of A that ended in errors"
    assert verdict(found).endswith(f"Left out: {found.left_out}.")


def test_entries_without_a_row_in_common_cannot_be_compared(tmp_path):
    with pytest.raises(NotOneTable, match="no row in common"):
        two(tmp_path, {"train": "1"}, {"vision/table": "1"})


def test_the_tables_have_a_line_for_everything(tmp_path):
    found = two(tmp_path, random_outcomes(0, 8, 0.5), random_outcomes(1, 8, 0.9))
    differences, episodes = tables(found)
    assert differences.row_count == 1 + 4 + 16
    assert episodes.row_count == len(found.episodes)


def test_the_tables_fit_a_terminal_and_break_names_between_words(tmp_path):
    found = two(tmp_path, random_outcomes(0, 8, 0.5), random_outcomes(1, 8, 0.9))
    names = [found.headline.name, *(line.name for line in (*found.axes, *found.rows))]
    known = {word for name in names for word in re.split("[/-]", name)} | {""}
    for columns in (70, 80, 100):
        console = Console(width=columns, file=io.StringIO(), soft_wrap=True)
        differences, episodes = tables(found)
        console.print(differences)
        lines = console.file.getvalue().splitlines()
        assert {word for line in lines[3:] for word in re.split("[/-]", line.split(" ")[0])} <= known
        console.print(episodes)
        assert max(map(len, console.file.getvalue().splitlines())) <= columns
        assert "…" not in console.file.getvalue()


@pytest.mark.parametrize(
    ("name", "width", "lines"),
    [
        ("semantics/two-objects-seen", 26, ["semantics/two-objects-seen"]),
        ("semantics/two-objects-seen", 25, ["semantics/", "two-objects-seen"]),
        ("semantics/two-objects-seen", 15, ["semantics/two-", "objects-seen"]),
        ("semantics/two-objects-seen", 5, ["semantics/", "two-", "objects-", "seen"]),
        ("a b/c", 3, ["a ", "b/c"]),
        ("/runs/a/1_success.mp4", 12, ["/runs/a/1_", "success.mp4"]),
        ("[bold]", 80, ["[bold]"]),
        ("", 80, [""]),
    ],
)
def test_where_names_are_broken(name, width, lines):
    assert BreakableName(name).lines(width) == lines
