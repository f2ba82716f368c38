"""Runs are read as they are, and whatever is wrong with one is said and where."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from tests.leaderboard.synthetic import identity, write_description, write_run
from vlagen.leaderboard.errors import BadRun
from vlagen.leaderboard.runs import find_runs, load_run, load_runs


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "run", {"train": "1o0", "vision/table": "01"}, videos=[("vision/table", 0)])


def edit(run, number, **changes):
    """Changes fields of a line of ``episodes.jsonl``; None for a value of ``...`` drops the field."""
    file = run / "episodes.jsonl"
    lines = file.read_text().splitlines()
    lines[number] = json.dumps({**json.loads(lines[number]), **changes})
    file.write_text("\n".join(lines) + "\n")


def describe(run, **changes):
    file = run / "run.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_a_run_is_read_as_it_was_written(run):
    loaded = load_run(run)
    episodes = loaded.episodes
    assert episodes["row"].tolist() == ["train"] * 3 + ["vision/table"] * 2
    assert episodes["index"].tolist() == [3, 13, 23, 3, 13]
    assert episodes["outcome"].tolist() == ["success", "failure", "failure", "failure", "success"]
    assert episodes["success_once"].tolist() == [1, 1, 0, 0, 1]
    assert episodes["failure"].isna().tolist() == [True, False, False, False, True]
    assert episodes["video"].tolist() == [None, None, None, "videos/vision-table/3_failure.mp4", None]
    paths = loaded.gripper_paths.split()
    assert paths[0].shape == (16, 3)
    assert paths[0][1].tolist() == [303, 11, 190]
    assert (loaded.protocol, loaded.assets, loaded.seed) == ("vlagen-v1", "builtin", 0)


def test_gripper_paths_are_the_same_however_a_line_is_written(run):
    as_written = load_run(run).gripper_paths
    file = run / "episodes.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    lines[1]["gripper_path"], lines[2]["gripper_path"] = None, []
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    cut = load_run(run).gripper_paths
    file.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))
    parsed = load_run(run).gripper_paths
    assert np.array_equal(cut.points, parsed.points)
    assert np.array_equal(cut.ends, parsed.ends)
    assert [path is None for path in cut.split()] == [False, True, True, False, False]
    assert np.array_equal(cut.split()[3], as_written.split()[3])


def test_folders_are_searched_and_each_run_is_found_once(tmp_path):
    for name in ("b", "a"):
        write_run(tmp_path / "runs" / name, {"train": "1"})
    found = find_runs([tmp_path / "runs", tmp_path / "runs" / "a", tmp_path / "runs" / "b" / "run.json"])
    assert [path.name for path in found] == ["a", "b"]
    with pytest.raises(BadRun, match="no run at or below"):
        load_runs([tmp_path / "nothing"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"outcome": "success"}, "line 3 (train 23) contradicts itself: outcome and success_at_end disagree"),
        ({"success_at_end": True}, "outcome and success_at_end disagree"),
        ({"success_once": True}, "success_once and first_success_step disagree"),
        ({"outcome": "success", "success_at_end": True}, "succeeded at the end and not once"),
        ({"outcome": "error"}, "it has the outcome error and a result"),
        ({"error": "Traceback"}, "outcome and error disagree"),
        ({"outcome": "win", "success_at_end": None}, "line 3: unknown outcome 'win'; allowed: success, failure, error"),
        ({"success_once": True, "first_success_step": 81}, "succeeded after its last step"),
        ({"failure": "bad-luck"}, "its failure is none of the taxonomy"),
        ({"index": 23.0}, "line 3: index is 23.0"),
        ({"index": 10**30}, "a number that is too large"),
        ({"success_at_end": 0}, "line 3: success_at_end is 0"),
        ({"row": ["train"]}, "line 3: row is ['train']"),
        ({"gripper_path": [1, 2]}, "line 3: gripper_path is no sequence of x, y, z"),
        ({"gripper_path": [1, 2, 99999]}, "millimetres within 33 m"),
        ({"gripper_path": [1, 2, 0.5]}, "no sequence of whole millimetres"),
        ({"score": 7}, "line 3 is no episode record of this version of vlagen: unknown field 'score'"),
        ({"episode_return": float("nan")}, "line 3 is damaged (NaN"),
        ({"protocol": "rl4vla"}, "mixes protocol 'rl4vla', 'vlagen-v1'"),
        ({"index": 13}, "holds 1 episodes more than once, namely train 13"),
        ({"index": 24}, "holds 1 episodes that its plan does not have, namely train 24"),
    ],
)
def test_an_edited_line_is_refused_with_its_place(run, changes, message):
    edit(run, 2, **changes)
    with pytest.raises(BadRun, match=re.escape(message)):
        load_run(run)


def test_lines_out_of_order_are_refused(run):
    file = run / "episodes.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(reversed(lines)))
    with pytest.raises(BadRun, match="not in the order of its plan"):
        load_run(run)


def test_a_truncated_file_is_refused(run):
    file = run / "episodes.jsonl"
    content = file.read_bytes()
    file.write_bytes(content[:-20])
    with pytest.raises(BadRun, match="breaks off in line 5"):
        load_run(run)
    file.write_bytes(b"".join(content.splitlines(keepends=True)[:3]))
    with pytest.raises(BadRun, match="2 of 5 episodes are missing, namely vision/table 3, vision/table 13"):
        load_run(run)
    file.write_bytes(content.replace(b'{"protocol"', b'"protocol"', 1))
    with pytest.raises(BadRun, match="line 1 is damaged"):
        load_run(run)
    file.write_bytes(b"")
    with pytest.raises(BadRun, match="holds no episode"):
        load_run(run)
    file.unlink()
    with pytest.raises(BadRun, match=r"no readable episodes.jsonl"):
        load_run(run)


def test_errors_make_a_run_incomplete_unless_they_are_allowed(tmp_path):
    run = write_run(tmp_path / "run", {"train": "1ee"})
    with pytest.raises(BadRun, match=r"2 of 3 episodes ended in errors.*ValueError: broken arm.*--retry-errors"):
        load_run(run)
    assert load_run(run, allow_errors=True).episodes["success_at_end"].isna().tolist() == [False, True, True]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 1}, "has schema 1, and this version of vlagen reads 2"),
        ({"schema": 99}, "has schema 99"),
        ({"fingerprint": "0" * 64}, "was edited: its fingerprint is 000"),
        ({"conditions": "0" * 64}, "was edited: its conditions is 000"),
        ({"plan": {"train": ["3"]}}, "does not say which policy played which episodes"),
        ({"plan": []}, "does not say which policy played which episodes"),
        ({"identity": []}, "does not say which policy"),
        ({"sessions": []}, "does not describe a run"),
        ({"digest": "0" * 64}, "was changed after the run ended"),
    ],
)
def test_an_edited_description_is_refused(run, changes, message):
    describe(run, **changes)
    with pytest.raises(BadRun, match=message):
        load_run(run)


def test_a_plan_without_episodes_or_with_one_twice_is_refused(run):
    described = identity("toy", {}, 0)
    write_description(run, described, {"train": []})
    with pytest.raises(BadRun, match="plans no episode"):
        load_run(run)
    write_description(run, described, {"train": [3, 13, 23, 23], "vision/table": [3, 13]})
    with pytest.raises(BadRun, match="names episodes twice"):
        load_run(run)
    write_description(run, {**described, "protocol": "rl4vla"}, {"train": [3, 13, 23], "vision/table": [3, 13]})
    with pytest.raises(BadRun, match=r"run\.json says 'rl4vla'"):
        load_run(run)
