"""Episodes as values: a pure, mixed-radix function of (variant, index), the same for every policy and host.

The digits, most significant first: object, object distractor, texture, template, robot offset, receptacle, receptacle
distractor, table, place, yaw. With one row's factors at a time this is upstream's order for all of its 13 environments
(``protocol.md`` section 3), and any composition of factors gets an index too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from . import layouts
from .variants import Distractor, Variant

Vector3 = tuple[float, float, float]


@dataclass(frozen=True)
class Episode:
    """Everything that is decided before the simulation starts; positions are in the world frame [m], angles [rad].

    Objects, receptacles, tables and textures are indices into an asset pack's lists.
    """

    protocol: str
    variant: str
    index: int
    object: int
    receptacle: int
    table: int
    template: int
    object_position: Vector3
    receptacle_position: Vector3
    yaw: float  # of the object, the object distractor and the object after it was moved
    robot_offset: tuple[float, ...]  # (6,) joint offsets from the home posture
    overlay: Literal["foreground", "whole"] | None = None
    texture: int | None = None
    strength: float = 0.0
    distractor: Literal["object", "receptacle"] | None = None
    distractor_index: int | None = None
    distractor_position: Vector3 | None = None
    reposition_at_step: int | None = None
    reposition_to: Vector3 | None = None

    @property
    def yaw_quaternion(self) -> tuple[float, float, float, float]:
        """The object's commanded orientation, wxyz."""
        return (math.cos(self.yaw / 2), 0.0, 0.0, math.sin(self.yaw / 2))

    @property
    def distractor_is_target(self) -> bool:
        """Upstream's quirk Q2: the drawn distractor is the target, which then stands at the third place."""
        return self.distractor == "object" and self.distractor_index == self.object

    @property
    def models(self) -> tuple[tuple[Literal["object", "receptacle"], int], ...]:
        """The bodies to build: target, receptacle and, if there is one, the distractor."""
        second = [(self.distractor, self.distractor_index)] if self.distractor and not self.distractor_is_target else []
        return (("object", self.object), ("receptacle", self.receptacle), *second)


def _distractor_count(distractor: Distractor | None, kind: str) -> int:
    return len(distractor.pool) - 1 if distractor and distractor.kind == kind else 1


def _draw_distractor(distractor: Distractor, target: int, digit: int) -> int:
    start = target if distractor.may_be_target else distractor.pool.index(target)
    return distractor.pool[(start + digit + 1) % len(distractor.pool)]


def radices(row: Variant) -> tuple[int, ...]:
    """How many values each digit of a row takes, most significant first, shape (10,)."""
    return (
        len(row.objects),
        _distractor_count(row.distractor, "object"),
        len(row.overlay.textures) if row.overlay else 1,
        len(row.templates),
        len(layouts.robot_offsets(row.robot_offsets)),
        len(row.receptacles),
        _distractor_count(row.distractor, "receptacle"),
        len(row.tables),
        len(layouts.places(row.layout)),
        len(layouts.YAWS[row.yaws]),
    )


def total(row: Variant) -> int:
    """How many episodes a row has; a plain int, as it can exceed 2**32."""
    return math.prod(radices(row))


def digits(row: Variant, index: int) -> tuple[int, ...]:
    """The mixed-radix digits of ``index`` modulo ``total(row)``, most significant first, shape (10,)."""
    return tuple(int(digit) for digit in np.unravel_index(int(index) % total(row), radices(row)))


def decode(row: Variant, index: int) -> Episode:
    """The episode of a row at an index (taken modulo ``total(row)``)."""
    obj, other_object, texture, template, offset, receptacle, other_receptacle, table, place, yaw = digits(row, index)
    positions = [tuple(p) for p in layouts.places(row.layout)[place].tolist()]
    third = positions[2] if len(positions) > 2 else None
    target, target_receptacle = row.objects[obj], row.receptacles[receptacle]
    distractor = None
    if row.distractor is not None and row.distractor.kind == "object":
        distractor = _draw_distractor(row.distractor, target, other_object)
    elif row.distractor is not None:
        distractor = _draw_distractor(row.distractor, target_receptacle, other_receptacle)
    swapped = row.distractor is not None and row.distractor.kind == "object" and distractor == target
    episode = Episode(
        protocol=row.protocol,
        variant=row.id,
        index=int(index) % total(row),
        object=target,
        receptacle=target_receptacle,
        table=row.tables[table],
        template=row.templates[template],
        object_position=third if swapped else positions[0],
        receptacle_position=positions[1],
        yaw=layouts.YAWS[row.yaws][yaw],
        robot_offset=tuple(layouts.robot_offsets(row.robot_offsets)[offset].tolist()),
        overlay=row.overlay.kind if row.overlay else None,
        texture=row.overlay.textures[texture] if row.overlay else None,
        strength=row.overlay.strength if row.overlay else 0.0,
        distractor=row.distractor.kind if row.distractor else None,
        distractor_index=distractor,
        distractor_position=third if row.distractor else None,
        reposition_at_step=row.reposition_at_step,
        reposition_to=third if row.reposition_at_step is not None else None,
    )
    return row.finish(episode)


def upstream_record(env_id: str, obj_set: str, episode_id: int) -> dict:
    """What upstream selects for one of its episode ids: ``upstream.record``, which builds on this module."""
    from .upstream import record

    return record(env_id, obj_set, episode_id)
