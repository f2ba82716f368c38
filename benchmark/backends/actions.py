"""How vlagen's actions reach another task's robot: which control mode can execute them, and in which numbers.

A canonical action adds metres and intrinsic XYZ Euler radians, both along the axes of the robot's base, to the pose
that the controller aims at, and opens the gripper at +1 (``tasks.interface.ACTION_SIZE``). ManiSkill's controllers
differ in what they add to, in units and in signs, so everything is read off the controller itself: ManiSkill 3.0.1, for
one, turns a Panda's normalised rotation the other way round.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from vlagen.assets.errors import VlagenError
from vlagen.tasks.interface import ACTION_SIZE

POSE_SIZE = 6

# The frame whose translation and rotation both go along the axes of the base.
_CANONICAL_FRAME = "root_translation:root_aligned_body_rotation"
# Beyond the limits by less than rounding is within them.
_TOLERANCE = 1e-5


class UnsupportedTask(VlagenError):
    """A task that exists but cannot be evaluated with vlagen's actions, success or instructions."""


@dataclass(frozen=True)
class ControlMapping:
    """From canonical actions to the numbers of one control mode.

    Attributes:
        control_mode: ManiSkill's name.
        adds_to_target: deltas add up on the pose the controller aims at; else each starts at the pose that the arm has
            reached so far, which lags behind, so that the arm falls short of what was asked.
        limited: the mode takes pose numbers between -1 and 1 and saturates beyond: each translation on its own, a
            rotation by its length.
        scale: (6,) metres and radians that the mode makes of 1.
        offset: (6,) metres and radians that it makes of 0.
        gripper: the mode's numbers for closed and open; None where there is no gripper, whose number has no effect.
        pose_first: the pose's numbers come before the gripper's.
    """

    control_mode: str
    adds_to_target: bool
    limited: bool
    scale: tuple[float, ...]
    offset: tuple[float, ...]
    gripper: tuple[float, float] | None
    pose_first: bool = True

    def convert(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Converts a batch of actions.

        Args:
            actions: (B, 7) canonical.

        Returns:
            The mode's actions, (B, 7) float32 or (B, 6) without a gripper, and (B,) bool: the pose asked for more than
            the controller can take in one step and was cut to that. The gripper's number never counts as cut.
        """
        assert actions.shape == (len(actions), ACTION_SIZE), actions.shape
        wanted = (actions[:, :POSE_SIZE].astype(np.float64) - self.offset) / self.scale
        pose = _saturate(wanted) if self.limited else wanted
        cut = (np.abs(pose - wanted) > _TOLERANCE).any(axis=1)
        if self.gripper is None:
            return pose.astype(np.float32), cut
        closed, opened = self.gripper
        opening = (np.clip(actions[:, POSE_SIZE:].astype(np.float64), -1, 1) + 1) / 2
        gripper = closed + opening * (opened - closed)
        parts = (pose, gripper) if self.pose_first else (gripper, pose)
        return np.concatenate(parts, axis=1).astype(np.float32), cut

    def identity(self) -> dict[str, Any]:
        """What of it can move a number, as JSON values."""
        return asdict(self)


def _saturate(pose: np.ndarray) -> np.ndarray:
    """Cuts normalised poses (B, 6) to what ManiSkill's controllers take: a box, and a ball for the rotation."""
    rotation = pose[:, 3:]
    length = np.linalg.norm(rotation, axis=1, keepdims=True)
    return np.concatenate([np.clip(pose[:, :3], -1, 1), rotation / np.maximum(length, 1)], axis=1)


def choose_control_mode(configurations: Mapping[str, Any], wanted: str | None, task: str) -> str:
    """Chooses the control mode of a robot that comes closest to canonical actions.

    Args:
        configurations: the robot's control modes by name, as its agent declares them.
        wanted: what the user asked for, None for the best.
        task: name for the message.

    Returns:
        The wanted mode, or the first that moves the target, or the first that moves the reached pose.

    Raises:
        UnsupportedTask: the wanted mode, or every mode, is something else than end-effector deltas in the base frame
            and at most one gripper.
    """
    able = [name for name, configuration in configurations.items() if _arm_part(configuration) is not None]
    if wanted is not None:
        if wanted in able:
            return wanted
        why = "cannot execute vlagen's actions" if wanted in configurations else "does not exist"
        raise UnsupportedTask(
            f"{task}: control mode {wanted!r} {why}; "
            + (f"allowed: {', '.join(able)}" if able else "no mode of this robot can")
        )
    if not able:
        raise UnsupportedTask(
            f"{task}: vlagen's actions move one gripper by metres and radians in the base frame, and none of its "
            f"robot's control modes ({', '.join(configurations) or 'none'}) is an arm with end-effector pose deltas "
            "and at most one gripper; choose a task with such a robot, e.g. StackCube-v1 (Panda)"
        )
    on_target = [name for name in able if configurations[name][_arm_part(configurations[name])].use_target]
    return (on_target or able)[0]


def _arm_part(configuration: Any) -> str | None:
    """The key of the arm in a mode's configuration; None if the mode cannot execute canonical actions."""
    if not isinstance(configuration, Mapping):
        return None
    # ManiSkill keeps one switch among the parts: whether gravity pulls at the robot.
    parts = {key: part for key, part in configuration.items() if key != "balance_passive_force"}
    # By name, because importing ManiSkill takes seconds and this module is also used without it.
    arms = [key for key, part in parts.items() if type(part).__name__ == "PDEEPoseControllerConfig"]
    if len(arms) != 1 or len(parts) > 2:
        return None
    arm = parts[arms[0]]
    return arms[0] if arm.use_delta and arm.frame == _CANONICAL_FRAME else None


def read_mapping(agent: Any, task: str) -> ControlMapping:
    """Reads the mapping off the active controller of a ManiSkill agent. Moves the robot: reset the task afterwards.

    Args:
        agent: in a control mode that ``choose_control_mode`` returned.
        task: name for the message.

    Raises:
        UnsupportedTask: which way its gripper opens cannot be told.
    """
    import torch

    parts = agent.controller.controllers
    key = _arm_part(agent.controller.configs)
    assert key is not None, agent.control_mode
    arm = parts[key]
    limited = bool(arm.config.normalize_action)
    if limited:
        # Half of the range, so that nothing saturates.
        answers = arm._clip_and_scale_action(0.5 * torch.eye(POSE_SIZE + 1, POSE_SIZE, device=arm.device)).cpu().numpy()
        offset = answers[POSE_SIZE]
        linear = 2 * (answers[:POSE_SIZE] - offset)
        scale = np.diag(linear)
        assert np.allclose(linear, np.diag(scale)), "the controller mixes its axes"
    else:
        scale, offset = np.ones(POSE_SIZE), np.zeros(POSE_SIZE)
    others = [part for name, part in parts.items() if name != key]
    return ControlMapping(
        control_mode=agent.control_mode,
        adds_to_target=bool(arm.config.use_target),
        limited=limited,
        scale=_readable(scale),
        offset=_readable(offset),
        gripper=_gripper_numbers(agent, others[0], task) if others else None,
        pose_first=next(iter(parts)) == key,
    )


def _readable(values: np.ndarray) -> tuple[float, ...]:
    """Rounds to what float32 holds: it makes 0.10000000149 of 0.1, and run.json should not say that. No minus zero."""
    return tuple(round(float(value), 7) + 0.0 for value in values)


def _gripper_numbers(agent: Any, gripper: Any, task: str) -> tuple[float, float]:
    """The mode's numbers for a closed and an open gripper, found by moving the fingers to both ends."""
    fingers = [getattr(agent, name, None) for name in ("finger1_link", "finger2_link")]
    space = gripper.single_action_space
    if None in fingers or space.shape != (1,):
        raise UnsupportedTask(
            f"{task}: robot {agent.uid!r} has no two fingers moved by one number, so nobody knows how it opens"
        )
    normalised = bool(getattr(gripper.config, "normalize_action", False))
    joints = gripper._original_single_action_space if normalised else space
    widths = [_finger_distance(agent, gripper, fingers, float(end[0])) for end in (joints.low, joints.high)]
    if abs(widths[1] - widths[0]) < 1e-3:
        raise UnsupportedTask(
            f"{task}: the fingers of robot {agent.uid!r} are {widths[0]:.4f} m apart at both ends of its gripper's "
            "range, so nobody knows how it opens"
        )
    low, high = float(space.low[0]), float(space.high[0])
    return (low, high) if widths[1] > widths[0] else (high, low)


def _finger_distance(agent: Any, gripper: Any, fingers: list[Any], position: float) -> float:
    """How far the fingers' links are apart [m] with the gripper's joints at a position."""
    robot, scene = agent.robot, agent.scene
    joints = robot.get_qpos().clone()
    joints[:, gripper.active_joint_indices.long()] = position
    robot.set_qpos(joints)
    if scene.gpu_sim_enabled:
        scene._gpu_apply_all()
        scene.px.gpu_update_articulation_kinematics()
        scene._gpu_fetch_all()
    one, other = (finger.pose.p[0].cpu().numpy() for finger in fingers)
    return float(np.linalg.norm(one - other))
