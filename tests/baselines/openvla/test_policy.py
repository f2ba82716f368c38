import importlib.util
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.baselines.openvla.golden import BLANK, SHARED, each_golden
from vlagen.baselines.openvla.errors import BadAdapter, BadCheckpoint, BadOption
from vlagen.baselines.openvla.images import BadImage, BadProcessor
from vlagen.baselines.openvla.normalization import UnknownStatistics
from vlagen.baselines.openvla.options import choose_device
from vlagen.baselines.openvla.policy import OpenVLAPolicy, checkpoint_hash
from vlagen.baselines.openvla.prompts import BadInstruction, left_padded
from vlagen.baselines.openvla.sampling import BadInput
from vlagen.baselines.openvla.tiny import BRIDGE_STATISTICS, make_tiny
from vlagen.benchmark.actions.boundary import check_policy_type, check_returned
from vlagen.benchmark.actions.formats import faults
from vlagen.benchmark.policy import PolicyEpisode
from vlagen.benchmark.remote.strategies import EpisodewisePolicy
from vlagen.tasks.interface import Observation

SMALL = {"width": 64, "depth": 2, "heads": 2, "hidden": 96, "vision_width": 32, "vision_heads": 2}
TEXTS = ("put carrot on plate", "Lay the banana down on the plate.", "set red apple on plate")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tiny(tmp_path_factory.mktemp("policy") / "tiny", **SMALL)


@pytest.fixture(scope="module")
def policy(folder) -> OpenVLAPolicy:
    return OpenVLAPolicy(str(folder))


def seen(*places: int, step: int = 0) -> Observation:
    """What episodes look like; the number is the episode's place among all."""
    pictures = [
        np.random.default_rng(1000 * step + place).integers(0, 256, (480, 640, 3), np.uint8) for place in places
    ]
    return Observation(
        rgb=np.stack(pictures),
        instruction=tuple(TEXTS[place % 3] for place in places),
        proprioception=np.zeros((len(places), 8), np.float32),
        gripper_pose=np.zeros((len(places), 7), np.float32),
        step=step,
    )


def play(policy: OpenVLAPolicy, *places: int, steps: int = 3) -> np.ndarray:
    policy.reset([PolicyEpisode(TEXTS[place % 3], seed=77 + place) for place in places])
    return np.stack([policy.act(seen(*places, step=step)) for step in range(steps)])


def test_it_keeps_the_protocol(policy):
    actions = play(policy, 0, 1, 2)
    check_policy_type(policy, "openvla")
    for step in actions:
        check_returned(step, 3, policy.spec)
        assert not faults(step, policy.spec.emits)
    bridge = BRIDGE_STATISTICS["bridge_orig"]["action"]
    assert (actions[..., :6] >= bridge["q01"][:6]).all()
    assert (actions[..., :6] <= bridge["q99"][:6]).all()
    assert set(np.unique(actions[..., 6])) <= {-1.0, 1.0}


def test_an_episodes_actions_depend_on_its_seed_and_on_nothing_else(policy):
    together = play(policy, 0, 1, 2, 3, 4)
    np.testing.assert_array_equal(play(policy, 3, 1)[:, 0], together[:, 3])
    np.testing.assert_array_equal(play(policy, 4)[:, 0], together[:, 4])
    policy.reset([PolicyEpisode(TEXTS[0], seed=5)])
    other = np.stack([policy.act(seen(0, step=step)) for step in range(3)])
    assert not np.array_equal(other[:, 0], together[:, 0])


def test_sessions_at_different_steps_get_what_they_would_get_alone(policy):
    assert isinstance(policy, EpisodewisePolicy)
    alone = {place: play(policy, place) for place in (0, 1)}
    first, late = (policy.begin(PolicyEpisode(TEXTS[place], seed=77 + place)) for place in (0, 1))
    policy.act_on(seen(0), [first])
    both = replace(seen(0, 1), rgb=np.concatenate([seen(0, step=1).rgb, seen(1, step=0).rgb]), step=-1)
    actions = policy.act_on(both, [first, late])
    np.testing.assert_array_equal(actions[0], alone[0][1, 0])
    np.testing.assert_array_equal(actions[1], alone[1][0, 0])


