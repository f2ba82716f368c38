"""One file an episode: what collecting has finished and no shard of the data set holds yet."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np

from vlagen.baselines.data.demonstration import (
    BadDemonstrations,
    Demonstration,
    Pictures,
    episode_from_json,
    episode_name,
    episode_to_json,
)
from vlagen.benchmark.atomic import write_atomically

_ARRAYS = ("states", "gripper_poses", "actions", "executed_actions", "rewards", "successes", "steps", "replay")


def staged_path(folder: Path, row: str, index: int) -> Path:
    """Where an episode's file lies."""
    return folder / f"{episode_name(row, index)}.npz"


def write_staged(path: Path, demonstration: Demonstration) -> None:
    """Writes a demonstration so that the file is there complete or not at all, also after a power cut.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    pictures = demonstration.pictures
    head = {
        "episode": episode_to_json(demonstration.episode),
        "assets": demonstration.assets,
        "instruction": demonstration.instruction,
        "pictures": [pictures.codec, pictures.count, pictures.height, pictures.width],
    }
    buffer = io.BytesIO()
    np.savez(
        buffer,
        head=np.frombuffer(json.dumps(head).encode(), dtype=np.uint8),
        sizes=np.array([len(part) for part in pictures.parts]),
        parts=np.frombuffer(b"".join(pictures.parts), dtype=np.uint8),
        **{name: getattr(demonstration, name) for name in _ARRAYS},
    )
    write_atomically(path, buffer.getvalue())


def read_staged(path: Path) -> Demonstration:
    """Reads what ``write_staged`` wrote.

    Raises:
        BadDemonstrations: the file is absent or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            values = {name: file[name] for name in ("head", "sizes", "parts", *_ARRAYS)}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise BadDemonstrations(
            f"{path} cannot be read ({error}); delete it, and its episode is played again"
        ) from None
    head = json.loads(values["head"].tobytes())
    ends = np.cumsum(values["sizes"]).tolist()
    data = values["parts"].tobytes()
    parts = tuple(data[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True))
    codec, count, height, width = head["pictures"]
    return Demonstration(
        episode=episode_from_json(head["episode"]),
        assets=head["assets"],
        instruction=head["instruction"],
        pictures=Pictures(codec, parts, count, height, width),
        **{name: values[name] for name in _ARRAYS},
    )
