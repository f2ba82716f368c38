"""The environment as its users meet it: registered, well-formed, repeatable, and changing one factor a row.

Everything runs with the built-in pack, in one environment without a renderer and one with pictures.
"""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from dataclasses import dataclass, replace

import numpy as np
import pytest

from tests.tasks.environments import make_environment, needs_pack
from vlagen.assets.packs import load_pack
from vlagen.tasks import layouts
from vlagen.tasks.episodes import decode, total
from vlagen.tasks.sampling import evaluation_episodes
from vlagen.tasks.selection import BadResetOption
from vlagen.tasks.upstream import upstream_variant
from vlagen.tasks.variants import VARIANTS, variant, variants

gymnasium = pytest.importorskip("gymnasium", reason="the extra `sim` is not installed")
torch = pytest.importorskip("torch", reason="the extra `sim` is not installed")
pytest.importorskip("mani_skill", reason="the extra `sim` is not installed")

pytestmark = [*needs_pack("builtin"), pytest.mark.sim]

PACK = load_pack("builtin")
UPSTREAM_IDS = [
    "PutOnPlateInScene25" + name
    for name in (
        "Main-v3", "VisionImage-v1", "VisionTexture03-v1", "VisionTexture05-v1", "VisionWhole03-v1", "VisionWhole05-v1",
        "Carrot-v1", "Plate-v1", "Instruct-v1", "MultiCarrot-v1", "MultiPlate-v1", "Position-v1", "EEPose-v1",
        "PositionChangeTo-v1",
    )
]  # fmt: skip


@pytest.fixture(scope="module")
def state_env():
    env = make_environment(obs_mode="state", render_backend="none")
    yield env
    env.close()


@pytest.fixture(scope="module")
def rgb_env():
    env = make_environment(obs_mode="rgb", render_mode="rgb_array", render_backend="cpu")
    yield env
    env.close()


@pytest.fixture(params=["state_env", "rgb_env"])
def env(request):
    return request.getfixturevalue(request.param)


def start(env, episode, rebuild=True):
    observation, info = env.reset(options={"episodes": [episode], "reconfigure": rebuild})
    return observation, info


def noop():
    return np.array([[0, 0, 0, 0, 0, 0, 1]], dtype=np.float32)


def actions(count, seed=0):
    """Random motions of up to 4 cm and 0.2 rad a step."""
    rng = np.random.default_rng(seed)
    scale = [0.04, 0.04, 0.04, 0.2, 0.2, 0.2, 1.0]
    return (rng.uniform(-1, 1, (count, 1, 7)) * scale).astype(np.float32)


def leaves(tree, path=""):
    """Path -> tensor of a nested observation."""
    if not isinstance(tree, dict):
        return {path: tree}
    return {key: leaf for name, branch in tree.items() for key, leaf in leaves(branch, f"{path}/{name}").items()}


def numpy_tree(tree):
    return {k: numpy_tree(v) for k, v in tree.items()} if isinstance(tree, dict) else tree.numpy()


def same(first, second):
    first, second = leaves(first), leaves(second)
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def physics(env):
    """Joint angles and the poses of all bodies, to the last bit."""
    task = env.unwrapped
    bodies = {name: actor.pose.raw_pose[0].numpy().tobytes() for name, actor in task.scene.actors.items()}
    return {"qpos": task.agent.robot.get_qpos().numpy().tobytes()} | bodies


def dynamic_bodies(env):
    return {body.entity.name.removeprefix("scene-0_") for body in env.unwrapped.scene.px.rigid_dynamic_components}


# Registration


def test_every_row_and_upstream_environment_is_registered():
    from mani_skill.utils.registration import REGISTERED_ENVS

    from vlagen.tasks.registration import ENVIRONMENT_IDS, register

    rows = [row.id.replace("/", "-") for row in variants()]
    ours = [f"{namespace}/{row}-v1" for namespace in ("vlagen", "vlagen-rl4vla") for row in rows]
    assert list(ENVIRONMENT_IDS) == ours + UPSTREAM_IDS
    assert len(set(ENVIRONMENT_IDS)) == 32 + 14
    assert set(ENVIRONMENT_IDS) <= gymnasium.registry.keys()
    assert set(ENVIRONMENT_IDS) <= REGISTERED_ENVS.keys()
    assert {REGISTERED_ENVS[uid].max_episode_steps for uid in ENVIRONMENT_IDS} == {80}
    assert register() == ENVIRONMENT_IDS  # a second time changes nothing


