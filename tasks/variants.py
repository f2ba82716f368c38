"""The variant table: what each row changes from the training task, as data.

An id is ``axis/change`` (``train`` is the in-distribution row). The axis is *where* generalization is tested: vision,
semantics or execution (arXiv 2505.19789, section 4). Two protocols share the ids: ``vlagen-v1`` (default) and
``rl4vla``, which keeps upstream's episode mapping with its quirks (``protocol.md`` section 10) so that published
numbers can be compared.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, Literal

from vlagen.assets.errors import VlagenError, unknown

from . import pools
from .layouts import Layout, OffsetSet, YawSet
from .pools import Ids

PROTOCOLS = ("vlagen-v1", "rl4vla")
AXES = ("in-distribution", "vision", "semantics", "execution")


class UnknownVariant(VlagenError, ValueError):
    """A row or protocol that is not in the table, and for rows cannot be made of it either."""


@dataclass(frozen=True)
class Overlay:
    """A picture blended over what the policy sees: ``strength`` in [0, 1] times the texture's own mix.

    ``foreground`` stretches the texture over the box around robot and objects and blends it there only;
    ``whole`` blends a window of the enlarged texture over the whole image.
    """

    kind: Literal["foreground", "whole"]
    strength: float
    textures: Ids = pools.HELD_OUT_TEXTURES


@dataclass(frozen=True)
class Distractor:
    """A second object or receptacle that the instruction does not name, drawn from ``pool`` without the target."""

    kind: Literal["object", "receptacle"]
    pool: Ids
    may_be_target: bool = False  # upstream's unseen pair adds an offset before the modulo: 1 in 8 is the target itself


@dataclass(frozen=True)
class Variant:
    """One row: what differs from training. Every default *is* the training value."""

    id: str
    title: str  # the study's own name of the row
    _: KW_ONLY
    protocol: str = "vlagen-v1"
    objects: Ids = pools.TRAIN_OBJECTS
    receptacles: Ids = pools.TRAIN_RECEPTACLES
    tables: Ids = pools.TRAIN_TABLES
    templates: Ids = pools.TRAIN_TEMPLATES
    layout: Layout = "grid"
    yaws: YawSet = "training"
    robot_offsets: OffsetSet = "home"
    overlay: Overlay | None = None
    distractor: Distractor | None = None
    reposition_at_step: int | None = None  # the object is moved at the end of this control step

    @property
    def axis(self) -> str:
        """One of ``AXES``: the id's prefix."""
        return self.id.split("/")[0] if "/" in self.id else "in-distribution"

    def finish(self, episode: Any) -> Any:
        """What becomes of a decoded episode: nothing, but for rows that are made of others (``rows.py``)."""
        return episode


def _second(kind: Literal["object", "receptacle"], pool: Ids) -> dict[str, Any]:
    """A second body takes a third place on the table."""
    return {"layout": f"{kind}-triples", "distractor": Distractor(kind, pool)}


_ROWS = (
    Variant("train", "similar to training setting"),
    Variant("vision/table", "unseen table", tables=pools.HELD_OUT_TABLES),
    Variant("vision/texture-weak", "dynamic texture (weak)", overlay=Overlay("foreground", 0.3)),
    Variant("vision/texture-strong", "dynamic texture (strong)", overlay=Overlay("foreground", 0.5)),
    Variant("vision/noise-weak", "dynamic noise (weak)", overlay=Overlay("whole", 0.3)),
    Variant("vision/noise-strong", "dynamic noise (strong)", overlay=Overlay("whole", 0.5)),
    Variant("semantics/object", "unseen objects", objects=pools.HELD_OUT_OBJECTS),
    Variant("semantics/receptacle", "unseen receptacles", receptacles=pools.HELD_OUT_RECEPTACLES),
    Variant("semantics/instruction", "unseen instructions", templates=pools.HELD_OUT_TEMPLATES),
    Variant("semantics/two-objects-seen", "multi-object (both seen)", **_second("object", pools.TRAIN_OBJECTS)),
    Variant(
        "semantics/two-objects-unseen",
        "multi-object (both unseen)",
        objects=pools.HELD_OUT_OBJECTS,
        **_second("object", pools.HELD_OUT_OBJECTS),
    ),
    Variant(
        "semantics/distractor-receptacle", "distractive receptacle", **_second("receptacle", pools.ALL_RECEPTACLES)
    ),
    Variant(
        "semantics/two-receptacles-unseen",
        "multi-receptacle (both unseen)",
        receptacles=pools.HELD_OUT_RECEPTACLES,
        **_second("receptacle", pools.HELD_OUT_RECEPTACLES),
    ),
    Variant("execution/position", "unseen position (object & receptacle)", layout="ring", yaws="held-out"),
    Variant("execution/robot-pose", "unseen robot init pose", robot_offsets="held-out"),
    Variant("execution/moved-midway", "mid-episode object reposition", layout="object-triples", reposition_at_step=5),
)

# What upstream does differently, row by row (protocol.md Q2, Q4, Q31, Q32).
_UPSTREAM = {
    "semantics/instruction": {"templates": tuple(range(1, 17))},
    "semantics/two-objects-unseen": {"distractor": Distractor("object", pools.HELD_OUT_OBJECTS, may_be_target=True)},
    "semantics/distractor-receptacle": {"tables": pools.ALL_TABLES},
    "semantics/two-receptacles-unseen": {"tables": pools.ALL_TABLES},
    "execution/robot-pose": {"robot_offsets": "held-out+home"},
}

VARIANTS: tuple[Variant, ...] = _ROWS + tuple(
    replace(row, protocol="rl4vla", **_UPSTREAM.get(row.id, {})) for row in _ROWS
)
"""All rows of both protocols."""

ROW_IDS = tuple(row.id for row in _ROWS)


def variants(protocol: str = "vlagen-v1") -> tuple[Variant, ...]:
    """The 16 rows of a protocol, in the study's order. Raises ``UnknownVariant`` for another protocol."""
    if protocol not in PROTOCOLS:
        raise UnknownVariant(unknown("protocol", protocol, PROTOCOLS))
    return tuple(row for row in VARIANTS if row.protocol == protocol)


def variant(row_id: str, protocol: str = "vlagen-v1") -> Variant:
    """The row with this id. Raises ``UnknownVariant`` naming the nearest id."""
    for row in variants(protocol):
        if row.id == row_id:
            return row
    raise UnknownVariant(unknown("row", row_id, ROW_IDS))
