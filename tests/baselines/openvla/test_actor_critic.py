from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.baselines.openvla.decoding import TEXTS, batch, generators, golden_rollout, row
from tests.baselines.openvla.golden import each_golden
from tests.baselines.openvla.toys import toy_model
from vlagen.baselines.openvla.actor_critic import ActorCritic
from vlagen.baselines.openvla.lora import add_lora
from vlagen.baselines.openvla.sampling import BadInput
from vlagen.baselines.openvla.value_head import ValueHead

TOKENS = 3
FIELDS = ("log_probabilities", "entropy", "value", "logits", "hidden")


def actor_critic(reads="first", lora=False, **arguments) -> ActorCritic:
    torch.manual_seed(0)
    model = toy_model()
    if lora:
        add_lora(model, rank=2)
        generator = torch.Generator().manual_seed(1)
        for weight in model.parameters():
            if weight.requires_grad:
                weight.data.copy_(torch.randn(weight.shape, generator=generator) * 0.1)
    return ActorCritic(model, TOKENS, value_head=ValueHead(16, TOKENS, reads), **arguments)


@pytest.mark.parametrize("reads", ["first", "last", "all"])
@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("batching", ["packed", "bucketed"])
def test_sampling_and_evaluation_agree(reads, lora, batching):
    agent = actor_critic(reads, lora, batching=batching, rows=2)
    pixel_values, prompts = batch(agent.model)
    sampled = agent.sample(pixel_values, prompts, generators=generators(5))
    evaluated = agent.evaluate(pixel_values, prompts, sampled.tokens)
    for field in FIELDS:
        torch.testing.assert_close(getattr(evaluated, field), getattr(sampled, field), atol=1e-5, rtol=1e-5)
    assert evaluated.log_probabilities.dtype == torch.float32


def test_on_policy_ratios_are_one():
    agent = actor_critic(tempered=True)
    pixel_values, prompts = batch(agent.model)
    sampled = agent.sample(pixel_values, prompts, temperature=0.6, generators=generators(5))
    evaluated = agent.evaluate(pixel_values, prompts, sampled.tokens, temperature=0.6)
    ratio = (evaluated.log_probabilities - sampled.log_probabilities).sum(dim=1).exp()
    torch.testing.assert_close(ratio, torch.ones(5), atol=1e-5, rtol=0)
    raw = actor_critic().evaluate(pixel_values, prompts, sampled.tokens, temperature=0.6)
    assert (raw.log_probabilities - sampled.log_probabilities).abs().max() > 0.01


def test_a_row_is_evaluated_the_same_in_any_company():
    agent = actor_critic()
    pixel_values, prompts = batch(agent.model)
    tokens = agent.sample(pixel_values, prompts, generators=generators(5)).tokens
    together = agent.evaluate(pixel_values, prompts, tokens)
    for index in range(5):
        alone = agent.evaluate(*row(pixel_values, TEXTS, index), tokens[index : index + 1])
        torch.testing.assert_close(alone.log_probabilities[0], together.log_probabilities[index], atol=1e-5, rtol=1e-5)


