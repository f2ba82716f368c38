"""OpenVLA: patch features, projected and laid between the first and the second token of a Llama.

The state dict has exactly the keys of the official checkpoints. From transformers only `LlamaForCausalLM` and its
caches are used, and of it only `model(inputs_embeds=…)` and the weights of the head.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.cache_utils import Cache

from vlagen.baselines.openvla.configuration import OpenVLAConfig
from vlagen.baselines.openvla.errors import BadInput
from vlagen.baselines.openvla.vision import VisionBackbone


class Projector(nn.Module):
    """Maps patch features to the language model's width: three layers under two backbones, two under one."""

    def __init__(self, vision_width: int, width: int, fused: bool) -> None:
        super().__init__()
        if fused:
            self.fc1 = nn.Linear(vision_width, 4 * vision_width)
            self.fc2 = nn.Linear(4 * vision_width, width)
            self.fc3 = nn.Linear(width, width)
        else:
            self.fc1 = nn.Linear(vision_width, width)
            self.fc2 = nn.Linear(width, width)

    def forward(self, features: Tensor) -> Tensor:
        """Maps (B, P, D) to (B, P, H)."""
        first, *others = self.children()
        features = first(features)
        for layer in others:
            features = layer(functional.gelu(features))
        return features


class OpenVLA(nn.Module):
    """The model. Batch size is B, text length L, patches P, width H, rows of the head V."""

    def __init__(self, config: OpenVLAConfig, attention: str = "sdpa") -> None:
        """Builds the model with random weights (under ``torch.device("meta")``: with none).

        Args:
            config: its shapes.
            attention: the language model's attention: ``"sdpa"``, ``"eager"`` or ``"flash_attention_2"``.
        """
        super().__init__()
        self.config = config
        self.source: Path | None = None  # the folder that it was loaded from; its tokenizer goes along when it is saved
        self.origin = ""  # that folder or the hub id, as it was asked for
        self.vision_backbone = VisionBackbone(config.vision)
        self.projector = Projector(config.vision_width, config.width, config.fused)
        self.language_model = LlamaForCausalLM(llama_config(config, attention))
        self.eval()

    @property
    def device(self) -> torch.device:
        """Where the head is, and inputs go."""
        return self.projector.fc1.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """In what the model computes."""
        return self.language_model.model.norm.weight.dtype

    def project(self, pixel_values: Tensor) -> Tensor:
        """Maps normalised images (B, C, S, S) to embeddings of their patches (B, P, H).

        Raises:
            BadInput: the images are of another shape.
        """
        channels, side = self.config.channels, self.config.image_size
        if pixel_values.ndim != 4 or pixel_values.shape[1:] != (channels, side, side):
            given = tuple(pixel_values.shape)
            raise BadInput(f"pixel_values of shape {given}; this model takes (B, {channels}, {side}, {side})")
        return self.projector(self.vision_backbone(pixel_values))

    def embed(self, input_ids: Tensor, patches: Tensor) -> Tensor:
        """Lays patches (B, P, H) between the first token and the rest of `input_ids` (B, L).

        Returns:
            Embeddings (B, P + L, H).
        """
        text = self.language_model.model.embed_tokens(input_ids)
        return torch.cat([text[:, :1], patches.to(text.dtype), text[:, 1:]], dim=1)

    def hidden(
        self,
        embeddings: Tensor,
        *,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """Runs the language model without its head.

        Args:
            embeddings: (B, T, H).
            attention_mask: as transformers takes it: (B, cached + T), True or 1 where there is something; or 4-d.
            position_ids: (B, T); by default those that follow the cache.
            cache: of earlier positions; updated in place.

        Returns:
            Hidden states after the final norm (B, T, H).
        """
        return self.language_model.model(
            inputs_embeds=embeddings,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=cache,
            use_cache=cache is not None,
        ).last_hidden_state

    def logits(self, hidden: Tensor, rows: slice | None = None) -> Tensor:
        """Applies the head, or only some of its rows: 256 of 32064 are all that an action needs.

        Args:
            hidden: (…, H).
            rows: which rows of the head, e.g. those of the action tokens.

        Returns:
            float32 logits (…, V) or (…, number of rows).
        """
        head = self.language_model.lm_head
        return (head(hidden) if rows is None else head_rows(head, hidden, rows)).float()

    def forward(self, input_ids: Tensor, pixel_values: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Returns float32 logits (B, P + L, V) of a text (B, L) with an image (B, C, S, S) after its first token.

        Args:
            input_ids: (B, L), the first column being the begin token.
            pixel_values: (B, C, S, S).
            attention_mask: (B, L), True where there is text. Positions count all columns, as in upstream's training.
        """
        embeddings = self.embed(input_ids, self.project(pixel_values))
        if attention_mask is not None:
            attention_mask = self.widen(attention_mask)
        return self.logits(self.hidden(embeddings, attention_mask=attention_mask))

    def widen(self, attention_mask: Tensor) -> Tensor:
        """Lays ones for the patches into a mask of the text: (B, L) to (B, P + L)."""
        patches = attention_mask.new_ones(len(attention_mask), self.config.patches)
        return torch.cat([attention_mask[:, :1], patches, attention_mask[:, 1:]], dim=1)

    def is_unused(self, name: str) -> bool:
        """Whether a module or parameter of this name is in the checkpoint only: no output depends on it."""
        prefixes = []
        for backbone, transformer in self.vision_backbone.named_children():
            last = len(transformer.blocks) - 1
            prefixes += [f"vision_backbone.{backbone}.{part}." for part in (f"blocks.{last}", "norm", "attn_pool")]
        return f"{name}.".startswith(tuple(prefixes))

    def set_checkpointing(self, on: bool) -> None:
        """Switches gradient checkpointing: layers are computed again in the backward pass instead of being kept.

        It also works in evaluation mode, which reinforcement learning trains in; transformers' own switch does not.
        """
        layers = [*self.language_model.model.layers]
        for transformer in self.vision_backbone.transformers:
            layers += transformer.computed_blocks
        for layer in layers:
            layer.__dict__.pop("forward", None)
            if on:
                layer.forward = _Checkpointed(layer.forward)

    def reset_rotary(self, device: torch.device | None = None) -> None:
        """Computes the rotary frequencies anew in float32; they are in no checkpoint."""
        rotary = self.language_model.model.rotary_emb
        with torch.device("cpu"):
            fresh = type(rotary)(self.language_model.config)
        for name in ("inv_freq", "original_inv_freq"):
            setattr(rotary, name, getattr(fresh, name).to(device or self.device))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> OpenVLA:
        # `model.to(bfloat16)` would round the frequencies too, and positions with them.
        super()._apply(fn, recurse)
        frequencies = self.language_model.model.rotary_emb.inv_freq
        if frequencies.dtype != torch.float32:
            self.reset_rotary(frequencies.device)
        return self


class _Checkpointed:
    """A layer's forward that keeps only its inputs for the backward pass."""

    def __init__(self, forward: Callable[..., Any]) -> None:
        self.forward = forward

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        # Computing a layer again would write its keys and values into the cache again.
        if not torch.is_grad_enabled() or kwargs.get("past_key_values") is not None:
            return self.forward(*args, **kwargs)
        return checkpoint(self.forward, *args, use_reentrant=False, **kwargs)


def llama_config(config: OpenVLAConfig, attention: str = "sdpa") -> LlamaConfig:
    """Returns what transformers needs to know of the language model."""
    text = dict(config.text)
    if int(transformers.__version__.split(".")[0]) < 5:
        rope = dict(text.pop("rope_parameters", None) or {})
        if "rope_theta" in rope:
            text["rope_theta"] = rope.pop("rope_theta")
        if rope.get("rope_type", "default") != "default":
            text["rope_scaling"] = rope
    return LlamaConfig(**text, attn_implementation=attention)


def head_rows(head: nn.Module, hidden: Tensor, rows: slice) -> Tensor:
    """Applies some rows of a linear layer, with or without LoRA adapters around it: (…, H) to (…, rows)."""
    adapted = hasattr(head, "base_layer")
    base = head.base_layer if adapted else head
    logits = functional.linear(hidden, base.weight[rows])
    if not adapted or head.disable_adapters or head.merged:
        return logits
    for name in head.active_adapters:
        inner, outer = head.lora_A[name], head.lora_B[name]
        reduced = inner(head.lora_dropout[name](hidden.to(inner.weight.dtype)))
        logits = logits + (functional.linear(reduced, outer.weight[rows]) * head.scaling[name]).to(logits.dtype)
    return logits
