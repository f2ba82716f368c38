import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.benchmark import toys
from vlagen.assets.errors import VlagenError
from vlagen.assets.packs import MissingAsset
from vlagen.benchmark.evaluate import BadRequest, Evaluation, Request, plan, select_rows
from vlagen.benchmark.records import RunConflict, read_records
from vlagen.benchmark.workers import WorkerError
from vlagen.tasks.sampling import episode_indices
from vlagen.tasks.variants import ROW_IDS, UnknownVariant, variant, variants

ODD = {(row, index) for row in ("train", "vision/table") for index in episode_indices(variant(row), 4) if index % 2}


def records(out):
    return read_records(out / "episodes.jsonl")[0]


def test_there_are_odd_and_even_episodes_in_the_toy_plan():
    assert 0 < len(ODD) < 8


def test_rows_are_chosen_by_id_axis_or_all_in_the_order_of_the_table():
    assert [row.id for row in select_rows(["all"], "vlagen-v1")] == list(ROW_IDS)
    chosen = select_rows(["execution", "vision/table", "train", "execution/position"], "rl4vla")
    assert [row.id for row in chosen] == ["train", "vision/table", *(i for i in ROW_IDS if i.startswith("execution/"))]
    assert {row.protocol for row in chosen} == {"rl4vla"}


def test_unknown_rows_and_protocols_name_the_nearest():
    with pytest.raises(BadRequest, match="unknown row 'visoin/table'; did you mean 'vision/table'"):
        select_rows(["visoin/table"], "vlagen-v1")
    with pytest.raises(UnknownVariant, match="unknown protocol 'vlagen'; did you mean 'vlagen-v1'"):
        select_rows(["all"], "vlagen")
    with pytest.raises(BadRequest, match="no row was given"):
        select_rows([], "vlagen-v1")


def test_the_plan_lists_each_rows_first_episodes():
    rows = variants()[:2]
    episodes = plan(rows, 3)
    assert [(e.variant, e.index) for e in episodes] == [(row.id, i) for row in rows for i in episode_indices(row, 3)]
    with pytest.raises(BadRequest, match="--episodes 0; allowed: 1 to 250880"):
        plan(rows, 0)


def test_a_complete_run_is_recorded_in_plan_order(tmp_path):
    evaluation = toys.evaluate(tmp_path, toys.SlowPolicy)
    assert [record.key for record in records(tmp_path)] == [(e.variant, e.index) for e in evaluation.episodes]
    assert [(row.row, row.n, row.successes) for row in evaluation.summaries()] == [
        ("train", 4, 4),
        ("vision/table", 4, 4),
    ]


def test_files_do_not_depend_on_the_number_of_workers(tmp_path):
    for workers in (1, 2, 3):
        toys.evaluate(tmp_path / str(workers), workers=workers)
    one, two, three = (toys.timeless_lines(tmp_path / name) for name in "123")
    assert len(one) == 8
    assert one == two == three


def test_results_do_not_depend_on_which_rows_run_beside(tmp_path):
    toys.evaluate(tmp_path / "both")
    toys.evaluate(tmp_path / "one", rows=("vision/table",))
    assert toys.timeless_lines(tmp_path / "both")[4:] == toys.timeless_lines(tmp_path / "one")


def test_the_seed_of_the_run_reaches_the_policy(tmp_path):
    toys.evaluate(tmp_path / "0")
    toys.evaluate(tmp_path / "1", seed=1)
    assert not set(toys.timeless_lines(tmp_path / "0")) & set(toys.timeless_lines(tmp_path / "1"))


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("policy", "complaint"),
    [
        (toys.NanPolicy, "NanPolicy' at step 3 of row '{row}' returned [0.015625, 0.0, 0.0, 0.0, nan"),
        (toys.RaisingPolicy, "ZeroDivisionError: toy trouble"),
    ],
)
def test_an_episode_that_goes_wrong_is_an_error_and_the_run_goes_on(tmp_path, workers, policy, complaint):
    evaluation = toys.evaluate(tmp_path, policy, workers=workers)
    failed = [record for record in records(tmp_path) if record.outcome == "error"]
    assert {record.key for record in failed} == ODD
    for record in failed:
        assert record.error.startswith("Traceback")
        assert complaint.format(row=record.row) in record.error
        assert record.success_at_end is None
    assert sum(row.errors for row in evaluation.summaries()) == len(ODD)
    assert sum(row.successes for row in evaluation.summaries()) == 8 - len(ODD)


def test_error_records_do_not_depend_on_the_number_of_workers(tmp_path):
    for workers in (1, 2):
        toys.evaluate(tmp_path / str(workers), toys.RaisingPolicy, workers=workers)
    assert toys.timeless_lines(tmp_path / "1") == toys.timeless_lines(tmp_path / "2")


def test_an_episode_that_kills_two_workers_is_an_error_and_the_run_goes_on(tmp_path):
    toys.evaluate(tmp_path, toys.DyingPolicy, rows=("train",), workers=2)
    for record in records(tmp_path):
        assert record.outcome == ("error" if record.key in ODD else "success")
        if record.key in ODD:
            assert "2 worker processes were killed by SIGKILL" in record.error


def test_a_worker_that_dies_once_is_replaced_without_a_trace(tmp_path, monkeypatch):
    monkeypatch.setenv("TOY_MARKER", str(tmp_path / "marker"))
    toys.evaluate(tmp_path / "run", toys.DyingOncePolicy, workers=2)
    assert [record.outcome for record in records(tmp_path / "run")] == ["success"] * 8


