"""The one loop that plays a policy in a simulator; evaluations and trainers share it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

import numpy as np

from vlagen.benchmark.policy import Policy, PolicyEpisode, check_actions, policy_seed
from vlagen.benchmark.records import EpisodeRecord
from vlagen.benchmark.simulator import Simulator, StepResult
from vlagen.tasks.episodes import Episode
from vlagen.tasks.interface import HORIZON


def run_episodes(
    simulator: Simulator,
    policy: Policy,
    episodes: Sequence[Episode],
    *,
    policy_name: str,
    assets: str,
    seed: int,
) -> tuple[EpisodeRecord, ...]:
    """Plays a batch of B episodes for all ``HORIZON`` control steps and says how each went.

    Nothing ends early: the study judges success at the last step, so a policy that places the object and then knocks it
    off again has failed.

    Args:
        simulator: takes all B episodes at once.
        policy: is reset here.
        episodes: the batch.
        policy_name: for error messages.
        assets: name of the asset pack the simulator uses, for the records.
        seed: of the run; each episode's own follows from it.

    Raises:
        PolicyError: the policy returned something that is not an action. Whatever policy or simulator raise passes
            through: the caller decides what an error means.
    """
    started_at, started = datetime.now(timezone.utc).isoformat(timespec="milliseconds"), time.perf_counter()
    observation = simulator.start(episodes)
    seeds = [policy_seed(seed, episode.protocol, episode.variant, episode.index) for episode in episodes]
    reset_seconds = time.perf_counter() - started
    policy.reset([PolicyEpisode(*pair) for pair in zip(observation.instruction, seeds, strict=True)])

    tally = _Tally(len(episodes))
    policy_seconds = 0.0
    for step in range(HORIZON):
        asked = time.perf_counter()
        actions = policy.act(observation)
        policy_seconds += time.perf_counter() - asked
        result = simulator.step(
            check_actions(actions, len(episodes), policy=policy_name, row=episodes[0].variant, step=step)
        )
        observation = result.observation
        tally.add(step, result)

    timing = {
        "started_at": started_at,
        "seconds": round(time.perf_counter() - started, 4),
        "reset_seconds": round(reset_seconds, 4),
        "policy_seconds": round(policy_seconds, 4),
    }
    return tuple(
        EpisodeRecord(
            protocol=episode.protocol,
            row=episode.variant,
            index=episode.index,
            assets=assets,
            seed=seeds[position],
            instruction=observation.instruction[position],
            grasped=bool(result.grasped[position]),
            consecutive_grasp=bool(result.consecutive_grasp[position]),
            steps=HORIZON,
            timing=timing,
            **tally.results(position),
        )
        for position, episode in enumerate(episodes)
    )


class _Tally:
    """What adds up over the steps of a batch of B episodes."""

    def __init__(self, batch: int) -> None:
        self._success = np.zeros((HORIZON, batch), dtype=bool)
        self._total_reward = np.zeros(batch)
        self._trajectories = [hashlib.sha256() for _ in range(batch)]

    def add(self, step: int, result: StepResult) -> None:
        """Counts one control step."""
        self._success[step] = result.success
        self._total_reward += result.reward
        for position, trajectory in enumerate(self._trajectories):
            trajectory.update(result.observation.proprioception[position].tobytes())
            trajectory.update(result.reward[position].tobytes())

    def results(self, position: int) -> dict[str, Any]:
        """Returns the fields of the record of the episode at this place of the batch."""
        success = self._success[:, position]
        return {
            "outcome": "success" if success[-1] else "failure",
            "success_at_end": bool(success[-1]),
            "success_once": bool(success.any()),
            "first_success_step": _first_step(success),
            # Rewards arrive as float32; the rounding drops the digits that only the conversion made.
            "episode_return": round(float(self._total_reward[position]), 6),
            "trajectory": self._trajectories[position].hexdigest()[:16],
        }


def _first_step(success: np.ndarray) -> int | None:
    """Returns the 1-based control step after which ``success`` (T,) first held, None if it never did."""
    return int(success.argmax()) + 1 if success.any() else None
