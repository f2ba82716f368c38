"""Foreign tasks. What runs in ManiSkill is judged by where the robot goes and what it achieves there."""

import multiprocessing
import pickle
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from vlagen.assets.errors import MissingAsset
from vlagen.benchmark.backends.actions import ControlMapping, UnsupportedTask, choose_control_mode
from vlagen.benchmark.backends.maniskill_task import ActionsCut, ManiSkillTaskSimulator
from vlagen.benchmark.backends.task_environment import UnknownTask
from vlagen.benchmark.backends.task_rows import INSTRUCTIONS, SIMPLER_TASKS
from vlagen.benchmark.simulator import NoRenderer, choose_render_backend
from vlagen.benchmark.suites import find_suite

SHARED = Path(__file__).resolve().parents[3] / "shared/data/assets"
SIMPLER_SOURCES = {
    "tasks/bridge_v2_real2sim_dataset": SHARED / "bridge_v2_real2sim_dataset",
    "robots/widowx": SHARED / "widowx250s",
}
simpler_is_here = all(folder.is_dir() for folder in SIMPLER_SOURCES.values())


def needs_simpler(test):
    return pytest.mark.sim(pytest.mark.skipif(not simpler_is_here, reason=f"no SimplerEnv files at {SHARED}")(test))


HOLD = np.float32([[0, 0, 0, 0, 0, 0, 1]])
PANDA = ControlMapping(
    control_mode="pd_ee_target_delta_pose",
    adds_to_target=True,
    limited=True,
    scale=(0.1, 0.1, 0.1, -0.1, -0.1, -0.1),
    offset=(0.0,) * 6,
    gripper=(-1.0, 1.0),
)
WIDOWX = ControlMapping(
    control_mode="arm_pd_ee_target_delta_pose_align2_gripper_pd_joint_pos",
    adds_to_target=True,
    limited=False,
    scale=(1.0,) * 6,
    offset=(0.0,) * 6,
    gripper=(-1.0, 1.0),
)


# Numbers


def test_metres_and_radians_become_the_controllers_units():
    converted, cut = PANDA.convert(np.float32([[0.05, -0.1, 0, 0.05, 0, -0.02, -1]]))
    np.testing.assert_allclose(converted, [[0.5, -1, 0, -0.5, 0, 0.2, -1]], atol=1e-6)
    assert converted.dtype == np.float32
    assert cut.tolist() == [False]


def test_what_is_too_much_is_cut_each_translation_alone_and_a_rotation_by_its_length():
    actions = np.float32([[0.2, 0.05, -0.3, 0, 0, 0, 1], [0, 0, 0, 0.3, 0.4, 0, 1], [0.1, 0, 0, 0, 0, 0.1, 1]])
    converted, cut = PANDA.convert(actions)
    np.testing.assert_allclose(converted[0], [1, 0.5, -1, 0, 0, 0, 1], atol=1e-6)
    # 0.3 and 0.4 rad are 0.5 rad long: a fifth of both remains, and so does their axis.
    np.testing.assert_allclose(converted[1], [0, 0, 0, -0.6, -0.8, 0, 1], atol=1e-6)
    assert cut.tolist() == [True, True, False]


def test_simplers_controller_takes_our_actions_as_they_are_however_large():
    actions = np.float32([[3, -0.2, 0.01, 2, -2, 0.1, 1], [0, 0, 0, 0, 0, 0, -0.5]])
    converted, cut = WIDOWX.convert(actions)
    np.testing.assert_array_equal(converted, actions)
    assert not cut.any()


def test_the_gripper_may_open_at_the_other_end_come_first_or_be_absent():
    actions = np.float32([[0.1, 0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0, -1], [0, 0, 0, 0, 0, 0, 0]])
    backwards = ControlMapping("m", True, False, (1.0,) * 6, (0.0,) * 6, gripper=(0.8, 0.0), pose_first=False)
    converted, _ = backwards.convert(actions)
    np.testing.assert_allclose(converted[:, 0], [0.0, 0.8, 0.4], atol=1e-6)
    assert converted[0, 1] == np.float32(0.1)
    without = ControlMapping("m", True, False, (1.0,) * 6, (0.0,) * 6, gripper=None)
    np.testing.assert_array_equal(without.convert(actions)[0], actions[:, :6])


# Control modes; ManiSkill's configurations are told apart by their classes' names