@pytest.mark.parametrize(
    ("env_id", "row"),
    [
        ("vlagen/vision-texture-weak-v1", variant("vision/texture-weak")),
        ("vlagen-rl4vla/semantics-two-objects-unseen-v1", variant("semantics/two-objects-unseen", "rl4vla")),
        ("PutOnPlateInScene25Main-v3", upstream_variant("Main-v3")),
        ("PutOnPlateInScene25MultiPlate-v1", upstream_variant("MultiPlate-v1")),
    ],
)
def test_an_id_makes_an_environment_of_its_row(env_id, row):
    env = make_environment(env_id=env_id, obs_mode="state", render_backend="none")
    env.reset(options={"episode_id": torch.tensor([total(row) - 2])})
    assert env.unwrapped.episodes == (decode(row, total(row) - 2),)
    env.reset(seed=1)
    assert env.unwrapped.episodes[0].variant == row.id
    assert env.unwrapped.episodes[0].protocol == row.protocol
    env.close()


def test_upstreams_options_choose_the_object_set():
    env = make_environment(env_id="PutOnPlateInScene25Carrot-v1", obs_mode="state", render_backend="none")
    env.reset(options={"episode_id": torch.tensor([451_583]), "obj_set": "test"})
    assert env.unwrapped.episodes == (decode(variant("semantics/object", "rl4vla"), 451_583),)
    text = f"put {PACK.objects[24].text} on {PACK.receptacles[0].text}"
    assert env.unwrapped.get_language_instruction() == env.unwrapped.instructions == [text]
    env.close()


# Spaces, types, memory


def test_gymnasiums_checkers_find_nothing_wrong(env):
    """ManiSkill has no checker of its own, and ``check_env`` as a whole wants what none of its environments has.

    That is a generator in gymnasium's place, and no empty space; so the checks are called that look at results.
    """
    from gymnasium.utils import env_checker, passive_env_checker
    from mani_skill.utils.wrappers import CPUGymWrapper

    single = CPUGymWrapper(env)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # how the checkers speak
        env_checker.check_reset_return_type(single)
        env_checker.check_reset_options(single)
        passive_env_checker.env_reset_passive_checker(single, seed=3)
        passive_env_checker.env_step_passive_checker(single, noop()[0])


def test_observations_are_in_their_space_and_finite(env):
    observation, info = start(env, decode(variant("train"), 1234))
    for step in [None, *actions(2)]:
        if step is not None:
            observation, reward, terminated, truncated, info = env.step(step)
            assert (reward.shape, reward.dtype) == ((1,), torch.float32)
            assert (terminated.shape, terminated.dtype) == ((1,), torch.bool)
            assert not bool(truncated)
        assert env.observation_space.contains(
            numpy_tree(observation) if isinstance(observation, dict) else observation.numpy()
        )
        for path, leaf in leaves(observation).items():
            assert leaf.shape[0] == 1, path
            assert torch.isfinite(leaf.float()).all(), path
        assert {value.shape for value in info.values() if isinstance(value, torch.Tensor)} == {(1,)}


def test_pictures_and_actions_have_the_studys_shapes(rgb_env):
    observation, _ = start(rgb_env, decode(variant("train"), 0))
    rgb = observation["sensor_data"]["3rd_view_camera"]["rgb"]
    assert (rgb.shape, rgb.dtype) == ((1, 480, 640, 3), torch.uint8)
    assert rgb_env.action_space.shape == (7,)
    assert rgb_env.action_space.dtype == np.float32
    assert rgb_env.unwrapped.agent.robot.get_qpos().shape == (1, 8)
    assert torch.equal(rgb_env.render(), rgb)


def test_the_camera_is_the_studys(rgb_env):
    observation, _ = start(rgb_env, decode(variant("train"), 0))
    camera = observation["sensor_param"]["3rd_view_camera"]
    intrinsic = [[623.588, 0, 319.501], [0, 623.588, 239.545], [0, 0, 1]]
    extrinsic = [
        [-0.48393306, 0.875105, 0.0, -0.09338167],
        [0.60255766, 0.33321434, -0.72518444, 0.74075687],
        [-0.63461256, -0.35094073, -0.68855464, 1.0061874],
    ]  # protocol.md section 1.4
    np.testing.assert_allclose(camera["intrinsic_cv"][0], intrinsic, atol=1e-3)
    np.testing.assert_allclose(camera["extrinsic_cv"][0], extrinsic, atol=1e-5)
    # ManiSkill's own default, "minimal", is faster and looks different.
    assert rgb_env.unwrapped._sensors["3rd_view_camera"].config.shader_config.shader_pack == "default"


