"""Proximal policy optimization of a vision-language-action model, as in arXiv 2505.19789 (section 4.1 and appendix B).

Actor and critic share one model; the critic is a small head. Every episode lasts as long as the time limit, and the
state it is cut off in counts for what the critic makes of it. Where the study's released code differs from the
textbook, a setting says so and how to get its numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vlagen.baselines import losses
from vlagen.baselines.agents import Agent, NotFinite, Sampled
from vlagen.baselines.learning import Learner, Remembered, averaged, minibatches, remember, shuffled
from vlagen.baselines.loop import Loop, MakeAgent
from vlagen.baselines.openvla_agent import make_actor_critic
from vlagen.baselines.processes import ALONE, Processes
from vlagen.baselines.rollouts import Rollouts
from vlagen.baselines.sections import ReinforcementSettings
from vlagen.benchmark.simulator import Simulator


@dataclass(frozen=True, kw_only=True)
class Config(ReinforcementSettings):
    """What can be set for PPO. With discount and trace_decay 1 it is PPO-ORZ."""

    discount: float = 0.99
    """Gamma."""

    trace_decay: float = 0.95
    """Lambda of generalized advantage estimation."""

    clip_low: float = 0.2
    """The ratio counts down to 1 - clip_low ..."""

    clip_high: float = 0.2
    """... and up to 1 + clip_high."""

    level: losses.Level = "action"
    """The ratio is of whole actions, or of each token."""

    value_clip: float | None = 0.2
    """How far a value may move without being held back; none for any distance."""

    huber_delta: float = 10.0
    """Beyond it, errors of values count linearly."""

    policy_coefficient: float = 1.0
    """Weight of the policy's loss. The study's code sums seven copies of it by a broadcast: 7 gives its gradients."""

    value_coefficient: float = 1.0
    """Weight of the critic's loss."""

    entropy_coefficient: float = 0.0
    """Weight of the entropy, which is to stay large."""

    time_limit_is_terminal: bool = False
    """What comes after the time limit is worth nothing, as in the study's code."""

    bfloat16_buffer: bool = False
    """Round what is remembered of roll-outs to bfloat16, as the study's code does: ratios then begin 3% off."""

    recompute: bool = True
    """Ask the policy again, before it is improved, how likely its actions were; else take what was noted while playing,
    which rounds otherwise, so that ratios begin slightly off 1."""


@dataclass(frozen=True)
class Batch:
    """What an update learns from: N = T * B steps in flat order.

    Attributes:
        old: what the policy thought before the update.
        advantages: (N,), normalized.
        returns: targets of the critic, (N,).
    """

    old: Remembered
    advantages: Tensor
    returns: Tensor


def main(
    config: Config,
    make_agent: MakeAgent = make_actor_critic,
    make_simulator: Callable[[], Simulator] | None = None,
) -> Path:
    """Trains, or goes on training, and returns the run's folder.

    Args:
        config: all settings.
        make_agent: makes what is trained; it must have a critic.
        make_simulator: another simulator than ManiSkill's.
    """
    with Loop("ppo", config, make_agent, make_simulator) as loop:
        collector = loop.collector()
        for update in loop.updates():
            with loop.clock("rollout"):
                rollouts = collector.collect(update)
            with loop.clock("learn"):
                batch, judged = prepare(loop.agent, rollouts, config, loop.processes)
                learned = learn(loop.agent, loop.learner, rollouts, batch, config, update)
            loop.finish(
                rollouts,
                {**judged, **learned},
                samples=rollouts.rewards.numel() * config.optimizer.epochs,
                signal=bool((rollouts.rewards != 0).any()),
            )
    return loop.out


