"""Which files and features our LeRobotDatasets have.

Layout, as lerobot 0.4 writes and reads it:

    meta/info.json                                  what the columns are, and how many there is of everything
    meta/tasks.parquet                              the instructions
    meta/stats.json                                 minima, maxima, means and deviations of each feature
    meta/episodes/chunk-000/file-000.parquet        one line an episode: where it lies, and what vlagen knows of it
    data/chunk-000/file-000.parquet                 one line a frame; pictures too, if they are PNG
    videos/observation.images.main/chunk-000/...    the frames of the same episodes, strung together

A *shard* is the n-th file of each kind and holds ``SHARD`` episodes. Its file in ``meta/episodes`` is written last: a
shard without it does not exist.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlagen.tasks.interface import CONTROL_FREQUENCY

VERSION = "v3.0"
CAMERA = "observation.images.main"
SHARD = 50
"""Episodes a shard: some 10 MB of video, or 100 MB of PNG pictures, at 224 x 224."""
CHUNK = 1000
"""Shards a folder."""

JOINTS = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate", "left_finger", "right_finger")
POSE = ("x", "y", "z", "qw", "qx", "qy", "qz")
ACTION = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")

VECTORS = {
    "observation.state": ("states", JOINTS),
    "observation.gripper_pose": ("gripper_poses", POSE),
    "action": ("actions", ACTION),
    # Not "action.executed": lerobot takes every feature that begins with "action" for one to be predicted.
    "executed_action": ("executed_actions", ACTION),
}
"""Features with several numbers: the attribute of a demonstration, and the numbers' names."""

INDICES = ("frame_index", "episode_index", "index", "task_index")


@dataclass(frozen=True)
class Picture:
    """What all pictures of a data set have in common."""

    codec: str
    height: int
    width: int


def file_path(root: Path, kind: str, shard: int, suffix: str = "parquet") -> Path:
    """Where a shard's file of one kind (``data``, ``meta/episodes``, ``videos/...``) lies."""
    return root / kind / f"chunk-{shard // CHUNK:03d}" / f"file-{shard % CHUNK:03d}.{suffix}"


def features(picture: Picture) -> dict[str, Any]:
    """The features as ``info.json`` lists them."""
    shape = [picture.height, picture.width, 3]
    camera: dict[str, Any] = {"dtype": "image", "shape": shape, "names": ["height", "width", "channels"]}
    if picture.codec == "h264":
        camera["dtype"] = "video"
        camera["info"] = {
            "video.height": picture.height,
            "video.width": picture.width,
            "video.codec": "h264",
            "video.pix_fmt": "yuv420p",
            "video.is_depth_map": False,
            "video.fps": CONTROL_FREQUENCY,
            "video.channels": 3,
            "has_audio": False,
        }
    one = {"shape": [1], "names": None}
    return {
        CAMERA: camera,
        **{key: {"dtype": "float32", "shape": [len(n)], "names": list(n)} for key, (_, n) in VECTORS.items()},
        "next.reward": {"dtype": "float32", **one},
        "next.done": {"dtype": "bool", **one},
        "next.success": {"dtype": "bool", **one},
        "control_step": {"dtype": "int64", **one},
        "timestamp": {"dtype": "float32", **one},
        **{name: {"dtype": "int64", **one} for name in INDICES},
    }
