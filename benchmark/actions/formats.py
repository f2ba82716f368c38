"""What the numbers of an action mean, and how vlagen turns any declared meaning into its own.

vlagen's own ("canonical") action is ``tasks.interface.ACTION_SIZE`` numbers: a step of the controller's target in
metres and intrinsic XYZ Euler radians, in the robot's base frame, and the gripper from -1 (closed) to +1 (open). Every
default of ``ActionFormat`` is that, so a policy that emits it declares nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from vlagen.assets.errors import VlagenError, unknown
from vlagen.benchmark.actions.rotations import ROTATION_SIZES, WITH_ANGLES, from_matrix, is_degenerate, to_matrix
from vlagen.tasks.interface import ACTION_SIZE

METRES = {"m": 1.0, "cm": 0.01, "mm": 0.001}
RADIANS = {"rad": 1.0, "deg": np.pi / 180}
FRAMES = ("base", "gripper")

RANGE_TOLERANCE = 0.05
"""How far a number may lie outside of its declared range, as a share of half the range: what a regression head
overshoots, but not what another range emits."""

LONGEST_STEP = 0.25
"""[m] of translation in one control step. The arm makes 0.04 m at most; ten times as much is a wrong unit."""

LARGEST_TURN = np.pi
"""[rad] of each Euler angle, or of the whole turn; more in one control step is a wrong unit."""

QUATERNION_TOLERANCE = 0.1
"""How far a quaternion's length may be from 1; numbers that are no quaternion rarely come so close."""

NOOP = np.array([0, 0, 0, 0, 0, 0, 1], dtype=np.float32)
"""The canonical action that holds still with the gripper open."""

NOOP.setflags(write=False)


class BadDeclaration(VlagenError, ValueError):
    """A policy's declaration that cannot be carried out."""


