"""The simulated task against records of the original environments, with the paper's own asset pack.

Tolerances are those of ``protocol.md`` section 11.
"""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from tests import golden
from tests.tasks.environments import make_environment, needs_pack

pytestmark = [*golden.needs_golden, *needs_pack("rl4vla"), pytest.mark.sim]


def _angle(a, b):
    """Degrees between two orientations, wxyz."""
    cosine = abs(np.dot(a, b)) / (np.linalg.norm(a) * np.linalg.norm(b))
    return np.degrees(2 * np.arccos(min(1.0, cosine)))


def _reset(env, record, rebuild=True):
    from vlagen.tasks.episodes import decode
    from vlagen.tasks.upstream import upstream_variant

    episode = decode(upstream_variant(record["env_id"], record["obj_set"]), record["episode_id"])
    return env.reset(options={"episodes": [episode], "reconfigure": rebuild})


def _models(env, record):
    """Golden body name -> pose (7,) in the scene."""
    actors = env.unwrapped.scene.actors
    return {name: actors[name].pose.raw_pose[0].numpy().astype(float) for name in record["settled"]}


@pytest.fixture(scope="module")
def state_env():
    env = make_environment("rl4vla", obs_mode="state_dict", render_backend="none")
    yield env
    env.close()


@pytest.fixture(scope="module")
def rgb_env():
    env = make_environment("rl4vla", obs_mode="rgb", render_backend="cpu")
    yield env
    env.close()


def _repeatability(name):
    """How far upstream's own settled poses of this model spread over reset histories: metres, degrees."""
    path = golden.PROTOCOL / "object_repeatability.json"
    spread = json.loads(path.read_text()).get(name) if path.exists() else None
    return (spread["max_pos_mm"] / 1e3, spread["max_ang_deg"]) if spread else (0.0, 0.0)


def _settled_problems(env, record):
    poses, problems = _models(env, record), []
    for name, expected in record["settled"].items():
        p, q = poses[name][:3], poses[name][3:]
        distance = np.linalg.norm(p - expected["p"])
        if record["stable"]:
            limit, degrees = (2e-3, 5.0) if record["moving_at_reset"] else (5e-4, 1.0)
            own_distance, own_degrees = _repeatability(name)
            if distance > max(limit, own_distance) or _angle(q, expected["q"]) > max(degrees, own_degrees):
                problems.append((name, distance, _angle(q, expected["q"])))
        else:
            # Some of upstream's own unstable poses are further than that from where they were dropped.
            commanded = np.array(record["commanded"][name]["p"])
            if min(np.linalg.norm((p - commanded)[:2]), np.linalg.norm((p - expected["p"])[:2])) > 0.05:
                problems.append((name, "far from where it was dropped", p, commanded))
            if abs(p[2] - expected["p"][2]) > 3e-3 and not _leans_on_plate(record, expected["p"]):
                problems.append((name, "height", p[2], expected["p"][2]))
    return problems


def _leans_on_plate(record, position):
    plate = np.array(record["settled"][record["plate_name"]]["p"])
    return np.linalg.norm(np.array(position)[:2] - plate[:2]) < 0.09


@pytest.mark.parametrize("path", golden.row_files(), ids=lambda path: path.stem)
def test_reset_state(path, state_env):
    problems = {}
    for record in json.loads(path.read_text())["records"]:
        _, info = _reset(state_env, record)
        task = state_env.unwrapped
        found = _settled_problems(state_env, record)
        np.testing.assert_allclose(task.agent.robot.get_qpos()[0], record["robot_qpos"], atol=1e-5)
        pose = task.agent.controller.controllers["arm"].ee_pose_at_base
        np.testing.assert_allclose(pose.p[0], record["ee_in_base_p"], atol=1e-5)
        assert _angle(pose.q[0].numpy(), record["ee_in_base_q"]) < 0.05
        np.testing.assert_allclose(task.agent.robot.pose.p[0], record["robot_root_p"], atol=1e-6)
        assert task.instructions == [record["instruction"]]
        if record["stable"]:
            tilt = np.radians(_repeatability(record["object_name"])[1]) * max(record["object_bbox_world"])
            np.testing.assert_allclose(task.judge.object_box[0], record["object_bbox_world"], atol=max(2e-3, tilt))
            np.testing.assert_allclose(task.judge.receptacle_box[0], record["plate_bbox_world"], atol=2e-3)
            for key in ("is_src_obj_grasped", "consecutive_grasp", "src_on_target", "success"):
                if bool(info[key][0]) != record["reset_info"][key]:
                    found.append((key, bool(info[key][0])))
        if found:
            problems[record["episode_id"]] = found
    assert not problems


