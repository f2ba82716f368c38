"""What crosses between a simulated scene and whoever acts in it: plain numpy values, batch first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ACTION_SIZE = 7
"""``[dx, dy, dz, rx, ry, rz, gripper]``: metres and intrinsic XYZ Euler radians in the robot base frame, added to the
controller's target pose; gripper +1 opens, -1 closes (``protocol.md`` section 1.3)."""

HORIZON = 80
"""Control steps an episode takes."""

CONTROL_FREQUENCY = 5
"""Control steps a second."""

IMAGE_HEIGHT, IMAGE_WIDTH = 480, 640

CAMERA_UID = "3rd_view_camera"
"""The policies' camera, as ManiSkill's agent and upstream's observations name it."""

TABLE_TOP = 0.869532
"""World z [m] at which the original stage lets objects come to rest (``protocol.md`` section 1.6)."""


@dataclass(frozen=True)
class PrivilegedState:
    """Simulator truth for oracle policies. Poses are ``(x, y, z, qw, qx, qy, qz)`` in the world frame, (B, 7)."""

    assets: str  # name of the asset pack that the indices below point into
    object_pose: np.ndarray
    receptacle_pose: np.ndarray
    base_pose: np.ndarray  # the robot's base_link
    gripper_pose: np.ndarray  # ee_gripper_link, measured
    gripper_target: np.ndarray  # ee_gripper_link, what the controller aims at
    object_index: np.ndarray  # (B,) into the pack's objects
    receptacle_index: np.ndarray  # (B,)
    grasped: np.ndarray  # (B,) bool, the object is between the fingers now
    success: np.ndarray  # (B,) bool, the object is on the receptacle now
    distractor: tuple[tuple[str, int] | None, ...]  # B of ("object" | "receptacle", index into the pack) or None
    distractor_pose: np.ndarray  # NaN where there is none


@dataclass(frozen=True)
class Observation:
    """What a policy receives. ``rgb`` is None when no policy in the run asked for pictures."""

    rgb: np.ndarray | None  # (B, 480, 640, 3) uint8
    instruction: tuple[str, ...]  # B texts
    proprioception: np.ndarray  # (B, 8) float32: six arm joints [rad], two finger joints [m]
    gripper_pose: np.ndarray  # (B, 7) float32: ee_gripper_link in the base frame, xyz [m] and quaternion wxyz, measured
    step: int  # control steps executed since reset
    privileged: PrivilegedState | None = None


@dataclass(frozen=True)
class StepFacts:
    """What tells in which way an episode fails, of B episodes after one control step; each (B,)."""

    reach_distance: np.ndarray  # float [m], from midway between the finger tips to the target's world-aligned box
    holding: np.ndarray  # bool, the target is between the fingers
    holding_distractor: np.ndarray  # bool, the other object is
    distractor_displacement: np.ndarray  # float [m], of the other object since the fingers came near it; NaN if none
    on_distractor: np.ndarray  # bool, the target lies on the other receptacle, by the predicate of success
