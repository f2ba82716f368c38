"""From camera pictures to what the vision backbones are fed, in the ways that OpenVLA checkpoints have been fed.

A checkpoint says how large its pictures are, what happens to another aspect ratio, and by which means and deviations
they are normalised. It does not say by which library they are resized, and upstream's trainers, demos and evaluations
use four different ones. So that is a choice here, a *pipeline*:

``paper``
    what arXiv 2505.19789's code shows its policies in roll-outs and evaluations: bicubic with antialiasing on tensors,
    without rounding to grey levels, in bfloat16.
``canonical``
    vlagen's own, for whatever it trains: the same on float32, clamped and rounded to uint8, so that what is stored for
    training is bit for bit what is shown in a roll-out and an evaluation.
``official``
    the processor in the official repository: bicubic by PIL.
``bridge``
    what the official evaluations do and the pre-training data went through: JPEG and back, Lanczos, then ``official``.
``bridge-crop``
    the same with the middle 90% of the area cut out and enlarged, for checkpoints trained with random crops of it.

A ``preprocessor_config.json`` that vlagen wrote names its pipeline; for others the default is ``paper``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vlagen.assets.errors import VlagenError, unknown
from vlagen.baselines.openvla.configuration import OpenVLAConfig
from vlagen.baselines.openvla.layout import preprocessor_json
from vlagen.baselines.openvla.resampling import (
    by_lanczos,
    by_pil,
    by_torch,
    centre_crop,
    frame,
    jpeg_round_trip,
    round_to_grey_levels,
)
from vlagen.baselines.openvla.sources import read_json

PIPELINES = ("paper", "canonical", "official", "bridge", "bridge-crop")
DEFAULT_PIPELINE = "paper"
PIPELINE_KEY = "vlagen_image_pipeline"
"""Under which vlagen's checkpoints name theirs in ``preprocessor_config.json``; other loaders ignore it."""

STRATEGIES = ("resize-naive", "resize-crop", "letterbox")
CROPPED_AREA = 0.9
"""Share of the area that ``bridge-crop`` keeps, as the augmentation of upstream's fine-tuning does on average."""


class BadImage(VlagenError, ValueError):
    """Pictures of another type or shape than a policy can look at."""


class BadProcessor(VlagenError, ValueError):
    """A ``preprocessor_config.json`` that does not describe OpenVLA's image processor."""


