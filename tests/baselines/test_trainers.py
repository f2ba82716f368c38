import csv
import json
import math
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402

from tests.baselines import toys  # noqa: E402 - needs torch
from tests.benchmark.toys import ASSETS  # noqa: E402
from vlagen.baselines import dpo, grpo, losses, ppo  # noqa: E402
from vlagen.baselines.agents import NotFinite  # noqa: E402
from vlagen.baselines.learning import Learner, minibatches, shuffled  # noqa: E402
from vlagen.baselines.loop import NoSignal  # noqa: E402
from vlagen.baselines.rollouts import Collector, SimulatorKeeper  # noqa: E402
from vlagen.baselines.settings import BadSetting  # noqa: E402
from vlagen.baselines.slots import BadGroups  # noqa: E402
from vlagen.baselines.training import read_metrics  # noqa: E402
from vlagen.benchmark.records import RunConflict, UnwritableRun  # noqa: E402
from vlagen.leaderboard.figures import CURVE_COLUMNS  # noqa: E402
from vlagen.tasks.variants import variant  # noqa: E402

# The method, what its agent is made by, and what it needs to learn the toy world within a second.
METHODS = {
    "ppo": (ppo, toys.make_actor_critic, {}),
    "grpo": (grpo, toys.make_actor, {}),
    "dpo": (dpo, toys.make_actor, {"pairs_per_group": 3, "beta": 0.3}),
}


@pytest.fixture(autouse=True)
def _one_thread():
    # On matrices this small, threads only wait for each other.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def train(method, out, *, own=None, make_agent=None, make_simulator=toys.LampSimulator, **settings):
    """Trains on the toy world; returns what became of the agent's weights."""
    module, make, needs = METHODS[method]
    agents = []

    def noted(*arguments):
        agents.append((make_agent or make)(*arguments))
        return agents[0]

    config = module.Config(**toys.settings(out, **settings), **{**needs, **(own or {})})
    assert module.main(config, noted, make_simulator) == out
    return {name: weight.clone() for name, weight in agents[0].module.state_dict().items()}


