"""A toy world that shows where it is, and demonstrations made by hand.

In the toy simulator of the harness's tests a number ``x`` grows by the action's first component, and the object is on
the receptacle while 1 <= x < 3. Here its pictures also tell the episode and the step.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.benchmark.toys import SlowPolicy, ToySimulator
from vlagen.baselines.data.codecs import encode
from vlagen.baselines.data.demonstration import Demonstration
from vlagen.benchmark.policy import PolicyEpisode, PolicySpec
from vlagen.benchmark.simulator import StepResult
from vlagen.tasks.episodes import Episode, decode
from vlagen.tasks.interface import Observation
from vlagen.tasks.variants import variant


class PictureSimulator(ToySimulator):
    """Shows a grey that counts the steps, with a corner whose colour belongs to the episode."""

    def start(self, episodes: Sequence[Episode]) -> Observation:
        self._numbers = [episode.index % 200 for episode in episodes]
        return self._shown(super().start(episodes))

    def step(self, actions: np.ndarray) -> StepResult:
        result = super().step(actions)
        return replace(result, observation=self._shown(result.observation))

    def _shown(self, observation: Observation) -> Observation:
        rgb = observation.rgb.copy()
        for picture, number in zip(rgb, self._numbers, strict=True):
            picture[:16, :24] = (number, 255 - number, 128)
        states = np.zeros((len(rgb), 8), dtype=np.float32)
        states[:, 0] = self._x
        return replace(observation, rgb=rgb, proprioception=states)


def fill_disk(monkeypatch, marker: Path) -> None:
    """Lets every write of a staged episode fail while ``marker`` exists."""
    from vlagen.baselines.data import recording

    write = recording.write_staged

    def fail(path: Path, demonstration: Demonstration) -> None:
        if marker.exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        write(path, demonstration)

    monkeypatch.setattr(recording, "write_staged", fail)


class Mover(SlowPolicy):
    """Moves 1/8 a step until x is 1, then stays: the object is there from step 8 on."""

    spec = PolicySpec(needs_images=False, needs_proprioception=True, light=True)

    def act(self, observation: Observation) -> np.ndarray:
        actions = np.zeros((len(self.episodes), 7), dtype=np.float32)
        actions[:, 0] = np.where(observation.proprioception[:, 0] < 1, 1 / 8, 0)
        actions[:, 6] = 1
        return actions


class HalfMover(Mover):
    """Stays where it is in episodes with an odd index, which therefore fail."""

    def act(self, observation: Observation) -> np.ndarray:
        actions = super().act(observation)
        actions[self.odd, :6] = 0
        return actions


class SeeingMover(Mover):
    """Does the same, but wants to see pictures."""

    spec = PolicySpec(needs_images=True, needs_proprioception=True)


class Sleeper(HalfMover):
    """Takes longer over some episodes, so that workers finish out of order."""

    def reset(self, episodes: Sequence[PolicyEpisode]) -> None:
        import time

        super().reset(episodes)
        time.sleep(episodes[0].seed % 7 / 200)


def named(policy: type) -> str:
    return f"{__name__}:{policy.__name__}"


def images(count: int, seed: int = 0, height: int = 32, width: int = 48) -> np.ndarray:
    """Smooth pictures that move, (count, H, W, 3) uint8."""
    y, x = np.mgrid[:height, :width]
    shift = np.arange(count)[:, None, None] * 3 + 40 * seed
    red = 128 + 100 * np.sin((x + shift) / 9)
    green = 128 + 100 * np.cos((y + shift) / 7)
    return np.stack([red, green, (red + green) / 2], axis=-1).astype(np.uint8)


def demonstration(index: int = 0, frames: int = 5, codec: str = "png", assets: str = "builtin", row: str = "train"):
    """A demonstration with numbers that tell where they belong."""
    generator = np.random.default_rng(index)

    def numbers(width: int) -> np.ndarray:
        return generator.normal(size=(frames, width)).astype(np.float32)

    return Demonstration(
        episode=decode(variant(row), index),
        assets=assets,
        instruction=f"put thing {index % 3} on plate",
        pictures=encode(images(frames, index), codec),
        states=numbers(8),
        gripper_poses=numbers(7),
        actions=numbers(7),
        executed_actions=numbers(7),
        rewards=numbers(1)[:, 0],
        successes=np.arange(frames) == frames - 1,
        steps=2 * np.arange(frames, dtype=np.int64),
        replay=np.tile(numbers(7), (2, 1)),
    )
