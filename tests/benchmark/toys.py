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

import numpy as np

from vlagen.benchmark.evaluate import Evaluation, Request
from vlagen.benchmark.policy import PolicyEpisode, PolicySpec
from vlagen.benchmark.simulator import StepResult
from vlagen.tasks.episodes import Episode
from vlagen.tasks.interface import Observation

ASSETS = "rl4vla"  # its manifest alone, which is always there, is enough: the toy world opens no file


class ToySimulator:
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
        )

    def close(self) -> None:
        pass

    def _observe(self) -> Observation:
        return Observation(
            rgb=np.full((len(self._x), 32, 48, 3), self._step, dtype=np.uint8),
            instruction=self._instruction,
            proprioception=np.zeros((len(self._x), 8), dtype=np.float32),
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
    def is_odd(self) -> bool:
        return int(self.episodes[0].instruction.split()[-1]) % 2 == 1


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
        return np.stack([generator.uniform(-0.1, 0.3, 7) for generator in self._generators])


class NanPolicy(SlowPolicy):
    """Returns NaN at step 3 of episodes with an odd index."""

    def act(self, observation: Observation) -> np.ndarray:
        actions = super().act(observation)
        if self.is_odd and observation.step == 3:
            actions[0, 4] = np.nan
        return actions


class RaisingPolicy(SlowPolicy):
    """Raises at step 5 of episodes with an odd index."""

    def act(self, observation: Observation) -> np.ndarray:
        if self.is_odd and observation.step == 5:
            raise ZeroDivisionError("toy trouble")
        return super().act(observation)


class DyingPolicy(SlowPolicy):
    """Kills its process in episodes with an odd index."""

    def reset(self, episodes: Sequence[PolicyEpisode]) -> None:
        super().reset(episodes)
        if self.is_odd:
            os.kill(os.getpid(), signal.SIGKILL)


class DyingOncePolicy(SlowPolicy):
    """Kills its process the first time it is asked anything, as the file named by TOY_MARKER remembers."""

    def reset(self, episodes: Sequence[PolicyEpisode]) -> None:
        super().reset(episodes)
        marker = Path(os.environ["TOY_MARKER"])
        if not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)


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
