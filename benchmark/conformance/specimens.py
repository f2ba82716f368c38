"""Observations to try a policy on: from the simulator where there is one, else made to look like its own."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vlagen.benchmark.simulator import EpisodeLike, Simulator, concatenate
from vlagen.tasks.interface import IMAGE_HEIGHT, IMAGE_WIDTH, Observation

# Joints and gripper as every episode starts with them (`protocol.md` section 1.2).
_HOME = np.array([-0.0184, 0.0399, 0.2224, -0.0046, 1.3652, 0.0015, 0.037, 0.037], dtype=np.float32)
_GRIPPER = np.array([0.2921, -0.0061, 0.1353, 0.6867, 0.0053, 0.7269, -0.0081], dtype=np.float32)
_INSTRUCTIONS = ("put carrot on plate", "put bread on plate", "put plastic bottle on plate")


def synthetic(count: int, pictures: bool) -> list[Observation]:
    """Makes the first observations of episodes, one each (B = 1), that nobody has simulated.

    The picture has a table's colours, two coloured things on it, and what an image sensor adds; it differs from episode
    to episode and is the same every time.

    Args:
        count: number of episodes.
        pictures: whether to make any.
    """
    return [
        Observation(
            rgb=_picture(number)[None].copy() if pictures else None,
            instruction=(_INSTRUCTIONS[number % len(_INSTRUCTIONS)],),
            proprioception=_HOME[None].copy(),
            gripper_pose=_GRIPPER[None].copy(),
            step=0,
        )
        for number in range(count)
    ]


def real(simulator: Simulator, episodes: Sequence[EpisodeLike], count: int) -> list[Observation]:
    """Takes the first observations of episodes, one each (B = 1), again from the first where ``count`` is more."""
    seen = [simulator.start([episode]) for episode in episodes[:count]]
    return [seen[number % len(seen)] for number in range(count)]


def batch(specimens: Sequence[Observation], step: int) -> Observation:
    """Joins first observations (B = 1 each) to one of a batch and lets ``step`` control steps pass: pictures shift."""
    joined = concatenate(specimens)
    rgb = None if joined.rgb is None else np.roll(joined.rgb, step, axis=2)
    return replace(joined, rgb=rgb, step=step)


@functools.cache
def _picture(number: int) -> np.ndarray:
    """Draws one picture (480, 640, 3) uint8."""
    generator = np.random.default_rng(number)
    rows, columns = np.mgrid[:IMAGE_HEIGHT, :IMAGE_WIDTH]
    wood = np.array([150.0, 115.0, 80.0]) + 12 * np.sin(columns / 17 + number)[..., None]
    picture = wood * (0.8 + 0.4 * rows[..., None] / IMAGE_HEIGHT)
    for colour in ((225, 120, 40), (215, 215, 220)):
        row, column = generator.uniform([200, 180], [400, 460])
        inside = ((rows - row) / 35) ** 2 + ((columns - column) / 55) ** 2 < 1
        picture[inside] = colour
    return np.clip(picture + generator.normal(0, 3, picture.shape), 0, 255).astype(np.uint8)
