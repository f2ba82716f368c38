"""The plugin inside a pytest of its own (pytester), on the toy world. What is judged how: ``test_gate.py``."""

import re
import subprocess
import sys
from importlib import metadata

import pytest
import rich.console  # noqa: F401 - see below

from tests.benchmark import toys

# What is imported for the first time inside of pytester is imported again the next time, and rich does not bear that.
from vlagen.benchmark import report  # noqa: F401
from vlagen.benchmark.records import read_records

MODULE = "vlagen.benchmark.gate.pytest_plugin"
INSTALLED = any(entry.value == MODULE for entry in metadata.entry_points(group="pytest11"))
# Hypothesis' own plugin takes a second to load, in every pytest inside of this one.
PLUGIN = ("-p", "no:hypothesispytest", *(() if INSTALLED else ("-p", MODULE)))
TOYS = (
    f"--vlagen-simulator={toys.__name__}:ToySimulator",
    f"--vlagen-assets={toys.ASSETS}",
    "--vlagen-suite=vlagen-v1",
)
ROWS = "--vlagen-rows=train,vision/table"


@pytest.fixture
def play(pytester):
    def run(policy, *arguments, rows=ROWS, suite=TOYS):
        return pytester.runpytest_inprocess(
            *PLUGIN, f"--vlagen-policy={toys.named(policy)}", "--vlagen-video=none", rows, *suite, *arguments
        )

    return run


@pytest.fixture
def baseline(tmp_path):
    """A run of the policy that always succeeds, eight episodes of two rows."""
    toys.evaluate(tmp_path / "baseline", toys.SlowPolicy, episodes=8)
    return tmp_path / "baseline"


def rows_played(folder):
    return [(record.row, record.outcome) for record in read_records(folder / "episodes.jsonl")[0]]


def test_a_folder_without_tests_gets_one_test_a_row(play, pytester):
    result = play(toys.SlowPolicy, "--vlagen-episodes=2", "--vlagen-out=out", "-v")
    result.assert_outcomes(passed=2)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(
        [
            "*collected 2 items",
            "",
            "vlagen[[]train] *PASSED*",
            "vlagen[[]vision/table] *PASSED*",
            "*= vlagen =*",
            "vision/table * 2 *100.0*",
            "No thresholds were given*--vlagen-thresholds FILE.toml*",
            "Records and videos: out;*",
        ]
    )
    assert len(rows_played(pytester.path / "out")) == 4


def test_other_tests_run_as_well_and_markers_and_keywords_choose(play, pytester):
    pytester.makepyfile("def test_own(): pass")
    play(toys.SlowPolicy, "--vlagen-episodes=1", "--strict-markers").assert_outcomes(passed=3)
    play(toys.SlowPolicy, "--vlagen-episodes=1", "-m", "not vlagen").assert_outcomes(passed=1, deselected=2)
    result = play(toys.SlowPolicy, "--vlagen-episodes=1", "-k", "vision/table", "--vlagen-out=out")
    result.assert_outcomes(passed=1, deselected=2)
    assert rows_played(pytester.path / "out") == [("vision/table", "success")]


def test_the_commas_of_a_rows_pools_do_not_separate_rows(play, pytester):
    part = "train[objects=0,tables=0]"
    rows = f"--vlagen-rows=train,{part},vision/table"
    result = play(toys.SlowPolicy, "--vlagen-episodes=1", "--vlagen-out=out", rows=rows)
    result.assert_outcomes(passed=3)
    assert {row for row, _ in rows_played(pytester.path / "out")} == {"train", part, "vision/table"}


def test_collecting_plays_nothing(play, pytester):
    result = play(toys.SlowPolicy, "--collect-only", "-q", "--vlagen-out=out")
    result.stdout.fnmatch_lines(["vlagen[[]train]", "vlagen[[]vision/table]"])
    assert not (pytester.path / "out").exists()


def test_without_its_options_the_plugin_does_nothing_and_imports_nothing(pytester):
    assert pytester.runpytest_inprocess(*PLUGIN).ret == pytest.ExitCode.NO_TESTS_COLLECTED
    code = f"import sys, pytest; before = set(sys.modules); import {MODULE}; print(*set(sys.modules) - before)"
    imported = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    ours = {"vlagen", "vlagen.benchmark", "vlagen.benchmark.gate", MODULE}
    assert {name for name in imported if name.split(".")[0] == "vlagen"} <= ours
    assert not {"numpy", "rich", "torch"} & set(imported)
    assert len(set(imported) - ours) <= 3


