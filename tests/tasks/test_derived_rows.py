"""Compositions, severities and control arms in the simulator, with the built-in pack."""

from __future__ import annotations

import numpy as np
import pytest

from tests.tasks.environments import make_environment, needs_pack
from vlagen.assets.packs import load_pack
from vlagen.tasks.rows import control_of, find_row
from vlagen.tasks.sampling import evaluation_episodes

torch = pytest.importorskip("torch", reason="the extra `sim` is not installed")
pytest.importorskip("mani_skill", reason="the extra `sim` is not installed")

pytestmark = [*needs_pack("builtin"), pytest.mark.sim]

PACK = load_pack("builtin")


@pytest.fixture(scope="module")
def state_env():
    env = make_environment(obs_mode="state_dict", render_backend="none")
    yield env
    env.close()


@pytest.fixture(scope="module")
def rgb_env():
    env = make_environment(obs_mode="rgb", render_backend="cpu")
    yield env
    env.close()


def step(env):
    return env.step(np.array([[0, 0, 0, 0, 0, 0, 1]], dtype=np.float32))


def start(env, row, which=0):
    episode = evaluation_episodes(row, which + 1)[which]
    return episode, env.reset(options={"episodes": [episode], "reconfigure": True})[0]


def picture(observation):
    return observation["sensor_data"]["3rd_view_camera"]["rgb"][0].numpy()


@pytest.mark.parametrize(
    ("row_id", "protocol"),
    [
        ("vision/table+execution/moved-midway", "vlagen-v1"),
        ("vision/noise-strong@0.9+semantics/two-objects-unseen", "vlagen-v1"),
        ("semantics/receptacle+semantics/distractor-receptacle", "vlagen-v1"),
        ("semantics/object+execution/position@0.05", "rl4vla"),
        ("semantics/instruction+execution/robot-pose@1.25", "rl4vla"),
        ("semantics/object+semantics/two-receptacles-unseen", "rl4vla"),
    ],
)
def test_composed_rows_and_their_control_arms_run(rgb_env, row_id, protocol):
    row = find_row(row_id, protocol)
    for which in (row, control_of(row)):
        episode, observation = start(rgb_env, which)
        assert episode.variant == which.id
        names = {PACK.model(*key).name for key in episode.models}
        assert names == set(rgb_env.unwrapped.scene.actors) - {"arena"}
        for _ in range(6):
            observation, reward, _, _, _ = step(rgb_env)
        assert picture(observation).shape == (480, 640, 3)
        assert torch.isfinite(reward).all()
        assert np.isfinite(rgb_env.unwrapped.facts().reach_distance).all()
        for name in names:
            assert 0.86 < float(rgb_env.unwrapped.scene.actors[name].pose.p[0, 2]) < 1.0


def test_an_environment_of_a_composed_row_can_be_made():
    env = make_environment(obs_mode="state", render_backend="none", variant="execution/position+vision/table")
    env.reset(seed=3)
    (episode,) = env.unwrapped.episodes
    assert episode.variant == "vision/table+execution/position"
    assert episode.table >= 16
    env.close()


@pytest.mark.parametrize("row_id", ["vision/texture-strong", "vision/noise-weak", "execution/robot-pose"])
def test_a_knob_at_zero_shows_what_the_control_arm_shows(rgb_env, row_id):
    row = find_row(f"{row_id}@0")
    _, ours = start(rgb_env, row)
    _, twins = start(rgb_env, control_of(row))
    np.testing.assert_array_equal(picture(ours), picture(twins))
    assert torch.equal(ours["agent"]["qpos"], twins["agent"]["qpos"])
    _, own = start(rgb_env, find_row(row_id))
    assert (picture(own) != picture(ours)).any()


def test_a_stronger_disturbance_changes_the_picture_more(rgb_env):
    shown = [picture(start(rgb_env, find_row(f"vision/noise-weak@{s}"))[1]).astype(float) for s in (0, 0.2, 0.6)]
    changes = [np.abs(one - shown[0]).sum() for one in shown[1:]]
    assert changes[1] / changes[0] == pytest.approx(3, rel=0.05)  # truncation takes up to one grey level


def test_the_object_moves_when_the_severity_says(state_env):
    row = find_row("execution/moved-midway@9")
    episode, observation = start(state_env, row)
    heights = []
    for _ in range(10):
        observation = step(state_env)[0]
        heights.append(float(observation["extra"]["object_pose"][0, 2]))
    assert heights.index(max(heights)) == 8
    assert heights[8] == pytest.approx(0.951, abs=0.005)  # 5 cm below where it was dropped
    assert episode.reposition_to[2] == 1.0
