"""The frames say what the records say, checked by hand."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from tests.leaderboard.conftest import ROWS, frames_of
from tests.leaderboard.synthetic import write_random_runs, write_run
from vlagen.benchmark.records import read_records
from vlagen.benchmark.statistics import summarize_axes, summarize_held_out, summarize_row
from vlagen.leaderboard.frames import AXIS_COLUMNS, ROW_COLUMNS, build_frames
from vlagen.leaderboard.naming import Name
from vlagen.leaderboard.runs import load_runs
from vlagen.leaderboard.summaries import axis_of
from vlagen.leaderboard.tracks import tracks
from vlagen.tasks.variants import variants


def line(frame, **keys):
    for name, value in keys.items():
        frame = frame[frame[name] == value]
    (found,) = frame.to_dict("records")
    return found


def test_rows_of_the_example(example_frames):
    rows = example_frames.rows
    assert tuple(rows.columns) == ROW_COLUMNS
    assert len(rows) == 8
    assert rows["row"].tolist() == [*ROWS, *ROWS]
    found = line(rows, entry="alpha", row="execution/position")
    assert (found["n"], found["successes"], found["success_at_end"], found["success_once"]) == (4, 2, 0.5, 0.75)
    assert (found["kind"], found["axis"], found["seeds"], found["errors"]) == ("measured", "execution", 1, 0)
    # Wilson's interval of 7 in 8, from its formula by hand: 0.875 moved to 0.7533 with a half-width of 0.2242.
    found = line(rows, entry="alpha", row="train")
    assert (found["ci_low"], found["ci_high"]) == pytest.approx((0.5291, 0.9776), abs=1e-4)


def test_axes_of_the_example(example_frames):
    axes = example_frames.axes
    assert tuple(axes.columns) == AXIS_COLUMNS
    vision = line(axes, entry="alpha", axis="vision")
    assert (vision["rows"], vision["n"], vision["success_at_end"]) == (2, 8, 0.5)
    assert vision["relative_drop"] == pytest.approx(1 - 0.5 / 0.875)
    held_out = line(axes, entry="beta", axis="held-out")
    # Vision (1/4 + 0) / 2 and execution 1/4, each with half of the weight; from 1/8 in training.
    assert held_out["success_at_end"] == pytest.approx((1 / 8 + 1 / 4) / 2)
    assert held_out["relative_drop"] == pytest.approx(1 - (3 / 16) / (1 / 8))
    assert math.isnan(line(axes, entry="beta", axis="in-distribution")["relative_drop"])
    # A single row has one interval, in whichever frame.
    row = line(example_frames.rows, entry="beta", row="execution/position")
    axis = line(axes, entry="beta", axis="execution")
    assert (row["ci_low"], row["ci_high"]) == (axis["ci_low"], axis["ci_high"])


def test_failures_add_up_to_what_did_not_succeed(example_frames):
    failures = example_frames.failures
    totals = failures.groupby(["entry", "row"], observed=True)["count"].sum()
    for row in example_frames.rows.to_dict("records"):
        assert totals.get((row["entry"], row["row"]), 0) == row["n"] - row["successes"]
    assert line(failures, entry="alpha", row="execution/position", category="placed-then-lost")["count"] == 1


def test_one_seed_has_the_numbers_that_an_evaluation_prints(tmp_path):
    (run,) = write_random_runs(tmp_path, policies=1, episodes=16)
    frames = frames_of(tmp_path)
    records, _ = read_records(run / "episodes.jsonl")
    rows = [summarize_row("vlagen-v1", "builtin", row.id, row.axis, records) for row in variants()]
    for found, expected in zip(frames.rows.to_dict("records"), rows, strict=True):
        assert (found["row"], found["n"], found["successes"]) == (expected.row, expected.n, expected.successes)
        assert (found["ci_low"], found["ci_high"]) == expected.interval
        assert found["success_once"] == pytest.approx(expected.success_once)
    for expected in summarize_axes(rows):
        found = line(frames.axes, axis=expected.axis)
        assert found["success_at_end"] == pytest.approx(expected.success_at_end)
        assert (found["ci_low"], found["ci_high"]) == expected.interval
    expected, found = summarize_held_out(rows), line(frames.axes, axis="held-out")
    assert found["success_at_end"] == expected.success_at_end
    assert (found["ci_low"], found["ci_high"]) == expected.interval
    assert found["relative_drop"] == expected.relative_drop
    assert (found["drop_low"], found["drop_high"]) == expected.drop_interval


def test_the_best_entry_comes_first(tmp_path):
    for policy, marks in {"c": "11", "a": "00", "b": "11"}.items():
        write_run(tmp_path / policy, {"train": "10", "vision/table": marks}, policy=policy)
    frames = frames_of(tmp_path)
    assert frames.entries == ("b", "c", "a")
    assert list(dict.fromkeys(frames.rows["entry"])) == ["b", "c", "a"]
    assert list(dict.fromkeys(frames.runs["entry"])) == ["b", "c", "a"]


def test_means_over_fewer_rows_than_others_have_are_undefined(tmp_path):
    write_run(tmp_path / "all", {"train": "11", "vision/table": "10", "vision/noise-weak": "10"}, policy="all")
    write_run(tmp_path / "part", {"train": "11", "vision/table": "11"}, policy="part")
    axes = frames_of(tmp_path).axes
    assert line(axes, entry="all", axis="vision")["success_at_end"] == 0.5
    part = line(axes, entry="part", axis="vision")
    assert part["rows"] == 1
    assert all(math.isnan(part[name]) for name in ("success_at_end", "ci_low", "ci_high", "relative_drop"))
    assert line(axes, entry="part", axis="in-distribution")["success_at_end"] == 1


def test_a_policy_that_never_succeeded_in_training_has_no_drop(tmp_path):
    write_run(tmp_path / "run", {"train": "00", "vision/table": "10"})
    found = line(frames_of(tmp_path).axes, axis="vision")
    assert found["success_at_end"] == 0.5
    assert math.isnan(found["relative_drop"])


def test_derived_and_foreign_rows_are_in_no_mean_of_the_study(tmp_path):
    rows = {
        "train": "11",
        "vision/table": "10",
        "vision/texture-weak@0.35": "11",
        "vision/table~control": "11",
        "vision/table+execution/position": "11",
        "vision/table[objects=0-3,6,tables=16]": "11",
    }
    write_run(tmp_path / "run", rows)
    frames = frames_of(tmp_path)
    assert frames.rows["derived"].tolist() == [False, False, True, True, True, True]
    kinds = ["severity", "control", "composition", "part"]
    assert frames.rows["axis"].tolist() == ["in-distribution", "vision", *kinds]
    assert line(frames.axes, axis="vision")["success_at_end"] == 0.5
    assert set(frames.axes["axis"]) == {"in-distribution", "vision", "held-out"}
    assert axis_of("widowx/stack-cube") == "widowx"


def test_a_suite_of_other_rows_has_its_own_axes(tmp_path):
    write_run(tmp_path / "run", {"widowx/carrot": "10", "widowx/eggplant": "11"}, protocol="simpler-widowx")
    (axis,) = frames_of(tmp_path).axes.to_dict("records")
    assert (axis["axis"], axis["rows"], axis["success_at_end"]) == ("widowx", 2, 0.75)


def test_seeds_of_one_policy_are_pooled_and_their_episodes_are_not_counted_twice(tmp_path):
    for seed in range(3):
        write_run(tmp_path / f"{seed}", {"train": "1111111100000000"}, seed=seed)
    write_run(tmp_path / "single", {"train": "1111111100000000"}, policy="single")
    rows = frames_of(tmp_path).rows
    three, one = line(rows, entry="toy", row="train"), line(rows, entry="single", row="train")
    assert (three["seeds"], three["n"], three["successes"]) == (3, 48, 24)
    # Three seeds that went alike on every episode have shown no more than one.
    assert three["ci_high"] - three["ci_low"] == pytest.approx(one["ci_high"] - one["ci_low"], rel=0.06)


def test_trainings_that_came_out_differently_widen_the_interval(tmp_path):
    marks = {"0": "1" * 12 + "0" * 4, "1": "1" * 8 + "0" * 8, "2": "1" * 4 + "0" * 12}
    for number, text in marks.items():
        write_run(tmp_path / "trained" / number, {"train": text}, arguments={"checkpoint": number})
        write_run(tmp_path / "sampled" / number, {"train": text}, seed=int(number))
    trained = frames_of(tmp_path / "trained", names=[Name(("*",), "PPO")]).rows.iloc[0]
    sampled = frames_of(tmp_path / "sampled").rows.iloc[0]
    assert trained["success_at_end"] == sampled["success_at_end"] == 0.5
    assert trained["ci_low"] < sampled["ci_low"] - 0.1
    assert trained["ci_high"] > sampled["ci_high"] + 0.1


def test_errors_stay_out_of_rates_and_beside_them(tmp_path):
    write_run(tmp_path / "0", {"train": "1e01"})
    write_run(tmp_path / "1", {"train": "11e1"}, seed=1)
    (track,) = tracks(load_runs([tmp_path], allow_errors=True))
    (row,) = build_frames(track).rows.to_dict("records")
    # Episodes 0 and 3 are left: an error under one seed leaves the episode out for both.
    assert (row["n"], row["successes"], row["errors"]) == (4, 4, 2)


def test_a_row_of_errors_alone_is_undefined(tmp_path):
    write_run(tmp_path / "0", {"train": "ee", "vision/table": "10"})
    (track,) = tracks(load_runs([tmp_path], allow_errors=True))
    frames = build_frames(track)
    row = line(frames.rows, row="train")
    assert (row["n"], row["errors"]) == (0, 2)
    assert all(math.isnan(row[name]) for name in ("success_at_end", "ci_low", "ci_high", "success_once"))
    assert math.isnan(line(frames.axes, axis="vision")["relative_drop"])


def test_only_shared_episodes_are_kept_on_request(tmp_path):
    write_run(tmp_path / "long", {"train": "1100"}, policy="long")
    write_run(tmp_path / "short", {"train": "10", "vision/table": "1"}, policy="short")
    rows = frames_of(tmp_path, common=True).rows
    assert line(rows, entry="long", row="train")["n"] == 2
    assert line(rows, entry="long", row="train")["successes"] == 2
    assert line(rows, entry="short", row="vision/table")["n"] == 1


def test_episodes_of_all_runs_are_there_with_their_paths(tmp_path):
    write_run(tmp_path / "a", {"train": "1o"}, policy="a", videos=[("train", 1)])
    write_run(tmp_path / "b", {"train": "01"}, policy="b", seed=4)
    episodes = frames_of(tmp_path).episodes
    assert len(episodes) == 4
    found = line(episodes, entry="a", index=13)
    assert (found["outcome"], found["failure"], found["row"]) == ("failure", "placed-then-lost", "train")
    assert found["video"] == "videos/train/13_failure.mp4"
    assert found["run"] == str(tmp_path / "a")
    assert found["gripper_path"].shape == (16, 3)
    other = line(episodes, entry="b", index=3)
    assert other["seed"] == 4
    assert other["video"] is None
    assert isinstance(episodes["entry"].dtype, pd.CategoricalDtype)
    assert not episodes.loc[episodes["outcome"] == "success", "failure"].notna().any()
