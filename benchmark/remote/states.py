"""What a peer may want to be told of the robot beside its picture, as vectors of numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vlagen.assets.errors import unknown
from vlagen.benchmark.actions.rotations import from_matrix, to_matrix
from vlagen.benchmark.policy import PolicyError
from vlagen.benchmark.remote.declarations import UnknownFormat
from vlagen.tasks.interface import Observation

FINGER_TRAVEL = (0.015, 0.037)
"""[m] of a WidowX-250S finger joint, closed and open."""


def _joints(observation: Observation) -> np.ndarray:
    return observation.proprioception


def _opening(observation: Observation) -> np.ndarray:
    closed, opened = FINGER_TRAVEL
    fingers = observation.proprioception[:, -2:].mean(axis=1, keepdims=True)
    return np.clip((fingers - closed) / (opened - closed), 0, 1)


def _pose(observation: Observation, rotation: str) -> np.ndarray:
    turned = from_matrix(to_matrix(observation.gripper_pose[:, 3:], "quaternion_wxyz"), rotation)
    return np.concatenate([observation.gripper_pose[:, :3], turned], axis=1)


def _with_opening(rotation: str) -> Callable[[Observation], np.ndarray]:
    return lambda observation: np.concatenate([_pose(observation, rotation), _opening(observation)], axis=1)


def _with_fingers(rotation: str) -> Callable[[Observation], np.ndarray]:
    return lambda seen: np.concatenate([_pose(seen, rotation), seen.proprioception[:, -2:]], axis=1)


STATES: dict[str, Callable[[Observation], np.ndarray]] = {
    "joints": _joints,
    "pose_quaternion_wxyz": _with_opening("quaternion_wxyz"),
    "pose_quaternion_xyzw": _with_opening("quaternion_xyzw"),
    "pose_euler": _with_opening("euler_xyz_extrinsic"),
    "pose_axis_angle": _with_opening("axis_angle"),
    "pose_euler_fingers": _with_fingers("euler_xyz_extrinsic"),
    "pose_axis_angle_fingers": _with_fingers("axis_angle"),
}
"""``joints``: six arm joints [rad] and two finger joints [m]. The others begin with the gripper's position in the base
frame [m] and its rotation, and end with how far it is open (0 to 1) or with the two finger joints [m]."""

VLA_EVAL_STATES = {
    "joint_positions": "joints",
    "eef_pos3_quat4_gripper1": "pose_quaternion_wxyz",
    "eef_pos3_axisangle3_gripper2": "pose_axis_angle_fingers",
    "eef_pos3_euler3_gripper2": "pose_euler_fingers",
}
"""vla-eval's names for them. The quaternion's order is that of its SimplerEnv benchmark."""

NO_STATE = "none"


def check_state(name: str) -> str:
    """Checks the name of a state; ``none`` is one.

    Raises:
        UnknownFormat: there is no such state.
    """
    if name not in (*STATES, NO_STATE):
        raise UnknownFormat(unknown("state", name, (*STATES, NO_STATE)))
    return name


def state_of(observation: Observation, name: str) -> np.ndarray:
    """The named state of B episodes, (B, n) float32.

    Raises:
        PolicyError: this task does not tell what is needed for it.
    """
    if observation.proprioception is None or (name != "joints" and observation.gripper_pose is None):
        raise PolicyError(f"needs state {name!r}, which this task does not tell; give --policy-args state=none")
    return np.ascontiguousarray(STATES[name](observation), dtype=np.float32)
