"""Which runs make an entry, and which entries a table."""

from __future__ import annotations

import json

import pytest

from tests.leaderboard.synthetic import write_run
from vlagen.leaderboard.errors import NotOneTable
from vlagen.leaderboard.frames import build_frames
from vlagen.leaderboard.naming import Name, parse_name, read_names
from vlagen.leaderboard.runs import load_runs
from vlagen.leaderboard.tracks import Track, tracks

MARKS = {"train": "10", "vision/table": "01"}


def entries(folder, names=(), **options):
    (track,) = tracks(load_runs([folder]), names, **options)
    return {entry.name: entry for entry in track.entries}


def test_seeds_of_one_policy_are_one_entry(tmp_path):
    for seed in (0, 1, 5):
        write_run(tmp_path / f"toy-{seed}", MARKS, seed=seed)
    write_run(tmp_path / "other", MARKS, policy="other")
    found = entries(tmp_path)
    assert found["toy"].seeds == (0, 1, 5)
    assert found["toy"].policies == (0, 0, 0)
    assert found["other"].seeds == (0,)


def test_policies_of_one_name_are_told_apart_by_what_differs(tmp_path):
    for name, temperature in (("a", 0.6), ("b", 1.0)):
        write_run(tmp_path / name, MARKS, arguments={"temperature": temperature, "device": "cpu"})
    found = entries(tmp_path)
    assert set(found) == {"toy (temperature=0.6)", "toy (temperature=1.0)"}
    assert found["toy (temperature=0.6)"].method == "temperature=0.6"


def test_an_oracle_is_marked_whoever_named_it(tmp_path):
    write_run(tmp_path / "a", MARKS, policy="expert", oracle=True)
    write_run(tmp_path / "b", MARKS)
    assert set(entries(tmp_path)) == {"expert (oracle)", "toy"}
    assert set(entries(tmp_path, [parse_name(f"{tmp_path}/a=Ours")])) == {"Ours (oracle)", "toy"}
    assert set(entries(tmp_path, [parse_name(f"{tmp_path}/a=Ours (oracle)")])) == {"Ours (oracle)", "toy"}


def test_a_name_takes_training_seeds_together(tmp_path):
    for number in range(3):
        write_run(tmp_path / f"ppo-{number}", MARKS, arguments={"checkpoint": f"step-{number}"})
    write_run(tmp_path / "sft", MARKS, policy="sft")
    found = entries(tmp_path, [parse_name(f"{tmp_path}/ppo-*=PPO, 3 seeds")])
    assert set(found) == {"PPO, 3 seeds", "sft"}
    assert found["PPO, 3 seeds"].seeds == (0, 1, 2)
    assert found["PPO, 3 seeds"].policies == (0, 1, 2)
    frames = build_frames(Track("vlagen-v1", "builtin", "", tuple(found.values())))
    assert frames.runs.loc[frames.runs["entry"] == "PPO, 3 seeds", "training"].tolist() == [0, 1, 2]


def test_a_file_of_names_says_policy_and_method(tmp_path):
    write_run(tmp_path / "runs" / "a", MARKS)
    file = tmp_path / "names.json"
    file.write_text(json.dumps({"Mine": {"runs": ["a"], "policy": "OpenVLA-7B", "method": "PPO"}}))
    (entry,) = entries(tmp_path / "runs", read_names(file)).values()
    assert (entry.name, entry.policy, entry.method) == ("Mine", "OpenVLA-7B", "PPO")
    for content in ("[]", "{", '{"x": {"run": []}}', '{"x": {"runs": "a"}}', '{"x": 1}'):
        file.write_text(content)
        with pytest.raises(NotOneTable, match="no file of names"):
            read_names(file)


def test_parts_of_a_run_are_joined_and_repeated_ones_refused(tmp_path):
    write_run(tmp_path / "train", {"train": "10"})
    write_run(tmp_path / "vision", {"vision/table": "01"})
    (entry,) = entries(tmp_path).values()
    assert entry.seeds == (0, 0)
    write_run(tmp_path / "again", MARKS)
    with pytest.raises(NotOneTable, match="the same policy with the same seed 0 on the same row"):
        entries(tmp_path)


