"""What a second worker under Ray is worth on this machine."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

import pytest

from vlagen.benchmark.evaluate import Evaluation
from vlagen.benchmark.request import Request

ray = pytest.importorskip("ray", reason="Ray is not installed (the extra `ray`)")

EPISODES = 8
ROUNDS = 3


@pytest.fixture(scope="module")
def machine():
    ray.shutdown()
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


def episodes_per_second(workers: int, out: Path) -> float:
    """From the first records on, so that the workers' start is left out."""
    request = Request(policy="random", out=out, rows=("train",), episodes=EPISODES * workers, backend="ray",
                      workers=workers)  # fmt: skip
    with Evaluation(request) as evaluation:
        ended = [time.perf_counter() for _ in evaluation.play()]
    return (len(ended) - workers) / (ended[-1] - ended[workers - 1])


@pytest.mark.sim
@pytest.mark.perf
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one processor")
def test_two_workers_under_ray_are_worth_more_than_one_and_a_half(machine, tmp_path):
    ratios = []
    for number in range(ROUNDS):
        one, two = (episodes_per_second(workers, tmp_path / f"{number}-{workers}") for workers in (1, 2))
        ratios.append(two / one)
        print(f"\none worker {one:.2f} episodes/s, two {two:.2f}: {ratios[-1]:.2f} times", end="")
    assert statistics.median(ratios) >= 1.6
