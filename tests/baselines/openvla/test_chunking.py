import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.baselines.openvla.test_policy import SMALL, TEXTS, play, seen
from vlagen.baselines.openvla import chunking
from vlagen.baselines.openvla.chunking import CHUNK_KEY, ChunkParts, find_parts
from vlagen.baselines.openvla.errors import BadCheckpoint, BadOption
from vlagen.baselines.openvla.normalization import BadStatistics
from vlagen.baselines.openvla.policy import OpenVLAPolicy, checkpoint_hash
from vlagen.baselines.openvla.tiny import BRIDGE_STATISTICS, make_tiny, tiny_config
from vlagen.baselines.openvla.tiny_chunked import make_tiny_chunked
from vlagen.benchmark.actions.boundary import check_returned
from vlagen.benchmark.actions.formats import faults
from vlagen.benchmark.loading.source import PolicySource
from vlagen.benchmark.policy import PolicyEpisode
from vlagen.tasks.interface import Observation

CHUNK = 3
HEAD, PROJECTOR = "action_head--0_checkpoint.safetensors", "proprio_projector--0_checkpoint.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tiny_chunked(tmp_path_factory.mktemp("chunked") / "tiny", chunk=CHUNK, **SMALL)


@pytest.fixture(scope="module")
def discrete(tmp_path_factory):
    folder = tmp_path_factory.mktemp("discrete") / "tiny"
    return make_tiny_chunked(folder, chunk=CHUNK, continuous=False, proprioception=False, **SMALL)


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def with_joints(observation: Observation, joints: np.ndarray) -> Observation:
    return Observation(**{**vars(observation), "proprioception": joints.astype(np.float32)})


def test_it_declares_chunks_and_joints_and_keeps_its_word(folder, discrete):
    for path, joints in ((folder, True), (discrete, False)):
        policy = OpenVLAPolicy(str(path))
        assert (policy.spec.chunk, policy.spec.needs_proprioception) == (CHUNK, joints)
        actions = play(policy, 0, 1, 2)
        assert actions.shape == (3, 3, CHUNK, 7)
        for step in actions:
            check_returned(step, 3, policy.spec)
            assert not faults(step, policy.spec.emits)


def test_the_declaration_needs_no_weights(copy):
    (copy / "model.safetensors").unlink()
    assert PolicySource("openvla", (("checkpoint", str(copy)),)).spec.chunk == CHUNK


def test_continuous_actions_are_what_the_head_makes_of_the_hidden_states(folder):
    policy = OpenVLAPolicy(str(folder))
    shown = with_joints(seen(0), np.linspace(-2, 2, 8)[None])
    policy.reset([PolicyEpisode(TEXTS[0], seed=1)])
    actions = policy.act(shown)[0]
    decoder, processing = policy.decoder, policy.processing
    # Joints were from -3 to 3, fingers from 0 to 0.04; the second finger's 2 is far beyond.
    state = torch.tensor([[*np.linspace(-2, 2, 8)[:6] / 3, 1.0, 1.0]], dtype=torch.float32)
    with torch.no_grad():
        hidden = decoder.read(processing.images(shown.rgb), processing.prompts(shown.instruction), state)
        numbers = torch.cat([decoder.head.model(part) for part in hidden.reshape(CHUNK, 1, -1)]).double().numpy()
    bridge = BRIDGE_STATISTICS["bridge_orig"]["action"]
    low, high = np.array(bridge["q01"][:6]), np.array(bridge["q99"][:6])
    np.testing.assert_allclose(actions[:, :6], low + (numbers[:, :6] + 1) / 2 * (high - low), atol=1e-6)
    np.testing.assert_array_equal(actions[:, 6], np.where(numbers[:, 6] > 0.5, 1.0, -1.0))


def test_discrete_actions_are_tokens_of_one_action_after_the_other(discrete):
    policy = OpenVLAPolicy(str(discrete), greedy=True)
    actions = play(policy, 0, steps=1)[0, 0]
    shown = seen(0)
    sample = policy.decoder(policy.processing.images(shown.rgb), policy.processing.prompts(shown.instruction))
    want = policy.processing.actions(sample.tokens.numpy().reshape(CHUNK, 7))
    np.testing.assert_array_equal(actions[:, :6], want[:, :6])
    hot = OpenVLAPolicy(str(discrete), temperature=5.0)
    assert not np.array_equal(play(hot, 0, steps=1), play(hot, 1, steps=1))
    np.testing.assert_array_equal(play(hot, 0), play(hot, 0))


