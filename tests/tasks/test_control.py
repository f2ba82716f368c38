"""The unperturbed twins: everything that a row changes is as in training, and everything else as in the episode."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlagen.tasks import layouts
from vlagen.tasks.episodes import decode
from vlagen.tasks.rows import control_of, find_row
from vlagen.tasks.sampling import evaluation_episodes
from vlagen.tasks.variants import PROTOCOLS, ROW_IDS, variant

OVERLAY = {"overlay", "texture", "strength"}
DISTRACTOR = {"distractor", "distractor_index", "distractor_position"}
PLACES = {"object_position", "receptacle_position", "yaw"}
# What a twin may have otherwise than its episode, by hand.
CHANGES = {
    "vision/table": {"table"},
    "vision/texture-weak": OVERLAY,
    "vision/texture-strong": OVERLAY,
    "vision/noise-weak": OVERLAY,
    "vision/noise-strong": OVERLAY,
    "semantics/object": {"object"},
    "semantics/receptacle": {"receptacle"},
    "semantics/instruction": {"template"},
    "semantics/two-objects-seen": DISTRACTOR,
    "semantics/two-objects-unseen": {"object"} | DISTRACTOR,
    "semantics/distractor-receptacle": DISTRACTOR,
    "semantics/two-receptacles-unseen": {"receptacle"} | DISTRACTOR,
    "execution/position": PLACES,
    "execution/robot-pose": {"robot_offset"},
    "execution/moved-midway": {"reposition_at_step", "reposition_to"},
}
UPSTREAM_CHANGES = {  # upstream's two rows draw from all tables, five of them unseen
    row_id: CHANGES[row_id] | {"table"}
    for row_id in ("semantics/distractor-receptacle", "semantics/two-receptacles-unseen")
}
ROWS = [
    *CHANGES,
    "vision/table+execution/moved-midway",
    "vision/noise-weak@0.9+semantics/two-objects-unseen",
    "semantics/object+execution/position@0.05",
    "execution/robot-pose@0.4",
]


def changes(row_id, protocol):
    parts = [part.split("@")[0] for part in row_id.split("+")]
    table = CHANGES | (UPSTREAM_CHANGES if protocol == "rl4vla" else {})
    return set().union(*(table[part] for part in parts))


def pair(row_id, protocol, index):
    row = find_row(row_id, protocol)
    return decode(row, index), decode(control_of(row), index)


def test_every_row_but_train_has_a_control_arm():
    assert ["train", *CHANGES] == list(ROW_IDS)


@given(st.sampled_from(ROWS), st.sampled_from(PROTOCOLS), st.integers(0, 10**14))
def test_a_twin_equals_its_episode_but_for_what_the_row_changes(row_id, protocol, index):
    episode, twin = pair(row_id, protocol, index)
    assert twin.variant == f"{find_row(row_id, protocol).id}~control"
    differing = {name for name in vars(twin) if getattr(twin, name) != getattr(episode, name)}
    assert differing <= changes(row_id, protocol) | {"variant"}


@given(st.sampled_from(ROWS), st.sampled_from(PROTOCOLS), st.integers(0, 10**14))
def test_a_twin_is_of_the_training_pools(row_id, protocol, index):
    _, twin = pair(row_id, protocol, index)
    training = variant("train", protocol)
    assert twin.object in training.objects
    assert twin.receptacle in training.receptacles
    assert twin.table in training.tables
    assert twin.template == 0
    assert twin.yaw in layouts.YAWS["training"]
    assert twin.robot_offset == (0.0,) * 6
    assert (twin.overlay, twin.texture, twin.strength) == (None, None, 0.0)
    assert twin.models == (("object", twin.object), ("receptacle", 0))
    assert twin.distractor_position is twin.reposition_at_step is twin.reposition_to is None
    # On a layout of triples the bodies stand where they stood, which is on cells of the training grid.
    for x, y, _ in (twin.object_position, twin.receptacle_position):
        assert abs(x + 0.16) <= 0.0751
        assert abs(y) <= 0.0751


def test_held_out_things_become_training_things_one_to_one():
    row = find_row("semantics/object")
    per_object = 16 * 784 * 4
    found = [decode(control_of(row), index * per_object).object for index in range(9)]
    assert found == list(range(9))  # 16..24 are digits 0..8
    tables = [decode(find_row("vision/table~control"), index * 784 * 4).table for index in range(5)]
    assert tables == [0, 1, 2, 3, 4]


def test_a_training_table_stays_and_an_unseen_one_is_replaced():
    row = find_row("semantics/distractor-receptacle~control", "rl4vla")
    tables = [decode(row, index * 2104 * 4).table for index in range(21)]
    assert tables == [*range(16), 0, 1, 2, 3, 4]


def test_a_place_on_the_ring_becomes_the_grids_place_of_the_same_number():
    episode, twin = pair("execution/position", "vlagen-v1", 4 * 100 + 3)
    assert episode.object_position == tuple(layouts.places("ring")[100, 0])
    assert twin.object_position == tuple(layouts.places("grid")[100, 0])
    assert twin.receptacle_position == tuple(layouts.places("grid")[100, 1])
    assert episode.yaw == layouts.YAWS["held-out"][3]
    assert twin.yaw == layouts.YAWS["training"][3]
    assert twin == replace(decode(variant("train"), 4 * 100 + 3), variant="execution/position~control")


def test_a_target_that_is_its_own_distractor_keeps_its_place():
    row = variant("semantics/two-objects-unseen", "rl4vla")
    index = next(i for i in range(0, 10**8, 16 * 2104 * 4) if decode(row, i).distractor_is_target)
    episode, twin = pair(row.id, "rl4vla", index)
    assert twin.object_position == episode.object_position
    assert twin.object == episode.object - 16


def test_all_severities_of_a_row_have_the_rows_twins():
    own = [replace(e, variant="") for e in evaluation_episodes(find_row("execution/position~control"), 8)]
    for setting in (0.02, 0.05):
        arm = find_row(f"execution/position@{setting}~control")
        assert [replace(e, variant="") for e in evaluation_episodes(arm, 8)] == own


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("row_id", ROWS)
def test_an_arms_list_goes_with_its_rows(row_id, protocol):
    row = find_row(row_id, protocol)
    pairs = zip(evaluation_episodes(row, 16), evaluation_episodes(control_of(row), 16), strict=True)
    assert all(episode.index == twin.index for episode, twin in pairs)
