"""OpenVLA-OFT: a chunk of T actions in one pass, as tokens or as numbers (arXiv 2502.19645).

Such a model is an OpenVLA that was fine-tuned to read zeros where action tokens would be, with attention in both
directions, and to predict all T * A of them at once. What its code (moojink/openvla-oft and its fork of transformers)
does was read there, not run, as no checkpoint was at hand:

- The sequence is begin token, patches of each image, one position for proprioception if any, the rest of the prompt,
  T * A zero embeddings, and the end-of-text token. All positions see all others, the text included.
- Token i is predicted where it would be in a causal model: one position before its own.
- The regression head takes the A hidden states of one action side by side and returns its A numbers, normalised.

Not built: FiLM (the ``OFT+`` models for ALOHA, whose vision blocks are scaled and shifted by the mean of the text), the
diffusion head, and the key-value cache, which parallel decoding has no use for.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from vlagen.baselines.openvla.errors import BadCheckpoint
from vlagen.baselines.openvla.generation import ActionSample, action_rows, positions_of, trimmed
from vlagen.baselines.openvla.model import OpenVLA
from vlagen.baselines.openvla.prompts import PromptBatch
from vlagen.baselines.openvla.sampling import (
    BadInput,
    check_temperature,
    draw,
    invert,
    log_probabilities,
    most_likely,
)

END_OF_TEXT = 2
"""Llama's end-of-text token, which closes the sequence in training."""

HeadType = TypeVar("HeadType", bound=nn.Module)


class ResidualBlock(nn.Module):
    """Norm, linear layer and ReLU beside the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ffn = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU())

    def forward(self, features: Tensor) -> Tensor:
        """Maps (..., W) to (..., W)."""
        return features + self.ffn(features)


class RegressionNetwork(nn.Module):
    """A residual network; the names of its parts are those of the published heads."""

    def __init__(self, inputs: int, width: int, outputs: int, blocks: int) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(inputs)
        self.fc1 = nn.Linear(inputs, width)
        self.mlp_resnet_blocks = nn.ModuleList(ResidualBlock(width) for _ in range(blocks))
        self.layer_norm2 = nn.LayerNorm(width)
        self.fc2 = nn.Linear(width, outputs)

    def forward(self, features: Tensor) -> Tensor:
        """Maps (..., inputs) to (..., outputs)."""
        features = functional.relu(self.fc1(self.layer_norm1(features)))
        for block in self.mlp_resnet_blocks:
            features = block(features)
        return self.fc2(self.layer_norm2(features))


class RegressionHead(nn.Module):
    """From hidden states to normalised actions, trained with an L1 loss.

    Args:
        width: of the language model (H); also of the head.
        tokens: numbers of an action (A).
        blocks: residual blocks.
    """

    def __init__(self, width: int, tokens: int, blocks: int = 2) -> None:
        super().__init__()
        self.tokens = tokens
        self.model = RegressionNetwork(width * tokens, width, tokens, blocks)

    def forward(self, hidden: Tensor) -> Tensor:
        """Maps hidden states (B, T * A, H) to actions (B, T, A), normalised but not clipped."""
        return self.model(hidden.unflatten(1, (-1, self.tokens)).flatten(2))


class ProprioceptionProjector(nn.Module):
    """Maps normalised proprioception (B, n) to one position of the sequence (B, H)."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(inputs, width)
        self.fc2 = nn.Linear(width, width)

    def forward(self, proprioception: Tensor) -> Tensor:
        """Maps (B, n) to (B, H)."""
        return self.fc2(functional.gelu(self.fc1(proprioception)))