def test_an_error_fails_its_row_with_the_last_line_of_its_traceback(play):
    result = play(toys.RaisingPolicy, "--vlagen-episodes=4")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["train: * of 4 episodes ended in errors; the first, episode *: *toy trouble*"])
    assert "rollout.py" not in result.stdout.str()


def test_thresholds_decide_row_by_row(play, pytester):
    (pytester.path / "thresholds.toml").write_text('default = 0.8\n[rows]\n"vision/table" = 0.0\n')
    arguments = ("--vlagen-episodes=4", "--vlagen-thresholds=thresholds.toml")
    play(toys.SlowPolicy, *arguments).assert_outcomes(passed=2)
    result = play(toys.FastPolicy, *arguments)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "train: success at the end 0.0% (0 of 4, 95% interval 0.0% to 49.0%) is below the threshold of 80.0%*",
            "failed episodes:",
            "  * (no video)",
        ]
    )
    assert "No thresholds were given" not in result.stdout.str()
    play(toys.FastPolicy, *arguments, "--last-failed").assert_outcomes(failed=1, deselected=1)


def test_a_significant_drop_fails_with_the_numbers(play, baseline):
    result = play(toys.FastPolicy, f"--vlagen-baseline={baseline}", "--vlagen-episodes=8")
    result.assert_outcomes(failed=2)
    # One-sided with 8 of 8 lost: 1 / 2^8 = 0.0039, twice that after Holm.
    result.stdout.fnmatch_lines(
        [
            "train: success at the end fell from 100.0% in the baseline to 0.0% now on the same 8 episodes: -100.0*",
            "  solved by the baseline only: 8, by this policy only: 0; *p = 0.0039, after Holm over 2 rows*0.0078*",
            "  a true drop of * points would have been found with a probability of 80%",
            "solved by the baseline and failed now:",
            "Baseline (A): *16 pairs of episodes compared; left out: 0 with an error*",
            "Mean difference over 2 rows: -100.0 points, 95% interval *",
        ]
    )


def test_lost_episodes_are_listed_with_their_videos(play, baseline, pytester):
    pytest.importorskip("imageio_ffmpeg")
    arguments = (f"--vlagen-baseline={baseline}", "--vlagen-episodes=8", "--vlagen-video=failures", "--vlagen-out=out")
    result = play(toys.FastPolicy, *arguments, rows="--vlagen-rows=train")
    record = read_records(pytester.path / "out" / "episodes.jsonl")[0][0]
    path = f"out/videos/train/{record.index}_failure.mp4"
    assert (pytester.path / path).stat().st_size > 0
    result.stdout.fnmatch_lines(
        ["solved by the baseline and failed now:", f"  {record.index}  {record.failure}  {path}"]
    )


def test_few_episodes_cannot_fail_and_an_equal_policy_passes(play, baseline):
    # 1 / 2^4 is above 5%.
    play(toys.FastPolicy, f"--vlagen-baseline={baseline}", "--vlagen-episodes=4").assert_outcomes(passed=2)
    play(toys.SlowPolicy, f"--vlagen-baseline={baseline}", "--vlagen-episodes=8").assert_outcomes(passed=2)


def test_the_baseline_says_what_to_play(play, baseline, pytester):
    simulator = TOYS[:1]
    play(toys.SlowPolicy, f"--vlagen-baseline={baseline}", "--vlagen-out=out", rows="-v", suite=simulator)
    assert rows_played(pytester.path / "out") == rows_played(baseline)
    # And what has been played so can be the next baseline.
    play(toys.FastPolicy, "--vlagen-baseline=out", rows="-v", suite=simulator).assert_outcomes(failed=2)


