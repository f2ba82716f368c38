import io
import json
import math
import time

import pytest
from rich.console import Console

from tests.benchmark.toys import record
from vlagen.benchmark.statistics import summarize_row
from vlagen.benchmark.watching.counting import Counts, Pace
from vlagen.benchmark.watching.progress import JsonLines, Quiet, RichProgress, duration
from vlagen.tasks.variants import variant


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def watch(plan_size, so_far=(), terminal=False, every=30.0):
    console = Console(file=io.StringIO(), width=80, force_terminal=terminal, color_system=None)
    clock = Clock()
    progress = RichProgress(console, every=every, clock=clock)
    progress.begin(plan_size, so_far)
    return progress, clock, console.file


def test_successes_are_counted_by_row_and_axis_without_errors():
    counts = Counts({"odd/one": "vision"})
    for row, index, outcome in (
        ("vision/table", 1, "success"),
        ("vision/table", 2, "failure"),
        ("vision/noise-weak", 1, "error"),
        ("odd/one", 1, "success"),
        ("train", 1, "failure"),
    ):
        counts.add(record(row, index, outcome, failure="dropped" if outcome == "failure" else None))
    assert {row: (count.n, count.successes) for row, count in counts.rows.items()} == {
        "vision/table": (2, 1),
        "vision/noise-weak": (0, 0),
        "odd/one": (1, 1),
        "train": (1, 0),
    }
    assert {axis: (count.n, count.successes) for axis, count in counts.axes.items()} == {
        "vision": (3, 2),
        "in-distribution": (1, 0),
    }
    assert math.isnan(counts.rows["vision/noise-weak"].rate)
    assert counts.failures == {("vision/table", "dropped"): 1, ("train", "dropped"): 1}
    assert (counts.finished, counts.errors) == (5, 1)


def test_an_episode_that_is_played_again_counts_as_it_ended_last():
    counts = Counts({})
    for outcome in ("error", "failure", "success"):
        counts.add(record("train", 1, outcome, failure="dropped" if outcome == "failure" else None))
    assert (counts.finished, counts.errors, counts.rows["train"].n, counts.rows["train"].successes) == (1, 0, 1, 1)
    assert not +counts.failures


def test_pace_is_that_of_the_session_and_what_is_left_counts_down():
    clock = Clock()
    pace = Pace(clock)
    assert math.isnan(pace.per_minute)
    assert math.isnan(pace.seconds_left(5))
    for _ in range(4):
        clock.now += 6
        pace.tick()
    assert pace.per_minute == pytest.approx(10)
    assert pace.seconds_left(5) == pytest.approx(30)
    clock.now += 4
    assert pace.per_minute == pytest.approx(10)
    assert pace.seconds_left(5) == pytest.approx(26)
    clock.now += 100
    assert pace.seconds_left(5) == 0


def test_pace_follows_a_change_of_speed_and_survives_episodes_that_end_together():
    clock = Clock()
    pace = Pace(clock)
    for seconds, batches in ((2.0, 400), (12.0, 400)):
        for _ in range(batches):
            clock.now += seconds
            for _ in range(2):
                pace.tick()
    assert pace.per_minute == pytest.approx(10, rel=0.05)


def test_without_a_terminal_there_are_plain_lines_now_and_then():
    progress, clock, file = watch(8)
    for index in range(1, 7):
        clock.now += 10
        progress.record(record("vision/table", index, "success" if index % 2 else "failure"))
    clock.now += 10
    progress.record(record("train", 7, "error", error="boom"))
    clock.now += 10
    progress.record(record("train", 8))
    progress.end([])
    assert file.getvalue().splitlines() == [
        "3/8 episodes, 6.0 a minute, 0:50 left, success: vision 67% of 3, vision/table",
        "6/8 episodes, 6.0 a minute, 0:20 left, success: vision 50% of 6, vision/table",
        "8/8 episodes, 6.0 a minute, 0:00 left, success: vision 50% of 6, in-distribution 100% of 1, 1 error, train",
    ]


def test_a_resumed_run_counts_what_there_is_but_not_its_speed():
    known = [record("train", index) for index in range(90)]
    progress, clock, file = watch(100, known, every=0)
    assert "Continuing: 10 of 100 episodes are missing." in file.getvalue()
    clock.now += 30
    progress.record(record("train", 90, "failure"))
    assert "91/100 episodes, 2.0 a minute, 4:30 left, success: in-distribution 99% of 91" in file.getvalue()


def test_a_complete_run_says_so():
    _, _, file = watch(2, [record("train", 1), record("train", 2)])
    assert file.getvalue() == "This run is complete; nothing is played again.\n"


