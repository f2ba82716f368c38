"""Several processes that train one policy: what is learned is what one process learns."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from tests.baselines import toys  # noqa: E402 - needs torch
from vlagen.baselines import dpo, grpo, ppo  # noqa: E402
from vlagen.baselines.processes import ALONE, OutOfStep, Processes, join  # noqa: E402
from vlagen.baselines.sections import ModelSettings  # noqa: E402
from vlagen.baselines.settings import BadSetting  # noqa: E402
from vlagen.baselines.training import read_metrics  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]

# The method, what its agent is made by, and its own settings: an odd number of episodes to share, groups that are split
# between the processes, and a last step with a single control step in it, of which one process has nothing.
METHODS = {
    "ppo": (ppo, toys.make_actor_critic, {"rollouts": {"episodes": 9}, "optimizer": {"micro_batch": 53}}, {}),
    "grpo": (grpo, toys.make_actor, {"rollouts": {"episodes": 12}}, {"group_size": 4}),
    "dpo": (
        dpo,
        toys.make_actor,
        {"rollouts": {"episodes": 9}, "optimizer": {"micro_batch": 4}},
        {"group_size": 3, "pairs_per_step": 3},
    ),
}


class FlakySimulator(toys.LampSimulator):
    """Never plays some episodes, all of which fall to the second of two processes."""

    capacity = 1

    def start(self, episodes):
        if episodes[0].index % 7 == 0:
            raise RuntimeError("this episode cannot be played")
        return super().start(episodes)


def train(method, out, updates):
    module, make_agent, sections, own = METHODS[method]
    kept = {"checkpoint_every": updates, "evaluate_every": 1, "evaluate_episodes": 5}
    config = module.Config(**toys.settings(out, updates=updates, **sections, **kept), **own)
    module.main(config, make_agent, FlakySimulator)


def launch(method, out, updates):
    """Trains in two processes, as torchrun starts them."""
    call = f"from tests.baselines.test_processes import *; train({method!r}, Path({str(out)!r}), {updates})"
    script = out.parent / "train.py"
    script.write_text(call, encoding="utf-8")
    start = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone", str(script)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(start, capture_output=True, text=True, timeout=300, check=False, env=environment)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.filterwarnings("ignore:.*episodes are tried again")
def test_two_processes_learn_what_one_does(method, tmp_path):
    train(method, tmp_path / "one", 4)
    launch(method, tmp_path / "two", 2)
    launch(method, tmp_path / "two", 4)  # goes on
    one, two = (torch.load(tmp_path / name / "models/000004/toy.pt", weights_only=True) for name in ("one", "two"))
    start = (METHODS[method][1])(None, 0).module.state_dict()
    assert any(not torch.equal(one[name], start[name]) for name in one)
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, atol=1e-5, rtol=1e-4)
    logged = [read_metrics(tmp_path / name) for name in ("one", "two")]
    assert sum(line.get("episodes_lost", 0) for line in logged[0]) > 0
    timed = ("seconds", "memory", "time")
    for alone, shared in zip(*logged, strict=True):
        for name, value in alone.items():
            if not name.startswith(timed) and not name.endswith("per_second"):
                assert shared[name] == pytest.approx(value, rel=1e-3, abs=1e-5), name


@pytest.mark.parametrize(("items", "count"), [(9, 2), (1, 3), (0, 2), (64, 8)])
def test_shares_in_the_order_of_ranks_are_the_whole(items, count):
    shares = [Processes(rank=rank, count=count).block(range(items)) for rank in range(count)]
    assert [item for share in shares for item in share] == list(range(items))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_one_process_changes_nothing():
    weight = torch.nn.Parameter(torch.ones(2))
    ALONE.add_gradients([weight])
    assert weight.grad is None
    assert ALONE.gathered(3) == [3]
    assert ALONE.placed(ModelSettings(device="auto")).device == "auto"


def test_processes_that_differ_are_told():
    class Strangers(Processes):
        def gathered(self, own):
            return [own, own + 1]

    with pytest.raises(OutOfStep, match=r"differ in finished updates: 3, 4; .* a run\.out that all of them see"):
        Strangers().check_alike("finished updates", 3)
    ALONE.check_alike("finished updates", 3)


def test_weights_spread_over_processes_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(BadSetting, match="needs the whole model in each process"):
        join("cpu")
