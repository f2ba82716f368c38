"""The walk through the layers against transformers' own, for the kinds of Llama that a checkpoint may hold."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from vlagen.baselines.openvla.language import LanguageRunner

BASE = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "vocab_size": 64,
    "max_position_embeddings": 128,
}
KINDS = {
    "plain": {},
    "grouped-queries": {"num_key_value_heads": 2},
    "biases": {"attention_bias": True, "mlp_bias": True},
    "wide-heads": {"head_dim": 16},
    "one-layer": {"num_hidden_layers": 1},
}


def language_model(**changes) -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**{**BASE, **changes})).eval()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("padded", [False, True])
def test_prefill_and_steps_equal_one_pass(kind, padded):
    model = language_model(**KINDS[kind])
    runner = LanguageRunner(model)
    embeddings = torch.randn(2, 9, 32)
    mask = torch.ones(2, 9, dtype=torch.bool)
    if padded:
        mask[1, 1:4] = False
    positions = (mask.long().cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        want = model.model(
            inputs_embeds=embeddings, attention_mask=mask if padded else None, position_ids=positions
        ).last_hidden_state
        buffer = runner.allocate(2, 12)
        rotation = runner.rotation(positions)
        prompt = tuple(each[:, :6] for each in rotation)
        got = [runner.prefill(embeddings[:, :6], buffer, prompt, mask=mask[:, :6] if padded else None)]
        bias = torch.full((2, 1, 1, 12), -torch.inf)
        bias[:, 0, 0, :6].masked_fill_(mask[:, :6], 0)
        for slot in range(6, 9):
            one = tuple(each[:, slot : slot + 1] for each in rotation)
            got.append(runner.step(embeddings[:, slot : slot + 1], buffer, one, bias, torch.tensor([slot])))
    torch.testing.assert_close(torch.stack(got, dim=1), want[:, 5:], atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("padded", [False, True])
def test_a_prompt_read_in_two_parts(padded):
    model = language_model(num_key_value_heads=2)
    runner = LanguageRunner(model)
    embeddings = torch.randn(2, 9, 32)
    mask = torch.ones(2, 9, dtype=torch.bool)
    if padded:
        mask[0, 5:7] = False
    rotation = runner.rotation((mask.long().cumsum(1) - 1).clamp(min=0))
    with torch.no_grad():
        whole, parts = runner.allocate(2, 9), runner.allocate(2, 9)
        want = runner.prefill(embeddings, whole, rotation, mask=mask if padded else None)
        runner.prefill(embeddings[:, :5], parts, tuple(each[:, :5] for each in rotation))
        rest = tuple(each[:, 5:] for each in rotation)
        got = runner.prefill(embeddings[:, 5:], parts, rest, mask=mask if padded else None, start=5)
    torch.testing.assert_close(got, want, atol=2e-6, rtol=1e-5)
    real = mask[:, None, :, None]
    torch.testing.assert_close(parts * real, whole * real, atol=2e-6, rtol=1e-5)


def test_buffers_take_the_models_precision():
    runner = LanguageRunner(language_model().to(torch.bfloat16))
    assert runner.allocate(1, 4).dtype == torch.bfloat16
    assert runner.rotation(torch.arange(4)[None])[0].dtype == torch.bfloat16
