import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from tests.benchmark import toys
from vlagen.assets.errors import VlagenError
from vlagen.assets.packs import MissingAsset
from vlagen.benchmark.evaluate import Evaluation
from vlagen.benchmark.plan import planned, select_rows
from vlagen.benchmark.pool import WorkerError
from vlagen.benchmark.records import RunConflict, read_records
from vlagen.benchmark.request import BadRequest, Request
from vlagen.tasks.sampling import episode_indices
from vlagen.tasks.variants import ROW_IDS, UnknownVariant, variant

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


def test_a_planned_row_lists_its_first_episodes():
    row = planned(variant("vision/table"))
    assert [e.index for e in row.listing(3)] == list(episode_indices(variant("vision/table"), 3))
    assert (row.id, row.axis, row.protocol) == ("vision/table", "vision", "vlagen-v1")


def test_more_episodes_than_a_row_has_are_refused(tmp_path):
    with pytest.raises(BadRequest, match="--episodes 0; allowed: 1 to 250880"):
        toys.evaluate(tmp_path, episodes=0)


def test_a_complete_run_is_recorded_in_plan_order(tmp_path):
    evaluation = toys.evaluate(tmp_path, toys.SlowPolicy)
    assert [record.key for record in records(tmp_path)] == [(e.variant, e.index) for e in evaluation.episodes]
    assert [(row.row, row.n, row.successes) for row in evaluation.summaries()] == [
        ("train", 4, 4),
        ("vision/table", 4, 4),
    ]


@pytest.mark.parametrize("backend", ["replicas", "batched"])
def test_files_depend_neither_on_the_backend_nor_on_the_number_of_workers(tmp_path, backend):
    toys.evaluate(tmp_path / "1")
    for workers in (2, 3):
        toys.evaluate(tmp_path / str(workers), workers=workers, backend=backend)
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


WAYS = [{"workers": 1}, {"workers": 2, "backend": "replicas"}, {"workers": 3, "backend": "batched"}]


@pytest.mark.parametrize("how", WAYS, ids=["in-process", "replicas", "batched"])
@pytest.mark.parametrize(
    ("policy", "complaint"),
    [
        (toys.NanPolicy, "NanPolicy' at step 3 of row '{row}'"),
        (toys.FarPolicy, "FarPolicy' at step 3 of row '{row}'"),
        (toys.ShapelessPolicy, "returned shape"),
        (toys.RaisingPolicy, "ZeroDivisionError: toy trouble"),
        (toys.HangingPolicy, "DeadlineExceeded: the policy's act at step 2 of row '{row}' took more than 0.3 s"),
    ],
)
def test_an_episode_that_goes_wrong_is_an_error_and_the_run_goes_on(tmp_path, how, policy, complaint):
    evaluation = toys.evaluate(tmp_path, policy, timeout=0.3 if policy is toys.HangingPolicy else 60, **how)
    failed = [record for record in records(tmp_path) if record.outcome == "error"]
    assert {record.key for record in failed} == ODD
    for record in failed:
        assert record.timing["attempts"] == 2
        assert complaint.format(row=record.row) in record.error
        assert record.success_at_end is None
    assert sum(row.errors for row in evaluation.summaries()) == len(ODD)
    assert sum(row.successes for row in evaluation.summaries()) == 8 - len(ODD)


@pytest.mark.parametrize("policy", [toys.RaisingPolicy, toys.NanPolicy])
def test_error_records_do_not_depend_on_the_backend(tmp_path, policy):
    for number, how in enumerate(WAYS):
        toys.evaluate(tmp_path / str(number), policy, **how)
    first, *others = (toys.timeless_lines(tmp_path / str(number)) for number in range(len(WAYS)))
    assert others == [first, first]


@pytest.mark.parametrize("how", WAYS, ids=["in-process", "replicas", "batched"])
def test_an_episode_that_goes_wrong_once_is_tried_again(tmp_path, monkeypatch, how):
    monkeypatch.setenv("TOY_MARKER", str(tmp_path / "marker"))
    toys.evaluate(tmp_path / "run", toys.RaisingOncePolicy, **how)
    toys.evaluate(tmp_path / "undisturbed", toys.RaisingOncePolicy)
    assert toys.timeless_lines(tmp_path / "run") == toys.timeless_lines(tmp_path / "undisturbed")
    attempts = [record.timing["attempts"] for record in records(tmp_path / "run")]
    assert attempts.count(2) == (3 if how.get("backend") == "batched" else 1)


