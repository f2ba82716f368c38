"""What the tests of decoding share: toy prompts of several lengths, and a slow, independent way to decode."""

from __future__ import annotations

import torch

from tests.baselines.openvla.golden import Golden
from vlagen.baselines.openvla.checkpoints import load_model
from vlagen.baselines.openvla.model import OpenVLA
from vlagen.baselines.openvla.prompts import PromptBatch, left_padded
from vlagen.baselines.openvla.sampling import episode_generator

TEXTS = ([1, 5, 6, 7], [1, 9, 8, 7, 6, 5], [1, 4, 4, 7], [1, 2, 3, 4, 5, 6, 7, 8], [1, 3, 7])
"""Prompts of five rows; two have one length."""


def batch(model: OpenVLA, texts=TEXTS) -> tuple[torch.Tensor, PromptBatch]:
    """Images of noise, and prompts."""
    config = model.config
    size = (config.channels, config.image_size, config.image_size)
    images = [torch.randn(size, generator=episode_generator(index)) for index in range(len(texts))]
    return torch.stack(images), left_padded(texts, config.pad_token_id)


def row(pixel_values: torch.Tensor, texts, index: int) -> tuple[torch.Tensor, PromptBatch]:
    """One row alone, without padding."""
    return pixel_values[index : index + 1], left_padded([texts[index]], 0)


def generators(count: int, first: int = 100) -> list[torch.Generator]:
    return [episode_generator(first + index) for index in range(count)]


def greedy_by_hand(model: OpenVLA, image: torch.Tensor, text: list[int], tokens: int) -> tuple[list[int], torch.Tensor]:
    """Reads the whole sequence again for every token; returns tokens and logits of all ids (tokens, V)."""
    ids, kept = list(text), []
    with torch.no_grad():
        for _ in range(tokens):
            logits = model(torch.tensor([ids]), image[None])[0, -1]
            kept.append(logits)
            ids.append(int(logits.argmax()))
    return ids[len(text) :], torch.stack(kept)


def golden_rollout(golden: Golden) -> tuple[OpenVLA, torch.Tensor, PromptBatch]:
    """Model, images and padded prompts of the `rl_*` arrays."""
    model = load_model(golden.folder, dtype=torch.float32)
    pixel_values = torch.stack([torch.from_numpy(golden.pixel_values(sample)) for sample in golden.samples])
    ids, mask = (torch.from_numpy(golden.inputs[name]) for name in ("rl_input_ids", "rl_attention_mask"))
    return model, pixel_values, PromptBatch(ids, mask)
