"""What upstream selects for an episode id, against records of the original environments; no simulator needed."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

from tests import golden
from vlagen.tasks import layouts, upstream
from vlagen.tasks.episodes import digits, total, upstream_record
from vlagen.tasks.upstream import OBJECT_SETS, PREFIX, upstream_variant

pytestmark = golden.needs_golden

NEEDS_SIMULATOR = {
    "settled", "object_bbox_world", "plate_bbox_world", "robot_qpos", "robot_root_p", "robot_root_q", "ee_in_base_p",
    "ee_in_base_q", "reset_info", "foreground", "rgb_mean", "image", "repeat_dev", "moving_at_reset", "stable",
    "row", "settle_seconds_arg", "settle_physics_steps",
}  # fmt: skip


def _close(ours, theirs, tolerance=1e-6):
    if isinstance(theirs, dict):
        return ours is not None and ours.keys() == theirs.keys() and all(_close(ours[k], theirs[k]) for k in theirs)
    if isinstance(theirs, list):
        return len(ours) == len(theirs) and all(_close(a, b) for a, b in zip(ours, theirs, strict=True))
    if isinstance(theirs, float):
        return abs(ours - theirs) <= tolerance
    return ours == theirs and (type(ours) is type(theirs) or not isinstance(theirs, bool))


@pytest.mark.parametrize("path", golden.row_files(), ids=lambda path: path.stem)
def test_every_selection_field_of_every_record(path):
    records = json.loads(path.read_text())["records"]
    assert records
    for record in records:
        ours = upstream_record(record["env_id"], record["obj_set"], record["episode_id"])
        fields = {k: v for k, v in record.items() if k not in NEEDS_SIMULATOR}
        if fields["episode_id"] >= fields["ltt"]:
            fields["episode_id"] %= fields["ltt"]
        wrong = {k: (ours.get(k), v) for k, v in fields.items() if k not in ours or not _close(ours[k], v)}
        assert not wrong, f"{path.stem} id {record['episode_id']}: {wrong}"


def test_selection_of_all_environments_and_sets():
    for key, block in golden.load("selection.json").items():
        name, obj_set = key.split("|")
        assert total(upstream_variant(name, obj_set)) == block["ltt"], key
        for position, row in enumerate(block["rows"]):
            ours = upstream_record(name, obj_set, row[0])
            extra = -1 if ours["extra_index"] is None else ours["extra_index"]
            got = [ours["object_index"], ours["plate_index"], ours["overlay_index"], extra]
            got += [ours["pos_index"], ours["quat_index"]]
            assert got == _expected(name, row), (key, row)
            if "instructions" in block:
                assert ours["instruction"] == block["instructions"][position]


def _expected(name, row):
    return row[1:]


def test_totals_and_pose_table_hashes():
    for name, block in golden.load("totals.json").items():
        for obj_set in OBJECT_SETS:
            assert total(upstream_variant(name, obj_set)) == block["totals"][obj_set], (name, obj_set)
        whole = upstream_variant(name, "all")
        table = layouts.places(upstream._table_layout(whole))
        assert len(table) == block["n_xyz"], name
        assert hashlib.sha256(np.ascontiguousarray(table).tobytes()).hexdigest() == block["sha256_xyz_f64"], name


def test_pose_tables():
    with np.load(golden.PROTOCOL / "pose_tables.npz") as tables:
        for key, layout in {
            "main_xyz": "grid", "eepose_xyz": "grid", "position_xyz": "grid+ring", "multicarrot_xyz": "object-triples",
            "position_change_xyz": "object-triples", "multiplate_xyz": "receptacle-triples",
        }.items():  # fmt: skip
            np.testing.assert_array_equal(layouts.places(layout), tables[key], err_msg=key)
        np.testing.assert_array_equal(layouts.robot_offsets("all"), tables["eepose_qpos_offset"][:, :6])
        for key, which in {"main_quat": "training", "position_quat": "all"}.items():
            yaw = np.array(layouts.YAWS[which])
            np.testing.assert_allclose(np.cos(yaw / 2), tables[key][:, 0, 0], atol=1e-15)
            np.testing.assert_allclose(np.sin(yaw / 2), tables[key][:, 0, 3], atol=1e-15)


def test_digits_are_a_bijection_on_a_small_row():
    row = upstream_variant(PREFIX + "Single-v1")
    seen = {digits(row, index) for index in range(total(row))}
    assert len(seen) == total(row) == 3136