@dataclass(frozen=True)
class Bounds:
    """What -1 and +1 stand for, number by number, e.g. a data set's 1st and 99th percentiles.

    Attributes:
        low: of the action's pose numbers (all but the gripper), in the declared units.
        high: the same; equal to ``low`` where a number never changes.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            object.__setattr__(self, name, tuple(float(number) for number in getattr(self, name)))
        if len(self.low) != len(self.high):
            raise BadDeclaration(f"Bounds has {len(self.low)} numbers in low, {len(self.high)} in high; give as many")
        for low, high in zip(self.low, self.high, strict=True):
            if not (np.isfinite([low, high]).all() and low <= high):
                raise BadDeclaration(f"Bounds from {low:g} to {high:g}; allowed: finite numbers, low not above high")


@dataclass(frozen=True)
class ActionFormat:
    """What a policy's action numbers mean: translation (3), rotation (3, 4 or 6), gripper (1), in this order.

    All actions are steps that are added to the controller's target. What is not listed here (absolute targets, joint
    angles, other frames) has to be turned into something that is before ``act`` returns it.

    Attributes:
        frame: axes of translation and rotation: the robot's ``base``, or those of ``gripper`` (``ee_gripper_link``) as
            measured when the action is executed.
        length_unit: of the translation.
        rotation: see ``rotations.ROTATION_SIZES``.
        angle_unit: of Euler angles and axis-angle.
        gripper_open: the number that means open.
        gripper_closed: the number that means closed; what lies between is mapped linearly.
        gripper_binary: the gripper is fully opened or closed instead, by the side of the middle its number lies on;
            the middle itself opens.
        normalised: what -1 and +1 of each pose number stand for; None if they are given in the declared units.
    """

    frame: Literal["base", "gripper"] = "base"
    length_unit: Literal["m", "cm", "mm"] = "m"
    rotation: str = "euler_xyz_intrinsic"
    angle_unit: Literal["rad", "deg"] = "rad"
    gripper_open: float = 1.0
    gripper_closed: float = -1.0
    gripper_binary: bool = False
    normalised: Bounds | None = None

    def __post_init__(self) -> None:
        self._check("frame", FRAMES, "turn actions of other frames before act returns them")
        self._check("length_unit", METRES, "scale others before act returns them")
        self._check("rotation", ROTATION_SIZES, "convert others before act returns them")
        self._check("angle_unit", RADIANS, "scale others before act returns them")
        if self.rotation not in WITH_ANGLES and self.angle_unit != "rad":
            raise BadDeclaration(f"rotation {self.rotation!r} has no angles; leave angle_unit at 'rad'")
        ends = (self.gripper_open, self.gripper_closed)
        if not np.isfinite(ends).all() or ends[0] == ends[1]:
            raise BadDeclaration(
                f"gripper_open {ends[0]:g} and gripper_closed {ends[1]:g}; allowed: two different finite numbers"
            )
        if not isinstance(self.normalised, Bounds | None):
            raise BadDeclaration(f"normalised is a {type(self.normalised).__name__}; give Bounds(low=..., high=...)")
        if self.normalised is not None and len(self.normalised.low) != self.size - 1:
            raise BadDeclaration(
                f"normalised has bounds for {len(self.normalised.low)} numbers; {self.rotation} actions have "
                f"{self.size - 1} beside the gripper, whose range is gripper_closed to gripper_open"
            )

    def _check(self, field: str, allowed: Iterable[str], otherwise: str) -> None:
        value = getattr(self, field)
        if value not in tuple(allowed):
            raise BadDeclaration(f"{unknown(field, value, allowed)}; {otherwise}")

    @property
    def size(self) -> int:
        """How many numbers an action has."""
        return 3 + ROTATION_SIZES[self.rotation] + 1

    @cached_property
    def is_canonical(self) -> bool:
        """Tells whether there is nothing to convert."""
        return self == ActionFormat()

    @cached_property
    def moves_gripper_only(self) -> bool:
        """Tells whether the pose numbers are canonical, whatever the gripper's are."""
        own = ActionFormat()
        return all(
            getattr(self, field) == getattr(own, field)
            for field in ("frame", "length_unit", "rotation", "angle_unit", "normalised")
        )

    @cached_property
    def surely_allowed(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Bounds, (size,) each, between which ``faults`` has nothing to complain of; None if no bounds can say that.

        Tighter than what is allowed: a box inside the ball of translations. Most actions pass this one comparison.
        """
        if self.normalised is not None or self.rotation not in WITH_ANGLES:
            return None
        inside = (1 - 1e-6) / np.sqrt(3)
        step = inside * LONGEST_STEP / METRES[self.length_unit]
        turn = LARGEST_TURN * (inside if self.rotation == "axis_angle" else 1 - 1e-6) / RADIANS[self.angle_unit]
        ends = sorted((self.gripper_open, self.gripper_closed))
        return np.array([-step] * 3 + [-turn] * 3 + ends[:1]), np.array([step] * 3 + [turn] * 3 + ends[1:])

    def describe(self) -> str:
        """Words the format in one line."""
        angles = f" [{self.angle_unit}]" if self.rotation in WITH_ANGLES else ""
        bounds = ""
        if self.normalised is not None:
            low, high = (
                [float(f"{number:.6g}") for number in end] for end in (self.normalised.low, self.normalised.high)
            )
            bounds = f", -1 standing for {low} and 1 for {high}"
        return (
            f"{self.size} numbers: translation [{self.length_unit}] and {self.rotation}{angles} in the {self.frame} "
            f"frame{bounds}; gripper {self.gripper_closed:g} closed, {self.gripper_open:g} open"
            f"{', nothing between' if self.gripper_binary else ''}"
        )


def convert(actions: np.ndarray, emits: ActionFormat, gripper_pose: np.ndarray | None = None) -> np.ndarray:
    """Turns actions of a declared format into canonical ones.

    Numbers that are canonical already are not calculated with, so they stay the same to the last bit.

    Args:
        actions: (B, size) or (B, T, size), floating point.
        emits: their format.
        gripper_pose: (B, 7) as in ``Observation``; needed for the gripper's frame only.

    Returns:
        (B, 7) or (B, T, 7) float32.
    """
    if emits.is_canonical and actions.dtype == np.float32:
        return actions.copy()
    canonical = np.empty((*actions.shape[:-1], ACTION_SIZE), dtype=np.float32)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        if emits.moves_gripper_only:
            canonical[..., :6] = actions[..., :6]
        else:
            translation, rotation = _metric(actions, emits)
            if emits.frame == "gripper" or emits.rotation != "euler_xyz_intrinsic":
                matrix = to_matrix(rotation, emits.rotation)
                if emits.frame == "gripper":
                    axes = _gripper_axes(gripper_pose, actions.ndim)
                    translation = (axes @ translation[..., None])[..., 0]
                    matrix = axes @ matrix @ np.swapaxes(axes, -1, -2)
                rotation = from_matrix(matrix, "euler_xyz_intrinsic")
            canonical[..., :3], canonical[..., 3:6] = translation, rotation
        canonical[..., 6] = _opening(actions[..., -1], emits)
    return canonical


def express(actions: np.ndarray, emits: ActionFormat, gripper_pose: np.ndarray | None = None) -> np.ndarray:
    """Writes canonical actions in a format: the inverse of ``convert``, for tests and demonstrations.

    Args:
        actions: canonical, (B, 7) or (B, T, 7).
        emits: the format wanted.
        gripper_pose: see ``convert``.

    Returns:
        (B, size) or (B, T, size) float64. What the format cannot say (a normalised number beyond -1..1) is not cut.
    """
    actions = np.asarray(actions, dtype=np.float64)
    translation, matrix = actions[..., :3], to_matrix(actions[..., 3:6], "euler_xyz_intrinsic")
    if emits.frame == "gripper":
        axes = np.swapaxes(_gripper_axes(gripper_pose, actions.ndim), -1, -2)
        translation = (axes @ translation[..., None])[..., 0]
        matrix = axes @ matrix @ np.swapaxes(axes, -1, -2)
    rotation = from_matrix(matrix, emits.rotation) / RADIANS[emits.angle_unit]
    pose = np.concatenate([translation / METRES[emits.length_unit], rotation], axis=-1)
    if emits.normalised is not None:
        low, high = np.array(emits.normalised.low), np.array(emits.normalised.high)
        pose = np.where(high > low, 2 * (pose - low) / np.where(high > low, high - low, 1.0) - 1, 0.0)
    share = (actions[..., 6:] + 1) / 2
    gripper = emits.gripper_closed + share * (emits.gripper_open - emits.gripper_closed)
    return np.concatenate([pose, gripper], axis=-1)


def faults(actions: np.ndarray, emits: ActionFormat) -> dict[int, str]:
    """Finds episodes whose action cannot be meant: not finite, out of its declared range, or absurdly large.

    Args:
        actions: (B, size) or (B, T, size), floating point, as the policy returned them.
        emits: what the policy declared.

    Returns:
        For each such position in the batch, its first fault in words.
    """
    if emits.surely_allowed is not None:
        low, high = emits.surely_allowed
        if ((low <= actions) & (actions <= high)).all():
            return {}
    flat = actions.reshape(len(actions), -1, actions.shape[-1])
    found: dict[int, str] = {}
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for wrong, message in _complaints(flat, emits):
            for row in np.flatnonzero(wrong.any(axis=1)):
                if int(row) not in found:
                    step = int(wrong[row].argmax())
                    numbers = np.array2string(flat[row, step], precision=4, separator=", ", max_line_width=1000)
                    found[int(row)] = f"returned {numbers}: {message}"
    return found


def _complaints(flat: np.ndarray, emits: ActionFormat) -> list[tuple[np.ndarray, str]]:
    """What may be wrong with actions (B, T, size): where it is, (B, T) bool, and in words."""
    finite = np.isfinite(flat.astype(np.float32)).all(axis=-1)
    middle, half = (emits.gripper_open + emits.gripper_closed) / 2, abs(emits.gripper_open - emits.gripper_closed) / 2
    translation, rotation = _metric(flat, emits)
    complaints = [(~finite, "allowed are finite numbers")]
    if emits.normalised is not None:
        beyond = (np.abs(flat[..., :-1]) > 1 + RANGE_TOLERANCE).any(axis=-1)
        complaints.append((beyond, "declared as normalised, so allowed are -1 to 1 (clip what overshoots)"))
    grip = f"the gripper is declared to lie between {emits.gripper_closed:g} (closed) and {emits.gripper_open:g} (open)"
    outside = np.abs(flat[..., -1] - middle) > (1 + RANGE_TOLERANCE) * half
    complaints.append((outside, f"{grip}; correct the declaration, or clip what overshoots"))
    bounds = "are the bounds in it" if emits.normalised else "should it be declared as normalised"
    unit = f"is the unit really {emits.length_unit}, and {bounds}?"
    far = np.linalg.norm(translation, axis=-1) > LONGEST_STEP
    complaints.append((far, f"that is more than {LONGEST_STEP} m in one control step; {unit}"))
    if emits.rotation in WITH_ANGLES:
        whole = emits.rotation == "axis_angle"
        size = np.linalg.norm(rotation, axis=-1) if whole else np.abs(rotation).max(axis=-1)
        # Half a turn itself may come out a little larger in float32.
        too_far = size > LARGEST_TURN * (1 + 1e-6)
        complaints.append((too_far, f"that turns by more than pi; is the unit really {emits.angle_unit}?"))
    elif emits.rotation.startswith("quaternion"):
        off = np.abs(np.linalg.norm(rotation, axis=-1) - 1) > QUATERNION_TOLERANCE
        complaints.append((off, f"allowed are quaternions of length 1 (to within {QUATERNION_TOLERANCE})"))
    else:
        lost = is_degenerate(rotation, emits.rotation)
        complaints.append((lost, "its six rotation numbers are two directions that are zero or parallel"))
    return complaints


def _metric(actions: np.ndarray, emits: ActionFormat) -> tuple[np.ndarray, np.ndarray]:
    """Returns translation (..., 3) [m] and rotation (..., n) [rad where it has angles], in the declared frame."""
    pose = actions[..., :-1].astype(np.float64)
    if emits.normalised is not None:
        low, high = np.array(emits.normalised.low), np.array(emits.normalised.high)
        pose = low + (pose + 1) / 2 * (high - low)
    return pose[..., :3] * METRES[emits.length_unit], pose[..., 3:] * RADIANS[emits.angle_unit]


def _gripper_axes(gripper_pose: np.ndarray | None, dimensions: int) -> np.ndarray:
    """Returns the gripper's orientation in the base frame as (B, 3, 3), or (B, 1, 3, 3) for chunks."""
    if gripper_pose is None:
        raise BadDeclaration("this task does not tell the gripper's pose; emit actions in the base frame")
    axes = to_matrix(gripper_pose[:, 3:], "quaternion_wxyz")
    return axes[:, None] if dimensions == 3 else axes


def _opening(gripper: np.ndarray, emits: ActionFormat) -> np.ndarray:
    """Maps the gripper's number to -1 (closed) .. +1 (open)."""
    if (emits.gripper_open, emits.gripper_closed, emits.gripper_binary) == (1.0, -1.0, False):
        return gripper
    span = emits.gripper_open - emits.gripper_closed
    share = (2 * gripper.astype(np.float64) - emits.gripper_open - emits.gripper_closed) / span
    return np.where(share >= 0, 1.0, -1.0) if emits.gripper_binary else np.clip(share, -1.0, 1.0)
