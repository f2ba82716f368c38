"""The study as one command, in the toy world where the object has to be carried to the light."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
for package in ("peft", "accelerate", "pyarrow"):
    pytest.importorskip(package)

from tests.baselines import toys  # noqa: E402 - needs torch
from tests.benchmark.toys import ASSETS  # noqa: E402
from vlagen.baselines import cli, dpo, grpo, ppo, study, study_report  # noqa: E402
from vlagen.baselines.agents import AgentPolicy, NotFinite  # noqa: E402
from vlagen.baselines.loop import NoSignal  # noqa: E402
from vlagen.baselines.openvla.tiny import make_tiny  # noqa: E402
from vlagen.baselines.settings import BadSetting  # noqa: E402
from vlagen.baselines.slots import BadGroups  # noqa: E402
from vlagen.baselines.study_settings import plan_study  # noqa: E402
from vlagen.benchmark.policy import PolicySpec  # noqa: E402
from vlagen.benchmark.records import RunConflict  # noqa: E402

RECIPE = f"""
[model]
lora_rank = 0
dtype = "float32"
device = "cpu"

[simulation]
assets = "{ASSETS}"

[rollouts]
row = "train[objects=0,tables=0]"
episodes = 8

[optimizer]
learning_rate = 1e-3
micro_batch = 16
accumulate = 1

[run]
updates = 2
evaluate_every = 1
evaluate_rows = ["train[objects=0,tables=0]"]
evaluate_episodes = 8

[grpo]
group_size = 4

[dpo]
group_size = 4

[sft]
precision = "no"
adamw.learning_rate = 5e-3
adamw.batch = 16
adamw.max_gradient_norm = 1.0
held_out = 2
validate_every = 0
run.evaluate_every = 0
run.updates = 40

[warmup]
demonstrations = 4
run.updates = 20

[demonstrations]
policy = "{__name__}:Carrier"
episodes = 10
image_size = "28x28"
codec = "png"
small_actions = "keep"
tail = 3

[evaluation]
rows = ["train", "vision/table", "semantics/object", "execution/position"]
episodes = 8
policy_args = ["device=cpu"]
"""


class Carrier:
    """Carries the object to the light."""

    spec = PolicySpec(needs_images=True, light=True)

    def reset(self, episodes):
        pass

    def act(self, observation):
        actions = np.zeros((len(observation.rgb), 7), dtype=np.float32)
        right = observation.rgb[:, 0, -1, 0] > 0
        actions[:, 0] = np.where(right, 0.1, -0.1)
        actions[:, 6] = -1
        return actions


class ToyPolicy(AgentPolicy):
    """A saved toy agent as ``vlagen-eval`` takes it."""

    def __init__(self, checkpoint: str, device: str = "cpu") -> None:
        super().__init__(loaded(checkpoint), 0.6)


def loaded(checkpoint, critic=False):
    agent = toys.ToyAgent(critic=critic)
    state = torch.load(checkpoint, weights_only=True)
    agent.module.load_state_dict({k: v for k, v in state.items() if critic or "critic" not in k}, strict=False)
    return agent


class SavingAgent(toys.ToyAgent):
    def save(self, folder):
        super().save(folder)
        content = {"policy": f"{__name__}:ToyPolicy", "policy_args": {"checkpoint": "toy.pt"}}
        (folder / "policy.json").write_text(json.dumps(content), encoding="utf-8")


def trainer(module, critic=False, played=None):
    """A method with toy agents that go on from the warm-up's."""

    def make_agent(model, seed):
        agent = SavingAgent(seed, critic)
        agent.module.load_state_dict(torch.load(model.source, weights_only=True), strict=False)
        return agent

    def train(config, make_simulator=None):
        if played is not None:
            played.append((config.run.entry, config.run.seed))
        return module.main(config, make_agent, make_simulator)

    return train


def stand_ins(played=None, **others):
    """Toy agents for all methods; what takes demonstrations only notes that it was called."""

    def imitate(config, make_simulator=None):
        if played is not None:
            played.append((config.run.entry, config.run.seed))
        folder = config.run.out / "models" / f"{config.run.updates:06d}"
        folder.mkdir(parents=True)
        SavingAgent(config.run.seed, critic=False).save(folder)
        return config.run.out

    made = {
        "sft": imitate,
        "ppo": trainer(ppo, critic=True, played=played),
        "grpo": trainer(grpo, played=played),
        "dpo": trainer(dpo, played=played),
    }
    return {**made, **others}


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


