"""Which body plays which part in the running episodes, and what is asked of those bodies gathered into one batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mani_skill.utils.structs import Actor

from .episodes import Episode
from .scene import Key


class Cast:
    """The bodies of a batch of B episodes.

    Args:
        episodes: the batch, one per parallel environment.
        bodies: every model in the scene, each with a body in every parallel environment.
        device: of the tensors that are returned.

    Attributes:
        objects: the target objects, B keys.
        receptacles: the target receptacles, B keys.
        distractors: B keys, None where an episode has no distractor.
    """

    def __init__(self, episodes: Sequence[Episode], bodies: Mapping[Key, Actor], device: torch.device):
        self.bodies = bodies
        self.device = device
        self.objects: list[Key] = [("object", e.object) for e in episodes]
        self.receptacles: list[Key] = [("receptacle", e.receptacle) for e in episodes]
        self.distractors: list[Key | None] = [e.models[2] if len(e.models) > 2 else None for e in episodes]

    def gather(self, keys: Sequence, read: Callable[[Any], torch.Tensor]) -> torch.Tensor:
        """Quantities (B, ...) of the bodies that each environment uses: ``read`` one key's, for B keys."""
        result = None
        for key in dict.fromkeys(keys):
            values = read(key)
            if len(keys) == 1:
                return values
            used = torch.tensor([other == key for other in keys], device=self.device)
            result = values if result is None else torch.where(used[:, None], values, result)
        return result

    def pose(self, keys: Sequence[Key]) -> torch.Tensor:
        """World poses (B, 7), wxyz."""
        return self.gather(keys, lambda key: self.bodies[key].pose.raw_pose)

    @property
    def object_pose(self) -> torch.Tensor:
        """World poses (B, 7) of the target objects."""
        return self.pose(self.objects)

    @property
    def receptacle_pose(self) -> torch.Tensor:
        """World poses (B, 7) of the target receptacles."""
        return self.pose(self.receptacles)

    def distractors_or(self, kind: str, others: Sequence[Key]) -> tuple[list[Key], np.ndarray] | None:
        """The distractors of one kind, ``others`` where there is none, and where there is one, (B,) bool.

        None if no episode has one.
        """
        there = [key is not None and key[0] == kind for key in self.distractors]
        if not any(there):
            return None
        keys = [key if has else other for key, has, other in zip(self.distractors, there, others, strict=True)]
        return keys, np.array(there)
