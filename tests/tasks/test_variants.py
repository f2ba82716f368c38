"""The table of rows: which there are, what each changes, and how little it takes to say so."""

from __future__ import annotations

import ast
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest

from vlagen.tasks import pools
from vlagen.tasks import variants as table
from vlagen.tasks.variants import AXES, PROTOCOLS, ROW_IDS, VARIANTS, UnknownVariant, Variant, variant, variants

# What each row changes from `train`, by hand: the id, and the fields that hold the change.
CHANGES = {
    "train": {},
    "vision/table": {"tables": (16, 17, 18, 19, 20)},
    "vision/texture-weak": {"overlay": ("foreground", 0.3)},
    "vision/texture-strong": {"overlay": ("foreground", 0.5)},
    "vision/noise-weak": {"overlay": ("whole", 0.3)},
    "vision/noise-strong": {"overlay": ("whole", 0.5)},
    "semantics/object": {"objects": (16, 17, 18, 19, 20, 21, 22, 23, 24)},
    "semantics/receptacle": {"receptacles": (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16)},
    "semantics/instruction": {"templates": (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20)},
    "semantics/two-objects-seen": {"layout": "object-triples", "distractor": ("object", range(16))},
    "semantics/two-objects-unseen": {
        "objects": (16, 17, 18, 19, 20, 21, 22, 23, 24),
        "layout": "object-triples",
        "distractor": ("object", range(16, 25)),
    },
    "semantics/distractor-receptacle": {"layout": "receptacle-triples", "distractor": ("receptacle", range(17))},
    "semantics/two-receptacles-unseen": {
        "receptacles": (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16),
        "layout": "receptacle-triples",
        "distractor": ("receptacle", range(1, 17)),
    },
    "execution/position": {"layout": "ring", "yaws": "held-out"},
    "execution/robot-pose": {"robot_offsets": "held-out"},
    "execution/moved-midway": {"layout": "object-triples", "reposition_at_step": 5},
}

UPSTREAM_CHANGES = {  # what `rl4vla` has otherwise (protocol.md section 10)
    "semantics/instruction": {"templates": (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16)},  # Q31
    "semantics/two-objects-unseen": {"distractor": ("object", range(16, 25), "may be the target")},  # Q2
    "semantics/distractor-receptacle": {"tables": tuple(range(21))},  # Q4
    "semantics/two-receptacles-unseen": {"tables": tuple(range(21))},  # Q4
    "execution/robot-pose": {"robot_offsets": "held-out+home"},  # Q32
}


def differences(row, other):
    """Field name -> the value of ``row``, where the two differ; id, title and protocol name a row, not its episodes."""
    names = {field.name for field in fields(Variant)} - {"id", "title", "protocol"}
    return {name: plain(getattr(row, name)) for name in names if getattr(row, name) != getattr(other, name)}


def plain(value):
    if isinstance(value, table.Overlay):
        assert value.textures == tuple(range(1, 17))
        return (value.kind, value.strength)
    if isinstance(value, table.Distractor):
        pool = range(value.pool[0], value.pool[-1] + 1)
        assert value.pool == tuple(pool)
        return (value.kind, pool, "may be the target") if value.may_be_target else (value.kind, pool)
    return value


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_both_protocols_have_the_sixteen_rows_in_the_studys_order(protocol):
    assert [row.id for row in variants(protocol)] == list(CHANGES)
    assert list(CHANGES) == list(ROW_IDS)
    assert all(row.protocol == protocol for row in variants(protocol))


def test_every_row_of_every_protocol_is_listed_once():
    assert len(VARIANTS) == 32
    assert len({(row.protocol, row.id) for row in VARIANTS}) == 32
    assert len({row.title for row in variants()}) == 16


def test_train_is_the_defaults():
    assert differences(variant("train"), Variant("other", "other")) == {}
    assert variant("train").objects == tuple(range(16))
    assert variant("train").receptacles == (0,)
    assert variant("train").tables == tuple(range(16))
    assert variant("train").templates == (0,)


@pytest.mark.parametrize("row_id", CHANGES)
def test_a_row_changes_what_its_id_names_and_nothing_else(row_id):
    assert differences(variant(row_id), variant("train")) == CHANGES[row_id]


@pytest.mark.parametrize("row_id", CHANGES)
def test_upstreams_protocol_differs_only_where_documented(row_id):
    ours, upstreams = variant(row_id, "vlagen-v1"), variant(row_id, "rl4vla")
    assert differences(upstreams, ours) == UPSTREAM_CHANGES.get(row_id, {})
    assert upstreams.title == ours.title


def test_an_id_starts_with_its_axis():
    assert [row.axis for row in variants()] == ["in-distribution"] + 5 * ["vision"] + 7 * ["semantics"] + 3 * [
        "execution"
    ]
    assert AXES == ("in-distribution", "vision", "semantics", "execution")


@pytest.mark.parametrize(
    ("seen", "held_out", "everything"),
    [
        (pools.TRAIN_OBJECTS, pools.HELD_OUT_OBJECTS, pools.ALL_OBJECTS),
        (pools.TRAIN_RECEPTACLES, pools.HELD_OUT_RECEPTACLES, pools.ALL_RECEPTACLES),
        (pools.TRAIN_TABLES, pools.HELD_OUT_TABLES, pools.ALL_TABLES),
        (pools.TRAIN_TEMPLATES, pools.HELD_OUT_TEMPLATES, tuple(range(21))),
    ],
)
def test_nothing_is_both_seen_and_held_out(seen, held_out, everything):
    assert not set(seen) & set(held_out)
    assert seen + held_out == everything
    assert len(set(everything)) == len(everything)


def test_rows_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        variant("train").tables = (0,)


def test_an_unknown_row_names_the_nearest_and_lists_all():
    with pytest.raises(UnknownVariant, match="unknown row 'visoin/table'; did you mean 'vision/table'") as caught:
        variant("visoin/table")
    assert all(row_id in str(caught.value) for row_id in CHANGES)


@pytest.mark.parametrize("ask", [variants, lambda protocol: variant("train", protocol)])
def test_an_unknown_protocol_names_the_nearest_and_lists_all(ask):
    with pytest.raises(UnknownVariant, match=r"did you mean 'vlagen-v1'\? allowed: vlagen-v1, rl4vla"):
        ask("vlagen-v2")


def test_a_row_costs_at_most_ten_lines():
    module = ast.parse(Path(table.__file__).read_text(encoding="utf-8"))
    rows = next(node.value.elts for node in module.body if isinstance(node, ast.Assign) and _target(node) == "_ROWS")
    assert len(rows) == 16
    assert max(row.end_lineno - row.lineno + 1 for row in rows) <= 10


def _target(node):
    return node.targets[0].id


def test_variants_episodes_and_layouts_cost_at_most_400_lines():
    folder = Path(table.__file__).parent
    names = ("variants.py", "episodes.py", "layouts.py")
    assert sum(len((folder / name).read_text(encoding="utf-8").splitlines()) for name in names) <= 400
