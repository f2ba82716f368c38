"""vlagen's rows inside vla-eval: its own orchestrator and runner, its own server and client, over a socket.

Needs vla-eval beside vlagen in one environment, e.g. ``pip install vla-eval==0.8.0``; docs/vla-eval.md says how.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("vla_eval", reason="vla-eval is not installed (pip install vla-eval)")

import yaml
from vla_eval import api
from vla_eval.model_servers.predict import PredictModelServer
from vla_eval.specs import GRIPPER_CLOSE_POS, IMAGE_RGB, LANGUAGE, POSITION_DELTA, ROTATION_AA, STATE_JOINT

from tests.benchmark import toys
from vlagen.benchmark.actions.formats import express
from vlagen.benchmark.evaluate import Evaluation
from vlagen.benchmark.integrations import vla_eval as integration
from vlagen.benchmark.policy import PolicyError, PolicySpec
from vlagen.benchmark.remote.declarations import UnknownFormat, vla_eval_format
from vlagen.benchmark.request import Request
from vlagen.benchmark.simulator import choose_render_backend
from vlagen.benchmark.stage import find_stage

DOCS = Path(__file__).resolve().parents[3] / "docs"


class ToyBenchmark(integration.VlagenBenchmark):
    """The toy world under vlagen's rows."""

    def _find_stage(self, request):
        return find_stage(request, PolicySpec(), toys.ToySimulator)


class ToyServer(PredictModelServer):
    """Moves by ``pace`` a step in episodes with an even place, and not at all in others."""

    def __init__(self, pace=1 / 64, gripper=-1.0):
        super().__init__()
        self.pace, self.gripper = pace, gripper
        self.seen = []

    def predict(self, obs, ctx):
        self.seen.append(obs)
        action = np.zeros(7, dtype=np.float32)
        action[0], action[6] = self.pace, self.gripper
        return {"actions": action}

    def get_action_spec(self):
        return {"position": POSITION_DELTA, "rotation": ROTATION_AA, "gripper": GRIPPER_CLOSE_POS}

    def get_observation_spec(self):
        return {"primary": IMAGE_RGB, "language": LANGUAGE, "state": STATE_JOINT}


def toy_config(tmp_path, episodes=3, **params):
    return {
        "output_dir": str(tmp_path),
        "render": choose_render_backend(),
        "benchmarks": [
            {
                "benchmark": f"{__name__}:ToyBenchmark",
                "episodes_per_task": episodes,
                "params": {"rows": ["train", "vision/table"], "assets": toys.ASSETS, **params},
            }
        ],
    }


def run(config, server) -> dict:
    """Runs a configuration against a server, each with vla-eval's own code; returns the benchmark's result."""
    with api.serve_background(server) as handle:
        (result,) = api.run({**config, "server": {"url": handle.url}})
    return result


def test_vla_eval_counts_what_vlagen_counts(tmp_path, caplog):
    server = ToyServer()
    result = run(toy_config(tmp_path), server)
    assert [task["task"] for task in result["tasks"]] == ["train", "vision/table"]
    with Evaluation(
        Request(policy=toys.named(toys.SlowPolicy), out=tmp_path / "ours", rows=("train", "vision/table"), episodes=3,
                assets=toys.ASSETS), toys.ToySimulator) as ours:  # fmt: skip
        records = list(ours.play())
    theirs = [episode["metrics"] for task in result["tasks"] for episode in task["episodes"]]
    assert [m["success"] for m in theirs] == [r.success_at_end for r in records] == [True] * 6
    assert [m["trajectory"] for m in theirs] == [r.trajectory for r in records]
    assert [m["episode_return"] for m in theirs] == [r.episode_return for r in records]
    assert {seen["task_description"] for seen in server.seen} == {r.instruction for r in records}
    assert server.seen[0]["images"]["primary"].shape == (32, 48, 3)
    assert server.seen[0]["states"].shape == (8,)
    assert result["mean_success"] == 1.0
    assert not [entry for entry in caplog.records if "mismatch" in entry.getMessage()]


def test_success_is_judged_at_the_last_step_and_not_when_it_is_first_there(tmp_path):
    result = run(toy_config(tmp_path, episodes=1), ToyServer(pace=1 / 8))
    for task in result["tasks"]:
        (episode,) = task["episodes"]
        assert episode["steps"] == 80
        assert (episode["metrics"]["success"], episode["metrics"]["success_once"]) == (False, True)
    assert (result["mean_success"], result["mean_success_once"]) == (0.0, 1.0)


@pytest.mark.parametrize("actions", [{"pace": float("nan")}, {"pace": 10.0}, {"gripper": 7.0}])
def test_an_action_that_cannot_be_meant_is_an_error_of_its_episode(tmp_path, actions):
    result = run(toy_config(tmp_path, episodes=1), ToyServer(**actions))
    for task in result["tasks"]:
        assert task["num_errors"] == 1
        assert task["episodes"][0]["failure_reason"] == "env_step"


@pytest.mark.parametrize("rotation", ["euler_xyz", "axis_angle", "quaternion_xyzw", "rot6d_interleaved"])
@pytest.mark.parametrize("gripper", ["binary_close_positive", "binary_close_negative", "continuous_01"])
def test_every_convention_leads_to_the_same_step(rotation, gripper):
    benchmark = ToyBenchmark(rows="train", assets=toys.ASSETS, rotation=rotation, gripper=gripper)
    benchmark._recorder = _Silent()
    benchmark.reset({"name": "train", "episode_idx": 0})
    meant = np.array([[0.01, -0.02, 0.03, 0.3, -0.2, 0.1, -1.0]])
    sent = express(meant, vla_eval_format(rotation, gripper))[0]
    assert sum(spec.dims for spec in benchmark.get_action_spec().values()) == len(sent)
    np.testing.assert_allclose(benchmark._canonical({"actions": sent}), meant, atol=1e-6)


