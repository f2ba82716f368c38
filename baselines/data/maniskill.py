"""ManiSkill's trajectory files: one HDF5 file, and a JSON file beside it that says what each trajectory is.

ManiSkill stores T + 1 observations for T actions. Demonstrations end with an action, so the last observation is the one
before it again, and the JSON file says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from vlagen.baselines.data.codecs import decode, encode
from vlagen.baselines.data.dataset import Dataset
from vlagen.baselines.data.demonstration import (
    BadDemonstrations,
    Codec,
    Demonstration,
    episode_from_json,
    episode_to_json,
)
from vlagen.tasks.interface import CAMERA_UID, HORIZON

CONTROL_MODE = "arm_pd_ee_target_delta_pose_align2_gripper_pd_joint_pos"
_OWN = ("gripper_poses", "executed_actions", "steps", "replay")


def export_maniskill(dataset: Dataset, path: Path) -> Path:
    """Writes a data set as a ManiSkill trajectory file.

    Args:
        dataset: what to write.
        path: of the ``.h5`` file; the ``.json`` file gets the same name.

    Returns:
        The path.

    Raises:
        BadDemonstrations: the file exists, or a picture cannot be decoded.
    """
    if path.suffix != ".h5":
        raise BadDemonstrations(f"{path}: ManiSkill's trajectory files end in .h5, e.g. {path.with_suffix('.h5')}")
    if path.exists():
        raise BadDemonstrations(f"{path} exists already; choose another name")
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.tmp")
    episodes = []
    try:
        with h5py.File(draft, "w") as file:
            for number, demonstration in enumerate(dataset.demonstrations()):
                _write(file.create_group(f"traj_{number}"), demonstration)
                episodes.append(_entry(number, demonstration))
        path.with_suffix(".json").write_text(json.dumps(_description(episodes, dataset.assets), indent=2))
        draft.rename(path)
    finally:
        draft.unlink(missing_ok=True)
    return path


def import_maniskill(path: Path, codec: Codec = "png") -> Iterator[Demonstration]:
    """Reads what ``export_maniskill`` wrote.

    Args:
        path: of the ``.h5`` file.
        codec: what its pictures are encoded as.

    Raises:
        BadDemonstrations: a file is absent or damaged, or lacks what a demonstration needs.
    """
    try:
        description = json.loads(path.with_suffix(".json").read_text())
        with h5py.File(path) as file:
            for entry in description["episodes"]:
                yield _read(file[f"traj_{entry['episode_id']}"], entry, codec)
    except (OSError, ValueError, KeyError) as error:
        if isinstance(error, BadDemonstrations):
            raise
        raise BadDemonstrations(
            f"{path} cannot be imported ({error}); only trajectory files that vlagen wrote have all that is needed"
        ) from None


def _write(group: h5py.Group, demonstration: Demonstration) -> None:
    count = len(demonstration)
    last = np.arange(count) == count - 1
    group["actions"] = demonstration.actions
    group["rewards"] = demonstration.rewards
    group["success"] = demonstration.successes
    group["terminated"] = last & demonstration.successes
    group["truncated"] = last & ~demonstration.successes
    group["obs/agent/qpos"] = _closed(demonstration.states)
    images = _closed(decode(demonstration.pictures))
    group.create_dataset(
        f"obs/sensor_data/{CAMERA_UID}/rgb",
        data=images,
        chunks=(1, *images.shape[1:]),
        compression="gzip",
        compression_opts=4,
    )
    for name in _OWN:
        group[f"vlagen/{name}"] = getattr(demonstration, name)


def _read(group: h5py.Group, entry: dict[str, Any], codec: Codec) -> Demonstration:
    demonstration = Demonstration(
        episode=episode_from_json(entry["vlagen_episode"]),
        assets=entry["assets"],
        instruction=entry["instruction"],
        pictures=encode(group[f"obs/sensor_data/{CAMERA_UID}/rgb"][:-1], codec),
        states=group["obs/agent/qpos"][:-1],
        actions=group["actions"][:],
        rewards=group["rewards"][:],
        successes=group["success"][:],
        **{name: group[f"vlagen/{name}"][:] for name in _OWN},
    )
    demonstration.check()
    return demonstration


def _closed(values: np.ndarray) -> np.ndarray:
    return np.concatenate([values, values[-1:]])


def _entry(number: int, demonstration: Demonstration) -> dict[str, Any]:
    episode = demonstration.episode
    index = None if episode is None else episode.index
    return {
        "episode_id": number,
        "episode_seed": None,
        "control_mode": CONTROL_MODE,
        "elapsed_steps": len(demonstration),
        "reset_kwargs": {"options": {"episode_id": [index]}} if index is not None else {},
        "success": bool(demonstration.successes[-1]),
        "instruction": demonstration.instruction,
        "assets": demonstration.assets,
        "episode": None if episode is None else asdict(episode),
        "vlagen_episode": episode_to_json(episode),
    }


def _description(episodes: list[dict[str, Any]], assets: str) -> dict[str, Any]:
    rows = {entry["episode"]["variant"] for entry in episodes if entry["episode"] is not None}
    return {
        "env_info": {
            "env_id": f"vlagen/{rows.pop()}-v1" if len(rows) == 1 else "vlagen/train-v1",
            "env_kwargs": {"assets": assets, "obs_mode": "rgb", "control_mode": CONTROL_MODE},
            "max_episode_steps": HORIZON,
        },
        "last_observation_is_a_copy": True,
        "episodes": episodes,
    }
