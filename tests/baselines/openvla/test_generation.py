from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from transformers import DynamicCache

from tests.baselines.openvla.decoding import TEXTS, batch, generators, golden_rollout, greedy_by_hand, row
from tests.baselines.openvla.golden import each_golden
from tests.baselines.openvla.toys import CONFIG, SINGLE, toy_model
from vlagen.baselines.openvla.checkpoints import load_model
from vlagen.baselines.openvla.generation import ActionDecoder, action_rows
from vlagen.baselines.openvla.prompts import PromptBatch, left_padded
from vlagen.baselines.openvla.sampling import BadInput, log_probabilities

WAYS = ("packed", "bucketed", "invariant")


@pytest.fixture(scope="module")
def model():
    return toy_model()


@pytest.mark.parametrize("batching", WAYS)
@pytest.mark.parametrize("rows", [1, 2, 8])
def test_greedy_tokens_are_those_of_reading_everything_again(model, batching, rows):
    pixel_values, prompts = batch(model)
    sample = ActionDecoder(model, 3, batching=batching, rows=rows)(pixel_values, prompts, restrict=False)
    for index, text in enumerate(TEXTS):
        tokens, logits = greedy_by_hand(model, pixel_values[index], text, 3)
        assert sample.tokens[index].tolist() == tokens
        torch.testing.assert_close(sample.logits[index], logits, atol=1e-5, rtol=1e-5)
    assert not np.isin(sample.tokens.numpy(), model.config.action_token_ids).all(), "a test of unrestricted decoding"


def test_restricted_tokens_are_actions(model):
    pixel_values, prompts = batch(model)
    free = ActionDecoder(model, 3)(pixel_values, prompts, restrict=False)
    sample = ActionDecoder(model, 3)(pixel_values, prompts)
    assert np.isin(sample.tokens.numpy(), model.config.action_token_ids).all()
    assert sample.logits.shape == (5, 3, 16)
    torch.testing.assert_close(sample.logits[:, 0], free.logits[:, 0, action_rows(model)], atol=1e-6, rtol=1e-6)


def test_likelihoods_belong_to_the_tokens(model):
    pixel_values, prompts = batch(model)
    arguments = {"temperature": 0.7, "generators": generators(5)}
    sample = ActionDecoder(model, 3)(pixel_values, prompts, **arguments)
    shares = sample.logits.softmax(-1)
    for index, (token, column) in enumerate(zip(sample.tokens[:, 1].tolist(), shares[:, 1], strict=True)):
        chosen = column[token - action_rows(model).start]
        assert sample.log_probabilities[index, 1].exp().item() == pytest.approx(chosen.item(), rel=1e-5)
    arguments["generators"] = generators(5)
    tempered = ActionDecoder(model, 3, tempered=True)(pixel_values, prompts, **arguments)
    assert torch.equal(tempered.tokens, sample.tokens)
    want, _ = log_probabilities(sample.logits / 0.7, sample.tokens - action_rows(model).start)
    torch.testing.assert_close(tempered.log_probabilities, want)


@pytest.mark.parametrize("batching", WAYS)
def test_an_episode_does_not_depend_on_its_mates(model, batching):
    pixel_values, prompts = batch(model)
    decoder = ActionDecoder(model, 3, batching=batching, rows=4)
    together = decoder(pixel_values, prompts, temperature=1.0, generators=generators(5))
    for index in range(5):
        alone = decoder(*row(pixel_values, TEXTS, index), temperature=1.0, generators=generators(1, 100 + index))
        assert torch.equal(alone.tokens[0], together.tokens[index])
        worst = (alone.logits[0] - together.logits[index]).abs().max().item()
        # Other kernels sum in another order; the same shapes leave no choice of kernel.
        assert worst == 0 if batching == "invariant" else worst < 1e-5


def test_the_order_of_rows_does_not_matter(model):
    pixel_values, prompts = batch(model)
    decoder = ActionDecoder(model, 3, rows=2)
    forward = decoder(pixel_values, prompts, temperature=1.0, generators=generators(5))
    turned = PromptBatch(prompts.input_ids.flip(0), prompts.attention_mask.flip(0))
    backward = decoder(pixel_values.flip(0), turned, temperature=1.0, generators=generators(5)[::-1])
    assert torch.equal(backward.tokens.flip(0), forward.tokens)


def test_draws_are_the_episodes_own(model):
    pixel_values, prompts = batch(model, [TEXTS[0]] * 64)
    pixel_values = pixel_values[:1].expand(64, -1, -1, -1)
    decoder = ActionDecoder(model, 3, rows=16)
    streams = generators(64)
    first = decoder(pixel_values, prompts, temperature=1.0, generators=streams).tokens
    assert len(set(map(tuple, first.tolist()))) > 20
    assert torch.equal(decoder(pixel_values, prompts, temperature=1.0, generators=generators(64)).tokens, first)
    assert not torch.equal(decoder(pixel_values, prompts, temperature=1.0, generators=streams).tokens, first)


def test_one_backbone_and_bfloat16():
    model = toy_model(SINGLE).to(torch.bfloat16)
    pixel_values, prompts = batch(model)
    sample = ActionDecoder(model, 3)(pixel_values, prompts)
    assert sample.log_probabilities.dtype == sample.logits.dtype == torch.float32
    assert sample.hidden.dtype == torch.bfloat16


def test_a_different_number_of_bins():
    model = toy_model(dataclasses.replace(CONFIG, action_bins=32))
    sample = ActionDecoder(model, 2)(*batch(model))
    assert sample.logits.shape == (5, 2, 32)


