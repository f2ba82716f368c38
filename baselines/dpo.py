"""Preference optimization of whole episodes: TPO of GRAPE (arXiv 2411.19309), DPO's loss with trajectories as answers.

Episodes are values, so the two of a pair share their initial state exactly. An update plays groups of episodes, pairs
the better ones of a group with the worse by their return, and learns from the pairs. The policy is held to a reference:
the one that the run started from, or the one that played. One update is offline DPO; more are iterated.
arXiv 2505.19789 compares with this method and publishes neither code nor numbers for it: all values here are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from vlagen.baselines import losses
from vlagen.baselines.agents import Agent
from vlagen.baselines.learning import Learner, averaged, shuffled
from vlagen.baselines.loop import Loop, MakeAgent
from vlagen.baselines.openvla_agent import make_actor
from vlagen.baselines.processes import Processes
from vlagen.baselines.rollouts import Rollouts
from vlagen.baselines.sections import ModelSettings, ReinforcementSettings
from vlagen.baselines.training import trained
from vlagen.benchmark.simulator import Simulator


@dataclass(frozen=True, kw_only=True)
class Config(ReinforcementSettings):
    """What can be set for DPO."""

    group_size: int = 8
    """Episodes from one initial state, of which pairs are made."""

    pairs_per_group: int = 1
    """The best with the worst, then the second best with the second worst, and so on."""

    smallest_gap: float = 0.05
    """By how much the returns of a pair must differ at least. The task's returns are 0, 0.1, 0.2, 1.1 and 1.2."""

    pairs_per_step: int = 4
    """Pairs to an optimizer step; ``optimizer.accumulate`` is not used."""

    beta: float = 0.1
    """How hard the policy is held to the reference."""

    reference: Literal["start", "player"] = "start"
    """The policy that the run started from, or the one that played the update's episodes."""


class Pair(NamedTuple):
    """Places of two episodes in a roll-out."""

    preferred: int
    rejected: int


def main(
    config: Config, make_agent: MakeAgent = make_actor, make_simulator: Callable[[], Simulator] | None = None
) -> Path:
    """Trains, or goes on training, and returns the run's folder.

    Args:
        config: all settings.
        make_agent: makes what is trained.
        make_simulator: another simulator than ManiSkill's.
    """
    start: dict[str, Tensor] = {}

    def make_and_note(model: ModelSettings, seed: int) -> Agent:
        # Before a resumed run's weights are loaded over those that it started from.
        agent = make_agent(model, seed)
        start.update(_copied(agent))
        return agent

    with Loop("dpo", config, make_and_note, make_simulator) as loop:
        collector = loop.collector(group_size=config.group_size)
        for update in loop.updates():
            with loop.clock("rollout"):
                rollouts = collector.collect(update)
            with loop.clock("learn"):
                pairs = choose_pairs(
                    rollouts.returns, rollouts.groups, most=config.pairs_per_group, smallest_gap=config.smallest_gap
                )
                reference = start if config.reference == "start" else _copied(loop.agent)
                learned = learn(loop.agent, loop.learner, rollouts, pairs, reference, config, update)
            loop.finish(
                rollouts,
                {"pairs": float(len(pairs)), **learned},
                samples=2 * len(pairs) * rollouts.shape[0] * config.optimizer.epochs,
                signal=bool(pairs) or rollouts.solved,
            )
    return loop.out


