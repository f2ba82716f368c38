from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.baselines.openvla.decoding import golden_rollout
from tests.baselines.openvla.golden import each_golden
from vlagen.baselines.openvla.actor_critic import ActorCritic
from vlagen.baselines.openvla.value_head import BadValueHead, ValueHead

READS = ("first", "last", "all")


@pytest.mark.parametrize(("reads", "columns"), [("first", [0]), ("last", [2]), ("all", [0, 1, 2])])
def test_it_reads_what_it_says(reads, columns):
    torch.manual_seed(0)
    head = ValueHead(4, 3, reads)
    hidden = torch.randn(2, 3, 4, requires_grad=True)
    value = head(hidden)
    assert value.shape == (2,)
    value.sum().backward()
    moved = hidden.grad.abs().sum(dim=(0, 2)) > 0
    assert moved.nonzero()[:, 0].tolist() == columns


def test_values_are_float32_for_a_bfloat16_model():
    assert ValueHead(4, 3)(torch.randn(2, 3, 4, dtype=torch.bfloat16)).dtype == torch.float32


def test_there_is_no_last_bias_and_the_shape_is_rl4vlas():
    shapes = {name: tuple(weight.shape) for name, weight in ValueHead(4096, 7).state_dict().items()}
    assert shapes == {
        "head_l1.weight": (512, 4096),
        "head_l1.bias": (512,),
        "head_l2.weight": (128, 512),
        "head_l2.bias": (128,),
        "head_l3.weight": (1, 128),
    }


@pytest.mark.parametrize(
    ("initialization", "first", "second"),
    [("kaiming", math.sqrt(2 / 512), math.sqrt(2 / 128)), ("normal", 0.02, 0.02)],
)
def test_how_weights_start(initialization, first, second):
    torch.manual_seed(0)
    head = ValueHead(1024, 7, initialization=initialization)
    assert head.head_l1.weight.std().item() == pytest.approx(first, rel=0.02)
    assert head.head_l2.weight.std().item() == pytest.approx(second, rel=0.02)
    assert head.head_l3.weight.std().item() == pytest.approx(0.02, rel=0.25)
    assert not head.head_l1.bias.any()
    assert not head.head_l2.bias.any()


@pytest.mark.parametrize("reads", READS)
def test_a_saved_head_comes_back(tmp_path, reads):
    head = ValueHead(4, 3, reads)
    file = head.save(tmp_path)
    again = ValueHead.load(tmp_path, 4, 3)
    hidden = torch.randn(2, 3, 4)
    assert again.reads == reads
    assert torch.equal(again(hidden), head(hidden))
    assert torch.equal(ValueHead.load(file, 4, 3)(hidden), head(hidden))


def test_a_file_of_rl4vla_does_not_say_what_it_reads(tmp_path):
    for reads, meant in (("first", "first"), ("all", "all")):
        save_file(load_file(ValueHead(4, 3, reads).save(tmp_path)), tmp_path / "bare.safetensors")
        assert ValueHead.load(tmp_path / "bare.safetensors", 4, 3).reads == meant


def test_a_head_that_is_not_there_or_does_not_fit(tmp_path):
    with pytest.raises(BadValueHead, match="no value head at"):
        ValueHead.load(tmp_path, 4, 3)
    ValueHead(4, 3).save(tmp_path)
    with pytest.raises(BadValueHead, match="needed for width 5"):
        ValueHead.load(tmp_path, 5, 3)


@pytest.mark.parametrize(
    ("arguments", "guess"), [({"reads": "frist"}, "first"), ({"initialization": "norml"}, "normal")]
)
def test_choices_that_do_not_exist(arguments, guess):
    with pytest.raises(BadValueHead, match=f"did you mean '{guess}'"):
        ValueHead(4, 3, **arguments)


@each_golden("value_head.safetensors", array="rl_values")
def test_golden_values(golden):
    model, pixel_values, prompts = golden_rollout(golden)
    tokens = golden.outputs["rl_greedy_tokens"].shape[1]
    head = ValueHead.load(golden.folder, model.config.width, tokens)
    agent = ActorCritic(model, tokens, value_head=head)
    want = golden.outputs["rl_values"][:, 0]
    np.testing.assert_allclose(agent.sample(pixel_values, prompts, temperature=0).value, want, atol=1e-4, rtol=0)
    np.testing.assert_allclose(agent.value(pixel_values, prompts), want, atol=1e-4, rtol=0)
