"""LeRobotDataset v2.1, one parquet file and one video an episode: for readers that do not know v3.0 yet."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vlagen.baselines.data.dataset import Dataset
from vlagen.baselines.data.demonstration import (
    BadDemonstrations,
    Demonstration,
    Pictures,
    episode_from_json,
    episode_to_json,
)
from vlagen.baselines.data.feature_statistics import describe
from vlagen.baselines.data.layout import CAMERA, VECTORS, Picture, features
from vlagen.baselines.data.lerobot import frame_columns, picture_column, read_table
from vlagen.tasks.interface import CONTROL_FREQUENCY

V21 = "v2.1"
_CHUNK = 1000
_DATA = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
_VIDEO = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"


def export_v21(dataset: Dataset, folder: Path) -> Path:
    """Writes a data set in the older layout; pictures stay as they are encoded.

    Raises:
        BadDemonstrations: the folder exists, or a video cannot be cut.
    """
    if folder.exists():
        raise BadDemonstrations(f"{folder} exists already; choose another folder")
    draft = folder.with_name(f".{folder.name}.tmp")
    tasks: dict[str, int] = {}
    episodes, statistics, first = [], [], 0
    for number, demonstration in enumerate(dataset.demonstrations()):
        task = tasks.setdefault(demonstration.instruction, len(tasks))
        _write_episode(draft, number, first, task, demonstration)
        episodes.append(
            {
                "episode_index": number,
                "tasks": [demonstration.instruction],
                "length": len(demonstration),
                "vlagen/episode": episode_to_json(demonstration.episode),
                "vlagen/assets": demonstration.assets,
                "vlagen/replay": demonstration.replay.tolist(),
            }
        )
        values = {key: {n: v.tolist() for n, v in of.items()} for key, of in describe(demonstration).values.items()}
        statistics.append({"episode_index": number, "stats": values})
        first += len(demonstration)
    codec = "h264" if dataset.is_video else "png"
    info = {
        "codebase_version": V21,
        "robot_type": dataset.info.get("robot_type"),
        "total_episodes": len(episodes),
        "total_frames": first,
        "total_tasks": len(tasks),
        "total_videos": len(episodes) if dataset.is_video else 0,
        "total_chunks": -(-len(episodes) // _CHUNK),
        "chunks_size": _CHUNK,
        "fps": CONTROL_FREQUENCY,
        "splits": {"train": f"0:{len(episodes)}"},
        "data_path": _DATA,
        "video_path": _VIDEO if dataset.is_video else None,
        "features": features(Picture(codec, *dataset.picture_size)),
        "vlagen": dataset.info.get("vlagen", {}),
    }
    (draft / "meta").mkdir()
    (draft / "meta/info.json").write_text(json.dumps(info, indent=4))
    _write_lines(draft / "meta/tasks.jsonl", [{"task_index": n, "task": text} for text, n in tasks.items()])
    _write_lines(draft / "meta/episodes.jsonl", episodes)
    _write_lines(draft / "meta/episodes_stats.jsonl", statistics)
    draft.rename(folder)
    return folder


def import_v21(folder: Path) -> Iterator[Demonstration]:
    """Reads what ``export_v21`` wrote.

    Raises:
        BadDemonstrations: a file is missing or damaged, or lacks what a demonstration needs.
    """
    try:
        info = json.loads((folder / "meta/info.json").read_text())
        lines = (folder / "meta/episodes.jsonl").read_text().splitlines()
        height, width, _ = info["features"][CAMERA]["shape"]
        for line in lines:
            yield _read_episode(folder, json.loads(line), info["features"][CAMERA]["dtype"], height, width)
    except (OSError, ValueError, KeyError) as error:
        if isinstance(error, BadDemonstrations):
            raise
        raise BadDemonstrations(
            f"{folder} cannot be imported ({error!r}); only data sets that vlagen wrote have all that is needed: for "
            "others, lerobot's convert_dataset_v21_to_v30 makes one that vlagen reads"
        ) from None


def _place(folder: Path, pattern: str, number: int) -> Path:
    return folder / pattern.format(episode_chunk=number // _CHUNK, episode_index=number, video_key=CAMERA)


def _write_episode(folder: Path, number: int, first: int, task: int, demonstration: Demonstration) -> None:
    columns = frame_columns(demonstration, number, first, task)
    pictures = demonstration.pictures
    if pictures.codec == "h264":
        video = _place(folder, _VIDEO, number)
        video.parent.mkdir(parents=True, exist_ok=True)
        video.write_bytes(pictures.parts[0])
    else:
        columns[CAMERA] = picture_column(pictures, number)
    data = _place(folder, _DATA, number)
    data.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), data)


def _read_episode(folder: Path, line: dict[str, Any], dtype: str, height: int, width: int) -> Demonstration:
    number = line["episode_index"]
    table = read_table(_place(folder, _DATA, number))
    if dtype == "video":
        pictures = Pictures("h264", (_place(folder, _VIDEO, number).read_bytes(),), len(table), height, width)
    else:
        parts = tuple(picture["bytes"] for picture in table.column(CAMERA).to_pylist())
        pictures = Pictures("png", parts, len(parts), height, width)
    demonstration = Demonstration(
        episode=episode_from_json(line["vlagen/episode"]),
        assets=line["vlagen/assets"],
        instruction=line["tasks"][0],
        pictures=pictures,
        rewards=table.column("next.reward").to_numpy(),
        successes=table.column("next.success").to_numpy(),
        steps=table.column("control_step").to_numpy(),
        replay=np.array(line["vlagen/replay"], dtype=np.float32).reshape(-1, 7),
        **{
            attribute: table.column(key).combine_chunks().flatten().to_numpy().reshape(len(table), -1)
            for key, (attribute, _) in VECTORS.items()
        },
    )
    demonstration.check()
    return demonstration


def _write_lines(path: Path, values: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values))