@dataclass(frozen=True)
class ImageProcessor:
    """Turns camera pictures into pixel values; see the module's documentation.

    Attributes:
        size: side S of the square that the backbones take [pixels].
        means: of red, green and blue on the scale of 0 to 1, for each backbone.
        stds: the same for the deviations.
        strategy: ``resize-naive`` gives up the aspect ratio, ``resize-crop`` cuts the middle out, ``letterbox`` pads.
        pipeline: one of ``PIPELINES``.
        letterbox_fill: colour of the bars, see ``fill``.
    """

    size: int
    means: tuple[tuple[float, ...], ...]
    stds: tuple[tuple[float, ...], ...]
    strategy: str = "resize-naive"
    pipeline: str = DEFAULT_PIPELINE
    letterbox_fill: tuple[int, int, int] | None = None

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            raise BadProcessor(unknown("image resize strategy", self.strategy, STRATEGIES))
        if self.pipeline not in PIPELINES:
            raise BadProcessor(unknown("image pipeline", self.pipeline, PIPELINES))

    @classmethod
    def from_checkpoint(cls, folder: str | Path, pipeline: str | None = None) -> ImageProcessor:
        """Reads the ``preprocessor_config.json`` in a checkpoint's folder.

        Args:
            folder: of a checkpoint.
            pipeline: overrules the checkpoint's own.

        Raises:
            BadProcessor: it is not there, or does not describe such a processor.
        """
        path = Path(folder) / "preprocessor_config.json"
        try:
            return cls.from_json(read_json(path), pipeline)
        except FileNotFoundError:
            raise BadProcessor(
                f"{path} is missing; copy it from the checkpoint that this one was trained from, or use one of a model "
                "with the same backbones"
            ) from None
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            if isinstance(error, VlagenError):
                raise
            raise BadProcessor(f"{path} does not describe OpenVLA's image processor: {error!r}") from error

    @classmethod
    def from_config(cls, config: OpenVLAConfig, pipeline: str = DEFAULT_PIPELINE) -> ImageProcessor:
        """Makes the processor that goes with a model, as official checkpoints of its kind have it."""
        return cls.from_json(preprocessor_json(config), pipeline)

    @classmethod
    def from_json(cls, entries: Mapping[str, Any], pipeline: str | None = None) -> ImageProcessor:
        """Reads the entries of a ``preprocessor_config.json``.

        The numbers under ``tvf_normalize_params`` are in force, not ``means`` and ``stds``: the official converter ran
        in bfloat16, so the two differ in the third digit, and the network saw the former.
        """
        sizes = {tuple(size[-2:]) for size in entries["input_sizes"]}
        if len(sizes) != 1 or len(set(next(iter(sizes)))) != 1:
            raise BadProcessor(f"input_sizes {entries['input_sizes']}; allowed: squares, all of one size")
        in_force = entries.get("tvf_normalize_params") or [
            {"mean": mean, "std": std} for mean, std in zip(entries["means"], entries["stds"], strict=True)
        ]
        return cls(
            size=next(iter(sizes))[0],
            means=tuple(tuple(one["mean"]) for one in in_force),
            stds=tuple(tuple(one["std"]) for one in in_force),
            strategy=entries["image_resize_strategy"],
            pipeline=pipeline or entries.get(PIPELINE_KEY) or DEFAULT_PIPELINE,
            letterbox_fill=tuple(entries.get("tvf_letterbox_fill") or ()) or None,
        )

    @property
    def fill(self) -> tuple[int, int, int]:
        """The colour of letterbox bars: by default the last backbone's mean for all backbones, as upstream has it."""
        return self.letterbox_fill or tuple(int(255 * mean) for mean in self.means[-1])

    def with_pipeline(self, pipeline: str) -> ImageProcessor:
        """The same processor with another pipeline."""
        return replace(self, pipeline=pipeline)

    def __call__(
        self, images: np.ndarray | torch.Tensor | Sequence[np.ndarray], device: torch.device | str = "cpu"
    ) -> torch.Tensor:
        """Prepares pictures by the pipeline.

        Args:
            images: (B, H, W, 3) uint8, or B of (H, W, 3) of various sizes.
            device: where the result goes; ``paper`` and ``canonical`` do their work there, the others on the CPU.

        Returns:
            (B, 3 * backbones, S, S) float32.

        Raises:
            BadImage: another type or shape.
        """
        if not isinstance(images, np.ndarray | torch.Tensor):
            return torch.cat([self(np.asarray(image)[None], device) for image in images])
        check_images(images)
        if self.pipeline in ("paper", "canonical"):
            images = torch.as_tensor(images).to(device)
        if self.pipeline != "paper":
            return self.normalise(self.resize(images).to(device))
        exact = self._tensors(images).to(torch.bfloat16)  # rounding once, after PyTorch's own float32 arithmetic
        return self._normalised(exact / 255)

    def resize(self, images: np.ndarray | torch.Tensor) -> torch.Tensor:
        """Does the pipeline's part up to whole grey levels, which is what to store for training.

        Args:
            images: (B, H, W, 3) uint8; tensors of other devices stay there in ``canonical``, which runs anywhere.

        Returns:
            (B, S, S, 3) uint8.

        Raises:
            BadImage: another type or shape.
            BadProcessor: the pipeline never rounds to grey levels.
        """
        check_images(images)
        if self.pipeline == "paper":
            raise BadProcessor("the image pipeline 'paper' has no whole grey levels; take canonical to store pictures")
        if self.pipeline == "canonical":
            return round_to_grey_levels(self._tensors(images))
        images = np.asarray(images)
        if self.pipeline in ("bridge", "bridge-crop"):
            images = by_lanczos(jpeg_round_trip(images), self.size)
        if self.pipeline == "bridge-crop":
            images = centre_crop(images, CROPPED_AREA)
        return torch.from_numpy(by_pil(images, self.size, self._frame(images), self.fill))

    def normalise(self, squares: np.ndarray | torch.Tensor) -> torch.Tensor:
        """Turns what ``resize`` returned into pixel values.

        Args:
            squares: (B, S, S, 3) uint8, of any device.

        Returns:
            (B, 3 * backbones, S, S) float32, same device.
        """
        check_images(squares)
        if tuple(squares.shape[1:3]) != (self.size, self.size):
            raise BadImage(
                f"resized pictures of shape {tuple(squares.shape)}; allowed: (B, {self.size}, {self.size}, 3)"
            )
        pictures = torch.as_tensor(squares).permute(0, 3, 1, 2)
        return self._normalised(pictures.to(torch.float32) / 255)

    def tensors(self, images: np.ndarray | torch.Tensor) -> torch.Tensor:
        """Resizes as upstream's roll-outs do, before any rounding: (B, 3, S, S) float32 on the scale of 0 to 255."""
        check_images(images)
        return self._tensors(images)

    def _tensors(self, images: np.ndarray | torch.Tensor) -> torch.Tensor:
        return by_torch(images, self.size, self._frame(images), self.fill)

    def _frame(self, images: np.ndarray | torch.Tensor) -> Any:
        height, width = images.shape[1:3]
        keep_aspect = self.strategy != "resize-naive"
        return frame(height, width, self.size, letterbox=self.strategy == "letterbox", keep_aspect=keep_aspect)

    def _normalised(self, pictures: torch.Tensor) -> torch.Tensor:
        """Normalises (B, 3, S, S) on the scale of 0 to 1 in its own precision, once for each backbone."""
        count = len(self.means)
        values = pictures.new_empty((len(pictures), 3 * count, *pictures.shape[2:]))
        for backbone, (mean, std) in enumerate(zip(self.means, self.stds, strict=True)):
            mean, std = (torch.tensor(numbers).to(pictures)[:, None, None] for numbers in (mean, std))
            part = values[:, 3 * backbone : 3 * backbone + 3]
            torch.sub(pictures, mean, out=part)
            part.div_(std)
        return values.to(torch.float32)


def check_images(images: np.ndarray | torch.Tensor) -> None:
    """Checks that something is a batch of pictures.

    Raises:
        BadImage: it is not.
    """
    kind = str(images.dtype).removeprefix("torch.")
    if kind != "uint8":
        raise BadImage(f"pictures of type {kind}; allowed: uint8, grey levels from 0 to 255")
    if images.ndim != 4 or images.shape[-1] != 3 or 0 in images.shape:
        raise BadImage(f"pictures of shape {tuple(images.shape)}; allowed: (B, height, width, 3), red first")
