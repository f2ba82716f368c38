"""How a batch of episodes stands: measured once after every control step, with the predicates of ``success.py``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from mani_skill.agents.base_agent import BaseAgent
from mani_skill.envs.scene import ManiSkillScene
from mani_skill.utils.structs import Link

from vlagen.assets.packs import Pack

from . import success
from .cast import Cast
from .contacts import Contacts, Touch
from .interface import StepFacts
from .reach import Displacement, distance_to_box, rotation_matrices
from .robot import FINGER_LENGTH
from .scene import Key

NEAR = 0.05
"""How near [m] the open fingers' midpoint is to the box of an object when they can touch it."""


class Judge:
    """Follows B episodes from their start, when bodies have settled and the robot is in place.

    Args:
        scene: where everything is.
        agent: the robot.
        cast: the episodes' bodies.
        pack: whose models they are.

    Attributes:
        object_box, receptacle_box: world-aligned extents at the start [m], (B, 3).
        object_pose, receptacle_pose: in the world frame, (B, 7).
        fingers: the point midway between the two finger links, world frame [m], (B, 3).
        grasped: the object is between the fingers now, (B,) bool.
        ever_grasped: it has been since the start, (B,) bool.
        ever_held: it has been for five steps in a row, (B,) bool.
        success: it lies on the receptacle now, (B,) bool.
        potential: what that is worth, (B,) float32.
    """

    def __init__(self, scene: ManiSkillScene, agent: BaseAgent, cast: Cast, pack: Pack):
        self._cast, self._pack = cast, pack
        self._fingers: tuple[Link, Link] = (agent.finger1_link, agent.finger2_link)
        self.object_box = self._world_box(cast.objects)
        self.receptacle_box = self._world_box(cast.receptacles)
        touches = [*((cast.objects, finger) for finger in self._fingers), (cast.objects, cast.receptacles)]
        self._contacts = Contacts(scene, cast, touches + self._follow_distractors())

        zeros = torch.zeros(len(cast.objects), dtype=torch.bool, device=cast.device)
        self._streak = zeros.int()
        self.ever_grasped, self.ever_held = zeros, zeros.clone()
        self.potential = zeros.float()
        self._displacement = np.full(len(cast.objects), np.nan)
        self.update()

    def _follow_distractors(self) -> list[Touch]:
        """Begins to follow the distractors, and says which of their contacts matter."""
        cast = self._cast
        self._other_objects = cast.distractors_or("object", cast.objects)
        self._other_receptacles = cast.distractors_or("receptacle", cast.receptacles)
        touches: list[Touch] = []
        followed = cast.objects
        if self._other_objects is not None:
            keys, _ = self._other_objects
            self._displacement_of_others = Displacement(_array(cast.pose(keys))[:, :3])
            followed = cast.objects + keys
            touches += [(keys, finger) for finger in self._fingers]
        if self._other_receptacles is not None:
            keys, _ = self._other_receptacles
            self._other_box = self._world_box(keys)
            touches.append((cast.objects, keys))
        corners = self._corners(followed)
        self._model_boxes = corners.mean(1), corners[:, 1] - corners[:, 0]
        return touches

    def _corners(self, keys: Sequence[Key]) -> np.ndarray:
        """The models' bounding boxes in the models' frames [m], (B, 2, 3): least and greatest corners."""
        return np.array([self._pack.model(*key).bbox for key in keys])

    def _world_box(self, keys: Sequence[Key]) -> torch.Tensor:
        corners = self._corners(keys)
        size = torch.tensor(corners[:, 1] - corners[:, 0], dtype=torch.float32, device=self._cast.device)
        return success.world_box(size, self._cast.pose(keys)[:, 3:])

    def update(self) -> None:
        """Measures the scene; exactly once after each control step, as grasps are counted."""
        left, right = (link.pose.raw_pose for link in self._fingers)
        left_y, right_y = success.y_axis(torch.cat([left, right])[:, 3:]).chunk(2)
        self._openings = left_y, -right_y
        self.fingers = (left[:, :3] + right[:, :3]) / 2
        self.object_pose, self.receptacle_pose = self._cast.object_pose, self._cast.receptacle_pose
        self._forces = self._contacts.forces()

        self.grasped = success.is_grasped(*self._forces[:2], *self._openings)
        self._streak = torch.where(self.grasped, self._streak + 1, 0)
        self.ever_grasped = self.ever_grasped | self.grasped
        self.ever_held = self.ever_held | (self._streak >= success.CONSECUTIVE_GRASP_STEPS)
        self.success = self._lies_on(self.receptacle_pose, self.receptacle_box, self._forces[2])
        self._previous_potential = self.potential
        self.potential = success.potential(self.ever_grasped, self.ever_held, self.success)
        self._measure_distances(_array(left))

    def _measure_distances(self, finger: np.ndarray) -> None:
        """How far it is from the finger tips to the objects, and how far the tips have moved distractors.

        ``finger`` is the pose (B, 7) of one finger: both point the same way.
        """
        poses = _array(self.object_pose)
        if self._other_objects is not None:
            poses = np.concatenate([poses, _array(self._cast.pose(self._other_objects[0]))])
        tips = _array(self.fingers) + FINGER_LENGTH * rotation_matrices(finger[:, 3:])[:, :, 0]
        batch = len(tips)
        distances = distance_to_box(np.tile(tips, (len(poses) // batch, 1)), poses, *self._model_boxes)
        self._reach_distance = distances[:batch]
        if self._other_objects is not None:
            moved = self._displacement_of_others.update(poses[batch:, :3], distances[batch:] < NEAR)
            self._displacement = np.where(self._other_objects[1], moved, np.nan)

    def _lies_on(
        self, receptacle_pose: torch.Tensor, receptacle_box: torch.Tensor, force: torch.Tensor
    ) -> torch.Tensor:
        return success.is_on_receptacle(
            self.object_pose[:, :3],
            receptacle_pose[:, :3],
            self.object_box,
            receptacle_box,
            torch.linalg.norm(force, dim=-1),
        )

    @property
    def reward(self) -> torch.Tensor:
        """The potential's change in the last control step, (B,)."""
        return self.potential - self._previous_potential

    def facts(self) -> StepFacts:
        """What tells in which way an episode fails, after the last control step."""
        holding_other, on_other = np.zeros((2, len(self.grasped)), dtype=bool)
        # Distractors are seldom touched, and without a force there is nothing to judge.
        if self._other_objects is not None:
            left, right = self._forces[3:5]
            if left.any() and right.any():
                holding_other = self._other_objects[1] & _array(success.is_grasped(left, right, *self._openings))
        if self._other_receptacles is not None and self._forces[-1].any():
            keys, there = self._other_receptacles
            on_other = there & _array(self._lies_on(self._cast.pose(keys), self._other_box, self._forces[-1]))
        return StepFacts(
            reach_distance=self._reach_distance,
            holding=_array(self.grasped),
            holding_distractor=holding_other,
            distractor_displacement=self._displacement,
            on_distractor=on_other,
        )


def _array(values: torch.Tensor) -> np.ndarray:
    return values.cpu().numpy()
