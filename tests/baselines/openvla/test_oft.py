"""Parallel decoding, against a plain rendering of what upstream does to one row; there is no golden data for it."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from tests.baselines.openvla.decoding import TEXTS, batch, generators, row
from tests.baselines.openvla.toys import toy_model
from vlagen.baselines.openvla.errors import BadCheckpoint
from vlagen.baselines.openvla.oft import (
    END_OF_TEXT,
    ParallelDecoder,
    ProprioceptionProjector,
    RegressionHead,
    load_part,
    save_part,
)
from vlagen.baselines.openvla.sampling import BadInput

TOKENS, CHUNK, WIDTH = 2, 3, 16


@pytest.fixture(scope="module")
def model():
    return toy_model()


def plainly(model, image, text, state=None) -> torch.Tensor:
    """One row, with placeholder ids whose embeddings are zeroed, and nothing that hides one position from another."""
    count = TOKENS * CHUNK
    ids = torch.tensor([[*text, *[1] * count, END_OF_TEXT]])
    with torch.no_grad():
        words = model.language_model.get_input_embeddings()(ids)
        words[:, len(text) : len(text) + count] = 0
        seen = model.project(image)
        seen = torch.cat(list(seen), dim=0)[None]
        if state is not None:
            seen = torch.cat([seen, state[None, None]], dim=1)
        embeddings = torch.cat([words[:, :1], seen, words[:, 1:]], dim=1)
        length = embeddings.shape[1]
        hidden = model.language_model.model(
            inputs_embeds=embeddings, attention_mask=torch.zeros(1, 1, length, length)
        ).last_hidden_state
    first = seen.shape[1] + len(text) - 1
    return hidden[0, first : first + count]


def test_hidden_states_are_those_of_the_plain_way(model):
    pixel_values, prompts = batch(model)
    hidden = ParallelDecoder(model, TOKENS, CHUNK).read(pixel_values, prompts)
    assert hidden.shape == (5, TOKENS * CHUNK, WIDTH)
    for index, text in enumerate(TEXTS):
        want = plainly(model, pixel_values[index : index + 1], text)
        torch.testing.assert_close(hidden[index], want, atol=1e-5, rtol=1e-5)


def test_two_images_and_proprioception(model):
    torch.manual_seed(0)
    projector = ProprioceptionProjector(4, WIDTH)
    pixel_values, prompts = batch(model, TEXTS[:2])
    both = torch.cat([pixel_values, pixel_values.flip(0)], dim=1)
    state = torch.randn(2, 4)
    decoder = ParallelDecoder(model, TOKENS, CHUNK, projector=projector, images=2)
    hidden = decoder.read(both, prompts, state)
    for index in range(2):
        images = both[index].unflatten(0, (2, -1))
        want = plainly(model, images, TEXTS[index], projector(state)[index].detach())
        torch.testing.assert_close(hidden[index], want, atol=1e-5, rtol=1e-5)


def test_tokens_are_chosen_independently_and_all_at_once(model):
    pixel_values, prompts = batch(model)
    decoder = ParallelDecoder(model, TOKENS, CHUNK)
    greedy = decoder(pixel_values, prompts)
    assert greedy.tokens.shape == (5, TOKENS * CHUNK)
    assert torch.equal(greedy.tokens - 112, greedy.logits.argmax(-1))
    sampled = decoder(pixel_values, prompts, temperature=1.0, generators=generators(5))
    assert torch.equal(sampled.logits, greedy.logits)
    assert (sampled.tokens != greedy.tokens).any()
    alone = decoder(*row(pixel_values, TEXTS, 3), temperature=1.0, generators=generators(1, 103))
    assert torch.equal(alone.tokens[0], sampled.tokens[3])
    free = decoder(pixel_values, prompts, restrict=False)
    assert free.logits.shape[2] == model.config.head_rows


def test_the_head_takes_one_action_at_a_time(model):
    torch.manual_seed(0)
    head = RegressionHead(WIDTH, TOKENS)
    pixel_values, prompts = batch(model)
    decoder = ParallelDecoder(model, TOKENS, CHUNK, head=head)
    actions = decoder.actions(pixel_values, prompts)
    assert actions.shape == (5, CHUNK, TOKENS)
    hidden = decoder.read(pixel_values, prompts).detach()
    hidden[:, TOKENS : 2 * TOKENS, :4] += 1
    moved = (head(hidden) - actions).abs().amax(dim=(0, 2)) > 1e-6
    assert moved.tolist() == [False, True, False]


def test_a_head_learns(model):
    torch.manual_seed(0)
    head = RegressionHead(WIDTH, TOKENS)
    decoder = ParallelDecoder(model, TOKENS, CHUNK, head=head)
    (decoder.head(decoder.read(*batch(model))) - 0.5).abs().mean().backward()
    assert all(weight.grad is not None for weight in head.parameters())
    assert model.language_model.model.layers[0].self_attn.q_proj.weight.grad is not None
    model.zero_grad()


def test_names_of_the_published_heads():
    assert set(RegressionHead(4, 7).state_dict()) == {
        f"model.{part}.{kind}"
        for part in (
            "layer_norm1",
            "fc1",
            "mlp_resnet_blocks.0.ffn.0",
            "mlp_resnet_blocks.0.ffn.1",
            "mlp_resnet_blocks.1.ffn.0",
            "mlp_resnet_blocks.1.ffn.1",
            "layer_norm2",
            "fc2",
        )
        for kind in ("weight", "bias")
    }
    assert RegressionHead(4, 7).model.fc1.weight.shape == (4, 28)


def test_parts_come_back(tmp_path):
    head = RegressionHead(WIDTH, TOKENS)
    save_part(head, tmp_path / "head.safetensors")
    again = load_part(RegressionHead(WIDTH, TOKENS), tmp_path / "head.safetensors")
    hidden = torch.randn(1, TOKENS * CHUNK, WIDTH)
    assert torch.equal(again(hidden), head(hidden))
    wrapped = {f"module.{name}": weight for name, weight in head.state_dict().items()}
    save_file(wrapped, tmp_path / "wrapped.safetensors")
    assert torch.equal(load_part(RegressionHead(WIDTH, TOKENS), tmp_path / "wrapped.safetensors")(hidden), head(hidden))


def test_parts_that_cannot_be_loaded(tmp_path):
    with pytest.raises(BadCheckpoint, match="convert it once"):
        load_part(RegressionHead(WIDTH, TOKENS), tmp_path / "action_head--150000_checkpoint.pt")
    with pytest.raises(BadCheckpoint, match="cannot be read"):
        load_part(RegressionHead(WIDTH, TOKENS), tmp_path / "absent.safetensors")
    save_part(RegressionHead(WIDTH, TOKENS + 1), tmp_path / "head.safetensors")
    with pytest.raises(BadCheckpoint, match=r"does not fit a RegressionHead of this model: model\.fc1\.weight"):
        load_part(RegressionHead(WIDTH, TOKENS), tmp_path / "head.safetensors")


def test_arguments_that_do_not_go_together(model):
    pixel_values, prompts = batch(model)
    decoder = ParallelDecoder(model, TOKENS, CHUNK)
    with pytest.raises(BadInput, match="1 x 6 channels"):
        decoder(torch.cat([pixel_values, pixel_values], dim=1), prompts)
    with pytest.raises(BadInput, match="one is missing"):
        decoder(pixel_values, prompts, proprioception=torch.zeros(5, 4))
    with pytest.raises(BadInput, match="regression head"):
        decoder.actions(pixel_values, prompts)
    with pytest.raises(BadInput, match="5 generators"):
        decoder(pixel_values, prompts, temperature=1.0)
    with pytest.raises(BadInput, match="chunk 0"):
        ParallelDecoder(model, TOKENS, 0)
