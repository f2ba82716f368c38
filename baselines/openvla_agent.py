"""OpenVLA as an agent of reinforcement learning: from settings to a model with adapters, and back to a checkpoint."""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vlagen.baselines.openvla.actor_critic import ActorCritic
from vlagen.baselines.openvla.checkpoints import load_model, save_model
from vlagen.baselines.openvla.generation import ActionSample
from vlagen.baselines.openvla.lora import add_lora, load_lora, lora_layers, merge_lora, save_lora
from vlagen.baselines.openvla.model import OpenVLA
from vlagen.baselines.openvla.normalization import ActionNormalizer
from vlagen.baselines.openvla.options import DTYPES, choose_device
from vlagen.baselines.openvla.processing import Processing, declare_pipeline
from vlagen.baselines.openvla.sources import checkpoint_folder
from vlagen.baselines.openvla.tiny import make_tiny
from vlagen.baselines.openvla.value_head import ValueHead
from vlagen.baselines.sections import ModelSettings
from vlagen.baselines.settings import BadSetting
from vlagen.benchmark.policy import PolicySpec

STORABLE = "canonical"
"""The image pipeline that is taken where the checkpoint's own never comes to whole grey levels, which are stored."""


TINY_ACTION_BINS = 64
"""Of the model "tiny": pictures of 96 pixels show no finer steps, so neighbouring bins need not be told apart."""


def make_actor_critic(settings: ModelSettings, seed: int) -> OpenVLAAgent:
    """Makes an agent with a critic; see ``make_actor``."""
    return _make(settings, seed, critic=True)


def make_actor(settings: ModelSettings, seed: int) -> OpenVLAAgent:
    """Makes an agent without a critic.

    Args:
        settings: of the model.
        seed: of new adapters, and of the value head if there is one.

    Raises:
        VlagenError: no checkpoint, one that is damaged, or settings that do not fit together.
    """
    return _make(settings, seed, critic=False)


def _make(settings: ModelSettings, seed: int, *, critic: bool) -> OpenVLAAgent:
    if not settings.source:
        raise BadSetting("model.source is empty; allowed: a checkpoint's folder or hub id, or tiny")
    source = settings.source
    if source == "tiny":
        folder = Path(tempfile.mkdtemp(prefix="vlagen-tiny-")) / "tiny"
        source = make_tiny(folder, seed, action_bins=TINY_ACTION_BINS)
    folder = checkpoint_folder(source)
    model = _load(settings, folder, seed)
    config = model.config
    processing = Processing.from_checkpoint(
        folder, config, unnorm_key=settings.statistics or None, pipeline=settings.image_pipeline or None
    )
    if processing.images.pipeline == "paper":
        images = processing.images.with_pipeline(STORABLE)
        processing = Processing(**{**vars(processing), "images": images})
    head = None
    if critic:
        torch.manual_seed(seed)
        start = "normal" if settings.upstream_value_head else "kaiming"
        head = ValueHead(config.width, processing.normalizer.size, settings.value_input, start).to(model.device)
    module = ActorCritic(
        model,
        processing.normalizer.size,
        value_head=head,
        critic=_load(settings, folder, seed + 1) if critic and settings.separate_critic else None,
        tempered=True,
        checkpointing=settings.gradient_checkpointing,
    )
    return OpenVLAAgent(module, processing, merge=settings.export == "merged")


def _load(settings: ModelSettings, folder: Path, seed: int) -> OpenVLA:
    """A checkpoint with what is to be trained of it."""
    device = choose_device(settings.device)
    further = settings.adapter and not settings.merge_adapter
    model = load_model(
        folder,
        dtype=DTYPES[settings.dtype],
        device=device,
        adapter=settings.adapter if settings.merge_adapter else None,
    )
    if further:
        model.requires_grad_(False)
        load_lora(model, settings.adapter, trainable=True)
        for layer in lora_layers(model).values():
            # Stored in bfloat16 by old versions of peft; steps of Adam are too small for that.
            layer.lora_A.float(), layer.lora_B.float()
    elif settings.lora_rank:
        add_lora(model, settings.lora_rank, settings.lora_alpha, seed=seed)
    else:
        model.requires_grad_(True)
    # Dropout would make a policy's ratio to itself differ from 1.
    return model.to(device).eval()


class OpenVLAAgent:
    """An ``agents.Agent``.

    Args:
        module: actor and critic.
        processing: of the checkpoint.
        merge: save whole models, adapters merged into the weights; else adapters alone.
    """

    spec = PolicySpec(needs_images=True)

    def __init__(self, module: ActorCritic, processing: Processing, *, merge: bool = True) -> None:
        self.module = module
        self._processing = processing
        self._device = module.model.device
        self._merge = merge

    @property
    def processing(self) -> Processing:
        """What surrounds the model."""
        return self._processing

    def use_statistics(self, key: str, statistics: Mapping[str, Any]) -> None:
        """Lets actions mean what these statistics of a data set say; saved models have them instead of all others."""
        model = self.module.model
        model.config = replace(model.config, norm_stats={key: statistics})
        self._processing = replace(
            self._processing, normalizer=ActionNormalizer.from_statistics(statistics), unnorm_key=key
        )

    def frames(self, pictures: np.ndarray) -> Tensor:
        """Brings camera pictures (B, H, W, 3) uint8 to the model's size, (B, S, S, 3) uint8."""
        images = self._processing.images
        # The one pipeline that runs on any device.
        there = torch.from_numpy(pictures).to(self._device) if images.pipeline == STORABLE else pictures
        return images.resize(there).cpu()

    def sample(
        self,
        frames: Tensor,
        instructions: Sequence[str],
        *,
        generators: Sequence[torch.Generator],
        temperature: float,
    ) -> ActionSample:
        """Draws actions, see ``agents.Agent``."""
        return self.module.sample(
            self._pixels(frames),
            self._processing.prompts(instructions),
            temperature=temperature,
            generators=generators if temperature else None,
        )

    def evaluate(
        self, frames: Tensor, instructions: Sequence[str], tokens: Tensor, *, temperature: float
    ) -> ActionSample:
        """Says with gradients how likely tokens are, see ``agents.Agent``."""
        return self.module.evaluate(
            self._pixels(frames), self._processing.prompts(instructions), tokens, temperature=temperature
        )

    def actions(self, tokens: Tensor) -> np.ndarray:
        """What tokens (B, A) mean as canonical actions (B, 7); the gripper is +1 or -1."""
        return self._processing.canonical(tokens.cpu().numpy())

    def critic_parameters(self) -> Iterable[nn.Parameter]:
        """The value head's weights."""
        return self.module.value_parameters()

    def save(self, folder: Path) -> None:
        """Writes the policy for ``vlagen-eval`` into a folder; ``policy.json`` there says with which arguments.

        The value head goes along.
        """
        model, pipeline = self.module.model, self._processing.images.pipeline
        place = folder / "model"
        arguments = {"checkpoint": "model", "unnorm_key": self._processing.unnorm_key}
        if lora_layers(model) and not self._merge:
            place = folder / "adapter"
            save_lora(model, place)
            arguments |= {"checkpoint": str(model.source), "adapter": "adapter", "images": pipeline}
        else:
            whole = copy.deepcopy(model).cpu() if lora_layers(model) else model
            if lora_layers(whole):
                merge_lora(whole)
            save_model(whole, place)
            declare_pipeline(place, pipeline)
        self.module.save_value_head(place)
        content = {"policy": "openvla", "policy_args": arguments}
        (folder / "policy.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    def _pixels(self, frames: Tensor) -> Tensor:
        return self._processing.images.normalise(frames.to(self._device))
