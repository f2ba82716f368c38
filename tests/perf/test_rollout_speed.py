"""Episodes played to learn from beside the harness's own evaluation, with as many at a time:

``pytest tests/perf/test_rollout_speed.py -m perf -s``.

Both play in step, with the same simulators and the same tiny model; roll-outs also remember what was seen and drawn,
and ask the critic.
"""

from __future__ import annotations

import statistics
import time

import pytest

from vlagen.baselines.openvla.policy import OpenVLAPolicy
from vlagen.baselines.openvla.tiny import make_tiny
from vlagen.baselines.openvla_agent import make_actor_critic
from vlagen.baselines.rollouts import Collector
from vlagen.baselines.sections import ModelSettings, RunSettings, SimulationSettings
from vlagen.baselines.simulation import open_stage
from vlagen.benchmark.actions.wrappers import prepare
from vlagen.benchmark.rollout import run_episodes
from vlagen.tasks.rows import find_row

pytestmark = [pytest.mark.perf, pytest.mark.sim]

AT_A_TIME = 2
ROUNDS = 4


def test_roll_outs_are_played_at_70_percent_of_the_speed_of_an_evaluation_or_more(tmp_path):
    checkpoint = make_tiny(tmp_path / "tiny")
    agent = make_actor_critic(ModelSettings(source=str(checkpoint), dtype="float32", device="cpu", lora_rank=0), 0)
    settings = SimulationSettings(workers=AT_A_TIME)
    stage, simulators = open_stage(settings, RunSettings(evaluate_rows=("train",)), agent.spec)
    (row,) = stage.rows
    collector = Collector(
        agent, simulators, find_row(row.id), assets=stage.assets, seed=0, episodes=AT_A_TIME, temperature=0.6
    )
    policy = prepare(OpenVLAPolicy(str(checkpoint), device="cpu"), name="openvla")
    episodes = row.listing(AT_A_TIME * (ROUNDS + 1))
    seconds: dict[str, list[float]] = {"evaluation": [], "roll-out": []}
    try:
        for turn in range(ROUNDS + 1):
            played = episodes[turn * AT_A_TIME :][:AT_A_TIME]
            started = time.perf_counter()
            run_episodes(simulators.lend(), policy, played, assets=stage.assets, seed=0)
            between = time.perf_counter()
            collector.collect(turn)
            seconds["evaluation"].append(between - started)
            seconds["roll-out"].append(time.perf_counter() - between)
    finally:
        simulators.discard()
    # The first turn starts processes and compiles shaders.
    medians = {name: statistics.median(values[1:]) for name, values in seconds.items()}
    for name, median in medians.items():
        print(f"{name:10} {60 * AT_A_TIME / median:.1f} episodes a minute")
    assert medians["evaluation"] / medians["roll-out"] >= 0.7
