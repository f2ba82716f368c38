"""What the harness adds to stepping environments, how it scales, and how fast a long run is taken up again."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from tests.perf.timing import take_turns
from vlagen.benchmark.evaluate import Evaluation
from vlagen.benchmark.records import read_records, to_line
from vlagen.benchmark.request import Request
from vlagen.tasks.interface import HORIZON
from vlagen.tasks.sampling import evaluation_episodes
from vlagen.tasks.variants import variant

pytestmark = [pytest.mark.perf, pytest.mark.sim]


def test_overhead_of_an_evaluation_over_stepping_the_same_environment(tmp_path):
    import gymnasium

    import vlagen.tasks.registration  # noqa: F401 - registers the environments

    environment = gymnasium.make(
        "vlagen/train-v1", assets="builtin", obs_mode="state_dict", render_backend="none", sim_backend="physx_cpu"
    )
    action = np.array([[0, 0, 0, 0, 0, 0, 1]], dtype=np.float32)
    bare_episodes = iter(evaluation_episodes(variant("train"), 64))

    def bare():
        environment.reset(options={"episodes": [next(bare_episodes)], "reconfigure": True})
        for _ in range(HORIZON):
            environment.step(action)

    request = Request(policy="noop", rows=("train",), episodes=64, out=tmp_path)
    with Evaluation(request) as evaluation:
        playing = evaluation.play()
        times = take_turns({"evaluation": lambda: next(playing), "bare": bare}, rounds=20, repeats=1)
        playing.close()
    environment.close()
    ratio = times["evaluation"] / times["bare"]
    print(
        f"\nan episode without pictures: {times['evaluation'] / 1000:.3f} s; stepping the environment alone "
        f"{times['bare'] / 1000:.3f} s; {100 * (ratio - 1):+.1f}%"
    )
    assert ratio <= 1.05


@pytest.mark.parametrize("backend", ["replicas", "batched"])
def test_workers(tmp_path, backend):
    rates = {}
    for workers in (1, 2, 4):
        kind = "in-process" if workers == 1 else backend
        request = Request(
            policy="noop", rows=("train",), episodes=64, workers=workers, backend=kind, out=tmp_path / str(workers)
        )
        with Evaluation(request) as evaluation:
            ends = [time.perf_counter() for _ in evaluation.play()]
        # From the end of the first batch, as starting the processes takes as long for ten episodes as for a thousand.
        rates[workers] = (len(ends) - workers) / (ends[-1] - ends[workers - 1]) * 60
    print(f"\n{backend}: " + ", ".join(f"{workers} workers {rate:.0f} episodes/min" for workers, rate in rates.items()))
    if backend == "replicas":
        assert rates[2] >= 1.7 * rates[1]


def test_taking_up_ten_thousand_finished_episodes(tmp_path):
    request = Request(policy="noop", rows=("train",), episodes=1, out=tmp_path)
    with Evaluation(request) as evaluation:
        (played,) = evaluation.play()
    rows = [row.id for row in evaluation.rows]
    assert rows == ["train"]
    episodes = evaluation_episodes(variant("train"), 10_000)
    random = np.random.default_rng(0)
    lines = [
        to_line(replace(played, index=episode.index, outcome=outcome, success_at_end=outcome == "success"))
        for episode, outcome in zip(episodes, random.choice(["success", "failure"], 10_000).tolist(), strict=True)
    ]
    (tmp_path / "episodes.jsonl").write_bytes(b"".join(lines))
    run = json.loads((tmp_path / "run.json").read_text())
    run["plan"] = {"train": [episode.index for episode in episodes]}
    (tmp_path / "run.json").write_text(json.dumps(run))

    command = ["-m", "vlagen.benchmark.cli", "--policy", "noop", "--rows", "train", "--out", str(tmp_path)]
    started = time.perf_counter()
    subprocess.run([sys.executable, *command, "--episodes", "10000", "--quiet"], check=True, capture_output=True)
    whole = time.perf_counter() - started

    started = time.perf_counter()
    with Evaluation(replace(request, episodes=10_000)) as evaluation:
        opened = time.perf_counter() - started
        assert not evaluation.missing
        started = time.perf_counter()
        (summary,) = evaluation.summaries()
        summarized = time.perf_counter() - started
    assert summary.n == len(read_records(tmp_path / "episodes.jsonl")[0]) == 10_000
    print(
        f"\n10 000 finished episodes: the command, from its start to its last line and chart, {whole:.2f} s; of this "
        f"opening the run {opened:.2f} s, summary {summarized:.2f} s"
    )
    assert opened < 2
    assert summarized < 1
