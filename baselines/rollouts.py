"""Episodes played to learn from, through the harness's own loop and simulators."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vlagen.assets.errors import VlagenError
from vlagen.baselines.agents import Agent, AgentPolicy, NotFinite
from vlagen.baselines.processes import ALONE, Processes
from vlagen.baselines.slots import Slot, draw_slots
from vlagen.benchmark.actions.wrappers import prepare
from vlagen.benchmark.deadline import Watch
from vlagen.benchmark.records import EpisodeRecord
from vlagen.benchmark.rollout import SimulatorTrouble, run_episodes
from vlagen.benchmark.simulator import EpisodeLike, Simulator, SimulatorWrapper, StepResult
from vlagen.tasks.interface import Observation
from vlagen.tasks.variants import Variant

ATTEMPTS = 3
"""How often a batch of episodes is tried before it is given up."""


class RolloutFailed(VlagenError):
    """No episode of an update could be played."""


class SimulatorGone(VlagenError):
    """One of several simulators that play in step is gone; whoever raises this replaces it at the next start."""


@dataclass(frozen=True)
class Rollouts:
    """B episodes of T control steps each, on the CPU. A tokens make an action.

    Attributes:
        frames: what was seen before each step, (T, B, S, S, 3) uint8.
        instructions: B texts.
        tokens: what was drawn, (T, B, A) int64.
        log_probabilities: how likely that was, (T, B, A) float32.
        values: what the critic expected before each step, (T, B) float32; None without one.
        final_values: what it expected after the last step, (B,) float32.
        rewards: changes of the task's potential, (T, B) float32.
        success: whether the object was where it belongs after each step, (T, B) bool.
        groups: number of each episode's group, (B,) int64.
        records: as the harness keeps them.
        lost: what became of episodes that are missing: one text for each.
    """

    frames: Tensor
    instructions: tuple[str, ...]
    tokens: Tensor
    log_probabilities: Tensor
    values: Tensor | None
    final_values: Tensor | None
    rewards: Tensor
    success: Tensor
    groups: Tensor
    records: tuple[EpisodeRecord, ...]
    lost: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        """T and B."""
        steps, episodes = self.rewards.shape
        return steps, episodes

    @property
    def returns(self) -> Tensor:
        """Sum of rewards of each episode, (B,) float32."""
        return self.rewards.sum(0)

    @property
    def solved(self) -> bool:
        """Every episode ended in success: nothing to learn from either, but no trouble."""
        return bool(self.success[-1].all())

    def flat(self, name: str) -> Tensor:
        """A field (T, B, ...) as (T * B, ...), step by step."""
        return getattr(self, name).flatten(0, 1)

    def instructions_of(self, places: Tensor) -> list[str]:
        """The instructions that go with places (N,) of the flat fields."""
        return [self.instructions[place] for place in (places % len(self.instructions)).tolist()]

    def summary(self) -> dict[str, float]:
        """How it went, for logs: rates over the episodes that were played to their end."""
        records = self.records
        return {
            "episodes": float(len(records)),
            "episodes_lost": float(len(self.lost)),
            "return": float(self.returns.mean()),
            "success": float(np.mean([record.success_at_end for record in records])),
            "success_once": float(np.mean([record.success_once for record in records])),
            "grasped": float(np.mean([bool(record.grasped) for record in records])),
        }


class SimulatorKeeper:
    """Makes a simulator when one is needed and keeps it until it breaks; roll-outs and evaluations share it.

    Args:
        make_simulator: makes one.
    """

    def __init__(self, make_simulator: Callable[[], Simulator]) -> None:
        self._make = make_simulator
        self._kept: Simulator | None = None

    def lend(self) -> Simulator:
        """The simulator; a new one if there is none."""
        if self._kept is None:
            self._kept = self._make()
        return self._kept

    def discard(self) -> None:
        """Closes the simulator, whatever state it is in."""
        kept, self._kept = self._kept, None
        if kept is not None:
            try:
                kept.close()
            except Exception as error:  # noqa: BLE001 - a broken simulator raises anything; a new one is made
                warnings.warn(f"closing a simulator: {error}", stacklevel=2)


class Collector:
    """Plays the episodes of one update after another.

    A batch whose simulator breaks, e.g. because a worker died, is played again in a new one and, as all draws are
    seeded, goes as it would have gone. What fails ``ATTEMPTS`` times is left out and counted.

    Args:
        agent: acts.
        simulators: where.
        row: where episodes are drawn from.
        assets: name of the asset pack, for the records.
        seed: of the run.
        episodes: how many to play for an update.
        group_size: see ``slots.draw_slots``, as ``same_start``.
        same_start: see there.
        temperature: of sampling.
        timeout: seconds that a single call of agent or simulator may take, None for no limit.
        processes: that play an update's episodes together, each with simulators of its own.
    """

    def __init__(
        self,
        agent: Agent,
        simulators: SimulatorKeeper,
        row: Variant,
        *,
        assets: str,
        seed: int,
        episodes: int,
        group_size: int = 1,
        same_start: bool = True,
        temperature: float = 1.0,
        timeout: float | None = 600.0,
        processes: Processes = ALONE,
    ) -> None:
        self._processes = processes
        self._timeout = timeout
        self._policy = AgentPolicy(agent, temperature, remember=True)
        self._simulators = simulators
        self._assets, self._seed = assets, seed
        self._draw: Callable[[int], tuple[Slot, ...]] = lambda update: draw_slots(
            row, seed=seed, update=update, count=episodes, group_size=group_size, same_start=same_start
        )
        self._draw(0)  # says at once that groups cannot be filled

    def collect(self, update: int) -> Rollouts:
        """Plays the episodes of an update; every process gets all that were played.

        Raises:
            RolloutFailed: not one of them could be played.
            NotFinite: the agent's weights are broken.
        """
        slots = self._processes.block(self._draw(update))
        parts, lost, start = [], [], 0
        while start < len(slots):
            batch = slots[start : start + self._capacity()]
            part, complaints = self._play(batch)
            parts += part
            lost += complaints
            start += len(batch)
        shares = self._processes.gathered((parts, lost))
        parts, lost = ([one for share in shares for one in share[kind]] for kind in (0, 1))
        if not parts:
            raise RolloutFailed(f"no episode of update {update} could be played; the first error:\n{lost[0]}")
        return _join(parts, tuple(lost))

    def _capacity(self) -> int:
        return self._simulators.lend().capacity

    def _play(self, batch: Sequence[Slot]) -> tuple[list[dict[str, Any]], list[str]]:
        """Plays a batch; returns the parts of a ``Rollouts`` and what became of the others."""
        error: Exception | None = None
        for _ in range(ATTEMPTS):
            try:
                return self._attempt(batch)
            except NotFinite:
                raise
            except SimulatorTrouble as trouble:
                error = trouble
                if not isinstance(trouble.__cause__, SimulatorGone):
                    self._simulators.discard()
            except Exception as trouble:  # noqa: BLE001 - a policy raises anything, e.g. when the device is full
                error = trouble
            warnings.warn(f"{len(batch)} episodes are tried again: {error}", stacklevel=2)
        return [], [f"{type(error).__name__}: {error}"] * len(batch)

    def _attempt(self, batch: Sequence[Slot]) -> tuple[list[dict[str, Any]], list[str]]:
        policy, watched = self._policy, _Watched(self._simulators.lend())
        policy.seeds = [slot.seed for slot in batch]
        with Watch(self._timeout) as limit:
            records = run_episodes(
                watched,
                prepare(policy, name="the agent"),
                [slot.episode for slot in batch],
                assets=self._assets,
                seed=self._seed,
                limit=limit,
            )
        lost = [str(record.error) for record in records if record.outcome == "error"]
        kept = torch.tensor([place for place, record in enumerate(records) if record.outcome != "error"])
        if not len(kept):
            return [], lost
        samples = policy.samples
        has_critic = samples[0].value is not None

        def steps(values: Sequence[Any]) -> Tensor:
            return torch.stack([torch.as_tensor(value).cpu() for value in values])[:, kept]

        final_values = policy.draw(watched.last.rgb)[1].value.float().cpu()[kept] if has_critic else None
        part = {
            "frames": steps(policy.frames),
            "tokens": steps([sample.tokens for sample in samples]),
            "log_probabilities": steps([sample.log_probabilities for sample in samples]).float(),
            "values": steps([sample.value for sample in samples]).float() if has_critic else None,
            "final_values": final_values,
            "rewards": steps(watched.rewards).float(),
            "success": steps(watched.success),
            "groups": torch.tensor([slot.group for slot in batch])[kept],
            "instructions": tuple(policy.instructions[place] for place in kept.tolist()),
            "records": tuple(records[place] for place in kept.tolist()),
        }
        return [part], lost


def _join(parts: Sequence[dict[str, Any]], lost: tuple[str, ...]) -> Rollouts:
    """Puts the episodes of several batches side by side."""

    def joined(name: str) -> Any:
        values = [part[name] for part in parts]
        if values[0] is None:
            return None
        if isinstance(values[0], tuple):
            return tuple(value for group in values for value in group)
        return torch.cat(values, dim=0 if name in ("groups", "final_values") else 1)

    return Rollouts(**{name: joined(name) for name in parts[0]}, lost=lost)


class _Watched(SimulatorWrapper):
    """A simulator that remembers rewards, success and the last observation of the batch it plays."""

    def __init__(self, simulator: Simulator) -> None:
        super().__init__(simulator)
        self.rewards: list[np.ndarray] = []
        self.success: list[np.ndarray] = []
        self.last: Observation

    def start(self, episodes: Sequence[EpisodeLike]) -> Observation:
        self.rewards, self.success = [], []
        self.last = self.simulator.start(episodes)
        return self.last

    def step(self, actions: np.ndarray) -> StepResult:
        result = self.simulator.step(actions)
        self.rewards.append(result.reward)
        self.success.append(result.success)
        self.last = result.observation
        return result
