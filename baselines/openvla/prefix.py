"""What rows of a batch can share: many instructions about one image, many samples of one state.

The patches come right after the begin token, so a *text* cannot be shared between images; but what the language model
makes of the first 1 + P positions depends on the image alone. A row then costs its few text tokens instead of P more.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vlagen.baselines.openvla.language import LanguageRunner
from vlagen.baselines.openvla.model import OpenVLA


@dataclass(frozen=True)
class ImagePrefix:
    """Keys and values of begin token and image.

    Attributes:
        buffer: (layers, 2, F, KV, 1 + P, D) for F images.
    """

    buffer: Tensor

    @classmethod
    @torch.no_grad()
    def read(
        cls, model: OpenVLA, runner: LanguageRunner, pixel_values: Tensor, begin: Tensor, rows: int
    ) -> ImagePrefix:
        """Reads images.

        Args:
            model: the model.
            runner: of its language model.
            pixel_values: normalised (F, C, S, S).
            begin: the begin token (1, 1).
            rows: how many images to read at once.
        """
        length = 1 + model.config.patches
        buffer = runner.allocate(len(pixel_values), length)
        cosine, sine = runner.table(length)
        for first in range(0, len(pixel_values), rows):
            some = pixel_values[first : first + rows].to(model.device, model.dtype)
            embeddings = model.embed(begin.to(model.device).expand(len(some), 1), model.project(some))
            runner.prefill(embeddings, buffer[:, :, first : first + rows], (cosine[None], sine[None]))
        return cls(buffer)

    def select(self, frames: Tensor) -> ImagePrefix:
        """Returns the prefixes of images (B,), for B rows."""
        return ImagePrefix(self.buffer.index_select(2, frames.to(self.buffer.device)))

    def fill(self, buffer: Tensor) -> int:
        """Writes it into the first slots of a buffer of B rows; returns how many slots that are."""
        length = self.buffer.shape[4]
        buffer[:, :, :, :, :length] = self.buffer
        return length
