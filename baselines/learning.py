"""What the gradient steps of all methods share: minibatches, accumulation, clipping, and a stop at broken numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vlagen.baselines.agents import Agent, NotFinite, split_parameters
from vlagen.baselines.processes import ALONE, Processes
from vlagen.baselines.rollouts import Rollouts
from vlagen.baselines.sections import OptimizerSettings

SaveBatch = Callable[[Mapping[str, Any]], str]
"""Keeps a batch that broke something, and says where."""


class Remembered(NamedTuple):
    """What the policy that is about to be improved thinks of its own roll-out, N = T * B steps in flat order.

    Attributes:
        log_probabilities: (N, A).
        values: (N,), None without a critic.
        drift: mean distance of the log-probabilities of actions from those noted while playing: rounding, as the
            weights are the same. NaN if nobody looked.
    """

    log_probabilities: Tensor
    values: Tensor | None
    drift: float


class Step(NamedTuple):
    """What this process has to do for one optimizer step.

    Attributes:
        size: of all that goes into the step, in all processes.
        parts: this process's micro-batches; there may be none.
    """

    size: int
    parts: tuple[Tensor, ...]


class Learner:
    """AdamW over an agent's weights; the critic's own have a learning rate of their own.

    Gradients of micro-batches add up until ``step``; all of them are clipped together, as in the study, whose two
    optimizers do the same arithmetic as the two groups of this one.

    Args:
        agent: is trained.
        settings: of the optimizer.
        save_batch: is given whatever broke a number, before training stops.
        processes: that compute the gradients together.

    Attributes:
        processes: see above.

    Raises:
        NotFinite: from ``backward`` and ``step``, see there.
    """

    def __init__(
        self, agent: Agent, settings: OptimizerSettings, save_batch: SaveBatch, processes: Processes = ALONE
    ) -> None:
        self.processes = processes
        policy, critic = split_parameters(agent)
        groups = [{"params": policy, "lr": settings.learning_rate}]
        if critic:
            groups.append({"params": critic, "lr": settings.critic_learning_rate})
        self.optimizer = torch.optim.AdamW(groups, betas=settings.betas, weight_decay=settings.weight_decay)
        self._rates = [
            {name: group[name] for name in ("lr", "betas", "weight_decay")} for group in self.optimizer.param_groups
        ]
        self._weights = policy + critic
        self._largest_norm = settings.max_gradient_norm
        self._save_batch = save_batch

    def keep_rates(self) -> None:
        """Puts back the rates and the decay of the settings, after a stopped optimizer's state was loaded over them."""
        for group, rates in zip(self.optimizer.param_groups, self._rates, strict=True):
            group.update(rates)

    def backward(self, loss: Tensor, batch: Mapping[str, Any]) -> None:
        """Adds the gradient of a loss ().

        Args:
            loss: already weighted with its share of the step, which the losses of all processes add up to.
            batch: what it was computed from, to be kept if it is broken.

        Raises:
            NotFinite: the loss is; nothing was added.
        """
        if not bool(loss.isfinite()):
            self._stop(f"the loss is {float(loss.detach())}", batch)
        loss.backward()

    def step(self, batch: Mapping[str, Any]) -> float:
        """Moves the weights and returns the norm that the gradient had before it was clipped.

        Raises:
            NotFinite: the gradient is; no weight was moved.
        """
        self.processes.add_gradients(self._weights)
        norm = torch.nn.utils.clip_grad_norm_(self._weights, self._largest_norm)
        if not bool(norm.isfinite()):
            self._stop(f"the gradient's norm is {float(norm)}", batch)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return float(norm)

    def _stop(self, what: str, batch: Mapping[str, Any]) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        place = self._save_batch(batch)
        raise NotFinite(
            f"{what}; the batch it came from is kept in {place}. The same command goes on from the last update: give "
            "it a lower learning rate, e.g. --set optimizer.learning_rate=1e-5"
        )


def shuffled(count: int, *, seed: int, update: int, epoch: int) -> Tensor:
    """The order (count,) in which an epoch goes through its data: a pure function of its arguments."""
    generator = np.random.default_rng([seed, update, epoch])
    return torch.from_numpy(generator.permutation(count))


def minibatches(order: Tensor, settings: OptimizerSettings, processes: Processes = ALONE) -> Iterator[Step]:
    """Cuts an order (N,) into the data of one optimizer step after another, each cut into micro-batches.

    Micro-batches, and the last step's data, may be smaller than the others; nothing is left out. How much goes into a
    step does not depend on the number of processes: they share it.
    """
    for step in order.split(settings.micro_batch * settings.accumulate):
        own = processes.block(step)
        yield Step(len(step), own.split(settings.micro_batch) if len(own) else ())


@torch.no_grad()
def remember(
    agent: Agent,
    rollouts: Rollouts,
    *,
    temperature: float,
    micro_batch: int,
    recompute: bool = True,
    places: Tensor | None = None,
    processes: Processes = ALONE,
) -> Remembered:
    """Says how likely the agent's actions were when it played: asks it again, by the arithmetic of learning.

    Decoding token by token and evaluating a whole action round differently: in bfloat16 the ratio of a policy to
    itself is then off by some per cent. Against these numbers it is 1 before the first step.

    Args:
        agent: with the weights that it played with.
        rollouts: what it played.
        temperature: that it sampled at.
        micro_batch: steps that go through the model at once.
        recompute: do so; else take what was noted while playing, which saves a forward pass.
        places: (N,) of the flat fields; None for all.
        processes: that share the work.
    """
    places = torch.arange(rollouts.rewards.numel()) if places is None else places
    if not recompute:
        noted = None if rollouts.values is None else rollouts.flat("values")[places]
        return Remembered(rollouts.flat("log_probabilities")[places], noted, math.nan)
    tokens, frames = rollouts.flat("tokens"), rollouts.flat("frames")
    log_probabilities, values = [], []
    own = processes.block(places)
    for some in own.split(micro_batch) if len(own) else ():
        sampled = agent.evaluate(frames[some], rollouts.instructions_of(some), tokens[some], temperature=temperature)
        log_probabilities.append(sampled.log_probabilities.float().cpu())
        if sampled.value is not None:
            values.append(sampled.value.float().cpu())
    shares = processes.gathered((log_probabilities, values))
    log_probabilities, values = ([part for share in shares for part in share[kind]] for kind in (0, 1))
    found = torch.cat(log_probabilities)
    drift = (found - rollouts.flat("log_probabilities")[places]).sum(1).abs().mean()
    return Remembered(found, torch.cat(values) if values else None, float(drift))


def averaged(
    numbers: Sequence[Mapping[str, float]], weights: Sequence[float], processes: Processes = ALONE
) -> dict[str, float]:
    """Means of numbers that were noted for micro-batches of these sizes, in all processes."""
    shares = processes.gathered((list(numbers), list(weights)))
    numbers, weights = ([value for share in shares for value in share[kind]] for kind in (0, 1))
    if not numbers:
        return {}
    return {name: float(np.average([one[name] for one in numbers], weights=weights)) for name in numbers[0]}