def test_a_plan_may_grow():
    progress, clock, file = watch(2, every=0)
    for index in (1, 2):
        clock.now += 6
        progress.record(record("train", index))
    progress.begin(4, [record("train", index) for index in (1, 2)])
    clock.now += 6
    progress.record(record("train", 3))
    assert "3/4 episodes, 10.0 a minute, 0:06 left" in file.getvalue().splitlines()[-1]
    assert "Continuing" not in file.getvalue()


def test_in_a_terminal_the_display_is_80_columns_wide_and_vanishes():
    progress, clock, file = watch(100, terminal=True)
    for index, row in enumerate(["train", "vision/table", "semantics/object", "execution/position"] * 8):
        clock.now += 7
        progress.record(record(row, index, "failure" if index % 3 else "success"))
    progress.record(record("execution/position", 99, "error"))
    console = Console(file=io.StringIO(), width=80)
    console.print(progress._render())
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    words = " ".join(text.split())
    assert "33/100 episodes 8.8 a minute, 7:35 left" in words
    assert "in-distribution 38% of 8, vision 25% of 8, semantics 38% of 8, execution 38% of 8" in words
    assert "execution/position 1 error" in words
    progress.end([])
    assert file.getvalue().endswith("\x1b[2K")
    progress.end([])


def test_odd_row_names_are_shown_as_they_are():
    progress, clock, file = watch(1, every=0)
    clock.now += 1
    progress.record(record("vision/[bold]x[/bold]@0.3", 1))
    assert "success: other 100% of 1, vision/[bold]x[/bold]@0.3" in file.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_recording_takes_no_time(terminal):
    progress, _, _ = watch(4000, terminal=terminal)
    records = [record("vision/table", index, "success") for index in range(2000)]
    started = time.perf_counter()
    for one in records:
        progress.record(one)
    mean = (time.perf_counter() - started) / len(records)
    progress.end([])
    assert mean < 0.2e-3


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.2, "1:00"), (123, "2:03"), (3723, "1:02:03")])
def test_durations(seconds, text):
    assert duration(seconds) == text


def lines_of(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_lines_have_the_documented_fields_and_no_more():
    stream = io.StringIO()
    known = [record("train", 1)]
    played = [
        record("train", 2, "failure", failure="dropped", steps=80, timing={"seconds": 3.5}),
        record("train", 3, "error", error="A\nB: c\n"),
    ]
    observer = JsonLines(stream)
    observer.begin(3, known)
    for one in played:
        observer.record(one)
    rows = [variant("train"), variant("vision/table")]
    observer.end([summarize_row(row.protocol, "builtin", row.id, row.axis, known + played) for row in rows])
    begin, failed, broken, end = lines_of(stream)
    assert begin == {"event": "begin", "total": 3, "finished": 1, "errors": 0, "schema": 1}
    assert failed == {
        "event": "episode", "total": 3, "finished": 2, "errors": 0, "protocol": "vlagen-v1", "row": "train", "index": 2,
        "outcome": "failure", "success_once": False, "failure": "dropped", "steps": 80, "seconds": 3.5, "error": None,
    }  # fmt: skip
    assert (broken["outcome"], broken["error"], broken["errors"], broken["success_once"]) == ("error", "B: c", 1, None)
    assert (end["event"], end["complete"], end["finished"]) == ("end", False, 3)
    train, table = end["rows"]
    assert (train["n"], train["successes"], train["success_at_end"], train["errors"]) == (2, 1, 0.5, 1)
    assert 0 < train["ci_low"] < 0.5 < train["ci_high"] < 1
    assert (table["n"], table["success_at_end"], table["ci_low"], table["grasped"]) == (0, None, None, None)


def test_json_lines_tell_a_complete_run_from_one_that_was_stopped():
    for played, complete in ((1, False), (2, True)):
        stream = io.StringIO()
        observer = JsonLines(stream)
        observer.begin(2, [])
        for index in range(played):
            observer.record(record("train", index))
        observer.end([])
        assert lines_of(stream)[-1] == {
            "event": "end", "total": 2, "finished": played, "errors": 0, "complete": complete, "rows": []
        }  # fmt: skip


def test_json_lines_reach_the_reader_at_once(tmp_path):
    with (tmp_path / "lines").open("w") as stream:
        observer = JsonLines(stream)
        observer.begin(1, [])
        observer.record(record("train", 1))
        assert len((tmp_path / "lines").read_text().splitlines()) == 2


def test_quiet_is_quiet(capsys):
    observer = Quiet()
    observer.begin(1, [])
    observer.record(record("train", 1))
    observer.end([])
    assert capsys.readouterr() == ("", "")
