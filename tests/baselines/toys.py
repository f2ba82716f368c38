"""A world and an agent small enough to learn in a second, and settings for them.

In the toy world one half of the picture is lit, the right one where the episode's index is odd. The object has to be
carried to that side: x grows and shrinks by the action's first number, and the object counts as grasped once the
gripper has closed. The object is where it belongs while it is more than 0.15 m on the lit side, and the picture is
green then.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from tests.benchmark.toys import ASSETS
from vlagen.baselines.sections import OptimizerSettings, RolloutSettings, RunSettings, SimulationSettings
from vlagen.benchmark.policy import PolicySpec
from vlagen.benchmark.simulator import StepResult
from vlagen.tasks.episodes import Episode
from vlagen.tasks.interface import Observation

STEPS = 6
BINS, TOKENS = 4, 2


class LampSimulator:
    """The toy world; eight episodes in step."""

    horizon = STEPS
    capacity = 8
    control_frequency = 5
    picture_shape = (4, 4, 3)

    def start(self, episodes: Sequence[Episode]) -> Observation:
        self._sides = np.array([1 if episode.index % 2 else -1 for episode in episodes])
        self._x = np.zeros(len(episodes))
        self._grasped = np.zeros(len(episodes), dtype=bool)
        self._potential = np.zeros(len(episodes))
        self._step = 0
        return self._observe()

    def step(self, actions: np.ndarray) -> StepResult:
        self._x = self._x + actions[:, 0]
        self._grasped = self._grasped | (actions[:, 6] < 0)
        self._step += 1
        success = self._x * self._sides > 0.15
        potential = 0.1 * self._grasped + 1.0 * (success & self._grasped)
        reward, self._potential = potential - self._potential, potential
        return StepResult(self._observe(), reward, success, self._grasped, self._grasped)

    def close(self) -> None:
        pass

    def _observe(self) -> Observation:
        count = len(self._x)
        pictures = np.zeros((count, 4, 4, 3), dtype=np.uint8)
        pictures[self._sides < 0, :, :2, 0] = 255
        pictures[self._sides > 0, :, 2:, 0] = 255
        pictures[self._x * self._sides > 0.15, :, :, 1] = 255
        return Observation(
            rgb=pictures,
            instruction=("bring it to the light",) * count,
            proprioception=np.zeros((count, 8), dtype=np.float32),
            gripper_pose=np.tile(np.float32([0, 0, 0, 1, 0, 0, 0]), (count, 1)),
            step=self._step,
        )


class Said(NamedTuple):
    """What the toy agent says, see ``agents.Sampled``."""

    tokens: Tensor
    log_probabilities: Tensor
    entropy: Tensor
    value: Tensor | None


class ToyNetwork(nn.Module):
    """Two action tokens, the second given the first, and a value."""

    def __init__(self, critic: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 16), nn.Tanh())
        self.first = nn.Linear(16, BINS)
        self.second = nn.Linear(16 + BINS, BINS)
        self.critic = nn.Linear(16, 1) if critic else None

    def logits(self, hidden: Tensor, first: Tensor | None) -> Tensor:
        if first is None:
            return self.first(hidden)
        return self.second(torch.cat([hidden, nn.functional.one_hot(first, BINS).to(hidden)], dim=1))


class ToyAgent:
    """See ``agents.Agent``. Tokens 0 and 1 mean left and close, 2 and 3 right and open."""

    spec = PolicySpec(needs_images=True)

    def __init__(self, seed: int = 0, critic: bool = True) -> None:
        torch.manual_seed(seed)
        self.module = ToyNetwork(critic)

    def frames(self, pictures: np.ndarray) -> Tensor:
        return torch.from_numpy(pictures[:, ::2, ::2]).clone()

    @torch.no_grad()
    def sample(
        self, frames: Tensor, instructions: Sequence[str], *, generators: Sequence[torch.Generator], temperature: float
    ) -> Said:
        hidden, first, tokens = self._hidden(frames), None, []
        for _ in range(TOKENS):
            shares = (self.module.logits(hidden, first).double() / (temperature or 1)).softmax(1)
            if temperature:
                draws = torch.stack([torch.rand(1, generator=g, dtype=torch.float64) for g in generators])
                first = (shares.cumsum(1) <= draws).sum(1).clamp(max=BINS - 1)
            else:
                first = shares.argmax(1)
            tokens.append(first)
        return self.evaluate(frames, instructions, torch.stack(tokens, 1), temperature=temperature or 1.0)

    def evaluate(self, frames: Tensor, instructions: Sequence[str], tokens: Tensor, *, temperature: float) -> Said:
        assert len(frames) == len(instructions) == len(tokens)
        hidden = self._hidden(frames)
        logits = torch.stack([self.module.logits(hidden, None), self.module.logits(hidden, tokens[:, 0])], 1)
        scores = (logits / temperature).log_softmax(2)
        value = None if self.module.critic is None else self.module.critic(hidden)[:, 0]
        chosen = scores.gather(2, tokens[..., None])[..., 0]
        return Said(tokens, chosen, -(scores.exp() * scores).sum(2), value)

    def actions(self, tokens: Tensor) -> np.ndarray:
        actions = np.zeros((len(tokens), 7), dtype=np.float32)
        actions[:, 0] = np.where(tokens[:, 0] < 2, -0.1, 0.1)
        actions[:, 6] = np.where(tokens[:, 1] < 2, -1, 1)
        return actions

    def critic_parameters(self) -> list[nn.Parameter]:
        return [] if self.module.critic is None else list(self.module.critic.parameters())

    def save(self, folder: Path) -> None:
        torch.save(self.module.state_dict(), folder / "toy.pt")

    def _hidden(self, frames: Tensor) -> Tensor:
        return self.module.body(frames.float().mean(1).flatten(1) / 255)


def make_actor_critic(_settings, seed: int) -> ToyAgent:
    return ToyAgent(seed)


def make_actor(_settings, seed: int) -> ToyAgent:
    return ToyAgent(seed, critic=False)


def settings(out: Path, *, rollouts=None, optimizer=None, **run) -> dict:
    """The sections of a toy run."""
    defaults = {"updates": 3, "evaluate_every": 0, "evaluate_rows": ("train",), "evaluate_episodes": 16}
    return {
        "simulation": SimulationSettings(assets=ASSETS),
        "rollouts": RolloutSettings(**{"episodes": 16, **(rollouts or {})}),
        "optimizer": OptimizerSettings(
            **{"learning_rate": 0.02, "critic_learning_rate": 0.02, "micro_batch": 16, "accumulate": 2}
            | (optimizer or {})
        ),
        "run": RunSettings(out=out, **(defaults | run)),
    }