def test_workers_that_cannot_start_stop_the_run(tmp_path):
    request = Request(policy=toys.named(toys.SlowPolicy), out=tmp_path, rows=("train",), assets=toys.ASSETS, workers=2)
    with (
        Evaluation(request, toys.UnstartableSimulator) as evaluation,
        pytest.raises(WorkerError, match="ended with exit code 3 while starting; `vlagen-doctor`"),
    ):
        list(evaluation.play())


def test_a_run_that_was_left_continues_with_what_is_missing(tmp_path):
    toys.evaluate(tmp_path / "undisturbed")
    request = Request(policy=toys.named(toys.SeededPolicy), out=tmp_path / "left", assets=toys.ASSETS,
                      rows=("train", "vision/table"), episodes=4)  # fmt: skip
    with Evaluation(request, toys.ToySimulator) as evaluation:
        playing = evaluation.play()
        for _ in range(3):
            next(playing)
        playing.close()
        assert len(evaluation.missing) == 5
    with Evaluation(request, toys.ToySimulator) as evaluation:
        assert len(list(evaluation.play())) == 5
    assert toys.timeless_lines(tmp_path / "left") == toys.timeless_lines(tmp_path / "undisturbed")


def test_a_finished_run_is_not_played_again(tmp_path):
    toys.evaluate(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert toys.evaluate(tmp_path).missing == ()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_run_killed_before_it_was_sorted_is_sorted_by_the_next_start(tmp_path):
    toys.evaluate(tmp_path)
    file = tmp_path / "episodes.jsonl"
    in_order = file.read_bytes()
    file.write_bytes(b"".join(reversed(in_order.splitlines(keepends=True))))
    toys.evaluate(tmp_path)
    assert file.read_bytes() == in_order


@pytest.mark.parametrize("workers", [1, 2])
def test_kill_nine_loses_nothing_that_was_finished(tmp_path, workers):
    toys.evaluate(tmp_path / "undisturbed", episodes=8)
    out = tmp_path / "killed"
    code = (
        "from pathlib import Path; from tests.benchmark import toys\n"
        f"if __name__ == '__main__': toys.evaluate(Path({str(out)!r}), episodes=8, workers={workers})"
    )
    seen = 0
    for wanted in (2, 7, 12):
        process = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": ":".join(sys.path)})
        while process.poll() is None and len(records(out)) < wanted:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert len(records(out)) >= max(seen, wanted)
        seen = len(records(out))
    assert seen < 16, "the process ended before it was killed, so this test has tested nothing"
    toys.evaluate(out, episodes=8, workers=workers)
    assert toys.timeless_lines(out) == toys.timeless_lines(tmp_path / "undisturbed")


def test_errors_stay_unless_they_are_to_be_retried(tmp_path):
    toys.evaluate(tmp_path, toys.RaisingPolicy)
    assert toys.evaluate(tmp_path, toys.RaisingPolicy).missing == ()
    request = Request(policy=toys.named(toys.RaisingPolicy), out=tmp_path, assets=toys.ASSETS,
                      rows=("train", "vision/table"), episodes=4, retry_errors=True)  # fmt: skip
    with Evaluation(request, toys.ToySimulator) as evaluation:
        assert {record.key for record in evaluation.play()} == ODD


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"policy": toys.FastPolicy}, "policy.name is 'tests.benchmark.toys:SeededPolicy' there"),
        ({"seed": 5}, "seed is 0 there and 5 here"),
        ({"protocol": "rl4vla"}, "protocol is 'vlagen-v1' there and 'rl4vla' here"),
        ({"episodes": 2}, "rows.train is .* there and .* here"),
        ({"rows": ("train",)}, "rows.vision/table is .* there and absent here"),
    ],
)
def test_a_folder_of_another_run_is_refused(tmp_path, changes, difference):
    toys.evaluate(tmp_path)
    with pytest.raises(RunConflict, match=difference):
        toys.evaluate(tmp_path, **changes)


def test_what_cannot_move_a_number_may_change_between_sessions(tmp_path):
    toys.evaluate(tmp_path)
    toys.evaluate(tmp_path, workers=2)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"workers": 0}, "--workers 0; allowed: 1 or more"),
        ({"video": "sucesses"}, "unknown video mode 'sucesses'"),
        ({"assets": "bultin"}, "unknown asset pack 'bultin'; did you mean 'builtin'"),
    ],
)
def test_bad_requests_are_refused_before_anything_is_written(tmp_path, changes, complaint):
    with pytest.raises(VlagenError, match=complaint):
        toys.evaluate(tmp_path / "out", **changes)
    assert not (tmp_path / "out").exists()


def test_a_missing_asset_is_named_before_the_first_episode(tmp_path, monkeypatch):
    monkeypatch.setenv("MS_ASSET_DIR", str(tmp_path / "empty"))
    with pytest.raises(MissingAsset, match="vlagen-assets download rl4vla"):
        Evaluation(Request(policy="noop", out=tmp_path / "out", rows=("train",), episodes=2, assets="rl4vla"))


def test_run_json_says_what_was_measured_and_where(tmp_path):
    toys.evaluate(tmp_path)
    run = json.loads((tmp_path / "run.json").read_text())
    identity, (session,) = run["identity"], run["sessions"]
    assert identity["rows"]["train"] == list(episode_indices(variant("train"), 4))
    assert identity["assets"]["name"] == toys.ASSETS
    assert set(identity["versions"]) >= {"vlagen", "mani_skill", "sapien", "torch", "numpy"}
    assert session["arguments"]["episodes"] == 4
    assert set(session) >= {"started_at", "command", "python", "platform", "git_commit"}
