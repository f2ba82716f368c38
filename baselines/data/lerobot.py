"""The native format: a LeRobotDataset v3.0, written with pyarrow and PyAV alone; ``layout`` says what is where."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from vlagen.baselines.data.codecs import join_videos
from vlagen.baselines.data.demonstration import BadDemonstrations, Demonstration, Pictures, episode_to_json
from vlagen.baselines.data.feature_statistics import EpisodeStatistics, aggregate, describe
from vlagen.baselines.data.layout import CAMERA, CHUNK, SHARD, VECTORS, VERSION, Picture, features, file_path
from vlagen.benchmark.atomic import write_atomically
from vlagen.tasks.interface import CONTROL_FREQUENCY

_PATTERN = "chunk-{chunk_index:03d}/file-{file_index:03d}"
_EPISODE_COLUMNS = {
    "vlagen/episode": pa.string(),
    "vlagen/assets": pa.string(),
    "vlagen/replay": pa.list_(pa.float32()),
}


def frame_columns(
    demonstration: Demonstration, episode_index: int, first_frame: int, task_index: int
) -> dict[str, pa.Array]:
    """The columns of one episode's frames, pictures aside."""
    count = len(demonstration)
    columns: dict[str, pa.Array] = {}
    for key, (attribute, names) in VECTORS.items():
        flat = pa.array(getattr(demonstration, attribute).reshape(-1))
        columns[key] = pa.FixedSizeListArray.from_arrays(flat, len(names))
    frames = np.arange(count)
    done = frames == count - 1
    return columns | {
        "next.reward": pa.array(demonstration.rewards),
        "next.done": pa.array(done),
        "next.success": pa.array(demonstration.successes),
        "control_step": pa.array(demonstration.steps),
        "timestamp": pa.array((frames / CONTROL_FREQUENCY).astype(np.float32)),
        "frame_index": pa.array(frames),
        "episode_index": pa.array(np.full(count, episode_index)),
        "index": pa.array(first_frame + frames),
        "task_index": pa.array(np.full(count, task_index)),
    }


def picture_column(pictures: Pictures, episode_index: int) -> pa.Array:
    """PNG pictures as the ``datasets`` library stores them."""
    names = [f"episode-{episode_index:06d}-frame-{frame:06d}.png" for frame in range(pictures.count)]
    return pa.StructArray.from_arrays([pa.array(pictures.parts, pa.binary()), pa.array(names)], ["bytes", "path"])


