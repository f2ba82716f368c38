"""What the expert sees of one episode: the privileged state, and measures taken from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vlagen.benchmark.adapters.grasps import TIP, Shape
from vlagen.benchmark.adapters.motion import rotation_matrix, transform
from vlagen.tasks.interface import Observation

FINGERS_REACH = 0.05  # [m] of the open fingers, from the gripper's axis


@dataclass(frozen=True)
class View:
    """One episode's part of an observation; poses (7,) in the world frame."""

    step: int
    object_pose: np.ndarray
    receptacle_pose: np.ndarray
    base_pose: np.ndarray
    gripper_pose: np.ndarray
    gripper_target: np.ndarray
    finger: float  # mean position of the two finger joints [m]
    grasped: bool
    success: bool
    shape: Shape
    receptacle: Shape
    distractor: np.ndarray  # points on its surface (N, 3), world frame; none without a distractor

    @property
    def yaw(self) -> float:
        """Closing direction of the gripper [rad]."""
        closing = rotation_matrix(self.gripper_pose[3:])[:, 1]
        return float(np.arctan2(closing[1], closing[0]))

    @property
    def tip(self) -> np.ndarray:
        """The point between the finger tips, (3,)."""
        return self.gripper_pose[:3] + TIP * rotation_matrix(self.gripper_pose[3:])[:, 0]

    @property
    def held(self) -> np.ndarray:
        """The object's place in the gripper's frame, (3,): constant while it is held."""
        return rotation_matrix(self.gripper_pose[3:]).T @ (self.object_pose[:3] - self.gripper_pose[:3])

    @property
    def bottom(self) -> float:
        """Height of the object's lowest point."""
        return float(transform(self.object_pose, self.shape.corners)[:, 2].min())

    @property
    def receptacle_top(self) -> float:
        """Height of the receptacle's highest point."""
        return float(transform(self.receptacle_pose, self.receptacle.corners)[:, 2].max())

    @property
    def reach_aside(self) -> float:
        """How far object and fingers reach from the gripper's axis [m]."""
        corners = transform(self.object_pose, self.shape.corners)[:, :2] - self.tip[:2]
        return max(FINGERS_REACH, float(np.linalg.norm(corners, axis=1).max()))

    @property
    def place_error(self) -> np.ndarray:
        """Horizontal way (3,) from the object's centre of mass to the receptacle's."""
        center = transform(self.object_pose, self.shape.center[None])[0]
        place = transform(self.receptacle_pose, self.receptacle.center[None])[0]
        return (place - center) * [1, 1, 0]

    def highest_between(self, start: np.ndarray, end: np.ndarray, aside: float) -> float:
        """Height of the distractor where it is less than ``aside`` [m] from the horizontal way, or -inf."""
        way = (end - start)[:2]
        offsets = self.distractor[:, :2] - start[:2]
        along = np.clip(offsets @ way / max(1e-9, float(way @ way)), 0.0, 1.0)
        near = np.linalg.norm(offsets - along[:, None] * way, axis=1) < aside
        return float(self.distractor[near, 2].max()) if near.any() else -np.inf


def look(observation: Observation, i: int, shape_of: Callable[[str, str, int], Shape]) -> View:
    """Takes the i-th episode out of an observation.

    Args:
        observation: with privileged state.
        i: position in the batch.
        shape_of: finds a model's shape by asset pack, kind and index.
    """
    state = observation.privileged
    assert state is not None, "the harness fills it for policies that declare needs_privileged"
    distractor = np.empty((0, 3))
    if state.distractor[i] is not None:
        points = shape_of(state.assets, *state.distractor[i]).points
        distractor = transform(state.distractor_pose[i].astype(np.float64), points)
    return View(
        step=observation.step,
        object_pose=state.object_pose[i].astype(np.float64),
        receptacle_pose=state.receptacle_pose[i].astype(np.float64),
        base_pose=state.base_pose[i].astype(np.float64),
        gripper_pose=state.gripper_pose[i].astype(np.float64),
        gripper_target=state.gripper_target[i].astype(np.float64),
        finger=float(observation.proprioception[i, 6:].mean()),
        grasped=bool(state.grasped[i]),
        success=bool(state.success[i]),
        shape=shape_of(state.assets, "object", int(state.object_index[i])),
        receptacle=shape_of(state.assets, "receptacle", int(state.receptacle_index[i])),
        distractor=distractor,
    )
