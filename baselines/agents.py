"""What reinforcement learning asks of a policy: to sample actions, and to say with gradients how likely they were."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from vlagen.assets.errors import VlagenError
from vlagen.benchmark.policy import PolicyEpisode, PolicySpec
from vlagen.tasks.interface import Observation


class NotFinite(VlagenError, ArithmeticError):
    """A number that is NaN or infinite where training cannot go on with it."""


class Sampled(Protocol):
    """What an agent says about B actions of A tokens each."""

    @property
    def tokens(self) -> Tensor:
        """The action tokens, (B, A) int64."""
        ...

    @property
    def log_probabilities(self) -> Tensor:
        """Of each token, given those before it, (B, A) float32."""
        ...

    @property
    def entropy(self) -> Tensor:
        """Of the distribution that each token was drawn from [nats], (B, A) float32."""
        ...

    @property
    def value(self) -> Tensor | None:
        """What the critic expects from here on, (B,) float32; None without a critic."""
        ...


class Agent(Protocol):
    """A policy over action tokens, with or without a critic, for B episodes in step.

    Attributes:
        spec: what it needs to be shown and what it emits.
        module: everything that has weights, the critic included.
    """

    spec: PolicySpec
    module: nn.Module

    def frames(self, pictures: np.ndarray) -> Tensor:
        """Brings camera pictures (B, H, W, 3) uint8 to what is stored of them, (B, S, S, 3) uint8 on the CPU."""
        ...

    def sample(
        self,
        frames: Tensor,
        instructions: Sequence[str],
        *,
        generators: Sequence[torch.Generator],
        temperature: float,
    ) -> Sampled:
        """Draws actions without gradients; what an episode gets depends on its own generator alone, not on the batch.

        Temperature 0 takes the most likely tokens. Log-probabilities are those that ``evaluate`` finds.
        """
        ...

    def evaluate(self, frames: Tensor, instructions: Sequence[str], tokens: Tensor, *, temperature: float) -> Sampled:
        """Says with gradients how likely tokens (B, A) are when sampled at this temperature."""
        ...

    def actions(self, tokens: Tensor) -> np.ndarray:
        """What tokens (B, A) mean, as ``spec.emits`` declares it: (B, n) float."""
        ...

    def critic_parameters(self) -> Iterable[nn.Parameter]:
        """Those weights that belong to the critic alone; empty without one."""
        ...

    def save(self, folder: Path) -> None:
        """Writes a checkpoint that ``vlagen-eval`` can load."""
        ...


def split_parameters(agent: Agent) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Returns the weights that are trained: the policy's, and the critic's own."""
    critic = [weight for weight in agent.critic_parameters() if weight.requires_grad]
    known = {id(weight) for weight in critic}
    policy = [weight for weight in agent.module.parameters() if weight.requires_grad and id(weight) not in known]
    return policy, critic


class AgentPolicy:
    """An agent as a policy of the harness; it can remember what it sampled.

    Args:
        agent: acts.
        temperature: of sampling; 0 for the most likely tokens.
        remember: keep what was seen and drawn since the last reset.

    Attributes:
        seeds: of the episodes that are started next, instead of those that the harness derives: two episodes from one
            initial state must not draw alike. Used once.
        frames: what was seen at each step, (B, S, S, 3) uint8.
        samples: what was drawn at each step.
    """

    def __init__(self, agent: Agent, temperature: float, remember: bool = False) -> None:
        self.spec = agent.spec
        self.seeds: Sequence[int] | None = None
        self.frames: list[Tensor] = []
        self.samples: list[Sampled] = []
        self._agent = agent
        self._temperature = temperature
        self._remember = remember
        self._episodes: tuple[PolicyEpisode, ...] = ()
        self._generators: list[torch.Generator] = []

    @property
    def instructions(self) -> tuple[str, ...]:
        """What the B episodes are to do."""
        return tuple(episode.instruction for episode in self._episodes)

    def reset(self, episodes: Sequence[PolicyEpisode]) -> None:
        seeds = [episode.seed for episode in episodes] if self.seeds is None else self.seeds
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self._episodes, self.seeds = tuple(episodes), None
        self.frames, self.samples = [], []

    def act(self, observation: Observation) -> np.ndarray:
        frames, sampled = self.draw(observation.rgb)
        if self._remember:
            self.frames.append(frames)
            self.samples.append(sampled)
        return self._agent.actions(sampled.tokens)

    def draw(self, pictures: np.ndarray) -> tuple[Tensor, Sampled]:
        """Samples the next action of every episode, and returns it with what is stored of the pictures.

        Raises:
            NotFinite: the model's output is.
        """
        frames = self._agent.frames(pictures)
        sampled = self._agent.sample(
            frames, self.instructions, generators=self._generators, temperature=self._temperature
        )
        numbers = {"log-probabilities": sampled.log_probabilities, "values": sampled.value}
        for name, values in numbers.items():
            if values is not None and not bool(values.isfinite().all()):
                raise NotFinite(
                    f"the policy's {name} are not finite numbers; its weights are broken: go back to an earlier "
                    "checkpoint, with a lower learning rate"
                )
        return frames, sampled
