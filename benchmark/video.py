"""Videos of episodes, as the policy saw them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from vlagen.benchmark.simulator import Simulator, StepResult
from vlagen.tasks.episodes import Episode
from vlagen.tasks.interface import Observation

FRAMES_PER_SECOND = 5
"""The control rate, so that a video plays in real time."""

VideoMode = Literal["none", "failures", "all"]
VIDEO_MODES: tuple[VideoMode, ...] = ("none", "failures", "all")


class RecordingSimulator:
    """Passes everything through to a simulator and keeps the pictures of the running episodes.

    Attributes:
        frames: one array (B, H, W, 3) uint8 a step, the first from before the first action; 74 MB an episode.
    """

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self.frames: list[np.ndarray] = []

    def start(self, episodes: Sequence[Episode]) -> Observation:
        self.frames = []
        return self._keep(self._simulator.start(episodes))

    def step(self, actions: np.ndarray) -> StepResult:
        result = self._simulator.step(actions)
        self._keep(result.observation)
        return result

    def close(self) -> None:
        self._simulator.close()

    def _keep(self, observation: Observation) -> Observation:
        assert observation.rgb is not None, "a recording needs a simulator that renders"
        self.frames.append(observation.rgb)
        return observation


def video_path(folder: Path, row: str, index: int, outcome: str) -> Path:
    """Returns where the video of an episode lies, e.g. ``folder/vision-table/17_failure.mp4``."""
    return folder / row.replace("/", "-") / f"{index}_{outcome}.mp4"


def write_video(path: Path, frames: Sequence[np.ndarray]) -> None:
    """Encodes pictures as H.264.

    Args:
        path: of the mp4 file; appears only when it is complete.
        frames: (T, H, W, 3) uint8 with even H and W.
    """
    import imageio_ffmpeg

    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    height, width, _ = frames[0].shape
    writer = imageio_ffmpeg.write_frames(
        str(temporary), (width, height), fps=FRAMES_PER_SECOND, codec="libx264", macro_block_size=2, quality=7
    )
    writer.send(None)
    for frame in frames:
        writer.send(np.ascontiguousarray(frame))
    writer.close()
    temporary.replace(path)
