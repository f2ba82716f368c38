"""When is the object held, when is it on the receptacle, and what is that worth: pure, batched torch.

Sources: ``protocol.md`` section 4, which describes upstream's ``evaluate`` and reward wrapper. B is the batch size.
"""

from __future__ import annotations

import math

import torch

MINIMUM_GRASP_FORCE = 0.5  # [N] on each finger
MAXIMUM_GRASP_ANGLE = math.radians(85)  # between the force on a finger and the direction in which that finger opens
CONSECUTIVE_GRASP_STEPS = 5

XY_TOLERANCE = 0.01  # [m]
Z_TOLERANCE = 0.05  # [m]
MINIMUM_CONTACT_FORCE = 0.03  # [N] between object and receptacle


def rotation_matrix(quaternion: torch.Tensor) -> torch.Tensor:
    """Unit quaternions wxyz (B, 4) to rotation matrices (B, 3, 3)."""
    w, x, y, z = quaternion.unbind(-1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def world_box(size: torch.Tensor, quaternion: torch.Tensor) -> torch.Tensor:
    """Axis-aligned extent [m] in the world of boxes of ``size`` (B, 3) turned by ``quaternion`` (B, 4), (B, 3).

    The box is taken as centred on the model's origin, as upstream does, wherever its real centre is.
    """
    return (rotation_matrix(quaternion).abs() @ size[..., None])[..., 0]


def y_axis(quaternion: torch.Tensor) -> torch.Tensor:
    """The y axis (B, 3) of frames turned by ``quaternion`` wxyz (B, 4): where the WidowX's fingers open and close."""
    w, x, y, z = quaternion.unbind(-1)
    return torch.stack([2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)], dim=-1)


def _pushes_apart(force: torch.Tensor, opening: torch.Tensor) -> torch.Tensor:
    norm = torch.linalg.norm(force, dim=-1)
    cosine = (force * opening).sum(-1) / norm.clamp_min(1e-12)
    return (norm >= MINIMUM_GRASP_FORCE) & (torch.acos(cosine.clamp(-1, 1)) <= MAXIMUM_GRASP_ANGLE)


def is_grasped(
    left_force: torch.Tensor, right_force: torch.Tensor, left_opening: torch.Tensor, right_opening: torch.Tensor
) -> torch.Tensor:
    """Whether both fingers are pushed open by the object, (B,) bool.

    Forces [N] are those that the object exerts on each finger, openings the unit directions in which the fingers open,
    all (B, 3) in the world frame.
    """
    forces, openings = torch.stack([left_force, right_force]), torch.stack([left_opening, right_opening])
    return _pushes_apart(forces, openings).all(0)


def is_on_receptacle(
    object_position: torch.Tensor,
    receptacle_position: torch.Tensor,
    object_box: torch.Tensor,
    receptacle_box: torch.Tensor,
    contact_force: torch.Tensor,
) -> torch.Tensor:
    """Whether the object lies on the receptacle, (B,) bool.

    Positions and world boxes [m] are (B, 3), the boxes being those at reset; ``contact_force`` [N] (B,) is the norm of
    the force between the two. The xy tolerance uses the receptacle's largest half extent over x, y *and* z (Q8).
    """
    offset = object_position - receptacle_position
    half_object, half_receptacle = object_box / 2, receptacle_box / 2
    inside = torch.linalg.norm(offset[:, :2], dim=-1) <= half_receptacle.amax(-1) + XY_TOLERANCE
    gap = offset[:, 2] - half_receptacle[:, 2] - half_object[:, 2]
    return inside & (offset[:, 2] > 0) & (gap <= Z_TOLERANCE) & (contact_force > MINIMUM_CONTACT_FORCE)


def potential(ever_grasped: torch.Tensor, ever_held: torch.Tensor, success: torch.Tensor) -> torch.Tensor:
    """The study's state value, (B,) float32 in {0, 0.1, 0.2, 1.1, 1.2}; a step's reward is its difference.

    ``ever_grasped`` and ``ever_held`` (a grasp kept for five steps) are sticky since reset, ``success`` is now and
    counts only if the object was ever grasped (Q25).
    """
    return 0.1 * ever_grasped.float() + 0.1 * ever_held.float() + (success & ever_grasped).float()
