import numpy as np
import pytest

from tests.benchmark import toys
from vlagen.benchmark.policy import PolicyError
from vlagen.benchmark.rollout import run_episodes
from vlagen.tasks.interface import HORIZON
from vlagen.tasks.sampling import evaluation_episodes
from vlagen.tasks.variants import variant

EPISODES = evaluation_episodes(variant("train"), 3)


def run(policy, episodes=EPISODES[:1]):
    return run_episodes(toys.ToySimulator(), policy, episodes, policy_name="toy", assets="builtin", seed=0)


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


def test_a_bad_action_names_policy_row_and_step():
    class Policy(toys.SlowPolicy):
        def act(self, observation):
            return super().act(observation) if observation.step < 7 else np.full((1, 7), np.inf)

    with pytest.raises(PolicyError, match=r"policy 'toy' at step 7 of row 'train' returned \[inf"):
        run(Policy())
