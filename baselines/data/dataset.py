"""Reading a LeRobotDataset v3.0, ours or another's, and checking it before anything is made of it.

Numbers are held in memory (a frame takes some 150 bytes), pictures stay in their files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from vlagen.baselines.data.codecs import cut_videos, decode_picture, decode_video
from vlagen.baselines.data.demonstration import BadDemonstrations, Demonstration, Pictures, episode_from_json
from vlagen.baselines.data.layout import VECTORS, VERSION
from vlagen.baselines.data.lerobot import read_table
from vlagen.tasks.interface import ACTION_SIZE


@dataclass(frozen=True)
class EpisodeSpan:
    """Where an episode lies.

    Attributes:
        instruction: what the policy was told.
        start: number of its first frame in the data set.
        length: frames.
        data_file: number of the file in ``Dataset.data_files`` that has its numbers, and PNG pictures.
        video: path of its video; None for PNG pictures.
        first_in_video: number of its first frame there.
        assets: name of the asset pack; empty if nobody knows.
        episode: as ``episode_to_json`` writes it.
    """

    instruction: str
    start: int
    length: int
    data_file: int
    video: Path | None
    first_in_video: int
    assets: str
    episode: str


class Dataset:
    """A data set on disk that has been checked; pictures are not decoded until they are asked for.

    Args:
        root: the data set's folder.

    Attributes:
        info: ``info.json``.
        camera: the feature that holds the pictures.
        picture_size: their height and width.
        episodes: in their order.
        data_files: the files of numbers.
        actions: (N, 7) float32 of all N frames; so are the others of ``demonstration.Demonstration``.

    Raises:
        BadDemonstrations: the folder holds no data set of this version, a file is missing or truncated, numbers are
            not finite, counts disagree, or episodes come from different asset packs.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.info = _read_info(root)
        self.camera = _camera(self.info, root)
        height, width, _ = _height_width_channels(self.info["features"][self.camera])
        self.picture_size = (height, width)
        tasks = read_table(root / "meta/tasks.parquet").to_pandas()
        # lerobot has the text as index; pandas brings it back as such.
        self._tasks = {int(number): str(text) for text, number in zip(tasks.index, tasks["task_index"], strict=True)}
        self.data_files = tuple(sorted((root / "data").glob("chunk-*/file-*.parquet")))
        columns, rows_of = self._read_columns()
        self.episodes = self._read_episodes(rows_of, columns["task_index"])
        self._select(columns)
        self._check()

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def is_video(self) -> bool:
        """Tells whether pictures are in videos, else they are PNG files among the numbers."""
        return self.info["features"][self.camera]["dtype"] == "video"

    @property
    def assets(self) -> str:
        """Name of the asset pack that all episodes come from; empty if nobody knows."""
        return self.episodes[0].assets

    @cached_property
    def episode_index(self) -> np.ndarray:
        """The number of each frame's episode, (N,) int64."""
        return np.repeat(np.arange(len(self.episodes)), [span.length for span in self.episodes])

    def images(self) -> Iterator[np.ndarray]:
        """Decodes all pictures (H, W, 3) uint8 in the order of the frames.

        Raises:
            BadDemonstrations: a file is damaged, or holds too few.
        """
        for group in self._files():
            yield from self._images_of(group)

    def demonstrations(self) -> Iterator[Demonstration]:
        """The episodes as values, their pictures as they are encoded.

        Raises:
            BadDemonstrations: a file is damaged, or was not made by vlagen and cannot be cut into episodes.
        """
        for group in self._files():
            for span, pictures in zip(group, self._encoded(group), strict=True):
                frames = slice(span.start, span.start + span.length)
                yield Demonstration(
                    episode=episode_from_json(span.episode),
                    assets=span.assets,
                    instruction=span.instruction,
                    pictures=pictures,
                    replay=self._replays[self.episodes.index(span)],
                    rewards=self.rewards[frames],
                    successes=self.successes[frames],
                    steps=self.steps[frames],
                    **{attribute: getattr(self, attribute)[frames] for attribute, _ in VECTORS.values()},
                )

    def _read_columns(self) -> tuple[dict[str, np.ndarray], list[int]]:
        """Reads the numbers of all frames that are in the files, and how many rows each file has."""
        wanted = [*VECTORS, "next.reward", "next.success", "control_step", "frame_index", "episode_index", "task_index"]
        if not self.data_files:
            raise BadDemonstrations(f"{self.root}/data holds no parquet files; restore them from a copy")
        parts: dict[str, list[np.ndarray]] = {}
        counts = []
        for path in self.data_files:
            table = read_table(path)
            missing = {"action", "episode_index", "task_index"} - set(table.column_names)
            if missing:
                raise BadDemonstrations(f"{path} lacks the columns {sorted(missing)}; it is no data file of LeRobot's")
            counts.append(len(table))
            for name in wanted:
                if name in table.column_names:
                    parts.setdefault(name, []).append(_numbers(table.column(name), len(table)))
        short = [name for name, arrays in parts.items() if len(arrays) < len(self.data_files)]
        if short:
            raise BadDemonstrations(f"{self.root}: only some data files have the columns {short}")
        return {name: np.concatenate(arrays) for name, arrays in parts.items()}, counts

    def _read_episodes(self, rows_of: Sequence[int], task_index: np.ndarray) -> tuple[EpisodeSpan, ...]:
        starts = dict(zip(self.data_files, np.cumsum([0, *rows_of[:-1]]), strict=True))
        numbers = {path: number for number, path in enumerate(self.data_files)}
        spans: list[EpisodeSpan] = []
        self._replays: list[np.ndarray] = []
        self._rows: list[np.ndarray] = []
        taken: dict[Path, int] = {}
        start = 0
        fps = self.info["fps"]
        for path in sorted((self.root / "meta/episodes").glob("chunk-*/file-*.parquet")):
            table = read_table(path)
            plain = [name for name in table.column_names if not name.startswith("stats/")]
            for row in table.select(plain).to_pylist():
                data = self._path(self.info["data_path"], "data", row)
                if data not in numbers:
                    raise BadDemonstrations(f"{data} is missing; restore it, or collect again into a new folder")
                first, length = taken.get(data, 0), row["length"]
                taken[data] = first + length
                if first + length > rows_of[numbers[data]]:
                    raise BadDemonstrations(f"{data} has {rows_of[numbers[data]]} frames; its episodes have more")
                self._rows.append(np.arange(starts[data] + first, starts[data] + first + length))
                text = self._tasks.get(int(task_index[self._rows[-1][0]]), "")
                key = f"videos/{self.camera}"
                spans.append(
                    EpisodeSpan(
                        instruction=text,
                        start=start,
                        length=length,
                        data_file=numbers[data],
                        video=self._path(self.info["video_path"], key, row) if self.is_video else None,
                        first_in_video=round(row[f"{key}/from_timestamp"] * fps) if self.is_video else 0,
                        assets=row.get("vlagen/assets") or "",
                        episode=row.get("vlagen/episode") or "",
                    )
                )
                replay = np.array(row.get("vlagen/replay") or [], dtype=np.float32)
                self._replays.append(replay.reshape(-1, ACTION_SIZE))
                start += length
        return tuple(spans)

    def _path(self, pattern: str, kind: str, row: dict[str, Any]) -> Path:
        places = {name: row[f"{kind}/{name}"] for name in ("chunk_index", "file_index")}
        return self.root / pattern.format(video_key=self.camera, **places)

    def _select(self, columns: dict[str, np.ndarray]) -> None:
        rows = np.concatenate(self._rows) if self._rows else np.zeros(0, dtype=int)
        count = len(rows)
        found = {name: values[rows] for name, values in columns.items()}
        for key, (attribute, names) in VECTORS.items():
            # Others' data sets have neither the gripper's pose nor noise.
            instead = found["action"] if key == "executed_action" else np.zeros((count, len(names)), dtype=np.float32)
            setattr(self, attribute, found.get(key, instead).astype(np.float32))
        self.rewards = found.get("next.reward", np.zeros(count)).astype(np.float32)
        self.successes = found.get("next.success", np.zeros(count)).astype(bool)
        self.steps = found.get("control_step", found.get("frame_index", np.zeros(count))).astype(np.int64)
        self._found_episodes = found["episode_index"]

    def _check(self) -> None:
        if not self.episodes:
            raise BadDemonstrations(f"{self.root} has no episodes; collect some with vlagen-collect")
        if self.actions.shape[1:] != (ACTION_SIZE,):
            raise BadDemonstrations(
                f"{self.root}: actions have {self.actions.shape[1:]} numbers; expected {ACTION_SIZE}"
            )
        if not np.array_equal(self._found_episodes, self.episode_index):
            raise BadDemonstrations(f"{self.root}: frames and meta/episodes disagree on which frame is whose")
        for attribute in ("actions", "executed_actions", "states", "gripper_poses", "rewards"):
            values = getattr(self, attribute)
            bad = np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=1))
            if len(bad):
                episode = int(self.episode_index[bad[0]])
                frame = int(bad[0]) - self.episodes[episode].start
                raise BadDemonstrations(
                    f"{self.root}: {attribute} of frame {frame} of episode {episode} are not finite "
                    f"({values[bad[0]].tolist()}; {len(bad)} such frames); take that episode out or collect it again"
                )
        for path in sorted({span.video for span in self.episodes if span.video is not None}):
            if not path.is_file():
                raise BadDemonstrations(f"{path} is missing; restore it, or collect again into a new folder")
        check_packs({str(self.root): self})

    def _files(self) -> Iterator[tuple[EpisodeSpan, ...]]:
        """Groups of episodes whose pictures lie in one file, in order."""
        group: list[EpisodeSpan] = []
        for span in self.episodes:
            if group and (span.video, span.data_file) != (group[-1].video, group[-1].data_file):
                yield tuple(group)
                group = []
            group.append(span)
        yield tuple(group)

    def _images_of(self, group: tuple[EpisodeSpan, ...]) -> Iterator[np.ndarray]:
        if group[0].video is None:
            yield from (decode_picture(data) for data in self._png(group))
            return
        frames = enumerate(decode_video(group[0].video, str(group[0].video)))
        number, image = -1, None
        for span in group:
            for wanted in range(span.first_in_video, span.first_in_video + span.length):
                while number < wanted:
                    number, image = next(frames, (wanted, None))
                if image is None:
                    raise BadDemonstrations(f"{span.video} is too short: it ends before frame {wanted} of its episodes")
                yield image

    def _png(self, group: tuple[EpisodeSpan, ...]) -> list[bytes]:
        column = read_table(self.data_files[group[0].data_file], [self.camera]).column(0).combine_chunks()
        first = sum(span.length for span in self.episodes if span.data_file < group[0].data_file)
        return [
            column[row - first]["bytes"].as_py()
            for span in group
            for row in range(span.start, span.start + span.length)
        ]

    def _encoded(self, group: tuple[EpisodeSpan, ...]) -> Iterator[Pictures]:
        counts = [span.length for span in group]
        size = self.picture_size
        if group[0].video is not None:
            for count, video in zip(counts, cut_videos(group[0].video, counts), strict=True):
                yield Pictures("h264", (video,), count, *size)
            return
        data = self._png(group)
        for end, count in zip(np.cumsum(counts).tolist(), counts, strict=True):
            yield Pictures("png", tuple(data[end - count : end]), count, *size)