@dataclass
class PDEEPoseControllerConfig:
    use_target: bool = False
    use_delta: bool = True
    frame: str = "root_translation:root_aligned_body_rotation"


@dataclass
class PDJointPosMimicControllerConfig:
    pass


GRIPPER = PDJointPosMimicControllerConfig()
MODES = {
    "joints": {"arm": PDJointPosMimicControllerConfig(), "gripper": GRIPPER},
    "absolute": {"arm": PDEEPoseControllerConfig(use_delta=False), "gripper": GRIPPER},
    "own_frame": {"arm": PDEEPoseControllerConfig(frame="body_translation:body_aligned_body_rotation")},
    "with_wheels": {"arm": PDEEPoseControllerConfig(), "gripper": GRIPPER, "base": GRIPPER},
    "reached": {"arm": PDEEPoseControllerConfig(), "gripper": GRIPPER},
    "target": {"arm": PDEEPoseControllerConfig(use_target=True), "gripper": GRIPPER, "balance_passive_force": True},
}


def test_the_mode_that_adds_to_the_target_is_preferred():
    assert choose_control_mode(MODES, None, "T-v1") == "target"
    assert choose_control_mode({name: MODES[name] for name in MODES if name != "target"}, None, "T-v1") == "reached"
    assert choose_control_mode(MODES, "reached", "T-v1") == "reached"


@pytest.mark.parametrize("name", ["joints", "absolute", "own_frame", "with_wheels"])
def test_modes_that_mean_something_else_by_an_action_are_refused(name):
    with pytest.raises(UnsupportedTask, match=f"{name!r} cannot execute vlagen's actions; allowed: reached, target"):
        choose_control_mode(MODES, name, "T-v1")
    with pytest.raises(UnsupportedTask, match=f"T-v1: .*none of its robot's control modes \\({name}\\)"):
        choose_control_mode({name: MODES[name]}, None, "T-v1")


def test_a_mode_that_does_not_exist_is_refused():
    with pytest.raises(UnsupportedTask, match="'targt' does not exist; allowed: reached, target"):
        choose_control_mode(MODES, "targt", "T-v1")


# Before ManiSkill is imported


def simulator(name, render_backend="none", **arguments):
    suite = find_suite(f"maniskill:{name}", tuple(arguments.items()))
    return ManiSkillTaskSimulator(suite.tasks, render_backend)


def episode(simulated, index):
    (row,) = simulated._tasks.values()
    return row.listing(index + 1)[index]


def test_foreign_tasks_have_no_privileged_state():
    with pytest.raises(UnsupportedTask, match=r"simpler/carrot-on-plate.*only vlagen's own task has"):
        ManiSkillTaskSimulator(SIMPLER_TASKS, "none", privileged=True)


def test_simplers_tasks_do_not_run_in_batches():
    with pytest.raises(UnsupportedTask, match="by the first one's boxes"):
        ManiSkillTaskSimulator(SIMPLER_TASKS, "none", count=4, physics="physx_cuda")


def test_a_simulator_that_has_played_nothing_crosses_processes():
    assert pickle.loads(pickle.dumps(simulator("StackCube-v1"))).capacity == 1


# In ManiSkill, without pictures


@pytest.mark.sim
@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("StackCubes-v1", UnknownTask, "unknown ManiSkill task 'StackCubes-v1'; did you mean 'StackCube-v1'"),
        ("PickCubeSO100-v1", UnsupportedTask, "none of its robot's control modes .*pd_joint_delta_pos"),
        ("TwoRobotStackCube-v1", UnsupportedTask, "vlagen's actions move one gripper"),
        ("Empty-v1", UnsupportedTask, "Empty-v1 does not say whether an episode succeeded"),
        (
            "FMBAssembly1Easy-v1",
            UnsupportedTask,
            "has no words for what is to be done; give them with --suite-args instruction",
        ),
        ("PickSingleYCB-v1", MissingAsset, "needs ycb.*python -m mani_skill.utils.download_asset PickSingleYCB-v1 -y"),
        ("PickCubeWidowXAI-v1", MissingAsset, "python -m mani_skill.utils.download_asset widowxai -y"),
    ],
)
def test_tasks_that_cannot_be_evaluated_say_why_before_the_first_episode(name, error, message):
    with pytest.raises(error, match=message):
        simulator(name).inspect()


