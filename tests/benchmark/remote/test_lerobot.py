"""LeRobot's policies; runs where LeRobot is installed, which is never beside the simulator (see docs/servers.md)."""

from __future__ import annotations

import numpy as np
import pytest

from tests.benchmark.remote.serving import HERE, observation
from vlagen.benchmark.loading.source import find_policy
from vlagen.benchmark.policy import PolicyEpisode, PolicyError
from vlagen.benchmark.remote.declarations import UnknownFormat
from vlagen.benchmark.remote.server import Place, in_background
from vlagen.benchmark.remote.serving import Service, make_server


def test_where_lerobot_is_absent_the_message_says_where_to_run_it():
    try:
        import lerobot  # noqa: F401
    except ImportError:
        with pytest.raises(PolicyError, match="run vlagen-serve in LeRobot's own environment"):
            find_policy("lerobot:some/repository", [("actions", "vlagen")]).make()
    else:
        pytest.skip("LeRobot is installed here")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A tiny, randomly initialised ACT."""
    pytest.importorskip("lerobot", reason="runs in LeRobot's own environment")
    import torch
    from lerobot.configs.types import FeatureType, PolicyFeature
    from lerobot.policies.act.configuration_act import ACTConfig
    from lerobot.policies.act.modeling_act import ACTPolicy
    from lerobot.policies.factory import make_pre_post_processors

    torch.manual_seed(0)
    config = ACTConfig(
        input_features={
            "observation.images.front": PolicyFeature(type=FeatureType.VISUAL, shape=(3, 64, 96)),
            "observation.state": PolicyFeature(type=FeatureType.STATE, shape=(8,)),
        },
        output_features={"action": PolicyFeature(type=FeatureType.ACTION, shape=(7,))},
        chunk_size=8,
        n_action_steps=4,
        dim_model=32,
        n_heads=2,
        dim_feedforward=64,
        n_encoder_layers=1,
        use_vae=False,
        pretrained_backbone_weights=None,
        device="cpu",
    )
    statistics = {
        "observation.images.front": {"mean": torch.full((3, 1, 1), 0.5), "std": torch.full((3, 1, 1), 0.25)},
        "observation.state": {"mean": torch.zeros(8), "std": torch.ones(8)},
        "action": {"mean": torch.zeros(7), "std": torch.full((7,), 0.01)},
    }
    folder = tmp_path_factory.mktemp("act")
    ACTPolicy(config).save_pretrained(folder)
    for processor in make_pre_post_processors(config, dataset_stats=statistics):
        processor.save_pretrained(folder)
    return folder


def load(checkpoint, *arguments):
    return find_policy(f"lerobot:{checkpoint}", [("actions", "vlagen"), ("device", "cpu"), *arguments])


def test_a_tiny_act_is_a_policy(checkpoint):
    policy = load(checkpoint).make()
    assert (policy.spec.image.height, policy.spec.image.width, policy.spec.chunk) == (64, 96, 4)
    policy.reset([PolicyEpisode("go", 0), PolicyEpisode("stop", 1)])
    seen = observation(2, size=(64, 96))
    actions = policy.act(seen)
    assert actions.shape == (2, 4, 7)
    assert actions.dtype == np.float32
    assert np.abs(actions).max() < 0.2  # unnormalised: the statistics' standard deviation is 0.01
    assert not np.allclose(actions[0], actions[1])
    np.testing.assert_array_equal(actions, policy.act(seen))


def test_a_tiny_act_behind_a_server_acts_as_it_does_here(checkpoint):
    source, seen = load(checkpoint), observation(2, size=(64, 96))
    episodes = [PolicyEpisode("go", 0), PolicyEpisode("stop", 1)]
    here = source.make()
    here.reset(episodes)
    for protocol in ("openpi", "vla-eval"):
        with in_background(make_server(load(checkpoint), Service(protocol=protocol), Place(port=0))) as port:
            there = find_policy(f"{protocol}://{HERE}:{port}").make()
            assert there.spec.chunk == 4
            there.reset(episodes)
            np.testing.assert_array_equal(there.act(seen), here.act(seen))
            there.close()


def test_a_checkpoint_whose_actions_nobody_explained_is_refused(checkpoint):
    with pytest.raises(UnknownFormat, match="does not say what the numbers of its actions mean"):
        find_policy(f"lerobot:{checkpoint}").make()


def test_a_state_of_another_length_is_refused(checkpoint):
    policy = load(checkpoint, ("state", "pose_euler")).make()
    policy.reset([PolicyEpisode("go", 0)])
    with pytest.raises(PolicyError, match="state has 8 numbers, and state=pose_euler has 7"):
        policy.act(observation(1, size=(64, 96)))
