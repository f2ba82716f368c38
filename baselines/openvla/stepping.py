"""The loop that decodes action tokens one by one, as it is, compiled, or as a CUDA graph.

All that a step reads and writes lies in a `DecodeState`, at fixed addresses and in fixed shapes; even the counter is a
tensor. So a step can be recorded once and replayed, and the host waits for the device only when all tokens are there.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from vlagen.baselines.openvla.language import LanguageRunner, Rotation
from vlagen.baselines.openvla.model import OpenVLA
from vlagen.baselines.openvla.sampling import invert, most_likely

Acceleration = Literal["auto", "none", "compile", "graph"]
KEPT_STATES = 2
"""How many shapes keep their buffers and recordings; those of a 7B model take 150 MB a row."""

COMPILED_SHAPES = 64
"""How many shapes may be compiled in one process; torch's own limit of 8 would end a run that has more."""


@dataclass(frozen=True)
class DecodeState:
    """What a step reads and writes, for B rows of S slots, A tokens, R rows of the head.

    Attributes:
        buffer: keys and values.
        bias: (B, 1, 1, S), added to attention scores: 0 where there is a token, minus infinity elsewhere.
        cosine, sine: rotation of the action tokens (B, A, D).
        slot: (1,) where the next token goes.
        column: (1,) how many tokens are chosen.
        token: (B,) the last one chosen.
        uniforms: float64 (B, A), what decides a sampled token.
        temperature: () float64.
        tokens, logits, hidden: (B, A), (B, A, R) and (B, A, H): the results; `hidden` is what the logits are made of.
    """

    buffer: Tensor
    bias: Tensor
    cosine: Tensor
    sine: Tensor
    slot: Tensor
    column: Tensor
    token: Tensor
    uniforms: Tensor
    temperature: Tensor
    tokens: Tensor
    logits: Tensor
    hidden: Tensor

    @property
    def results(self) -> tuple[Tensor, Tensor, Tensor]:
        """Copies of tokens, logits and hidden states, as the next decoding overwrites them."""
        return self.tokens.clone(), self.logits.clone(), self.hidden.clone()

    def begin(self, mask: Tensor | None, length: int, rotation: Rotation, uniforms: Tensor | None, t: float) -> None:
        """Prepares for the tokens that follow prompts of `length` slots; the buffer holds these already.

        Mask (or None), rotation and draws are of the first rows; there may be more rows, whose results mean nothing.
        """
        count = len(self.bias) if mask is None else len(mask)
        self.bias.fill_(-torch.inf)
        self.bias[:count, ..., :length] = 0
        if mask is not None:
            self.bias[:count, ..., :length].masked_fill_(~mask[:, None, None], -torch.inf)
        self.cosine[:count] = rotation[0]
        self.sine[:count] = rotation[1]
        self.slot.fill_(length)
        self.column.zero_()
        if uniforms is not None:
            self.uniforms[:count].copy_(uniforms)
        self.temperature.fill_(t)


@dataclass(frozen=True)
class Shape:
    """What a recorded step was recorded for: batch rows, slots, tokens, rows of the head, and how tokens are chosen."""

    rows: int
    slots: int
    tokens: int
    head: slice
    greedy: bool

    def key(self) -> tuple:
        """A dictionary key; a slice is none before Python 3.12."""
        return (self.rows, self.slots, self.tokens, self.head.start, self.head.stop, self.greedy)


