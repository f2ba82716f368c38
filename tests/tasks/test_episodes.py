"""Episodes as a pure function of (row, index): hand-worked digits, and what holds for every index of every row."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlagen.tasks import layouts
from vlagen.tasks.episodes import decode, digits, radices, total
from vlagen.tasks.instructions import TEMPLATES, render
from vlagen.tasks.variants import VARIANTS, variant, variants

GRID = 784 * 4  # places times yaws
TRIPLES = 2104 * 4

# Rows of which `rl4vla` has its own pools; the other eleven must decode alike.
OTHERWISE_UPSTREAM = {
    "semantics/instruction",
    "semantics/two-objects-unseen",
    "semantics/distractor-receptacle",
    "semantics/two-receptacles-unseen",
    "execution/robot-pose",
}

any_row = st.sampled_from(VARIANTS)
any_index = st.one_of(st.integers(-(10**30), 10**30), st.integers(0, 20 * 10**9))


def name(row):
    return f"{row.protocol}:{row.id}"


def ravel(row, values):
    """The index of digits, most significant first: Horner's rule."""
    index = 0
    for radix, digit in zip(radices(row), values, strict=True):
        index = index * radix + digit
    return index


def spread(row, count=400):
    """Indices all over a row, the first and the last among them."""
    return [k * (total(row) - 1) // (count - 1) for k in range(count)]


# Hand-worked episodes


def test_the_first_training_episode():
    episode = decode(variant("train"), 0)
    assert (episode.object, episode.receptacle, episode.table, episode.template) == (0, 0, 0, 0)
    assert (episode.yaw, episode.yaw_quaternion) == (0.0, (1.0, 0.0, 0.0, 0.0))
    # The first pair of cells 7 cm apart: corner (0, 0) and, 9 cm along y, (0, 3).
    assert episode.object_position == pytest.approx((-0.235, -0.075, 0.95), abs=1e-12)
    assert episode.receptacle_position == pytest.approx((-0.235, 0.015, 0.95), abs=1e-12)
    assert episode.robot_offset == (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    assert (episode.overlay, episode.texture, episode.strength) == (None, None, 0.0)
    assert (episode.distractor, episode.distractor_index, episode.distractor_position) == (None, None, None)
    assert (episode.reposition_at_step, episode.reposition_to) == (None, None)
    assert episode.models == (("object", 0), ("receptacle", 0))


def test_a_training_episode_from_its_digits():
    episode = decode(variant("train"), ((3 * 16 + 5) * 784 + 7) * 4 + 2)
    assert (episode.object, episode.table) == (3, 5)
    assert episode.yaw == pytest.approx(math.pi / 2)
    # From cell (0, 0) the kept partners are (0, 3) (0, 4) (0, 5) (1, 3) (1, 4) (1, 5) (2, 2) (2, 3): the eighth.
    assert episode.object_position == pytest.approx((-0.235, -0.075, 0.95), abs=1e-12)
    assert episode.receptacle_position == pytest.approx((-0.175, 0.015, 0.95), abs=1e-12)


def test_the_last_training_episode():
    episode = decode(variant("train"), 802_816 - 1)
    assert (episode.object, episode.table, episode.yaw) == (15, 15, pytest.approx(3 * math.pi / 4))
    assert episode.object_position == pytest.approx((-0.085, 0.075, 0.95), abs=1e-12)
    assert episode.receptacle_position == pytest.approx((-0.085, -0.015, 0.95), abs=1e-12)


def test_the_texture_digit_is_above_the_table_and_below_the_object():
    episode = decode(variant("vision/texture-strong"), ((2 * 16 + 3) * 16 + 4) * GRID)
    assert (episode.object, episode.texture, episode.table) == (2, 4, 4)  # textures start at 1
    assert (episode.overlay, episode.strength) == ("foreground", 0.5)


def test_the_second_receptacle_digit_is_below_the_first():
    episode = decode(variant("semantics/two-receptacles-unseen"), (((6 * 16 + 15) * 15 + 0) * 16 + 9) * TRIPLES)
    # The target is the pool's last, so that the distractor, one further, is its first.
    assert (episode.object, episode.receptacle, episode.distractor_index, episode.table) == (6, 16, 1, 9)
    assert episode.models == (("object", 6), ("receptacle", 16), ("receptacle", 1))
    heights = (episode.object_position[2], episode.receptacle_position[2], episode.distractor_position[2])
    assert heights == (1.0, 0.92, 0.96)


def test_the_second_object_is_counted_from_the_first():
    row = variant("semantics/two-objects-unseen")
    assert decode(row, (8 * 8 + 0) * 16 * TRIPLES).distractor_index == 16  # after 24 comes 16
    assert decode(row, (8 * 8 + 7) * 16 * TRIPLES).distractor_index == 23
    episode = decode(row, (0 * 8 + 1) * 16 * TRIPLES)
    assert (episode.object, episode.distractor_index) == (16, 18)
    assert (episode.object_position[2], episode.distractor_position[2]) == (0.95, 1.0)


def test_the_moved_object_goes_to_the_third_place():
    row = variant("execution/moved-midway")
    episode = decode(row, 11)
    place = layouts.places("object-triples")[2]
    assert (episode.reposition_at_step, episode.reposition_to) == (5, tuple(place[2]))
    assert episode.object_position == tuple(place[0])
    assert len(episode.models) == 2


# Every index of every row


@given(any_row, any_index)
def test_every_integer_is_an_episode_modulo_the_total(row, index):
    episode = decode(row, index)
    assert episode.index == index % total(row)
    assert episode == decode(row, index + total(row)) == decode(row, episode.index)
    assert (episode.protocol, episode.variant) == (row.protocol, row.id)


@given(any_row, any_index)
def test_digits_round_trip(row, index):
    values = digits(row, index)
    assert all(0 <= digit < radix for digit, radix in zip(values, radices(row), strict=True))
    assert ravel(row, values) == index % total(row)


@given(any_row, any_index)
def test_a_numpy_index_is_an_index(row, index):
    small = np.int64(index % 2**62)
    assert decode(row, small) == decode(row, int(small))
    assert type(decode(row, small).index) is int


@pytest.mark.parametrize("row", VARIANTS, ids=name)
def test_every_episode_lies_in_its_rows_pools(row):
    starts, yaws = layouts.places(row.layout), layouts.YAWS[row.yaws]
    places = {tuple(map(tuple, place)) for place in starts.tolist()}
    offsets = {tuple(offset) for offset in layouts.robot_offsets(row.robot_offsets).tolist()}
    for index in spread(row):
        e = decode(row, index)
        assert e.object in row.objects
        assert e.receptacle in row.receptacles
        assert e.table in row.tables
        assert e.template in row.templates
        assert e.yaw in yaws
        assert e.robot_offset in offsets
        assert (e.texture is None) == (row.overlay is None)
        assert e.texture is None or e.texture in row.overlay.textures
        assert (e.distractor_index is None) == (row.distractor is None)
        assert e.distractor_index is None or e.distractor_index in row.distractor.pool
        third = e.distractor_position or e.reposition_to
        first = starts[digits(row, index)[8]][0].tolist() if e.distractor_is_target else e.object_position
        assert (tuple(first), e.receptacle_position, *([third] if third else [])) in places


@given(any_row, any_index)
@settings(max_examples=400)
def test_the_distractor_is_never_the_target(row, index):
    episode = decode(replace_protocol(row), index)
    if episode.distractor is not None:
        target = episode.object if episode.distractor == "object" else episode.receptacle
        assert episode.distractor_index != target
        assert not episode.distractor_is_target
        assert len(set(episode.models)) == 3


def replace_protocol(row):
    return variant(row.id, "vlagen-v1")


def test_upstreams_distractor_is_the_target_in_one_of_eight():
    row = variant("semantics/two-objects-unseen", "rl4vla")
    below = 16 * TRIPLES  # tables and places do not enter
    for rest in (0, 1234, below - 1):
        swapped = [decode(row, high * below + rest) for high in range(9 * 8)]
        swapped = [episode for episode in swapped if episode.distractor_is_target]
        assert [episode.object for episode in swapped] == list(range(16, 25))
        for episode in swapped:
            assert episode.object_position == episode.distractor_position
            assert episode.object_position[2] == 1.0  # the third body's height
            assert episode.models == (("object", episode.object), ("receptacle", 0))


@pytest.mark.parametrize("row", [row for row in variants() if row.axis == "semantics"], ids=name)
def test_semantics_never_shows_an_unseen_table(row):
    assert {decode(row, index).table for index in spread(row, 2000)} == set(range(16))


def test_robot_pose_never_starts_at_home():
    row, below = variant("execution/robot-pose"), 16 * GRID
    offsets = [decode(row, digit * below).robot_offset for digit in range(14_374)]
    assert len(set(offsets)) == 14_374
    assert not any(all(value == 0.0 for value in offset) for offset in offsets)


def test_upstreams_robot_pose_starts_at_home_once():
    row, below = variant("execution/robot-pose", "rl4vla"), 16 * GRID
    offsets = [decode(row, digit * below).robot_offset for digit in range(14_375)]
    assert sum(all(value == 0.0 for value in offset) for offset in offsets) == 1


def test_instruction_uses_all_held_out_templates_and_never_the_training_one():
    row, below = variant("semantics/instruction"), 16 * GRID
    assert [decode(row, digit * below).template for digit in range(20)] == list(range(1, 21))
    assert {decode(row, index).template for index in spread(row, 5000)} == set(range(1, 21))


def test_templates_say_what_the_study_says():
    assert len(TEMPLATES) == len(set(TEMPLATES)) == 21
    assert render(0, "zuchinni", "plate") == "put zuchinni on plate"
    assert render(13, "BBQ sauce", "plate") == "Move BBQ sauce so it’s on plate."
    assert render(15, "bread", "cloth") == "bread on the cloth, please."
    assert render(20, "onion", "plate") == "Arrange for the onion to be resting on plate."


@given(st.sampled_from(variants()).filter(lambda row: row.id not in OTHERWISE_UPSTREAM), any_index)
def test_protocols_share_the_episodes_of_rows_that_do_not_differ(row, index):
    upstreams = decode(variant(row.id, "rl4vla"), index)
    assert replace(upstreams, protocol="vlagen-v1") == decode(row, index)


@pytest.mark.parametrize("row_id", sorted(OTHERWISE_UPSTREAM))
def test_protocols_differ_elsewhere(row_id):
    ours, upstreams = variant(row_id), variant(row_id, "rl4vla")
    differing = [i for i in spread(ours) if decode(ours, i) != replace(decode(upstreams, i), protocol="vlagen-v1")]
    assert differing


# Places: all distances in whole cells of 3 cm. 7 cm are 5.4 squared cells, 15 cm are exactly 25.


def cells(points):
    """World xy (N, 2) [m] to whole cells, (0, 0) at the training grid's corner."""
    found = (points - (-0.235, -0.075)) / 0.03
    np.testing.assert_allclose(found, np.round(found), atol=1e-9)
    return np.round(found).astype(int)


def squared(a, b):
    return ((a - b) ** 2).sum(-1)


def columns(layout):
    return [cells(column[:, :2]) for column in layouts.places(layout).swapaxes(0, 1)]


@pytest.mark.parametrize(
    ("layout", "points", "count"),
    [
        ("grid", [(a, b) for a in range(6) for b in range(6)], 784),
        ("ring", [(a, b) for a in range(-1, 7) for b in range(-1, 7) if not (0 <= a < 6 and 0 <= b < 6)], 628),
    ],
)
def test_pairs_are_all_that_stand_seven_centimetres_apart(layout, points, count):
    expected = {(p, q) for p in points for q in points if (p[0] - q[0]) ** 2 + (p[1] - q[1]) ** 2 > 49 / 9}
    found = [(tuple(p), tuple(q)) for p, q in zip(*map(np.ndarray.tolist, columns(layout)), strict=True)]
    assert len(found) == len(expected) == count
    assert set(found) == expected


@pytest.mark.parametrize("layout", ["object-triples", "receptacle-triples"])
def test_triples_keep_two_of_a_kind_fifteen_centimetres_apart(layout):
    obj, receptacle, third = columns(layout)
    twin, other = (obj, receptacle) if layout == "object-triples" else (receptacle, obj)
    assert len(obj) == 2104
    assert squared(obj, receptacle).min() > 49 / 9
    assert squared(third, other).min() > 49 / 9
    assert squared(third, twin).min() >= 25
    # Exactly 15 cm: upstream's float64 keeps 20 of the 48 ordered pairs that are 3 and 4 cells apart, none 5 and 0.
    borderline = squared(third, twin) == 25
    kept = {(*a, *b) for a, b in zip(twin[borderline].tolist(), third[borderline].tolist(), strict=True)}
    assert len(kept) == 20
    assert {tuple(sorted((abs(a - c), abs(b - d)))) for a, b, c, d in kept} == {(3, 4)}


def test_ring_places_lie_around_the_training_grid():
    for body in columns("ring"):
        assert np.all(((body == -1) | (body == 6)).any(-1))
        assert body.min() == -1
        assert body.max() == 6


def test_training_and_held_out_yaws_share_none():
    degrees = {which: np.degrees(layouts.YAWS[which]).round(9).tolist() for which in ("training", "held-out")}
    assert degrees == {"training": [0.0, 45.0, 90.0, 135.0], "held-out": [-22.5, -67.5, -112.5, -157.5]}


def test_robot_offsets_stay_within_the_studys_grid():
    offsets = layouts.robot_offsets("held-out")
    assert offsets.shape == (14_374, 6)
    assert len(np.unique(offsets, axis=0)) == 14_374
    assert {abs(v) for v in offsets[:, :5].ravel().tolist()} == {0.0, 0.08, 0.15}
    assert {abs(v) for v in offsets[:, 5].tolist()} == {0.0, 0.3, 0.6}
    # 0.25 rad: the only pairs of shoulder and elbow that are left out are both at 0.15 in the same direction.
    pairs = {tuple(pair) for pair in offsets[:, 1:3].tolist()}
    assert len(pairs) == 23
    assert not pairs & {(0.15, 0.15), (-0.15, -0.15)}


def test_tables_of_places_cannot_be_changed():
    for array in (layouts.places("grid"), layouts.robot_offsets("home")):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
