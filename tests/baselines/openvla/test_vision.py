import dataclasses

import pytest
import torch
from torch.nn import functional

from tests.baselines.openvla.golden import each_golden
from tests.baselines.openvla.toys import CONFIG, DINO, SIGLIP, toy_batch, toy_model
from vlagen.baselines.openvla.checkpoints import load_model
from vlagen.baselines.openvla.vision import Attention, Mlp, VisionTransformer


@each_golden()
def test_patch_features_and_their_projection_equal_upstreams(golden):
    model = load_model(golden.folder, dtype=torch.float32)
    samples = [sample for sample in golden.samples if f"s{sample}_patch_features" in golden.outputs]
    assert samples
    for sample in samples:
        pixel_values = torch.from_numpy(golden.pixel_values(sample))[None]
        with torch.no_grad():
            features, projected = model.vision_backbone(pixel_values)[0], model.project(pixel_values)[0]
        expected = torch.from_numpy(golden.outputs[f"s{sample}_patch_features"])
        torch.testing.assert_close(features, expected, atol=1e-3, rtol=0)
        expected = torch.from_numpy(golden.outputs[f"s{sample}_projected"])
        torch.testing.assert_close(projected, expected, atol=1e-3, rtol=0)


def test_a_model_without_blocks_to_compute_returns_patches_plus_positions():
    # Patches of one colour, a convolution that adds up its inputs, and no block before the last one.
    shape = dataclasses.replace(SIGLIP, depth=1, width=2, heads=1)
    transformer = VisionTransformer(shape)
    torch.nn.init.ones_(transformer.patch_embed.proj.weight)
    torch.nn.init.zeros_(transformer.patch_embed.proj.bias)
    transformer.pos_embed.data = torch.arange(8.0).reshape(1, 4, 2)
    image = torch.zeros(1, 3, 28, 28)
    image[:, :, :14, 14:] = 1.0  # the patch at the top right is the second
    with torch.no_grad():
        features = transformer(image)
    patch = 3 * 14 * 14
    assert features.tolist() == [[[0, 1], [2 + patch, 3 + patch], [4, 5], [6, 7]]]


@pytest.mark.parametrize("shape", [DINO, SIGLIP], ids=["dino", "siglip"])
def test_the_last_block_the_norm_and_the_pool_do_not_matter_and_all_else_does(shape):
    torch.manual_seed(0)
    transformer = VisionTransformer(shape)
    for weight in transformer.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    transformer(torch.randn(1, 3, 28, 28)).square().sum().backward()
    without = {name for name, weight in transformer.named_parameters() if weight.grad is None}
    unused = ("blocks.2.", "norm.", "attn_pool.")
    assert without == {name for name, _ in transformer.named_parameters() if name.startswith(unused)}


def test_registers_and_class_token_are_seen_by_patches_but_not_returned():
    torch.manual_seed(0)
    transformer = VisionTransformer(DINO)
    image = torch.randn(2, 3, 28, 28)
    with torch.no_grad():
        before = transformer(image)
        transformer.reg_token.normal_()
        after = transformer(image)
    assert before.shape == (2, 4, DINO.width)
    assert not torch.allclose(before, after)


def test_positions_of_the_prefix_are_part_of_the_table_where_the_architecture_says_so():
    clip = dataclasses.replace(DINO, position_of_prefix=True, pre_norm=True, register_tokens=0)
    transformer = VisionTransformer(clip)
    assert transformer.pos_embed.shape == (1, 5, DINO.width)
    assert transformer.patch_embed.proj.bias is None
    with torch.no_grad():
        assert transformer(torch.randn(1, 3, 28, 28)).shape == (1, 4, DINO.width)


def test_attention_is_softmax_of_scaled_products_over_values():
    torch.manual_seed(0)
    attention = Attention(4, 2)
    features = torch.randn(1, 3, 4)
    with torch.no_grad():
        given = attention(features)[0]
        query, key, value = attention.qkv(features)[0].split(4, dim=-1)
        heads = []
        for part in (slice(0, 2), slice(2, 4)):
            weights = functional.softmax(query[:, part] @ key[:, part].T / 2**0.5, dim=-1)
            heads.append(weights @ value[:, part])
        expected = attention.proj(torch.cat(heads, dim=-1))
    torch.testing.assert_close(given, expected)


@pytest.mark.parametrize(("activation", "expected"), [("gelu", 0.8413447), ("quick_gelu", 0.8457958)])
def test_activations(activation, expected):
    # At one: the normal distribution's value there, and a sigmoid at 1.702.
    mlp = Mlp(1, 1, activation)
    for layer in (mlp.fc1, mlp.fc2):
        torch.nn.init.ones_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    assert mlp(torch.ones(1, 1)).item() == pytest.approx(expected, abs=1e-6)


def test_two_backbones_see_three_channels_each_and_are_joined_in_order():
    model = toy_model()
    pixel_values = toy_batch()["pixel_values"]
    with torch.no_grad():
        joint = model.vision_backbone(pixel_values)
        first = model.vision_backbone.featurizer(pixel_values[:, :3])
        second = model.vision_backbone.fused_featurizer(pixel_values[:, 3:])
    assert joint.shape == (2, CONFIG.patches, CONFIG.vision_width)
    torch.testing.assert_close(joint, torch.cat([first, second], dim=-1), atol=0, rtol=0)