@pytest.mark.sim
def test_words_are_kept_for_tasks_that_maniskill_registers():
    simulator("PickCube-v1").inspect()
    from mani_skill.utils.registration import REGISTERED_ENVS

    assert set(INSTRUCTIONS) <= set(REGISTERED_ENVS)
    assert not [name for name in INSTRUCTIONS if REGISTERED_ENVS[name].asset_download_ids]


@pytest.mark.sim
def test_the_users_own_words_and_horizon_are_used():
    simulated = simulator("StackCube-v1", instruction="red on green", horizon="7")
    assert simulated.start([episode(simulated, 0)]).instruction == ("red on green",)
    assert simulated.horizon == 7


@pytest.mark.sim
def test_what_can_move_a_number_is_told():
    simulated = simulator("StackCube-v1")
    identity = simulated.identity()["maniskill/StackCube-v1"]
    assert identity["environment"] == "StackCube-v1"
    assert identity["robot"] == "panda_wristcam"
    assert identity["control"]["control_mode"] == "pd_ee_target_delta_pose"
    assert identity["control"]["gripper"] == (-1.0, 1.0)
    assert (identity["horizon"], identity["control_frequency"]) == (50, 20)
    assert identity["instructions"] == ["stack the red cube on the green cube"]
    assert (identity["camera"], identity["picture"], identity["shader"]) == (None, None, None)
    assert simulated.inspect()["maniskill/StackCube-v1"].picture_shape is None


def rotation_matrix(quaternion):
    """Of a quaternion wxyz."""
    w, x, y, z = quaternion
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def turn(axis, angle):
    """Rotation matrix about a coordinate axis."""
    first, second = [(1, 2), (2, 0), (0, 1)][axis]
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = np.cos(angle)
    matrix[second, first], matrix[first, second] = np.sin(angle), -np.sin(angle)
    return matrix


def moved(simulated, start, action, repeats, settle):
    """Where an action, given several times, takes the gripper in the base frame: translation [m], rotation matrix."""
    before = simulated.start([start]).gripper_pose[0].astype(float)
    for _ in range(repeats):
        simulated.step(np.float32([[*action, 1]]))
    for _ in range(settle):
        after = simulated.step(HOLD).observation.gripper_pose[0].astype(float)
    return after[:3] - before[:3], rotation_matrix(after[3:]) @ rotation_matrix(before[3:]).T


def check_displacements(simulated, start, repeats, settle, translation_tolerance, rotation_tolerance):
    """Each axis alone, then three rotations at once, which only the intrinsic XYZ convention takes to that pose."""
    for axis in range(3):
        action = np.zeros(6)
        action[axis] = 0.02
        shift, rotation = moved(simulated, start, action, repeats, settle)
        np.testing.assert_allclose(shift, repeats * action[:3], atol=translation_tolerance)
        np.testing.assert_allclose(rotation, np.eye(3), atol=rotation_tolerance)
        action = np.zeros(6)
        action[3 + axis] = 0.08
        shift, rotation = moved(simulated, start, action, repeats, settle)
        np.testing.assert_allclose(rotation, turn(axis, repeats * 0.08), atol=rotation_tolerance)
        np.testing.assert_allclose(shift, 0, atol=translation_tolerance)
    angles = (0.04, 0.06, -0.05)
    once = turn(0, angles[0]) @ turn(1, angles[1]) @ turn(2, angles[2])
    _, rotation = moved(simulated, start, [0, 0, 0, *angles], repeats, settle)
    np.testing.assert_allclose(rotation, np.linalg.matrix_power(once, repeats), atol=rotation_tolerance)


@pytest.mark.sim
def test_a_panda_goes_where_canonical_actions_say():
    simulated = simulator("StackCube-v1")
    check_displacements(simulated, episode(simulated, 1), 2, 10, translation_tolerance=0.002, rotation_tolerance=0.004)


@pytest.mark.sim
def test_the_mode_without_a_target_goes_the_same_way_but_falls_short():
    simulated = simulator("StackCube-v1", control_mode="pd_ee_delta_pose")
    shift, _ = moved(simulated, episode(simulated, 1), [0, 0, 0.02, 0, 0, 0], 2, 10)
    np.testing.assert_allclose(shift[:2], 0, atol=0.002)
    assert 0.005 < shift[2] < 0.03
    assert not simulated._environment.mapping.adds_to_target


