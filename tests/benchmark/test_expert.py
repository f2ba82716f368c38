"""The expert without a simulator where that says enough, and a few of its episodes with one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.benchmark.test_grasps import box
from tests.tasks.environments import needs_pack
from vlagen.benchmark.adapters.expert import BadGain, ExpertPolicy
from vlagen.benchmark.adapters.grasps import TIP, sample_shape
from vlagen.benchmark.adapters.motion import (
    STEP_LIMITS,
    euler_xyz,
    pointing_down,
    rotation_matrix,
    step_towards,
    within_reach,
)
from vlagen.benchmark.loading.source import find_policy
from vlagen.benchmark.policy import Policy, PolicyEpisode
from vlagen.tasks.interface import HORIZON, Observation, PrivilegedState

TABLE = 0.869532
BASE = np.array([0.147, 0.028, 0.870, 0.0, 0.0, 0.0, 1.0])
HOME = np.array([-0.1451, 0.0341, 1.0053, 0.00808, -0.72687, 0.00526, 0.68671])


def quaternion(rotation):
    """Of a matrix whose trace is not close to -1."""
    w = np.sqrt(1 + np.trace(rotation)) / 2
    x, y, z = rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]
    return np.array([w, x / (4 * w), y / (4 * w), z / (4 * w)])


def about(axis, angle):
    c, s = np.cos(angle), np.sin(angle)
    x = {"x": [[1, 0, 0], [0, c, -s], [0, s, c]], "y": [[c, 0, s], [0, 1, 0], [-s, 0, c]]}
    return np.array({**x, "z": [[c, -s, 0], [s, c, 0], [0, 0, 1]]}[axis])


class Puppet:
    """An idealised scene: the gripper is where its target is, and what it closes on hangs from it."""

    def __init__(self, places):
        batch = len(places)
        turned = [np.cos(0.3), 0, 0, np.sin(0.3)]
        self.objects = np.array([[*place, TABLE + 0.01, *turned] for place in places])
        self.receptacles = np.tile([-0.2, -0.06, TABLE + 0.003, 1.0, 0, 0, 0], (batch, 1))
        self.grippers = np.tile(HOME, (batch, 1))
        self.closed = np.zeros(batch, dtype=bool)
        self.held = np.zeros(batch, dtype=bool)
        self.step = 0

    def observe(self):
        batch = len(self.objects)
        fingers = np.where(self.closed, 0.021, 0.037)
        return Observation(
            rgb=None,
            instruction=("put box on slab",) * batch,
            proprioception=np.tile(fingers[:, None], (1, 8)).astype(np.float32),
            gripper_pose=np.tile(np.float32([0, 0, 0, 1, 0, 0, 0]), (batch, 1)),
            step=self.step,
            privileged=PrivilegedState(
                assets="toy",
                object_pose=self.objects.copy(),
                receptacle_pose=self.receptacles.copy(),
                base_pose=np.tile(BASE, (batch, 1)),
                gripper_pose=self.grippers.copy(),
                gripper_target=self.grippers.copy(),
                object_index=np.zeros(batch, dtype=int),
                receptacle_index=np.zeros(batch, dtype=int),
                grasped=self.held.copy(),
                success=np.zeros(batch, dtype=bool),
                distractor=(None,) * batch,
                distractor_pose=np.full((batch, 7), np.nan),
            ),
        )

    def act(self, actions):
        to_world = rotation_matrix(BASE[3:])
        for i, action in enumerate(actions.astype(np.float64)):
            pose, way = self.grippers[i], to_world @ action[:3]
            turn = about("x", action[3]) @ about("y", action[4]) @ about("z", action[5])
            rotation = to_world @ turn @ to_world.T @ rotation_matrix(pose[3:])
            pose[:3] += way
            pose[3:] = np.linalg.eigh(_quaternion_form(rotation))[1][:, -1]
            tip = pose[:3] + TIP * rotation[:, 0]
            self.closed[i] = action[6] < 0
            self.held[i] = self.closed[i] and (self.held[i] or np.linalg.norm(tip - self.objects[i, :3]) < 0.015)
            if self.held[i]:
                self.objects[i, :3] += way
        self.step += 1


def _quaternion_form(r):
    """The symmetric matrix (4, 4) whose dominant eigenvector is the rotation's quaternion wxyz."""
    return np.array(
        [
            [np.trace(r), r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]],
            [r[2, 1] - r[1, 2], r[0, 0] - r[1, 1] - r[2, 2], r[0, 1] + r[1, 0], r[0, 2] + r[2, 0]],
            [r[0, 2] - r[2, 0], r[0, 1] + r[1, 0], r[1, 1] - r[0, 0] - r[2, 2], r[1, 2] + r[2, 1]],
            [r[1, 0] - r[0, 1], r[0, 2] + r[2, 0], r[1, 2] + r[2, 1], r[2, 2] - r[0, 0] - r[1, 1]],
        ]
    )