def _image_records():
    return [r for path in golden.row_files() for r in json.loads(path.read_text())["records"] if r["image"]]


@pytest.mark.parametrize("record", _image_records(), ids=lambda r: f"row{r['row']:02d}_{r['episode_id']}")
def test_picture(record, rgb_env):
    observation, _ = _reset(rgb_env, record)
    assert not _settled_problems(rgb_env, record)
    ours = observation["sensor_data"]["3rd_view_camera"]["rgb"][0].numpy()
    stem = golden.PROTOCOL / "images" / f"row{record['row']:02d}_{record['episode_id']}"
    theirs = cv2.cvtColor(cv2.imread(f"{stem}.png"), cv2.COLOR_BGR2RGB)
    fg = cv2.imread(f"{stem}_fg.png", cv2.IMREAD_GRAYSCALE) > 0
    mask = _foreground(rgb_env)
    assert (mask & fg).sum() / (mask | fg).sum() >= 0.995
    difference = np.abs(ours.astype(int) - theirs).max(-1)
    assert (difference > 8).mean() <= 0.005
    if "Texture" not in record["env_id"] and "Whole" not in record["env_id"]:
        assert difference[~mask & ~fg].max() == 0


def _foreground(env):
    view = env.unwrapped._view
    return view.mask(view.rendered(["segmentation"])["segmentation"])[0].numpy()


def _rollouts():
    return [r for path in sorted((golden.PROTOCOL / "rollouts").glob("*.json")) for r in json.loads(path.read_text())]


@pytest.mark.parametrize("rollout", _rollouts(), ids=lambda r: f"row{r['row']:02d}_{r['episode_id']}")
def test_rollout(rollout, state_env):
    records = json.loads(next(golden.PROTOCOL.glob(f"row{rollout['row']:02d}_*.json")).read_text())["records"]
    record = next(r for r in records if r["episode_id"] == rollout["episode_id"])
    _reset(state_env, rollout)
    task = state_env.unwrapped
    for step in rollout["steps"]:
        action = np.array([step["action"]], dtype=np.float32)
        _, reward, terminated, truncated, info = state_env.step(action)
        np.testing.assert_allclose(task.agent.robot.get_qpos()[0], step["qpos"], atol=1e-4)
        arm = task.agent.controller.controllers["arm"]
        np.testing.assert_allclose(arm.ee_pose_at_base.p[0], step["ee_p"], atol=1e-4)
        np.testing.assert_allclose(arm._target_pose.p[0], step["target_p"], atol=1e-4)
        assert _angle(arm._target_pose.q[0].numpy(), step["target_q"]) < 0.05
        # A body that is rolling when the episode starts ends elsewhere after another reset history, upstream too.
        if record["stable"] and not record["moving_at_reset"]:
            for name, pose in step["objects"].items():
                ours = task.scene.actors[name].pose.p[0].numpy()
                np.testing.assert_allclose(ours, pose["p"], atol=2e-3, err_msg=name)
        for key in ("is_src_obj_grasped", "consecutive_grasp", "src_on_target", "success"):
            assert bool(info[key][0]) == step["info"][key], key
        assert int(info["elapsed_steps"][0]) == step["info"]["elapsed_steps"]
        assert float(reward[0]) == pytest.approx(step["reward"], abs=1e-6)
        assert bool(terminated[0]) == step["terminated"]
        assert bool(truncated[0] if hasattr(truncated, "__len__") else truncated) == step["truncated"]


def _demos():
    path = golden.PROTOCOL / "demos" / "mp_demos.json"
    return json.loads(path.read_text())["demos"] if path.exists() else []


@pytest.mark.parametrize(
    "demo", _demos(), ids=lambda d: f"{d['env_id'].removeprefix('PutOnPlateInScene25')}-{d['episode_id']}"
)
def test_planner_replay(demo, state_env):
    if not demo["robust"]:
        pytest.skip("upstream's own replays of it disagree")
    # Bodies of several hulls settle in one of two ways, by the parity of the resets before (Q14): try both histories.
    chaotic = _repeatability(demo["object"])[0] > 2e-3
    outcomes = [_replay(state_env, demo, rebuild) for rebuild in ((True, False) if chaotic else (True,))]
    assert (demo["replay_success"][0], pytest.approx(demo["total_reward"], abs=1e-5)) in outcomes


def _replay(env, demo, rebuild):
    """Success at the end and total reward."""
    _reset(env, demo, rebuild)
    rewards = [float(env.step(np.array([action], dtype=np.float32))[1][0]) for action in demo["actions"]]
    return bool(env.unwrapped.evaluate()["success"][0]), sum(rewards)
