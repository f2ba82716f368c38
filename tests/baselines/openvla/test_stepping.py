from __future__ import annotations

import shutil

import pytest
import torch

from tests.baselines.openvla.decoding import TEXTS, batch, generators
from tests.baselines.openvla.toys import toy_model
from vlagen.baselines.openvla.generation import ActionDecoder
from vlagen.baselines.openvla.lora import add_lora
from vlagen.baselines.openvla.stepping import KEPT_STATES


def both(model, acceleration, temperature, texts=TEXTS):
    """The same decoding as it is and accelerated, twice each, so that a recording is also replayed."""
    pixel_values, prompts = batch(model, texts)
    plain = ActionDecoder(model, 4, acceleration="none", batching="packed", rows=4)
    fast = ActionDecoder(model, 4, acceleration=acceleration, batching="packed", rows=4)
    for _ in range(2):
        streams = [generators(len(texts)) for _ in range(2)]
        want = plain(pixel_values, prompts, temperature=temperature, generators=streams[0])
        got = fast(pixel_values, prompts, temperature=temperature, generators=streams[1])
        assert torch.equal(got.tokens, want.tokens)
        torch.testing.assert_close(got.logits, want.logits, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
@pytest.mark.parametrize(("lora", "temperature"), [(False, 1.0), (True, 0.0)])
def test_a_compiled_step_is_one_graph_and_says_the_same(lora, temperature):
    model = toy_model()
    if lora:
        add_lora(model, rank=2)
    # `fullgraph=True` raises where the graph would break.
    both(model, "compile", temperature, TEXTS[:2])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("acceleration", ["graph", "compile"])
def test_a_recorded_step_says_the_same_on_the_gpu(acceleration):
    both(toy_model().to("cuda"), acceleration, 1.0)
    both(toy_model().to("cuda"), acceleration, 0.0)


def test_recorded_shapes_do_not_pile_up():
    model = toy_model()
    decoder = ActionDecoder(model, 2, acceleration="compile")
    recorded = []
    decoder.stepper._record = lambda shape: recorded.append(shape.rows) or plain(decoder.stepper, shape)
    pixel_values, prompts = batch(model)
    for rows in (1, 2, 1, 3, 4, 1, 2):
        decoder(pixel_values[:rows], type(prompts)(prompts.input_ids[[0] * rows], prompts.attention_mask[[0] * rows]))
    assert recorded == [1, 2, 4, 2], "three rows fill up to four; 1 was used last when 4 came, so 2 had to go"
    assert len(decoder.stepper._kept) == KEPT_STATES


def plain(stepper, shape):
    state = stepper._allocate(shape)
    return state, lambda: stepper.advance(state, shape)
