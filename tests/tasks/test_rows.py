"""Rows made of rows: ids and their canonical form, compositions, severities, parts, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlagen.tasks.episodes import decode, total
from vlagen.tasks.restriction import POOLS, Pools
from vlagen.tasks.rows import control_of, file_name, find_row, index_at, order_id, row_axis, row_size, sweep
from vlagen.tasks.sampling import episode_indices, evaluation_episodes, evaluation_size
from vlagen.tasks.severity import KNOBS, BadSweep, severities
from vlagen.tasks.variants import AXES, PROTOCOLS, ROW_IDS, UnknownVariant, variant, variants

PERTURBED = [row_id for row_id in ROW_IDS if row_id != "train"]
OVERLAYS = {"vision/texture-weak", "vision/texture-strong", "vision/noise-weak", "vision/noise-strong"}
PLACED = {  # by layout
    "semantics/two-objects-seen", "semantics/two-objects-unseen", "semantics/distractor-receptacle",
    "semantics/two-receptacles-unseen", "execution/position", "execution/moved-midway",
}  # fmt: skip
SAME_THING = {
    ("semantics/object", "semantics/two-objects-unseen"),
    ("semantics/receptacle", "semantics/two-receptacles-unseen"),
    ("semantics/object", "semantics/two-objects-seen"),  # one wants the target unseen, the other seen
}
UPSTREAM_TABLES = {  # upstream's two rows use all tables, so they change them
    ("vision/table", "semantics/distractor-receptacle"),
    ("vision/table", "semantics/two-receptacles-unseen"),
}


def goes_together(pair, protocol):
    """By hand, from what the rows change."""
    return not (
        set(pair) <= OVERLAYS
        or set(pair) <= PLACED
        or pair in SAME_THING
        or (protocol == "rl4vla" and pair in UPSTREAM_TABLES)
    )


PAIRS = list(combinations(PERTURBED, 2))
COMPOSABLE = [(pair, protocol) for protocol in PROTOCOLS for pair in PAIRS if goes_together(pair, protocol)]
REFUSED = [(pair, protocol) for protocol in PROTOCOLS for pair in PAIRS if not goes_together(pair, protocol)]


# The table's own rows


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_tables_rows_are_found_as_they_are(protocol):
    for row in variants(protocol):
        assert find_row(row.id, protocol) is row
        assert row_axis(row.id) == row.axis
        assert order_id(row) == row.id


def test_an_unknown_protocol_is_named():
    with pytest.raises(UnknownVariant, match="did you mean 'vlagen-v1'"):
        find_row("vision/table+execution/position", "vlagen-v2")


# Compositions


def test_there_are_as_many_pairs_as_the_reasons_leave():
    # 15 rows make 105 pairs; 6 of two overlays, 15 of two layouts and 3 more do not go together, for upstream 5 more.
    assert len([1 for _, protocol in COMPOSABLE if protocol == "vlagen-v1"]) == 81
    assert len([1 for _, protocol in COMPOSABLE if protocol == "rl4vla"]) == 79


@pytest.mark.parametrize(("pair", "protocol"), COMPOSABLE, ids=str)
def test_a_pair_changes_what_its_parts_change_and_nothing_else(pair, protocol):
    training = variant("train", protocol)
    parts = [variant(part, protocol) for part in pair]
    row = find_row("+".join(pair), protocol)
    assert row.id == "+".join(pair)
    assert row.protocol == protocol
    for field in ("objects", "receptacles", "tables", "templates", "layout", "yaws", "robot_offsets", "overlay"):
        values = {getattr(part, field) for part in parts if getattr(part, field) != getattr(training, field)}
        assert {getattr(row, field)} == (values or {getattr(training, field)})
    assert row.distractor == next((part.distractor for part in parts if part.distractor), None)
    assert row.reposition_at_step == next((part.reposition_at_step for part in parts if part.reposition_at_step), None)


@pytest.mark.parametrize(("pair", "protocol"), COMPOSABLE, ids=str)
def test_a_pairs_episodes_decode_within_its_pools(pair, protocol):
    row = find_row("+".join(pair), protocol)
    for episode in (*evaluation_episodes(row, 4), decode(row, 0), decode(row, total(row) - 1)):
        assert episode.variant == row.id
        assert episode.protocol == protocol
        assert episode.object in row.objects
        assert episode.receptacle in row.receptacles
        assert episode.table in row.tables
        assert episode.template in row.templates
        assert (episode.overlay is None) == (row.overlay is None)
        assert (episode.distractor is None) == (row.distractor is None)
        if row.distractor is not None:
            assert episode.distractor_index in row.distractor.pool
            target = episode.object if episode.distractor == "object" else episode.receptacle
            assert episode.distractor_index != target or row.distractor.may_be_target


@pytest.mark.parametrize(("pair", "protocol"), REFUSED, ids=str)
def test_a_pair_that_does_not_go_together_is_refused_with_both_names(pair, protocol):
    with pytest.raises(UnknownVariant) as caught:
        find_row("+".join(pair), protocol)
    message = str(caught.value)
    assert f"{pair[0]} and {pair[1]} cannot be composed" in message
    assert message.endswith((f"try {pair[0]!r}", f"try {pair[1]!r}"))


@pytest.mark.parametrize(
    ("row_id", "field"),
    [
        ("vision/texture-weak+vision/noise-strong", "'overlay'"),
        ("execution/position+execution/moved-midway", "'layout'"),
        ("semantics/two-objects-seen+semantics/two-objects-unseen", "'distractor'"),
        ("semantics/two-objects-seen+execution/moved-midway", "'distractor' and 'reposition_at_step'"),
        ("semantics/object+semantics/two-objects-seen", "'objects'"),
        ("semantics/object+semantics/two-objects-unseen", "(objects)"),
        ("vision/table+vision/texture-weak+semantics/object+vision/noise-weak", "'overlay'"),
    ],
)
def test_a_refusal_names_the_field(row_id, field):
    with pytest.raises(UnknownVariant) as caught:
        find_row(row_id)
    assert field in str(caught.value)


def test_what_a_refusal_suggests_can_be_made():
    with pytest.raises(UnknownVariant) as caught:
        find_row("vision/table+vision/noise-weak+semantics/object+vision/texture-weak")
    suggestion = str(caught.value).split("try ")[1].strip("'")
    assert find_row(suggestion).id == "vision/table+vision/noise-weak+semantics/object"


@given(st.permutations(["vision/table", "semantics/instruction", "execution/position", "vision/noise-weak@0.2"]))
def test_the_order_of_parts_does_not_matter(parts):
    row = find_row("+".join(parts))
    assert row.id == "vision/table+vision/noise-weak@0.2+semantics/instruction+execution/position"
    assert row == find_row(row.id)


def test_the_largest_composition_decodes():
    row = find_row(
        "vision/table+vision/noise-weak+semantics/object+semantics/receptacle+semantics/instruction"
        "+execution/position+execution/robot-pose"
    )
    # objects, textures, templates, offsets, receptacles, tables, places, yaws
    assert total(row) == 9 * 16 * 20 * 14374 * 16 * 5 * 628 * 4
    episode = decode(row, total(row) - 1)
    assert (episode.object, episode.texture, episode.template) == (24, 16, 20)
    assert (episode.receptacle, episode.table) == (16, 20)
    assert len(set(episode_indices(row, 64))) == 64


def test_a_composition_is_on_no_axis_of_the_table():
    row = find_row("vision/table+execution/position")
    assert row.axis == row_axis(row.id) == "composition"
    assert not {"composition", "severity", "part", "control"} & set(AXES)


def test_a_composition_has_a_list_of_its_own_that_does_not_depend_on_how_it_is_spelt():
    lists = [
        episode_indices(find_row(row_id), 64)
        for row_id in ("vision/table+execution/position", "execution/position+vision/table")
    ]
    assert lists[0] == lists[1]
    assert lists[0] != episode_indices(find_row("vision/table+semantics/instruction"), 64)


# Severities


@pytest.mark.parametrize(
    ("given_id", "row_id"),
    [
        ("vision/texture-weak@0.350", "vision/texture-weak@0.35"),
        ("vision/texture-weak@.5", "vision/texture-weak@0.5"),
        ("vision/texture-weak@1.0", "vision/texture-weak@1"),
        ("vision/texture-weak@-0", "vision/texture-weak@0"),
        ("vision/texture-weak@1e-1", "vision/texture-weak@0.1"),
        ("vision/noise-strong@0.333333", "vision/noise-strong@0.3333"),
        ("execution/moved-midway@12.0", "execution/moved-midway@12"),
        ("execution/moved-midway@80", "execution/moved-midway@80"),
        ("execution/robot-pose@1.25~control", "execution/robot-pose@1.25~control"),
        ("execution/position@0.02+vision/table", "vision/table+execution/position@0.02"),
    ],
)
def test_numbers_have_one_spelling(given_id, row_id):
    row = find_row(given_id)
    assert row.id == row_id
    assert find_row(row.id) == row


def test_which_rows_have_a_knob():
    own = {row_id: (knob.low, knob.own, knob.high, knob.unit) for row_id, knob in KNOBS.items()}
    assert own == {
        "vision/texture-weak": (0, 0.3, 1, ""),
        "vision/texture-strong": (0, 0.5, 1, ""),
        "vision/noise-weak": (0, 0.3, 1, ""),
        "vision/noise-strong": (0, 0.5, 1, ""),
        "execution/position": (0.02, 0.03, 0.05, "m"),
        "execution/robot-pose": (0, 1, 1.25, ""),
        "execution/moved-midway": (1, 5, 80, ""),
    }
    assert {knob.harder for knob in KNOBS.values()} == {"higher"}
    assert [row_id for row_id, knob in KNOBS.items() if knob.whole] == ["execution/moved-midway"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("row_id", KNOBS)
def test_a_rows_own_value_gives_its_own_episodes(row_id, protocol):
    row = variant(row_id, protocol)
    turned = find_row(f"{row_id}@{KNOBS[row_id].own:g}", protocol)
    assert turned.id != row.id
    ours, theirs = evaluation_episodes(turned, 32), evaluation_episodes(row, 32)
    assert [replace(episode, variant=row_id) for episode in ours] == list(theirs)


# What each knob may change of an episode.
TURNED = {
    "vision/texture-weak": {"strength"},
    "vision/texture-strong": {"strength"},
    "vision/noise-weak": {"strength"},
    "vision/noise-strong": {"strength"},
    "execution/position": {"object_position", "receptacle_position"},
    "execution/robot-pose": {"robot_offset"},
    "execution/moved-midway": {"reposition_at_step"},
}


def differing(first, second):
    return {name for name in vars(first) if getattr(first, name) != getattr(second, name)}


@given(st.sampled_from(sorted(KNOBS)), st.sampled_from(PROTOCOLS), st.integers(0, 10**12), st.data())
def test_a_knob_turns_one_thing_and_keeps_the_index(row_id, protocol, index, data):
    knob = KNOBS[row_id]
    value = data.draw(st.integers(1, 80) if knob.whole else st.floats(knob.low, knob.high))
    row, base = find_row(f"{row_id}@{knob.setting(value)}", protocol), variant(row_id, protocol)
    assert total(row) == total(base)
    assert episode_indices(row, 5) == episode_indices(base, 5)
    ours, own = decode(row, index), decode(base, index)
    assert ours.variant == row.id
    assert ours.index == own.index
    assert differing(ours, own) <= TURNED[row_id] | {"variant"}


def test_what_a_knob_sets_by_hand():
    assert decode(find_row("vision/noise-weak@0.45"), 7).strength == 0.45
    assert decode(find_row("execution/moved-midway@33"), 7).reposition_at_step == 33
    row = variant("execution/robot-pose")
    offset = decode(row, 3 * 10**9).robot_offset
    assert any(offset)
    half = decode(find_row("execution/robot-pose@0.5"), 3 * 10**9).robot_offset
    assert half == tuple(value / 2 for value in offset)
    assert str(decode(find_row("execution/robot-pose@0"), 3 * 10**9).robot_offset) == str((0.0,) * 6)


def test_the_ring_moves_away_from_the_grid():
    # The first pair of the ring: its corner, and the next place but two along the same side.
    own = decode(variant("execution/position"), 0)
    assert own.object_position == pytest.approx((-0.265, -0.105, 0.95))
    assert own.receptacle_position == pytest.approx((-0.265, -0.015, 0.95))
    wide = decode(find_row("execution/position@0.05"), 0)
    assert wide.object_position == pytest.approx((-0.285, -0.125, 0.95))  # a corner moves along both axes
    assert wide.receptacle_position == pytest.approx((-0.285, -0.015, 0.95))
    close = decode(find_row("execution/position@0.02"), 0)
    assert close.object_position == pytest.approx((-0.255, -0.095, 0.95))
    last = decode(find_row("execution/position@0.05"), -1)  # at the opposite corner
    assert last.object_position == pytest.approx((-0.035, 0.125, 0.95))


@pytest.mark.parametrize("distance", [0.02, 0.025, 0.04, 0.05])
def test_no_ring_lets_bodies_come_nearer_than_its_layout_does(distance):
    row = find_row(f"execution/position@{distance}")
    for place in range(628):
        episode = decode(row, 4 * place)
        (x, y, _), (u, v, _) = episode.object_position, episode.receptacle_position
        assert (x - u) ** 2 + (y - v) ** 2 > 0.07**2
        assert max(abs(x + 0.16), abs(y)) == pytest.approx(0.075 + distance)
        assert max(abs(u + 0.16), abs(v)) == pytest.approx(0.075 + distance)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0:0.7:8", (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)),
        ("0:1:4", (0.0, 0.3333, 0.6667, 1.0)),
        ("1:80:2", (1.0, 80.0)),
        (" 0.02 : 0.05 : 4 ", (0.02, 0.03, 0.04, 0.05)),
    ],
)
def test_sweeps(text, values):
    assert severities(text) == values


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("0:0.7", "2 numbers instead of 3"),
        ("", "1 numbers instead of 3"),
        ("0:a:8", "not all of them are numbers"),
        ("0:1:2.5", "the last one whole"),
        ("0.7:0:8", "from must be less than to"),
        ("0:nan:8", "from must be less than to"),
        ("0:1:1", "count must be 2 to 100"),
        ("0:1:101", "count must be 2 to 100"),
    ],
)
def test_what_is_no_sweep_is_refused_with_an_example(text, complaint):
    with pytest.raises(BadSweep, match=complaint) as caught:
        severities(text)
    assert "e.g. 0:0.7:8" in str(caught.value)


def test_a_sweep_of_a_row():
    rows = sweep("vision/noise-weak", "0:0.3:3")
    assert [row.id for row in rows] == [f"vision/noise-weak@{value}" for value in ("0", "0.15", "0.3")]
    whole = sweep("execution/moved-midway", "1:3:5", "rl4vla")
    assert [row.id for row in whole] == [f"execution/moved-midway@{step}" for step in (1, 2, 3)]
    assert {row.protocol for row in whole} == {"rl4vla"}
    with pytest.raises(UnknownVariant, match="'vision/table' has no continuous knob"):
        sweep("vision/table", "0:1:2")
    with pytest.raises(UnknownVariant, match=r"blend strength 1\.2; allowed: 0 to 1; nearest: 1"):
        sweep("vision/noise-weak", "0:1.2:2")


# Parts


@pytest.mark.parametrize(
    ("given_id", "row_id"),
    [
        ("train[objects=0]", "train[objects=0]"),
        ("train[tables=0,objects=0]", "train[objects=0,tables=0]"),
        ("train[ objects = 0 , 1, 5-5 ]", "train[objects=0-1,5]"),
        ("train[objects=6,1-3,0,tables=15]", "train[objects=0-3,6,tables=15]"),
        ("train[objects=0-15,tables=0]", "train[tables=0]"),
        ("train[receptacles=0,templates=0]", "train"),
        ("vision/table[objects=0-15]~control", "vision/table~control"),
        ("execution/position+vision/table[tables=17]", "vision/table+execution/position[tables=17]"),
        ("vision/noise-weak@0.30[objects=2]", "vision/noise-weak@0.3[objects=2]"),
        ("vision/noise-weak[objects=2]", "vision/noise-weak[objects=2]"),
        ("semantics/object[objects=24,16]~control", "semantics/object[objects=16,24]~control"),
    ],
)
def test_parts_have_one_spelling(given_id, row_id):
    row = find_row(given_id)
    assert row.id == row_id
    assert find_row(row.id) == row
    assert row.axis == row_axis(row.id)


@given(st.data(), st.sampled_from(PROTOCOLS), st.sampled_from(["train", "semantics/instruction", "vision/table"]))
def test_a_parts_id_says_its_pools(data, protocol, row_id):
    whole = find_row(row_id, protocol)
    name = data.draw(st.sampled_from(POOLS))
    ids = data.draw(st.lists(st.sampled_from(getattr(whole, name)), min_size=1, unique=True))
    row = find_row(f"{row_id}[{name}={','.join(map(str, ids))}]", protocol)
    if len(ids) == len(getattr(whole, name)):
        assert row is whole
    else:
        assert row.pools == Pools(**{name: tuple(sorted(ids))})
        assert find_row(row.id, protocol) == row
        assert row.axis == "part"


@given(
    st.sampled_from(["train[objects=0-3,6,tables=0]", "vision/table+execution/position[tables=17]",
                     "vision/noise-weak@0.9[objects=2]", "semantics/two-objects-seen[objects=1,4]"]),
    st.integers(0, 10**14),
)  # fmt: skip
def test_a_part_has_the_whole_rows_episodes_and_indices(row_id, number):
    row, whole = find_row(row_id), find_row(row_id.partition("[")[0])
    index = index_at(row, number % row_size(row))
    episode = decode(row, index)
    assert episode == replace(decode(whole, index), variant=row_id)
    assert decode(row, number) == replace(decode(whole, number), variant=row_id)
    for name, ids in row.pools.chosen().items():
        assert getattr(episode, name.removesuffix("s")) in ids


def test_a_part_has_as_many_episodes_as_its_pools_make():
    row = find_row("train[objects=0-3,6,tables=0]")
    assert row_size(row) == 5 * 784 * 4  # objects, places, yaws
    assert len({index_at(row, number) for number in range(row_size(row))}) == row_size(row)
    assert evaluation_size(row) == 5 * 784
    assert evaluation_size(find_row("train[objects=0-3]")) == 4096
    assert len(set(episode_indices(row, 5 * 784))) == 5 * 784
    with pytest.raises(ValueError, match="has 15680 episodes, of which evaluations have 3920; 3921 were asked for"):
        episode_indices(row, 3921)
    assert row_size(variant("train")) == evaluation_size(variant("train")) == total(variant("train"))


def test_a_parts_control_arm_has_its_indices_and_its_twins():
    row = find_row("vision/table[objects=3,tables=18]")
    arm = control_of(row)
    assert arm.id == "vision/table[objects=3,tables=18]~control"
    assert (arm.axis, row.axis) == ("control", "part")
    pairs = zip(evaluation_episodes(row, 16), evaluation_episodes(arm, 16), strict=True)
    for episode, twin in pairs:
        assert differing(episode, twin) == {"variant", "table"}
        assert (episode.table, twin.table) == (18, 2)  # 18 is the third unseen table


def test_a_rows_files_have_names_of_their_own_that_no_pattern_reads_otherwise():
    names = {
        "vision/table": "vision-table",
        "vision/noise-weak@0.35+execution/position~control": "vision-noise-weak@0.35+execution-position~control",
        "train[objects=0-2,tables=0]": "train.objects-0-2.tables-0",
        "train[objects=0,2,tables=0]": "train.objects-0,2.tables-0",
        "vision/noise-weak@0.3[objects=0]~control": "vision-noise-weak@0.3.objects-0~control",
    }
    assert {row_id: file_name(row_id) for row_id in names} == names


# Control arms, whose episodes test_control.py looks at


def test_control_arms_of_every_kind_of_row():
    for row_id in ("vision/table", "vision/table+execution/position", "vision/noise-weak@0.2"):
        row = find_row(row_id)
        arm = control_of(row)
        assert arm.id == f"{row_id}~control"
        assert arm.axis == "control"
        assert total(arm) == total(row)
        assert episode_indices(arm, 16) == episode_indices(row, 16)
        with pytest.raises(UnknownVariant, match=f"did you mean '{row_id.replace('+', '.')}~control'"):
            control_of(arm)


# Ids that are none


@pytest.mark.parametrize(
    ("row_id", "message"),
    [
        ("visoin/table", "unknown row 'visoin/table'; did you mean 'vision/table'"),
        (
            "vision/tabel+execution/position",
            "unknown row 'vision/tabel' in .* did you mean 'vision/table.execution/pos",
        ),
        ("vision/tabel~control", "did you mean 'vision/table~control'"),
        ("vision/noise-weka@0.2", "did you mean 'vision/noise-weak@0.2'"),
        ("nonsense", "unknown row 'nonsense'; allowed: train, vision/table"),
        ("vision/table+", "unknown row '' in 'vision/table.'; allowed: train"),
        ("", "unknown row ''; allowed: train"),
        ("vision/table~contrl", "did you mean 'vision/table~control'"),
        ("vision/table~control+execution/position", "did you mean 'vision/table.execution/position~control'"),
        ("vision/table+vision/table", "a part is there twice; try 'vision/table'"),
        ("vision/noise-weak@0.1+vision/noise-weak@0.2", "a part is there twice; try 'vision/noise-weak'"),
        ("train+vision/table", "train is what other rows change.*; try 'vision/table'"),
        ("train~control", "train is what other rows change.*its own control arm; try 'train'"),
        ("vision/table@0.5", "has no continuous knob; allowed: vision/texture-weak"),
        ("train@1", "has no continuous knob"),
        ("vision/noise-weak@1.01", "is '1.01'; allowed: 0 to 1; did you mean 'vision/noise-weak@1'"),
        ("vision/noise-weak@-0.1", "did you mean 'vision/noise-weak@0'"),
        ("vision/noise-weak@nan", "did you mean 'vision/noise-weak@0.3'"),
        ("vision/noise-weak@", "did you mean 'vision/noise-weak@0.3'"),
        ("vision/noise-weak@0.1@0.2", "is '0.1@0.2'; allowed: 0 to 1"),
        ("execution/moved-midway@3.4", "allowed: whole numbers from 1 to 80; did you mean 'execution/moved-midway@3'"),
        ("execution/moved-midway@inf", "did you mean 'execution/moved-midway@80'"),
        ("execution/position@0.1", "allowed: 0.02 to 0.05 m; did you mean 'execution/position@0.05'"),
        ("train[objects=16]", r"train \(vlagen-v1\) has objects 0 to 15, each once; did you mean 'train.objects=15.'"),
        ("train[objects=1,1]", r"objects 0 to 15, each once; did you mean 'train.objects=1.'"),
        ("train[receptacles=3]", r"has receptacles \[0\], each once; did you mean 'train'"),
        ("vision/table[tables=0-3]~control", r"has tables 16 to 20.* did you mean 'vision/table.tables=16.~control'"),
        ("train[object=0]", "unknown pool 'object'; did you mean 'objects'. allowed: objects, receptacles"),
        ("train[objects=0,objects=1]", "objects is there twice; give all of its ids at once, e.g. objects=0,2"),
        ("train[tables=]", r"'tables=' is no part of a pool; allowed: objects, .* e.g. tables=0 or tables=0-3,6"),
        ("train[objects=0|1]", "'objects=0.1' is no part of a pool"),
        ("train[objects=3-1]", "'objects=3-1' is no part of a pool"),
        ("train[objects=1000000000]", "is no part of a pool"),
        ("train[0]", "'0' is no part of a pool; .* e.g. objects=0 or"),
        ("train[]", r"pools stand once, in \[\] behind the rows, e.g. .*; did you mean 'train'"),
        ("train[objects=0", r"did you mean 'train.objects=0.'"),
        ("train[objects=0][tables=1]", r"did you mean 'train.objects=0,tables=1.'"),
        ("vision/table[objects=0]+execution/position", r"did you mean 'vision/table.execution/position.objects=0.'"),
        ("vision/noise-weak[objects=0]@0.3~control", r"did you mean 'vision/noise-weak@0.3.objects=0.~control'"),
        ("vision/table~control[objects=0]", r"did you mean 'vision/table.objects=0.~control'"),
        ("train[objects=0]~control", r"its own control arm; try 'train.objects=0.'"),
        ("trian[objects=0]", r"unknown row 'trian' in .* did you mean 'train.objects=0.'"),
    ],
)
def test_an_id_that_is_none_names_the_nearest(row_id, message):
    with pytest.raises(UnknownVariant, match=message):
        find_row(row_id)
