"""A simulator small enough to work out by hand, and policies that behave and misbehave in it.

The toy world is one number an episode, ``x``, that starts at 0 and grows by the action's first component. The object is
on the receptacle while 1 <= x < 3 and counts as grasped once the gripper was told to close. The reward is x.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vlagen.benchmark.evaluate import Evaluation
from vlagen.benchmark.policy import PolicyEpisode, PolicySpec
from vlagen.benchmark.records import EpisodeRecord
from vlagen.benchmark.request import Request
from vlagen.benchmark.simulator import StepResult
from vlagen.tasks.episodes import Episode
from vlagen.tasks.interface import HORIZON, Observation, StepFacts

ASSETS = "rl4vla"  # its manifest alone, which is always there, is enough: the toy world opens no file


class ToySimulator:
    horizon = HORIZON
    capacity = 1
    control_frequency = 5
    picture_shape = (32, 48, 3)

    def start(self, episodes: Sequence[Episode]) -> Observation:
        self._instruction = tuple(f"go to {episode.index}" for episode in episodes)
        self._x = np.zeros(len(episodes))
        self._grasped = np.zeros(len(episodes), dtype=bool)
        self._step = 0
        return self._observe()

    def step(self, actions: np.ndarray) -> StepResult:
        self._x = self._x + actions[:, 0]
        self._grasped = self._grasped | (actions[:, 6] < 0)
        self._step += 1
        return StepResult(
            observation=self._observe(),
            reward=self._x,
            success=(self._x >= 1) & (self._x < 3),
            grasped=self._grasped,
            consecutive_grasp=self._grasped,
            facts=StepFacts(
                reach_distance=np.abs(1 - self._x),
                holding=actions[:, 6] < 0,
                holding_distractor=np.zeros(len(self._x), dtype=bool),
                distractor_displacement=np.full(len(self._x), np.nan),
                on_distractor=np.zeros(len(self._x), dtype=bool),
            ),
        )

    def close(self) -> None:
        pass

    def _observe(self) -> Observation:
        return Observation(
            rgb=np.full((len(self._x), 32, 48, 3), self._step, dtype=np.uint8),
            instruction=self._instruction,
            proprioception=np.zeros((len(self._x), 8), dtype=np.float32),
            gripper_pose=np.tile(np.float32([0, 0, 0, 1, 0, 0, 0]), (len(self._x), 1)),
            step=self._step,
        )


class UnstartableSimulator(ToySimulator):
    def __init__(self) -> None:
        os._exit(3)


class SlowPolicy:
    """Moves 1/64 a step: x is 1 after step 64 and 1.25 at the end."""

    spec = PolicySpec(needs_images=False)
    pace = 1 / 64

    def reset(self, episodes: Sequence[PolicyEpisode]) -> None:
        self.episodes = tuple(episodes)

    def act(self, observation: Observation) -> np.ndarray:
        actions = np.zeros((len(self.episodes), 7), dtype=np.float32)
        actions[:, 0] = self.pace
        return actions

    @property
    def odd(self) -> np.ndarray:
        """Which episodes of the batch have an odd index, (B,) bool."""
        return np.array([int(episode.instruction.split()[-1]) % 2 == 1 for episode in self.episodes])


class FastPolicy(SlowPolicy):
    """Moves 1/8 a step: x is 1 after step 8, 3 after step 24, and 10 at the end."""

    pace = 1 / 8


class SeededPolicy(SlowPolicy):
    """Moves at random, so that records differ wherever a seed does; naps, so that workers finish out of order."""

    def reset(self, episodes: Sequence[PolicyEpisode]) -> None:
        super().reset(episodes)
        self._generators = [np.random.default_rng(episode.seed) for episode in episodes]
        time.sleep(episodes[0].seed % 5 / 100)

    def act(self, observation: Observation) -> np.ndarray:
        return np.stack([generator.uniform(-0.05, 0.1, 7) for generator in self._generators])


class OraclePolicy(SlowPolicy):
    """Sees what no camera shows."""

    spec = PolicySpec(needs_images=False, needs_privileged=True)


class NappingPolicy(SeededPolicy):
    """Takes its time over each step, so that there is something to be killed in the middle of; looks at pictures."""

    spec = PolicySpec(needs_images=True)

    def act(self, observation: Observation) -> np.ndarray:
        time.sleep(0.01)
        assert observation.rgb.shape == (len(self.episodes), 32, 48, 3)
        return super().act(observation)


class NanPolicy(SlowPolicy):
    """Returns NaN at step 3 of episodes with an odd index."""

    def act(self, observation: Observation) -> np.ndarray:
        actions = super().act(observation)
        if observation.step == 3:
            actions[self.odd, 4] = np.nan
        return actions


class RaisingPolicy(SlowPolicy):
    """Raises at step 5 of batches with an odd index."""

    def act(self, observation: Observation) -> np.ndarray:
        if self.odd.any() and observation.step == 5:
            raise ZeroDivisionError("toy trouble")
        return super().act(observation)


class FarPolicy(SlowPolicy):
    """Wants to move by ten metres at step 3 of episodes with an odd index."""

    def act(self, observation: Observation) -> np.ndarray:
        actions = super().act(observation)
        if observation.step == 3:
            actions[self.odd, 0] = 10
        return actions


class ShapelessPolicy(SlowPolicy):
    """Returns something of another shape in batches with an odd index."""

    def act(self, observation: Observation) -> np.ndarray:
        return super().act(observation)[:, : 6 if self.odd.any() else 7]


class HangingPolicy(SlowPolicy):
    """Hangs at step 2 of batches with an odd index."""

    def act(self, observation: Observation) -> np.ndarray:
        if self.odd.any() and observation.step == 2:
            time.sleep(60)
        return super().act(observation)


class RaisingOncePolicy(SlowPolicy):
    """Raises the first time it is asked anything, as the file named by TOY_MARKER remembers."""

    def act(self, observation: Observation) -> np.ndarray:
        try:
            Path(os.environ["TOY_MARKER"]).touch(exist_ok=False)
        except FileExistsError:
            return super().act(observation)
        raise ZeroDivisionError("toy trouble")


class CoinPolicy(SlowPolicy):
    """Succeeds in every other episode or so, as its seed says."""

    def act(self, observation: Observation) -> np.ndarray:
        actions = super().act(observation)
        actions[[episode.seed % 2 == 1 for episode in self.episodes]] = 0
        return actions


class PacedPolicy(SlowPolicy):
    """Moves by its argument at each step."""

    def __init__(self, pace: float = 1 / 64) -> None:
        self.pace = pace


class DyingOnceSimulator(ToySimulator):
    """Kills its process the first time it is started, as the file named by TOY_MARKER remembers."""

    def start(self, episodes: Sequence[Episode]) -> Observation:
        try:
            Path(os.environ["TOY_MARKER"]).touch(exist_ok=False)
        except FileExistsError:
            return super().start(episodes)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("killed by now")


class StuckSimulator(ToySimulator):
    """Hangs in the third step of episodes with an odd index."""

    def step(self, actions: np.ndarray) -> StepResult:
        if self._step == 2 and int(self._instruction[0].split()[-1]) % 2:
            time.sleep(60)
        return super().step(actions)


class DyingPolicy(SlowPolicy):
    """Kills its process in episodes with an odd index."""

    def reset(self, episodes: Sequence[PolicyEpisode]) -> None:
        super().reset(episodes)
        if self.odd.any():
            os.kill(os.getpid(), signal.SIGKILL)


class DyingOncePolicy(SlowPolicy):
    """Kills its process the first time it is asked anything, as the file named by TOY_MARKER remembers."""

    def reset(self, episodes: Sequence[PolicyEpisode]) -> None:
        super().reset(episodes)
        marker = Path(os.environ["TOY_MARKER"])
        if not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)


def record(row: str, index: int, outcome: str = "success", **fields: Any) -> EpisodeRecord:
    """The record of an episode in which the object was grasped; what fields do not say follows from the outcome."""
    known = outcome != "error"
    success = outcome == "success" if known else None
    flags = {"success_at_end": success, "success_once": success, "grasped": True if known else None}
    common = {"protocol": "vlagen-v1", "row": row, "index": index, "assets": "builtin", "seed": 0, "outcome": outcome}
    return EpisodeRecord(**common | flags | fields)


def named(policy: type) -> str:
    return f"{__name__}:{policy.__name__}"


def evaluate(out: Path, policy: type = SeededPolicy, **request) -> Evaluation:
    """Plays a toy evaluation to its end and releases its folder."""
    defaults = {"rows": ("train", "vision/table"), "episodes": 4, "assets": ASSETS}
    with Evaluation(Request(policy=named(policy), out=out, **(defaults | request)), ToySimulator) as evaluation:
        list(evaluation.play())
    return evaluation


def timeless_lines(out: Path) -> list[str]:
    """The lines of ``episodes.jsonl`` as they are written, but for the content of ``timing``."""
    lines = (out / "episodes.jsonl").read_text().splitlines()
    return [line.replace(json.dumps(json.loads(line)["timing"]), "{}") for line in lines]