@pytest.fixture
def plan(recipe, tmp_path):
    def make(*overrides):
        return plan_study(recipe, (f"study.out={tmp_path / 'study'}", *overrides))

    return make


def run(plan, trainers=None, make_simulator=toys.LampSimulator):
    return study.main(plan, make_simulator, trainers=trainers or stand_ins())


@pytest.fixture
def quick_leaderboard(monkeypatch):
    """The leaderboard's tables and figures take seconds, and have tests of their own."""

    def ask(arguments):
        if arguments[0] == "compare":
            Path(arguments[arguments.index("--json") + 1]).write_text('{"verdict": "told"}', encoding="utf-8")
        return []

    monkeypatch.setattr(study_report, "_ask", ask)


quick = pytest.mark.usefixtures("quick_leaderboard")

FEW = ("study.methods=['ppo']", "evaluation.rows=['vision/table']")


@pytest.mark.slow
def test_the_study_runs_from_demonstrations_to_the_leaderboard(recipe, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    sizes = {"image_size": 28, "vision_width": 16, "vision_depth": 2, "vision_heads": 2, "fused": False}
    tiny = make_tiny(tmp_path / "tiny", width=32, depth=2, heads=2, hidden=64, **sizes)
    out = tmp_path / "study"
    few = ["run.updates=1", "run.evaluate_every=0", "evaluation.episodes=4", "study.methods=['sft','grpo']"]
    arguments = ["study", "--recipe", str(recipe), "--set", f"study.out={out}", f"model.source={tiny}", *few]
    assert cli.main(arguments, toys.LampSimulator) == cli.COMPLETE
    printed = capsys.readouterr().out
    assert max(map(len, printed[printed.index("In distribution is") :].split("\n\n")[1].splitlines())) <= 80
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert [(line["entry"], line["outcome"]) for line in report["lines"]] == [
        ("warm-up", "complete"),
        ("SFT", "complete"),
        ("GRPO", "complete"),
    ]
    assert [line["held_out"]["rows"] for line in report["lines"]] == [3, 3, 3]
    # Few demonstrations and many, both trained on: 4 for the warm-up, and for SFT all but those held out.
    statistics = [
        json.loads(next((out / stage / "seed-0/models").rglob("dataset_statistics.json")).read_text())["sft"]
        for stage in ("warm-up", "sft")
    ]
    assert [entry["num_trajectories"] for entry in statistics] == [4, 8]
    figures = {path.name for path in (out / "leaderboard/figures").glob("*.png")}
    assert {"rows.png", "axes.png", "radar.png", "learning.png"} <= figures
    assert (out / "leaderboard/index.html").exists()
    started = json.loads((out / "grpo/seed-0/run.json").read_text())["settings"]["model.source"]
    assert Path(started) == out / "warm-up/seed-0/models/000020/model"


class Stopped(toys.LampSimulator):
    """Is stopped by Ctrl-C when it has been started so many times."""

    left = 0

    def start(self, episodes):
        Stopped.left -= 1
        if Stopped.left < 0:
            raise KeyboardInterrupt
        return super().start(episodes)


def records(out):
    kept = ("row", "index", "outcome", "trajectory", "episode_return")
    found = {}
    for file in sorted((out / "evaluations").rglob("episodes.jsonl")):
        lines = map(json.loads, file.read_text(encoding="utf-8").splitlines())
        found[str(file.relative_to(out))] = [{name: line[name] for name in kept} for line in lines]
    return found


@quick
def test_a_study_that_was_stopped_anywhere_goes_on(plan, tmp_path):
    whole = plan(f"study.out={tmp_path / 'whole'}", *FEW)
    run(whole)
    # In the collection, the warm-up's evaluation, PPO's roll-outs and its evaluation, and often enough to end.
    begun, played = [], []
    for budget in (1, 2, 3, 2, 2, 99):
        Stopped.left = budget
        try:
            run(plan(*FEW), stand_ins(begun), Stopped)
        except KeyboardInterrupt:
            continue
        played.append(budget)
    assert played == [99]
    assert begun.count(("warm-up", 0)) == 1
    assert begun.count(("PPO", 0)) > 1
    assert records(tmp_path / "study") == records(tmp_path / "whole")
    weights = [
        torch.load(tmp_path / name / "ppo/seed-0/models/000002/toy.pt", weights_only=True)
        for name in ("study", "whole")
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@quick
def test_what_is_finished_is_not_trained_again(plan, tmp_path):
    run(plan(*FEW))
    begun = []
    run(plan(*FEW, "simulation.workers=1"), stand_ins(begun))
    assert begun == []
    # More of the same: another seed, another method, more updates.
    report = run(
        plan(FEW[1], "study.methods=['ppo','dpo']", "study.seeds=[0,5]", "ppo.run.updates=3"), stand_ins(begun)
    )
    assert begun == [("PPO", 0), ("DPO", 0), ("PPO", 5), ("DPO", 5)]
    assert [(line.entry, line.seed) for line in report.lines] == [
        ("warm-up", 0),
        ("PPO", 0),
        ("DPO", 0),
        ("PPO", 5),
        ("DPO", 5),
    ]
    assert report.is_whole
    assert (tmp_path / "study/superseded/ppo-seed-0-1/episodes.jsonl").exists()
    assert report.verdicts == ("told", "told")


@quick
def test_each_seed_may_have_a_warm_up_of_its_own(plan):
    begun = []
    run(plan(*FEW, "study.shared_warmup=false", "study.seeds=[0,1]"), stand_ins(begun))
    assert begun == [("warm-up", 0), ("warm-up", 1), ("PPO", 0), ("PPO", 1)]


@quick
def test_demonstrations_and_a_warm_up_may_be_there_already(plan, tmp_path):
    run(plan(*FEW))
    warmed = tmp_path / "study/warm-up/seed-0/models/000020"
    begun, other = [], tmp_path / "other"
    given = (f"study.warmup={warmed}", f"study.out={other}")
    report = run(plan(*FEW, *given), stand_ins(begun))
    assert begun == [("PPO", 0)]
    assert not (other / "demonstrations").exists()  # nothing needs them
    assert [line.entry for line in report.lines] == ["warm-up", "PPO"]
    assert records(other) == records(tmp_path / "study")
    third = (f"study.data={tmp_path / 'study/demonstrations'}", f"study.out={tmp_path / 'third'}")
    run(plan(*FEW, *third), stand_ins(begun))
    assert begun[1:] == [("warm-up", 0), ("PPO", 0)]
    assert not (tmp_path / "third/demonstrations").exists()


def nothing_to_learn(config, make_simulator=None):
    """GRPO with toy agents in a world that never rewards."""

    class Unfair(toys.LampSimulator):
        def step(self, actions):
            result = super().step(actions)
            return replace(result, reward=result.reward * 0, success=result.success & False)

    return trainer(grpo)(replace(config, run=replace(config.run, patience=1)), Unfair)


@quick
def test_a_method_without_signal_is_told_and_the_others_go_on(plan, tmp_path):
    both = ("study.methods=['grpo','ppo']", FEW[1])
    report = run(plan(*both), stand_ins(grpo=nothing_to_learn))
    assert [(line.entry, line.outcome) for line in report.lines][1:] == [("GRPO", "no signal"), ("PPO", "complete")]
    (problem,) = report.problems
    assert problem.startswith("GRPO, seed 0: no signal. 1 updates in a row had nothing to learn from")
    assert "GRPO, seed 0 (no signal)" in (tmp_path / "study/report.md").read_text(encoding="utf-8")
    # It is the warm-up's policy still, so it did as well.
    gain = report.lines[1].held_out_gain
    assert gain.pairs == 8
    begun = []
    run(plan(*both), stand_ins(begun))
    assert begun == []


@quick
def test_a_study_may_stop_where_a_method_has_no_signal(plan):
    both = ("study.methods=['grpo','ppo']", FEW[1], "study.on_no_signal=stop")
    begun = []
    for _ in range(2):
        with pytest.raises(NoSignal, match=r"GRPO, seed 0: .* study\.on_no_signal=continue"):
            run(plan(*both), stand_ins(begun, grpo=nothing_to_learn))
    assert begun == [("warm-up", 0)]


@quick
def test_a_method_that_breaks_off_is_reported_and_tried_again(plan):
    def broken(config, make_simulator=None):
        raise NotFinite("the loss is nan")

    both = ("study.methods=['ppo','dpo']", FEW[1])
    report = run(plan(*both), stand_ins(ppo=broken))
    assert not report.is_whole
    assert [(line.entry, line.outcome, line.held_out is None) for line in report.lines] == [
        ("warm-up", "complete", False),
        ("PPO", "broken off", True),
        ("DPO", "complete", False),
    ]
    assert report.problems == ("PPO, seed 0: broken off. the loss is nan",)
    assert run(plan(*both)).is_whole


def test_gains_are_over_the_warm_up_on_the_same_episodes(plan, tmp_path):
    report = run(plan(*FEW, "study.seeds=[0,1]"))
    warmup, ppo_ = (
        {
            (line["row"], line["index"]): line["success_at_end"]
            for line in map(
                json.loads, (tmp_path / f"study/evaluations/{name}/seed-0/episodes.jsonl").read_text().splitlines()
            )
        }
        for name in ("warm-up", "ppo")
    )
    table = [key for key in warmup if key[0] == "vision/table"]
    gain = report.lines[1].held_out_gain
    assert gain.better == sum(ppo_[key] and not warmup[key] for key in table)
    assert gain.worse == sum(warmup[key] and not ppo_[key] for key in table)
    assert gain.difference == pytest.approx((gain.better - gain.worse) / 8)
    # The leaderboard has both seeds as one entry, and says in words what that comes to.
    rows = json.loads((tmp_path / "study/leaderboard/leaderboard.json").read_text(encoding="utf-8"))["rows"]
    assert {(row["entry"], row["seeds"]) for row in rows} == {("warm-up", 1), ("PPO", 2)}
    (verdict,) = report.verdicts
    assert "PPO" in verdict
    assert "paired episodes of 1 row" in verdict


def test_bad_input_is_told_before_anything_is_played(plan, recipe, tmp_path):
    with pytest.raises(BadSetting, match=r"unknown method in study\.methods 'pppo'; did you mean 'ppo'"):
        plan("study.methods=['pppo']")
    with pytest.raises(BadSetting, match="did you mean 'discount'"):
        plan("ppo.discont=1")
    with pytest.raises(BadSetting, match=r"evaluation.seed follows from the study's other settings"):
        plan("evaluation.seed=1")
    with pytest.raises(BadSetting, match=r"grpo.rollouts.row: all of a study train on one row"):
        plan("grpo.rollouts.row=train")
    with pytest.raises(BadGroups, match="8 episodes in groups of 3"):
        plan("grpo.group_size=3")
    with pytest.raises(BadSetting, match=r"dpo.simulation: rl4vla .*; all methods of a study play vlagen-v1"):
        plan("dpo.simulation.suite=rl4vla")
    with pytest.raises(BadSetting, match=r"study.seeds = \[1, 1\]; allowed: one or more, each once"):
        plan("study.seeds=[1,1]")
    assert not (tmp_path / "study").exists()


@quick
def test_a_folder_with_another_study_is_refused(plan, monkeypatch):
    run(plan(*FEW))
    with pytest.raises(RunConflict, match=r"row is 'train\[objects=0,tables=0\]' there and 'train' here"):
        run(plan(*FEW, "rollouts.row=train"))
    with pytest.raises(RunConflict, match=r"holds another run: discount is 0\.99 there and 0\.5 here"):
        run(plan(*FEW, "ppo.discount=0.5"))
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(BadSetting, match="a study runs in one process"):
        run(plan(*FEW))


@pytest.mark.parametrize("name", ["tiny", "rl4vla"])
def test_the_recipes_are_studies(name):
    plan = plan_study(name)
    assert tuple(plan.stages) == ("warmup", "sft", "ppo", "grpo", "dpo")
    assert plan.row in plan.collect.rows
    assert plan.row in plan.evaluation.rows
    warmup, sft = plan.stages["warmup"], plan.stages["sft"]
    assert 0 < warmup.demonstrations < plan.collect.episodes - sft.held_out
    assert {stage.model.source for stage in plan.stages.values()} <= {"tiny", "openvla/openvla-7b", ""}
    assert plan.evaluation.workers == plan.stages["ppo"].simulation.workers


@quick
def test_a_stage_leaves_a_recipe_by_itself(plan, tmp_path):
    run(plan("study.methods=['dpo']", FEW[1]))
    own = cli.configure(dpo.Config, "dpo", tmp_path / "study/dpo/seed-0/recipe.toml")
    assert own.run.out == tmp_path / "study/dpo/seed-0"
    assert own.group_size == 4
    assert own.model.source == str(tmp_path / "study/warm-up/seed-0/models/000020/toy.pt")
    assert [own.run.entry, own.rollouts.row] == ["DPO", "train[objects=0,tables=0]"]