@pytest.fixture
def expert(monkeypatch):
    """Makes experts to which every object is a box of 8 x 2 x 2 cm and every receptacle a slab."""
    shapes = {
        "object": sample_shape([box((0.08, 0.02, 0.02))]),
        "receptacle": sample_shape([box((0.11, 0.11, 0.006))]),
    }
    monkeypatch.setattr(ExpertPolicy, "_shape", lambda self, assets, kind, index: shapes[kind])
    return ExpertPolicy


def play(policy, places, steps=HORIZON):
    """Returns the actions (T, B, 7) and the scene after them."""
    puppet = Puppet(places)
    policy.reset([PolicyEpisode("put box on slab", 0)] * len(places))
    actions = []
    for _ in range(steps):
        actions.append(policy.act(puppet.observe()))
        puppet.act(actions[-1])
    return np.array(actions), puppet


PLACES = [(-0.12, 0.05), (-0.23, 0.02)]


def test_the_policy_is_found_by_name_and_is_an_oracle():
    factory = find_policy("expert").factory
    assert factory is ExpertPolicy
    assert factory.spec.needs_privileged
    assert not factory.spec.needs_images
    assert isinstance(ExpertPolicy(), Policy)


def test_the_object_is_put_on_the_middle_of_the_receptacle_and_left_there(expert):
    actions, puppet = play(expert(), PLACES)
    assert actions.shape == (HORIZON, 2, 7)
    assert actions.dtype == np.float32
    away = puppet.objects[:, :3] - puppet.receptacles[:, :3]
    assert np.abs(away[:, :2]).max() < 0.01
    assert away[:, 2] == pytest.approx(0.013, abs=0.004)  # half the box, half the slab
    assert not puppet.held.any()
    assert (puppet.grippers[:, 2] - puppet.objects[:, 2] > 0.05).all()


def test_actions_stay_within_the_limits_and_the_gripper_is_told_to_open_or_to_close(expert):
    actions, _ = play(expert(), PLACES)
    low, high = STEP_LIMITS
    assert (actions[..., :6] >= low).all()
    assert (actions[..., :6] <= high).all()
    assert set(np.unique(actions[..., 6])) == {-1.0, 1.0}


def test_the_same_episode_gets_the_same_actions(expert):
    policy = expert()
    first, _ = play(policy, PLACES)
    again, _ = play(policy, PLACES)
    assert np.array_equal(first, again)


def test_episodes_of_a_batch_do_not_know_of_each_other(expert):
    together, _ = play(expert(), PLACES)
    alone = [play(expert(), [place])[0] for place in PLACES]
    assert np.array_equal(together, np.concatenate(alone, axis=1))


def test_an_object_that_was_moved_is_followed(expert):
    policy, puppet = expert(), Puppet(PLACES[:1])
    policy.reset([PolicyEpisode("put box on slab", 0)])
    for step in range(HORIZON):
        if step == 5:
            puppet.objects[0, :2] = (-0.10, -0.06)
        puppet.act(policy.act(puppet.observe()))
    assert np.abs(puppet.objects[0, :2] - puppet.receptacles[0, :2]).max() < 0.01


def test_a_lost_object_is_picked_up_again(expert):
    policy, puppet = expert(), Puppet(PLACES[:1])
    policy.reset([PolicyEpisode("put box on slab", 0)])
    dropped = False
    for _ in range(HORIZON):
        puppet.act(policy.act(puppet.observe()))
        if not dropped and puppet.objects[0, 2] > TABLE + 0.03:
            puppet.held[0], puppet.objects[0, 2], dropped = False, TABLE + 0.01, True
    assert dropped
    assert np.abs(puppet.objects[0, :2] - puppet.receptacles[0, :2]).max() < 0.01


def test_a_step_in_the_world_becomes_one_in_the_base_frame():
    target = np.array([-0.15, 0.0, 1.0, *quaternion(pointing_down(-np.pi / 2 + 0.1))])
    step = step_towards(target[:3] + [0.01, 0.002, 0.005], pointing_down(-np.pi / 2 + 0.2), target, BASE)
    # The base is turned by half a turn about z, so x and y change sign, and turns about z do not.
    assert step == pytest.approx([-0.01, -0.002, 0.005, 0, 0, 0.1], abs=1e-6)


