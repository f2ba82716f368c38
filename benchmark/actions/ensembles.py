"""How the predictions that several chunks make for one step become one action."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vlagen.assets.errors import unknown
from vlagen.benchmark.actions.formats import BadDeclaration

WEIGHTINGS = ("newest", "mean", "exponential:0.1")


@dataclass(frozen=True)
class Weighting:
    """Weights of predictions by their place, the oldest one's being 0.

    Attributes:
        decay: the weights are ``exp(-decay * place)``: 0 is the mean, above 0 trusts the oldest most, as ACT does with
            0.01, and below 0 the newest; None takes the newest alone.
    """

    decay: float | None

    def of(self, count: int) -> np.ndarray:
        """The weights of ``count`` predictions, oldest first, (count,); they add up to 1."""
        if self.decay is None:
            return np.eye(count)[-1]
        exponents = -self.decay * np.arange(count)
        weights = np.exp(exponents - exponents.max())
        return weights / weights.sum()


def parse_weighting(text: str) -> Weighting:
    """Reads ``newest``, ``mean`` or ``exponential:<decay>``; see ``Weighting``.

    Raises:
        BadDeclaration: it is none of these.
    """
    if text == "newest":
        return Weighting(None)
    if text == "mean":
        return Weighting(0.0)
    name, _, number = text.partition(":")
    try:
        decay = float(number)
    except ValueError:
        decay = np.nan
    if name != "exponential" or not np.isfinite(decay):
        raise BadDeclaration(unknown("ensemble", text, WEIGHTINGS))
    return Weighting(decay)


def average(predictions: np.ndarray, weighting: Weighting, rotation: str) -> np.ndarray:
    """Merges predictions for the same step.

    Actions are small steps, so the mean of their numbers is the mean of what they mean, with one exception: quaternions
    q and -q are the same rotation, and are given the newest one's sign first.

    Args:
        predictions: (P, B, n), oldest first.
        weighting: how much each counts.
        rotation: the kind of rotation, see ``rotations.ROTATION_SIZES``.

    Returns:
        (B, n); the only prediction itself where there is one, or where only the newest counts.
    """
    if len(predictions) == 1 or weighting.decay is None:
        return predictions[-1]
    predictions = predictions.astype(np.float64)
    quaternion = rotation.startswith("quaternion")
    if quaternion:
        along = np.sum(predictions[..., 3:7] * predictions[-1, :, 3:7], axis=-1, keepdims=True)
        predictions[..., 3:7] *= np.where(along < 0, -1.0, 1.0)
    merged = np.einsum("p,pbn->bn", weighting.of(len(predictions)), predictions)
    if quaternion:
        merged[:, 3:7] /= np.linalg.norm(merged[:, 3:7], axis=-1, keepdims=True)
    return merged