class ParallelDecoder:
    """Decodes chunks of actions; called, it is an `ActionDecoder` for T * A tokens.

    Args:
        model: fine-tuned for it.
        tokens: numbers of an action (A).
        chunk: actions of a chunk (T). Upstream: 8 for LIBERO, 25 for ALOHA, 5 for Bridge.
        head: for continuous actions; without one, actions are tokens.
        projector: for proprioception, if the model was trained with it.
        images: pictures per observation, e.g. 2 with a wrist camera.
    """

    def __init__(
        self,
        model: OpenVLA,
        tokens: int,
        chunk: int,
        *,
        head: RegressionHead | None = None,
        projector: ProprioceptionProjector | None = None,
        images: int = 1,
    ) -> None:
        if min(tokens, chunk, images) < 1:
            raise BadInput(f"tokens {tokens}, chunk {chunk}, images {images}; allowed: 1 or more of each")
        self.model, self.head, self.projector = model, head, projector
        self.tokens, self.chunk, self.images = tokens, chunk, images

    def read(self, pixel_values: Tensor, prompts: PromptBatch, proprioception: Tensor | None = None) -> Tensor:
        """Runs the model; gradients flow, so training uses it as well.

        Args:
            pixel_values: (B, images * C, S, S): the channels of all images one after the other.
            prompts: of B rows.
            proprioception: normalised (B, n), with a projector.

        Returns:
            The hidden states that predict the chunk's numbers (B, T * A, H).

        Raises:
            BadInput: there are other images than announced, or proprioception where there is no projector, or none
                where there is one.
        """
        model, count = self.model, self.tokens * self.chunk
        if pixel_values.shape[1] != self.images * model.config.channels:
            given = tuple(pixel_values.shape)
            raise BadInput(
                f"pixel_values have shape {given}; allowed: {self.images} x {model.config.channels} channels"
            )
        if (proprioception is None) != (self.projector is None):
            raise BadInput("proprioception and a projector for it come together; one is missing")
        prompts = trimmed(prompts.to(model.device))
        rows = len(prompts.input_ids)
        pictures = pixel_values.to(model.device, model.dtype).unflatten(1, (self.images, -1)).flatten(0, 1)
        seen = model.project(pictures).unflatten(0, (rows, self.images)).flatten(1, 2)
        if self.projector is not None and proprioception is not None:
            state = self.projector(proprioception.to(model.device, self.projector.fc1.weight.dtype))
            seen = torch.cat([seen, state.to(seen.dtype)[:, None]], dim=1)
        prompt = model.embed(prompts.input_ids, seen)
        blank = prompt.new_zeros(rows, count, prompt.shape[2])
        end = prompts.input_ids.new_full((rows, 1), END_OF_TEXT)
        embeddings = torch.cat([prompt, blank, model.language_model.model.embed_tokens(end)], dim=1)
        mask = prompts.attention_mask.bool()
        mask = torch.cat(
            [mask[:, :1], mask.new_ones(seen.shape[:2]), mask[:, 1:], mask.new_ones(rows, count + 1)], dim=1
        )
        length = mask.shape[1]
        both_ways = mask[:, None, None].expand(-1, 1, length, -1)
        hidden = model.hidden(embeddings, attention_mask=both_ways, position_ids=positions_of(mask))
        return hidden[:, -count - 2 : -2]

    @torch.no_grad()
    def __call__(
        self,
        pixel_values: Tensor,
        prompts: PromptBatch,
        *,
        temperature: float = 0.0,
        generators: Sequence[torch.Generator] | None = None,
        restrict: bool = True,
        proprioception: Tensor | None = None,
    ) -> ActionSample:
        """Decodes chunks as tokens, all of them at once and independently of each other.

        Arguments and result are those of `ActionDecoder`, with (B, T * A) tokens: those of the first action first.
        """
        hidden = self.read(pixel_values, prompts, proprioception)
        model, count = self.model, self.tokens * self.chunk
        head = action_rows(model) if restrict else slice(0, model.config.head_rows)
        logits = model.logits(hidden, head)
        if check_temperature(temperature):
            if generators is None or len(generators) != len(logits):
                raise BadInput(f"sampling needs {len(logits)} generators, one per row")
            uniforms = draw(generators, count).to(logits.device)
            chosen = invert(logits.flatten(0, 1), uniforms.flatten(), temperature).view(logits.shape[:2])
        else:
            chosen = most_likely(logits)
        likelihoods, entropy = log_probabilities(logits, chosen)
        return ActionSample(chosen + head.start, likelihoods, entropy, None, logits, hidden)

    @torch.no_grad()
    def actions(self, pixel_values: Tensor, prompts: PromptBatch, *, proprioception: Tensor | None = None) -> Tensor:
        """Returns chunks as normalised numbers, float32 (B, T, A), from the regression head.

        Raises:
            BadInput: there is no head.
        """
        if self.head is None:
            raise BadInput("continuous actions need a regression head; call the decoder for tokens instead")
        hidden = self.read(pixel_values, prompts, proprioception)
        return self.head(hidden.to(self.head.model.fc1.weight.dtype)).float()


def load_part(part: HeadType, file: str | Path) -> HeadType:
    """Fills a head or a projector from a safetensors file, with or without the ``module.`` that upstream's names have.

    Raises:
        BadCheckpoint: the file is a pickle (as upstream's are), or holds another part.
    """
    file = Path(file)
    if file.suffix != ".safetensors":
        raise refused(file)
    try:
        state = {name.removeprefix("module."): tensor for name, tensor in load_file(file).items()}
    except (OSError, SafetensorError) as error:
        raise BadCheckpoint(f"{file} cannot be read: {error}") from error
    needed = {name: tuple(tensor.shape) for name, tensor in part.state_dict().items()}
    given = {name: tuple(tensor.shape) for name, tensor in state.items()}
    if given != needed:
        differing = sorted(name for name in needed.keys() | given if needed.get(name) != given.get(name))
        wanted = [f"{name} is {given.get(name, 'missing')}, not {needed.get(name, 'known')}" for name in differing]
        raise BadCheckpoint(f"{file} does not fit a {type(part).__name__} of this model: {'; '.join(wanted[:3])}")
    part.load_state_dict(state)
    return part


def refused(file: Path) -> BadCheckpoint:
    """Words why a part of another format is not read, and how to convert it."""
    return BadCheckpoint(
        f"{file} is no safetensors file. A pickle can run code when it is opened, so none is; if you trust it, convert "
        f"it once: safetensors.torch.save_file(torch.load('{file.name}', map_location='cpu', weights_only=True), "
        f"'{file.stem}.safetensors')"
    )


def save_part(part: nn.Module, file: str | Path) -> None:
    """Writes a head or a projector as `load_part` reads it."""
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in part.state_dict().items()}, file)
