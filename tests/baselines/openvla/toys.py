"""A model of a few thousand weights with the parts of the real one, for tests that need no golden data."""

from __future__ import annotations

import dataclasses

import torch

from vlagen.baselines.openvla.architectures import VisionArchitecture
from vlagen.baselines.openvla.configuration import OpenVLAConfig
from vlagen.baselines.openvla.model import OpenVLA

DINO = VisionArchitecture(
    timm_id="toy_dino",
    image_size=28,
    patch_size=14,
    width=8,
    depth=3,
    heads=2,
    class_token=True,
    register_tokens=2,
    position_of_prefix=False,
    layer_scale=True,
)
SIGLIP = VisionArchitecture(
    timm_id="toy_siglip",
    image_size=28,
    patch_size=14,
    width=12,
    depth=3,
    heads=2,
    mlp_ratio=3.7362,
    attention_pool=True,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
)
CONFIG = OpenVLAConfig(
    vision=(DINO, SIGLIP),
    text={
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "vocab_size": 136,
        "pad_token_id": 128,
    },
    pad_to_multiple_of=8,
    pad_token_id=128,
    action_bins=16,
    norm_stats={"toy": {"action": {"q01": [0.0, -1.0], "q99": [1.0, 1.0]}}},
    dtype="float32",
)
SINGLE = dataclasses.replace(CONFIG, vision=(SIGLIP,), arch_specifier="no-align+gelu-mlp")


def toy_model(config: OpenVLAConfig = CONFIG, seed: int = 0) -> OpenVLA:
    """A model whose weights are all drawn, so that every part of it matters."""
    model = OpenVLA(config)
    generator = torch.Generator().manual_seed(seed)
    for weight in model.parameters():
        weight.data.copy_(torch.randn(weight.shape, generator=generator) * 0.2)
    return model


def toy_batch(config: OpenVLAConfig = CONFIG, rows: int = 2) -> dict[str, torch.Tensor]:
    """Texts of six tokens and images."""
    generator = torch.Generator().manual_seed(7)
    return {
        "input_ids": torch.randint(1, config.vocabulary_size, (rows, 6), generator=generator),
        "pixel_values": torch.randn(rows, config.channels, config.image_size, config.image_size, generator=generator),
    }