@pytest.mark.parametrize("how", WAYS, ids=["in-process", "replicas", "batched"])
def test_the_run_stops_at_the_first_error_if_told_to(tmp_path, how):
    evaluation = toys.evaluate(tmp_path, toys.RaisingPolicy, on_error="stop", **how)
    assert evaluation.stopped
    assert [record.outcome for record in records(tmp_path)].count("error") == 1
    assert len(evaluation.records) < len(evaluation.episodes)
    toys.evaluate(tmp_path, toys.RaisingPolicy)
    toys.evaluate(tmp_path.parent / "undisturbed", toys.RaisingPolicy)
    assert toys.timeless_lines(tmp_path) == toys.timeless_lines(tmp_path.parent / "undisturbed")


def test_a_simulator_process_that_dies_in_a_batch_costs_one_try(tmp_path, monkeypatch):
    monkeypatch.setenv("TOY_MARKER", str(tmp_path / "marker"))
    request = Request(policy=toys.named(toys.SeededPolicy), out=tmp_path / "run", rows=("train",), episodes=4,
                      assets=toys.ASSETS, workers=2, backend="batched")  # fmt: skip
    with Evaluation(request, toys.DyingOnceSimulator) as evaluation:
        played = list(evaluation.play())
    assert [record.outcome == "error" for record in played] == [False] * 4
    assert sum(record.timing["attempts"] == 2 for record in played) == 2
    toys.evaluate(tmp_path / "undisturbed", rows=("train",))
    assert toys.timeless_lines(tmp_path / "run") == toys.timeless_lines(tmp_path / "undisturbed")


def test_an_episode_that_kills_two_workers_is_an_error_and_the_run_goes_on(tmp_path):
    toys.evaluate(tmp_path, toys.DyingPolicy, rows=("train",), workers=2, backend="replicas")
    for record in records(tmp_path):
        assert record.outcome == ("error" if record.key in ODD else "success")
        if record.key in ODD:
            assert "2 worker processes were killed by SIGKILL" in record.error


def test_a_worker_that_dies_once_is_replaced_without_a_trace(tmp_path, monkeypatch):
    monkeypatch.setenv("TOY_MARKER", str(tmp_path / "marker"))
    toys.evaluate(tmp_path / "run", toys.DyingOncePolicy, workers=2, backend="replicas")
    assert [record.outcome for record in records(tmp_path / "run")] == ["success"] * 8


def test_workers_that_cannot_start_stop_the_run(tmp_path):
    request = Request(policy=toys.named(toys.SlowPolicy), out=tmp_path, rows=("train",), assets=toys.ASSETS, workers=2,
                      backend="replicas")  # fmt: skip
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


