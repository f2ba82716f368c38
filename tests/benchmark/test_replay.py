import json
from dataclasses import replace

import pytest

from tests.benchmark import toys
from vlagen.benchmark import cli
from vlagen.benchmark.records import BrokenRecords, read_records
from vlagen.benchmark.replay import changed_conditions, compare, original_request, replay_request
from vlagen.benchmark.request import Request


def records(out):
    return read_records(out / "episodes.jsonl")[0]


def test_the_original_request_is_what_began_the_run(tmp_path):
    toys.evaluate(tmp_path / "run", toys.PacedPolicy, policy_args=("pace=0.125",), timeout=9.0, seed=3)
    original = original_request(tmp_path / "run" / "run.json")
    assert original == Request(
        policy=toys.named(toys.PacedPolicy),
        policy_args=("pace=0.125",),
        rows=("train", "vision/table"),
        episodes=4,
        assets=toys.ASSETS,
        timeout=9.0,
        seed=3,
    )


def test_a_replay_goes_into_a_folder_beside_the_run(tmp_path):
    toys.evaluate(tmp_path / "run")
    request = replay_request(tmp_path / "run" / "run.json", Request(workers=2, backend="batched", seed=5))
    assert (request.out, request.workers, request.backend) == (tmp_path / "run-replay", 2, "batched")
    assert request.seed == 0, "what moves numbers is the original's"
    elsewhere = replay_request(tmp_path / "run" / "run.json", Request(out=tmp_path / "x"))
    assert elsewhere.out == tmp_path / "x"


def test_a_replay_on_the_command_line_tells_that_all_went_alike(tmp_path, capsys):
    toys.evaluate(tmp_path / "run")
    assert cli.main(["--replay", str(tmp_path / "run" / "run.json")], toys.ToySimulator) == cli.COMPLETE
    assert toys.timeless_lines(tmp_path / "run-replay") == toys.timeless_lines(tmp_path / "run")
    output = " ".join(capsys.readouterr().out.split())
    assert "Replayed: 8 episodes went alike to the last bit, 0 more ended alike, 0 ended otherwise" in output
    assert "not as before" not in output


def test_what_has_changed_since_is_named(tmp_path, capsys):
    toys.evaluate(tmp_path / "run")
    file = tmp_path / "run" / "run.json"
    run = json.loads(file.read_text())
    run["identity"]["versions"]["sapien"] = "2.2.2"
    file.write_text(json.dumps(run))
    assert cli.main(["--replay", str(file)], toys.ToySimulator) == cli.COMPLETE
    changed = changed_conditions(file, tmp_path / "run-replay" / "run.json")
    assert len(changed) == 1
    assert changed[0].startswith("versions.sapien is '2.2.2' there")
    assert "not as before: versions.sapien" in capsys.readouterr().out


def test_runs_are_compared_by_outcome_and_by_every_step(tmp_path):
    toys.evaluate(tmp_path)
    before = records(tmp_path)
    after = [
        replace(before[0], trajectory="else"),
        replace(before[1], outcome="failure" if before[1].outcome == "success" else "success", trajectory="else"),
        *before[2:7],
    ]
    result = compare(before, after)
    assert (result.identical, result.same_outcome) == (5, 1)
    assert result.changed == (before[1].key,)
    assert result.missing == (before[7].key,)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda run: run["sessions"][0]["request"].update(wings=2), "written by another version of vlagen .wings."),
        (lambda run: run["sessions"][0].pop("request"), "written by another version of vlagen .no request."),
        (lambda run: run.pop("plan"), "does not describe a run"),
    ],
)
def test_a_run_that_cannot_be_replayed_says_why(tmp_path, change, complaint):
    toys.evaluate(tmp_path)
    run = json.loads((tmp_path / "run.json").read_text())
    change(run)
    (tmp_path / "run.json").write_text(json.dumps(run))
    with pytest.raises(BrokenRecords, match=complaint):
        original_request(tmp_path / "run.json")