class _Silent:
    def record_video(self, picture):
        pass


def test_the_hold_action_stays_and_keeps_the_gripper():
    benchmark = ToyBenchmark(rows="train", assets=toys.ASSETS, gripper="continuous_01", rotation="quaternion_xyzw")
    benchmark._recorder = _Silent()
    benchmark.reset({"name": "train", "episode_idx": 0})
    held = benchmark.get_hold_action(None)["actions"]
    np.testing.assert_allclose(held, [0, 0, 0, 0, 0, 0, 1, 1], atol=1e-6)
    closed = benchmark.get_hold_action({"actions": [0.1, 0, 0, 0, 0, 0, 1, 0]})["actions"]
    np.testing.assert_allclose(closed, [0, 0, 0, 0, 0, 0, 1, 0], atol=1e-6)


def test_bad_parameters_say_what_is_allowed():
    with pytest.raises(UnknownFormat, match="unknown rotation 'euler'; did you mean 'euler_xyz'"):
        ToyBenchmark(rotation="euler", assets=toys.ASSETS)
    benchmark = ToyBenchmark(rows="train", assets=toys.ASSETS)
    with pytest.raises(PolicyError, match=r"train has \d+ episodes, and number 1000000000 was asked for"):
        benchmark.reset({"name": "train", "episode_idx": 10**9})
    other = "gpu" if choose_render_backend() == "cpu" else "cpu"
    with pytest.raises(integration.OtherRenderer, match="--render"):
        ToyBenchmark.configure_render(other)


class ReplayServer(PredictModelServer):
    """Sends the actions that an expert chose in each episode."""

    def __init__(self, actions):
        super().__init__()
        self.actions = actions

    async def on_episode_start(self, config, ctx):
        await super().on_episode_start(config, ctx)
        task = config["task"]
        self.rest = list(self.actions[task["name"], task["episode_idx"]])

    def predict(self, obs, ctx):
        return {"actions": self.rest.pop(0)}


class WritingExpert:
    """The scripted expert, noting what it does."""

    def __init__(self):
        from vlagen.benchmark.adapters.expert import ExpertPolicy

        self._expert = ExpertPolicy()
        self.spec = self._expert.spec
        self.actions = []

    def reset(self, episodes):
        self.actions = []
        self._expert.reset(episodes)

    def act(self, observation):
        actions = self._expert.act(observation)
        self.actions.append(actions[0].copy())
        return actions


@pytest.mark.sim
@pytest.mark.slow
def test_the_experts_actions_succeed_through_the_documented_configuration(tmp_path):
    from vlagen.benchmark.actions.wrappers import prepare
    from vlagen.benchmark.backends.put_on_plate import ManiSkillSimulator
    from vlagen.benchmark.rollout import run_episodes
    from vlagen.tasks.sampling import evaluation_episodes
    from vlagen.tasks.variants import variant

    rows = ("vision/texture-strong", "execution/moved-midway")
    expert, simulator = WritingExpert(), ManiSkillSimulator("builtin", choose_render_backend(), privileged=True)
    sent, trajectories = {}, {}
    for row in rows:
        (episode,) = evaluation_episodes(variant(row), 1)
        (record,) = run_episodes(simulator, prepare(expert, name="expert"), [episode], assets="builtin", seed=0)
        assert record.success_at_end
        wanted = vla_eval_format("axis_angle", "binary_close_positive")
        sent[row, 0] = express(np.stack(expert.actions), wanted).astype(np.float64)
        trajectories[row] = record.trajectory
    simulator.close()
    config = yaml.safe_load((DOCS / "vla_eval.yaml").read_text())
    config["output_dir"] = str(tmp_path)
    config["benchmarks"][0]["params"]["rows"] = list(rows)
    config["benchmarks"][0]["episodes_per_task"] = 1
    with api.serve_background(ReplayServer(sent)) as handle:
        config["server"] = {"url": handle.url}
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(config))
        command = "import sys; from vla_eval.cli.main import main; sys.exit(main())"
        arguments = ["run", "-c", str(path), "--no-docker", "--render", choose_render_backend()]
        # In a process of its own, as vla-eval ends it.
        answer = subprocess.run(
            [sys.executable, "-c", command, *arguments], capture_output=True, text=True, timeout=300, check=False
        )
        assert answer.returncode == 0, answer.stderr
    (result,) = [
        json.loads(file.read_text()) for file in tmp_path.rglob("*.json") if "mean_success" in file.read_text()
    ]
    assert result["mean_success"] == 1.0
    assert {task["task"] for task in result["tasks"]} == set(rows)


@pytest.mark.slow
def test_our_server_their_runner_and_our_rows_count_what_one_process_counts(tmp_path):
    """All the way round: ``vlagen-serve`` speaks vla-eval's protocol to vla-eval, which steps vlagen's rows."""
    code = "import sys; from vlagen.benchmark.remote.cli import main; sys.exit(main())"
    served = ["--policy", toys.named(toys.SlowPolicy), "--protocol", "vla-eval", "--port", "0"]
    server = subprocess.Popen(
        [sys.executable, "-c", code, *served],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": ":".join(sys.path), "PYTHONUNBUFFERED": "1"},
    )
    try:
        place = next(found[1] for line in server.stdout if (found := re.search(r"vla-eval://(\S+)", line)))
        (result,) = api.run({**toy_config(tmp_path), "server": {"url": f"ws://{place}"}})
    finally:
        server.terminate()
        server.wait()
    assert result["mean_success"] == 1.0
    assert [task["num_episodes"] for task in result["tasks"]] == [3, 3]
