"""Checkpoints whose models emit chunks of actions in one pass: what lies in their folders, and how they are played.

Upstream (moojink/openvla-oft) trains them on an OpenVLA and writes, beside its weights, files that begin with
``action_head--`` for continuous actions and ``proprio_projector--`` for proprioception, both pickled, so they have to
be converted once. How long a chunk is stands in none of its files; vlagen has it in ``config.json`` (``CHUNK_KEY``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vlagen.baselines.openvla.configuration import OpenVLAConfig
from vlagen.baselines.openvla.errors import BadCheckpoint, BadOption
from vlagen.baselines.openvla.generation import trimmed
from vlagen.baselines.openvla.model import OpenVLA
from vlagen.baselines.openvla.normalization import StateNormalizer
from vlagen.baselines.openvla.oft import ParallelDecoder, ProprioceptionProjector, RegressionHead, load_part, refused
from vlagen.baselines.openvla.options import check_count
from vlagen.baselines.openvla.processing import Processing
from vlagen.baselines.openvla.prompts import PromptBatch
from vlagen.baselines.openvla.sources import hub_files

CHUNK_KEY = "vlagen_action_chunk"
"""Under which ``config.json`` says how many actions a chunk has; other loaders ignore it."""

STATE_SIZE = 8
"""Numbers of proprioception that vlagen shows: six arm joints [rad] and two finger joints [m]."""

_PART = re.compile(r"(?P<kind>\w+)--\w+_checkpoint(?P<suffix>\.\w+)")
_KINDS = ("action_head", "proprio_projector")
_NOT_BUILT = {"noisy_action_projector": "a diffusion head", "vision_backbone": "FiLM in its vision backbones"}
_TRAINED_CHUNKS = "upstream's models were trained with 8 (LIBERO), 5 (Bridge) or 25 (ALOHA)"


@dataclass(frozen=True)
class ChunkParts:
    """What makes an OpenVLA checkpoint one that emits chunks.

    Attributes:
        chunk: actions of a chunk (T); None if the checkpoint does not say.
        action_head: file of the regression head; without one, actions are tokens.
        proprio_projector: file of the projector for proprioception, if there is one.
    """

    chunk: int | None = None
    action_head: Path | None = None
    proprio_projector: Path | None = None

    @property
    def there(self) -> bool:
        """Whether the checkpoint emits chunks."""
        return self != ChunkParts()

    @property
    def files(self) -> list[Path]:
        """The files, those that are there."""
        return [path for path in (self.action_head, self.proprio_projector) if path is not None]


def find_parts(source: str | Path, folder: Path, config: OpenVLAConfig) -> ChunkParts:
    """Looks for what upstream's fine-tuning writes beside a model.

    Args:
        source: what the user named; of a repository on the hub, files that were not downloaded are looked at, too.
        folder: of the checkpoint.
        config: of its model.

    Raises:
        BadCheckpoint: a part is a pickle, is there twice, or is of a kind that is not built in.
    """
    names = {*(path.name for path in folder.iterdir()), *hub_files(source)}
    found = [match for match in map(_PART.fullmatch, sorted(names)) if match]
    for match in found:
        if match["kind"] in _NOT_BUILT:
            raise BadCheckpoint(
                f"{source} has {match.group()}, so it was trained with {_NOT_BUILT[match['kind']]}, which is not built "
                "in; allowed: discrete actions or an L1 regression head, without FiLM"
            )
    files = {}
    for kind in _KINDS:
        there = [match for match in found if match["kind"] == kind]
        readable = [match.group() for match in there if match["suffix"] == ".safetensors"]
        if there and not readable:
            raise refused(folder / there[0].group())
        if len(readable) > 1:
            raise BadCheckpoint(f"{source} has {len(readable)} of {kind}: {', '.join(readable)}; leave one there")
        files[kind] = folder / readable[0] if readable else None
    return ChunkParts(chunk=_chunk_of(folder, config), **files)


def choose_chunk(parts: ChunkParts, decoding: str, chunk: int | None) -> int | None:
    """Returns how many actions of a chunk are to be decoded at once, or None for one action, token by token.

    Args:
        parts: what the checkpoint has.
        decoding: ``auto``, ``parallel`` or ``sequential``.
        chunk: as the user gave it; by default the checkpoint's.

    Raises:
        BadOption: these do not go together.
    """
    if decoding == "sequential" or (decoding == "auto" and not parts.there and chunk is None):
        if chunk is not None:
            raise BadOption(f"chunk={chunk} with decoding=sequential, which makes one action; allowed: parallel")
        return None
    chunk = parts.chunk if chunk is None else chunk
    if chunk is None:
        raise BadOption(f"the checkpoint does not say how many actions its chunks have: give chunk; {_TRAINED_CHUNKS}")
    check_count("chunk", chunk)
    return chunk


class ChunkPlayer:
    """Makes chunks of actions of what episodes show.

    Args:
        model: fine-tuned for it.
        parts: of its checkpoint.
        chunk: actions of a chunk (T).
        processing: what surrounds the model.
        statistics: of the data set, with proprioception's if the model reads it.
        rows: episodes that the model reads at a time; 1 makes an episode's bits independent of the others.

    Raises:
        BadCheckpoint: a part does not fit the model, or reads other proprioception than vlagen shows.
        BadStatistics: there are none of proprioception although the model reads it.
    """

    def __init__(
        self,
        model: OpenVLA,
        parts: ChunkParts,
        chunk: int,
        processing: Processing,
        statistics: Mapping[str, Any],
        rows: int,
    ) -> None:
        width, size = model.config.width, processing.normalizer.size
        head = projector = self._state = None
        if parts.action_head is not None:
            head = load_part(RegressionHead(width, size), parts.action_head).to(model.device, model.dtype)
        if parts.proprio_projector is not None:
            projector = load_part(ProprioceptionProjector(STATE_SIZE, width), parts.proprio_projector)
            projector.to(model.device, model.dtype)
            self._state = StateNormalizer.from_statistics(statistics, STATE_SIZE)
        self.decoder = ParallelDecoder(model, size, chunk, head=head, projector=projector)
        self._processing, self._rows = processing, rows

    def __call__(
        self,
        pixels: Tensor,
        prompts: PromptBatch,
        proprioception: np.ndarray,
        *,
        temperature: float,
        generators: Sequence[torch.Generator],
    ) -> np.ndarray:
        """Returns actions (B, T, 7) in physical units, float64.

        Args:
            pixels: (B, C, S, S).
            prompts: of B rows.
            proprioception: (B, 8), as shown; left alone if the model has no projector.
            temperature: of sampling tokens; a regression head draws nothing.
            generators: of B episodes.
        """
        state = None
        if self._state is not None:
            state = torch.from_numpy(self._state.normalize(proprioception)).to(torch.float32)
        pieces = []
        for first in range(0, len(pixels), self._rows):
            some = slice(first, first + self._rows)
            batch = trimmed(PromptBatch(prompts.input_ids[some], prompts.attention_mask[some]))
            given = {"proprioception": None if state is None else state[some]}
            if self.decoder.head is None:
                given |= {"temperature": temperature, "generators": generators[some]}
                tokens = self.decoder(pixels[some], batch, **given).tokens
                ids = tokens.unflatten(1, (self.decoder.chunk, -1)).cpu().numpy()
                pieces.append(self._processing.actions(ids))
            else:
                numbers = self.decoder.actions(pixels[some], batch, **given).cpu().numpy().astype(np.float64)
                pieces.append(self._processing.normalizer.unnormalize(numbers))
        return np.concatenate(pieces)


def _chunk_of(folder: Path, config: OpenVLAConfig) -> int | None:
    chunk = config.rest.get(CHUNK_KEY)
    if chunk is not None and (not isinstance(chunk, int) or chunk < 1):
        raise BadCheckpoint(f"{folder / 'config.json'} has {CHUNK_KEY} {chunk!r}; allowed: a whole number from 1 on")
    return chunk
