"""Frames for training: any of them at once, at the size that a model sees.

Videos are decoded once, into a file of raw pictures that is mapped into memory; a batch then costs copying its
pictures, which the operating system keeps as long as there is room.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from vlagen.assets.errors import unknown
from vlagen.baselines.data.dataset import Dataset, check_packs
from vlagen.baselines.data.demonstration import BadDemonstrations
from vlagen.baselines.data.recording import FILTERS


@dataclass(frozen=True)
class FrameBatch:
    """B frames.

    Attributes:
        images: (B, H, W, 3) uint8.
        instructions: B texts.
        actions: (B, 7) float32, canonical; or chunks (B, K, 7), the first of which belongs to the frame.
        states: (B, 8) float32.
        gripper_poses: (B, 7) float32.
        is_padding: (B, K) bool: the episode ended before; the action is its last one. None without chunks.
        episodes: (B,) int64: number of the frame's episode.
    """

    images: np.ndarray
    instructions: tuple[str, ...]
    actions: np.ndarray
    states: np.ndarray
    gripper_poses: np.ndarray
    is_padding: np.ndarray | None
    episodes: np.ndarray


class Frames:
    """All N frames of one or several data sets, with random access.

    Args:
        roots: folders of LeRobotDatasets.
        image_size: height and width of the pictures; None leaves them as they are recorded.
        image_filter: how they are brought to it, see ``recording.FILTERS``.
        chunk: how many actions a frame has; 1 for single actions.
        cache: folder for decoded pictures; by default ``.cache`` in each data set's own.
        progress: is told how many pictures are decoded, and of how many.

    Attributes:
        actions: (N, 7) float32.
        episode_index: (N,) int64.
        episode_lengths: frames of each episode.
        image_size: height and width of the pictures.

    Raises:
        BadDemonstrations: see ``Dataset``; the data sets' packs differ; or there is no room for the cache.
    """

    def __init__(
        self,
        roots: Sequence[Path],
        image_size: tuple[int, int] | None = None,
        image_filter: str = "bicubic",
        *,
        chunk: int = 1,
        cache: Path | None = None,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        if not roots:
            raise BadDemonstrations("no data set was given; name one or more folders that vlagen-collect has made")
        if image_filter not in FILTERS:
            raise BadDemonstrations(unknown("image filter", image_filter, FILTERS))
        if chunk < 1:
            raise BadDemonstrations(f"chunk {chunk}; allowed: 1 or more")
        datasets = [Dataset(Path(root)) for root in roots]
        check_packs({str(dataset.root): dataset for dataset in datasets})
        self.image_size = image_size or datasets[0].picture_size
        self.assets = datasets[0].assets
        self.actions = np.concatenate([dataset.actions for dataset in datasets])
        self._states = np.concatenate([dataset.states for dataset in datasets])
        self._poses = np.concatenate([dataset.gripper_poses for dataset in datasets])
        self.episode_lengths = np.array([span.length for dataset in datasets for span in dataset.episodes])
        self.episode_index = np.repeat(np.arange(len(self.episode_lengths)), self.episode_lengths)
        self._ends = np.cumsum(self.episode_lengths)[self.episode_index]
        self._instructions = [span.instruction for dataset in datasets for span in dataset.episodes]
        self._chunk = chunk
        self._starts = np.cumsum([0, *map(len, datasets)])
        self._pictures = [
            _decoded(dataset, self.image_size, image_filter, cache or dataset.root / ".cache", progress)
            for dataset in datasets
        ]

    def __len__(self) -> int:
        return len(self.actions)

    def batch(self, indices: Sequence[int] | np.ndarray) -> FrameBatch:
        """Reads frames.

        Args:
            indices: (B,) numbers of frames, in any order, repeats allowed.
        """
        indices = np.asarray(indices, dtype=np.int64)
        images = np.empty((len(indices), *self.image_size, 3), dtype=np.uint8)
        where = np.searchsorted(self._starts, indices, side="right") - 1
        for number, pictures in enumerate(self._pictures):
            places = np.flatnonzero(where == number)
            # In the order of the file, so that a disk reads forward.
            places = places[np.argsort(indices[places], kind="stable")]
            for place in places:
                images[place] = pictures[indices[place] - self._starts[number]]
        episodes = self.episode_index[indices]
        actions, padding = self.actions[indices], None
        if self._chunk > 1:
            wanted = indices[:, None] + np.arange(self._chunk)
            last = self._ends[indices][:, None] - 1
            actions, padding = self.actions[np.minimum(wanted, last)], wanted > last
        return FrameBatch(
            images=images,
            instructions=tuple(self._instructions[episode] for episode in episodes),
            actions=actions,
            states=self._states[indices],
            gripper_poses=self._poses[indices],
            is_padding=padding,
            episodes=episodes,
        )

    def split(self, held_out: int) -> tuple[np.ndarray, np.ndarray]:
        """Splits the frames by episode: the last ``held_out`` episodes are not trained on, as in the study.

        Returns:
            Numbers of the frames to train on, and of the others.

        Raises:
            BadDemonstrations: that would leave nothing to train on.
        """
        count = len(self.episode_lengths)
        if not 0 <= held_out < count:
            raise BadDemonstrations(f"{held_out} held-out episodes of {count}; allowed: 0 to {count - 1}")
        everything = np.arange(len(self))
        is_kept = self.episode_index < count - held_out
        return everything[is_kept], everything[~is_kept]


def _decoded(
    dataset: Dataset, size: tuple[int, int], image_filter: str, folder: Path, progress: Callable[[int, int], None]
) -> np.ndarray:
    """All pictures of a data set, (N, H, W, 3) uint8, mapped from a file that is made if it is not there."""
    path = folder / f"frames-{_fingerprint(dataset, size, image_filter)}.npy"
    if not path.exists():
        _decode_into(path, dataset, size, image_filter, progress)
    return np.load(path, mmap_mode="r")


def _decode_into(
    path: Path, dataset: Dataset, size: tuple[int, int], image_filter: str, progress: Callable[[int, int], None]
) -> None:
    shape = (len(dataset), *size, 3)
    needed = int(np.prod(shape))
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(path.parent).free
        if needed > free:
            raise BadDemonstrations(
                f"{path.parent} has {free / 1e6:.0f} MB free; {len(dataset)} pictures of {size[0]}x{size[1]} take "
                f"{needed / 1e6:.0f} MB: make room, choose another cache folder or a smaller image size"
            )
        # Written, not mapped: on a full disk a write fails with a message, a mapping with a signal.
        with temporary.open("wb") as file:
            header = io.BytesIO()
            np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
            file.write(header.getvalue())
            for number, image in enumerate(dataset.images(), start=1):
                file.write(_resized(image, size, image_filter).tobytes())
                progress(number, len(dataset))
        temporary.replace(path)
        _drop_older(path)
    except OSError as error:
        raise BadDemonstrations(
            f"{path} cannot be written ({error.strerror or error}); make room, or choose another cache folder"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _drop_older(path: Path) -> None:
    """Removes the decoded pictures of an earlier state of the data set, of the same size."""
    kind = path.name.rsplit("-", 1)[0]
    for other in path.parent.glob(f"{kind}-*.npy"):
        if other != path:
            other.unlink(missing_ok=True)


def _resized(image: np.ndarray, size: tuple[int, int], image_filter: str) -> np.ndarray:
    if image.shape[:2] == size:
        return image
    return np.asarray(Image.fromarray(image).resize(size[::-1], FILTERS[image_filter]))


def _fingerprint(dataset: Dataset, size: tuple[int, int], image_filter: str) -> str:
    """Names a data set, a size, and the state that the data set is in, which its files' sizes and times tell."""
    files = sorted({span.video for span in dataset.episodes if span.video is not None}) or dataset.data_files
    stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    place, state = (
        hashlib.sha256(json.dumps(value).encode()).hexdigest()[:12]
        for value in (str(dataset.root.resolve()), [stats, len(dataset)])
    )
    return f"{place}-{size[0]}x{size[1]}-{image_filter}-{state}"