def test_observations_share_no_memory(env):
    observation, info = start(env, decode(variant("vision/table"), 77))
    seen, copies = [], []
    for step in actions(3):
        seen.append(leaves(observation))
        copies.append({path: leaf.clone() for path, leaf in leaves(observation).items()})
        observation = env.step(step)[0]
    seen.append(leaves(observation))
    copies.append({path: leaf.clone() for path, leaf in leaves(observation).items()})
    seen.append(leaves(start(env, decode(variant("vision/table"), 77), rebuild=False)[0]))
    # What a policy holds of an earlier step stays what it was, in the next episode too.
    for earlier, copy in zip(seen, copies, strict=False):
        assert [path for path in copy if not torch.equal(earlier[path], copy[path])] == []
    assert int(info["elapsed_steps"]) == 0
    for path in copies[0]:
        if "sensor_param" not in path:  # the camera's constants are nobody's to write
            assert len({leaf[path].untyped_storage().data_ptr() for leaf in seen}) == len(seen), path


def test_an_episode_is_truncated_after_eighty_steps(state_env):
    start(state_env, decode(variant("train"), 0))
    outcomes = [state_env.step(noop()) for _ in range(80)]
    assert [bool(outcome[3]) for outcome in outcomes] == 79 * [False] + [True]
    assert [int(outcome[4]["elapsed_steps"]) for outcome in outcomes] == list(range(1, 81))


def test_states_need_no_vulkan(tmp_path):
    program = (
        "import numpy as np\n"
        "from tests.tasks.environments import make_environment\n"
        "env = make_environment(obs_mode='state', render_backend='none')\n"
        "env.reset(seed=0)\n"
        "observation = env.step(np.zeros((1, 7), dtype=np.float32))[0]\n"
        "print('observed', tuple(observation.shape), env.unwrapped.scene.can_render())\n"
    )
    variables = {k: v for k, v in os.environ.items() if k != "VK_DRIVER_FILES"}
    variables["VK_ICD_FILENAMES"] = str(tmp_path / "nonexistent.json")
    done = subprocess.run([sys.executable, "-c", program], env=variables, capture_output=True, text=True, timeout=120)
    assert "observed (1, 44) False" in done.stdout, done.stderr


def test_refused_options_reach_the_user(state_env):
    with pytest.raises(BadResetOption, match="did you mean 'episodes'"):
        state_env.reset(options={"episode": []})
    with pytest.raises(ValueError, match="reset without env_idx"):
        state_env.reset(options={"env_idx": torch.tensor([], dtype=torch.int64)})


# Repeatability


def test_a_seed_chooses_the_episode_and_all_that_follows(env):
    observation, _ = env.reset(seed=21, options={"reconfigure": True})
    episode = env.unwrapped.episodes
    again, _ = env.reset(seed=21, options={"reconfigure": True})
    assert env.unwrapped.episodes == episode
    assert same(observation, again)
    other, _ = env.reset(seed=22, options={"reconfigure": True})
    assert env.unwrapped.episodes != episode
    assert not same(observation, other)


def test_pictures_do_not_change_the_physics(state_env, rgb_env):
    episode = decode(variant("semantics/two-objects-unseen"), 4_321_098)
    histories = []
    for env in (state_env, rgb_env):
        start(env, episode)
        history = [physics(env)]
        for step in actions(10):
            env.step(step)
            history.append(physics(env))
        histories.append(history)
    assert histories[0] == histories[1]
    assert histories[0][0]["qpos"] != histories[0][-1]["qpos"]


def test_a_rebuilt_scene_forgets_its_history(state_env):
    watched = evaluation_episodes(variant("semantics/two-objects-seen"), 3)
    others = [evaluation_episodes(row, 1)[0] for row in variants()[::3]]
    expected = [_course(state_env, episode) for episode in watched]
    for other in others:
        start(state_env, other, rebuild=False)
        for step in actions(3, seed=1):
            state_env.step(step)
    assert [_course(state_env, episode) for episode in reversed(watched)] == expected[::-1]


