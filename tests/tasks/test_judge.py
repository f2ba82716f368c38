"""What the environment reports of a step beside observation and reward: facts about the episode, the gripper's pose."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from tests.tasks.environments import make_environment, needs_pack
from vlagen.assets.packs import load_pack
from vlagen.tasks.episodes import decode
from vlagen.tasks.interface import StepFacts
from vlagen.tasks.reach import rotation_matrices
from vlagen.tasks.sampling import evaluation_episodes
from vlagen.tasks.variants import variant

torch = pytest.importorskip("torch", reason="the extra `sim` is not installed")
pytest.importorskip("mani_skill", reason="the extra `sim` is not installed")

pytestmark = [*needs_pack("builtin"), pytest.mark.sim]

PACK = load_pack("builtin")
IDENTITY = (1.0, 0.0, 0.0, 0.0)
TIPS_BEYOND_THE_LINK = 0.0156  # [m] in front of ee_gripper_link, of the collision bodies


@pytest.fixture(scope="module")
def task():
    environment = make_environment(obs_mode="state_dict", render_backend="none")
    yield environment.unwrapped
    environment.close()


def start(task, episode):
    task.reset(options={"episodes": [episode], "reconfigure": True})
    return episode


def noop(task):
    task.step(np.array([[0, 0, 0, 0, 0, 0, 1]], dtype=np.float32))
    return task.facts()


def put(task, name, position, quaternion=IDENTITY):
    from mani_skill.utils.structs import Pose

    task.scene.actors[name].set_pose(Pose.create(torch.tensor([[*position, *quaternion]], dtype=torch.float32)))


def tips(task):
    """Midway between the finger tips, world frame (3,)."""
    pose = task.privileged_state().gripper_pose.astype(np.float64)
    return pose[0, :3] + TIPS_BEYOND_THE_LINK * rotation_matrices(pose[:, 3:])[0, :, 0]


def test_the_gripper_starts_where_the_protocol_says(task):
    start(task, decode(variant("train"), 5))
    pose = task.gripper_pose()
    assert (pose.shape, pose.dtype) == ((1, 7), np.float32)
    np.testing.assert_allclose(pose[0, :3], (0.2920694, -0.0060915, 0.1353209), atol=1e-5)
    np.testing.assert_allclose(pose[0, 3:], (0.6867121, 0.0052571, 0.7268656, -0.0080838), atol=1e-5)


def test_the_grippers_pose_in_the_base_frame_is_the_one_in_the_world(task):
    start(task, evaluation_episodes(variant("execution/robot-pose"), 1)[0])
    rng = np.random.default_rng(0)
    before = task.gripper_pose()
    for _ in range(5):
        task.step((rng.uniform(-1, 1, (1, 7)) * [0.04, 0.04, 0.04, 0.2, 0.2, 0.2, 1]).astype(np.float32))
        state, pose = task.privileged_state(), task.gripper_pose()
        base, ours = rotation_matrices(state.base_pose[:, 3:])[0], rotation_matrices(pose[:, 3:])[0]
        np.testing.assert_allclose(state.base_pose[0, :3] + base @ pose[0, :3], state.gripper_pose[0, :3], atol=1e-6)
        np.testing.assert_allclose(base @ ours, rotation_matrices(state.gripper_pose[:, 3:])[0], atol=1e-5)
    assert np.abs(before - pose).max() > 0.01


def test_facts_are_a_batch_of_their_own_and_asking_changes_nothing(task):
    distances = {"reach_distance", "distractor_displacement"}
    for row_id in ("train", "semantics/two-objects-seen", "semantics/distractor-receptacle"):
        start(task, evaluation_episodes(variant(row_id), 1)[0])
        first, again = noop(task), task.facts()
        for field in fields(StepFacts):
            value = getattr(first, field.name)
            assert value.shape == (1,), field.name
            assert np.issubdtype(value.dtype, np.floating if field.name in distances else np.bool_), field.name
            np.testing.assert_array_equal(value, getattr(again, field.name), err_msg=field.name)
        assert not (first.holding | first.holding_distractor | first.on_distractor).any()


def test_the_distance_is_from_the_finger_tips_to_the_objects_box(task):
    episode = start(task, decode(variant("train"), 5))
    model = PACK.objects[episode.object]
    low, high = np.array(model.bbox)
    for offset, expected in (((0, 0, 0), 0.0), ((0, 0, 0.1), 0.1), ((0.03, 0.04, 0), 0.05)):
        # The box's upper corner is that much below or beside the tips, so that only the offset separates them.
        put(task, model.name, tips(task) - high - offset)
        task.judge.update()
        assert task.facts().reach_distance[0] == pytest.approx(expected, abs=2e-4)
    put(task, model.name, tips(task) - (low + high) / 2)
    task.judge.update()
    assert task.facts().reach_distance[0] == 0


def test_another_object_that_moves_by_itself_was_not_moved(task):
    episode = start(task, evaluation_episodes(variant("semantics/two-objects-seen"), 1)[0])
    other = PACK.objects[episode.distractor_index].name
    assert noop(task).distractor_displacement == [0.0]
    put(task, other, (-0.3, 0.2, 0.9))
    assert noop(task).distractor_displacement == [0.0]
    put(task, other, tips(task))
    task.judge.update()
    put(task, other, (-0.3, 0.0, 0.9))
    assert noop(task).distractor_displacement[0] == pytest.approx(0.2, abs=0.05)


def test_without_another_object_nothing_of_it_moves_or_is_held(task):
    for row_id in ("train", "semantics/distractor-receptacle"):
        start(task, evaluation_episodes(variant(row_id), 1)[0])
        assert np.isnan(noop(task).distractor_displacement).all()


def test_lying_on_the_other_receptacle_is_told_from_lying_on_the_right_one(task):
    episode = start(task, evaluation_episodes(variant("semantics/distractor-receptacle"), 1)[0])
    target = PACK.objects[episode.object].name
    receptacle, other = PACK.receptacles[episode.receptacle].name, PACK.receptacles[episode.distractor_index].name

    def lies_on(name):
        place = task.scene.actors[name].pose.p[0].numpy()
        put(task, target, place + [0, 0, 0.04])
        facts = noop(task)
        return bool(task.judge.success), bool(facts.on_distractor)

    assert lies_on(receptacle) == (True, False)
    assert lies_on(other) == (False, True)


def test_a_cast_names_the_distractors_of_each_kind():
    from vlagen.tasks.cast import Cast

    rows = ("train", "semantics/two-objects-seen", "semantics/distractor-receptacle")
    episodes = [evaluation_episodes(variant(row_id), 1)[0] for row_id in rows]
    cast = Cast(episodes, {}, torch.device("cpu"))
    second, third = ("object", episodes[1].distractor_index), ("receptacle", episodes[2].distractor_index)
    assert cast.distractors == [None, second, third]
    keys, there = cast.distractors_or("object", cast.objects)
    assert keys == [cast.objects[0], second, cast.objects[2]]
    assert there.tolist() == [False, True, False]
    keys, there = cast.distractors_or("receptacle", cast.receptacles)
    assert keys == [cast.receptacles[0], cast.receptacles[1], third]
    assert there.tolist() == [False, False, True]
    assert Cast(episodes[:1], {}, torch.device("cpu")).distractors_or("object", cast.objects[:1]) is None


def test_quantities_are_gathered_from_the_body_that_each_environment_uses():
    from vlagen.tasks.cast import Cast

    cast = Cast(evaluation_episodes(variant("train"), 3), {}, torch.device("cpu"))
    values = {"a": torch.arange(6.0).reshape(3, 2), "b": 10 + torch.arange(6.0).reshape(3, 2)}
    assert cast.gather(["a", "b", "a"], values.get).tolist() == [[0, 1], [12, 13], [4, 5]]


class Standing:
    """A body or link with one world pose in each of three parallel environments, as on the GPU."""

    def __init__(self, *positions):
        self.pose = self
        self.raw_pose = torch.tensor([[*position, *IDENTITY] for position in positions])


class ContactScene:
    """A GPU scene that knows forces by (on, by)."""

    gpu_sim_enabled = True

    def __init__(self, forces):
        self.forces = forces

    def get_pairwise_contact_forces(self, on, by):
        return self.forces.get((on, by), torch.zeros(3, 3))


def test_a_batch_of_different_episodes_is_judged_one_by_one():
    from types import SimpleNamespace

    from vlagen.tasks.cast import Cast
    from vlagen.tasks.judge import Judge

    rows = ("train", "semantics/two-objects-seen", "semantics/distractor-receptacle")
    episodes = [evaluation_episodes(variant(row_id), 1)[0] for row_id in rows]
    keys = {key for episode in episodes for key in episode.models}
    bodies = {key: Standing(*[(0.0, 0.0, 0.0)] * 3) for key in keys}
    # In the third environment the target is 2 cm above the other receptacle and far from its own.
    target, receptacle, other = episodes[2].models
    bodies[target] = Standing(*[(0.0, 0.0, 0.0)] * 2, (0.0, 0.0, 0.02))
    bodies[receptacle] = Standing(*[(0.3, 0.0, 0.0)] * 3)
    # The fingers squeeze the second environment's other object. The same model is the first one's target.
    second = episodes[1].models[2]
    assert second == episodes[0].models[0]
    left, right = Standing(*[(0.0, 0.02, 0.0)] * 3), Standing(*[(0.0, -0.02, 0.0)] * 3)
    pushed = torch.tensor([[0.0, 1.0, 0.0]] * 3)
    scene = ContactScene({
        (left, bodies[second]): pushed,
        (right, bodies[second]): -pushed,
        (bodies[other], bodies[target]): pushed,
    })  # fmt: skip
    agent = SimpleNamespace(finger1_link=left, finger2_link=right)
    judge = Judge(scene, agent, Cast(episodes, bodies, torch.device("cpu")), PACK)
    facts = judge.facts()
    assert facts.holding_distractor.tolist() == [False, True, False]
    assert facts.on_distractor.tolist() == [False, False, True]
    assert facts.holding.tolist() == [True, False, False]
    assert not judge.success.any()
    np.testing.assert_array_equal(facts.distractor_displacement, [np.nan, 0.0, np.nan])
    bodies[second].raw_pose[1, 0] += 0.25
    judge.update()
    np.testing.assert_allclose(judge.facts().distractor_displacement, [np.nan, 0.25, np.nan], atol=1e-6)
