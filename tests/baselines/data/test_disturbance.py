"""What happens to actions before they are executed."""

import numpy as np

from vlagen.baselines.data.disturbance import Disturbance, Disturber

ACTION = np.array([0.01, 0.0, -0.02, 0.0, 0.0, 0.1, -1.0], dtype=np.float32)


def executed(steps: int, seeds=(1, 2), **disturbance) -> np.ndarray:
    disturber = Disturber(Disturbance(**disturbance), seeds)
    return np.stack([disturber(ACTION) for _ in range(steps)])


def test_without_a_disturbance_actions_are_themselves():
    assert np.array_equal(executed(5), np.stack([ACTION] * 5))


def test_a_push_keeps_its_direction_as_long_as_it_lasts_and_the_gripper_as_it_is():
    actions = executed(2000, push_chance=0.1, push_steps=4, push_speed=0.02, push_turn=0.3)
    is_pushed = (actions != ACTION).any(1)
    pushed = actions[is_pushed]
    assert np.allclose(np.linalg.norm(pushed[:, :3], axis=1), 0.02, atol=1e-6)
    assert (pushed[:, 3:5] == 0).all()
    assert (np.abs(pushed[:, 5]) <= 0.3).all()
    assert (actions[:, 6] == -1).all()
    _, lengths = np.unique(pushed, axis=0, return_counts=True)
    assert (np.sort(lengths)[1:] == 4).all()  # the last one may have been cut off
    # Pushes of 4 steps that begin with probability 0.1 at each step without one: 4 of 4 + 9 steps.
    assert abs(is_pushed.mean() - 4 / 13) < 0.05
    # In all directions.
    assert np.abs(pushed[:, :3].mean(0)).max() < 0.004


def test_noise_does_not_depend_on_whether_there_are_pushes():
    noisy = executed(200, noise_position=0.003, noise_rotation=0.02)
    both = executed(200, noise_position=0.003, noise_rotation=0.02, push_chance=0.1)
    pushes = executed(200, push_chance=0.1)
    assert np.allclose(both - pushes, noisy - ACTION, atol=1e-6)
    assert np.allclose((noisy - ACTION).std(0), [0.003] * 3 + [0.02] * 3 + [0], rtol=0.2)
