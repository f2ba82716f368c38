"""Decoding actions: prompts and images in, action tokens with their log-probabilities out.

A batch is cut into chunks of a few rows. A chunk's prompts are read in one pass (`language`), then its tokens are
decoded one by one (`stepping`). Chunks bound the memory (keys and values of a 7B model take 150 MB a row) and decide
what a row's arithmetic depends on: see `Batching`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from vlagen.baselines.openvla.language import LanguageRunner, Rotation
from vlagen.baselines.openvla.model import OpenVLA
from vlagen.baselines.openvla.prefix import ImagePrefix
from vlagen.baselines.openvla.prompts import PromptBatch
from vlagen.baselines.openvla.sampling import BadInput, check_temperature, draw, log_probabilities
from vlagen.baselines.openvla.stepping import Acceleration, DecodeState, Shape, Stepper

Batching = Literal["auto", "packed", "bucketed", "invariant"]
"""Which rows share a chunk.

- ``packed``: neighbours in length; shorter prompts are padded. Fills a GPU best.
- ``bucketed``: only prompts of one length, so nothing is padded and no mask is needed.
- ``invariant``: every prompt is read alone, and decoding always has the same number of rows and slots (empty rows fill
  a chunk up), so that no library chooses another kernel because of a row's mates. Reading is what a row costs, empty
  rows next to nothing: a step waits for the weights. On a CPU one row is decoded at a time, as several threads share
  the rows of a product among them, and the last bit then depends on which row it is.
- ``auto``: packed on a GPU, bucketed elsewhere.

