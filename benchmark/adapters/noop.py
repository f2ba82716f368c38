"""A policy that does nothing: what the scene does by itself, and the cheapest way to time the harness."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vlagen.benchmark.policy import PolicyEpisode, PolicySpec
from vlagen.tasks.interface import ACTION_SIZE, Observation


class NoopPolicy:
    """Holds the controller's target still, with the gripper open."""

    spec = PolicySpec(needs_images=False, light=True, chunk=1)

    def __init__(self) -> None:
        self._actions = np.empty((0, ACTION_SIZE), dtype=np.float32)

    def reset(self, episodes: Sequence[PolicyEpisode]) -> None:
        self._actions = np.zeros((len(episodes), ACTION_SIZE), dtype=np.float32)
        self._actions[:, 6] = 1.0

    def act(self, observation: Observation) -> np.ndarray:
        return self._actions.copy()
