"""Contact forces between few bodies.

On the CPU in one pass over the scene's contacts: ManiSkill asks for one pair at a time and walks all contacts for each;
with three pairs a step that is a tenth of the step time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import sapien
import torch
from mani_skill.envs.scene import ManiSkillScene
from mani_skill.utils.structs import Link

from .cast import Cast
from .scene import Key

Touch = tuple[Sequence[Key], "Sequence[Key] | Link"]
"""B models, and the B models or the robot's link that they may touch."""


def forces_between(scene: ManiSkillScene, pairs: Sequence[tuple[sapien.Entity, sapien.Entity]]) -> np.ndarray:
    """The forces [N] of the last physics step, (len(pairs), 3), world; in each pair the first acts on the second."""
    impulses = np.zeros((len(pairs), 3))
    slots = {}
    for slot, (by, on) in enumerate(pairs):
        slots[on.per_scene_id, by.per_scene_id] = slot, 1.0
        slots[by.per_scene_id, on.per_scene_id] = slot, -1.0
    for contact in scene.px.get_contacts():
        first, second = contact.bodies
        found = slots.get((first.entity.per_scene_id, second.entity.per_scene_id))
        if found is not None:
            slot, sign = found
            for point in contact.points:
                impulses[slot] += sign * point.impulse
    return impulses / scene.px.timestep


class Contacts:
    """Reads the forces of some contacts of B running episodes.

    Args:
        scene: where they run.
        cast: their bodies.
        touches: whose forces on whom.
    """

    def __init__(self, scene: ManiSkillScene, cast: Cast, touches: Sequence[Touch]):
        self._scene, self._cast, self._touches = scene, cast, touches
        if not scene.gpu_sim_enabled:
            self._pairs = [(self._entities(by)[0], self._entities(on)[0]) for by, on in touches]

    def _entities(self, bodies: Sequence[Key] | Link) -> list[sapien.Entity]:
        if isinstance(bodies, Sequence):
            return [self._cast.bodies[key]._objs[0] for key in bodies]
        return [bodies._objs[0].entity]

    def forces(self) -> list[torch.Tensor]:
        """The forces [N] of the last physics step for every touch, each (B, 3), world frame."""
        if not self._scene.gpu_sim_enabled:
            return list(torch.tensor(forces_between(self._scene, self._pairs), dtype=torch.float32)[:, None])
        return [self._pairwise(by, on) for by, on in self._touches]

    def _pairwise(self, by: Sequence[Key], on: Sequence[Key] | Link) -> torch.Tensor:
        force, bodies = self._scene.get_pairwise_contact_forces, self._cast.bodies
        if isinstance(on, Sequence):
            pairs = list(zip(by, on, strict=True))
            return self._cast.gather(pairs, lambda pair: force(bodies[pair[1]], bodies[pair[0]]))
        return self._cast.gather(by, lambda key: force(on, bodies[key]))
