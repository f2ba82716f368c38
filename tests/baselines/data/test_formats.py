"""Data sets on disk: what goes in comes out, in every format; and what is damaged is said to be so."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.baselines.data import toys
from vlagen.baselines.data import lerobot
from vlagen.baselines.data.codecs import cut_videos, decode, encode, join_videos
from vlagen.baselines.data.convert import demonstrations_in, export, import_
from vlagen.baselines.data.dataset import Dataset, check_packs
from vlagen.baselines.data.demonstration import BadDemonstrations, Demonstration, is_small
from vlagen.baselines.data.layout import CAMERA
from vlagen.baselines.data.lerobot import write_dataset

ARRAYS = ("states", "gripper_poses", "actions", "executed_actions", "rewards", "successes", "steps", "replay")


def written(folder: Path, codec: str = "png", count: int = 5) -> list[Demonstration]:
    demonstrations = [toys.demonstration(index, frames=3 + index, codec=codec) for index in range(count)]
    write_dataset(folder, demonstrations, {})
    return demonstrations


def assert_same(found: Demonstration, given: Demonstration) -> None:
    for name in ARRAYS:
        a, b = getattr(found, name), getattr(given, name)
        assert a.dtype == b.dtype
        assert a.tobytes() == b.tobytes(), name
    for name in ("episode", "assets", "instruction"):
        assert getattr(found, name) == getattr(given, name)


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(lerobot, "SHARD", 2)


@pytest.mark.parametrize("codec", ["png", "h264"])
def test_the_native_format_gives_back_what_it_was_given(tmp_path, codec, small_shards):
    given = written(tmp_path, codec)
    dataset = Dataset(tmp_path)
    for found, original in zip(dataset.demonstrations(), given, strict=True):
        assert_same(found, original)
        assert np.array_equal(decode(found.pictures), decode(original.pictures))
    assert np.array_equal(np.stack(list(dataset.images())), np.concatenate([decode(d.pictures) for d in given]))
    assert len(list((tmp_path / "data").rglob("*.parquet"))) == 3


@pytest.mark.parametrize("codec", ["png", "h264"])
@pytest.mark.parametrize("kind", ["rlds", "maniskill", "lerobot-v2.1"])
def test_a_round_trip_through_another_format_changes_nothing(tmp_path, codec, kind, small_shards):
    if kind == "maniskill":
        pytest.importorskip("h5py")
    given = written(tmp_path / "first", codec)
    target = tmp_path / ("there.h5" if kind == "maniskill" else "there")
    export(tmp_path / "first", target, kind)
    assert import_(target, tmp_path / "again") == len(given)
    for found, original in zip(demonstrations_in(tmp_path / "again"), given, strict=True):
        assert_same(found, original)
        assert np.array_equal(decode(found.pictures), decode(original.pictures))


def test_png_is_exact_and_video_and_jpeg_are_close(tmp_path):
    pictures = toys.images(9, height=64, width=96)
    assert np.array_equal(decode(encode(pictures, "png")), pictures)
    # Both have colours at half the resolution, which is what most of it comes from.
    for codec, tolerance in (("h264", 4.0), ("jpeg", 4.0)):
        difference = np.abs(decode(encode(pictures, codec)).astype(int) - pictures)
        assert 0 < difference.mean() < tolerance
    better, worse = (len(encode(pictures, "h264", quality).parts[0]) for quality in (10, 40))
    assert better > worse


def test_encoding_the_same_pictures_gives_the_same_bytes():
    assert encode(toys.images(6), "h264") == encode(toys.images(6), "h264")


def test_videos_are_strung_together_and_cut_without_touching_a_pixel(tmp_path):
    parts = [encode(toys.images(count, seed), "h264") for seed, count in enumerate((1, 4, 7))]
    assert join_videos((part.parts[0] for part in parts), tmp_path / "all.mp4") == [1, 4, 7]
    for video, part in zip(cut_videos(tmp_path / "all.mp4", [1, 4, 7]), parts, strict=True):
        assert np.array_equal(decode(replace(part, parts=(video,))), decode(part))


def test_rlds_files_are_those_of_tensorflow_datasets(tmp_path):
    """The names and types that ``tfds.builder_from_directory`` (tried with 4.9.10) needs to open them."""
    written(tmp_path / "first")
    folder = export(tmp_path / "first", tmp_path / "there", "rlds")
    info = json.loads((folder / "dataset_info.json").read_text())
    assert info["splits"][0]["shardLengths"] == ["5"]
    assert (folder / f"{info['name']}-train.tfrecord-00000-of-00001").is_file()
    steps = json.loads((folder / "features.json").read_text())["featuresDict"]["features"]["steps"]
    assert steps["pythonClassName"] == "tensorflow_datasets.core.features.dataset_feature.Dataset"
    assert steps["sequence"]["feature"]["featuresDict"]["features"]["action"]["tensor"]["shape"] == {
        "dimensions": ["7"]
    }


def test_info_counts_what_is_there(tmp_path, small_shards):
    given = written(tmp_path, "h264")
    info = json.loads((tmp_path / "meta/info.json").read_text())
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (5, sum(map(len, given)), 3)
    stats = json.loads((tmp_path / "meta/stats.json").read_text())
    actions = np.concatenate([d.actions for d in given])
    assert np.allclose(stats["action"]["mean"], actions.mean(axis=0), atol=1e-6)
    assert np.allclose(stats["action"]["std"], actions.std(axis=0), atol=1e-6)
    assert np.allclose(stats["action"]["max"], actions.max(axis=0))
    assert np.shape(stats[CAMERA]["mean"]) == (3, 1, 1)


# What is damaged


def data_file(folder: Path) -> Path:
    return folder / "data/chunk-000/file-000.parquet"


def test_a_missing_video_is_noticed_before_training(tmp_path):
    written(tmp_path, "h264")
    next((tmp_path / "videos").rglob("*.mp4")).unlink()
    with pytest.raises(BadDemonstrations, match=r"file-000\.mp4 is missing; restore it"):
        Dataset(tmp_path)


def test_a_video_that_is_cut_off_is_noticed(tmp_path):
    written(tmp_path, "h264")
    video = next((tmp_path / "videos").rglob("*.mp4"))
    video.write_bytes(video.read_bytes()[:900])
    with pytest.raises(BadDemonstrations, match=r"file-000\.mp4 cannot be decoded"):
        list(Dataset(tmp_path).images())


@pytest.mark.parametrize("file", ["data", "meta/episodes"])
def test_a_truncated_parquet_file_is_noticed(tmp_path, file):
    written(tmp_path)
    path = tmp_path / file / "chunk-000/file-000.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BadDemonstrations, match=rf"{file}/chunk-000/file-000\.parquet is truncated or damaged"):
        Dataset(tmp_path)


def test_a_missing_data_file_is_noticed(tmp_path, small_shards):
    written(tmp_path)
    data_file(tmp_path).unlink()
    with pytest.raises(BadDemonstrations, match=r"data/chunk-000/file-000\.parquet is missing"):
        Dataset(tmp_path)


def test_an_action_that_is_not_a_number_is_noticed_and_located(tmp_path):
    written(tmp_path)
    table = pq.read_table(data_file(tmp_path))
    actions = np.array(table.column("action").to_pylist(), dtype=np.float32)
    actions[3 + 2, 4] = np.nan  # the third frame of the second episode
    column = pa.FixedSizeListArray.from_arrays(pa.array(actions.reshape(-1)), 7)
    pq.write_table(table.set_column(table.column_names.index("action"), "action", column), data_file(tmp_path))
    with pytest.raises(BadDemonstrations, match="actions of frame 2 of episode 1 are not finite"):
        Dataset(tmp_path)


def test_a_demonstration_that_is_not_finite_is_never_written(tmp_path):
    bad = toys.demonstration()
    bad.actions[1, 0] = np.inf
    with pytest.raises(BadDemonstrations, match="train-0: actions of frame 1 is not finite"):
        write_dataset(tmp_path, [bad], {})


def test_two_packs_are_not_mixed(tmp_path):
    with pytest.raises(BadDemonstrations, match=r"2 asset packs \(builtin, rl4vla\)"):
        write_dataset(tmp_path / "both", [toys.demonstration(0), toys.demonstration(1, assets="rl4vla")], {})
    for name in ("builtin", "rl4vla"):
        write_dataset(tmp_path / name, [toys.demonstration(assets=name)], {})
    datasets = {name: Dataset(tmp_path / name) for name in ("builtin", "rl4vla")}
    with pytest.raises(BadDemonstrations, match="builtin in builtin, rl4vla in rl4vla"):
        check_packs(datasets)


def test_a_folder_without_a_data_set_says_so(tmp_path):
    with pytest.raises(BadDemonstrations, match=r"there is no meta/info\.json"):
        Dataset(tmp_path)
    with pytest.raises(BadDemonstrations, match="no demonstrations in a known format"):
        import_(tmp_path, tmp_path / "new")


def test_an_older_layout_is_refused_with_the_command_that_converts_it(tmp_path):
    written(tmp_path / "first")
    export(tmp_path / "first", tmp_path / "old", "lerobot-v2.1")
    with pytest.raises(BadDemonstrations, match=r"is a LeRobotDataset v2\.1; v3\.0 is needed: vlagen-collect import"):
        Dataset(tmp_path / "old")


def test_a_damaged_record_of_rlds_is_noticed(tmp_path):
    written(tmp_path / "first")
    folder = export(tmp_path / "first", tmp_path / "there", "rlds")
    file = next(folder.glob("*.tfrecord*"))
    whole = file.read_bytes()
    for damaged in (whole[:-20], whole[:200] + bytes([whole[200] ^ 1]) + whole[201:], whole[:5]):
        file.write_bytes(damaged)
        with pytest.raises(BadDemonstrations, match="damaged"):
            list(demonstrations_in(folder))


def test_nothing_is_overwritten(tmp_path):
    written(tmp_path / "first")
    export(tmp_path / "first", tmp_path / "there", "rlds")
    with pytest.raises(BadDemonstrations, match="exists already"):
        export(tmp_path / "first", tmp_path / "there", "rlds")
    with pytest.raises(BadDemonstrations, match="holds a data set already"):
        import_(tmp_path / "there", tmp_path / "first")
    with pytest.raises(BadDemonstrations, match="did you mean 'rlds'"):
        export(tmp_path / "first", tmp_path / "else", "rldz")
    shutil.rmtree(tmp_path / "there")


# How an episode is cut


def test_an_action_is_small_if_it_neither_moves_nor_turns_nor_grips():
    still = np.array([0, 0, 0.01, 0, 0, 0.06, 1], dtype=np.float64)
    assert is_small(still, None)
    assert is_small(still, still)
    assert not is_small(still + [0, 0, 1e-6, 0, 0, 0, 0], still)
    assert not is_small(still + [0, 0, 0, 0, 0, 1e-6, 0], still)
    assert not is_small(still, still - [0, 0, 0, 0, 0, 0, 2])
