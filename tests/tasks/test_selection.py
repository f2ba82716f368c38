"""Which episodes a reset runs, and what a reset refuses."""

from __future__ import annotations

import numpy as np
import pytest

from vlagen.tasks.episodes import decode, total
from vlagen.tasks.rows import find_row
from vlagen.tasks.selection import BadResetOption, EpisodeSource
from vlagen.tasks.upstream import upstream_variant
from vlagen.tasks.variants import UnknownVariant, variant


def source(row="vision/table", protocol="vlagen-v1", upstream=None):
    return EpisodeSource(row, protocol, upstream)


def indices(episodes):
    return [episode.index for episode in episodes]


# Named episodes


def test_given_episodes_are_run_whatever_their_row():
    given = (decode(variant("train"), 5), decode(variant("execution/robot-pose", "rl4vla"), 10**10))
    assert source().choose(2, None, {"episodes": list(given)}) == given


def test_an_episode_id_is_an_index_of_the_row():
    row = variant("vision/table", "rl4vla")
    chosen = source(protocol="rl4vla").choose(2, None, {"episode_id": np.array([7, total(row) + 1])})
    assert chosen == (decode(row, 7), decode(row, 1))


def test_an_episode_id_may_be_a_tensor_and_exceed_32_bits():
    torch = pytest.importorskip("torch")
    options = {"episode_id": torch.tensor([11_540_479_999]), "obj_set": "test"}
    (episode,) = source(upstream="EEPose-v1").choose(1, None, options)
    assert episode.index == 11_540_479_999


def test_an_upstream_environment_has_three_object_sets():
    multi = source(upstream="MultiCarrot-v1")
    for obj_set, pool in {"train": range(16), "test": range(16, 25), "all": range(25)}.items():
        row = upstream_variant("MultiCarrot-v1", obj_set)
        chosen = multi.choose(1, 3, {"obj_set": obj_set, "episode_id": [total(row) - 1]})
        assert chosen == (decode(row, -1),)
        assert chosen[0].object == pool[-1]
    assert multi.choose(1, None, {"episode_id": [9]}) == (decode(upstream_variant("MultiCarrot-v1", "train"), 9),)


# What is refused


def test_an_unknown_option_names_the_nearest_and_lists_all():
    with pytest.raises(BadResetOption, match="unknown reset option 'episode'; did you mean 'episodes'") as caught:
        source().choose(1, None, {"episode": []})
    assert "episode_id, obj_set, reconfigure" in str(caught.value)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_the_number_of_episodes_must_be_that_of_the_environments(count):
    given = [decode(variant("train"), 0)] * count
    with pytest.raises(BadResetOption, match=rf"episodes has {count} entries for 2 parallel"):
        source().choose(2, None, {"episodes": given})
    with pytest.raises(BadResetOption, match=rf"episode_id has {count} entries for 2 parallel"):
        source().choose(2, None, {"episode_id": [0] * count})


@pytest.mark.parametrize(("wrong", "kind"), [(7, "int"), ({"index": 7}, "dict"), (None, "NoneType")])
def test_an_episode_must_be_one(wrong, kind):
    with pytest.raises(BadResetOption, match=rf"holds a {kind}; make episodes with vlagen.tasks.episodes.decode"):
        source().choose(1, None, {"episodes": [wrong]})


def test_an_object_set_belongs_to_upstreams_environments():
    with pytest.raises(BadResetOption, match="obj_set belongs to upstream's environment ids"):
        source().choose(1, None, {"obj_set": "test"})


def test_an_unknown_object_set_is_refused():
    with pytest.raises(UnknownVariant, match=r"unknown object set 'tets'; did you mean 'test'\?"):
        source(upstream="Main-v3").choose(1, None, {"obj_set": "tets"})


def test_an_unknown_row_is_refused_at_once():
    with pytest.raises(UnknownVariant, match="did you mean 'vision/table'"):
        source("vision/tabel")
    with pytest.raises(UnknownVariant, match="did you mean 'PutOnPlateInScene25Main-v3'"):
        source(upstream="PutOnPlateInScene25Main-v4")


