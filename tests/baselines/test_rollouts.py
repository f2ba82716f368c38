from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests.baselines import toys  # noqa: E402 - needs torch
from tests.benchmark.toys import ASSETS, DyingOnceSimulator, ToySimulator  # noqa: E402
from vlagen.baselines.agents import NotFinite  # noqa: E402
from vlagen.baselines.learning import remember  # noqa: E402
from vlagen.baselines.rollouts import (  # noqa: E402
    Collector,
    RolloutFailed,
    SimulatorKeeper,
)
from vlagen.baselines.slots import BadGroups, draw_slots  # noqa: E402
from vlagen.tasks.draws import reserved  # noqa: E402
from vlagen.tasks.episodes import total  # noqa: E402
from vlagen.tasks.restriction import WHOLE  # noqa: E402
from vlagen.tasks.rows import find_row  # noqa: E402
from vlagen.tasks.sampling import episode_indices  # noqa: E402
from vlagen.tasks.variants import variant  # noqa: E402

TRAIN = variant("train")


@pytest.fixture(autouse=True)
def _one_thread():
    # On matrices this small, threads only wait for each other.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def collector(agent=None, make_simulator=toys.LampSimulator, **changes):
    arguments = {"assets": ASSETS, "seed": 0, "episodes": 12} | changes
    return Collector(agent or toys.ToyAgent(), SimulatorKeeper(make_simulator), TRAIN, **arguments)


# --- what is played


def drawn(**changes):
    return draw_slots(TRAIN, **({"seed": 0, "update": 0, "count": 64} | changes))


def test_what_an_update_plays_is_a_function_of_seed_update_and_slot():
    assert drawn() == drawn()
    assert drawn(count=8) == drawn()[:8]
    for change in ({"seed": 1}, {"update": 1}):
        other = drawn(**change)
        assert [slot.episode for slot in other] != [slot.episode for slot in drawn()]
        assert not {slot.seed for slot in other} & {slot.seed for slot in drawn()}


def test_the_first_slots_are_pinned():
    # Whoever changes these numbers changes what every seed of a published run stands for.
    slots = draw_slots(TRAIN, seed=7, update=3, count=2)
    assert [(slot.episode.index, slot.seed) for slot in slots] == [(468637, 768162945), (89761, 3679822269)]


def test_groups_share_their_initial_state_and_not_their_draws():
    slots = drawn(group_size=8)
    assert [slot.group for slot in slots] == [number for number in range(8) for _ in range(8)]
    for group in range(8):
        assert len({slot.episode for slot in slots if slot.group == group}) == 1
    assert len({slot.seed for slot in slots}) == 64


def test_groups_may_be_of_different_initial_states():
    slots = drawn(group_size=8, same_start=False)
    assert len({slot.episode.index for slot in slots}) > 60
    assert [slot.group for slot in slots] == [slot.group for slot in drawn(group_size=8)]


