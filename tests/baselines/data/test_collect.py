"""Collecting: which episodes, how they are cut, and that nothing depends on workers, interruptions or full disks."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.baselines.data import toys
from tests.benchmark.toys import ASSETS, NanPolicy
from vlagen.baselines.data import cli, lerobot
from vlagen.baselines.data import collect as collecting
from vlagen.baselines.data.collect import Collection, CollectionStopped
from vlagen.baselines.data.dataset import Dataset
from vlagen.baselines.data.disturbance import BadDisturbance
from vlagen.baselines.data.request import BadCollection, CollectRequest
from vlagen.benchmark.records import RunConflict
from vlagen.tasks.restriction import BadPools
from vlagen.tasks.sampling import episode_indices
from vlagen.tasks.variants import variant

SIZE = "32x48"


def collect(out: Path, policy: type = toys.Mover, **request) -> Collection:
    defaults = {"episodes": 4, "assets": ASSETS, "image_size": SIZE, "small_actions": "keep"}
    with Collection(
        CollectRequest(policy=toys.named(policy), out=out, **(defaults | request)), toys.PictureSimulator
    ) as collection:
        list(collection.play())
    return collection


def content(out: Path) -> dict[str, bytes]:
    """All files of the data set that are to be the same for everybody."""
    kinds = ("data", "meta", "videos")
    return {str(p.relative_to(out)): p.read_bytes() for k in kinds for p in sorted((out / k).rglob("*")) if p.is_file()}


def indices(dataset: Dataset) -> list[int]:
    return [json.loads(span.episode)["index"] for span in dataset.episodes]


def test_a_demonstration_is_what_was_seen_and_done_until_the_object_has_stayed(tmp_path):
    collect(tmp_path, codec="png", tail=3)
    dataset = Dataset(tmp_path)
    first = next(dataset.demonstrations())
    # x is 1 after step 8, so steps 8, 9 and 10 are the three successes in a row.
    assert len(first) == 10
    assert first.states[:, 0].tolist() == [step / 8 for step in range(9)] + [1.0]
    assert first.actions[:, 0].tolist() == [0.125] * 8 + [0.0] * 2
    assert first.successes.tolist() == [False] * 7 + [True] * 3
    assert first.steps.tolist() == list(range(10))
    assert len(first.replay) == 80
    pictures = list(dataset.images())
    assert [int(picture[20, 30, 0]) for picture in pictures[:10]] == list(range(10))
    assert int(pictures[0][0, 0, 0]) == first.episode.index % 200
    assert first.instruction == f"go to {first.episode.index}"


def test_small_actions_are_left_out_and_what_they_earned_is_not(tmp_path):
    collect(tmp_path / "keep", tail=3)
    collect(tmp_path / "drop", tail=3, small_actions="drop")
    kept, dropped = (next(Dataset(tmp_path / name).demonstrations()) for name in ("keep", "drop"))
    # The last two actions do nothing.
    assert dropped.steps.tolist() == list(range(8))
    assert dropped.rewards[-1] == kept.rewards[-3:].sum()
    assert dropped.rewards.sum() == kept.rewards.sum()
    assert bool(dropped.successes[-1])


def test_only_successes_are_taken_and_they_are_the_first_of_the_draws(tmp_path):
    collection = collect(tmp_path, toys.HalfMover)
    played = [record.index for record in collection.records]
    assert indices(Dataset(tmp_path)) == [index for index in played if index % 2 == 0][:4]
    assert any(record.outcome == "failure" for record in collection.records)


def test_training_episodes_are_none_that_evaluations_play(tmp_path):
    collect(tmp_path, episodes=6, objects=(0,), tables=(3,))
    taken = {json.loads(span.episode)["index"]: json.loads(span.episode) for span in Dataset(tmp_path).episodes}
    assert not set(taken) & set(episode_indices(variant("train"), 512))
    assert {(episode["object"], episode["table"]) for episode in taken.values()} == {(0, 3)}


def test_rows_take_turns_so_that_a_collection_can_grow(tmp_path, monkeypatch):
    for module in (collecting, lerobot):
        monkeypatch.setattr(module, "SHARD", 3)
    rows = {"rows": ("train", "vision/table")}
    collect(tmp_path / "grown", toys.HalfMover, episodes=2, **rows)
    collect(tmp_path / "grown", toys.HalfMover, episodes=5, **rows)
    collect(tmp_path / "whole", toys.HalfMover, episodes=5, **rows)
    assert content(tmp_path / "grown") == content(tmp_path / "whole")
    variants = [json.loads(span.episode)["variant"] for span in Dataset(tmp_path / "whole").episodes]
    assert variants == ["train", "vision/table"] * 5


def test_the_result_does_not_depend_on_workers_or_backend(tmp_path):
    collect(tmp_path / "one", toys.Sleeper, episodes=5)
    collect(tmp_path / "two", toys.Sleeper, episodes=5, workers=2)
    assert content(tmp_path / "one") == content(tmp_path / "two")


@pytest.mark.slow
def test_batched_simulators_give_the_same(tmp_path):
    pytest.importorskip("gymnasium")
    collect(tmp_path / "one", toys.SeeingMover)
    collect(tmp_path / "batched", toys.SeeingMover, workers=2, backend="batched")
    assert content(tmp_path / "one") == content(tmp_path / "batched")


def test_another_seed_draws_other_episodes(tmp_path):
    for seed in (0, 1):
        collect(tmp_path / str(seed), seed=seed)
    assert not set(indices(Dataset(tmp_path / "0"))) & set(indices(Dataset(tmp_path / "1")))


def test_noise_disturbs_what_is_executed_and_not_the_labels(tmp_path):
    collect(tmp_path / "clean")
    collect(tmp_path / "noisy", noise_position=0.02, noise_rotation=0.1, workers=2)
    first = next(Dataset(tmp_path / "noisy").demonstrations())
    difference = first.executed_actions - first.actions
    assert set(np.unique(first.actions[:, 0]).tolist()) <= {0.0, 0.125}
    assert 0.005 < difference[:, :3].std() < 0.05
    assert 0.05 < difference[:, 3:6].std() < 0.2
    assert not difference[:, 6].any()
    # The states follow what was executed.
    assert np.allclose(np.diff(first.states[:, 0]), first.executed_actions[:-1, 0], atol=1e-6)
    clean = next(Dataset(tmp_path / "clean").demonstrations())
    assert np.array_equal(clean.executed_actions, clean.actions)


def test_pushes_are_executed_and_not_labelled(tmp_path):
    collect(tmp_path / "set", push_chance=0.3, push_steps=2, push_speed=0.04, push_turn=0.2)
    first = next(Dataset(tmp_path / "set").demonstrations())
    pushed = np.flatnonzero((first.executed_actions != first.actions).any(1))
    assert 0 < len(pushed) < len(first.actions)
    assert np.allclose(np.linalg.norm(first.executed_actions[pushed, :3], axis=1), 0.04, atol=1e-6)
    assert np.array_equal(first.executed_actions[:, 6], first.actions[:, 6])
    assert set(np.unique(first.actions[:, 0]).tolist()) <= {0.0, 0.125}


@pytest.mark.parametrize("records", [1, pytest.param(9, marks=pytest.mark.slow)])
def test_a_killed_collection_continues_to_the_same_result(tmp_path, records):
    code = (
        "from pathlib import Path; from tests.baselines.data import test_collect as t, toys; "
        f"t.collect(Path({str(tmp_path / 'killed')!r}), toys.Sleeper, episodes=10)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    file = tmp_path / "killed/collection/episodes.jsonl"
    while process.poll() is None and (not file.exists() or file.read_bytes().count(b"\n") < records):
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = file.read_bytes().count(b"\n")
    assert not (tmp_path / "killed/meta/info.json").exists()
    collection = collect(tmp_path / "killed", toys.Sleeper, episodes=10)
    assert len(collection.records) > before
    collect(tmp_path / "whole", toys.Sleeper, episodes=10)
    assert content(tmp_path / "killed") == content(tmp_path / "whole")


def test_a_full_disk_stops_the_collection_and_loses_nothing(tmp_path, monkeypatch):
    marker = tmp_path / "full"
    toys.fill_disk(monkeypatch, marker)
    request = CollectRequest(
        policy=toys.named(toys.Mover), out=tmp_path / "set", episodes=6, assets=ASSETS, image_size=SIZE
    )
    with Collection(request, toys.PictureSimulator) as collection:
        playing = collection.play()
        next(playing), next(playing)
        marker.touch()
        with pytest.raises(
            CollectionStopped, match=r"No space left on device.*Nothing collected is lost; \d+ MB are free"
        ):
            list(playing)
        assert collection.collected == 2
    marker.unlink()
    with Collection(request, toys.PictureSimulator) as collection:
        assert len(list(collection.play())) == 4
    collect(tmp_path / "whole", episodes=6, small_actions="drop")
    assert content(tmp_path / "set") == content(tmp_path / "whole")


def test_a_disk_that_fills_up_while_a_shard_is_written_loses_nothing(tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "video")

    with monkeypatch.context() as patch:
        patch.setattr(lerobot, "join_videos", fail)
        with pytest.raises(CollectionStopped, match="video: No space left on device"):
            collect(tmp_path / "set")
    assert len(collect(tmp_path / "set").records) == 4
    collect(tmp_path / "whole")
    assert content(tmp_path / "set") == content(tmp_path / "whole")


def test_a_policy_that_errs_costs_its_episodes_only(tmp_path, capsys):
    out = tmp_path / "set"
    arguments = ["--out", str(out), "--policy", f"tests.benchmark.toys:{NanPolicy.__name__}", "--episodes", "3"]
    arguments += ["--assets", ASSETS, "--image-size", SIZE, "--small-actions", "keep", "--quiet"]
    assert cli.main(arguments, toys.PictureSimulator) == cli.ERRORS
    assert all(index % 2 == 0 for index in indices(Dataset(out)))
    assert "ended in errors and others were taken instead" in " ".join(capsys.readouterr().out.split())


def test_a_folder_is_not_continued_with_other_settings(tmp_path):
    collect(tmp_path)
    with pytest.raises(RunConflict, match=r"collection.tail is 6 there and 3 here"):
        collect(tmp_path, tail=3)
    with pytest.raises(RunConflict, match="holds 3 episodes that this command does not ask for"):
        collect(tmp_path, episodes=1)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"image_size": "31x48"}, "needs even numbers"),
        ({"image_size": "big"}, "HEIGHTxWIDTH from 16x16 to 480x640"),
        ({"codec": "h265"}, "unknown codec 'h265'; did you mean 'h264'"),
        ({"episodes": 0}, "--episodes 0; allowed: 1 or more"),
        ({"quality": 99}, "allowed: 0 to 51"),
        ({"backend": "gpu"}, "cannot be repeated"),
    ],
)
def test_bad_requests_are_refused_before_anything_is_written(tmp_path, request_, message):
    with pytest.raises(BadCollection, match=message):
        collect(tmp_path / "set", **request_)
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"noise_position": float("nan")}, "--noise-position nan; allowed: 0 to 0.05"),
        ({"push_steps": 0}, "--push-steps 0; allowed: 1 to 10"),
    ],
)
def test_so_are_disturbances_that_there_are_not(tmp_path, request_, message):
    with pytest.raises(BadDisturbance, match=message):
        collect(tmp_path / "set", **request_)
    assert not (tmp_path / "set").exists()


def test_pools_that_a_row_does_not_have_are_refused(tmp_path):
    with pytest.raises(BadPools, match=r"--objects 16: row train \(vlagen-v1\) has objects 0 to 15"):
        collect(tmp_path / "set", objects=(16,))


def test_the_command_line_writes_statistics_and_a_contact_sheet(tmp_path, capsys):
    out = tmp_path / "set"
    arguments = ["--out", str(out), "--policy", toys.named(toys.Mover), "--episodes", "2", "--assets", ASSETS]
    assert cli.main([*arguments, "--image-size", SIZE, "--quiet"], toys.PictureSimulator) == cli.COMPLETE
    statistics = json.loads((out / "statistics.json").read_text())
    assert statistics["episodes"] == 2
    assert sum(statistics["actions"]["x"]["histogram"]["counts"]) == statistics["frames"] == 16
    assert statistics["episodes_played"] == {"train": {"success": 2}}
    norm = json.loads((out / "dataset_statistics.json").read_text())[f"vlagen-{ASSETS}"]
    assert norm["num_trajectories"] == 2
    assert norm["action"]["max"][0] == 0.125
    assert (out / "contact_sheet.png").stat().st_size > 1000
    assert cli.main(["check", str(out)]) == cli.COMPLETE
    assert "16 pictures were decoded" in capsys.readouterr().out