@pytest.mark.sim
def test_plus_one_opens_a_pandas_gripper_and_minus_one_closes_it():
    simulated = simulator("StackCube-v1")
    simulated.start([episode(simulated, 0)])
    fingers = []
    for opening in (-1, 1):
        for _ in range(15):
            result = simulated.step(np.float32([[0, 0, 0, 0, 0, 0, opening]]))
        fingers.append(result.observation.proprioception[0, -2:])
    np.testing.assert_allclose(fingers, [[0, 0], [0.04, 0.04]], atol=0.002)


@pytest.mark.sim
def test_actions_that_are_cut_are_counted_and_warned_of_once():
    simulated = simulator("StackCube-v1")
    simulated.start([episode(simulated, 0)])
    assert simulated.step(HOLD).cut_steps.tolist() == [0]
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always", ActionsCut)
        for _ in range(3):
            result = simulated.step(np.float32([[0, 0, 0.3, 0, 0, 0, 1]]))
    (warning,) = [str(warning.message) for warning in seen if warning.category is ActionsCut]
    assert "more than the controller takes in one step (0.1 m along each axis, 0.1 rad)" in warning
    assert result.cut_steps.tolist() == [3]
    simulated.start([episode(simulated, 0)])
    assert simulated.step(HOLD).cut_steps.tolist() == [0]


def pick_cube(simulated, start):
    """Solves PickCube-v1 from the simulator's truth; returns success at each step, and the last result."""
    observation = simulated.start([start])
    truth = simulated._environment._environment
    base = truth.agent.robot.pose.p[0].numpy()
    cube, goal = truth.cube.pose.p[0].numpy() - base, truth.goal_site.pose.p[0].numpy() - base
    edge = rotation_matrix(truth.cube.pose.q[0].numpy())[:, 0]
    fingers = rotation_matrix(observation.gripper_pose[0, 3:])[:, 1]
    angle = np.arctan2(edge[1], edge[0]) - np.arctan2(fingers[1], fingers[0])
    angle = (angle + np.pi / 4) % (np.pi / 2) - np.pi / 4  # the nearest of the cube's four sides
    aim, successes = observation.gripper_pose[0, :3].astype(float), []
    above = cube + [0, 0, 0.08]
    for place, gripper, steps, yaw in ((above, 1, 8, angle / 8), (cube, 1, 6, 0), (cube, -1, 4, 0), (goal, -1, 32, 0)):
        for _ in range(steps):
            delta = np.clip(place - aim, -0.04, 0.04)
            aim += delta
            result = simulated.step(np.float32([[*delta, 0, 0, yaw, gripper]]))
            successes.append(bool(result.success[0]))
    return successes, result


@pytest.mark.sim
def test_a_script_in_canonical_actions_solves_pick_cube():
    simulated = simulator("PickCube-v1")
    for index in range(5):
        successes, result = pick_cube(simulated, episode(simulated, index))
        assert len(successes) == simulated.horizon == 50
        assert successes[-1], f"seed {index}"
        assert not any(successes[:18]), "the cube is not at the goal before it was grasped"
        assert result.grasped.tolist() == result.consecutive_grasp.tolist() == [True]
        assert result.facts is None
        assert result.cut_steps.tolist() == [0]


@pytest.mark.sim
def test_grasps_are_those_of_any_step_so_far_and_none_where_the_task_is_silent():
    simulated = simulator("PickCube-v1")
    pick_cube(simulated, episode(simulated, 0))
    for _ in range(10):
        result = simulated.step(HOLD)
    assert result.grasped.tolist() == [True]
    assert not simulated._environment._environment.evaluate()["is_grasped"].any()
    simulated.start([episode(simulated, 0)])
    result = simulated.step(HOLD)
    assert (result.grasped.tolist(), result.consecutive_grasp.tolist()) == ([False], [False])
    silent = simulator("PushCube-v1")
    silent.start([episode(silent, 0)])
    result = silent.step(HOLD)
    assert (result.grasped, result.consecutive_grasp) == (None, None)


def trajectory(simulated, start, steps=8):
    """Everything that is seen of an episode with fixed random actions: lists of pictures and of numbers."""
    generator = np.random.default_rng(start.index)
    observation = simulated.start([start])
    pictures, numbers = [observation.rgb], [observation.proprioception, observation.gripper_pose]
    for _ in range(steps):
        result = simulated.step(generator.uniform(-0.04, 0.04, (1, 7)).astype(np.float32))
        pictures.append(result.observation.rgb)
        numbers += [result.observation.proprioception, result.observation.gripper_pose, result.reward[None]]
    return pictures, np.concatenate(numbers, axis=1)