def test_nothing_of_the_policys_state_is_left_behind(model):
    pixel_values, prompts = batch(model)
    decoder = ActionDecoder(model, 3)
    first = decoder(pixel_values, prompts)
    kept = first.tokens.clone()
    decoder(pixel_values.flip(0), prompts)
    assert torch.equal(first.tokens, kept)
    assert not first.logits.requires_grad


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pixel_values": torch.zeros(5, 3, 28, 28)}, "allowed"),
        ({"pixel_values": torch.zeros(4, 6, 28, 28)}, "frames"),
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": 1.0}, "5 generators"),
        ({"temperature": 1.0, "generators": generators(4)}, "given: 4"),
        ({"samples": 0}, "samples"),
        ({"frames": [0, 1, 2, 3, 5]}, "frames"),
        ({"frames": [0, 1]}, "frames"),
    ],
)
def test_arguments_that_do_not_go_together(model, change, message):
    pixel_values, prompts = batch(model)
    with pytest.raises(BadInput, match=message):
        ActionDecoder(model, 3)(**{"pixel_values": pixel_values, "prompts": prompts, **change})


@pytest.mark.parametrize("padding", ["before the first token", "after the last", "in the middle"])
def test_prompts_padded_elsewhere_are_refused(model, padding):
    pixel_values, prompts = batch(model, [[1, 2, 3, 4, 5]])
    mask = torch.ones(1, 5, dtype=torch.long)
    mask[0, {"before the first token": 0, "after the last": 4, "in the middle": 2}[padding]] = 0
    with pytest.raises(BadInput, match="column 0"):
        ActionDecoder(model, 3)(pixel_values, PromptBatch(prompts.input_ids, mask))


@each_golden()
def test_golden_greedy_tokens(golden):
    model = load_model(golden.folder, dtype=torch.float32)
    rows = action_rows(model)
    for index in golden.samples:
        want = golden.outputs[f"s{index}_greedy_tokens"]
        ids = torch.from_numpy(golden.prompt_ids(index))[None]
        pixel_values = torch.from_numpy(golden.pixel_values(index))[None]
        prompts = PromptBatch(ids, torch.ones_like(ids))
        sample = ActionDecoder(model, len(want))(pixel_values, prompts, restrict=False)
        assert sample.tokens[0].tolist() == want.tolist()
        oracle = transformers_tokens(model, pixel_values, ids, len(want))
        assert oracle.tolist() == want.tolist()
        if f"s{index}_step_lse" in golden.outputs:
            close = {"atol": 1e-3, "rtol": 0}
            logits = sample.logits[0]
            np.testing.assert_allclose(logits.logsumexp(-1), golden.outputs[f"s{index}_step_lse"], **close)
            np.testing.assert_allclose(logits[:, rows], golden.outputs[f"s{index}_step_action_logits"], **close)


def transformers_tokens(model, pixel_values, ids, count) -> torch.Tensor:
    """What transformers' own generation makes of the same embeddings."""
    with torch.no_grad():
        embeddings = model.embed(ids, model.project(pixel_values))
        return model.language_model.generate(
            inputs_embeds=embeddings,
            attention_mask=torch.ones(embeddings.shape[:2], dtype=torch.long),
            past_key_values=DynamicCache(config=model.language_model.config),
            max_new_tokens=count,
            min_new_tokens=count,
            do_sample=False,
        )[0]


@each_golden(array="rl_greedy_tokens")
@pytest.mark.parametrize("batching", WAYS)
def test_golden_batched_rollout(golden, batching):
    model, pixel_values, prompts = golden_rollout(golden)
    want = golden.outputs["rl_greedy_tokens"]
    sample = ActionDecoder(model, want.shape[1], batching=batching)(pixel_values, prompts)
    assert sample.tokens.tolist() == want.tolist()
    likelihoods = sample.log_probabilities.sum(dim=1, keepdim=True)
    np.testing.assert_allclose(likelihoods, golden.outputs["rl_logprobs"], atol=1e-3, rtol=0)


def test_padding_that_no_row_needs_costs_nothing(model):
    pixel_values, _ = batch(model, [TEXTS[0]])
    wide = left_padded([TEXTS[0], [1] + [2] * 30], model.config.pad_token_id)
    wide = PromptBatch(wide.input_ids[:1], wide.attention_mask[:1])
    decoder = ActionDecoder(model, 2)
    narrow = decoder(pixel_values, left_padded([TEXTS[0]], 0))
    assert torch.equal(decoder(pixel_values, wide).logits, narrow.logits)


def test_invariant_rows_share_images_and_states_as_others_do(model):
    pixel_values, prompts = batch(model)
    frames = [0, 1, 0, 1, 0]
    plain, exact = (ActionDecoder(model, 3, batching=way, rows=4) for way in ("bucketed", "invariant"))
    for arguments in ({"frames": frames}, {"samples": 2}, {"frames": frames, "samples": 3}):
        images = pixel_values[:2] if "frames" in arguments else pixel_values
        want, given = (decoder(images, prompts, **arguments) for decoder in (plain, exact))
        assert torch.equal(given.tokens, want.tokens)
        torch.testing.assert_close(given.logits, want.logits, atol=1e-5, rtol=1e-5)


def test_invariant_rows_of_various_lengths_are_decoded_together(model):
    pixel_values, prompts = batch(model)
    decoder = ActionDecoder(model, 3, batching="invariant")
    decoder.rows = 8  # as on a GPU; a CPU decodes one at a time
    steps = []
    advance = decoder.stepper.advance
    decoder.stepper.advance = lambda state, shape: steps.append(shape.rows) or advance(state, shape)
    decoder(pixel_values, prompts)
    assert steps == [8, 8]