class Stepper:
    """Decodes tokens with one model, and remembers buffers and recordings by shape.

    Args:
        model: whose weights may change between calls, but not move.
        runner: of its language model.
        acceleration: ``"none"`` calls the modules; ``"compile"`` has `torch.compile` fuse the step (and wrap it into a
            CUDA graph where there is a GPU); ``"graph"`` records the modules' own kernels into a CUDA graph, so the
            numbers are those of ``"none"``; ``"auto"`` is a graph on a GPU and none elsewhere.
    """

    def __init__(self, model: OpenVLA, runner: LanguageRunner, acceleration: Acceleration = "auto") -> None:
        self.model, self.runner = model, runner
        on_gpu = model.device.type == "cuda"
        self.acceleration = ("graph" if on_gpu else "none") if acceleration == "auto" else acceleration
        if self.acceleration == "compile":
            torch._dynamo.config.recompile_limit = max(COMPILED_SHAPES, torch._dynamo.config.recompile_limit)
        self._kept: OrderedDict[tuple, tuple[DecodeState, Callable[[], None]]] = OrderedDict()

    @property
    def static(self) -> bool:
        """Whether shapes are recorded, so that few different ones should be asked for."""
        return self.acceleration != "none"

    def prepare(self, shape: Shape) -> tuple[DecodeState, Callable[[], None]]:
        """Returns the state for a shape, to be filled by the caller, and the function that decodes one more token."""
        if not self.static:
            state = self._allocate(shape)
            return state, lambda: self.advance(state, shape)
        key = shape.key()
        if key not in self._kept:
            while len(self._kept) >= KEPT_STATES:
                self._kept.popitem(last=False)
            self._kept[key] = self._record(shape)
        self._kept.move_to_end(key)
        return self._kept[key]

    def choose(self, state: DecodeState, hidden: Tensor, shape: Shape) -> None:
        """Chooses the token that follows hidden states (B, H) and notes it down."""
        logits = self.model.logits(hidden, shape.head)
        if shape.greedy:
            index = most_likely(logits)
        else:
            index = invert(logits, state.uniforms.index_select(1, state.column)[:, 0], state.temperature)
        state.token.copy_(index + shape.head.start)
        state.tokens.index_copy_(1, state.column, state.token[:, None])
        state.logits.index_copy_(1, state.column, logits[:, None])
        state.hidden.index_copy_(1, state.column, hidden[:, None])
        state.column.add_(1)

    def advance(self, state: DecodeState, shape: Shape) -> None:
        """Reads the last token and chooses the next."""
        last = state.column - 1
        rotation = state.cosine.index_select(1, last), state.sine.index_select(1, last)
        embeddings = self.runner.embed_tokens(state.token[:, None])
        hidden = self.runner.step(embeddings, state.buffer, rotation, state.bias, state.slot)
        state.slot.add_(1)
        self.choose(state, hidden, shape)

    def _allocate(self, shape: Shape) -> DecodeState:
        rows, tokens, device = shape.rows, shape.tokens, self.model.device
        buffer = self.runner.allocate(rows, shape.slots)
        dtype, head_size = buffer.dtype, self.runner.head_size

        def empty(*sizes: int, of: torch.dtype) -> Tensor:
            return torch.zeros(sizes, dtype=of, device=device)

        return DecodeState(
            buffer=buffer,
            bias=empty(rows, 1, 1, shape.slots, of=dtype),
            cosine=empty(rows, tokens, head_size, of=dtype),
            sine=empty(rows, tokens, head_size, of=dtype),
            slot=empty(1, of=torch.int64),
            column=empty(1, of=torch.int64),
            token=empty(rows, of=torch.int64),
            uniforms=empty(rows, tokens, of=torch.float64),
            temperature=empty(of=torch.float64),
            tokens=empty(rows, tokens, of=torch.int64),
            logits=empty(rows, tokens, shape.head.stop - shape.head.start, of=torch.float32),
            hidden=empty(rows, tokens, self.model.config.width, of=dtype),
        )

    def _record(self, shape: Shape) -> tuple[DecodeState, Callable[[], None]]:
        state = self._allocate(shape)
        if self.acceleration == "compile":
            for tensor in vars(state).values():
                torch._dynamo.mark_static_address(tensor)
            # Every shape is compiled on its own: one general program would be slower for each of them.
            options = {"mode": "reduce-overhead"} if state.buffer.is_cuda else {}
            compiled = torch.compile(self.advance, fullgraph=True, dynamic=False, **options)
            return state, lambda: compiled(state, shape)
        state.temperature.fill_(1)
        # Libraries choose their kernels and allocate their workspaces at first use, which must not be recorded.
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            state.column.fill_(1)
            self.advance(state, shape)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        state.column.fill_(1)
        with torch.cuda.graph(graph):
            self.advance(state, shape)
        return state, graph.replay