@pytest.mark.sim
@pytest.mark.parametrize("name", ["StackCube-v1", "PickCube-v1", "PegInsertionSide-v1"])
def test_an_episode_does_not_depend_on_what_ran_before(name):
    simulated = simulator(name)
    _, first = trajectory(simulated, episode(simulated, 3))
    trajectory(simulated, episode(simulated, 7), steps=20)
    _, again = trajectory(simulated, episode(simulated, 3))
    simulated.close()
    _, fresh = trajectory(simulated, episode(simulated, 3))
    np.testing.assert_array_equal(again, first)
    np.testing.assert_array_equal(fresh, first)
    assert np.abs(trajectory(simulated, episode(simulated, 4))[1] - first).max() > 0.01


@pytest.mark.sim
def test_observations_share_no_memory_with_the_simulator():
    simulated = simulator("StackCube-v1")
    kept = simulated.start([episode(simulated, 0)])
    before = (kept.proprioception.copy(), kept.gripper_pose.copy())
    simulated.step(np.float32([[0.05, 0.05, 0, 0, 0, 0, -1]]))
    np.testing.assert_array_equal(kept.proprioception, before[0])
    np.testing.assert_array_equal(kept.gripper_pose, before[1])
    assert kept.proprioception.dtype == kept.gripper_pose.dtype == np.float32
    assert (kept.proprioception.shape, kept.gripper_pose.shape, kept.step) == ((1, 9), (1, 7), 0)


# With pictures


@pytest.fixture
def renderer():
    try:
        return choose_render_backend()
    except NoRenderer as error:
        pytest.skip(str(error))


@pytest.mark.sim
@pytest.mark.slow
def test_pictures_do_not_depend_on_what_ran_before_and_physics_not_on_pictures(renderer):
    seeing = simulator("StackCube-v1", renderer)
    pictures, numbers = trajectory(seeing, episode(seeing, 3), steps=3)
    assert pictures[0].shape == (1, 128, 128, 3)
    assert pictures[0].dtype == np.uint8
    assert seeing.inspect()["maniskill/StackCube-v1"].picture_shape == (128, 128, 3)
    other, _ = trajectory(seeing, episode(seeing, 4), steps=3)
    again, _ = trajectory(seeing, episode(seeing, 3), steps=3)
    np.testing.assert_array_equal(again, pictures)
    assert (other[0] != pictures[0]).any()
    assert (pictures[3] != pictures[0]).any()
    blind = simulator("StackCube-v1")
    np.testing.assert_array_equal(trajectory(blind, episode(blind, 3), steps=3)[1], numbers)


@pytest.mark.sim
@pytest.mark.slow
def test_the_user_chooses_camera_and_size(renderer):
    seeing = simulator("StackCube-v1", renderer, camera="hand_camera", height="96", width="160")
    assert seeing.start([episode(seeing, 0)]).rgb.shape == (1, 96, 160, 3)
    with pytest.raises(UnsupportedTask, match="unknown camera 'hand_cam'; did you mean 'hand_camera'"):
        simulator("StackCube-v1", renderer, camera="hand_cam").inspect()


@pytest.mark.sim
@pytest.mark.gpu
def test_an_episode_starts_alike_in_every_batch_on_the_gpu():
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA")
    suite = find_suite("maniskill:StackCube-v1")
    batched = ManiSkillTaskSimulator(suite.tasks, "none", count=3, physics="physx_cuda")
    episodes = suite.tasks[0].listing(3)
    together, reversed_ = batched.start(episodes), batched.start(episodes[::-1])
    np.testing.assert_allclose(together.proprioception, reversed_.proprioception[::-1], atol=1e-5)
    alone = batched.start(episodes[1:2])
    np.testing.assert_allclose(alone.proprioception, together.proprioception[1:2], atol=1e-5)
    assert batched.step(HOLD).success.shape == (1,)


# SimplerEnv, in a process of its own: ManiSkill settles where its files lie when it is imported


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """Runs a function of this module in a process whose ManiSkill finds SimplerEnv's files."""
    root = tmp_path_factory.mktemp("maniskill")
    for path, source in SIMPLER_SOURCES.items():
        (root / "data" / path).parent.mkdir(parents=True, exist_ok=True)
        (root / "data" / path).symlink_to(source)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MS_ASSET_DIR", str(root))
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            yield lambda function, *arguments: pool.submit(function, *arguments).result(timeout=280)


