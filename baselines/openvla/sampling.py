"""Choosing tokens, and how likely a choice was: arithmetic on logits, without any model.

Draws come from one generator per episode, in float64 on the CPU, and are turned into tokens by inverting the cumulated
distribution. So an episode's tokens depend on its own generator and logits alone; and where other arithmetic moves
the logits in their last digits, a token can at worst move to the neighbouring bin, which is nearly the same action.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from vlagen.assets.errors import VlagenError


class BadInput(VlagenError, ValueError):
    """Arguments of the decoder or of the actor-critic that do not go together."""


def episode_generator(seed: int) -> torch.Generator:
    """Returns the stream of draws of one episode."""
    return torch.Generator().manual_seed(seed)


def draw(generators: Sequence[torch.Generator], tokens: int) -> Tensor:
    """Draws what decides the next `tokens` tokens of every row: float64 (B, tokens) in [0, 1)."""
    return torch.stack([torch.rand(tokens, generator=each, dtype=torch.float64) for each in generators])


def check_temperature(temperature: float) -> float:
    """Returns the temperature; 0 means greedy.

    Raises:
        BadInput: it is negative or not a finite number.
    """
    if not 0 <= temperature < float("inf"):
        raise BadInput(f"temperature {temperature}; allowed: 0 for greedy decoding, or a positive number")
    return temperature


def most_likely(logits: Tensor) -> Tensor:
    """Returns the index (B,) of the largest of the logits (B, R), the first among equals."""
    return logits.argmax(dim=-1)


def invert(logits: Tensor, uniforms: Tensor, temperature: Tensor | float) -> Tensor:
    """Samples from logits (B, R) at a temperature > 0: the index (B,) where the cumulated share passes a draw (B,)."""
    cumulated = functional.softmax(logits.double() / temperature, dim=-1).cumsum(dim=-1)
    below = cumulated <= uniforms[:, None] * cumulated[:, -1:]
    return below.sum(dim=-1).clamp(max=logits.shape[-1] - 1)


def log_probabilities(logits: Tensor, chosen: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """Returns how likely choices were, and how undecided the distribution was.

    Args:
        logits: (..., R), of whatever could be chosen; float32, since bfloat16 would cost ratios several per cent.
        chosen: (...), indices into R.
        temperature: what to divide the logits by first.

    Returns:
        Log-probabilities (...) and entropies (...) in nats.
    """
    scores = functional.log_softmax(logits.float() / temperature, dim=-1)
    entropy = -(scores.exp() * scores).sum(dim=-1)
    return scores.gather(-1, chosen.unsqueeze(-1)).squeeze(-1), entropy
