"""What a policy server on the same machine adds to a step, and what batching across sessions brings."""

from __future__ import annotations

import contextlib
import os
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from vlagen.benchmark.loading.source import find_policy
from vlagen.benchmark.policy import PolicyEpisode, PolicySpec
from vlagen.benchmark.remote.link import PROTOCOLS
from vlagen.tasks.interface import Observation

pytestmark = pytest.mark.perf

ROOT = Path(__file__).resolve().parents[2]
MODEL_SECONDS = 0.02


class StillPolicy:
    """Looks at a picture and does nothing, at once."""

    spec = PolicySpec()

    def begin(self, episode: PolicyEpisode) -> PolicyEpisode:
        return episode

    def act_on(self, observation: Observation, memories: Sequence[PolicyEpisode]) -> np.ndarray:
        return np.zeros((len(memories), 7), dtype=np.float32)

    def reset(self, episodes: Sequence[PolicyEpisode]) -> None:
        self._episodes = episodes

    def act(self, observation: Observation) -> np.ndarray:
        return self.act_on(observation, self._episodes)


class SlowModelPolicy(StillPolicy):
    """Takes 20 ms for a batch of any size, as a model does whose weights are read once."""

    spec = PolicySpec()

    def act_on(self, observation: Observation, memories: Sequence[PolicyEpisode]) -> np.ndarray:
        time.sleep(MODEL_SECONDS)
        return super().act_on(observation, memories)


@contextlib.contextmanager
def serving(policy: str, protocol: str, *options: str) -> Iterator[str]:
    """Runs ``vlagen-serve`` in a process of its own and yields the address."""
    command = [sys.executable, "-m", "vlagen.benchmark.remote.cli", "--policy", f"{__name__}:{policy}"]
    process = subprocess.Popen(
        [*command, "--protocol", protocol, "--port", "0", *options],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield re.search(r"\S+://\S+", process.stdout.readline())[0]
    finally:
        process.terminate()
        process.wait()


def observation(count: int, size: tuple[int, int]) -> Observation:
    pictures = np.random.default_rng(0).integers(0, 256, (count, *size, 3), dtype=np.uint8)
    zeros = np.zeros((count, 8), dtype=np.float32)
    return Observation(rgb=pictures, instruction=("go",) * count, proprioception=zeros, gripper_pose=None, step=0)


def sessions(address: str, count: int):
    policy = find_policy(address).make()
    policy.reset([PolicyEpisode("go", seed) for seed in range(count)])
    return policy


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_server_adds_little_to_a_step(protocol):
    seen = observation(1, (480, 640))
    with serving("StillPolicy", protocol) as address:
        policy = sessions(address, 1)
        times = []
        for _ in range(300):
            started = time.perf_counter()
            policy.act(seen)
            times.append(1e3 * (time.perf_counter() - started))
        policy.close()
    median = statistics.median(times)
    print(
        f"\n{protocol}: one step with a 640x480 picture: median {median:.2f} ms, 90% {np.quantile(times, 0.9):.2f} ms"
    )
    assert median <= 4


@pytest.mark.parametrize("size", [(224, 224), (480, 640)])
@pytest.mark.parametrize("apart", [False, True], ids=["in-step", "apart"])
def test_sessions_are_batched(size, apart):
    """``apart``: each session goes its own way in a thread of its own; else one client asks for all at once."""
    rates = {}
    # Sessions apart soon ask in turns, half of them while the model works for the others, unless they are waited for.
    options = ("--max-wait", "20") if apart else ()
    with serving("SlowModelPolicy", "openpi", *options) as address:
        for count in (1, 16):
            if apart:
                rates[count] = rate_apart(address, count, size)
            else:
                policy, seen = sessions(address, count), observation(count, size)
                policy.act(seen)
                started = time.perf_counter()
                for _ in range(50):
                    policy.act(seen)
                rates[count] = 50 * count / (time.perf_counter() - started)
                policy.close()
    gain = rates[16] / rates[1]
    print(
        f"\n{size[1]}x{size[0]}, {'apart' if apart else 'in step'}: 1 session {rates[1]:.1f} steps/s, 16 sessions "
        f"{rates[16]:.1f} steps/s, {gain:.1f} times"
    )
    # Sixteen clients apart are threads of this one process here, which is busy sending large pictures by itself.
    if size == (224, 224) or not apart:
        assert gain >= 8


def rate_apart(address: str, count: int, size: tuple[int, int], steps: int = 50) -> float:
    policies = [sessions(address, 1) for _ in range(count)]
    seen = observation(1, size)

    def play(policy) -> None:
        for _ in range(steps):
            policy.act(seen)

    threads = [threading.Thread(target=play, args=(policy,)) for policy in policies]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - started
    for policy in policies:
        policy.close()
    return steps * count / seconds