def choose_pairs(returns: Tensor, groups: Tensor, *, most: int, smallest_gap: float) -> list[Pair]:
    """Pairs the better episodes of each group with the worse.

    Args:
        returns: sum of rewards of each episode, (B,).
        groups: which episodes share their initial state, (B,) integers.
        most: pairs of a group at most; no episode is in two.
        smallest_gap: pairs whose returns differ by less are left out.
    """
    pairs = []
    for group in groups.unique():
        members = (groups == group).nonzero()[:, 0]
        # Stable, so that ties always fall the same way.
        best_first = members[returns[members].argsort(descending=True, stable=True)].tolist()
        matched = zip(best_first, reversed(best_first), strict=True)
        for better, worse in [*matched][: min(most, len(best_first) // 2)]:
            if float(returns[better] - returns[worse]) >= smallest_gap:
                pairs.append(Pair(better, worse))
    return pairs


def learn(
    agent: Agent,
    learner: Learner,
    rollouts: Rollouts,
    pairs: Sequence[Pair],
    reference: dict[str, Tensor],
    config: Config,
    update: int,
) -> dict[str, float]:
    """Learns from pairs, and returns means over them.

    The loss depends on an episode through one sum only. So margins are computed first, without gradients, and then the
    gradient a few control steps at a time, each pair weighted as its margin says: exact, and no episode of 80 pictures
    has to fit into memory.
    """
    if not pairs:
        return {}
    with _weights(agent, reference):
        held_to = _whole(agent, rollouts, [place for pair in pairs for place in pair], config, learner.processes)
    noted, sizes, norms = [], [], []
    for epoch in range(config.optimizer.epochs):
        order = shuffled(len(pairs), seed=config.run.seed, update=update, epoch=epoch)
        for step in order.split(config.pairs_per_step):
            chosen = [pairs[number] for number in step.tolist()]
            now = _whole(agent, rollouts, [place for pair in chosen for place in pair], config, learner.processes)
            preferred, rejected = (_side(now, chosen, side) for side in (0, 1))
            reference_preferred, reference_rejected = (_side(held_to, chosen, side) for side in (0, 1))
            result = losses.preference_loss(
                preferred, rejected, reference_preferred, reference_rejected, beta=config.beta
            )
            weights = losses.preference_weights(result.margins, config.beta) / len(chosen)
            signed = [
                (place, sign)
                for pair, weight in zip(chosen, weights.tolist(), strict=True)
                for place, sign in ((pair.preferred, -weight), (pair.rejected, weight))
            ]
            work = [(place, sign, some) for place, sign in signed for some in _pieces(rollouts, config)]
            for place, sign, some in learner.processes.block(work):
                likelihood = _likelihood(agent, rollouts, place, some, config)
                learner.backward(sign * likelihood, {"place": place, "frames": rollouts.frames[:, place]})
            norms.append(learner.step({"pairs": [tuple(pair) for pair in chosen]}))
            noted.append(
                {
                    "preference_loss": float(result.loss),
                    "margin": float(result.margins.mean()),
                    "accuracy": float(result.accuracy),
                    "preferred_moved": float((preferred - reference_preferred).mean()),
                    "rejected_moved": float((rejected - reference_rejected).mean()),
                }
            )
            sizes.append(len(chosen))
    return averaged(noted, sizes) | {"gradient_norm": sum(norms) / len(norms)}


def _pieces(rollouts: Rollouts, config: Config) -> tuple[Tensor, ...]:
    """An episode's control steps, a few at a time."""
    steps, _ = rollouts.shape
    return torch.arange(steps).split(config.optimizer.micro_batch)


def _likelihood(agent: Agent, rollouts: Rollouts, place: int, some: Tensor, config: Config) -> Tensor:
    """How likely an episode's actions at some of its steps are: the sum () of their log-probabilities."""
    sampled = agent.evaluate(
        rollouts.frames[some, place],
        [rollouts.instructions[place]] * len(some),
        rollouts.tokens[some, place],
        temperature=config.rollouts.temperature,
    )
    return sampled.log_probabilities.sum()


@torch.no_grad()
def _whole(
    agent: Agent, rollouts: Rollouts, places: Iterable[int], config: Config, processes: Processes
) -> dict[int, float]:
    """How likely the actions of whole episodes are, by their place."""
    work = [(place, some) for place in sorted(set(places)) for some in _pieces(rollouts, config)]
    own = [(place, float(_likelihood(agent, rollouts, place, some, config))) for place, some in processes.block(work)]
    totals: dict[int, float] = {}
    for place, part in (pair for share in processes.gathered(own) for pair in share):
        totals[place] = totals.get(place, 0.0) + part
    return totals


def _side(table: Mapping[int, float], pairs: Sequence[Pair], side: int) -> Tensor:
    """The numbers that belong to one side of pairs, (P,) float64."""
    return torch.tensor([table[pair[side]] for pair in pairs], dtype=torch.float64)


def _copied(agent: Agent) -> dict[str, Tensor]:
    """The weights that are trained, as they are now, in the memory of the CPU."""
    return {name: weight.detach().cpu().clone() for name, weight in trained(agent.module).items()}


@contextmanager
def _weights(agent: Agent, wanted: Mapping[str, Tensor]) -> Iterator[None]:
    """Gives an agent other weights for a while."""
    own = _copied(agent)

    def put(values: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, weight in trained(agent.module).items():
                weight.copy_(values[name])

    put(wanted)
    try:
        yield
    finally:
        put(own)