@pytest.mark.parametrize("kind", ["folder", "discrete"])
def test_an_episodes_chunks_do_not_depend_on_its_mates(kind, request):
    policy = OpenVLAPolicy(str(request.getfixturevalue(kind)))
    together = play(policy, 0, 1, 2)
    for place in range(3):
        np.testing.assert_array_equal(play(policy, place)[:, 0], together[:, place])
    packed = OpenVLAPolicy(str(request.getfixturevalue(kind)), batching="packed", greedy=True)
    alone = OpenVLAPolicy(str(request.getfixturevalue(kind)), greedy=True)
    np.testing.assert_allclose(play(packed, 0, 1, 2), play(alone, 0, 1, 2), atol=1e-5)


def test_joints_matter(folder):
    policy = OpenVLAPolicy(str(folder))
    policy.reset([PolicyEpisode(TEXTS[0], seed=1)])
    zero, bent = (policy.act(with_joints(seen(0), np.full((1, 8), angle))) for angle in (0.0, 2.0))
    assert not np.array_equal(zero, bent)


def test_the_length_of_chunks_can_be_given(folder, tmp_path):
    assert OpenVLAPolicy(str(folder), chunk=5).spec.chunk == 5
    plain = make_tiny(tmp_path / "plain", **SMALL)
    assert OpenVLAPolicy(str(plain)).spec.chunk == 1
    parallel = OpenVLAPolicy(str(plain), decoding="parallel", chunk=2)
    assert play(parallel, 0, steps=1).shape == (1, 1, 2, 7)
    sequential = OpenVLAPolicy(str(folder), decoding="sequential")
    assert (sequential.spec.chunk, sequential.spec.needs_proprioception) == (1, False)
    assert play(sequential, 0, steps=1).shape == (1, 1, 7)


def test_heads_belong_to_what_a_checkpoint_is(copy):
    before = checkpoint_hash(copy)
    head = load_file(copy / HEAD)
    save_file({name: weight + 1 for name, weight in head.items()}, copy / HEAD)
    assert checkpoint_hash(copy) != before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("action_head--150000_checkpoint.pt", r"convert it once: .*'action_head--150000_checkpoint\.safetensors'"),
        ("proprio_projector--latest_checkpoint.pt", "no safetensors file"),
        ("noisy_action_projector--5_checkpoint.pt", "trained with a diffusion head, which is not built in"),
        ("vision_backbone--latest_checkpoint.pt", "trained with FiLM"),
    ],
)
def test_parts_that_are_not_read(tmp_path, monkeypatch, name, message):
    folder = make_tiny(tmp_path / "plain", **SMALL)
    # On the hub: pickles are not downloaded, and playing without them would be another policy.
    with monkeypatch.context() as patch:
        patch.setattr(chunking, "hub_files", lambda source: ["config.json", name])
        with pytest.raises(BadCheckpoint, match=message):
            find_parts("some/model", folder, tiny_config(**SMALL))
    assert find_parts(folder, folder, tiny_config(**SMALL)) == ChunkParts()
    (folder / name).write_bytes(b"")
    with pytest.raises(BadCheckpoint, match=message):
        OpenVLAPolicy(str(folder))


def test_a_converted_part_is_taken_although_the_pickle_is_still_there(copy):
    (copy / HEAD.replace("safetensors", "pt")).write_bytes(b"")
    assert OpenVLAPolicy(str(copy)).decoder.head is not None


def test_two_heads_are_refused(copy):
    shutil.copy(copy / HEAD, copy / HEAD.replace("0", "1"))
    with pytest.raises(BadCheckpoint, match=r"2 of action_head: .*leave one there"):
        OpenVLAPolicy(str(copy))


def test_a_projector_of_another_robot_is_refused(copy):
    parts = load_file(copy / PROJECTOR)
    save_file({**parts, "fc1.weight": parts["fc1.weight"][:, :7].contiguous()}, copy / PROJECTOR)
    with pytest.raises(BadCheckpoint, match=r"fc1\.weight is \(64, 7\), not \(64, 8\)"):
        OpenVLAPolicy(str(copy))


def test_statistics_without_proprioception_are_refused(copy):
    for name in ("config.json", "dataset_statistics.json"):
        content = json.loads((copy / name).read_text())
        content.get("norm_stats", content)["bridge_orig"].pop("proprio")
        (copy / name).write_text(json.dumps(content))
    with pytest.raises(BadStatistics, match="lack proprio's q01 and q99"):
        OpenVLAPolicy(str(copy))


@pytest.mark.parametrize(("chunk", "error", "message"), [(None, BadOption, "give chunk"), (0, BadCheckpoint, "0; all")])
def test_a_checkpoint_that_does_not_say_how_long_its_chunks_are(copy, chunk, error, message):
    content = json.loads((copy / "config.json").read_text())
    content.pop(CHUNK_KEY)
    (copy / "config.json").write_text(json.dumps(content if chunk is None else {**content, CHUNK_KEY: chunk}))
    with pytest.raises(error, match=message):
        OpenVLAPolicy(str(copy))