def _course(env, episode):
    start(env, episode)
    course = [physics(env)]
    for step in actions(4):
        env.step(step)
        course.append(physics(env))
    return course


def test_a_quick_reset_reuses_bodies_and_holds_only_the_episodes_own(state_env):
    task = state_env.unwrapped
    first, second = (decode(variant("train"), obj * 16 * 3136 + 99) for obj in (3, 5))
    start(state_env, first)
    object_3, plate = task.scene.actors[PACK.objects[3].name], task.scene.actors[PACK.receptacles[0].name]
    start(state_env, second, rebuild=False)
    assert set(task.scene.actors) == {"arena", PACK.objects[5].name, PACK.receptacles[0].name}
    assert dynamic_bodies(state_env) == {PACK.objects[5].name, PACK.receptacles[0].name}
    assert task.scene.actors[PACK.receptacles[0].name] is plate
    start(state_env, first, rebuild=False)
    assert task.scene.actors[PACK.objects[3].name] is object_3
    assert dynamic_bodies(state_env) == {PACK.objects[3].name, PACK.receptacles[0].name}
    start(state_env, first)
    assert task.scene.actors[PACK.objects[3].name] is not object_3


def test_bodies_are_built_in_the_order_of_their_indices(state_env):
    # The last bits of a contact follow the order of building, so it must not come from a set's.
    row = variant("semantics/two-objects-seen")
    for target in (0, 7, 15):
        for extra in (0, 5, 14):
            episode = decode(row, (target * 15 + extra) * 16 * 2104 * 4)
            start(state_env, episode)
            names = [PACK.objects[i].name for i in sorted((episode.object, episode.distractor_index))]
            assert list(state_env.unwrapped.scene.actors) == ["arena", *names, PACK.receptacles[0].name]


# Judging


def test_evaluating_changes_nothing(state_env):
    start(state_env, decode(variant("execution/moved-midway"), 5000))
    task = state_env.unwrapped
    for step in actions(6):  # step 5 moves the object, once
        _, _, _, _, info = state_env.step(step)
        before = physics(state_env)
        first, second = task.evaluate(), task.evaluate()
        assert first.keys() == second.keys() <= info.keys()
        assert all(torch.equal(first[key], second[key]) and torch.equal(first[key], info[key]) for key in first)
        task.get_obs(info)
        assert physics(state_env) == before


def test_a_steps_reward_is_the_change_of_the_potential(state_env):
    from mani_skill.utils.structs import Pose

    episode = decode(variant("train"), 13 * 16 * 3136)
    start(state_env, episode)
    task = state_env.unwrapped
    target = task.scene.actors[PACK.objects[episode.object].name]
    plate = task.scene.actors[PACK.receptacles[0].name].pose.p[0]
    away = target.pose.raw_pose.clone()

    def step_with_object_at(position):
        target.set_pose(Pose.create_from_pq(torch.tensor([position]), target.pose.q))
        _, reward, terminated, _, info = state_env.step(noop())
        assert bool(terminated) == bool(info["success"]) == bool(info["src_on_target"])
        return bool(info["success"]), round(float(reward), 6)

    over_plate = [float(plate[0]), float(plate[1]), float(plate[2]) + 0.04]
    assert step_with_object_at(over_plate) == (True, 0.0)  # put there without a grasp: a success worth nothing
    task.judge.ever_grasped[:] = True
    assert step_with_object_at(over_plate) == (True, 1.1)
    assert step_with_object_at(over_plate) == (True, 0.0)
    assert step_with_object_at(away[0, :3].tolist()) == (False, -1.0)  # lost again
    assert float(task.judge.potential) == pytest.approx(0.1)


# Rows


