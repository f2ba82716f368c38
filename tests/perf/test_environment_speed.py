"""How fast the environment is, beside bare SAPIEN in the same run and upstream's own figures (``make bench``).

Upstream's milliseconds are from ``protocol.md`` section 12: the same kind of machine, 2 cores, lavapipe, 640x480.
"""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from tests.perf.timing import take_turns
from tests.tasks.environments import make_environment, needs_pack

pytestmark = [pytest.mark.perf, *needs_pack("rl4vla")]

UPSTREAM_STEP = {"train": 57.3, "semantics/distractor-receptacle": 77.3, "semantics/two-receptacles-unseen": 77.3}
MOST_OF_UPSTREAM = {"train": 0.6, "semantics/distractor-receptacle": 0.5, "semantics/two-receptacles-unseen": 0.5}
UPSTREAM_RESET = 87.0
PHYSICS_STEPS = 100
EPISODES = 3
MEASURE_STEPS = """
import sys, time
from tests.perf.test_environment_speed import Stepper, _floor
stepper = Stepper("train", 0)
stepper = _floor(stepper.episode) if sys.argv[1] == "bare" else stepper
stepper.step()
print("ready", flush=True)
sys.stdin.readline()
start = time.perf_counter()
for _ in range(80):
    stepper.step()
print(80 / (time.perf_counter() - start))
"""


class Stepper:
    """Steps one evaluation episode of a row with small random motions, starting over when it ends."""

    def __init__(self, row: str, position: int, obs_mode: str = "rgb", render_backend: str = "cpu"):
        from vlagen.tasks.sampling import evaluation_episodes
        from vlagen.tasks.variants import variant

        self.env = make_environment("rl4vla", obs_mode=obs_mode, render_backend=render_backend)
        self.episode = evaluation_episodes(variant(row, "rl4vla"), EPISODES)[position]
        self._random = np.random.default_rng(0)
        self.reset(True)

    def reset(self, rebuild: bool) -> None:
        self.env.reset(options={"episodes": [self.episode], "reconfigure": rebuild})

    def step(self) -> None:
        motion = self._random.uniform(-0.004, 0.004, 6)
        self.env.step(np.array([[*motion, 1.0]], dtype=np.float32))


def _floor(episode):
    from tests.perf.bare_scene import BareScene
    from vlagen.assets.packs import load_pack

    pack = load_pack("rl4vla")
    models = [pack.model(*key) for key in episode.models]
    return BareScene(pack.robot_urdf, models)


@pytest.mark.parametrize("row", UPSTREAM_STEP)
def test_control_step_with_its_observation(row):
    ours, floors = [], []
    for position in range(EPISODES):
        stepper = Stepper(row, position)
        bare = _floor(stepper.episode)
        times = take_turns({"ours": stepper.step, "bare": bare.step}, rounds=12, repeats=5)
        ours.append(times["ours"])
        floors.append(times["bare"])
        stepper.env.close()
    step, floor = np.mean(ours), np.mean(floors)
    upstream = UPSTREAM_STEP[row]
    print(f"\n{row}: {step:.1f} ms a step; bare SAPIEN {floor:.1f} ({step / floor:.2f}x); upstream {upstream} ms")
    assert step <= 1.15 * floor
    assert step <= MOST_OF_UPSTREAM[row] * upstream


def _two_workers(what: str) -> float:
    """Control steps a second of two processes together, each with one rendering thread."""
    environment = os.environ | {"LP_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    command, pipe = [sys.executable, "-c", MEASURE_STEPS, what], subprocess.PIPE
    workers = [subprocess.Popen(command, env=environment, text=True, stdin=pipe, stdout=pipe) for _ in range(2)]
    for worker in workers:
        while worker.stdout.readline().strip() != "ready":
            assert worker.poll() is None
    for worker in workers:
        worker.stdin.write("\n")
        worker.stdin.flush()
    return sum(float(worker.communicate()[0]) for worker in workers)


def test_two_workers_together():
    ours, bare = _two_workers("ours"), _two_workers("bare")
    print(f"\ntwo workers: {ours:.1f} control steps a second together; bare SAPIEN {bare:.1f}; upstream 25.5")
    assert ours >= 40


def test_reset_with_its_picture():
    stepper = Stepper("train", 0)
    times = take_turns(
        {"rebuilt": lambda: stepper.reset(True), "fast": lambda: stepper.reset(False)}, rounds=8, repeats=1
    )
    print(f"\nreset: {times['rebuilt']:.0f} ms rebuilt, {times['fast']:.0f} ms not (upstream: 78-{UPSTREAM_RESET:.0f})")
    assert times["rebuilt"] <= 250
    assert times["fast"] <= UPSTREAM_RESET


def test_state_mode():
    stepper = Stepper("train", 0, obs_mode="state_dict", render_backend="none")
    scene = stepper.env.unwrapped.scene

    def physics() -> None:
        for _ in range(PHYSICS_STEPS):
            scene.step()

    times = take_turns({"step": stepper.step, "physics": physics}, rounds=12, repeats=10)
    rate, floor = (1e3 / times[name] for name in ("step", "physics"))
    print(f"\nstate mode: {rate:.0f} control steps a second on one core; physics alone {floor:.0f}")
    assert rate >= 150
