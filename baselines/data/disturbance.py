"""What happens to a demonstrator's actions before the robot gets them, so that demonstrations show how to recover.

Noise on every action (as in DART, arXiv 1703.09327) leads millimetres off the way. A push leads centimetres off it, as
a trained policy's own mistakes do, and to where the gripper's pose does not give away where the object is. Labels stay
what the demonstrator wanted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np

from vlagen.assets.errors import VlagenError


class BadDisturbance(VlagenError, ValueError):
    """A value that no disturbance has."""


@dataclass(frozen=True, kw_only=True)
class Disturbance:
    """How actions are disturbed.

    Attributes:
        noise_position: standard deviation [m] of what is added to each axis of each translation.
        noise_rotation: the same for the Euler angles [rad].
        push_chance: probability that a push begins, at each control step without one.
        push_steps: how many control steps a push lasts.
        push_speed: how far it moves the gripper in each of them, in a direction that it keeps [m].
        push_turn: how far it turns the gripper about the vertical axis in each of them, at most [rad].

    Raises:
        BadDisturbance: a value is not finite, or out of its range.
    """

    noise_position: float = 0.0
    noise_rotation: float = 0.0
    push_chance: float = 0.0
    push_steps: int = 3
    push_speed: float = 0.03
    push_turn: float = 0.1

    def __post_init__(self) -> None:
        for field in fields(self):
            value, (least, most) = getattr(self, field.name), _RANGES[field.name]
            if not (math.isfinite(value) and least <= value <= most):
                raise BadDisturbance(f"--{field.name.replace('_', '-')} {value:g}; allowed: {least} to {most}")


_RANGES = {
    "noise_position": (0, 0.05),
    "noise_rotation": (0, 0.5),
    "push_chance": (0, 0.5),
    "push_steps": (1, 10),
    "push_speed": (0, 0.05),
    "push_turn": (0, 0.5),
}


class Disturber:
    """Disturbs the actions of one episode, one after another.

    Args:
        disturbance: how.
        seeds: of the noise and of the pushes, so that one does not depend on whether there is the other.
    """

    def __init__(self, disturbance: Disturbance, seeds: tuple[int, int]) -> None:
        self._disturbance = disturbance
        self._noise, self._pushes = (np.random.default_rng(seed) for seed in seeds)
        self._push: np.ndarray | None = None
        self._left = 0

    def __call__(self, action: np.ndarray) -> np.ndarray:
        """What the robot gets instead of an action (7,): translation [m], Euler angles [rad], gripper as it was."""
        how = self._disturbance
        if self._left == 0 and how.push_chance and self._pushes.random() < how.push_chance:
            self._push, self._left = self._draw_push(), how.push_steps
        if self._left:
            self._left -= 1
            action = np.concatenate([self._push, action[6:]]).astype(np.float32)
        scales = [how.noise_position] * 3 + [how.noise_rotation] * 3 + [0.0]
        return (action + self._noise.normal(size=7) * scales).astype(np.float32) if any(scales) else action

    def _draw_push(self) -> np.ndarray:
        direction = self._pushes.normal(size=3)
        turn = self._disturbance.push_turn * self._pushes.uniform(-1, 1)
        return np.array([*direction / np.linalg.norm(direction) * self._disturbance.push_speed, 0.0, 0.0, turn])
