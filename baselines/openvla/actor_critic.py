"""OpenVLA as actor and critic: what the trainers of `vlagen.baselines` sample from and differentiate.

`sample` decodes without gradients, `evaluate` reads given tokens with them, and both say the same of the same tokens.
Of the language model's output only A positions are used, and 256 rows of the head there: logits of all positions over
the whole vocabulary would take 36 MB a row, and as much again for their gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from vlagen.baselines.openvla.generation import (
    ActionDecoder,
    ActionSample,
    Batching,
    action_rows,
    positions_of,
    trimmed,
)
from vlagen.baselines.openvla.model import OpenVLA
from vlagen.baselines.openvla.prompts import PromptBatch
from vlagen.baselines.openvla.sampling import BadInput, log_probabilities
from vlagen.baselines.openvla.stepping import Acceleration
from vlagen.baselines.openvla.value_head import ValueHead


class ActorCritic(nn.Module):
    """A policy with a value head on its own backbone, on another one, or without any.

    Args:
        model: the policy.
        tokens: length of an action in tokens (A).
        value_head: the critic's head; None for algorithms without a critic (GRPO, DPO).
        critic: a model of its own for the critic; by default the head reads the policy's hidden states, which is what
            the study found to be as good at half the memory. Such a critic sees the prompt alone.
        tempered: log-probabilities of logits over temperature, instead of the raw logits as in the study.
        batching: of sampling, see `generation.Batching`.
        rows: sampled at once at most.
        acceleration: of sampling, see `stepping.Stepper`.
        checkpointing: compute layers again in the backward pass instead of keeping what they computed.

    Raises:
        BadInput: a critic without a head, or with one that reads action tokens.
    """

    def __init__(
        self,
        model: OpenVLA,
        tokens: int,
        *,
        value_head: ValueHead | None = None,
        critic: OpenVLA | None = None,
        tempered: bool = False,
        batching: Batching = "auto",
        rows: int | None = None,
        acceleration: Acceleration = "auto",
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if critic is not None and (value_head is None or value_head.reads != "first"):
            reads = "none" if value_head is None else value_head.reads
            raise BadInput(f"a critic of its own with the value head {reads!r}; allowed: one that reads 'first'")
        self.model, self.value_head, self.critic = model, value_head, critic
        self.tokens, self.tempered = tokens, tempered
        options = {"batching": batching, "rows": rows, "acceleration": acceleration}
        self._decoder = ActionDecoder(model, tokens, tempered=tempered, **options)
        # One token's hidden state is the one at the end of the prompt.
        self._reader = ActionDecoder(critic or model, 1, **options)
        for each in filter(None, (model, critic)):
            each.set_checkpointing(checkpointing)

    def policy_parameters(self) -> Iterator[nn.Parameter]:
        """Yields what is trained of the policy, and of a critic of its own: their gradients never meet."""
        for each in filter(None, (self.model, self.critic)):
            yield from (parameter for parameter in each.parameters() if parameter.requires_grad)

    def value_parameters(self) -> Iterator[nn.Parameter]:
        """Yields the weights of the value head."""
        yield from () if self.value_head is None else self.value_head.parameters()

    @torch.no_grad()
    def sample(
        self,
        pixel_values: Tensor,
        prompts: PromptBatch,
        *,
        temperature: float = 1.0,
        generators: Sequence[torch.Generator] | None = None,
        samples: int = 1,
        frames: Sequence[int] | None = None,
    ) -> ActionSample:
        """Chooses actions; arguments and result are those of `ActionDecoder`, with a value per row."""
        shared = {"temperature": temperature, "generators": generators, "samples": samples, "frames": frames}
        chosen = self._decoder(pixel_values, prompts, **shared)
        if self.value_head is None:
            return chosen
        if self.critic is None:
            value = self.value_head(chosen.hidden)
        else:
            value = self.value(pixel_values, prompts, frames=frames).repeat_interleave(samples)
        return ActionSample(**{**vars(chosen), "value": value})

    @torch.no_grad()
    def value(self, pixel_values: Tensor, prompts: PromptBatch, *, frames: Sequence[int] | None = None) -> Tensor:
        """Returns what states are worth (B,), for bootstrapping at a time limit: the prompt is read, nothing decoded.

        Raises:
            BadInput: there is no head, or it reads action tokens, so that the value depends on the action.
        """
        if self.value_head is None or (self.value_head.reads != "first" and self.tokens > 1):
            reads = "none" if self.value_head is None else self.value_head.reads
            raise BadInput(
                f"value of a state with the value head {reads!r}; allowed: 'first'; or take it from `sample`"
            )
        return self.value_head(self._reader(pixel_values, prompts, frames=frames).hidden)

    def evaluate(
        self,
        pixel_values: Tensor,
        prompts: PromptBatch,
        tokens: Tensor,
        *,
        temperature: float = 1.0,
        frames: Sequence[int] | None = None,
    ) -> ActionSample:
        """Says of given action tokens what `sample` says of those that it chooses, with gradients.

        Args:
            pixel_values: normalised images (B, C, S, S), or (F, C, S, S) with `frames`.
            prompts: of B rows.
            tokens: int64 (B, A), ids of action tokens.
            temperature: that the tokens were sampled at; matters if `tempered` only.
            frames: which image each row sees; every image goes through the vision backbone once.

        Raises:
            BadInput: tokens of another shape, or that are no action tokens.
        """
        rows = action_rows(self.model)
        tokens = tokens.to(self.model.device)
        if tokens.shape != (len(prompts.input_ids), self.tokens):
            wanted = (len(prompts.input_ids), self.tokens)
            raise BadInput(f"action tokens have shape {tuple(tokens.shape)}; allowed: {wanted}")
        if bool(((tokens < rows.start) | (tokens >= rows.stop)).any()):
            raise BadInput(f"action tokens outside {rows.start} .. {rows.stop - 1}; use `ActionTokenizer.encode`")
        # The last token predicts nothing that is asked for.
        hidden = _last_hidden(self.model, pixel_values, prompts, tokens[:, :-1], frames)
        logits = self.model.logits(hidden, rows)
        divisor = temperature if self.tempered else 1.0
        likelihoods, entropy = log_probabilities(logits, tokens - rows.start, divisor)
        value = None
        if self.value_head is not None:
            read = (
                hidden
                if self.critic is None
                else _last_hidden(self.critic, pixel_values, prompts, tokens[:, :0], frames)
            )
            value = self.value_head(read)
        return ActionSample(tokens, likelihoods, entropy, value, logits, hidden)

    def save_value_head(self, folder: str | Path) -> Path | None:
        """Writes the value head beside a checkpoint; returns the file, or None without a head."""
        return None if self.value_head is None else self.value_head.save(folder)


def _last_hidden(
    model: OpenVLA, pixel_values: Tensor, prompts: PromptBatch, answer: Tensor, frames: Sequence[int] | None
) -> Tensor:
    """Reads prompts and the answer's tokens (B, A - 1); returns the hidden states that predict (B, A, H)."""
    prompts = trimmed(prompts.to(model.device))
    ids = torch.cat([prompts.input_ids, answer], dim=1)
    patches = model.project(pixel_values.to(model.device, model.dtype))
    if frames is not None:
        patches = patches[torch.as_tensor(frames, device=patches.device)]
    mask = positions = None
    # Without padding there is no mask, and so the attention's causal kernel, as in sampling.
    if not bool(prompts.attention_mask.all()):
        mask = model.widen(torch.cat([prompts.attention_mask, torch.ones_like(answer)], dim=1))
        positions = positions_of(mask)
    hidden = model.hidden(model.embed(ids, patches), attention_mask=mask, position_ids=positions)
    return hidden[:, -1 - answer.shape[1] :]
