import contextlib
from dataclasses import replace

import numpy as np

from tests.benchmark import toys
from vlagen.benchmark.actions.wrappers import prepare
from vlagen.benchmark.rollout import run_episodes
from vlagen.tasks.interface import HORIZON
from vlagen.tasks.sampling import evaluation_episodes
from vlagen.tasks.variants import variant

EPISODES = evaluation_episodes(variant("train"), 3)


def run(policy, episodes=EPISODES[:1]):
    return run_episodes(toys.ToySimulator(), prepare(policy, name="toy"), episodes, assets="builtin", seed=0)


def test_success_at_the_last_step_is_a_success():
    (record,) = run(toys.SlowPolicy())
    assert (record.outcome, record.success_at_end, record.success_once) == ("success", True, True)
    assert record.first_success_step == 64
    assert record.steps == HORIZON == 80
    # 1/64 + 2/64 + ... + 80/64 = 80 * 81 / 2 / 64
    assert record.episode_return == 50.625
    assert record.grasped is False


def test_success_that_is_lost_again_is_a_failure():
    (record,) = run(toys.FastPolicy())
    assert (record.outcome, record.success_at_end, record.success_once) == ("failure", False, True)
    assert record.first_success_step == 8


def test_success_that_never_was_has_no_first_step():
    policy = toys.SlowPolicy()
    policy.pace = 0.0
    (record,) = run(policy)
    assert (record.success_at_end, record.success_once, record.first_success_step) == (False, False, None)


def test_a_batch_gives_the_records_of_its_episodes_one_by_one():
    def without_timing(records):
        return [{**vars(record), "timing": None} for record in records]

    alone = [record for episode in EPISODES for record in run(toys.SeededPolicy(), [episode])]
    assert without_timing(run(toys.SeededPolicy(), EPISODES)) == without_timing(alone)
    assert len({record.seed for record in alone}) == 3


def test_the_trajectory_tells_episodes_apart_that_end_alike():
    (slow,) = run(toys.SlowPolicy())
    policy = toys.SlowPolicy()
    policy.pace += 2**-20
    (almost,) = run(policy)
    assert slow.success_at_end == almost.success_at_end
    assert slow.trajectory == run(toys.SlowPolicy())[0].trajectory != almost.trajectory


class FaultyAtSeven(toys.SlowPolicy):
    """Wants infinity of the second episode at step 7; ``faulty`` is its place in the batch."""

    faulty = 1

    def act(self, observation):
        actions = super().act(observation)
        if observation.step == 7:
            actions[self.faulty] = np.inf
        return actions


def test_a_bad_action_makes_its_episode_an_error_and_the_others_go_on():
    first, second, third = run(FaultyAtSeven(), EPISODES)
    assert (first.outcome, second.outcome, third.outcome) == ("success", "error", "success")
    assert "policy 'toy' at step 7 of row 'train'" in second.error
    assert second.success_at_end is second.trajectory is second.failure is None
    assert first.trajectory == run(toys.SlowPolicy(), EPISODES)[0].trajectory


def test_nothing_is_simulated_once_every_episode_is_an_error():
    class Simulator(toys.ToySimulator):
        steps = 0

        def step(self, actions):
            type(self).steps += 1
            return super().step(actions)

    policy = FaultyAtSeven()
    policy.faulty = slice(None)
    records = run_episodes(Simulator(), prepare(policy, name="toy"), EPISODES, assets="builtin", seed=0)
    assert [record.outcome for record in records] == ["error"] * 3
    assert Simulator.steps == 7


def test_the_simulator_says_how_many_steps_an_episode_takes():
    class Simulator(toys.ToySimulator):
        horizon = 70

    (record,) = run_episodes(
        Simulator(), prepare(toys.SlowPolicy(), name="toy"), EPISODES[:1], assets="builtin", seed=0
    )
    assert (record.steps, record.first_success_step) == (70, 64)


def test_what_a_task_cannot_tell_stays_unknown():
    class Simulator(toys.ToySimulator):
        def step(self, actions):
            return replace(super().step(actions), grasped=None, consecutive_grasp=None, facts=None)

    (record,) = run_episodes(
        Simulator(), prepare(toys.FastPolicy(), name="toy"), EPISODES[:1], assets="builtin", seed=0
    )
    assert record.outcome == "failure"
    assert record.grasped is record.consecutive_grasp is record.failure is record.closest_approach is None


def test_actions_that_the_controller_cut_are_counted():
    class Simulator(toys.ToySimulator):
        def step(self, actions):
            result = super().step(actions)
            return replace(result, cut_steps=np.array([3, self._step]))

    records = run_episodes(Simulator(), prepare(toys.FastPolicy(), name="toy"), EPISODES[:2], assets="builtin", seed=0)
    assert [record.cut_steps for record in records] == [3, HORIZON]
    assert run(toys.FastPolicy())[0].cut_steps is None


def test_a_failure_has_its_category_and_how_near_the_fingers_came():
    (lost,) = run(toys.FastPolicy())
    assert lost.failure == "placed-then-lost"
    policy = toys.SlowPolicy()
    policy.pace = 1 / 160  # x is 1/2 at the end, and its distance from 1 as well
    (near,) = run(policy)
    assert near.closest_approach == 0.5
    assert run(toys.SlowPolicy())[0].failure is None


def test_the_grippers_path_is_kept_in_millimetres_every_fifth_step():
    class Simulator(toys.ToySimulator):
        def _observe(self):
            pose = np.tile(np.float32([0.1, -0.0204, 0, 1, 0, 0, 0]), (len(self._x), 1))
            pose[:, 2] = self._step / 1000
            return replace(super()._observe(), gripper_pose=pose)

    (record,) = run_episodes(
        Simulator(), prepare(toys.SlowPolicy(), name="toy"), EPISODES[:1], assets="builtin", seed=0
    )
    assert record.gripper_path[:6] == [100, -20, 5, 100, -20, 10]
    assert len(record.gripper_path) == 3 * HORIZON // 5


def test_calls_that_take_too_long_are_told_by_name():
    asked = []

    @contextlib.contextmanager
    def limit(what):
        asked.append(what)
        yield

    run_episodes(
        toys.ToySimulator(), prepare(toys.SlowPolicy(), name="toy"), EPISODES[:1], assets="builtin", seed=0, limit=limit
    )
    assert asked[:4] == [
        "starting the episode in the simulator",
        "the policy's reset",
        "the policy's act at step 0 of row 'train'",
        "simulating step 0 of row 'train'",
    ]
    assert len(asked) == 2 + 2 * HORIZON
