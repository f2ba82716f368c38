"""The language model over plain buffers: one pass over a prompt, then one token at a time.

Generation needs little of what transformers' `generate` does: no growing cache, no mask made anew for every token, no
head over all positions. This walks through the same modules (their names are those of the checkpoint format, so they
are as stable as the format) and keeps keys and values in one tensor that is allocated once. The same step function
runs as it is, under `torch.compile`, and inside a CUDA graph: its shapes never change and it never asks the device.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

Rotation = tuple[Tensor, Tensor]
"""Of rotary positions: cosines, and sines whose first half is negated, (B, T, D) each."""

TABLE_BLOCK = 512
"""By how many positions the table of rotations grows."""


class LanguageRunner:
    """Runs the layers of a Llama over key and value buffers.

    A buffer has shape (layers, 2, B, KV, S, D): keys and values, of B rows, KV heads and S slots. Slots are where a
    token lies in the row; positions are what its rotation says, and leave padding out.

    Layers are called piece by piece, so hooks on whole layers (FSDP's, accelerate's offloading) do not fire: gather a
    sharded model before sampling from it.
    """

    def __init__(self, language_model: nn.Module) -> None:
        core = language_model.model
        self.layers, self.norm, self.rotary = core.layers, core.norm, core.rotary_emb
        self.embed_tokens = core.embed_tokens
        config = core.config
        self.heads, self.key_heads = config.num_attention_heads, config.num_key_value_heads
        self._table: Rotation | None = None
        self.head_size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads

    def allocate(self, rows: int, slots: int) -> Tensor:
        """Returns a buffer for B rows of S slots; zeros, since a masked NaN would still poison the attention."""
        like = self.embed_tokens.weight
        shape = (len(self.layers), 2, rows, self.key_heads, slots, self.head_size)
        return torch.zeros(shape, dtype=self.norm.weight.dtype, device=like.device)

    def rotation(self, positions: Tensor) -> Rotation:
        """Returns what rotates tokens at positions (B, T), in the model's dtype."""
        cosine, sine = self.rotary(self.norm.weight, positions)
        first, second = sine.chunk(2, dim=-1)
        return cosine, torch.cat((-first, second), dim=-1)

    def table(self, length: int) -> Rotation:
        """Returns what rotates tokens at positions 0 .. length - 1, (length, D) each; computed once."""
        weight = self.norm.weight
        known = self._table
        if (
            known is None
            or len(known[0]) < length
            or known[0].dtype != weight.dtype
            or known[0].device != weight.device
        ):
            positions = torch.arange(-(-length // TABLE_BLOCK) * TABLE_BLOCK, device=weight.device)
            cosine, sine = self.rotation(positions[None])
            known = self._table = cosine[0], sine[0]
        return known[0][:length], known[1][:length]

    def prefill(
        self, embeddings: Tensor, buffer: Tensor, rotation: Rotation, *, mask: Tensor | None = None, start: int = 0
    ) -> Tensor:
        """Reads a prompt, or the rest of one whose first slots the buffer already holds.

        The last layer computes keys and values of all tokens but everything else for the last token only.

        Args:
            embeddings: (B, T, H); they go to slots `start` .. `start + T - 1`.
            buffer: keys and values of at least that many slots; written in place.
            rotation: of the T tokens.
            mask: (B, start + T) bool, True where there is a token; None when there is one everywhere. The last slot of
                every row must hold a token, and so must its first.
            start: how many slots are filled already.

        Returns:
            What the final norm makes of the last token (B, H).
        """
        end = start + embeddings.shape[1]
        may_see = _causal(mask, start, end, embeddings.device)
        for index, layer in enumerate(self.layers):
            last = index == len(self.layers) - 1
            query, key, value = self._project(layer.self_attn, _norm(layer.input_layernorm, embeddings), rotation, last)
            buffer[index, 0, :, :, start:end] = key
            buffer[index, 1, :, :, start:end] = value
            if start:
                key, value = buffer[index, :, :, :, :end]
            seen = may_see if may_see is None or not last else may_see[:, :, -1:]
            embeddings = embeddings[:, -1:] if last else embeddings
            embeddings = self._finish(layer, embeddings, query, key, value, seen, causal=seen is None and not last)
        return _norm(self.norm, embeddings)[:, 0]

    def step(self, embeddings: Tensor, buffer: Tensor, rotation: Rotation, bias: Tensor, slot: Tensor) -> Tensor:
        """Reads one more token of every row.

        Args:
            embeddings: (B, 1, H).
            buffer: keys and values of S slots; slot `slot` is written.
            rotation: of the token, (B, 1, D) each.
            bias: (B, 1, 1, S), in the model's dtype: 0 where there is a token, minus infinity elsewhere; set at `slot`.
            slot: where the token goes, (1,) int64: a tensor, so that one compiled or captured step serves all slots.

        Returns:
            What the final norm makes of it (B, H).
        """
        bias.index_fill_(3, slot, 0)
        for index, layer in enumerate(self.layers):
            query, key, value = self._project(layer.self_attn, _norm(layer.input_layernorm, embeddings), rotation)
            keys, values = buffer[index].unbind()
            keys.index_copy_(2, slot, key)
            values.index_copy_(2, slot, value)
            embeddings = self._finish(layer, embeddings, query, keys, values, bias)
        return _norm(self.norm, embeddings)[:, 0]

    def _project(
        self, attention: Any, hidden: Tensor, rotation: Rotation, last_query: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Returns rotated queries (of the last token only, if asked), rotated keys, and values: (B, heads, T, D)."""
        asking = hidden[:, -1:] if last_query else hidden
        rows, length, count = len(hidden), hidden.shape[1], asking.shape[1]
        query = attention.q_proj(asking).view(rows, count, self.heads, self.head_size)
        key = attention.k_proj(hidden).view(rows, length, self.key_heads, self.head_size)
        value = attention.v_proj(hidden).view(rows, length, self.key_heads, self.head_size).transpose(1, 2)
        cosine, sine = rotation[0].unsqueeze(2), rotation[1].unsqueeze(2)
        if length == 1:
            # Of one token both are small, and what costs is the number of operations.
            both = _rotate(torch.cat((query, key), dim=2), cosine, sine).transpose(1, 2)
            return both[:, : self.heads], both[:, self.heads :], value
        query = _rotate(query, cosine[:, -count:], sine[:, -count:])
        return query.transpose(1, 2), _rotate(key, cosine, sine).transpose(1, 2), value

    def _finish(
        self,
        layer: Any,
        residual: Tensor,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        may_see: Tensor | None,
        causal: bool = False,
    ) -> Tensor:
        """Attends, and runs the second half of a layer."""
        attended = functional.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=may_see,
            is_causal=causal,
            scale=layer.self_attn.scaling,
            enable_gqa=self.heads != self.key_heads,
        )
        hidden = residual + layer.self_attn.o_proj(attended.transpose(1, 2).flatten(2))
        return hidden + layer.mlp(_norm(layer.post_attention_layernorm, hidden))


def _rotate(heads: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotates (B, T, heads, D); the two halves of the last axis are a vector's two components, as in Llama."""
    return heads * cosine + heads.roll(heads.shape[-1] // 2, dims=-1) * sine


def _norm(module: Any, hidden: Tensor) -> Tensor:
    """Applies an RMS norm; in float32 by the fused kernel, which rounds as the module's seven operations do."""
    if hidden.dtype == torch.float32:
        return functional.rms_norm(hidden, hidden.shape[-1:], module.weight, module.variance_epsilon)
    return module(hidden)


def _causal(mask: Tensor | None, start: int, end: int, device: torch.device) -> Tensor | None:
    """Returns (B or 1, 1, T, end) bool of who may see whom; None where the plain causal triangle says it all."""
    if mask is None and not start:
        return None
    triangle = torch.ones(end - start, end, dtype=torch.bool, device=device).tril(start)
    return triangle[None, None] if mask is None else triangle & mask[:, None, None]
