"""Upstream's 17 environments and three object sets as variants, and their records (``protocol.md`` section 3).

The id digits of every environment are those of ``episodes.decode``; what differs is only the pools.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from vlagen.assets.errors import unknown
from vlagen.assets.packs import Pack, load_pack

from . import layouts
from .episodes import Episode, decode, digits, total
from .instructions import render
from .pools import ALL_OBJECTS, ALL_RECEPTACLES, ALL_TABLES, HELD_OUT_OBJECTS, HELD_OUT_TABLES
from .variants import Distractor, Overlay, UnknownVariant, Variant, variant

PREFIX = "PutOnPlateInScene25"
OBJECT_SETS = ("train", "test", "all")
_IDENTITY = (1.0, 0.0, 0.0, 0.0)

_TRAIN = variant("train", "rl4vla")
_FIRST_17 = tuple(range(17))


def _row(row_id: str, **changes: Any) -> Variant:
    return replace(variant(row_id, "rl4vla"), **changes)


def _texture_sets(row_id: str) -> tuple[Variant, Variant, Variant]:
    test = _row(row_id)
    kind, strength = test.overlay.kind, test.overlay.strength
    return (
        replace(test, overlay=Overlay(kind, strength, (0,))),
        test,
        replace(test, overlay=Overlay(kind, strength, _FIRST_17)),
    )


_SINGLE = replace(_TRAIN, objects=(0,), tables=(0,))
_MULTI_OBJECT = _row("semantics/two-objects-seen")
_MULTI_RECEPTACLE = _row("semantics/distractor-receptacle")

ENVIRONMENTS: dict[str, tuple[Variant, Variant, Variant]] = {
    "Main-v3": (
        _TRAIN,
        replace(_TRAIN, objects=HELD_OUT_OBJECTS, tables=HELD_OUT_TABLES),
        replace(_TRAIN, objects=ALL_OBJECTS, tables=ALL_TABLES),
    ),
    "Single-v1": (_SINGLE, _SINGLE, _SINGLE),
    "MainCarrot-v3": (
        replace(_TRAIN, tables=(0,)),
        replace(_TRAIN, objects=HELD_OUT_OBJECTS, tables=(0,)),
        replace(_TRAIN, objects=ALL_OBJECTS, tables=(0,)),
    ),
    "MainImage-v3": (
        replace(_TRAIN, objects=(0,)),
        replace(_TRAIN, objects=(0,), tables=HELD_OUT_TABLES),
        replace(_TRAIN, objects=(0,), tables=ALL_TABLES),
    ),
    "VisionImage-v1": (_TRAIN, _row("vision/table"), replace(_TRAIN, tables=ALL_TABLES)),
    "VisionTexture03-v1": _texture_sets("vision/texture-weak"),
    "VisionTexture05-v1": _texture_sets("vision/texture-strong"),
    "VisionWhole03-v1": _texture_sets("vision/noise-weak"),
    "VisionWhole05-v1": _texture_sets("vision/noise-strong"),
    "Carrot-v1": (_TRAIN, _row("semantics/object"), replace(_TRAIN, objects=ALL_OBJECTS)),
    "Plate-v1": (_TRAIN, _row("semantics/receptacle"), replace(_TRAIN, receptacles=ALL_RECEPTACLES)),
    "Instruct-v1": (_TRAIN, _row("semantics/instruction"), replace(_TRAIN, templates=_FIRST_17)),
    "MultiCarrot-v1": (
        _MULTI_OBJECT,
        _row("semantics/two-objects-unseen"),
        replace(_MULTI_OBJECT, objects=ALL_OBJECTS, distractor=Distractor("object", ALL_OBJECTS)),
    ),
    "MultiPlate-v1": (
        _MULTI_RECEPTACLE,
        _row("semantics/two-receptacles-unseen"),
        replace(_MULTI_RECEPTACLE, receptacles=ALL_RECEPTACLES, distractor=Distractor("receptacle", ALL_RECEPTACLES)),
    ),
    "Position-v1": (_TRAIN, _row("execution/position"), replace(_TRAIN, layout="grid+ring", yaws="all")),
    "EEPose-v1": (_TRAIN, _row("execution/robot-pose"), replace(_TRAIN, robot_offsets="all")),
    "PositionChangeTo-v1": (
        _row("execution/moved-midway", reposition_at_step=None),
        _row("execution/moved-midway"),
        _row("execution/moved-midway"),
    ),
}
"""Environment id without prefix -> the variant of its train, test and all object sets."""

STUDY_ENVIRONMENTS = tuple(name for name in ENVIRONMENTS if name not in ("Single-v1", "MainCarrot-v3", "MainImage-v3"))
"""The 13 environments behind the study's 16 rows, and the training environment ``Main-v3``."""


def upstream_variant(env_id: str, obj_set: str = "train") -> Variant:
    """The variant behind an upstream environment (with or without prefix) and object set.

    Raises ``UnknownVariant`` with the nearest name.
    """
    name = env_id.removeprefix(PREFIX)
    if name not in ENVIRONMENTS:
        raise UnknownVariant(unknown("upstream environment", env_id, [PREFIX + key for key in ENVIRONMENTS]))
    if obj_set not in OBJECT_SETS:
        raise UnknownVariant(unknown("object set", obj_set, OBJECT_SETS))
    return ENVIRONMENTS[name][OBJECT_SETS.index(obj_set)]


