"""Poses and bounded steps between them: how a wanted gripper pose becomes an action (``protocol.md`` section 1.3)."""

from __future__ import annotations

import numpy as np

from vlagen.tasks.interface import ACTION_SIZE

STEP_LIMITS = np.array(
    [
        [-0.0287, -0.0417, -0.0261, -0.0809, -0.0928, -0.2071],
        [0.0283, 0.0408, 0.0401, 0.0819, 0.0779, 0.2038],
    ]
)
"""Smallest and largest step of each arm dimension [m, rad]: the range that OpenVLA's statistics of BridgeData V2 can
express (``protocol.md`` section 6.3), so that a policy with its action tokens could have made every step."""


# The arm of the WidowX-250S [m], measured with inverse kinematics for a gripper that points down.
SHOULDER_HEIGHT = 0.1106  # of the shoulder's axis above the base
WRIST_ABOVE_GRIPPER = 0.158  # of the wrist's axis above `ee_gripper_link`
LONGEST_REACH = 0.495  # from the one axis to the other; 0.505 is the limit


def rotation_matrix(quaternion: np.ndarray) -> np.ndarray:
    """Turns a unit quaternion wxyz (4,) into a matrix (3, 3)."""
    w, x, y, z = np.asarray(quaternion, dtype=np.float64)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def euler_xyz(rotation: np.ndarray) -> np.ndarray:
    """Returns the angles (3,) [rad] with ``Rx(a) Ry(b) Rz(c)`` equal to a matrix (3, 3)."""
    return np.array(
        [
            np.arctan2(-rotation[1, 2], rotation[2, 2]),
            np.arcsin(np.clip(rotation[0, 2], -1.0, 1.0)),
            np.arctan2(-rotation[0, 1], rotation[0, 0]),
        ]
    )


def pointing_down(yaw: float) -> np.ndarray:
    """Returns the gripper's orientation (3, 3) that approaches from above and closes along ``yaw`` [rad]."""
    closing = np.array([np.cos(yaw), np.sin(yaw), 0.0])
    down = np.array([0.0, 0.0, -1.0])
    return np.stack([down, closing, np.cross(down, closing)], axis=1)


def angle_between(first: np.ndarray, second: np.ndarray) -> float:
    """Returns the angle [rad] of the rotation that takes one matrix (3, 3) to the other."""
    return float(np.arccos(np.clip((np.trace(first.T @ second) - 1) / 2, -1.0, 1.0)))


def transform(pose: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Brings points (N, 3) from the frame of a pose (7,) to the frame that the pose is given in."""
    return points @ rotation_matrix(pose[3:]).T + pose[:3]


def shrink(step: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Scales a step so that it lies within limits of its own shape, keeping its direction."""
    limits = np.where(step < 0, low, high)
    ratios = step / limits
    return step / max(1.0, float(ratios.max()))


def within_reach(position: np.ndarray, base: np.ndarray) -> np.ndarray:
    """Brings a position of a gripper that points down to where the arm can be: towards its base at the same height.

    Args:
        position: of ``ee_gripper_link`` (3,), world frame.
        base: the pose (7,) of the robot's base.
    """
    outward = position - base[:3]
    rise = outward[2] + WRIST_ABOVE_GRIPPER - SHOULDER_HEIGHT
    furthest = np.sqrt(max(0.0, LONGEST_REACH**2 - rise**2))
    distance = max(1e-9, float(np.hypot(*outward[:2])))
    return base[:3] + outward * np.array([*[min(1.0, furthest / distance)] * 2, 1.0])


def step_towards(
    position: np.ndarray,
    rotation: np.ndarray,
    start: np.ndarray,
    base: np.ndarray,
    *,
    speed: float = 1.0,
    gain: float = 1.0,
) -> np.ndarray:
    """Makes the arm's part of an action: from a pose, such as the one the controller aims at, towards a wanted one.

    Args:
        position: wanted position of ``ee_gripper_link`` (3,), world frame.
        rotation: its wanted orientation (3, 3), world frame.
        start: the pose (7,) that the step begins at, world frame.
        base: the pose (7,) of the robot's base.
        speed: share of the largest translation that may be used.
        gain: share of the way to go, before limits apply.

    Returns:
        Translation [m] and Euler angles [rad], (6,), within ``STEP_LIMITS``.
    """
    to_base = rotation_matrix(base[3:]).T
    translation = gain * (to_base @ (position - start[:3]))
    angles = gain * euler_xyz(to_base @ rotation @ rotation_matrix(start[3:]).T @ to_base.T)
    low, high = STEP_LIMITS
    return np.concatenate([shrink(translation, low[:3] * speed, high[:3] * speed), shrink(angles, low[3:], high[3:])])


def action(arm: np.ndarray, *, opened: bool) -> np.ndarray:
    """Joins the arm's step (6,) and the gripper's command to an action (7,) float32."""
    joined = np.empty(ACTION_SIZE, dtype=np.float32)
    # Rounding to float32 could leave the limits by one unit in the last place.
    joined[:6] = np.clip(arm, *(STEP_LIMITS * (1 - 1e-6)))
    joined[6] = 1.0 if opened else -1.0
    return joined
