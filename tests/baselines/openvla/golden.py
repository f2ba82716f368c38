"""The golden OpenVLA checkpoints: where they lie, what is in them, and how a test asks for them.

Every folder of `VLAGEN_GOLDEN_OPENVLA` (colon-separated) is one; the sizes differ, so tests derive all from the files.
The preprocessing here is a second, independent one of few lines, so that a test of the model does not need the code
that a test of the preprocessing checks.
"""

from __future__ import annotations

import functools
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PROJECT = Path(__file__).resolve().parents[3]
SHARED = PROJECT.parent / "shared/data/openvla"
FOLDERS = [
    Path(folder)
    for folder in os.environ.get("VLAGEN_GOLDEN_OPENVLA", f"{SHARED / 'public'}:{SHARED / 'public_single'}").split(":")
    if folder
]
BLANK = 29871
"""The token of a lone blank, which ends every prompt."""


@dataclass(frozen=True)
class Golden:
    """One golden folder: a checkpoint, inputs and what the original code made of them."""

    folder: Path

    @functools.cached_property
    def inputs(self) -> dict[str, np.ndarray]:
        return dict(np.load(self.folder / "inputs.npz", allow_pickle=False))

    @functools.cached_property
    def outputs(self) -> dict[str, np.ndarray]:
        return dict(np.load(self.folder / "outputs.npz", allow_pickle=False))

    def json(self, name: str) -> dict:
        return json.loads((self.folder / name).read_text(encoding="utf-8"))

    @property
    def samples(self) -> range:
        """Numbers of the samples: each has an image and a prompt."""
        return range(sum(name.startswith("image_") for name in self.inputs))

    def image(self, sample: int) -> np.ndarray:
        """The image of a sample: uint8 (H, W, 3)."""
        return self.inputs[f"image_{sample}"]

    def prompt_ids(self, sample: int) -> np.ndarray:
        """Ids of a sample's prompt (L,), ending in the blank."""
        ids = self.inputs.get(f"prompt_ids_{sample}")
        if ids is None:
            row = self.inputs["prompt_ids"][sample]
            ids = row[row >= 0]
        return ids if ids[-1] == BLANK else np.append(ids, BLANK)

    def pixel_values(self, sample: int) -> np.ndarray:
        """The normalised image of a sample: float32 (C, S, S)."""
        settings = self.json("preprocessor_config.json")
        parts = []
        for index, (_, _, side) in enumerate(settings["input_sizes"]):
            image = Image.fromarray(self.image(sample))
            if settings["tvf_do_letterbox"]:
                image = _square(image, tuple(settings["tvf_letterbox_fill"]))
            image = _centre(_resized(image, settings["tvf_resize_params"][index]["size"]), side)
            colours = np.asarray(image, np.float32) / np.float32(255)
            normalise = settings["tvf_normalize_params"][index]
            parts.append((colours - np.float32(normalise["mean"])) / np.float32(normalise["std"]))
        return np.concatenate(parts, axis=-1).transpose(2, 0, 1).copy()


def _square(image: Image.Image, fill: tuple[int, int, int]) -> Image.Image:
    width, height = image.size
    left, top = (max(width, height) - width) // 2, (max(width, height) - height) // 2
    # The borders on both sides are equal, so an odd difference leaves the picture one pixel short of a square.
    padded = Image.new("RGB", (width + 2 * left, height + 2 * top), fill)
    padded.paste(image, (left, top))
    return padded


def _resized(image: Image.Image, size: int | list[int]) -> Image.Image:
    """Resizes to (height, width), or to a length of the shorter side."""
    width, height = image.size
    if isinstance(size, int):
        longer = int(size * max(width, height) / min(width, height))
        size = [size, longer] if width >= height else [longer, size]
    return image.resize((size[1], size[0]), Image.Resampling.BICUBIC)


def _centre(image: Image.Image, side: int) -> Image.Image:
    left, top = (round((length - side) / 2) for length in image.size)
    return image.crop((left, top, left + side, top + side))


GOLDENS = [Golden(folder) for folder in FOLDERS if (folder / "outputs.npz").is_file()]
_absent = f"no golden OpenVLA folder at {':'.join(map(str, FOLDERS))} (VLAGEN_GOLDEN_OPENVLA)"


def each_golden(*files: str, array: str | None = None):
    """Parametrises a test over the folders as its argument `golden`.

    Args:
        files: only folders that have these.
        array: only folders whose outputs have this array.
    """
    chosen = [
        golden
        for golden in GOLDENS
        if all((golden.folder / file).exists() for file in files) and (array is None or array in golden.outputs)
    ]
    absent = pytest.param(None, marks=pytest.mark.skip(reason=_absent))
    parameters = chosen or [absent]
    mark = pytest.mark.parametrize("golden", parameters, ids=[g.folder.name for g in chosen] or ["absent"])
    return lambda function: pytest.mark.golden(mark(function))
