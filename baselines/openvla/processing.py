"""All that surrounds a model: pictures, prompts, action tokens and units, as one checkpoint wants them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vlagen.baselines.openvla.action_tokens import ActionTokenizer
from vlagen.baselines.openvla.configuration import OpenVLAConfig
from vlagen.baselines.openvla.images import PIPELINE_KEY, ImageProcessor
from vlagen.baselines.openvla.normalization import ActionNormalizer, choose_statistics
from vlagen.baselines.openvla.prompts import PromptEncoder, SupervisedBatch
from vlagen.baselines.openvla.sources import read_json

OPEN_ABOVE = 0.5
"""What the gripper's number must exceed to mean open: the study's rule for data sets with 0 .. 1 and -1 .. 1 alike."""


@dataclass(frozen=True)
class Processing:
    """What a checkpoint's inputs and outputs go through; trainers and the policy share it.

    Attributes:
        images: pictures to pixel values.
        prompts: instructions to token ids.
        action_tokens: token ids to numbers from -1 to 1, and back.
        normalizer: such numbers to actions, and back.
        unnorm_key: whose statistics those are.
    """

    images: ImageProcessor
    prompts: PromptEncoder
    action_tokens: ActionTokenizer
    normalizer: ActionNormalizer
    unnorm_key: str

    @classmethod
    def from_checkpoint(
        cls,
        folder: str | Path,
        config: OpenVLAConfig,
        *,
        unnorm_key: str | None = None,
        pipeline: str | None = None,
        prompt_style: str | None = None,
    ) -> Processing:
        """Reads what lies beside a checkpoint's weights.

        Args:
            folder: of the checkpoint.
            config: of its model, with its statistics.
            unnorm_key: see ``choose_statistics``.
            pipeline: see ``images``; by default the checkpoint's own.
            prompt_style: see ``prompts.PROMPTS``; by default that of the language model.

        Raises:
            VlagenError: something is missing or does not fit; the message says what.
        """
        key, statistics = choose_statistics(config.norm_stats, unnorm_key)
        return cls(
            images=ImageProcessor.from_checkpoint(folder, pipeline),
            prompts=PromptEncoder.from_checkpoint(folder, config, prompt_style),
            action_tokens=ActionTokenizer.from_config(config),
            normalizer=ActionNormalizer.from_statistics(statistics),
            unnorm_key=key,
        )

    def actions(self, ids: np.ndarray) -> np.ndarray:
        """Reads token ids (..., A) as actions in physical units, float64."""
        return self.normalizer.unnormalize(self.action_tokens.decode(ids))

    def canonical(self, ids: np.ndarray, open_above: float = OPEN_ABOVE) -> np.ndarray:
        """Reads token ids (..., 7) as canonical actions, see ``decided``."""
        return decided(self.actions(ids), open_above)

    def action_ids(self, actions: np.ndarray) -> np.ndarray:
        """Writes actions (B, A) as token ids, int64; what lies beyond the statistics is clipped."""
        return self.action_tokens.encode(self.normalizer.normalize(actions))

    def supervised(self, instructions: Sequence[str], actions: np.ndarray) -> SupervisedBatch:
        """Makes a batch for training from B instructions and actions (B, A)."""
        return self.prompts.supervised(instructions, self.action_ids(actions))


def decided(actions: np.ndarray, open_above: float = OPEN_ABOVE) -> np.ndarray:
    """Turns actions in physical units (..., 7) into canonical ones: the gripper becomes either +1 (open) or -1.

    Numbers 4 to 6 go to the controller as the Euler angles that they are in BridgeData.
    """
    gripper = np.where(actions[..., -1:] > open_above, 1.0, -1.0)
    return np.concatenate([actions[..., :-1], gripper], axis=-1)


def declare_pipeline(folder: str | Path, pipeline: str) -> None:
    """Notes in a saved checkpoint by which image pipeline it was trained, which evaluations then use.

    Args:
        folder: of the checkpoint.
        pipeline: see ``images``.

    Raises:
        BadProcessor: there is no such pipeline, or the folder has no image settings.
    """
    ImageProcessor.from_checkpoint(folder, pipeline)
    path = Path(folder) / "preprocessor_config.json"
    path.write_text(json.dumps({**read_json(path), PIPELINE_KEY: pipeline}, indent=2) + "\n", encoding="utf-8")
