"""Resizing, cropping and coding of pictures, each in the arithmetic of the library that a checkpoint was trained with.

Three libraries resize by "bicubic" or "Lanczos" and get three pictures: PIL rounds to whole grey levels between its two
passes, PyTorch does not round at all, and TensorFlow's `crop_and_resize` takes another grid. A network that has seen
the one is measurably worse on the other, so all are here, without TensorFlow.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

JPEG_QUALITY = 95
"""TensorFlow's default, with chroma at half the resolution."""

_THREADS = 4
_WORTH_A_THREAD = 8  # pictures


class Frame(NamedTuple):
    """How a picture of some size becomes a square of side S: padding, then resizing, then cutting out the middle.

    Attributes:
        pad: rows added above and below, and columns added on the left and on the right.
        resized: height and width after resizing.
        corner: top and left of the square within that.
    """

    pad: tuple[int, int]
    resized: tuple[int, int]
    corner: tuple[int, int]


def frame(height: int, width: int, size: int, *, letterbox: bool, keep_aspect: bool) -> Frame:
    """Works out the geometry as torchvision does.

    Args:
        height: of the picture [pixels].
        width: of the picture [pixels].
        size: side of the square wanted.
        letterbox: pad to a square first; an odd difference leaves the square one pixel off.
        keep_aspect: bring the shorter side to ``size`` and crop, rather than both.
    """
    longest = max(height, width)
    pad = ((longest - height) // 2, (longest - width) // 2) if letterbox else (0, 0)
    height, width = height + 2 * pad[0], width + 2 * pad[1]
    resized = (size, size)
    if keep_aspect:
        shortest = min(height, width)
        resized = tuple(size if side == shortest else int(size * side / shortest) for side in (height, width))
    # Python rounds halves to even, and so does torchvision's centre crop.
    corner = tuple(round((side - size) / 2.0) for side in resized)
    return Frame(pad, resized, corner)


def by_pil(images: np.ndarray, size: int, place: Frame, fill: tuple[int, int, int] | None) -> np.ndarray:
    """Pads, resizes (bicubic, PIL's own antialiasing) and crops.

    Args:
        images: (B, H, W, 3) uint8.
        size: side of the square wanted.
        place: see ``frame``.
        fill: colour of the padding.

    Returns:
        (B, size, size, 3) uint8.
    """
    images = _padded(images, place, fill)
    top, left = place.corner
    wanted = (place.resized[1], place.resized[0])

    def resized(image: np.ndarray) -> np.ndarray:
        if image.shape[:2] != place.resized:
            image = np.asarray(Image.fromarray(image).resize(wanted, Image.Resampling.BICUBIC))
        return image[top : top + size, left : left + size]

    return _each(resized, images)


def by_torch(
    images: np.ndarray | torch.Tensor, size: int, place: Frame, fill: tuple[int, int, int] | None
) -> torch.Tensor:
    """Does the same with PyTorch, where nothing is rounded: bicubic with antialiasing, on float32.

    Args:
        images: (B, H, W, 3) uint8, a tensor of any device or an array.
        size: side of the square wanted.
        place: see ``frame``.
        fill: colour of the padding.

    Returns:
        (B, 3, size, size) float32 on the scale of 0 to 255, overshooting it a little at edges; same device.
    """
    images = _padded(images, place, fill)
    pictures = torch.as_tensor(images).permute(0, 3, 1, 2).to(torch.float32)
    if tuple(pictures.shape[2:]) != place.resized:
        # Picture by picture on the CPU: a whole batch of float32 camera pictures does not fit into its caches.
        parts = pictures.split(1) if pictures.device.type == "cpu" else [pictures]
        pictures = torch.cat(
            [functional.interpolate(part, place.resized, mode="bicubic", antialias=True) for part in parts]
        )
    top, left = place.corner
    return pictures[:, :, top : top + size, left : left + size]


def round_to_grey_levels(pictures: torch.Tensor) -> torch.Tensor:
    """Clamps (B, 3, S, S) floats to 0 .. 255 and rounds them to uint8 (B, S, S, 3)."""
    return pictures.clamp(0, 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def jpeg_round_trip(images: np.ndarray) -> np.ndarray:
    """Writes and reads (B, H, W, 3) uint8 as JPEG, as robot data sets store their pictures.

    The bytes are TensorFlow's own. Reading them, TensorFlow takes a cheaper transform unless told otherwise, which
    moves single pixels by a few grey levels; PIL always takes the accurate one.
    """

    def coded(image: np.ndarray) -> np.ndarray:
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, format="jpeg", quality=JPEG_QUALITY, subsampling="4:2:0")
        return np.asarray(Image.open(stream))

    return _each(coded, images)


def by_lanczos(images: np.ndarray, size: int) -> np.ndarray:
    """Resizes (B, H, W, 3) uint8 to squares, both sides on their own, by TensorFlow's antialiased ``lanczos3``.

    Returns:
        (B, size, size, 3) uint8, rounded once at the end.
    """

    def resized(image: np.ndarray) -> np.ndarray:
        # PIL's floating-point pictures are the only ones that it does not round between its two passes.
        channels = [Image.fromarray(channel) for channel in np.moveaxis(image, -1, 0).astype(np.float32)]
        square = [np.asarray(channel.resize((size, size), Image.Resampling.LANCZOS)) for channel in channels]
        # Halves go to even in TensorFlow and in numpy.
        return np.clip(np.round(np.stack(square, axis=-1)), 0, 255).astype(np.uint8)

    return _each(resized, images)


def centre_crop(images: np.ndarray, area: float) -> np.ndarray:
    """Cuts out the middle of (B, S, S, 3) uint8 and enlarges it to the same size, as ``tf.image.crop_and_resize`` does.

    Its grid puts the outermost samples on the box's edges, bilinear; and going back to uint8 it cuts instead of
    rounding, after a stretch by 255.5 / 255.

    Args:
        images: the pictures.
        area: share of the picture that is kept, in (0, 1].
    """
    pictures = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).to(torch.float32) / 255
    height, width = pictures.shape[2:]
    # Grid samples count from -1 to 1 between the outermost pixels' centres, so the box's edges are +-side.
    side = math.sqrt(area)
    rows = torch.linspace(-side, side, height)
    columns = torch.linspace(-side, side, width)
    grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij")[::-1], dim=-1)
    cut = functional.grid_sample(
        pictures, grid.expand(len(pictures), -1, -1, -1), mode="bilinear", align_corners=True, padding_mode="border"
    )
    return (cut.clamp(0, 1) * 255.5).to(torch.uint8).permute(0, 2, 3, 1).numpy()


def _padded(
    images: np.ndarray | torch.Tensor, place: Frame, fill: tuple[int, int, int] | None
) -> np.ndarray | torch.Tensor:
    above, left = place.pad
    if (above, left) == (0, 0):
        return images
    count, height, width, _ = images.shape
    shape = (count, height + 2 * above, width + 2 * left, 3)
    if isinstance(images, np.ndarray):
        canvas = np.empty(shape, dtype=np.uint8)
        canvas[:] = fill
    else:
        canvas = torch.tensor(fill, dtype=torch.uint8, device=images.device).expand(shape).clone()
    canvas[:, above : above + height, left : left + width] = images
    return canvas


def _each(change: Callable[[np.ndarray], np.ndarray], images: np.ndarray) -> np.ndarray:
    """Changes picture by picture, in threads where there are enough of them: PIL works outside of Python's lock."""
    if len(images) < _WORTH_A_THREAD:
        return np.stack([change(image) for image in images])
    with ThreadPoolExecutor(_THREADS) as pool:
        return np.stack(list(pool.map(change, images)))
