import json
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")

from tests.baselines import toys  # noqa: E402 - needs torch
from tests.benchmark.toys import ASSETS  # noqa: E402
from vlagen.baselines import ppo  # noqa: E402
from vlagen.baselines.agents import AgentPolicy, split_parameters  # noqa: E402
from vlagen.baselines.learning import Learner, remember  # noqa: E402
from vlagen.baselines.openvla.lora import lora_layers  # noqa: E402
from vlagen.baselines.openvla.policy import OpenVLAPolicy  # noqa: E402
from vlagen.baselines.openvla.tiny import make_tiny  # noqa: E402
from vlagen.baselines.openvla_agent import make_actor, make_actor_critic  # noqa: E402
from vlagen.baselines.rollouts import Collector, SimulatorKeeper  # noqa: E402
from vlagen.baselines.sections import ModelSettings  # noqa: E402
from vlagen.baselines.settings import BadSetting  # noqa: E402
from vlagen.benchmark.policy import PolicyEpisode  # noqa: E402
from vlagen.tasks.interface import Observation  # noqa: E402
from vlagen.tasks.variants import variant  # noqa: E402


@pytest.fixture(autouse=True)
def _one_thread():
    # On matrices this small, threads only wait for each other.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make_tiny(tmp_path_factory.mktemp("tiny") / "model", image_size=28, vision_width=32, width=64, depth=2)


@pytest.fixture
def settings(source):
    return ModelSettings(source=str(source), dtype="float32", device="cpu", lora_rank=4)


def rollouts_of(agent):
    return Collector(
        agent, SimulatorKeeper(toys.LampSimulator), variant("train"), assets=ASSETS, seed=0, episodes=8
    ).collect(0)


def shaken(agent):
    """The agent after its weights have moved somewhere."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in agent.module.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn(weight.shape, generator=generator) * 0.05)
    return agent


def acts(policy, steps=3):
    policy.reset([PolicyEpisode("put the apple on the plate", 1), PolicyEpisode("put the banana on the plate", 2)])
    generator = np.random.default_rng(0)
    return [
        policy.act(
            Observation(
                rgb=generator.integers(0, 256, (2, 48, 64, 3), dtype=np.uint8),
                instruction=("put the apple on the plate", "put the banana on the plate"),
                proprioception=np.zeros((2, 8), dtype=np.float32),
                gripper_pose=np.zeros((2, 7), dtype=np.float32),
                step=step,
            )
        )
        for step in range(steps)
    ]


@pytest.mark.parametrize(
    "changes", [{}, {"lora_rank": 0}, {"value_input": "last"}, {"value_input": "all"}, {"separate_critic": True}]
)
def test_rollout_and_learner_say_the_same_of_the_same_actions(settings, changes):
    agent = shaken(make_actor_critic(replace(settings, **changes), 0))
    rollouts = rollouts_of(agent)
    assert rollouts.frames.shape == (toys.STEPS, 8, 28, 28, 3)
    old = remember(agent, rollouts, temperature=1.0, micro_batch=5)
    torch.testing.assert_close(old.log_probabilities, rollouts.flat("log_probabilities"), atol=1e-4, rtol=0)
    torch.testing.assert_close(old.values, rollouts.flat("values"), atol=1e-4, rtol=0)


def test_an_update_moves_adapters_and_head_and_nothing_else(settings):
    agent = make_actor_critic(settings, 0)
    assert len(split_parameters(agent)[1]) == 5
    before = {name: weight.clone() for name, weight in agent.module.named_parameters()}
    config = ppo.Config(model=settings, **toys.settings("unused"))
    rollouts = rollouts_of(agent)
    batch, judged = ppo.prepare(agent, rollouts, config)
    learned = ppo.learn(agent, Learner(agent, config.optimizer, str), rollouts, batch, config, 0)
    assert learned["gradient_norm"] > 0
    assert judged["drift"] < 1e-4
    moved = {name for name, weight in agent.module.named_parameters() if not torch.equal(weight, before[name])}
    assert moved
    assert all("lora_" in name or name.startswith("value_head.") for name in moved)
    assert {name for name in moved if "lora_B" in name}


def test_without_adapters_all_weights_are_trained_and_without_a_critic_none_of_it(settings):
    agent = make_actor(replace(settings, lora_rank=0), 0)
    policy, critic = split_parameters(agent)
    assert critic == []
    assert len(policy) == len(list(agent.module.parameters()))


def test_the_critic_of_its_own_gets_no_gradient_from_the_policy(settings):
    agent = make_actor_critic(replace(settings, separate_critic=True), 0)
    rollouts = rollouts_of(agent)
    said = agent.evaluate(rollouts.frames[0], rollouts.instructions, rollouts.tokens[0], temperature=1.0)
    said.log_probabilities.sum().backward()
    assert all(weight.grad is None for weight in agent.module.critic.parameters())
    assert any(weight.grad is not None for weight in agent.module.model.parameters())


@pytest.mark.parametrize("temperature", [0.0, 0.6])
@pytest.mark.parametrize(
    "changes", [{"export": "merged"}, {"export": "adapter"}, {"lora_rank": 0}, {"image_pipeline": "bridge-crop"}]
)
def test_what_is_saved_acts_in_the_evaluation_as_it_did_in_training(settings, changes, temperature, tmp_path):
    agent = shaken(make_actor_critic(replace(settings, **changes), 0))
    agent.save(tmp_path)
    arguments = json.loads((tmp_path / "policy.json").read_text(encoding="utf-8"))["policy_args"]
    given = {name: str(tmp_path / value) if (tmp_path / value).exists() else value for name, value in arguments.items()}
    policy = OpenVLAPolicy(**given, temperature=temperature, dtype="float32", device="cpu")
    for ours, theirs in zip(acts(AgentPolicy(agent, temperature)), acts(policy), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_adapters_are_trained_further_or_merged_first(settings, tmp_path):
    first = shaken(make_actor(replace(settings, export="adapter"), 0))
    first.save(tmp_path)
    adapter = str(tmp_path / "adapter")
    wanted = acts(AgentPolicy(first, 0.0))
    for merge in (False, True):
        second = make_actor(replace(settings, adapter=adapter, merge_adapter=merge), 0)
        assert all(each.lora_A["default"].weight.requires_grad for each in lora_layers(second.module.model).values())
        assert not second.module.model.language_model.model.norm.weight.requires_grad
        for ours, theirs in zip(acts(AgentPolicy(second, 0.0)), wanted, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_pictures_that_cannot_be_stored_are_prepared_otherwise(settings):
    agent = make_actor(replace(settings, image_pipeline="paper"), 0)
    assert agent.frames(np.zeros((1, 48, 64, 3), dtype=np.uint8)).dtype == torch.uint8


def test_a_model_must_be_named():
    with pytest.raises(BadSetting, match=r"model\.source is empty"):
        make_actor(ModelSettings(), 0)