@pytest.mark.parametrize("row", VARIANTS, ids=lambda row: f"{row.protocol}:{row.id}")
def test_a_rows_episode_starts_with_its_text_and_bodies(row, state_env):
    (episode,) = evaluation_episodes(row, 1)
    _, info = start(state_env, episode, rebuild=False)
    target, receptacle = PACK.objects[episode.object], PACK.receptacles[episode.receptacle]
    (text,) = state_env.unwrapped.instructions
    if row.id == "semantics/instruction":
        assert target.text in text
        assert receptacle.text in text
        assert text != f"put {target.text} on {receptacle.text}"
    else:
        assert text == f"put {target.text} on {receptacle.text}"
    names = {target.name, receptacle.name}
    if row.id.startswith(("semantics/two-objects", "semantics/distractor", "semantics/two-receptacles")):
        second = (PACK.objects if "objects" in row.id else PACK.receptacles)[episode.distractor_index]
        names.add(second.name)
        assert len(names) == 3
    assert dynamic_bodies(state_env) == names
    # It has come to rest on the table, under the robot's hand and not in it.
    for name in names:
        assert 0.86 < float(state_env.unwrapped.scene.actors[name].pose.p[0, 2]) < 0.98
    assert not bool(info["is_src_obj_grasped"])
    assert int(info["elapsed_steps"]) == 0


def test_upstreams_distractor_that_is_the_target_is_one_body(state_env):
    episode = decode(variant("semantics/two-objects-unseen", "rl4vla"), 1 * 16 * 2104 * 4)
    assert episode.distractor_is_target
    start(state_env, episode)
    assert dynamic_bodies(state_env) == {PACK.objects[16].name, PACK.receptacles[0].name}
    position = state_env.unwrapped.scene.actors[PACK.objects[16].name].pose.p[0, :2]
    np.testing.assert_allclose(position, layouts.places("object-triples")[0, 2, :2], atol=0.03)


@dataclass
class Seen:
    """What a policy receives, and which of its pixels show what."""

    rgb: np.ndarray
    robot: np.ndarray
    bodies: np.ndarray
    proprioception: bytes
    object_pose: bytes
    text: str

    @property
    def background(self):
        return ~(self.robot | self.bodies)


def observe(env, episode):
    observation, _ = start(env, episode)
    task = env.unwrapped
    ids = task._view.rendered(["segmentation"])["segmentation"][0, :, :, 0].numpy()
    links = [link._objs[0].entity.per_scene_id for link in task.agent.robot.links]
    bodies = [actor._objs[0].per_scene_id for name, actor in task.scene.actors.items() if name != "arena"]
    return Seen(
        observation["sensor_data"]["3rd_view_camera"]["rgb"][0].numpy(),
        np.isin(ids, links),
        np.isin(ids, bodies),
        observation["agent"]["qpos"].numpy().tobytes(),
        task.cast.object_pose.numpy().tobytes(),
        *task.instructions,
    )


NO_OVERLAY = {"overlay": None, "texture": None, "strength": 0.0}
NO_DISTRACTOR = {"distractor": None, "distractor_index": None, "distractor_position": None}
# What makes a row's episode one of the training task; the first place on the grid stands for any.
TRAINING_FACTOR = {
    "vision/table": {"table": 0},
    "vision/texture-weak": NO_OVERLAY,
    "vision/texture-strong": NO_OVERLAY,
    "vision/noise-weak": NO_OVERLAY,
    "vision/noise-strong": NO_OVERLAY,
    "semantics/object": {"object": 0},
    "semantics/receptacle": {"receptacle": 0},
    "semantics/instruction": {"template": 0},
    "semantics/two-objects-seen": NO_DISTRACTOR,
    "semantics/two-objects-unseen": {"object": 0, **NO_DISTRACTOR},
    "semantics/distractor-receptacle": NO_DISTRACTOR,
    "semantics/two-receptacles-unseen": {"receptacle": 0, **NO_DISTRACTOR},
    "execution/position": {
        "object_position": (-0.235, -0.075, 0.95), "receptacle_position": (-0.235, 0.015, 0.95), "yaw": 0.0,
    },
    "execution/robot-pose": {"robot_offset": 6 * (0.0,)},
    "execution/moved-midway": {"reposition_at_step": None, "reposition_to": None},
}  # fmt: skip
TEXT_CHANGES = {  # an unseen object or receptacle is called by its name
    "semantics/object", "semantics/receptacle", "semantics/instruction", "semantics/two-objects-unseen",
    "semantics/two-receptacles-unseen",
}  # fmt: skip
BODIES_CHANGE = {row_id for row_id in TRAINING_FACTOR if row_id.startswith("semantics/")} | {"execution/position"}
BODIES_CHANGE -= {"semantics/instruction"}


def test_every_row_but_train_has_a_twin():
    assert ["train", *TRAINING_FACTOR] == [row.id for row in variants()]


