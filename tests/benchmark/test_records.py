import json
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlagen.benchmark.records import (
    BrokenRecords,
    EpisodeRecord,
    RunConflict,
    RunDirectory,
    UnwritableRun,
    conditions,
    fingerprint,
    read_records,
    to_line,
)

IDENTITY = {"policy": {"name": "random"}, "assets": {"name": "builtin"}, "seed": 0}
PLAN = {"train": [1, 2, 3]}


def record(index, **changes):
    values = {"protocol": "vlagen-v1", "row": "train", "index": index, "assets": "builtin", "seed": 7}
    return EpisodeRecord(**(values | {"outcome": "failure", "timing": {"seconds": 0.5}} | changes))


def open_run(path, identity=IDENTITY, plan=PLAN):
    run = RunDirectory(path, identity, {"host": "here"})
    run.adopt(plan)
    return run


def write_run(path, records):
    with open_run(path) as run:
        run.begin_session()
        for each in records:
            run.append(each)


@given(st.text(), st.floats(allow_nan=False, allow_infinity=False), st.text())
def test_records_survive_the_way_to_disk_and_back(tmp_path_factory, instruction, episode_return, error):
    path = tmp_path_factory.mktemp("records") / "episodes.jsonl"
    written = [record(1, instruction=instruction, episode_return=episode_return), record(2, error=error)]
    path.write_bytes(b"".join(map(to_line, written)))
    assert read_records(path) == (written, path.stat().st_size)


def test_every_record_is_readable_as_soon_as_it_was_added(tmp_path):
    with open_run(tmp_path) as run:
        run.begin_session()
        for index in (1, 2, 3):
            run.append(record(index))
            assert [each.index for each in read_records(tmp_path / "episodes.jsonl")[0]] == list(range(1, index + 1))


@pytest.mark.parametrize("lost_bytes", [1, 2, 30])
def test_a_line_cut_short_is_dropped_and_written_again(tmp_path, lost_bytes):
    write_run(tmp_path, [record(1), record(2)])
    file = tmp_path / "episodes.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole[:-lost_bytes])
    with open_run(tmp_path) as run:
        assert set(run.records) == {("train", 1)}
        run.begin_session()
        run.append(record(2))
    assert file.read_bytes() == whole


def test_a_damaged_complete_line_is_an_error_that_says_where(tmp_path):
    write_run(tmp_path, [record(1), record(2)])
    file = tmp_path / "episodes.jsonl"
    file.write_bytes(b"garbage\n" + file.read_bytes())
    with pytest.raises(BrokenRecords, match=r"episodes.jsonl, line 1 is not an episode record"):
        open_run(tmp_path)


def test_the_last_record_of_an_episode_counts(tmp_path):
    write_run(tmp_path, [record(1, outcome="error"), record(1, outcome="success")])
    with open_run(tmp_path) as run:
        assert run.records[("train", 1)].outcome == "success"


def test_a_finished_run_is_in_the_order_of_its_plan(tmp_path):
    with open_run(tmp_path) as run:
        run.begin_session()
        for index in (3, 1, 2, 1):
            run.append(record(index))
        run.finish()
    assert [each.index for each in read_records(tmp_path / "episodes.jsonl")[0]] == [1, 2, 3]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "episodes.jsonl", "run.json"]


def test_run_json_tells_identity_fingerprint_and_every_session(tmp_path):
    write_run(tmp_path, [record(1)])
    write_run(tmp_path, [record(2)])
    run = json.loads((tmp_path / "run.json").read_text())
    assert run["identity"] == IDENTITY
    assert run["plan"] == PLAN
    assert run["fingerprint"] == fingerprint(IDENTITY, PLAN)
    assert run["conditions"] == conditions(IDENTITY)
    assert run["sessions"] == [{"host": "here"}] * 2


def test_looking_at_a_run_leaves_no_session(tmp_path):
    write_run(tmp_path, [record(1)])
    before = (tmp_path / "run.json").read_bytes()
    with open_run(tmp_path):
        pass
    assert (tmp_path / "run.json").read_bytes() == before


