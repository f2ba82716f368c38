"""Training draws: from the pools that were chosen, without repeats, and never what evaluations play."""

from __future__ import annotations

from itertools import islice

import pytest

from vlagen.tasks.draws import reserved, training_indices
from vlagen.tasks.episodes import decode, total
from vlagen.tasks.restriction import WHOLE, BadPools, Pools, restricted, whole_index
from vlagen.tasks.rows import find_row
from vlagen.tasks.sampling import episode_indices, evaluation_indices
from vlagen.tasks.variants import PROTOCOLS, variant

ONE = Pools(objects=(3,), tables=(5,))
ROWS = ("train", "semantics/two-objects-seen", "vision/texture-weak", "semantics/instruction")


def test_a_draw_is_a_function_of_row_seed_and_pools():
    train = variant("train")
    first = list(islice(training_indices(train, 0), 50))
    assert list(islice(training_indices(train, 0), 50)) == first
    for other in (training_indices(train, 1), training_indices(train, 0, ONE)):
        assert not set(islice(other, 50)) & set(first)
    assert first[:3] == [664725, 565499, 152974]  # a change would give the same command another data set


@pytest.mark.parametrize("row_id", ROWS)
def test_evaluated_episodes_are_never_drawn(row_id):
    row = variant(row_id)
    drawn = set(islice(training_indices(row, 7), 5000))
    assert len(drawn) == 5000
    for protocol in PROTOCOLS:
        assert not drawn & set(episode_indices(variant(row_id, protocol), 512))


@pytest.mark.parametrize("row_id", ROWS)
def test_a_restricted_draw_is_an_episode_of_the_whole_row(row_id):
    row = variant(row_id)
    pools = Pools(objects=(3, 1), tables=(5,), templates=row.templates[-1:])
    for index in islice(training_indices(row, 0, pools), 200):
        episode = decode(row, index)
        assert episode.object in (1, 3)
        assert (episode.table, episode.template) == (5, row.templates[-1])
        assert episode.distractor_index != episode.object


def test_the_whole_index_means_the_same_episode():
    row, part = variant("semantics/two-objects-seen"), restricted(variant("semantics/two-objects-seen"), ONE)
    for index in (0, 1234, total(part) - 1):
        assert decode(row, whole_index(row, part, index)) == decode(part, index).__class__(
            **{**vars(decode(part, index)), "index": whole_index(row, part, index)}
        )


def test_a_part_runs_out_of_training_episodes_and_keeps_its_evaluation():
    row = variant("train")
    part = restricted(row, ONE)
    drawn = list(training_indices(row, 0, ONE))
    held_out = evaluation_indices(row, total(part) // 4, ONE)
    assert len(drawn) == len(set(drawn))
    assert not set(drawn) & set(held_out)
    assert len(drawn) + len(held_out) <= total(part) == 3136
    assert set(held_out) <= reserved(row, ONE)
    assert evaluation_indices(row, 8, ONE) == held_out[:8]


def test_pools_that_are_not_the_rows_are_refused():
    for pools, message in (
        (Pools(objects=(16,)), "--objects 16: row train .* has objects 0 to 15"),
        (Pools(tables=(1, 1)), "each once"),
        (Pools(receptacles=(2,)), r"has receptacles \[0\]"),
    ):
        with pytest.raises(BadPools, match=message):
            next(training_indices(variant("train"), 0, pools))


def test_the_order_of_ids_and_pools_that_are_whole_mean_nothing():
    row = variant("semantics/two-objects-seen")
    one = Pools(objects=(1, 3), tables=(5,))
    for same in (Pools(objects=(3, 1), tables=(5,)), Pools(objects=(1, 3), receptacles=(0,), tables=(5,))):
        assert evaluation_indices(row, 50, same) == evaluation_indices(row, 50, one)
        assert list(islice(training_indices(row, 0, same), 50)) == list(islice(training_indices(row, 0, one), 50))
    assert evaluation_indices(row, 50, Pools(objects=tuple(range(16)))) == episode_indices(row, 50)


@pytest.mark.parametrize(
    ("row_id", "pools"),
    [
        ("train", Pools(objects=(0,), tables=(0,))),
        ("train", Pools(objects=(0, 1, 2, 3))),
        ("semantics/receptacle", Pools(receptacles=(2, 9), tables=(0, 1))),
        ("vision/table+execution/position", Pools(objects=(4,), tables=(16,))),
    ],
)
def test_a_parts_row_plays_what_training_in_the_same_pools_leaves_out(row_id, pools):
    whole, row = find_row(row_id), find_row(f"{row_id}[{pools}]")
    played = episode_indices(row, 600)
    assert played == evaluation_indices(whole, 600, pools)
    for trained in (training_indices(whole, 0, pools), training_indices(row, 0)):
        assert not set(played) & set(islice(trained, 1500))


def test_training_on_a_parts_row_is_training_on_the_row_in_these_pools():
    whole, row = variant("train"), find_row("train[objects=3,tables=5]")
    assert list(islice(training_indices(row, 4), 100)) == list(islice(training_indices(whole, 4, ONE), 100))
    assert reserved(row, WHOLE) == reserved(whole, ONE)


def test_a_parts_row_can_be_cut_down_further():
    row, inner = find_row("train[objects=0-3]"), Pools(objects=(3,), tables=(5,))
    drawn = list(islice(training_indices(row, 0, inner), 500))
    assert {(decode(row, index).object, decode(row, index).table) for index in drawn} == {(3, 5)}
    assert not set(drawn) & (set(episode_indices(row, 4096)) | set(evaluation_indices(row, 700, inner)))
    with pytest.raises(BadPools, match=r"row train\[objects=0-3\] .* has objects 0 to 3"):
        next(training_indices(row, 0, Pools(objects=(4,))))
