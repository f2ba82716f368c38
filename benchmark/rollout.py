"""The one loop that plays a policy in a simulator; evaluations and trainers share it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timezone
from functools import cached_property
from typing import Any

import numpy as np

from vlagen.assets.errors import VlagenError
from vlagen.benchmark import taxonomy
from vlagen.benchmark.actions.wrappers import PreparedPolicy
from vlagen.benchmark.policy import PolicyEpisode, PolicyError, policy_seed
from vlagen.benchmark.records import PATH_STRIDE, EpisodeRecord
from vlagen.benchmark.simulator import EpisodeLike, Simulator, StepResult


class SimulatorTrouble(VlagenError):
    """A simulator that raised; it may be in any state now. The cause says what happened."""


Limit = Callable[[str], AbstractContextManager]
"""Makes the context in which a call runs that is named by the text, see ``deadline.Watch``."""


def unlimited(_what: str) -> AbstractContextManager:
    """A ``Limit`` that sets none."""
    return nullcontext()


def run_episodes(
    simulator: Simulator,
    policy: PreparedPolicy,
    episodes: Sequence[EpisodeLike],
    *,
    assets: str,
    seed: int,
    limit: Limit = unlimited,
) -> tuple[EpisodeRecord, ...]:
    """Plays a batch of B episodes for as many control steps as the simulator's horizon is, and says how each went.

    Nothing ends early: the study judges success at the last step, so a policy that places the object and then knocks it
    off again has failed. An episode whose action is not one (NaN, out of range) becomes an error; the others of its
    batch go on.

    Args:
        simulator: takes all B episodes at once.
        policy: is reset here.
        episodes: the batch.
        assets: name of the asset pack the simulator uses, for the records.
        seed: of the run; each episode's own follows from it.
        limit: how long each call may take.

    Raises:
        PolicyError: the policy returned something that cannot be told apart by episode, e.g. of the wrong shape, or
            the only episode has failed. Whatever else the policy raises passes through, too.
        SimulatorTrouble: the simulator raised, or took too long.
    """
    row = episodes[0].variant
    started_at, started = datetime.now(timezone.utc).isoformat(timespec="milliseconds"), time.perf_counter()
    with _TROUBLE, limit("starting the episode in the simulator"):
        observation = simulator.start(episodes)
    instructions = observation.instruction
    seeds = [policy_seed(seed, episode.protocol, episode.variant, episode.index) for episode in episodes]
    reset_seconds = time.perf_counter() - started
    with limit("the policy's reset"):
        policy.reset([PolicyEpisode(*pair) for pair in zip(instructions, seeds, strict=True)])

    horizon = simulator.horizon
    tally = Tally(horizon, len(episodes))
    policy_seconds = 0.0
    for step in range(horizon):
        asked = time.perf_counter()
        with limit(f"the policy's act at step {step} of row {row!r}"):
            actions = policy.act(observation, row)
        policy_seconds += time.perf_counter() - asked
        if len(policy.faults) == len(episodes):
            break
        with _TROUBLE, limit(f"simulating step {step} of row {row!r}"):
            result = simulator.step(actions)
        tally.add(step, result)
        observation = result.observation

    timing = {
        "started_at": started_at,
        "seconds": round(time.perf_counter() - started, 4),
        "reset_seconds": round(reset_seconds, 4),
        "policy_seconds": round(policy_seconds, 4),
        "batch": len(episodes),
    }
    common = [
        {
            "protocol": episode.protocol,
            "row": episode.variant,
            "index": episode.index,
            "assets": assets,
            "seed": seeds[position],
            "instruction": instructions[position],
            "timing": timing,
        }
        for position, episode in enumerate(episodes)
    ]
    return tuple(
        EpisodeRecord(**fields, outcome="error", error=f"{PolicyError.__name__}: {policy.faults[position]}")
        if position in policy.faults
        else EpisodeRecord(**fields, **tally.results(position))
        for position, fields in enumerate(common)
    )


class _Trouble:
    """Turns what a simulator raises, which may be anything, into ``SimulatorTrouble``."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, Exception):
            raise SimulatorTrouble(f"{type(error).__name__}: {error}") from error


_TROUBLE = _Trouble()


class Tally:
    """What adds up over the T steps of a batch of B episodes."""

    def __init__(self, horizon: int, batch: int) -> None:
        self._success = np.zeros((horizon, batch), dtype=bool)
        self._total_reward = np.zeros(batch)
        self._trajectories = [hashlib.sha256() for _ in range(batch)]
        self._shape = (horizon, batch)
        self._facts: dict[str, np.ndarray] = {}
        self._path: list[np.ndarray] = []
        self._last: StepResult | None = None

    def add(self, step: int, result: StepResult) -> None:
        """Counts one control step."""
        self._success[step] = result.success
        self._total_reward += result.reward
        self._last = result
        if result.facts is not None:
            for name, values in vars(result.facts).items():
                if name not in self._facts:
                    self._facts[name] = np.empty(self._shape, dtype=values.dtype)
                self._facts[name][step] = values
        if result.observation.gripper_pose is not None and (step + 1) % PATH_STRIDE == 0:
            self._path.append(np.rint(1000 * result.observation.gripper_pose[:, :3]).astype(int))
        for position, trajectory in enumerate(self._trajectories):
            trajectory.update(result.observation.proprioception[position].tobytes())
            trajectory.update(result.reward[position].tobytes())

    def results(self, position: int) -> dict[str, Any]:
        """Returns the fields of the record of the episode at this place of the batch."""
        success = self._success[:, position]
        last = self._last
        return {
            "outcome": "success" if success[-1] else "failure",
            "success_at_end": bool(success[-1]),
            "success_once": bool(success.any()),
            "first_success_step": _first_step(success),
            "grasped": None if last.grasped is None else bool(last.grasped[position]),
            "consecutive_grasp": None if last.consecutive_grasp is None else bool(last.consecutive_grasp[position]),
            # Rewards arrive as float32; the rounding drops the digits that only the conversion made.
            "episode_return": round(float(self._total_reward[position]), 6),
            "steps": len(success),
            "cut_steps": None if last.cut_steps is None else int(last.cut_steps[position]),
            "trajectory": self._trajectories[position].hexdigest()[:16],
            "gripper_path": np.concatenate([points[position] for points in self._path]).tolist()
            if self._path
            else None,
            **self._manner(position),
        }

    def _manner(self, position: int) -> dict[str, Any]:
        """In which way the episode went wrong, if the task tells."""
        if not self._facts:
            return {}
        failures, closest = self._judged
        return {"failure": failures[position], "closest_approach": round(float(closest[position]), 4)}

    @cached_property
    def _judged(self) -> tuple[tuple[str | None, ...], np.ndarray]:
        """Failure categories and smallest distances [m] of all episodes of the batch."""
        return taxonomy.classify(self._success, **self._facts), self._facts["reach_distance"].min(axis=0)


def _first_step(success: np.ndarray) -> int | None:
    """Returns the 1-based control step after which ``success`` (T,) first held, None if it never did."""
    return int(success.argmax()) + 1 if success.any() else None
