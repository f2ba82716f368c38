"""Next-token cross-entropy on action tokens: what supervised fine-tuning minimises, and how well it goes."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from vlagen.baselines.openvla.model import OpenVLA
from vlagen.baselines.openvla.prompts import IGNORED, SupervisedBatch


@dataclass(frozen=True)
class Prediction:
    """What a model says about a batch whose N labelled tokens are known.

    Attributes:
        loss: mean cross-entropy over the N tokens, a scalar with gradients.
        labels: (N,) token ids, sample by sample.
        predicted: (N,) the likeliest ids.
    """

    loss: Tensor
    labels: Tensor
    predicted: Tensor


class SupervisedModel(nn.Module):
    """OpenVLA with its loss behind ``forward``, so that data-parallel wrappers see the whole computation.

    The head is applied only where there is a label, which is at 8 of some 290 positions.
    """

    def __init__(self, model: OpenVLA) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor, batch: SupervisedBatch) -> Prediction:
        """Computes the loss of a batch.

        Args:
            pixel_values: (B, C, S, S).
            batch: B prompts with their answers.
        """
        model = self.model
        embeddings = model.embed(batch.input_ids, model.project(pixel_values))
        hidden = model.hidden(embeddings, attention_mask=model.widen(batch.attention_mask))
        # Token j of the text stands at position P + j behind the patches, and the position before it predicts it.
        told = batch.labels[:, 1:]
        known = told != IGNORED
        logits = model.logits(hidden[:, model.config.patches : -1][known])
        labels = told[known]
        return Prediction(functional.cross_entropy(logits, labels), labels, logits.argmax(-1))


@dataclass(frozen=True)
class Accuracy:
    """How well actions were predicted, the true ones so far being given.

    Attributes:
        tokens: action tokens looked at.
        right: how many were predicted exactly.
        distance: sum over them of the distance between predicted and true value, on the scale of -1 to 1.
    """

    tokens: int = 0
    right: int = 0
    distance: float = 0.0

    def __add__(self, other: Accuracy) -> Accuracy:
        return Accuracy(self.tokens + other.tokens, self.right + other.right, self.distance + other.distance)

    def values(self) -> dict[str, float]:
        """Token accuracy, and the mean distance (L1)."""
        count = self.tokens or float("nan")
        return {"token_accuracy": self.right / count, "action_l1": self.distance / count}


def measure(prediction: Prediction, action_ids: range, centres: Tensor) -> Accuracy:
    """Compares predicted with true action tokens; the end of text, which is learned as well, is left out.

    Args:
        prediction: of a model.
        action_ids: the ids that stand for actions, in increasing order.
        centres: (len(action_ids),) the value of each, in this order.
    """
    is_action = prediction.labels >= action_ids.start
    is_action &= prediction.labels < action_ids.stop
    true, predicted = prediction.labels[is_action], prediction.predicted[is_action]
    within = [(ids.clamp(action_ids.start, action_ids.stop - 1) - action_ids.start) for ids in (true, predicted)]
    distance = (centres[within[0]] - centres[within[1]]).abs().sum()
    return Accuracy(len(true), int((true == predicted).sum()), float(distance))


def freeze_unused(model: OpenVLA) -> None:
    """Excludes from training what no output depends on, so that no wrapper waits for its gradient."""
    for name, parameter in model.named_parameters():
        if model.is_unused(name):
            parameter.requires_grad_(False)
