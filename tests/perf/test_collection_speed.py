"""Recorded episodes beside bare ones: ``pytest tests/perf/test_collection_speed.py -m perf -s``."""

from __future__ import annotations

import time
from itertools import islice

import pytest

from vlagen.baselines.data.disturbance import Disturbance
from vlagen.baselines.data.recording import Recording
from vlagen.benchmark.actions.wrappers import prepare
from vlagen.benchmark.adapters.expert import ExpertPolicy
from vlagen.benchmark.policy import PolicySpec
from vlagen.benchmark.request import Request
from vlagen.benchmark.rollout import run_episodes
from vlagen.benchmark.stage import find_stage
from vlagen.tasks.draws import training_indices
from vlagen.tasks.episodes import decode
from vlagen.tasks.variants import variant

pytestmark = [pytest.mark.perf, pytest.mark.sim]

ARMS = {"224x224 h264": (224, 224, "h264"), "224x224 png": (224, 224, "png"), "480x640 h264": (480, 640, "h264")}
EPISODES = 6


def test_recording_costs_less_than_a_fifth_of_the_bare_environments_throughput(tmp_path):
    stage = find_stage(Request(policy="expert", rows=("train",), episodes=1), PolicySpec(needs_privileged=True))
    bare = stage.make_simulator()
    policy = prepare(ExpertPolicy(), name="expert")
    arms = {"bare": bare}
    for name, (height, width, codec) in ARMS.items():
        for blind in (True, False):
            arms[f"{name}{'' if blind else ', policy sees'}"] = Recording(
                folder=tmp_path,
                assets="builtin",
                height=height,
                width=width,
                filter="bicubic",
                codec=codec,
                quality=18,
                tail=6,
                drop_small=True,
                disturbance=Disturbance(),
                seed=0,
                blind=blind,
            )(bare)
    row = variant("train")
    episodes = [decode(row, index) for index in islice(training_indices(row, 5), EPISODES)]
    run_episodes(bare, policy, episodes[:1], assets="builtin", seed=0)
    seconds = dict.fromkeys(arms, 0.0)
    for episode in episodes:
        for name, simulator in arms.items():
            # The process's own time, all threads: a busy machine does not count.
            started = time.process_time()
            run_episodes(simulator, policy, [episode], assets="builtin", seed=0)
            seconds[name] += time.process_time() - started
    for name, total in seconds.items():
        print(f"{name:28} {total / EPISODES:.2f} s an episode, {seconds['bare'] / total:.2f} of bare throughput")
    assert min(seconds["bare"] / total for total in seconds.values()) > 0.8