def _paper_name(name: str, obj_set: str) -> str | None:
    """The study's title if this pair is one of its 16 rows."""
    only_test = name in ("VisionImage-v1", "Plate-v1", "Instruct-v1", "Position-v1", "EEPose-v1", "PositionChangeTo-v1")
    both = name in ("Carrot-v1", "MultiCarrot-v1", "MultiPlate-v1")
    if (both and obj_set != "all") or (
        (only_test or name.startswith(("VisionTexture", "VisionWhole"))) and obj_set == "test"
    ):
        return upstream_variant(name, obj_set).title
    return None


def _rounded(values: tuple[float, ...]) -> list[float]:
    return [round(float(value), 7) for value in values]


def record(env_id: str, obj_set: str, episode_id: int) -> dict[str, Any]:
    """The selection fields of an upstream episode, named as in the golden records.

    ``episode_id`` is taken modulo the environment's total (``ltt``). Positions are in the world frame [m], quaternions
    wxyz; fields of other environments are None. Nothing here needs the simulator or the pack's files.
    """
    name = env_id.removeprefix(PREFIX)
    row = upstream_variant(name, obj_set)
    episode, pack = decode(row, episode_id), load_pack("rl4vla")
    obj, receptacle = pack.objects[episode.object], pack.receptacles[episode.receptacle]
    place, yaw = _pose_digits(row, episode.index)
    instruct, robot_pose = name == "Instruct-v1", name == "EEPose-v1"
    offset = _offset_index(row, episode.index) if robot_pose else None
    extras = (episode.texture, episode.distractor_index, episode.template if instruct else None, offset)
    return {
        "env_id": PREFIX + name,
        "obj_set": obj_set,
        "ltt": total(row),
        "episode_id": episode.index,
        "object_index": episode.object,
        "object_name": obj.name,
        "object_text": obj.text,
        "plate_index": episode.receptacle,
        "plate_name": receptacle.name,
        "plate_text": receptacle.text,
        "overlay_index": episode.table,
        "overlay_file": pack.tables[episode.table].image.name,
        "pos_index": place,
        "quat_index": yaw,
        "instruction": render(episode.template, obj.text, receptacle.text),
        "extra_index": next((extra for extra in extras if extra is not None), None),
        **_texture_fields(episode, pack),
        **_distractor_fields(episode, pack),
        "template_index": episode.template if instruct else None,
        "qpos_offset": [*episode.robot_offset, 0.0, 0.0] if robot_pose else None,
        "position_change": _position_change(name, episode),
        "config_xyz": layouts.places(_table_layout(row))[place].tolist(),
        "config_quat": [list(episode.yaw_quaternion), list(_IDENTITY)],
        "commanded": _commanded(episode, pack),
        "paper_name": _paper_name(name, obj_set),
    }


def _texture_fields(episode: Episode, pack: Pack) -> dict[str, Any]:
    if episode.overlay is None:
        return dict.fromkeys(("texture_file", "texture_mix", "texture_mix_ratio", "texture_alpha"))
    texture = pack.textures[episode.texture]
    return {
        "texture_file": texture.image.name,
        "texture_mix": texture.mix,
        "texture_mix_ratio": episode.strength,
        "texture_alpha": texture.mix * episode.strength,
    }


def _distractor_fields(episode: Episode, pack: Pack) -> dict[str, Any]:
    if episode.distractor is None:
        return dict.fromkeys(("distractor_name", "distractor_text", "distractor_kind", "distractor_is_target"))
    second = pack.model(episode.distractor, episode.distractor_index)
    return {
        "distractor_name": second.name,
        "distractor_text": second.text,
        "distractor_kind": "object" if episode.distractor == "object" else "plate",
        "distractor_is_target": episode.distractor_is_target,
    }


def _commanded(episode: Episode, pack: Pack) -> dict[str, dict[str, list[float]]]:
    """The poses that the bodies are dropped from, by model name."""
    poses = {
        pack.objects[episode.object].name: (episode.object_position, episode.yaw_quaternion),
        pack.receptacles[episode.receptacle].name: (episode.receptacle_position, _IDENTITY),
    }
    if episode.distractor is not None and not episode.distractor_is_target:
        rotation = episode.yaw_quaternion if episode.distractor == "object" else _IDENTITY
        poses[pack.model(episode.distractor, episode.distractor_index).name] = (episode.distractor_position, rotation)
    return {name: {"p": _rounded(p), "q": _rounded(q)} for name, (p, q) in poses.items()}


def _table_layout(row: Variant) -> layouts.Layout:
    """Upstream's Position environment keeps training grid and ring in one table."""
    return "grid+ring" if row.layout == "ring" else row.layout


def _pose_digits(row: Variant, index: int) -> tuple[int, int]:
    """Place and yaw as indices into upstream's whole tables, where the ring and its yaws come second."""
    place, yaw = digits(row, index)[-2:]
    place += len(layouts.places("grid")) if row.layout == "ring" else 0
    return place, yaw + (len(layouts.YAWS["training"]) if row.yaws == "held-out" else 0)


def _offset_index(row: Variant, index: int) -> int:
    """The joint offset as an index into upstream's table, which starts with the home posture."""
    return digits(row, index)[4] + (1 if row.robot_offsets == "held-out+home" else 0)


def _position_change(name: str, episode: Episode) -> dict[str, Any] | None:
    if name != "PositionChangeTo-v1" or episode.reposition_at_step is None:
        return None
    return {
        "enabled": True,
        "at_elapsed_steps": episode.reposition_at_step,
        "target_p": _rounded(episode.reposition_to),
        "target_q": _rounded(episode.yaw_quaternion),
    }
