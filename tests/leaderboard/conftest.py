from __future__ import annotations

from pathlib import Path

import pytest

from tests.leaderboard.synthetic import write_run
from vlagen.leaderboard.frames import Frames, build_frames
from vlagen.leaderboard.runs import load_runs
from vlagen.leaderboard.tracks import tracks

ROWS = ("train", "vision/table", "vision/noise-weak", "execution/position")

# What can be checked by eye: rates of alpha are 7/8, 3/4, 1/4, 2/4, so vision is 1/2, and held-out 1/2 as well. In
# training, only alpha solved 6 episodes and only beta none: p = 2/64, so that beta is not tied with the best there.
EXAMPLE = {
    "alpha": ("11111110", "1110", "1000", "11o0"),
    "beta": ("10000000", "1000", "0000", "1000"),
}


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """A folder with the runs of ``EXAMPLE``."""
    for policy, marks in EXAMPLE.items():
        write_run(tmp_path / "runs" / policy, dict(zip(ROWS, marks, strict=True)), policy=policy)
    return tmp_path / "runs"


@pytest.fixture
def example_frames(example: Path) -> Frames:
    return frames_of(example)


def frames_of(*paths: Path, names=(), common: bool = False) -> Frames:
    (track,) = tracks(load_runs(paths), names, common=common)
    return build_frames(track, common=common)