def test_episodes_are_drawn_evenly():
    indices = [slot.episode.index for update in range(40) for slot in drawn(update=update)]
    quarters = Counter(4 * index // total(TRAIN) for index in indices)
    # 2560 draws, 640 in each quarter; the standard deviation of a count is 22.
    assert all(abs(quarters[quarter] - 640) < 100 for quarter in range(4))


def test_no_episode_of_an_evaluation_is_learned_from():
    # Of this row a quarter is reserved, so that chance would draw hundreds of them.
    small = replace(TRAIN, objects=TRAIN.objects[:1], tables=TRAIN.tables[:1])
    kept = reserved(small, WHOLE)
    assert len(kept) > total(small) / 5
    indices = {
        slot.episode.index for update in range(20) for slot in draw_slots(small, seed=0, update=update, count=64)
    }
    assert len(indices) > 500
    assert not indices & kept


def test_of_a_part_of_a_row_only_its_own_episodes_are_learned_from():
    part = find_row("train[objects=3,tables=5]")
    episodes = [slot.episode for slot in draw_slots(part, seed=0, update=0, count=200)]
    assert {(episode.object, episode.table) for episode in episodes} == {(3, 5)}
    assert {episode.variant for episode in episodes} == {part.id}
    assert not {episode.index for episode in episodes} & set(episode_indices(part, 784))


@pytest.mark.parametrize(("count", "group_size"), [(8, 16), (12, 8), (8, 0), (0, 1)])
def test_groups_that_cannot_be_filled_are_refused(count, group_size):
    with pytest.raises(BadGroups, match="allowed: a group size that divides the number of episodes"):
        drawn(count=count, group_size=group_size)


# --- what is noted


def test_a_rollout_notes_what_was_seen_drawn_and_earned():
    rollouts = collector().collect(0)
    assert rollouts.shape == (toys.STEPS, 12)
    assert rollouts.frames.shape == (toys.STEPS, 12, 2, 2, 3)
    assert rollouts.frames.dtype == torch.uint8
    assert rollouts.tokens.shape == rollouts.log_probabilities.shape == (toys.STEPS, 12, toys.TOKENS)
    assert rollouts.values.shape == rollouts.rewards.shape == rollouts.success.shape == (toys.STEPS, 12)
    assert rollouts.final_values.shape == rollouts.groups.shape == (12,)
    assert len(rollouts.records) == len(rollouts.instructions) == 12
    # Closing moves to 0.1, being at the right place to 1.1.
    assert set(np.round(rollouts.returns.numpy(), 3)) <= {np.float32(0.0), np.float32(0.1), np.float32(1.1)}
    for record, earned, success in zip(rollouts.records, rollouts.returns, rollouts.success[-1], strict=True):
        assert record.episode_return == pytest.approx(float(earned), abs=1e-6)
        assert record.success_at_end == bool(success)


def test_rewards_and_tokens_belong_to_the_step_that_earned_them():
    rollouts = collector().collect(0)
    closed = rollouts.tokens[:, :, 1] < 2
    first = closed & (closed.cumsum(0) == 1)
    # The first time the gripper closes earns 0.1 there and then; success may add 1.
    assert bool((rollouts.rewards[first] > 0.05).all())
    assert bool((rollouts.rewards[closed.cumsum(0) == 0] == 0).all())


def test_an_agent_without_a_critic_has_no_values():
    rollouts = collector(toys.ToyAgent(critic=False)).collect(0)
    assert rollouts.values is rollouts.final_values is None


def test_a_rollout_does_not_depend_on_how_many_episodes_are_played_in_step():
    class Narrow(toys.LampSimulator):
        capacity = 5

    wide, narrow = collector().collect(2), collector(make_simulator=Narrow).collect(2)
    for name in ("frames", "tokens", "rewards", "groups"):
        assert torch.equal(getattr(wide, name), getattr(narrow, name)), name
    torch.testing.assert_close(wide.log_probabilities, narrow.log_probabilities)


def test_two_episodes_from_one_start_draw_differently():
    rollouts = collector(episodes=8, group_size=8).collect(0)
    assert len({record.index for record in rollouts.records}) == 1
    assert len({tuple(tokens.flatten().tolist()) for tokens in rollouts.tokens.unbind(1)}) == 8


def test_the_learner_finds_the_log_probabilities_of_the_rollout():
    agent = toys.ToyAgent()
    rollouts = collector(agent).collect(0)
    old = remember(agent, rollouts, temperature=1.0, micro_batch=7)
    torch.testing.assert_close(old.log_probabilities, rollouts.flat("log_probabilities"))
    torch.testing.assert_close(old.values, rollouts.flat("values"))
    assert old.drift < 1e-6


def test_flat_places_go_with_their_episodes_instructions():
    rollouts = replace(collector(episodes=3).collect(0), instructions=("a", "b", "c"))
    assert rollouts.instructions_of(torch.tensor([0, 4, 5, 6])) == ["a", "b", "c", "a"]
    assert torch.equal(rollouts.flat("tokens")[4], rollouts.tokens[1, 1])


# --- what goes wrong


def test_an_action_that_is_none_costs_its_episode_only():
    class Agent(toys.ToyAgent):
        def actions(self, tokens):
            actions = super().actions(tokens)
            actions[1, 0] = np.nan
            return actions

    rollouts = collector(Agent()).collect(0)
    # Batches of 8 and 4, of each the second is lost.
    assert rollouts.shape == (toys.STEPS, 10)
    assert len(rollouts.lost) == 2
    assert "nan" in rollouts.lost[0]
    assert rollouts.summary()["episodes_lost"] == 2
    sound = collector().collect(0)
    kept = [0, *range(2, 9), 10, 11]
    assert torch.equal(rollouts.tokens, sound.tokens[:, kept])
    assert rollouts.groups.tolist() == kept


class BreakingSimulator(toys.LampSimulator):
    """Raises at step 3 of the first ``troubles`` batches."""

    troubles = 0

    def step(self, actions):
        if self._step == 3 and BreakingSimulator.troubles:
            BreakingSimulator.troubles -= 1
            raise ConnectionError("toy trouble")
        return super().step(actions)


def test_a_simulator_that_breaks_is_replaced_and_nothing_is_lost():
    made = []

    def make_simulator():
        made.append(BreakingSimulator())
        return made[-1]

    BreakingSimulator.troubles = 2
    with pytest.warns(UserWarning, match="8 episodes are tried again.*toy trouble"):
        rollouts = collector(make_simulator=make_simulator).collect(0)
    assert len(made) == 3
    assert torch.equal(rollouts.tokens, collector().collect(0).tokens)
    assert rollouts.lost == ()


@pytest.mark.filterwarnings("ignore:.*episodes are tried again")
def test_what_breaks_every_time_is_left_out_and_an_update_without_episodes_is_an_error():
    BreakingSimulator.troubles = 3
    rollouts = collector(make_simulator=BreakingSimulator).collect(0)
    assert (rollouts.shape, len(rollouts.lost)) == ((toys.STEPS, 4), 8)
    BreakingSimulator.troubles = 100
    with pytest.raises(RolloutFailed, match=r"no episode of update 5 could be played.*\n.*toy trouble"):
        collector(make_simulator=BreakingSimulator).collect(5)


@pytest.mark.filterwarnings("ignore:.*episodes are tried again")
def test_a_policy_that_throws_once_loses_nothing():
    class Agent(toys.ToyAgent):
        calls = 0

        def sample(self, *arguments, **options):
            self.calls += 1
            if self.calls == 4:
                raise MemoryError("toy trouble")
            return super().sample(*arguments, **options)

    assert torch.equal(collector(Agent()).collect(0).tokens, collector().collect(0).tokens)


def test_weights_that_are_not_numbers_stop_at_once():
    agent = toys.ToyAgent()
    with torch.no_grad():
        agent.module.first.bias[0] = torch.nan
    with pytest.raises(NotFinite, match="go back to an earlier checkpoint"):
        collector(agent).collect(0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*episodes are tried again")
def test_a_worker_that_is_killed_is_replaced(tmp_path, monkeypatch):
    pytest.importorskip("gymnasium")
    from vlagen.benchmark.backends.vectorized import VectorSimulator

    class Agent(toys.ToyAgent):
        def frames(self, pictures):
            return super().frames(pictures[:, :4, :4])

    def play(make):
        keeper = SimulatorKeeper(lambda: VectorSimulator(make, 2, ToySimulator.picture_shape))
        rollouts = Collector(Agent(), keeper, TRAIN, assets=ASSETS, seed=0, episodes=2).collect(0)
        keeper.discard()
        return rollouts

    monkeypatch.setenv("TOY_MARKER", str(tmp_path / "died"))
    survived = play(DyingOnceSimulator)
    assert (tmp_path / "died").exists()
    assert survived.lost == ()
    assert torch.equal(survived.tokens, play(ToySimulator).tokens)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*episodes are tried again")
def test_an_actor_of_a_cluster_that_is_killed_is_replaced_and_the_others_stay(tmp_path, monkeypatch):
    ray = pytest.importorskip("ray")
    from vlagen.baselines.cluster_simulation import ClusterSimulator

    # Actors inherit the environment of the cluster that is made for them.
    monkeypatch.setenv("TOY_MARKER", str(tmp_path / "died"))
    ray.shutdown()
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    made = []

    def play(make):
        def make_simulator():
            made.append(ClusterSimulator(make, 2, "local"))
            return made[-1]

        keeper = SimulatorKeeper(make_simulator)
        agent = toys.ToyAgent()
        agent.frames = lambda pictures: torch.from_numpy(pictures[:, :2, :2]).clone()
        rollouts = Collector(agent, keeper, TRAIN, assets=ASSETS, seed=0, episodes=4).collect(0)
        keeper.discard()
        return rollouts

    try:
        survived = play(DyingOnceSimulator)
        assert (tmp_path / "died").exists()
        assert len(made) == 1
        assert survived.lost == ()
        assert torch.equal(survived.tokens, play(ToySimulator).tokens)
    finally:
        ray.shutdown()