def prepare(
    agent: Agent, rollouts: Rollouts, config: Config, processes: Processes = ALONE
) -> tuple[Batch, dict[str, float]]:
    """Says how much better each action was than expected; also returns what is to be logged about that."""
    old = remember(
        agent,
        rollouts,
        temperature=config.rollouts.temperature,
        micro_batch=config.optimizer.micro_batch,
        recompute=config.recompute,
        processes=processes,
    )
    values = old.values.view(rollouts.shape)
    ended = torch.zeros(rollouts.shape, dtype=torch.bool)
    ended[-1] = True
    advantages, returns = losses.generalized_advantages(
        rollouts.rewards,
        values,
        losses.successor_values(values, rollouts.final_values),
        terminated=ended if config.time_limit_is_terminal else torch.zeros_like(ended),
        ended=ended,
        discount=config.discount,
        trace_decay=config.trace_decay,
    )
    judged = {
        "drift": old.drift,
        "value": float(values.mean()),
        "explained_variance": float(losses.explained_variance(values, returns)),
    }
    if not bool(advantages.isfinite().all()):
        raise NotFinite("advantages are not finite numbers; look at the rewards and at the critic's values")
    batch = Batch(old, losses.normalized(advantages).flatten(), returns.flatten())
    return (_rounded(batch) if config.bfloat16_buffer else batch), judged


def learn(
    agent: Agent, learner: Learner, rollouts: Rollouts, batch: Batch, config: Config, update: int
) -> dict[str, float]:
    """Improves policy and critic on a roll-out, and returns means over all its micro-batches."""
    frames, tokens = rollouts.flat("frames"), rollouts.flat("tokens")
    noted, sizes, norms, shown = [], [], [], {}
    for epoch in range(config.optimizer.epochs):
        order = shuffled(len(tokens), seed=config.run.seed, update=update, epoch=epoch)
        for step in minibatches(order, config.optimizer, learner.processes):
            for places in step.parts:
                sampled = agent.evaluate(
                    frames[places],
                    rollouts.instructions_of(places),
                    tokens[places],
                    temperature=config.rollouts.temperature,
                )
                loss, numbers = _loss(sampled, batch, places, config)
                shown = {
                    "frames": frames[places],
                    "tokens": tokens[places],
                    "log_probabilities": sampled.log_probabilities,
                    "old_log_probabilities": batch.old.log_probabilities[places],
                    "values": sampled.value,
                    "advantages": batch.advantages[places],
                    "returns": batch.returns[places],
                }
                learner.backward(loss * (len(places) / step.size), shown)
                noted.append(numbers)
                sizes.append(len(places))
            norms.append(learner.step(shown))
    return averaged(noted, sizes, learner.processes) | {"gradient_norm": sum(norms) / len(norms)}


def _loss(sampled: Sampled, batch: Batch, places: Tensor, config: Config) -> tuple[Tensor, dict[str, float]]:
    """The loss () of a micro-batch, and what is to be logged about it."""
    now, old = sampled.log_probabilities, batch.old
    before = old.log_probabilities[places].to(now.device)
    policy = losses.clipped_policy_loss(
        *(_whole(now, before) if config.bfloat16_buffer else (now, before)),
        batch.advantages[places].to(now.device),
        clip_low=config.clip_low,
        clip_high=config.clip_high,
        level=config.level,
    )
    value = losses.clipped_value_loss(
        sampled.value,
        old.values[places].to(now.device),
        batch.returns[places].to(now.device),
        clip=config.value_clip,
        huber_delta=config.huber_delta,
    )
    entropy = sampled.entropy.mean()
    numbers = {
        "policy_loss": float(policy.loss.detach()),
        "value_loss": float(value.detach()),
        "entropy": float(entropy.detach()),
        "kl": float(policy.divergence),
        "clip_fraction": float(policy.clip_fraction),
    }
    loss = config.policy_coefficient * policy.loss + config.value_coefficient * value
    return loss - config.entropy_coefficient * entropy, numbers


def _whole(now: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities of whole actions (N, 1), those before the update rounded: a sum is what the study keeps."""
    return now.sum(1, keepdim=True), before.sum(1, keepdim=True).bfloat16().float()


def _rounded(batch: Batch) -> Batch:
    def rounded(values: Tensor) -> Tensor:
        return values.bfloat16().float()

    old = batch.old._replace(values=rounded(batch.old.values))
    return Batch(old, rounded(batch.advantages), rounded(batch.returns))