def task_of(name):
    return next(task for task in SIMPLER_TASKS if task.id == f"simpler/{name}")


def simpler_displacements():
    task = task_of("carrot-on-plate")
    simulated = ManiSkillTaskSimulator([task], "none")
    # At 5 Hz the WidowX's own drives end up to a millimetre and a half, and 0.01 rad, from where they are told to go.
    check_displacements(simulated, task.listing(1)[0], 1, 4, translation_tolerance=0.002, rotation_tolerance=0.012)
    fingers = []
    for opening in (-1, 1):
        for _ in range(4):
            result = simulated.step(np.float32([[0, 0, 0, 0, 0, 0, opening]]))
        fingers.append(result.observation.proprioception[0, -2:])
    return np.array(fingers)


@needs_simpler
def test_simplers_widowx_goes_where_canonical_actions_say(elsewhere):
    # The joints' own limits: the commands go one millimetre further on either side.
    np.testing.assert_allclose(elsewhere(simpler_displacements), [[0.015, 0.015], [0.037, 0.037]], atol=5e-4)


def stack_cubes(index):
    """Puts the green cube on the yellow one; returns success at each step and the last result's flags."""
    task = task_of("stack-cube")
    simulated = ManiSkillTaskSimulator([task], "none")
    observation = simulated.start(task.listing(24)[index : index + 1])
    truth = simulated._environment._environment
    to_base = truth.agent.robot.pose.sp.inv()
    green, yellow = (
        np.array((to_base * truth.objs[name].pose.sp).p) for name in (truth.source_obj_name, truth.target_obj_name)
    )
    high, low = np.array([0, 0, 0.1]), np.array([0, 0, 0.032])
    aim, successes = observation.gripper_pose[0, :3].astype(float), []
    for place, gripper, steps in (
        (green + high, 1, 8),
        (green, 1, 6),
        (green, -1, 3),
        (green + high, -1, 6),
        (yellow + high, -1, 8),
        (yellow + low, -1, 6),
        (yellow + low, 1, 3),
        (yellow + high, 1, 20),
    ):
        for _ in range(steps):
            delta = np.clip(place - aim, -0.03, 0.03)
            aim += delta
            result = simulated.step(np.float32([[*delta, 0, 0, 0, gripper]]))
            successes.append(bool(result.success[0]))
    return successes, simulated.horizon, bool(result.grasped[0]), bool(result.consecutive_grasp[0])


@needs_simpler
@pytest.mark.parametrize("index", [0, 12])
def test_a_script_in_canonical_actions_stacks_simplers_cubes(elsewhere, index):
    successes, horizon, grasped, held = elsewhere(stack_cubes, index)
    assert horizon == len(successes) == 60
    assert successes[-1]
    assert not any(successes[:30]), "the green cube is in the gripper until then"
    assert grasped
    assert held