def same(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def rollouts_of(agent, **changes):
    arguments = {"assets": ASSETS, "seed": 0, "episodes": 16, "group_size": 8} | changes
    return Collector(agent, SimulatorKeeper(toys.LampSimulator), variant("train"), **arguments).collect(0)


# --- learning


@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns_the_toy_world(method, tmp_path):
    train(method, tmp_path, updates=10, evaluate_every=10, evaluate_episodes=32, rollouts={"episodes": 32})
    before, after = [line for line in read_metrics(tmp_path) if "evaluation/in-distribution" in line]
    assert (before["step"], after["step"]) == (0, 10)
    assert before["evaluation/in-distribution"] < 0.5
    assert after["evaluation/in-distribution"] > 0.9


def test_the_studys_grpo_learns_too(tmp_path):
    own = {"advantage": "nonzero-steps", "group_size": 32, "same_start": False}
    train("grpo", tmp_path, own=own, updates=10, rollouts={"episodes": 32})
    first, *_, last = read_metrics(tmp_path)
    assert first["success"] < 0.5
    assert last["success"] > 0.7


@pytest.mark.parametrize("method", METHODS)
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(method, tmp_path):
    whole = train(method, tmp_path / "whole", updates=4)
    train(method, tmp_path / "parts", updates=2)
    assert same(train(method, tmp_path / "parts", updates=4), whole)

    def numbers(folder):
        kept = ("step", "success", "gradient_norm", "environment_steps")
        return [{name: line[name] for name in kept if name in line} for line in read_metrics(folder)]

    assert numbers(tmp_path / "parts") == numbers(tmp_path / "whole")


class StoppingSimulator(toys.LampSimulator):
    """Is stopped by Ctrl-C in the middle of the roll-out whose number ``left`` counts down to."""

    left = math.inf

    def start(self, episodes):
        StoppingSimulator.left -= 1
        if StoppingSimulator.left < 0:
            raise KeyboardInterrupt
        return super().start(episodes)


def test_ctrl_c_in_the_middle_of_an_update_costs_that_update_only(tmp_path):
    whole = train("ppo", tmp_path / "whole", updates=4)
    StoppingSimulator.left = 5  # two batches to an update: stops in the third
    with pytest.raises(KeyboardInterrupt):
        train("ppo", tmp_path / "stopped", updates=4, make_simulator=StoppingSimulator)
    assert [line["step"] for line in read_metrics(tmp_path / "stopped")] == [1, 2]
    assert same(train("ppo", tmp_path / "stopped", updates=4), whole)


def test_another_seed_is_another_run(tmp_path):
    assert not same(train("ppo", tmp_path / "a", updates=1), train("ppo", tmp_path / "b", updates=1, seed=1))


# --- PPO


def batch_of(agent, rollouts, **own):
    config = ppo.Config(**toys.settings("unused"), **own)
    return ppo.prepare(agent, rollouts, config), config


def test_before_the_first_update_every_ratio_is_one(monkeypatch):
    agent = toys.ToyAgent()
    rollouts = rollouts_of(agent)
    (batch, _), config = batch_of(agent, rollouts)
    moved = []
    measured = losses.clipped_policy_loss

    def noting(now, old, *arguments, **options):
        moved.append((now - old).abs().max())
        return measured(now, old, *arguments, **options)

    monkeypatch.setattr(losses, "clipped_policy_loss", noting)
    # One optimizer step for everything, so that no weight has moved when a ratio is formed.
    config = replace(config, optimizer=replace(config.optimizer, accumulate=1000))
    learned = ppo.learn(agent, Learner(agent, config.optimizer, str), rollouts, batch, config, 0)
    assert len(moved) == 6
    assert max(moved) == 0
    assert learned["kl"] == learned["clip_fraction"] == 0


def test_the_time_limit_is_bootstrapped_unless_it_is_told_to_be_the_end():
    agent = toys.ToyAgent()
    rollouts = rollouts_of(agent)
    (cut, _), _ = batch_of(agent, rollouts)
    (ended, _), _ = batch_of(agent, rollouts, time_limit_is_terminal=True)
    last = slice(-len(rollouts.groups), None)
    torch.testing.assert_close(ended.returns[last], rollouts.rewards[-1], atol=1e-6, rtol=0)
    torch.testing.assert_close(
        cut.returns[last], rollouts.rewards[-1] + 0.99 * rollouts.final_values, atol=1e-6, rtol=0
    )


def test_ppo_orz_targets_are_undiscounted_sums():
    agent = toys.ToyAgent()
    rollouts = rollouts_of(agent)
    (batch, _), _ = batch_of(agent, rollouts, discount=1.0, trace_decay=1.0, time_limit_is_terminal=True)
    to_go = rollouts.rewards.flip(0).cumsum(0).flip(0)
    torch.testing.assert_close(batch.returns, to_go.flatten(), atol=1e-6, rtol=0)


def test_advantages_have_mean_zero_and_deviation_one():
    agent = toys.ToyAgent()
    (batch, _), _ = batch_of(agent, rollouts_of(agent))
    assert float(batch.advantages.mean()) == pytest.approx(0, abs=1e-6)
    assert float(batch.advantages.std()) == pytest.approx(1, abs=1e-3)


def test_the_studys_rounding_puts_ratios_off_by_some_per_cent():
    agent = toys.ToyAgent()
    rollouts = rollouts_of(agent)
    (batch, _), config = batch_of(agent, rollouts, bfloat16_buffer=True)
    config = replace(config, optimizer=replace(config.optimizer, accumulate=1000))
    learned = ppo.learn(agent, Learner(agent, config.optimizer, str), rollouts, batch, config, 0)
    # Log-probabilities of actions are about -2.8, which bfloat16 resolves to 1/64.
    assert 1e-7 < learned["kl"] < 1e-4


def test_actor_and_critic_have_learning_rates_of_their_own():
    agent = toys.ToyAgent()
    settings = toys.settings("unused", optimizer={"learning_rate": 0.0, "weight_decay": 0.0})["optimizer"]
    learner = Learner(agent, settings, str)
    before = {name: weight.clone() for name, weight in agent.module.state_dict().items()}
    sum(weight.sum() for weight in agent.module.parameters()).backward()
    learner.step({})
    moved = {name for name, weight in agent.module.state_dict().items() if not torch.equal(weight, before[name])}
    assert moved == {"critic.weight", "critic.bias"}


def test_accumulated_micro_batches_have_the_gradient_of_the_whole(tmp_path):
    # 96 steps an update: in one piece, and in micro-batches of which the last is smaller.
    whole = train("ppo", tmp_path / "1", updates=1, optimizer={"micro_batch": 96, "accumulate": 1})
    parts = train("ppo", tmp_path / "2", updates=1, optimizer={"micro_batch": 36, "accumulate": 3})
    for name, weight in whole.items():
        torch.testing.assert_close(parts[name], weight, atol=2e-4, rtol=0)


def test_minibatches_leave_nothing_out_and_differ_between_epochs():
    settings = toys.settings("unused", optimizer={"micro_batch": 3, "accumulate": 2})["optimizer"]
    order = shuffled(10, seed=0, update=4, epoch=1)
    steps = list(minibatches(order, settings))
    assert [(step.size, [len(places) for places in step.parts]) for step in steps] == [(6, [3, 3]), (4, [3, 1])]
    assert sorted(torch.cat([places for step in steps for places in step.parts]).tolist()) == list(range(10))
    assert order.tolist() == shuffled(10, seed=0, update=4, epoch=1).tolist()
    for other in (
        {"seed": 1, "update": 4, "epoch": 1},
        {"seed": 0, "update": 5, "epoch": 1},
        {"seed": 0, "update": 4, "epoch": 0},
    ):
        assert order.tolist() != shuffled(10, **other).tolist()


# --- GRPO


class SleepingAgent(toys.ToyAgent):
    """Does not move."""

    def actions(self, tokens):
        return np.zeros((len(tokens), 7), dtype=np.float32)


def make_sleeping(_settings, seed):
    return SleepingAgent(seed, critic=False)


def test_degenerate_groups_cost_nothing_and_move_nothing():
    agent = toys.ToyAgent(critic=False)
    rollouts = rollouts_of(agent)
    rewards = torch.zeros_like(rollouts.rewards)
    rewards[2, 3] = 1.1  # the first group has one success, the second none
    config = grpo.Config(**toys.settings("unused"))
    advantages, useful = grpo.judge(replace(rollouts, rewards=rewards), config)
    assert useful.tolist() == [True] * 8 + [False] * 8
    assert bool((advantages[:, 8:] == 0).all())
    # mean 1.1 / 8, sample standard deviation 1.1 / sqrt(8)
    assert float(advantages[0, 3]) == pytest.approx((1 - 1 / 8) * math.sqrt(8), rel=1e-3)
    assert bool((advantages == advantages[0]).all())


@pytest.mark.parametrize("method", ["grpo", "dpo"])
def test_a_policy_that_never_succeeds_is_told_so(method, tmp_path):
    with pytest.raises(NoSignal, match=r"3 updates in a row had nothing to learn from.*on_no_signal=continue"):
        train(method, tmp_path, make_agent=make_sleeping, updates=9, patience=3)
    assert [line["step"] for line in read_metrics(tmp_path)] == [1, 2, 3]


@pytest.mark.parametrize("method", ["grpo", "dpo"])
def test_without_signal_one_can_go_on_and_no_weight_moves(method, tmp_path):
    after = train(method, tmp_path, make_agent=make_sleeping, updates=3, patience=1, on_no_signal="continue")
    assert same(after, make_sleeping(None, 0).module.state_dict())


def test_a_policy_that_always_succeeds_is_no_trouble(tmp_path):
    class World(toys.LampSimulator):
        def step(self, actions):
            result = super().step(actions)
            return replace(result, reward=result.reward * 0, success=result.success | True)

    train("grpo", tmp_path, make_simulator=World, updates=3, patience=1)


def test_a_group_larger_than_the_batch_is_refused(tmp_path):
    with pytest.raises(BadGroups, match="16 episodes in groups of 32"):
        train("grpo", tmp_path, own={"group_size": 32})


# --- DPO


def test_pairs_are_the_best_with_the_worst_of_a_group():
    returns = torch.tensor([0.1, 1.1, 0.0, 1.2, 0.0, 0.0, 0.0, 0.0])
    groups = torch.tensor([4, 4, 4, 4, 9, 9, 9, 9])
    assert dpo.choose_pairs(returns, groups, most=1, smallest_gap=0.05) == [(3, 2)]
    assert dpo.choose_pairs(returns, groups, most=9, smallest_gap=0.05) == [(3, 2), (1, 0)]
    assert dpo.choose_pairs(returns, groups, most=9, smallest_gap=1.1) == [(3, 2)]
    assert dpo.choose_pairs(returns[4:], groups[4:], most=9, smallest_gap=0.05) == []


def test_an_episode_is_in_one_pair_at_most():
    pairs = dpo.choose_pairs(torch.tensor([1.0, 0.5, 0.0]), torch.zeros(3, dtype=torch.int64), most=3, smallest_gap=0.1)
    assert pairs == [(0, 2)]


def test_the_gradient_in_parts_is_that_of_the_loss_at_once():
    agent = toys.ToyAgent(critic=False)
    rollouts = rollouts_of(agent)
    reference = {name: weight + 0.1 for name, weight in agent.module.state_dict().items()}
    pairs = [dpo.Pair(0, 1), dpo.Pair(9, 8)]
    # A rate of 0 keeps the gradients of one step from moving what is compared.
    config = dpo.Config(**toys.settings("unused", optimizer={"micro_batch": 4, "learning_rate": 0.0}), beta=0.3)
    seen = {}

    class Noting(Learner):
        def step(self, batch):
            seen.update({name: weight.grad.clone() for name, weight in agent.module.named_parameters()})
            return super().step(batch)

    learned = dpo.learn(agent, Noting(agent, config.optimizer, str), rollouts, pairs, reference, config, 0)

    def likelihood(place):
        said = agent.evaluate(rollouts.frames[:, place], ["x"] * toys.STEPS, rollouts.tokens[:, place], temperature=1.0)
        return said.log_probabilities.sum()

    own = {name: weight.clone() for name, weight in agent.module.state_dict().items()}
    agent.module.load_state_dict(reference)
    with torch.no_grad():
        held = [torch.stack([likelihood(pair[side]) for pair in pairs]) for side in (0, 1)]
    agent.module.load_state_dict(own)
    now = [torch.stack([likelihood(pair[side]) for pair in pairs]) for side in (0, 1)]
    result = losses.preference_loss(*now, *held, beta=0.3)
    result.loss.backward()
    assert learned["preference_loss"] == pytest.approx(float(result.loss.detach()), rel=1e-5)
    for name, weight in agent.module.named_parameters():
        torch.testing.assert_close(seen[name], weight.grad, atol=1e-5, rtol=1e-4)


def test_the_reference_may_be_the_start_or_the_player(tmp_path):
    for reference in ("start", "player"):
        train("dpo", tmp_path / reference, own={"reference": reference}, updates=3, optimizer={"accumulate": 1})
    start, player = ([line.get("margin") for line in read_metrics(tmp_path / name)] for name in ("start", "player"))
    # In the first update the two are one; in the second the player has moved away from the start.
    assert start[0] == player[0]
    assert None not in (start[1], player[1])
    assert start[1] != player[1]


# --- what a run leaves, and what goes wrong


def test_a_run_leaves_a_learning_curve_that_the_leaderboard_reads(tmp_path):
    train("ppo", tmp_path, updates=2, evaluate_every=2, evaluate_rows=("train", "vision/table"), entry="mine", seed=3)
    with (tmp_path / "learning.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert tuple(lines[0]) == CURVE_COLUMNS
    assert [(line["entry"], line["seed"], float(line["environment_steps"]), line["split"]) for line in lines] == [
        ("mine", "3", 0, "in-distribution"),
        ("mine", "3", 0, "held-out"),
        ("mine", "3", 2 * 16 * toys.STEPS, "in-distribution"),
        ("mine", "3", 2 * 16 * toys.STEPS, "held-out"),
    ]
    assert (tmp_path / "models" / "000002" / "toy.pt").exists()


def test_an_evaluation_is_not_repeated_when_a_run_goes_on(tmp_path):
    train("ppo", tmp_path, updates=2, evaluate_every=1)
    train("ppo", tmp_path, updates=3, evaluate_every=1)
    evaluated = [line["step"] for line in read_metrics(tmp_path) if "evaluation/errors" in line]
    assert evaluated == [0, 1, 2, 3]


def test_rollouts_and_evaluations_sample_at_temperatures_of_their_own(tmp_path):
    asked = []

    class Agent(toys.ToyAgent):
        def sample(self, *arguments, temperature, **options):
            asked.append(temperature)
            return super().sample(*arguments, temperature=temperature, **options)

    settings = {"rollouts": {"temperature": 1.3}, "evaluate_every": 1, "evaluate_temperature": 0.2}
    train("ppo", tmp_path, make_agent=lambda *_: Agent(), updates=1, **settings)
    # Two batches of episodes each; in a roll-out the last state is looked at too.
    evaluated = [0.2] * 2 * toys.STEPS
    assert asked == evaluated + [1.3] * 2 * (toys.STEPS + 1) + evaluated


def test_what_an_update_costs_is_logged(tmp_path):
    train("ppo", tmp_path, updates=1)
    (line,) = read_metrics(tmp_path)
    wanted = {"seconds/rollout", "seconds/learn", "environment_steps_per_second", "samples_per_second"}
    wanted |= {"tokens_per_second", "success", "return", "episodes_lost"}
    wanted |= {"memory/host_gb", "kl", "clip_fraction", "entropy", "explained_variance", "gradient_norm"}
    assert wanted <= line.keys()


def test_a_run_does_not_go_on_with_other_settings_that_matter(tmp_path):
    train("ppo", tmp_path, updates=1)
    with pytest.raises(RunConflict, match="discount"):
        train("ppo", tmp_path, own={"discount": 0.9}, updates=2)
    with pytest.raises(RunConflict, match="method"):
        train("grpo", tmp_path, updates=2)


def test_a_run_may_go_on_at_another_learning_rate(tmp_path):
    train("ppo", tmp_path, updates=1)
    frozen = {"learning_rate": 0.0, "critic_learning_rate": 0.0, "weight_decay": 0.01}
    before = train("ppo", tmp_path, updates=1)
    assert same(before, train("ppo", tmp_path, updates=2, optimizer=frozen))


def test_a_loss_that_is_no_number_stops_before_a_weight_moves(tmp_path):
    class Agent(toys.ToyAgent):
        def evaluate(self, *arguments, **options):
            said = super().evaluate(*arguments, **options)
            broken = said.log_probabilities * torch.nan if torch.is_grad_enabled() else said.log_probabilities
            return said._replace(log_probabilities=broken)

    agent = Agent()
    with pytest.raises(NotFinite, match=r"the loss is nan; the batch it came from is kept in .*000000-0\.safetensors"):
        train("ppo", tmp_path, make_agent=lambda *_: agent, updates=1)
    kept = load_file(tmp_path / "broken" / "000000-0.safetensors")
    assert kept["tokens"].shape == (16, toys.TOKENS)
    assert bool(kept["log_probabilities"].isnan().all())
    assert same(agent.module.state_dict(), toys.ToyAgent().module.state_dict())
    # The same command with a sound agent goes on.
    train("ppo", tmp_path, updates=1)


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_made(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("", encoding="utf-8")

    def make_agent(*_):
        raise AssertionError("too late")

    with pytest.raises(UnwritableRun, match=r"cannot be written \(Not a directory\); choose another run.out"):
        train("ppo", blocked / "run", make_agent=make_agent)


def test_more_evaluation_episodes_than_a_row_has_are_refused(tmp_path):
    with pytest.raises(BadSetting, match=r"run.evaluate_episodes = 99999999; allowed: 1 to \d+, all that train has"):
        train("ppo", tmp_path, evaluate_every=1, evaluate_episodes=99999999)


def test_a_run_says_with_what_it_was_made(tmp_path):
    train("ppo", tmp_path, updates=1, seed=5)
    settings = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))["settings"]
    assert (settings["method"], settings["run.seed"], settings["discount"]) == ("ppo", 5, 0.99)