def test_draws_go_on_from_step_to_step(policy):
    policy.reset([PolicyEpisode(TEXTS[0], seed=5)])
    first, second = policy.act(seen(0)), policy.act(seen(0))
    assert not np.array_equal(first, second)


def test_greedy_is_temperature_zero_and_needs_no_seed(folder):
    greedy, cold = OpenVLAPolicy(str(folder), greedy=True), OpenVLAPolicy(str(folder), temperature=0)
    actions = play(greedy, 0, 1)
    np.testing.assert_array_equal(actions, play(cold, 0, 1))
    greedy.reset([PolicyEpisode(TEXTS[0], seed=123456)])
    np.testing.assert_array_equal(greedy.act(seen(0))[0], actions[0, 0])


def test_a_high_temperature_uses_the_whole_range(folder):
    hot = OpenVLAPolicy(str(folder), temperature=100.0)
    opened = play(hot, *range(8), steps=4)[..., 6]
    # Without learning, 65 of 256 tokens stand for more than 0.5.
    assert 0.05 < (opened > 0).mean() < 0.6


@each_golden("dataset_statistics.json", array="rl_greedy_tokens")
def test_greedy_actions_of_golden_checkpoints_are_upstreams(golden, tmp_path):
    folder = _with_tokenizer(golden.folder, tmp_path)
    key = next(
        name for name, entry in golden.json("dataset_statistics.json").items() if len(entry["action"]["q01"]) == 7
    )
    policy = OpenVLAPolicy(str(folder), key, greedy=True, dtype="float32", images="official")
    processing = policy.processing
    pixels = processing.images([golden.image(sample) for sample in golden.samples])
    prompts = left_padded([golden.prompt_ids(sample) for sample in golden.samples], processing.prompts.pad_id)
    sample = policy.decoder(pixels, prompts)
    np.testing.assert_array_equal(sample.tokens, golden.outputs["rl_greedy_tokens"])
    assert processing.prompts.blank_id == BLANK