def gradients(agent: ActorCritic, **arguments) -> dict[str, torch.Tensor]:
    pixel_values, prompts = batch(agent.model)
    tokens = agent.sample(pixel_values, prompts, generators=generators(5)).tokens
    result = agent.evaluate(pixel_values, prompts, tokens, **arguments)
    (result.log_probabilities.sum() + result.value.sum() + result.entropy.sum()).backward()
    return {name: weight.grad for name, weight in agent.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("lora", [False, True])
def test_checkpointing_changes_no_gradient(lora):
    kept, again = gradients(actor_critic(lora=lora)), gradients(actor_critic(lora=lora, checkpointing=True))
    assert kept.keys() == again.keys()
    for name, gradient in kept.items():
        torch.testing.assert_close(again[name], gradient, atol=1e-6, rtol=1e-5)


def test_every_adapter_gets_a_gradient_and_nothing_else_does():
    agent = actor_critic(lora=True)
    found = gradients(agent)
    wanted = {name for name, weight in agent.named_parameters() if weight.requires_grad}
    assert found.keys() == wanted
    # Of the head only the rows of action tokens matter.
    outer = next(gradient for name, gradient in found.items() if "lm_head.lora_B" in name)
    rows = outer.abs().sum(dim=1).nonzero()[:, 0]
    assert set(rows.tolist()) <= set(agent.model.config.action_token_ids)


def test_the_head_is_applied_where_it_is_needed():
    agent = actor_critic()
    shapes = []
    logits = agent.model.logits
    agent.model.logits = lambda hidden, rows=None: shapes.append((tuple(hidden.shape), rows)) or logits(hidden, rows)
    pixel_values, prompts = batch(agent.model)
    agent.evaluate(pixel_values, prompts, torch.full((5, TOKENS), 120))
    assert shapes == [((5, TOKENS, 16), slice(112, 128))]


def test_a_critic_of_its_own():
    agent = actor_critic(critic=toy_model(seed=1))
    pixel_values, prompts = batch(agent.model)
    sampled = agent.sample(pixel_values, prompts, generators=generators(5))
    evaluated = agent.evaluate(pixel_values, prompts, sampled.tokens)
    torch.testing.assert_close(evaluated.value, sampled.value, atol=1e-5, rtol=1e-5)
    assert (sampled.value - actor_critic().value(pixel_values, prompts)).abs().max() > 1e-3
    evaluated.value.sum().backward()
    assert all(weight.grad is None for weight in agent.model.parameters())
    assert agent.critic.language_model.model.layers[0].self_attn.q_proj.weight.grad is not None
    many = agent.sample(pixel_values, prompts, samples=2, generators=generators(10))
    torch.testing.assert_close(many.value, sampled.value.repeat_interleave(2))


def test_the_value_of_a_state_needs_no_action():
    agent = actor_critic()
    pixel_values, prompts = batch(agent.model)
    value = agent.value(pixel_values, prompts)
    torch.testing.assert_close(value, agent.sample(pixel_values, prompts, temperature=0).value, atol=1e-6, rtol=1e-5)
    with pytest.raises(BadInput, match="allowed: 'first'"):
        actor_critic("last").value(pixel_values, prompts)


def test_without_a_critic():
    agent = ActorCritic(toy_model(), TOKENS)
    pixel_values, prompts = batch(agent.model)
    sampled = agent.sample(pixel_values, prompts, temperature=0)
    assert sampled.value is None
    assert agent.evaluate(pixel_values, prompts, sampled.tokens).value is None
    assert list(agent.value_parameters()) == []
    assert agent.save_value_head("nowhere") is None


def test_rows_that_share_an_image():
    agent = actor_critic()
    pixel_values, prompts = batch(agent.model)
    tokens = torch.full((5, TOKENS), 120)
    frames = [1, 0, 1, 1, 0]
    shared = agent.evaluate(pixel_values[:2], prompts, tokens, frames=frames)
    plain = agent.evaluate(pixel_values[frames], prompts, tokens)
    torch.testing.assert_close(shared.log_probabilities, plain.log_probabilities, atol=1e-6, rtol=1e-5)


def test_the_two_groups_of_parameters():
    agent = actor_critic(lora=True)
    policy, value = list(agent.policy_parameters()), list(agent.value_parameters())
    assert len(value) == 5
    assert {id(weight) for weight in [*policy, *value]} == {
        id(weight) for weight in agent.parameters() if weight.requires_grad
    }


@pytest.mark.parametrize(
    ("tokens", "message"),
    [(torch.full((5, 2), 120), "shape"), (torch.full((5, 3), 128), "112 .. 127"), (torch.full((5, 3), 111), "encode")],
)
def test_tokens_that_are_no_actions(tokens, message):
    agent = actor_critic()
    with pytest.raises(BadInput, match=message):
        agent.evaluate(*batch(agent.model), tokens)


def test_a_critic_of_its_own_cannot_read_actions():
    with pytest.raises(BadInput, match="reads 'first'"):
        actor_critic("all", critic=toy_model())
    with pytest.raises(BadInput, match="'none'"):
        ActorCritic(toy_model(), TOKENS, critic=toy_model())


@each_golden("value_head.safetensors", array="rl_eval_values")
def test_golden_evaluation(golden):
    model, pixel_values, prompts = golden_rollout(golden)
    tokens = torch.from_numpy(golden.inputs["rl_eval_tokens"])
    head = ValueHead.load(golden.folder, model.config.width, tokens.shape[1])
    with torch.no_grad():
        got = ActorCritic(model, tokens.shape[1], value_head=head).evaluate(pixel_values, prompts, tokens)
    want = golden.outputs
    likelihoods, entropy = got.log_probabilities.sum(1, keepdim=True), got.entropy.mean(1, keepdim=True)
    np.testing.assert_allclose(likelihoods, want["rl_eval_logprobs"], atol=1e-3, rtol=0)
    np.testing.assert_allclose(entropy, want["rl_eval_entropy"].reshape(-1, 1), atol=1e-4, rtol=0)
    np.testing.assert_allclose(got.value[:, None], want["rl_eval_values"], atol=1e-4, rtol=0)