@pytest.mark.parametrize(
    ("how", "kills"),
    [
        pytest.param(WAYS[0], 20, id="in-process"),
        pytest.param(WAYS[1], 8, id="replicas", marks=pytest.mark.slow),
        pytest.param(WAYS[2], 8, id="batched", marks=pytest.mark.slow),
    ],
)
def test_kill_nine_at_any_moment_changes_nothing(tmp_path, how, kills):
    toys.evaluate(tmp_path / "undisturbed", episodes=8)
    moments = random.Random(0)
    for attempt in range(kills):
        out = tmp_path / str(attempt)
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmark.kill_target", str(out), json.dumps(how)],
            env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
            # Its workers see their pipes break and say so.
            stderr=subprocess.DEVNULL,
        )
        wanted = moments.randrange(16)
        while process.poll() is None and len(records(out)) < wanted:
            time.sleep(0.002)
        time.sleep(moments.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        process.wait()
        seen = records(out)
        assert len(seen) >= wanted
        toys.evaluate(out, episodes=8)
        assert toys.timeless_lines(out) == toys.timeless_lines(tmp_path / "undisturbed")
        kept = {record.key: record.timing for record in records(out)}
        assert all(kept[record.key] == record.timing for record in seen), "an episode was played again"


def test_a_longer_run_keeps_what_a_shorter_one_has_played(tmp_path):
    toys.evaluate(tmp_path / "grown", episodes=2)
    short = records(tmp_path / "grown")
    toys.evaluate(tmp_path / "grown", episodes=4)
    toys.evaluate(tmp_path / "long", episodes=4)
    assert toys.timeless_lines(tmp_path / "grown") == toys.timeless_lines(tmp_path / "long")
    kept = {record.key: record.timing for record in records(tmp_path / "grown")}
    assert all(kept[record.key] == record.timing for record in short)
    runs = [json.loads((tmp_path / name / "run.json").read_text()) for name in ("grown", "long")]
    assert runs[0]["fingerprint"] == runs[1]["fingerprint"]


@pytest.mark.parametrize("how", WAYS, ids=["in-process", "replicas", "batched"])
def test_rows_are_lengthened_until_their_rates_are_known(tmp_path, how):
    toys.evaluate(tmp_path / "here", toys.CoinPolicy, episodes=500, until_ci=0.2, **how)
    lengths = Counter(record.row for record in records(tmp_path / "here"))
    # The rule looks at every 16 episodes; half of them succeed, which needs more than a row of successes does.
    assert all(length % 16 == 0 for length in lengths.values())
    assert 16 < lengths["train"] < 500
    toys.evaluate(tmp_path / "again", toys.CoinPolicy, episodes=500, until_ci=0.2)
    assert toys.timeless_lines(tmp_path / "here") == toys.timeless_lines(tmp_path / "again")
    toys.evaluate(tmp_path / "sure", toys.SlowPolicy, episodes=500, until_ci=0.2)
    assert Counter(record.row for record in records(tmp_path / "sure"))["train"] < lengths["train"]


def test_a_lengthened_run_that_was_left_goes_on_to_the_same_end(tmp_path):
    wanted = {"episodes": 500, "until_ci": 0.2}
    toys.evaluate(tmp_path / "undisturbed", toys.CoinPolicy, **wanted)
    request = Request(policy=toys.named(toys.CoinPolicy), out=tmp_path / "left", assets=toys.ASSETS,
                      rows=("train", "vision/table"), **wanted)  # fmt: skip
    for count in (5, 20, 3):
        with Evaluation(request, toys.ToySimulator) as evaluation:
            playing = evaluation.play()
            for _ in range(count):
                next(playing)
            playing.close()
    toys.evaluate(tmp_path / "left", toys.CoinPolicy, **wanted)
    assert toys.timeless_lines(tmp_path / "left") == toys.timeless_lines(tmp_path / "undisturbed")


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
        ({"episodes": 2}, "holds 4 episodes that this command does not ask for, e.g. train"),
        ({"rows": ("train",)}, "holds 4 episodes that this command does not ask for, e.g. vision/table"),
        ({"execute_horizon": 1}, "policy.execute_horizon is absent there and 1 here"),
    ],
)
def test_a_folder_of_another_run_is_refused(tmp_path, changes, difference):
    toys.evaluate(tmp_path)
    with pytest.raises(RunConflict, match=difference):
        toys.evaluate(tmp_path, **changes)


def test_what_cannot_move_a_number_may_change_between_sessions(tmp_path):
    toys.evaluate(tmp_path)
    toys.evaluate(tmp_path, workers=2, backend="batched", timeout=5, video="all")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"workers": 0}, "--workers 0; allowed: 1 or more"),
        ({"video": "sucesses"}, "unknown video mode 'sucesses'"),
        ({"backend": "bached"}, "unknown backend 'bached'; did you mean 'batched'"),
        ({"on_error": "halt"}, "unknown on-error 'halt'"),
        ({"timeout": -1}, "--timeout -1; allowed: seconds, or 0 for no limit"),
        ({"until_ci": 0.7}, "--until-ci 0.7; allowed: a half-width"),
        ({"execute_horizon": 0}, "--execute-horizon 0; allowed: 1 or more"),
        ({"policy_args": ("pace",)}, "--policy-args 'pace'; allowed: name=value"),
        ({"suite": "smok"}, "unknown suite 'smok'; did you mean 'smoke'"),
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
    assert run["plan"]["train"] == list(episode_indices(variant("train"), 4))
    assert identity["assets"]["name"] == toys.ASSETS
    assert set(identity) >= {"policy", "seed", "protocol", "horizon", "success", "renderer", "physics", "code"}
    assert set(identity["policy"]) >= {"name", "arguments", "source", "emits", "image", "execute_horizon", "ensemble"}
    assert set(identity["versions"]) >= {"vlagen", "mani_skill", "sapien", "torch", "numpy"}
    assert session["request"]["episodes"] == 4
    assert session["backend"] == "in-process"
    assert set(session) >= {"started_at", "command", "python", "platform", "git_commit"}


def test_arguments_of_a_policy_reach_it_and_the_identity_with_its_defaults(tmp_path):
    toys.evaluate(tmp_path / "fast", toys.PacedPolicy, policy_args=("pace=0.125",))
    toys.evaluate(tmp_path / "slow", toys.PacedPolicy)
    assert {record.first_success_step for record in records(tmp_path / "fast")} == {8}
    assert {record.first_success_step for record in records(tmp_path / "slow")} == {64}
    arguments = json.loads((tmp_path / "slow" / "run.json").read_text())["identity"]["policy"]["arguments"]
    assert arguments == {"pace": 0.015625}