def _with_tokenizer(source, target):
    script = SHARED / "make_toy_llama_tokenizer.py"
    if not script.is_file():
        pytest.skip(f"no {script}")
    for path in source.iterdir():
        if path.is_file():
            (target / path.name).symlink_to(path)
    spec = importlib.util.spec_from_file_location("toy_llama", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.write(target)
    return target


def test_small_weights_on_a_cpu_are_copied_to_every_worker(folder, monkeypatch):
    declared = OpenVLAPolicy.declare(str(folder), device="cpu")
    assert declared.light
    size = (folder / "model.safetensors").stat().st_size
    monkeypatch.setattr("vlagen.baselines.openvla.policy.LIGHT", size)
    assert OpenVLAPolicy.declare(str(folder), device="cpu").light
    monkeypatch.setattr("vlagen.baselines.openvla.policy.LIGHT", size - 1)
    assert OpenVLAPolicy.declare(str(folder), device="cpu") == replace(declared, light=False)


def test_the_content_of_the_checkpoint_is_told(folder, tmp_path):
    told = OpenVLAPolicy.contents(checkpoint=str(folder), temperature=0.6)
    assert told == json.loads(json.dumps(told))
    moved = make_tiny(tmp_path / "elsewhere", **SMALL)
    assert checkpoint_hash(moved) == told["checkpoint"]
    retrained = make_tiny(tmp_path / "other", seed=1, **SMALL)
    assert checkpoint_hash(retrained) != told["checkpoint"]
    (moved / "notes.txt").write_text("not loaded, so not told")
    assert checkpoint_hash(moved) == told["checkpoint"]
    statistics = json.loads((moved / "dataset_statistics.json").read_text())
    statistics["bridge_orig"]["action"]["q99"][0] = 0.5
    (moved / "dataset_statistics.json").write_text(json.dumps(statistics))
    assert checkpoint_hash(moved) != told["checkpoint"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"checkpoint": "/nowhere/at/all"}, BadCheckpoint, "no folder /nowhere/at/all; give a folder or a hub id"),
        ({"unnorm_key": "bridge"}, UnknownStatistics, "did you mean 'bridge_orig'"),
        ({"images": "offical"}, BadProcessor, "did you mean 'official'"),
        ({"prompt": "v1"}, BadOption, "unknown prompt 'v1'"),
        ({"dtype": "float8"}, BadOption, "unknown dtype 'float8'"),
        ({"quantize": "int2"}, BadOption, "unknown quantize 'int2'"),
        ({"batching": "pact"}, BadOption, "unknown batching 'pact'"),
        ({"device": "gpu"}, BadOption, "unknown device 'gpu'; .*allowed: auto, cpu, cuda"),
        ({"temperature": -0.1}, BadInput, "temperature -0.1; allowed: 0"),
        ({"temperature": "hot"}, BadOption, "temperature='hot'; allowed: a finite number"),
        ({"gripper_threshold": float("nan")}, BadOption, "gripper_threshold=nan; allowed: a finite number"),
        ({"greedy": "maybe"}, BadOption, "greedy='maybe'; allowed: true or false"),
        ({"merge": 1}, BadOption, "merge=1; allowed: true or false"),
        ({"rows": 0}, BadOption, "rows=0; allowed: a whole number from 1 on"),
        ({"rows": True}, BadOption, "rows=True; allowed: a whole number"),
        ({"decoding": "paralel"}, BadOption, "did you mean 'parallel'"),
        ({"decoding": "parallel"}, BadOption, "does not say how many actions its chunks have: give chunk"),
        ({"decoding": "sequential", "chunk": 4}, BadOption, "which makes one action; allowed: parallel"),
        ({"chunk": 0}, BadOption, "chunk=0; allowed: a whole number from 1 on"),
        ({"adapter": "/nowhere/at/all"}, BadAdapter, "no folder /nowhere/at/all; give the folder of a LoRA adapter"),
    ],
)
def test_bad_options_say_what_is_allowed(folder, options, error, message):
    with pytest.raises(error, match=message):
        OpenVLAPolicy(**{"checkpoint": str(folder), **options})


def test_statistics_of_another_robot_are_refused(tmp_path):
    four = {"toy_four": {"action": {"q01": [0.0] * 4, "q99": [1.0] * 4}}}
    folder = make_tiny(tmp_path / "four", norm_stats=four, **SMALL)
    with pytest.raises(BadCheckpoint, match="'toy_four' are of actions with 4 numbers; allowed: 7"):
        OpenVLAPolicy(str(folder))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_refused():
    assert choose_device("auto") == torch.device("cpu")
    with pytest.raises(BadOption, match="no GPU that torch can use"):
        choose_device("cuda")


def test_pictures_and_instructions_that_it_cannot_read_are_refused(policy):
    policy.reset([PolicyEpisode(TEXTS[0], seed=1)])
    good = seen(0)
    with pytest.raises(BadImage, match="type float32; allowed: uint8"):
        policy.act(
            Observation(good.rgb.astype(np.float32), good.instruction, good.proprioception, good.gripper_pose, 0)
        )
    with pytest.raises(BadInstruction, match="says nothing"):
        policy.act(Observation(good.rgb, (" ",), good.proprioception, good.gripper_pose, 0))
    with pytest.raises(BadInstruction, match="makes a prompt of"):
        policy.act(Observation(good.rgb, ("very " * 900,), good.proprioception, good.gripper_pose, 0))
