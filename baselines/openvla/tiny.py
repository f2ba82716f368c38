"""Tiny models on the code path of the large one, for tests, continuous integration and training on a laptop's CPU.

``python -m vlagen.baselines.openvla.tiny /tmp/tiny`` writes one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import tyro
from torch import nn

from vlagen.baselines.openvla.architectures import HALF, VisionArchitecture
from vlagen.baselines.openvla.checkpoints import save_model
from vlagen.baselines.openvla.configuration import OpenVLAConfig
from vlagen.baselines.openvla.model import OpenVLA
from vlagen.baselines.openvla.processing import declare_pipeline
from vlagen.baselines.openvla.tokenizer import write_tokenizer

BRIDGE_STATISTICS = {
    "bridge_orig": {
        "action": {
            "q01": [
                -0.02872725307941437,
                -0.04170349963009357,
                -0.026093858778476715,
                -0.08092105075716972,
                -0.09288699507713317,
                -0.20718276381492615,
                0.0,
            ],
            "q99": [
                0.028309678435325586,
                0.040855254605412394,
                0.040161586627364146,
                0.08192047759890528,
                0.07792850524187081,
                0.20382574498653397,
                1.0,
            ],
            "mask": [True, True, True, True, True, True, False],
        }
    }
}
"""Percentiles of the actions in BridgeData V2, from openvla-7b; the study's warm-up and RL models have them too."""

_PADDING = 64


def make_tiny(
    folder: str | Path,
    seed: int = 0,
    *,
    norm_stats: dict[str, Any] | None = None,
    overwrite: bool = False,
    **sizes: Any,
) -> Path:
    """Writes a checkpoint with random weights in the official layout, its tokenizer included.

    Args:
        folder: to be made.
        seed: of the weights.
        norm_stats: statistics by data set; by default ``BRIDGE_STATISTICS``, with which actions have a sensible size.
        overwrite: replace a folder that is there, with all that is in it.
        sizes: see ``tiny_config``.

    Returns:
        The folder.

    Raises:
        BadCheckpoint: the folder is there.
    """
    folder = Path(folder)
    config = tiny_config(**sizes).with_norm_stats(BRIDGE_STATISTICS if norm_stats is None else norm_stats)
    save_model(tiny_model(config, seed), folder, overwrite=overwrite)
    write_tokenizer(folder, config.vocabulary_size, config.action_bins)
    declare_pipeline(folder, "canonical")
    return folder


def tiny_config(
    *,
    image_size: int = 96,
    patch_size: int = 16,
    vision_width: int = 64,
    vision_depth: int = 3,
    vision_heads: int = 4,
    fused: bool = True,
    width: int = 128,
    depth: int = 2,
    heads: int = 4,
    hidden: int = 320,
    vocabulary_size: int = 1024,
    action_bins: int = 256,
    longest: int = 512,
    **changes: Any,
) -> OpenVLAConfig:
    """Makes the configuration of a tiny model: a million parameters unless told otherwise.

    Args:
        image_size: side of the square pictures [pixels].
        patch_size: side of a patch [pixels].
        vision_width: features of each vision backbone.
        vision_depth: its blocks, of which the last is stored but never computed.
        vision_heads: its attention heads.
        fused: two backbones, one like DINOv2 and one like SigLIP; else the second alone.
        width: of the language model.
        depth: its layers.
        heads: its attention heads.
        hidden: width of its MLPs.
        vocabulary_size: tokens without padding, the actions' included.
        action_bins: of these, how many are for actions.
        longest: tokens of the longest text.
        changes: of other fields of ``OpenVLAConfig``.
    """
    backbones = _backbones(
        image_size=image_size, patch_size=patch_size, width=vision_width, depth=vision_depth, heads=vision_heads
    )
    text = {
        "vocab_size": vocabulary_size + _PADDING,
        "pad_token_id": vocabulary_size,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "hidden_size": width,
        "intermediate_size": hidden,
        "num_hidden_layers": depth,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        # Llama's own 0.02 suits its 4096 features; with few, layers would begin as nearly nothing.
        "initializer_range": width**-0.5,
        "max_position_embeddings": longest + (image_size // patch_size) ** 2,
    }
    fields = {
        "vision_backbone_id": "dinosiglip-vlagen-tiny" if fused else "siglip-vlagen-tiny",
        "llm_backbone_id": "vlagen-tiny",
        "hf_llm_id": "",
        "arch_specifier": "no-align+fused-gelu-mlp" if fused else "no-align+gelu-mlp",
        "dtype": "float32",
    }
    return OpenVLAConfig(
        vision=backbones if fused else backbones[1:],
        text=text,
        pad_to_multiple_of=_PADDING,
        pad_token_id=vocabulary_size,
        action_bins=action_bins,
        llm_max_length=longest,
        **{**fields, **changes},
    )


def _backbones(**shape: int) -> tuple[VisionArchitecture, VisionArchitecture]:
    """Makes the shapes of two backbones, one like DINOv2 and one like SigLIP."""
    like_dino = VisionArchitecture(
        timm_id="vlagen_tiny_dinov2",
        class_token=True,
        register_tokens=4,
        position_of_prefix=False,
        layer_scale=True,
        **shape,
    )
    like_siglip = VisionArchitecture(
        timm_id="vlagen_tiny_siglip", mlp_ratio=3.7362, attention_pool=True, mean=HALF, std=HALF, **shape
    )
    return like_dino, like_siglip


def tiny_model(config: OpenVLAConfig, seed: int = 0) -> OpenVLA:
    """Makes a model with random weights that can be trained from scratch; the global generator stays as it is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = OpenVLA(config)
        # Nearly all actions are equally likely to begin with.
        nn.init.normal_(model.language_model.lm_head.weight, std=0.02)
        for transformer in model.vision_backbone.transformers:
            # A trained backbone knows where its patches are; from zeros it would take long to learn.
            for name in ("pos_embed", "cls_token", "reg_token"):
                if hasattr(transformer, name):
                    nn.init.trunc_normal_(getattr(transformer, name), std=0.5)
    return model


def main(folder: Path, /, seed: int = 0, action_bins: int = 256) -> None:
    """Writes a tiny checkpoint with random weights.

    Args:
        folder: to be made.
        seed: of the weights.
        action_bins: tokens for each number of an action.
    """
    make_tiny(folder, seed, action_bins=action_bins)


if __name__ == "__main__":
    tyro.cli(main)
