"""Rows with a continuous knob: how far each can be turned, what that does to an episode, and sweeps.

Turning a knob changes nothing else of an episode, so the results of a sweep are paired. A setting is written as in
``vision/texture-weak@0.35``: up to four decimals, no trailing zeros; at the row's own value the episodes are the row's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from vlagen.assets.errors import VlagenError

from .episodes import Episode, Vector3
from .interface import HORIZON
from .layouts import GRID_CENTER, GRID_HALF_SIZE, INNER, OUTER
from .variants import ROW_IDS, UnknownVariant, variant

DECIMALS = 4
LONGEST_SWEEP = 100


class BadSweep(VlagenError, ValueError):
    """A text that says no severities."""


@dataclass(frozen=True)
class Knob:
    """What can be varied continuously in one row.

    Attributes:
        name: of the quantity.
        unit: of its values; empty for a share.
        low, high: the allowed range.
        own: the value that makes the row itself.
        harder: which way the task gets harder.
        turn: makes an episode of the row one with another value.
        whole: only whole numbers make sense.
    """

    name: str
    unit: str
    low: float
    high: float
    own: float
    harder: Literal["higher", "lower"]
    turn: Callable[[Episode, float], Episode]
    whole: bool = False

    def setting(self, value: float) -> str:
        """The canonical text of a value, rounded to what the knob can tell apart.

        Raises:
            UnknownVariant: a value out of range.
        """
        if not self.low <= value <= self.high:  # NaN is not, either
            raise UnknownVariant(f"{self.name} {value:g}; allowed: {self.range}; nearest: {self.nearest(value)}")
        return self._text(value)

    def nearest(self, value: float) -> str:
        """The canonical text of the allowed value nearest to any; to NaN that is the row's own."""
        return self._text(self.own if math.isnan(value) else min(max(value, self.low), self.high))

    @property
    def range(self) -> str:
        """The allowed values in words."""
        kind = "whole numbers from " if self.whole else ""
        return f"{kind}{self._text(self.low)} to {self._text(self.high)}{' ' + self.unit if self.unit else ''}"

    def _text(self, value: float) -> str:
        text = f"{value + 0.0:.{0 if self.whole else DECIMALS}f}"  # adding zero turns -0.0 into 0.0
        return text.rstrip("0").rstrip(".") if "." in text else text


def _strength(episode: Episode, value: float) -> Episode:
    return replace(episode, strength=value)


def _pose_scale(episode: Episode, value: float) -> Episode:
    return replace(episode, robot_offset=tuple(value * offset + 0.0 for offset in episode.robot_offset))


def _move_step(episode: Episode, value: float) -> Episode:
    return replace(episode, reposition_at_step=int(value))


RING_DISTANCE = round((OUTER[-1] - INNER[-1]) * 2 * GRID_HALF_SIZE, 9)
"""How far the ring of held-out places lies from the training grid [m]."""


def _ring_distance(episode: Episode, value: float) -> Episode:
    return replace(
        episode,
        object_position=_pushed_out(episode.object_position, value - RING_DISTANCE),
        receptacle_position=_pushed_out(episode.receptacle_position, value - RING_DISTANCE),
    )


def _pushed_out(position: Vector3, distance: float) -> Vector3:
    """A place on the ring moved away from the grid by ``distance`` [m], at corners along both axes."""
    shifts = [
        distance * math.copysign(abs(coordinate - center) > 1.001 * GRID_HALF_SIZE, coordinate - center)
        for coordinate, center in zip(position, GRID_CENTER, strict=False)
    ]
    return (position[0] + shifts[0], position[1] + shifts[1], position[2])


def _blend(row_id: str) -> Knob:
    return Knob("blend strength", "", 0.0, 1.0, variant(row_id).overlay.strength, "higher", _strength)


KNOBS: dict[str, Knob] = {
    **{row_id: _blend(row_id) for row_id in ROW_IDS if variant(row_id).overlay is not None},
    # The ring's distance of 2 cm keeps all bodies 7 cm apart, as the layout does; beyond 5 cm some leave the picture.
    "execution/position": Knob(
        "distance from the training grid", "m", 0.02, 0.05, RING_DISTANCE, "higher", _ring_distance
    ),
    # At 1.25 the lowest finger is still 3 cm above the table.
    "execution/robot-pose": Knob("scale of the joint offsets", "", 0.0, 1.25, 1.0, "higher", _pose_scale),
    "execution/moved-midway": Knob(
        "control step after which the object moves", "", 1, HORIZON, 5, "higher", _move_step, whole=True
    ),
}
"""Row id -> its knob, in the order of the table and alike in all protocols."""


def severities(text: str) -> tuple[float, ...]:
    """The values of a sweep ``from:to:count``, evenly spaced and both ends included: ``0:0.7:8`` is 0, 0.1, …, 0.7.

    Raises:
        BadSweep: another text, and what would do.
    """

    def refuse(reason: str) -> BadSweep:
        return BadSweep(f"severities {text!r}: {reason}; allowed: from:to:count, e.g. 0:0.7:8 for 0, 0.1, ..., 0.7")

    fields = text.split(":")
    if len(fields) != 3:
        raise refuse(f"{len(fields)} numbers instead of 3")
    try:
        low, high, count = float(fields[0]), float(fields[1]), int(fields[2])
    except ValueError as error:
        raise refuse("not all of them are numbers, the last one whole") from error
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise refuse("from must be less than to")
    if not 2 <= count <= LONGEST_SWEEP:
        raise refuse(f"the count must be 2 to {LONGEST_SWEEP}")
    return tuple(round(float(value), DECIMALS) for value in np.linspace(low, high, count))