class Shards:
    """Writes the shards of one data set, and what is said of all of them.

    Args:
        root: the data set's folder; complete shards that are there stay.
        extra: for ``info.json``, under ``vlagen``.

    Attributes:
        sealed: how many full shards there are.
    """

    def __init__(self, root: Path, extra: Mapping[str, Any]) -> None:
        self._root = root
        self._extra = dict(extra)
        self._tables: list[pa.Table] = []
        self.sealed = 0
        while file_path(root, "meta/episodes", self.sealed).exists():
            table = read_table(file_path(root, "meta/episodes", self.sealed))
            if len(table) < SHARD:
                break
            self._tables.append(table)
            self.sealed += 1

    @property
    def episodes(self) -> int:
        """How many episodes the full shards hold."""
        return SHARD * self.sealed

    @property
    def episode_texts(self) -> list[str]:
        """The episodes of the full shards as ``episode_to_json`` writes them."""
        return [text for table in self._tables for text in table.column("vlagen/episode").to_pylist()]

    def refresh(self) -> None:
        """Says again what there is in all, in case that was interrupted after the last shard."""
        if self._tables:
            picture = Picture(**json.loads(self._tables[0].schema.metadata[b"picture"]))
            self._write_meta(self._tables, self._tasks(), picture)

    def add(self, demonstrations: Sequence[Demonstration], statistics: Sequence[EpisodeStatistics]) -> None:
        """Writes the next shard, and what is said of the whole data set. A shard that is not full is the last.

        Args:
            demonstrations: the episodes in their order, at most ``SHARD``.
            statistics: theirs.

        Raises:
            BadDemonstrations: episodes of another pack, codec or picture size.
            OSError: the disk is full, or the folder cannot be written.
        """
        picture = _shared(demonstrations, self._root)
        tasks = self._tasks()
        first_frame = sum(table.column("length").to_numpy().sum() for table in self._tables)
        rows, frame_tables = [], []
        start = 0
        for place, (demonstration, stats) in enumerate(zip(demonstrations, statistics, strict=True)):
            number = self.episodes + place
            task = tasks.setdefault(demonstration.instruction, len(tasks))
            columns = frame_columns(demonstration, number, first_frame + start, task)
            if picture.codec != "h264":
                columns[CAMERA] = picture_column(demonstration.pictures, number)
            frame_tables.append(pa.table(columns))
            rows.append(_episode_row(demonstration, number, first_frame + start, start, self.sealed) | stats.columns())
            start += len(demonstration)
        self._write_frames(frame_tables)
        if picture.codec == "h264":
            path = file_path(self._root, f"videos/{CAMERA}", self.sealed, "mp4")
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.name}.tmp")
            join_videos((d.pictures.parts[0] for d in demonstrations), temporary)
            temporary.replace(path)
        table = _episode_table(rows, picture)
        write_atomically(file_path(self._root, "meta/episodes", self.sealed), _parquet(table))
        self._write_meta([*self._tables, table], tasks, picture)
        if len(table) == SHARD:
            self._tables.append(table)
            self.sealed += 1

    def _tasks(self) -> dict[str, int]:
        tasks: dict[str, int] = {}
        for table in self._tables:
            for (task,) in table.column("tasks").to_pylist():
                tasks.setdefault(task, len(tasks))
        return tasks

    def _write_frames(self, tables: Sequence[pa.Table]) -> None:
        path = file_path(self._root, "data", self.sealed)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.tmp")
        try:
            # A row group an episode, so that pictures of one episode can be read alone.
            with pq.ParquetWriter(temporary, tables[0].schema) as writer:
                for table in tables:
                    writer.write_table(table)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def _write_meta(self, tables: Sequence[pa.Table], tasks: Mapping[str, int], picture: Picture) -> None:
        episodes = sum(map(len, tables))
        frames = int(sum(table.column("length").to_numpy().sum() for table in tables))
        write_tasks(self._root, tasks)
        statistics = aggregate(row for table in tables for row in stats_rows(table))
        _write_json(self._root / "meta/stats.json", statistics)
        video = f"videos/{{video_key}}/{_PATTERN}.mp4" if picture.codec == "h264" else None
        info = {
            "codebase_version": VERSION,
            "robot_type": "widowx250s",
            "total_episodes": episodes,
            "total_frames": frames,
            "total_tasks": len(tasks),
            "chunks_size": CHUNK,
            "data_files_size_in_mb": 100,
            "video_files_size_in_mb": 200,
            "fps": CONTROL_FREQUENCY,
            "splits": {"train": f"0:{episodes}"},
            "data_path": f"data/{_PATTERN}.parquet",
            "video_path": video,
            "features": features(picture),
            "vlagen": self._extra,
        }
        _write_json(self._root / "meta/info.json", info)


def write_dataset(root: Path, demonstrations: Iterable[Demonstration], extra: Mapping[str, Any]) -> int:
    """Writes a whole data set into a new folder, e.g. of demonstrations that were imported.

    Args:
        root: must not hold a data set.
        demonstrations: in their order, at least one.
        extra: for ``info.json``, under ``vlagen``.

    Returns:
        How many there were.

    Raises:
        BadDemonstrations: there is a data set already, there are no demonstrations, or they do not go together.
    """
    if (root / "meta/info.json").exists():
        raise BadDemonstrations(f"{root} holds a data set already; choose another folder")
    shards, waiting, count = Shards(root, extra), [], 0
    for demonstration in demonstrations:
        demonstration.check()
        waiting.append(demonstration)
        count += 1
        if len(waiting) == SHARD:
            shards.add(waiting, [describe(d) for d in waiting])
            waiting = []
    if waiting:
        shards.add(waiting, [describe(d) for d in waiting])
    if not count:
        raise BadDemonstrations("there are no demonstrations to write")
    return count