def simpler_facts():
    """Of all four tasks: facts, how many episodes upstream's tables have, and where both objects are and should be."""
    simulated = ManiSkillTaskSimulator(SIMPLER_TASKS, "none")
    facts, sizes, poses, commanded = simulated.inspect(), {}, {}, {}
    for task in SIMPLER_TASKS:
        poses[task.id], commanded[task.id] = [], []
        for start in task.listing(24):
            simulated.start([start])
            truth = simulated._environment._environment
            objects = [truth.objs[name] for name in (truth.source_obj_name, truth.target_obj_name)]
            poses[task.id].append([actor.pose.raw_pose[0].tolist() for actor in objects])
            commanded[task.id].append(truth.xyz_configs[start.index // len(truth.quat_configs)].tolist())
        sizes[task.id] = len(truth.xyz_configs) * len(truth.quat_configs)
    identities = {row: dict(fact.identity) for row, fact in facts.items()}
    horizons = [fact.horizon for fact in facts.values()]
    return identities, horizons, sizes, {row: (np.array(poses[row]), np.array(commanded[row])) for row in poses}


@pytest.mark.slow
@needs_simpler
def test_simplers_episodes_are_upstreams_in_its_order(elsewhere):
    identities, horizons, sizes, places = elsewhere(simpler_facts)
    assert sizes == {task.id: task.size for task in SIMPLER_TASKS}
    assert horizons == [60, 60, 60, 120]
    assert [identity["instructions"] for identity in identities.values()] == [
        ["put carrot on plate"],
        ["put the spoon on the towel"],
        ["stack the green block on the yellow block"],
        ["put eggplant into yellow basket"],
    ]
    for identity in identities.values():
        assert identity["control"]["limited"] is False
        assert sorted(identity["assets"]) == ["bridge_v2_real2sim", "widowx250s"]
        assert all(len(digest) == 64 for digest in identity["assets"].values())
    for row, (poses, commanded) in places.items():
        # An eggplant dropped into the sink rolls; the others come to rest where they are put.
        drift = 0.06 if row == "simpler/eggplant-in-basket" else 0.012
        np.testing.assert_allclose(poses[..., :2], commanded[..., :2], atol=drift, err_msg=row)
    # The carrot's numbers go place by place, with two yaws each: 180 degrees, then -90.
    carrot = places["simpler/carrot-on-plate"][0][:, 0]
    np.testing.assert_allclose(np.abs(carrot[0::2, 6]), 1, atol=0.01)
    np.testing.assert_allclose(carrot[1::2, 6] / carrot[1::2, 3], -1, atol=0.02)


def beside_upstream(renderer):
    """First and later pictures, joints, success of each task: ours, and of the environment as upstream uses it."""
    import gymnasium
    import torch

    ours = ManiSkillTaskSimulator(SIMPLER_TASKS, renderer)
    ours.start(SIMPLER_TASKS[0].listing(1))
    from mani_skill.envs.tasks.digital_twins.base_env import BaseDigitalTwinEnv

    results = {}
    for task in SIMPLER_TASKS:
        # Upstream evaluates one task a process; these two are shared by all environments of one.
        BaseDigitalTwinEnv._rgb_overlay_images, BaseDigitalTwinEnv._objects_to_remove_from_greenscreen = {}, []
        upstream = gymnasium.make(
            task.environment,
            obs_mode="rgb+segmentation",
            num_envs=1,
            render_backend=renderer,
            sensor_configs={"shader_pack": "default"},
        )
        action = np.float32([[0.02, -0.01, -0.03, 0.05, 0.02, -0.04, -1]])
        raw, _ = upstream.reset(seed=5, options={"episode_id": torch.tensor([5]), "reconfigure": True})
        theirs = [raw["sensor_data"]["3rd_view_camera"]["rgb"].numpy().copy()]
        for _ in range(4):
            raw, *_, info = upstream.step(action)
        theirs += [raw["sensor_data"]["3rd_view_camera"]["rgb"].numpy(), raw["agent"]["qpos"].numpy()]
        theirs.append(info["success"].numpy())
        upstream.close()
        mine = [ours.start(task.listing(6)[5:]).rgb]
        for _ in range(4):
            result = ours.step(action)
        mine += [result.observation.rgb, result.observation.proprioception, result.success]
        results[task.id] = (mine, theirs)
    return results


@pytest.mark.slow
@needs_simpler
def test_simplers_pictures_and_physics_are_upstreams(elsewhere, renderer):
    for row, (mine, theirs) in elsewhere(beside_upstream, renderer).items():
        assert mine[0].shape == (1, 480, 640, 3)
        assert (mine[0] != mine[1]).any()
        for own, upstream in zip(mine, theirs, strict=True):
            np.testing.assert_array_equal(own, upstream, err_msg=row)


def two_at_once(renderer):
    """The carrot's first picture before and after another task's environment was made in the same process."""
    carrot, eggplant = (
        ManiSkillTaskSimulator([task_of(n)], renderer) for n in ("carrot-on-plate", "eggplant-in-basket")
    )
    start = task_of("carrot-on-plate").listing(1)
    before = carrot.start(start).rgb
    other = eggplant.start(task_of("eggplant-in-basket").listing(1)).rgb
    return before, carrot.step(HOLD).observation.rgb, carrot.start(start).rgb, other


@pytest.mark.slow
@needs_simpler
def test_simplers_backgrounds_stay_apart(elsewhere, renderer):
    before, during, after, other = elsewhere(two_at_once, renderer)
    np.testing.assert_array_equal(after, before)
    # Standing still changes a few pixels of the robot; another background would change most of the picture.
    assert (during != before).mean() < 0.05
    assert (other != before).mean() > 0.5
