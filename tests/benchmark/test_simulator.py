import itertools

import numpy as np
import pytest

from tests.benchmark import toys
from vlagen.benchmark import cli
from vlagen.benchmark.backends.put_on_plate import ManiSkillSimulator
from vlagen.benchmark.records import read_records
from vlagen.benchmark.simulator import NoRenderer, choose_render_backend
from vlagen.tasks import rendering
from vlagen.tasks.interface import HORIZON, IMAGE_HEIGHT, IMAGE_WIDTH
from vlagen.tasks.sampling import evaluation_episodes
from vlagen.tasks.variants import variant

ASSETS = "builtin"


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(rendering, "nvidia_gpu_present", lambda: False)
    for variable in ("VK_ICD_FILENAMES", "VK_DRIVER_FILES"):
        monkeypatch.delenv(variable, raising=False)


def test_a_machine_without_a_driver_is_told_what_to_do(no_gpu, monkeypatch):
    monkeypatch.setattr(rendering, "find_software_vulkan", lambda: None)
    with pytest.raises(NoRenderer, match="no Vulkan driver; `vlagen-doctor` names the fix"):
        choose_render_backend()


def test_a_machine_with_an_old_driver_is_told_what_to_do(no_gpu, monkeypatch):
    monkeypatch.setattr(rendering, "find_software_vulkan", lambda: "lvp_icd.json")
    monkeypatch.setattr(rendering, "mesa_version", lambda: "22.3.6-1+deb12u1")
    with pytest.raises(NoRenderer, match=r"Mesa 22.3.6-1\+deb12u1 is older than 24.3; `vlagen-doctor`"):
        choose_render_backend()


def test_a_driver_that_the_user_names_is_used(no_gpu, monkeypatch):
    monkeypatch.setenv("VK_ICD_FILENAMES", "/somewhere/else.json")
    monkeypatch.setattr(rendering, "find_software_vulkan", lambda: None)
    monkeypatch.setattr(rendering, "mesa_version", lambda: None)
    assert choose_render_backend() == "cpu"


def test_no_renderer_is_one_line_on_the_command_line(no_gpu, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(rendering, "find_software_vulkan", lambda: None)
    arguments = ["--policy", "noop", "--video", "all", "--rows", "train", "--out", str(tmp_path / "out")]
    assert cli.main(arguments) == cli.BAD_INPUT
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def play(render_backend, episodes, steps=12):
    """Plays a fixed action sequence; returns every observation of every episode."""
    simulator = ManiSkillSimulator(ASSETS, render_backend, privileged=True)
    observations = []
    for episode in episodes:
        generator = np.random.default_rng(episode.index)
        observations.append(simulator.start([episode]))
        for _ in range(steps):
            action = generator.uniform(-0.02, 0.02, (1, 7)).astype(np.float32)
            observations.append(simulator.step(action).observation)
    simulator.close()
    return observations


def assert_same_physics(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.proprioception, other.proprioception)
        for name, value in vars(one.privileged).items():
            np.testing.assert_array_equal(value, getattr(other.privileged, name), err_msg=name)


@pytest.mark.sim
def test_observations_are_numpy_of_the_promised_shapes_and_share_no_memory():
    (episode,) = evaluation_episodes(variant("vision/table"), 1)
    observations = play(choose_render_backend(), [episode], steps=3)
    assert [observation.step for observation in observations] == [0, 1, 2, 3]
    for observation in observations:
        assert (observation.rgb.shape, observation.rgb.dtype) == ((1, IMAGE_HEIGHT, IMAGE_WIDTH, 3), np.uint8)
        assert (observation.proprioception.shape, observation.proprioception.dtype) == ((1, 8), np.float32)
        assert len(observation.instruction) == 1
    for one, other in itertools.pairwise(observations):
        assert not np.shares_memory(one.rgb, other.rgb)
        assert not np.array_equal(one.proprioception, other.proprioception)


@pytest.mark.sim
@pytest.mark.slow
def test_physics_depends_neither_on_rendering_nor_on_what_ran_before():
    episodes = [evaluation_episodes(variant(row), 1)[0] for row in ("train", "semantics/two-objects-seen")]
    forth = play("none", episodes)
    assert_same_physics(forth, play(choose_render_backend(), episodes))
    back = play("none", episodes[::-1])
    half = len(forth) // 2
    assert_same_physics(forth, back[half:] + back[:half])


@pytest.mark.sim
@pytest.mark.slow
def test_real_records_do_not_depend_on_backend_workers_or_video(tmp_path):
    def run(name, *arguments):
        common = ["--policy", "random", "--rows", "train", "vision/noise-strong", "--episodes", "2"]
        assert cli.main([*common, "--assets", ASSETS, "--out", str(tmp_path / name), *arguments]) == cli.COMPLETE
        return toys.timeless_lines(tmp_path / name)

    one = run("one")
    assert one == run("two", "--workers", "2", "--backend", "replicas") == run("filmed", "--video", "all")
    assert one == run("batched", "--workers", "2", "--backend", "batched")
    assert all(record.steps == HORIZON for record in read_records(tmp_path / "one" / "episodes.jsonl")[0])
    assert len(list((tmp_path / "filmed" / "videos").rglob("*.mp4"))) == 4
