"""Reading for training: the right frames in the right order, and without waiting for them."""

from __future__ import annotations

import os
import shutil
import time
from collections import namedtuple
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.baselines.data import toys
from vlagen.baselines.data.batches import Prefetched, ShuffledBatches
from vlagen.baselines.data.codecs import decode
from vlagen.baselines.data.demonstration import BadDemonstrations
from vlagen.baselines.data.frames import Frames
from vlagen.baselines.data.lerobot import write_dataset


@pytest.fixture(scope="module")
def two_sets(tmp_path_factory):
    root = tmp_path_factory.mktemp("sets")
    given = [toys.demonstration(index, frames=3 + index) for index in range(5)]
    write_dataset(root / "a", given[:3], {})
    write_dataset(root / "b", given[3:], {})
    return [root / "a", root / "b"], given


def test_any_frame_of_several_data_sets_is_read(two_sets):
    roots, given = two_sets
    frames = Frames(roots)
    assert len(frames) == 3 + 4 + 5 + 6 + 7
    wanted = [24, 0, 11, 12, 3, 3]
    batch = frames.batch(wanted)
    images, actions = np.concatenate([decode(d.pictures) for d in given]), np.concatenate([d.actions for d in given])
    assert np.array_equal(batch.images, images[wanted])
    assert np.array_equal(batch.actions, actions[wanted])
    assert batch.episodes.tolist() == [4, 0, 2, 3, 1, 1]
    assert batch.instructions == tuple(given[episode].instruction for episode in batch.episodes)


def test_chunks_end_with_their_episode(two_sets):
    roots, given = two_sets
    batch = Frames(roots, chunk=4).batch([1, 3])
    assert np.array_equal(batch.actions[0], given[0].actions[[1, 2, 2, 2]])
    assert np.array_equal(batch.actions[1], given[1].actions[[0, 1, 2, 3]])
    assert batch.is_padding.tolist() == [[False, False, True, True], [False] * 4]


def test_pictures_are_brought_to_the_models_size_once(two_sets, tmp_path):
    roots, _ = two_sets
    decoded = []
    frames = Frames(roots, (16, 16), cache=tmp_path, progress=lambda done, total: decoded.append(done))
    assert len(decoded) == len(frames)
    before = frames.batch(range(25)).images
    again = Frames(roots, (16, 16), cache=tmp_path, progress=lambda done, total: decoded.append(done))
    assert len(decoded) == len(frames)
    assert np.array_equal(again.batch(range(25)).images, before)
    assert before.shape == (25, 16, 16, 3)


def test_a_data_set_that_has_grown_is_decoded_again(two_sets, tmp_path):
    roots, _ = two_sets
    shutil.copytree(roots[0], tmp_path / "set", ignore=shutil.ignore_patterns(".cache"))
    assert len(Frames([tmp_path / "set"])) == 12
    shutil.rmtree(tmp_path / "set/data")
    shutil.rmtree(tmp_path / "set/meta")
    write_dataset(tmp_path / "set", [toys.demonstration(7, frames=4)], {})
    frames = Frames([tmp_path / "set"])
    assert np.array_equal(frames.batch([3]).images[0], decode(toys.demonstration(7, frames=4).pictures)[3])
    assert len(list((tmp_path / "set/.cache").glob("*.npy"))) == 1


def test_a_cache_without_room_is_refused_before_it_is_begun(two_sets, tmp_path, monkeypatch):
    roots, _ = two_sets
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, 1000))
    with pytest.raises(BadDemonstrations, match=r"has 0 MB free; 12 pictures of 32x48 take 0 MB"):
        Frames(roots, cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_cache_that_cannot_be_written_is_said_so(two_sets, tmp_path):
    (tmp_path / "cache").mkdir(mode=0o500)
    with pytest.raises(BadDemonstrations, match="choose another cache folder"):
        Frames(two_sets[0], cache=tmp_path / "cache")


def test_the_last_episodes_are_held_out(two_sets):
    frames = Frames(two_sets[0])
    training, held_out = frames.split(2)
    assert set(frames.batch(training).episodes) == {0, 1, 2}
    assert set(frames.batch(held_out).episodes) == {3, 4}
    with pytest.raises(BadDemonstrations, match="5 held-out episodes of 5; allowed: 0 to 4"):
        frames.split(5)


def test_packs_are_not_mixed(two_sets, tmp_path):
    write_dataset(tmp_path, [toys.demonstration(assets="rl4vla")], {})
    with pytest.raises(BadDemonstrations, match="2 asset packs are mixed"):
        Frames([*two_sets[0], tmp_path])


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(1, 8), st.integers(1, 4), st.integers(0, 5))
def test_processes_share_each_epoch_and_nobody_sees_a_frame_twice(count, size, processes, seed):
    if count < size * processes:
        with pytest.raises(BadDemonstrations, match="allowed: a batch size"):
            ShuffledBatches(range(count), size, seed, processes=processes)
        return
    numbers = np.arange(count) * 10
    parts = [ShuffledBatches(numbers, size, seed, rank=rank, processes=processes) for rank in range(processes)]
    for epoch in range(2):
        seen = np.concatenate([part[epoch * part.per_epoch + k] for part in parts for k in range(part.per_epoch)])
        assert len(set(seen.tolist())) == len(seen) == count // (size * processes) * size * processes
        assert set(seen.tolist()) <= set(numbers.tolist())


def test_a_batch_is_a_function_of_its_number():
    whole = ShuffledBatches(range(100), 7, seed=3)
    expected = [whole[number].tolist() for number in range(40)]
    assert [ShuffledBatches(range(100), 7, seed=3)[number].tolist() for number in (39, 0, 20)] == [
        expected[39],
        expected[0],
        expected[20],
    ]
    assert expected[0] != expected[whole.per_epoch]
    assert ShuffledBatches(range(100), 7, seed=4)[0].tolist() != expected[0]


def test_the_order_of_an_epoch_never_changes():
    """A changed order means that runs before and after cannot be continued by each other."""
    assert ShuffledBatches(range(1000), 6, seed=0)[0].tolist() == [652, 293, 617, 707, 693, 382]


def test_results_are_computed_ahead_and_in_order():
    loaded = []

    def load(number: int) -> int:
        loaded.append(number)
        return number * number

    batches = Prefetched(load, start=3, depth=2)
    assert list(islice(batches, 3)) == [9, 16, 25]
    deadline = time.monotonic() + 5
    while len(loaded) < 6 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert loaded[:6] == [3, 4, 5, 6, 7, 8]
    batches.close()


def test_nobody_waits_for_what_is_loaded_while_they_work():
    batches = Prefetched(lambda number: time.sleep(0.01), depth=2)
    next(batches)
    before = batches.waiting.seconds
    for _ in islice(batches, 5):
        time.sleep(0.05)
    assert batches.waiting.seconds - before < 0.05
    batches.close()


def test_what_goes_wrong_in_the_thread_is_raised_where_it_is_asked_for():
    batches = Prefetched([1, 2].__getitem__)
    assert [next(batches), next(batches)] == [1, 2]
    with pytest.raises(IndexError):
        next(batches)
    with pytest.raises(StopIteration):
        next(batches)