def write_tasks(root: Path, tasks: Mapping[str, int]) -> None:
    """Writes the instructions as lerobot does: the text is the index."""
    frame = pd.DataFrame({"task_index": list(tasks.values())}, index=pd.Index(list(tasks), name="task"))
    write_atomically(root / "meta/tasks.parquet", frame.to_parquet())


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Reads a parquet file, or some of its columns.

    Raises:
        BadDemonstrations: it is absent, truncated or damaged.
    """
    try:
        return pq.read_table(path, columns=columns)
    except FileNotFoundError:
        raise BadDemonstrations(f"{path} is missing; restore it, or collect again into a new folder") from None
    except (OSError, pa.ArrowException) as error:
        raise BadDemonstrations(f"{path} is truncated or damaged ({error}); restore it from a copy") from None


def stats_rows(table: pa.Table) -> list[dict[str, Any]]:
    """The columns of an episode table that hold statistics, one dictionary an episode."""
    return table.select([name for name in table.column_names if name.startswith("stats/")]).to_pylist()


def _shared(demonstrations: Sequence[Demonstration], root: Path) -> Picture:
    kinds = {(d.pictures.codec, d.pictures.height, d.pictures.width) for d in demonstrations}
    packs = {d.assets for d in demonstrations}
    for what, found in (("kinds of pictures", kinds), ("asset packs", packs)):
        if len(found) > 1:
            raise BadDemonstrations(
                f"{root}: demonstrations of {len(found)} {what} ({', '.join(map(str, sorted(found)))}) cannot be "
                "in one data set; write one for each"
            )
    codec, height, width = kinds.pop()
    if codec == "jpeg":
        raise BadDemonstrations("JPEG pictures cannot be in a LeRobotDataset; encode them as h264 or png")
    return Picture(codec, height, width)


def _episode_row(
    demonstration: Demonstration, number: int, first_frame: int, first_in_file: int, shard: int
) -> dict[str, Any]:
    chunk, file = divmod(shard, CHUNK)
    row: dict[str, Any] = {
        "episode_index": number,
        "tasks": [demonstration.instruction],
        "length": len(demonstration),
        "dataset_from_index": first_frame,
        "dataset_to_index": first_frame + len(demonstration),
    }
    places = ["data", "meta/episodes"]
    if demonstration.pictures.codec == "h264":
        places.append(f"videos/{CAMERA}")
        row[f"videos/{CAMERA}/from_timestamp"] = first_in_file / CONTROL_FREQUENCY
        row[f"videos/{CAMERA}/to_timestamp"] = (first_in_file + len(demonstration)) / CONTROL_FREQUENCY
    for place in places:
        row |= {f"{place}/chunk_index": chunk, f"{place}/file_index": file}
    return row | {
        "vlagen/episode": episode_to_json(demonstration.episode),
        "vlagen/assets": demonstration.assets,
        "vlagen/replay": demonstration.replay.reshape(-1).tolist(),
    }


def _episode_table(rows: Sequence[Mapping[str, Any]], picture: Picture) -> pa.Table:
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    arrays = {name: pa.array(values, _EPISODE_COLUMNS.get(name)) for name, values in columns.items()}
    return pa.table(arrays).replace_schema_metadata({"picture": json.dumps(vars(picture))})


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


def _write_json(path: Path, value: Any) -> None:
    write_atomically(path, json.dumps(value, indent=4, ensure_ascii=False).encode() + b"\n")
