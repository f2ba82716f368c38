"""Group-relative policy optimization: episodes are compared with others of their group, and no critic is needed.

``advantage`` chooses between the textbook (arXiv 2402.03300: an episode's return against its group's) and what
arXiv 2505.19789 ran under this name (rewards of single steps against the whole batch's). Its two variants, with and
without one initial state for all, are ``same_start`` with a group of all episodes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor

from vlagen.baselines import losses
from vlagen.baselines.agents import Agent, Sampled
from vlagen.baselines.learning import Learner, averaged, minibatches, remember, shuffled
from vlagen.baselines.loop import Loop, MakeAgent
from vlagen.baselines.openvla_agent import make_actor
from vlagen.baselines.rollouts import Rollouts
from vlagen.baselines.sections import ReinforcementSettings
from vlagen.benchmark.simulator import Simulator


@dataclass(frozen=True, kw_only=True)
class Config(ReinforcementSettings):
    """What can be set for GRPO."""

    group_size: int = 8
    """Episodes that are compared with each other."""

    same_start: bool = True
    """Those of a group begin in one initial state; else each in its own."""

    advantage: Literal["group", "nonzero-steps", "all-steps"] = "group"
    """An episode's return against its group's; or, as in the study, what rewards of single steps sum up to after they
    were normalized over the batch: those that are not 0 (its "fix", its default), or all."""

    scale: bool = True
    """Divide by the group's standard deviation."""

    clip_low: float = 0.2
    """The ratio counts down to 1 - clip_low ..."""

    clip_high: float = 0.2
    """... and up to 1 + clip_high."""

    level: losses.Level = "action"
    """The ratio is of whole actions, or of each token."""

    policy_coefficient: float = 1.0
    """Weight of the loss. The study's code sums seven copies of it by a broadcast: 7 gives its gradients."""

    entropy_coefficient: float = 0.0
    """Weight of the entropy, which is to stay large."""

    recompute: bool = True
    """Ask the policy again, before it is improved, how likely its actions were; else take what was noted while playing,
    which rounds otherwise, so that ratios begin slightly off 1."""


def main(
    config: Config, make_agent: MakeAgent = make_actor, make_simulator: Callable[[], Simulator] | None = None
) -> Path:
    """Trains, or goes on training, and returns the run's folder.

    Args:
        config: all settings.
        make_agent: makes what is trained.
        make_simulator: another simulator than ManiSkill's.
    """
    with Loop("grpo", config, make_agent, make_simulator) as loop:
        collector = loop.collector(group_size=config.group_size, same_start=config.same_start)
        for update in loop.updates():
            with loop.clock("rollout"):
                rollouts = collector.collect(update)
            with loop.clock("learn"):
                advantages, useful = judge(rollouts, config)
                places = useful.expand(rollouts.shape).flatten().nonzero()[:, 0]
                learned = learn(loop.agent, loop.learner, rollouts, advantages.flatten(), places, config, update)
            loop.finish(
                rollouts,
                {"useful_episodes": float(useful.sum()), **learned},
                samples=len(places) * config.optimizer.epochs,
                signal=bool(useful.any()) or rollouts.solved,
            )
    return loop.out


def judge(rollouts: Rollouts, config: Config) -> tuple[Tensor, Tensor]:
    """Returns the advantages of all actions (T, B), and which episodes have anything to learn from, (B,) bool."""
    if config.advantage == "group":
        of_episodes, useful = losses.group_advantages(rollouts.returns, rollouts.groups, scale=config.scale)
        return of_episodes.expand(rollouts.shape), useful
    advantages = losses.step_advantages(rollouts.rewards, nonzero_only=config.advantage == "nonzero-steps")
    return advantages, (advantages != 0).any(0)


def learn(
    agent: Agent,
    learner: Learner,
    rollouts: Rollouts,
    advantages: Tensor,
    places: Tensor,
    config: Config,
    update: int,
) -> dict[str, float]:
    """Improves the policy on some steps of a roll-out, and returns means over all its micro-batches.

    Args:
        agent: is trained.
        learner: trains it.
        rollouts: what was played.
        advantages: of all N = T * B steps in flat order, (N,).
        places: those of them that are learned from; degenerate groups cost nothing.
        config: all settings.
        update: its number.
    """
    if not len(places):
        return {}
    temperature, settings = config.rollouts.temperature, config.optimizer
    old = remember(
        agent,
        rollouts,
        temperature=temperature,
        micro_batch=settings.micro_batch,
        recompute=config.recompute,
        places=places,
        processes=learner.processes,
    )
    frames, tokens = rollouts.flat("frames"), rollouts.flat("tokens")
    noted, sizes, norms, shown = [], [], [], {}
    for epoch in range(settings.epochs):
        order = shuffled(len(places), seed=config.run.seed, update=update, epoch=epoch)
        for step in minibatches(order, settings, learner.processes):
            for among in step.parts:
                chosen = places[among]
                sampled = agent.evaluate(
                    frames[chosen], rollouts.instructions_of(chosen), tokens[chosen], temperature=temperature
                )
                loss, numbers = _loss(sampled, old.log_probabilities[among], advantages[chosen], config)
                shown = {
                    "frames": frames[chosen],
                    "tokens": tokens[chosen],
                    "log_probabilities": sampled.log_probabilities,
                    "old_log_probabilities": old.log_probabilities[among],
                    "advantages": advantages[chosen],
                }
                learner.backward(loss * (len(among) / step.size), shown)
                noted.append(numbers)
                sizes.append(len(among))
            norms.append(learner.step(shown))
    numbers = {"drift": old.drift, "gradient_norm": sum(norms) / len(norms)}
    return averaged(noted, sizes, learner.processes) | numbers


def _loss(sampled: Sampled, before: Tensor, advantages: Tensor, config: Config) -> tuple[Tensor, dict[str, float]]:
    """The loss () of a micro-batch, and what is to be logged about it."""
    now = sampled.log_probabilities
    policy = losses.clipped_policy_loss(
        now,
        before.to(now.device),
        advantages.to(now.device),
        clip_low=config.clip_low,
        clip_high=config.clip_high,
        level=config.level,
    )
    entropy = sampled.entropy.mean()
    numbers = {
        "policy_loss": float(policy.loss.detach()),
        "entropy": float(entropy.detach()),
        "kl": float(policy.divergence),
        "clip_fraction": float(policy.clip_fraction),
    }
    return config.policy_coefficient * policy.loss - config.entropy_coefficient * entropy, numbers