def test_seeds_must_have_played_the_same_rows(tmp_path):
    write_run(tmp_path / "a", MARKS)
    write_run(tmp_path / "b", {"train": "10"}, seed=1)
    with pytest.raises(NotOneTable, match="different rows: vision/table with seed 1 or 0 only"):
        entries(tmp_path)


def test_policies_under_one_name_need_equally_many_seeds(tmp_path):
    write_run(tmp_path / "a0", MARKS, arguments={"checkpoint": "a"})
    write_run(tmp_path / "a1", MARKS, arguments={"checkpoint": "a"}, seed=1)
    write_run(tmp_path / "b0", MARKS, arguments={"checkpoint": "b"})
    with pytest.raises(NotOneTable, match="different numbers of seeds"):
        entries(tmp_path, [Name(("*",), "both")])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"protocol": "rl4vla"}, "protocol is 'vlagen-v1' there and 'rl4vla' here"),
        ({"assets": {"name": "rl4vla", "digest": "b" * 64}}, r"assets.name is 'builtin' there and 'rl4vla' here"),
        ({"versions": {"vlagen": "0.1.0", "sapien": "9"}}, r"versions.sapien is '3.0.3' there and '9' here"),
        ({"code": "d" * 64}, "code is cccccccccccc... there and dddddddddddd... here"),
    ],
)
def test_different_conditions_are_refused_or_split(tmp_path, changes, message):
    write_run(tmp_path / "a", MARKS)
    write_run(tmp_path / "b", MARKS, policy="other", **changes)
    runs = load_runs([tmp_path])
    with pytest.raises(NotOneTable, match=f"not played under the same conditions.*{message}.*--split"):
        tracks(runs)
    assert [[entry.name for entry in track.entries] for track in tracks(runs, split=True)] == [["toy"], ["other"]]


def test_a_policy_that_sees_no_pictures_is_comparable_with_those_that_do(tmp_path):
    cpu, gpu = {"backend": "cpu", "shader": "default"}, {"backend": "gpu", "shader": "default"}
    write_run(tmp_path / "blind", MARKS, policy="noop")
    write_run(tmp_path / "seeing", MARKS, policy="vla", renderer=cpu)
    (track,) = tracks(load_runs([tmp_path]))
    assert {entry.name for entry in track.entries} == {"noop", "vla"}
    seeing = next(entry for entry in track.entries if entry.name == "vla")
    assert track.conditions == seeing.runs[0].description["conditions"]
    write_run(tmp_path / "other", MARKS, policy="vla-2", renderer=gpu)
    with pytest.raises(NotOneTable, match=r"renderer.backend is 'gpu' there and 'cpu' here"):
        tracks(load_runs([tmp_path]))
    found = tracks(load_runs([tmp_path]), split=True)
    assert [{entry.name for entry in track.entries} for track in found] == [{"noop", "vla-2"}, {"noop", "vla"}]


def test_different_episodes_are_refused(tmp_path):
    write_run(tmp_path / "a", MARKS)
    write_run(tmp_path / "b", {"train": "101", "vision/table": "01"}, policy="other")
    with pytest.raises(
        NotOneTable, match=r"row train: .*b has played 3 episodes and .*a 2, 2 of them the same.*--common"
    ):
        entries(tmp_path)
    assert set(entries(tmp_path, common=True)) == {"toy", "other"}


def test_names_that_fit_nothing_or_two_entries_are_refused(tmp_path):
    write_run(tmp_path / "a", MARKS)
    write_run(tmp_path / "b", MARKS, policy="other")
    with pytest.raises(NotOneTable, match=r"the name 'PPO' is for ppo-\*, and no run is called so"):
        entries(tmp_path, [parse_name("ppo-*=PPO")])
    with pytest.raises(NotOneTable, match="two entries would be called 'other'"):
        entries(tmp_path, [parse_name("a=other")])
    for text in ("PPO", "=PPO", "a= "):
        with pytest.raises(NotOneTable, match="allowed: FOLDER=NAME"):
            parse_name(text)


@pytest.mark.parametrize("name", ["line\nbreak", "bell\x07", "right-to-left \u202e override", "x" * 121])
def test_names_that_cannot_stand_in_a_line_are_refused(tmp_path, name):
    write_run(tmp_path / "a", MARKS, policy=name)
    with pytest.raises(NotOneTable, match="cannot stand in a table"):
        entries(tmp_path)