def test_a_baseline_of_other_episodes_is_refused_before_anything_is_played(play, baseline, pytester):
    result = play(toys.SlowPolicy, f"--vlagen-baseline={baseline}", rows="--vlagen-rows=execution")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: vlagen: *has no episode of execution/position*"])
    other = (*TOYS[:1], "--vlagen-suite=vlagen-v1", "--vlagen-assets=builtin")
    result = play(toys.SlowPolicy, f"--vlagen-baseline={baseline}", suite=other)
    result.stderr.fnmatch_lines(["ERROR: vlagen: *assets.name is 'rl4vla' there and 'builtin' here*"])
    other = (*TOYS[:2], "--vlagen-suite=rl4vla")
    result = play(toys.SlowPolicy, f"--vlagen-baseline={baseline}", suite=other)
    result.stderr.fnmatch_lines(["ERROR: vlagen: *protocol is 'vlagen-v1' there and 'rl4vla' here*"])
    assert not (pytester.path / "runs").exists()


def test_rows_are_played_when_their_turn_comes(play, pytester):
    (pytester.path / "thresholds.toml").write_text("default = 1.0")
    result = play(
        toys.FastPolicy, "--vlagen-episodes=2", "--vlagen-thresholds=thresholds.toml", "-x", "--vlagen-out=out"
    )
    result.assert_outcomes(failed=1)
    assert rows_played(pytester.path / "out") == [("train", "failure")] * 2


def test_an_interrupted_run_is_continued(play, pytester):
    (pytester.path / "thresholds.toml").write_text("default = 1.0")
    arguments = ("--vlagen-episodes=2", "--vlagen-thresholds=thresholds.toml", "--vlagen-out=out")
    play(toys.FastPolicy, *arguments, "-x")
    play(toys.FastPolicy, *arguments).assert_outcomes(failed=2)
    assert [row for row, _ in rows_played(pytester.path / "out")] == ["train", "train", "vision/table", "vision/table"]


def test_workers_change_nothing_but_the_time(play, pytester):
    play(toys.SeededPolicy, "--vlagen-episodes=3", "--vlagen-out=one").assert_outcomes(passed=2)
    play(toys.SeededPolicy, "--vlagen-episodes=3", "--vlagen-out=two", "--vlagen-workers=2").assert_outcomes(passed=2)
    assert toys.timeless_lines(pytester.path / "one") == toys.timeless_lines(pytester.path / "two")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--vlagen-episodes=2"], "ERROR: --vlagen-episodes needs --vlagen-policy"),
        (["--vlagen-policy=expret"], "ERROR: vlagen: *expert*"),
        (["--vlagen-policy=noop", "--vlagen-rows=visoin"], "ERROR: vlagen: *did you mean 'vision'*"),
        (["--vlagen-policy=noop", "--vlagen-suite=smoek"], "ERROR: vlagen: *did you mean 'smoke'*"),
        (["--vlagen-policy=noop", "--vlagen-baseline=nowhere"], "ERROR: vlagen: baseline nowhere holds no run.json*"),
        (["--vlagen-policy=noop", "--vlagen-thresholds=nothing.toml"], "ERROR: vlagen: nothing.toml: *"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_played(pytester, arguments, message):
    result = pytester.runpytest_inprocess(*PLUGIN, TOYS[0], *arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])


def test_a_folder_in_use_is_not_touched(play, pytester):
    request = toys.Request(
        policy=toys.named(toys.SlowPolicy), out=pytester.path / "out", rows=("train",), assets=toys.ASSETS
    )
    with toys.Evaluation(request, toys.ToySimulator):
        result = play(toys.SlowPolicy, "--vlagen-out=out", "--vlagen-episodes=2")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: vlagen: *is being written by process*"])


def test_spreading_by_xdist_is_refused_with_the_way_out(play, pytester):
    pytester.makeconftest("def pytest_addoption(parser): parser.addoption('--dist', default='no')")
    result = play(toys.SlowPolicy, "--dist=load")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *pytest-xdist cannot spread them: add -n 0, and --vlagen-workers N*"])
    play(toys.SlowPolicy, "--dist=no", "--vlagen-episodes=1").assert_outcomes(passed=2)


def test_the_default_folder_is_new_every_time(play, pytester):
    play(toys.SlowPolicy, "--vlagen-episodes=1")
    (folder,) = (pytester.path / "runs").iterdir()
    assert re.fullmatch(r"pytest-\d{8}-\d{6}-\d{6}", folder.name)