@pytest.mark.parametrize("row_id", TRAINING_FACTOR)
def test_a_row_changes_its_factor_and_nothing_else(row_id, rgb_env):
    (episode,) = evaluation_episodes(variant(row_id), 1)
    ours = observe(rgb_env, episode)
    twin = observe(rgb_env, replace(episode, **TRAINING_FACTOR[row_id]))
    changed = (ours.rgb != twin.rgb).any(-1)

    assert (ours.text != twin.text) == (row_id in TEXT_CHANGES)
    assert (ours.proprioception != twin.proprioception) == (row_id == "execution/robot-pose")
    if row_id not in BODIES_CHANGE:
        assert ours.object_pose == twin.object_pose
    assert ours.robot.any()
    assert ours.bodies.any()

    def unchanged(pixels):
        # A window of another place or size is rasterised anew: a pixel or two on an outline may fall the other way.
        return changed[pixels].sum() <= 4

    if row_id == "vision/table":
        assert unchanged(~ours.background)
        assert changed[ours.background].mean() > 0.5
    elif row_id.startswith("vision/texture"):
        assert unchanged(ours.background)
        assert changed[~ours.background].mean() > 0.5
    elif row_id.startswith("vision/noise"):
        assert changed[ours.background].mean() > 0.5
        assert changed[~ours.background].mean() > 0.5
    elif row_id in BODIES_CHANGE:
        assert changed.sum() > 100
        assert unchanged(~(ours.bodies | twin.bodies))
    elif row_id == "execution/robot-pose":
        assert changed.sum() > 100
        assert unchanged(~(ours.robot | twin.robot))
    else:  # another instruction, or a move that is yet to come
        assert not changed.any()


def test_a_disturbance_is_as_strong_as_its_row_says(rgb_env):
    for kind in ("texture", "noise"):
        (episode,) = evaluation_episodes(variant(f"vision/{kind}-strong"), 1)
        undisturbed = observe(rgb_env, replace(episode, **NO_OVERLAY)).rgb.astype(float)
        strong, weak = (
            np.abs(observe(rgb_env, replace(episode, strength=strength)).rgb - undisturbed).sum()
            for strength in (0.5, 0.3)
        )
        assert strong / weak == pytest.approx(0.5 / 0.3, rel=0.03)  # truncation takes up to one grey level


def test_the_object_is_moved_at_the_end_of_the_fifth_step(rgb_env):
    # To the grid's far corner: elsewhere, long objects fall onto the robot's hand.
    places = layouts.places("object-triples")
    corner = next(i for i, place in enumerate(places) if np.allclose(place[2, :2], (-0.235, -0.075)))
    episode = decode(variant("execution/moved-midway"), corner * 4)
    courses, positions = [], []
    for run in (episode, replace(episode, **TRAINING_FACTOR["execution/moved-midway"])):
        course = [start(rgb_env, run)[0]]
        course += [rgb_env.step(noop())[0] for _ in range(5)]
        courses.append([step["sensor_data"]["3rd_view_camera"]["rgb"] for step in course])
        positions.append(rgb_env.unwrapped.privileged_state().object_pose[0, :3])
    assert [torch.equal(*pair) for pair in zip(*courses, strict=True)] == 5 * [True] + [False]
    # Dropped from 1 m without a turn, it has fallen for 0.1 s: 5 cm.
    np.testing.assert_allclose(positions[0], (-0.235, -0.075, 0.951), atol=0.002)
    np.testing.assert_allclose(positions[1][:2], episode.object_position[:2], atol=0.01)
    assert positions[1][2] < 0.91


# Pictures


def test_the_rendered_window_gives_the_whole_pictures_observation(rgb_env):
    for row_id in ("train", "vision/texture-strong", "vision/noise-weak"):
        start(rgb_env, evaluation_episodes(variant(row_id), 2)[1])
        view = rgb_env.unwrapped._view
        for step in 2 * actions(5, seed=3):  # twice as wide motions
            rgb_env.step(step)
            window, whole = view.rgb().int(), view.data(())["rgb"].int()
            difference = (window - whole).abs().amax(-1)
            assert (difference > 0).sum() <= 40
            # Measured in 280 pictures: at most 2, where a pixel's centre lies on the edge of a mesh.
            assert (difference > 2).sum() <= 4
