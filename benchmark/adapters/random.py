"""A policy that moves at random: the floor that every policy has to beat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vlagen.benchmark.policy import PolicyEpisode, PolicySpec
from vlagen.tasks.interface import ACTION_SIZE, Observation

TRANSLATION_RANGE = 0.02
"""Largest step along each axis, either way [m]."""

ROTATION_RANGE = 0.05
"""Largest step of each Euler angle, either way [rad]."""


class RandomPolicy:
    """Uniform translation and rotation steps within the ranges above; the gripper opens or closes with equal chance.

    Every episode has its own generator, so its actions depend on its seed alone and not on what ran beside it.
    """

    spec = PolicySpec(needs_images=False, light=True, chunk=1)

    def __init__(self) -> None:
        self._generators: list[np.random.Generator] = []

    def reset(self, episodes: Sequence[PolicyEpisode]) -> None:
        self._generators = [np.random.default_rng(episode.seed) for episode in episodes]

    def act(self, observation: Observation) -> np.ndarray:
        return np.stack([_draw(generator) for generator in self._generators])


def _draw(generator: np.random.Generator) -> np.ndarray:
    """Draws one action, shape (7,) float32."""
    action = np.empty(ACTION_SIZE, dtype=np.float32)
    action[:3] = generator.uniform(-TRANSLATION_RANGE, TRANSLATION_RANGE, 3)
    action[3:6] = generator.uniform(-ROTATION_RANGE, ROTATION_RANGE, 3)
    action[6] = generator.choice((-1.0, 1.0))
    return action