def test_another_run_is_refused_naming_what_differs(tmp_path):
    write_run(tmp_path, [record(1)])
    before = (tmp_path / "episodes.jsonl").read_bytes()
    other = {"policy": {"name": "noop"}, "assets": {"name": "builtin", "version": [4]}, "seed": 0}
    with pytest.raises(RunConflict) as refusal:
        open_run(tmp_path, other)
    assert "policy.name is 'random' there and 'noop' here" in str(refusal.value)
    assert "assets.version is absent there and [4] here" in str(refusal.value)
    assert "seed" not in str(refusal.value)
    assert "Choose another --out" in str(refusal.value)
    assert (tmp_path / "episodes.jsonl").read_bytes() == before


def test_conditions_are_those_under_which_policies_can_be_compared():
    policies = [IDENTITY, {**IDENTITY, "policy": {"name": "noop"}}, {**IDENTITY, "seed": 1}]
    assert len({conditions(identity) for identity in policies}) == 1
    assert len({fingerprint(identity, PLAN) for identity in policies}) == 3
    assert conditions({**IDENTITY, "assets": {"name": "rl4vla"}}) != conditions(IDENTITY)
    assert fingerprint(IDENTITY, {"train": [1, 2]}) != fingerprint(IDENTITY, PLAN)


def test_a_plan_may_grow_but_not_lose_what_was_played(tmp_path):
    write_run(tmp_path, [record(1), record(3)])
    with open_run(tmp_path, plan={"vision/table": [7], "train": [1, 3, 2, 9]}) as run:
        run.begin_session()
        run.adopt({"train": [1, 3, 2, 9, 8]})
        assert json.loads((tmp_path / "run.json").read_text())["plan"] == {"train": [1, 3, 2, 9, 8]}
    with pytest.raises(RunConflict, match=r"holds 1 episodes that this command does not ask for, e.g. train 3"):
        open_run(tmp_path, plan={"train": [1, 2]})


def test_results_of_no_known_run_are_not_overwritten(tmp_path):
    (tmp_path / "summary.csv").write_text("precious")
    with pytest.raises(RunConflict, match=r"holds summary.csv but no run.json"):
        open_run(tmp_path)
    assert (tmp_path / "summary.csv").read_text() == "precious"


@pytest.mark.parametrize("content", ["", "[]", '{"schema": 1}'])
def test_a_run_json_that_is_none_is_an_error(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(BrokenRecords, match="does not describe a run"):
        open_run(tmp_path)


def test_two_processes_do_not_share_a_folder(tmp_path):
    code = (
        "import sys; from pathlib import Path; from vlagen.benchmark.records import RunDirectory, RunConflict\n"
        f"try: RunDirectory(Path({str(tmp_path)!r}), {IDENTITY!r}, {{}})\n"
        "except RunConflict as error: print(error)\n"
        "else: print('opened')"
    )

    def second_process():
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    with open_run(tmp_path):
        assert f"is being written by process {os.getpid()}" in second_process()
    assert second_process() == "opened\n"


def test_a_refused_folder_is_released(tmp_path):
    write_run(tmp_path, [record(1)])
    with pytest.raises(RunConflict):
        open_run(tmp_path, {"seed": 1})
    with open_run(tmp_path) as run:
        assert len(run.records) == 1


def test_reading_ten_thousand_records_takes_less_than_two_seconds(tmp_path):
    import time

    (tmp_path / "episodes.jsonl").write_bytes(b"".join(to_line(record(index)) for index in range(10_000)))
    started = time.perf_counter()
    assert len(read_records(tmp_path / "episodes.jsonl")[0]) == 10_000
    assert time.perf_counter() - started < 2


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UnwritableRun, match=r"file/run cannot be written \(Not a directory\); choose another --out"):
        RunDirectory(tmp_path / "file" / "run", {}, {})
