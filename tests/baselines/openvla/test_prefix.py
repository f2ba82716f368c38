from __future__ import annotations

import pytest
import torch

from tests.baselines.openvla.decoding import TEXTS, batch, generators
from tests.baselines.openvla.toys import toy_model
from vlagen.baselines.openvla.generation import ActionDecoder
from vlagen.baselines.openvla.prompts import left_padded

CLOSE = {"atol": 1e-5, "rtol": 1e-5}
"""Sums over the same numbers in another order."""


@pytest.fixture
def model():
    return toy_model()


@pytest.mark.parametrize("batching", ["packed", "bucketed", "invariant"])
@pytest.mark.parametrize("frames", [[0, 0, 0, 0, 0], [1, 0, 1, 1, 0]])
def test_instructions_that_share_an_image(model, batching, frames):
    pixel_values, prompts = batch(model)
    decoder = ActionDecoder(model, 3, batching=batching, rows=2)
    arguments = {"temperature": 1.0, "restrict": False}
    shared = decoder(pixel_values[:2], prompts, frames=frames, generators=generators(5), **arguments)
    plain = decoder(pixel_values[frames], prompts, generators=generators(5), **arguments)
    assert torch.equal(shared.tokens, plain.tokens)
    torch.testing.assert_close(shared.logits, plain.logits, **CLOSE)
    torch.testing.assert_close(shared.hidden, plain.hidden, **CLOSE)


@pytest.mark.parametrize("batching", ["packed", "bucketed", "invariant"])
@pytest.mark.parametrize("samples", [2, 5])
def test_samples_that_share_a_state(model, batching, samples):
    pixel_values, prompts = batch(model)
    decoder = ActionDecoder(model, 3, batching=batching, rows=4)
    shared = decoder(pixel_values, prompts, temperature=1.0, samples=samples, generators=generators(5 * samples))
    repeated = [index for index in range(5) for _ in range(samples)]
    texts = left_padded([TEXTS[index] for index in repeated], 0)
    plain = decoder(pixel_values[repeated], texts, temperature=1.0, generators=generators(5 * samples))
    assert torch.equal(shared.tokens, plain.tokens)
    torch.testing.assert_close(shared.logits, plain.logits, **CLOSE)


def test_both_at_once(model):
    pixel_values, prompts = batch(model)
    decoder = ActionDecoder(model, 3)
    arguments = {"temperature": 1.0, "samples": 2, "generators": generators(10)}
    shared = decoder(pixel_values[:1], prompts, frames=[0] * 5, **arguments)
    arguments["generators"] = generators(10)
    plain = decoder(pixel_values[[0] * 5], prompts, **arguments)
    assert torch.equal(shared.tokens, plain.tokens)


def test_what_is_shared_is_computed_once(model):
    seen = {"images": 0, "positions": 0}
    project, prefill = model.project, None

    def counted_project(pixel_values):
        seen["images"] += len(pixel_values)
        return project(pixel_values)

    model.project = counted_project
    decoder = ActionDecoder(model, 3, batching="packed")
    prefill = decoder.runner.prefill

    def counted_prefill(embeddings, *args, **kwargs):
        seen["positions"] += embeddings.shape[0] * embeddings.shape[1]
        return prefill(embeddings, *args, **kwargs)

    decoder.runner.prefill = counted_prefill
    pixel_values, prompts = batch(model)
    patches = model.config.patches
    decoder(pixel_values[:1], prompts, frames=[0] * 5)
    # The begin token and the image once, and the longest text without its begin token for every row.
    assert seen == {"images": 1, "positions": 1 + patches + 5 * 7}
    seen.update(images=0, positions=0)
    decoder(pixel_values[:1], left_padded(TEXTS[:1], 0), samples=6)
    assert seen == {"images": 1, "positions": patches + 4}