def check_packs(datasets: dict[str, Dataset]) -> None:
    """Checks that all episodes come from one asset pack.

    Raises:
        BadDemonstrations: they do not, and which come from where.
    """
    packs: dict[str, str] = {}
    for name, dataset in datasets.items():
        for span in dataset.episodes:
            packs.setdefault(span.assets, name)
    if len(packs) > 1:
        words = ", ".join(f"{pack or 'an unknown pack'} in {place}" for pack, place in packs.items())
        raise BadDemonstrations(
            f"episodes of {len(packs)} asset packs are mixed ({words}); indices of objects mean different things in "
            "them, so train on one at a time"
        )


def _read_info(root: Path) -> dict[str, Any]:
    path = root / "meta/info.json"
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
        version, _ = info["codebase_version"], (info["features"], info["fps"], info["data_path"])
    except FileNotFoundError:
        raise BadDemonstrations(
            f"{root} holds no LeRobotDataset (there is no meta/info.json); vlagen-collect makes one, "
            "vlagen-collect import reads other formats"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadDemonstrations(f"{path} does not describe a data set ({error!r})") from None
    if version != VERSION:
        raise BadDemonstrations(
            f"{root} is a LeRobotDataset {version}; {VERSION} is needed: vlagen-collect import {root} <new folder>"
        )
    return info


def _camera(info: dict[str, Any], root: Path) -> str:
    cameras = [key for key, feature in info["features"].items() if feature["dtype"] in ("video", "image")]
    if not cameras:
        raise BadDemonstrations(f"{root} has no pictures; its features are {', '.join(info['features'])}")
    return cameras[0]


def _height_width_channels(feature: dict[str, Any]) -> tuple[int, int, int]:
    first, second, third = feature["shape"]
    # Others put the channels first.
    return (second, third, first) if first == 3 and third != 3 else (first, second, third)


def _numbers(column: pa.ChunkedArray, rows: int) -> np.ndarray:
    array = column.combine_chunks()
    if pa.types.is_list(array.type) or pa.types.is_fixed_size_list(array.type):
        return array.flatten().to_numpy(zero_copy_only=False).reshape(rows, -1)
    return array.to_numpy(zero_copy_only=False)