# Draws


def test_a_seed_reproduces_its_draws():
    first, second = source(), source()
    assert first.choose(3, 11, {}) == second.choose(3, 11, {})
    assert first.choose(3, None, {}) == second.choose(3, None, {})  # and what follows
    assert first.choose(3, 11, {}) == source().choose(3, 11, {})  # and again, after others


def test_draws_differ_between_seeds_environments_and_resets():
    ours = source()
    drawn = indices(ours.choose(3, 11, {})) + indices(ours.choose(3, None, {})) + indices(ours.choose(3, 12, {}))
    assert len(set(drawn)) == 9


def test_an_environments_own_seed_does_not_depend_on_the_batch():
    alone = [source().choose(1, seed, {})[0] for seed in (5, 6, 7)]
    assert source().choose(3, [5, 6, 7], {}) == tuple(alone)
    assert source().choose(2, [7, 5], {}) == (alone[2], alone[0])
    assert source().choose(1, [6], {}) == (alone[1],)


def test_naming_episodes_leaves_the_draws_as_they_were():
    with_named, without = source(), source()
    for drawing in (with_named, without):
        drawing.choose(1, 3, {})
    with_named.choose(1, None, {"episodes": [decode(variant("train"), 0)]})
    with_named.choose(1, None, {"episode_id": [4]})
    assert with_named.choose(1, None, {}) == without.choose(1, None, {})


def test_unseeded_draws_differ_between_processes():
    assert indices(source().choose(4, None, {})) != indices(source().choose(4, None, {}))


def test_draws_cover_the_row_evenly():
    ours = source("vision/table")
    ours.choose(1, 0, {})
    tables = [ours.choose(1, None, {})[0].table for _ in range(500)]
    assert set(tables) == {16, 17, 18, 19, 20}
    assert all(70 <= tables.count(table) <= 130 for table in set(tables))  # 100 expected, standard deviation 9


# What a scene that cannot grow must hold


def test_a_fixed_scene_holds_all_that_its_rows_can_draw():
    assert source("vision/table").model_keys([]) == [("object", i) for i in range(16)] + [("receptacle", 0)]
    everything = [("object", i) for i in range(25)] + [("receptacle", 0)]
    assert source(upstream="Carrot-v1").model_keys([]) == everything
    unseen = source("semantics/two-receptacles-unseen").model_keys([])
    assert [key for key in unseen if key[0] == "receptacle"] == [("receptacle", i) for i in range(1, 17)]
    other = decode(variant("semantics/object"), -1)
    assert ("object", 24) in source("train").model_keys([other])


def test_a_source_takes_every_kind_of_row():
    for row_id in ("vision/table+execution/position", "vision/noise-weak@0.2", "semantics/object~control"):
        row = find_row(row_id)
        assert source(row_id).choose(2, None, {"episode_id": [3, -1]}) == (decode(row, 3), decode(row, -1))
        (drawn,) = source(row_id, "rl4vla").choose(1, 5, {})
        assert (drawn.variant, drawn.protocol) == (row_id, "rl4vla")
    with pytest.raises(UnknownVariant, match="cannot be composed"):
        source("vision/noise-weak+vision/texture-weak")


def test_a_fixed_scene_of_a_control_arm_holds_training_models_only():
    training = source("train").model_keys([])
    for row_id in ("semantics/two-objects-unseen~control", "semantics/receptacle+semantics/object~control"):
        assert source(row_id).model_keys([]) == training
    both = source("semantics/receptacle+semantics/object").model_keys([])
    assert both == [("object", i) for i in range(16, 25)] + [("receptacle", i) for i in range(1, 17)]


def test_one_episode_without_a_list_is_explained():
    with pytest.raises(BadResetOption, match="give a list"):
        source().choose(1, None, {"episodes": decode(variant("train"), 0)})


def test_a_list_of_seeds_has_one_per_environment():
    with pytest.raises(BadResetOption, match="seed has 3 entries for 2 parallel"):
        source().choose(2, [1, 2, 3], {})
