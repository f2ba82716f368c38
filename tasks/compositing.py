"""What the policy sees: the rendered foreground over a table picture, with optional disturbances.

Pure torch on one picture, (H, W, 3) uint8; float32 arithmetic, clipped and then truncated to uint8, as upstream does
(``protocol.md`` section 5). Upstream resizes a batch's textures to the batch's largest box; ours always takes the
picture's own, so that no episode depends on its neighbours (Q5).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.nn.functional import interpolate


class Patch(NamedTuple):
    """A rendered window of the picture: foreground pixels outside it do not exist."""

    rgb: torch.Tensor  # (h, w, 3) uint8
    mask: torch.Tensor  # (h, w) bool, True on robot and objects
    x: int  # left column in the picture
    y: int  # top row in the picture


class Box(NamedTuple):
    """Inclusive pixel bounds of the foreground; all zero when there is none."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def size(self) -> tuple[int, int]:
        """Height and width [pixels]."""
        return self.y1 - self.y0 + 1, self.x1 - self.x0 + 1


def _truncate(image: torch.Tensor) -> torch.Tensor:
    return image.clamp(0, 255).to(torch.uint8)


def foreground_box(patch: Patch) -> Box:
    """The smallest box around the patch's foreground, in picture coordinates."""
    rows, columns = patch.mask.any(1).nonzero()[:, 0], patch.mask.any(0).nonzero()[:, 0]
    if len(rows) == 0:
        return Box(0, 0, 0, 0)
    return Box(patch.x + int(columns[0]), patch.y + int(rows[0]), patch.x + int(columns[-1]), patch.y + int(rows[-1]))


def over_table(patch: Patch, table: torch.Tensor) -> torch.Tensor:
    """The foreground over the table picture (H, W, 3)."""
    height, width = patch.mask.shape
    out = table.clone()
    window = out[patch.y : patch.y + height, patch.x : patch.x + width]
    for channel in range(3):  # twice as fast as all three with a mask that is broadcast
        own = window[..., channel]
        torch.where(patch.mask, patch.rgb[..., channel], own, out=own)
    return out


def with_foreground_texture(
    patch: Patch, table: torch.Tensor, texture: torch.Tensor, alpha: float, size: tuple[int, int] | None = None
) -> torch.Tensor:
    """The foreground blended with a texture stretched over its bounding box; the table stays as it is.

    ``texture`` (480, 640, 3) is resized bilinearly (half-pixel centres, no antialiasing) to ``size`` (height, width),
    by default the box's own, and laid over the box from its top left corner.
    """
    box = foreground_box(patch)
    height, width = box.size
    stretched = interpolate(
        texture.permute(2, 0, 1)[None].float(), size=size or (height, width), mode="bilinear", align_corners=False
    )[0].permute(1, 2, 0)[:height, :width]
    blended = patch.rgb.clone()
    rows, columns = slice(box.y0 - patch.y, box.y1 - patch.y + 1), slice(box.x0 - patch.x, box.x1 - patch.x + 1)
    if patch.mask.any():
        blended[rows, columns] = _truncate(alpha * stretched + (1 - alpha) * patch.rgb[rows, columns].float())
    return over_table(patch._replace(rgb=blended), table)


def with_noise(patch: Patch, table: torch.Tensor, texture: torch.Tensor, alpha: float) -> torch.Tensor:
    """The whole picture blended with a window of an enlarged texture (2 H, 2 W, 3) that follows the foreground."""
    image = over_table(patch, table)
    height, width = image.shape[:2]
    box = foreground_box(patch)
    x = min(max((box.x0 + box.x1) // 2, 1), width - 1)
    y = min(max((box.y0 + box.y1) // 2, 1), height - 1)
    window = texture[y : y + height, x : x + width]
    return _truncate((1 - alpha) * image.float() + alpha * window.float())


def composite(
    patch: Patch, table: torch.Tensor, overlay: str | None, texture: torch.Tensor | None, alpha: float
) -> torch.Tensor:
    """The observation (H, W, 3) uint8 of an episode with this overlay (``None``, ``foreground`` or ``whole``)."""
    if overlay is None or alpha == 0.0:
        return over_table(patch, table)
    blend = with_foreground_texture if overlay == "foreground" else with_noise
    return blend(patch, table, texture, alpha)