def test_a_gain_shortens_the_step_before_the_limits_do():
    target = np.array([-0.15, 0.0, 1.0, *quaternion(pointing_down(-np.pi / 2 + 0.1))])
    goal, rotation = target[:3] + [0.01, 0.002, 0.005], pointing_down(-np.pi / 2 + 0.2)
    step = step_towards(goal, rotation, target, BASE, gain=0.3)
    assert step == pytest.approx([-0.003, -0.0006, 0.0015, 0, 0, 0.03], abs=1e-6)
    far = step_towards(target[:3] + [-0.3, 0.1, 0.0], rotation, target, BASE, gain=0.5)
    assert far[:3] == pytest.approx([STEP_LIMITS[1, 0], -STEP_LIMITS[1, 0] / 3, 0.0])


def test_with_a_gain_actions_follow_from_what_can_be_seen(expert):
    seen = Puppet(PLACES[:1]).observe()
    leading = seen.privileged.gripper_target + np.float64([0.02, 0.01, -0.01, 0, 0, 0, 0])
    unseen = replace(seen, privileged=replace(seen.privileged, gripper_target=leading))

    def first_actions(gain):
        policy = expert(gain=gain)
        for observation in (seen, unseen):
            policy.reset([PolicyEpisode("put box on slab", 0)])
            yield policy.act(observation)

    default, gentle = [tuple(first_actions(gain)) for gain in (None, 0.3)]
    assert np.abs(default[0] - default[1]).max() > 0.001
    assert (gentle[0] == gentle[1]).all()


def test_with_a_gain_it_takes_longer_and_arrives_all_the_same(expert):
    actions, puppet = play(expert(gain=0.3), PLACES)
    assert np.abs(puppet.objects[:, :2] - puppet.receptacles[:, :2]).max() < 0.01
    quick, _ = play(expert(), PLACES)
    closed = [np.argmax(each[..., 6] < 0, axis=0) for each in (quick, actions)]
    assert (closed[0] < closed[1]).all()


@pytest.mark.parametrize("gain", [0, -0.1, 1.5, float("nan")])
def test_a_gain_is_a_share(gain):
    with pytest.raises(BadGain, match="above 0 and at most 1"):
        ExpertPolicy(gain=gain)


def test_a_far_goal_is_approached_in_a_straight_line():
    target = np.array([-0.15, 0.0, 1.0, *quaternion(pointing_down(-np.pi / 2 + 0.1))])
    step = step_towards(target[:3] + [-0.3, 0.1, 0.0], pointing_down(-np.pi / 2 + 0.1), target, BASE)
    assert step[:3] == pytest.approx([STEP_LIMITS[1, 0], -STEP_LIMITS[1, 0] / 3, 0.0])


def test_euler_angles_compose_as_the_controller_does():
    angles = np.array([0.05, -0.08, 0.2])
    rotation = about("x", angles[0]) @ about("y", angles[1]) @ about("z", angles[2])
    assert euler_xyz(rotation) == pytest.approx(angles)


def test_a_goal_out_of_reach_comes_closer_at_its_height():
    near, far = np.array([-0.2, 0.0, 0.95]), np.array([-0.6, 0.028, 0.95])
    assert within_reach(near, BASE) == pytest.approx(near)
    pulled = within_reach(far, BASE)
    assert pulled[1:] == pytest.approx(far[1:])
    assert -0.37 < pulled[0] < -0.32  # 0.495 m from the shoulder to the wrist


def test_privileged_state_is_required_of_the_harness(expert):
    policy = expert()
    policy.reset([PolicyEpisode("put box on slab", 0)])
    with pytest.raises(AssertionError, match="needs_privileged"):
        policy.act(replace(Puppet(PLACES[:1]).observe(), privileged=None))


@pytest.mark.sim
@pytest.mark.slow
@pytest.mark.parametrize("assets", [pytest.param(name, marks=needs_pack(name)) for name in ("builtin", "rl4vla")])
def test_episodes_end_with_the_object_on_the_receptacle(assets):
    from vlagen.benchmark.backends.put_on_plate import ManiSkillSimulator
    from vlagen.tasks.sampling import evaluation_episodes
    from vlagen.tasks.variants import variant

    simulator, policy = ManiSkillSimulator(assets, "none", privileged=True), ExpertPolicy()
    low, high = STEP_LIMITS
    for row in ("train", "execution/moved-midway", "execution/robot-pose", "semantics/object"):
        for episode in evaluation_episodes(variant(row), 2):
            observation = simulator.start([episode])
            policy.reset([PolicyEpisode(observation.instruction[0], 0)])
            for _ in range(HORIZON):
                actions = policy.act(observation)
                assert (actions[:, :6] >= low).all()
                assert (actions[:, :6] <= high).all()
                result = simulator.step(actions)
                observation = result.observation
            assert result.success[0], f"{row}:{episode.index}"
    simulator.close()
