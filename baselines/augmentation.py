"""Random changes of pictures during supervised training: crops and colours, as in the study's warm-up.

A sample's change follows from its own generator, so that a run that was interrupted sees the same pictures again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

_LUMA = (0.2989, 0.587, 0.114)  # ITU-R BT.601, which TensorFlow and torchvision turn colours grey by


@dataclass(frozen=True)
class Augmentation:
    """How far pictures may be changed; the defaults change nothing.

    Attributes:
        crop_area: share of the area that a random square crop keeps before it is enlarged again; 1 keeps all.
        brightness: at most so much is added, on the scale of 0 to 1.
        contrast: the factor lies between 1 minus and 1 plus this; distances from the mean are multiplied.
        saturation: the same, for distances from grey.
        hue: at most such a part of the colour circle is turned.
    """

    crop_area: float = 1.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    @property
    def changes(self) -> bool:
        """Tells whether anything is changed at all."""
        return self != Augmentation()

    def __call__(self, images: Tensor, generators: Sequence[np.random.Generator]) -> Tensor:
        """Changes each picture in its own way.

        Args:
            images: (B, S, S, 3) uint8.
            generators: B of them; each is asked for six numbers, whatever is switched on.

        Returns:
            (B, S, S, 3) uint8.
        """
        if not self.changes:
            return images
        draws = torch.from_numpy(np.stack([generator.random(6) for generator in generators])).float()
        pictures = images.permute(0, 3, 1, 2).float() / 255
        if self.crop_area < 1:
            pictures = crop(pictures, self.crop_area, draws[:, :2])
        signed = 2 * draws[:, 2:] - 1
        pictures = (pictures + self.brightness * signed[:, 0, None, None, None]).clamp(0, 1)
        pictures = stretch(pictures, pictures.mean((2, 3), keepdim=True), 1 + self.contrast * signed[:, 1])
        pictures = stretch(pictures, grey(pictures), 1 + self.saturation * signed[:, 2])
        if self.hue:
            pictures = turn_hue(pictures, self.hue * signed[:, 3])
        return (255 * pictures).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


WARM_UP = Augmentation(crop_area=0.9, brightness=0.2, contrast=0.2, saturation=0.2, hue=0.05)
"""The study's (arXiv 2505.19789) and OpenVLA's own."""


def crop(pictures: Tensor, area: float, places: Tensor) -> Tensor:
    """Cuts squares out and enlarges them to the whole picture, bilinearly.

    Args:
        pictures: (B, 3, S, S).
        area: share that is kept.
        places: (B, 2) from 0, the left or upper edge, to 1, the right or lower edge.
    """
    side = area**0.5
    shift = (1 - side) * (2 * places - 1)
    transform = torch.zeros(len(pictures), 2, 3)
    transform[:, 0, 0] = transform[:, 1, 1] = side
    transform[:, :, 2] = shift
    grid = functional.affine_grid(transform, list(pictures.shape), align_corners=False)
    return functional.grid_sample(pictures, grid, mode="bilinear", padding_mode="border", align_corners=False)


def grey(pictures: Tensor) -> Tensor:
    """Turns (B, 3, S, S) into brightness (B, 1, S, S)."""
    return (pictures * pictures.new_tensor(_LUMA)[:, None, None]).sum(1, keepdim=True)


def stretch(pictures: Tensor, centre: Tensor, factors: Tensor) -> Tensor:
    """Multiplies distances from a centre (B, ...) by factors (B,); the result stays between 0 and 1."""
    return (centre + factors[:, None, None, None] * (pictures - centre)).clamp(0, 1)


def turn_hue(pictures: Tensor, turns: Tensor) -> Tensor:
    """Turns the colours of (B, 3, S, S) by a part (B,) of the colour circle; value and saturation (HSV) stay."""
    value, _ = pictures.max(1)
    spread = value - pictures.min(1).values
    safe = torch.where(spread > 0, spread, torch.ones_like(spread))
    red, green, blue = pictures.unbind(1)
    sixth = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    sixth = sixth + 6 * turns[:, None, None]
    # Each channel is a trapezium over the circle, shifted by a third from one to the next (Foley and van Dam).
    position = torch.stack([(sixth + offset) % 6 for offset in (5, 3, 1)], dim=1)
    below = torch.minimum(position, 4 - position).clamp(0, 1)
    return value[:, None] - spread[:, None] * below