The first two give a row the same numbers up to rounding whatever its mates are (about 1e-6 of a logit in float32 and
1e-2 in bfloat16); the third gives it the same bits.
"""

SLOT_BUCKET = 64
"""Recorded steps are for a multiple of this many slots, so that prompts of similar length share one."""


@dataclass(frozen=True)
class ActionSample:
    """Action tokens of B rows, A tokens each, and what the model thought of them.

    Attributes:
        tokens: int64 (B, A), ids of the vocabulary.
        log_probabilities: float32 (B, A), each given the tokens before it, among what could be chosen.
        entropy: float32 (B, A), of the distributions that the tokens were chosen from [nat].
        value: (B,), or None without a value head.
        logits: float32 (B, A, R), of the R ids that could be chosen.
        hidden: (B, A, H), what the logits were made of, after the final norm.
    """

    tokens: Tensor
    log_probabilities: Tensor
    entropy: Tensor
    value: Tensor | None
    logits: Tensor
    hidden: Tensor


def action_rows(model: OpenVLA) -> slice:
    """Returns the rows of the head that stand for actions."""
    ids = model.config.action_token_ids
    return slice(ids.start, ids.stop)


class ActionDecoder:
    """Decodes the action tokens of many episodes at once.

    Args:
        model: the model; its weights may be trained between calls.
        tokens: how many action tokens to decode (A): the length of the data set's action.
        tempered: report log-probabilities and entropies of what was sampled from, i.e. of logits over temperature.
            False is what the study does: those of the raw logits, at whatever temperature tokens are drawn.
        batching: which rows share a chunk.
        rows: of a chunk at most; by default 32 on a GPU and 16 elsewhere.
        acceleration: of the single-token step, see `Stepper`.
    """

    def __init__(
        self,
        model: OpenVLA,
        tokens: int,
        *,
        tempered: bool = False,
        batching: Batching = "auto",
        rows: int | None = None,
        acceleration: Acceleration = "auto",
    ) -> None:
        if tokens < 1 or (rows is not None and rows < 1):
            raise BadInput(f"tokens {tokens}, rows {rows}; allowed: 1 or more of each")
        on_gpu = model.device.type == "cuda"
        self.model, self.tokens, self.tempered = model, tokens, tempered
        self.batching = ("packed" if on_gpu else "bucketed") if batching == "auto" else batching
        self.rows = rows or (32 if on_gpu else 16)
        if self.invariant and not on_gpu:
            self.rows = 1
        self.runner = LanguageRunner(model.language_model)
        self.stepper = Stepper(model, self.runner, acceleration)

    @property
    def invariant(self) -> bool:
        """Whether a row's bits are to depend on nothing but the row."""
        return self.batching == "invariant"

    @torch.no_grad()
    def __call__(
        self,
        pixel_values: Tensor,
        prompts: PromptBatch,
        *,
        temperature: float = 0.0,
        generators: Sequence[torch.Generator] | None = None,
        restrict: bool = True,
        samples: int = 1,
        frames: Sequence[int] | None = None,
    ) -> ActionSample:
        """Decodes actions.

        Args:
            pixel_values: normalised images (B, C, S, S), or (F, C, S, S) with `frames`.
            prompts: of B rows.
            temperature: what to divide logits by before sampling; 0 takes the most likely token.
            generators: one stream of draws for each row of the result, advanced by A numbers; needed to sample.
            restrict: choose among action ids only; False, among the whole head, as upstream's greedy decoding does.
            samples: how many actions to sample for every row; they share the reading of the prompt.
            frames: which image (0 .. F - 1) each row sees, where rows share images: what can be shared is computed
                once per image.

        Returns:
            Rows in the order of the prompts, the samples of a row one after the other (B * samples, A).
        """
        prefix = self._check(pixel_values, prompts, frames, samples)
        sampled = check_temperature(temperature) > 0
        count = len(prompts.input_ids) * samples
        if sampled and (generators is None or len(generators) != count):
            given = "none" if generators is None else len(generators)
            raise BadInput(
                f"sampling at temperature {temperature} needs {count} generators, one per row; given: {given}"
            )
        uniforms = draw(generators, self.tokens) if sampled else None
        head = action_rows(self.model) if restrict else slice(0, self.model.config.head_rows)
        # Planning reads the mask; on the host that makes no one wait.
        prompts = prompts.to("cpu")
        which = None if frames is None else torch.as_tensor(frames)

        pieces, order = [], []
        for chunk, filled in self._chunks(prompts.attention_mask, samples):
            some = torch.as_tensor(chunk)
            rows = (some[:, None] * samples + torch.arange(samples)).flatten()
            # One chunk of everything needs no copies.
            whole = chunk == list(range(len(prompts.input_ids)))
            batch = trimmed(prompts, None if whole else some)
            decoded = max(1, self.rows // samples) * samples if self.invariant else len(rows)
            shape = Shape(decoded, self._slots(batch.input_ids.shape[1]), self.tokens, head, greedy=not sampled)
            if prefix:
                seen = prefix.select(which[some])
            else:
                seen = pixel_values if whole else pixel_values[some.to(pixel_values.device)]
            draws = None if uniforms is None else uniforms[rows]
            decode = self._decode_singly if self.invariant else self._decode
            results = decode(seen, batch, shape, samples, draws, temperature or 1.0)
            pieces.append([each[: filled * samples] for each in results])
            order.append(rows[: filled * samples])
        tokens, logits, hidden = pieces[0]
        if len(pieces) > 1 or not whole:
            back = torch.cat(order).argsort().to(self.model.device)
            tokens, logits, hidden = (torch.cat(parts)[back] for parts in zip(*pieces, strict=True))
        divisor = temperature if self.tempered and sampled else 1.0
        likelihoods, entropy = log_probabilities(logits, tokens - head.start, divisor)
        return ActionSample(tokens, likelihoods, entropy, None, logits, hidden)

    def _decode(
        self,
        seen: Tensor | ImagePrefix,
        batch: PromptBatch,
        shape: Shape,
        samples: int,
        uniforms: Tensor | None,
        temperature: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Decodes one chunk, its prompts read together; returns tokens, logits and hidden states."""
        model, runner = self.model, self.runner
        state, advance = self.stepper.prepare(shape)
        padded = not bool(batch.attention_mask.all())
        batch = batch.to(model.device)
        mask = model.widen(batch.attention_mask).bool() if padded else None
        length = model.config.patches + batch.input_ids.shape[1]
        cosine, sine = self._rotation(mask, length)

        buffer = state.buffer if samples == 1 else runner.allocate(len(batch.input_ids), length)
        hidden = self._read(seen, batch, buffer, (cosine, sine), mask)
        if samples > 1:
            for ours, theirs in zip(state.buffer, buffer, strict=True):
                ours[:, :, :, :length] = theirs.repeat_interleave(samples, dim=1)
            hidden = hidden.repeat_interleave(samples, dim=0)
            if mask is not None:
                mask, cosine, sine = (each.repeat_interleave(samples, dim=0) for each in (mask, cosine, sine))
        state.begin(mask, length, (cosine[:, length:], sine[:, length:]), uniforms, temperature)
        return self._continue(state, advance, hidden, shape)

    def _decode_singly(
        self,
        seen: Tensor | ImagePrefix,
        batch: PromptBatch,
        shape: Shape,
        samples: int,
        uniforms: Tensor | None,
        temperature: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Does what `_decode` does so that no row's bits depend on another row.

        Prompts end in the same slot, which depends on the length bucket alone; the first slots of a row stay empty.
        """
        model, runner = self.model, self.runner
        state, advance = self.stepper.prepare(shape)
        end = shape.slots - self.tokens + 1
        lengths = model.config.patches + batch.attention_mask.sum(dim=1)
        cosine, sine = runner.table(int(lengths.max()) + self.tokens)
        hidden = model.projector.fc1.weight.new_zeros(shape.rows, model.config.width, dtype=state.hidden.dtype)
        for row, length in enumerate(lengths.tolist()):
            one = torch.tensor([row])
            slots = state.buffer[:, :, row * samples : (row + 1) * samples, :, end - length :]
            picture = seen.select(one) if isinstance(seen, ImagePrefix) else seen[row : row + 1]
            prompt = trimmed(batch, one).to(model.device)
            read = self._read(picture, prompt, slots[:, :, :1], (cosine[None], sine[None]), None)
            slots[:, :, 1:, :, :length] = slots[:, :, :1, :, :length]
            hidden[row * samples : (row + 1) * samples] = read
        lengths = lengths.repeat_interleave(samples)
        filled = (torch.arange(end) >= end - lengths[:, None]).to(model.device)
        to_come = (lengths[:, None] + torch.arange(self.tokens)).to(model.device)
        state.begin(filled, end, (cosine[to_come], sine[to_come]), uniforms, temperature)
        return self._continue(state, advance, hidden, shape)

    def _read(
        self, seen: Tensor | ImagePrefix, batch: PromptBatch, buffer: Tensor, rotation: Rotation, mask: Tensor | None
    ) -> Tensor:
        """Reads prompts into a buffer whose slots begin with them; returns the hidden states of their last tokens."""
        start, length = 0, self.model.config.patches + batch.input_ids.shape[1]
        if isinstance(seen, ImagePrefix):
            start = seen.fill(buffer)
            embeddings = self.runner.embed_tokens(batch.input_ids[:, 1:])
        else:
            patches = self.model.project(seen.to(self.model.device, self.model.dtype))
            embeddings = self.model.embed(batch.input_ids, patches)
        cosine, sine = (each[:, start:length] for each in rotation)
        return self.runner.prefill(embeddings, buffer, (cosine, sine), mask=mask, start=start)

    def _continue(
        self, state: DecodeState, advance: Callable[[], None], hidden: Tensor, shape: Shape
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Chooses the first tokens by hidden states (B, H), and decodes the others."""
        self.stepper.choose(state, hidden, shape)
        for _ in range(self.tokens - 1):
            advance()
        return state.results if self.stepper.static else (state.tokens, state.logits, state.hidden)

    def _rotation(self, mask: Tensor | None, length: int) -> Rotation:
        """Returns what rotates prompts and the tokens to come: (B, length + A, D), or (1, ...) for all rows alike."""
        end = length + self.tokens
        cosine, sine = self.runner.table(end)
        if mask is None:
            return cosine[None], sine[None]
        inside = positions_of(mask)
        to_come = inside[:, -1:] + torch.arange(1, self.tokens + 1, device=inside.device)
        positions = torch.cat([inside, to_come], dim=1)
        return cosine[positions], sine[positions]

    def _slots(self, length: int) -> int:
        """How many slots prompts of up to `length` tokens need: the last token chosen is never read."""
        needed = self.model.config.patches + length + self.tokens - 1
        return -(-needed // SLOT_BUCKET) * SLOT_BUCKET if self.stepper.static or self.invariant else needed

    def _chunks(self, attention_mask: Tensor, samples: int) -> list[tuple[list[int], int]]:
        """Returns the rows of every chunk, and how many of them are no copies."""
        size = max(1, self.rows // samples)
        lengths = attention_mask.sum(dim=1).tolist()
        by_length = sorted(range(len(lengths)), key=lengths.__getitem__)
        groups = [self._slots(length) for length in lengths] if self.invariant else lengths
        chunks: list[list[int]] = []
        for row in by_length:
            fits = chunks and len(chunks[-1]) < size
            if fits and (self.batching == "packed" or groups[chunks[-1][0]] == groups[row]):
                chunks[-1].append(row)
            else:
                chunks.append([row])
        return [(chunk + chunk[-1:] * (self._filled(len(chunk), size) - len(chunk)), len(chunk)) for chunk in chunks]

    def _filled(self, rows: int, size: int) -> int:
        """How many rows a chunk is filled up to with copies of its last one."""
        if self.invariant:
            return rows
        # A step is recorded for a number of rows; powers of two keep that to a few recordings.
        return min(size, 1 << (rows - 1).bit_length()) if self.stepper.static else rows

    def _check(
        self, pixel_values: Tensor, prompts: PromptBatch, frames: Sequence[int] | None, samples: int
    ) -> ImagePrefix | None:
        """Checks shapes; reads shared images.

        Raises:
            BadInput: shapes do not go together.
        """
        config, ids, mask = self.model.config, prompts.input_ids, prompts.attention_mask
        image = (config.channels, config.image_size, config.image_size)
        if pixel_values.ndim != 4 or pixel_values.shape[1:] != image:
            raise BadInput(
                f"pixel_values have shape {tuple(pixel_values.shape)}; allowed: (B, {', '.join(map(str, image))})"
            )
        if ids.ndim != 2 or ids.shape != mask.shape or not len(ids):
            raise BadInput(f"ids {tuple(ids.shape)}, mask {tuple(mask.shape)}; allowed: the same (B, L), B from 1 on")
        if not bool(mask[:, 0].all()) or bool((mask[:, 1:-1] > mask[:, 2:]).any()) or not bool(mask[:, -1].all()):
            raise BadInput("prompts must have their first token in column 0 and end in the last column, padded between")
        if samples < 1:
            raise BadInput(f"samples {samples}; allowed: 1 or more")
        if frames is None:
            if len(pixel_values) != len(ids):
                raise BadInput(f"{len(pixel_values)} images for {len(ids)} prompts; say who sees which with `frames`")
            return None
        if len(frames) != len(ids) or min(frames) < 0 or max(frames) >= len(pixel_values):
            raise BadInput(f"frames {list(frames)[:8]}; allowed: {len(ids)} numbers of 0 .. {len(pixel_values) - 1}")
        together = 1 if self.invariant else self.rows
        return ImagePrefix.read(self.model, self.runner, pixel_values, ids[:1, :1], together)


def trimmed(prompts: PromptBatch, rows: Tensor | None = None) -> PromptBatch:
    """Takes rows of a batch, or all, and drops the columns that are padding in all of them."""
    ids, mask = prompts.input_ids, prompts.attention_mask
    if rows is not None:
        ids, mask = ids[rows], mask[rows]
    used = mask.any(dim=0)
    return PromptBatch(ids[:, used], mask[:, used])


def positions_of(mask: Tensor) -> Tensor:
    """Returns positions (B, T) under a mask (B, T): padding does not count."""
    return (mask.long().cumsum(dim=1) - 1).clamp(min=0)
