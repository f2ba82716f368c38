"""Videos of episodes, as the policy saw them, with what was going on written below."""

from __future__ import annotations

import subprocess
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from vlagen.assets.errors import VlagenError, unknown
from vlagen.benchmark.records import EpisodeKey, EpisodeRecord
from vlagen.benchmark.simulator import EpisodeLike, Simulator, SimulatorWrapper, StepResult
from vlagen.benchmark.watching.captions import HOLD_SECONDS, Caption, captioned
from vlagen.tasks.interface import CONTROL_FREQUENCY, Observation
from vlagen.tasks.rows import file_name

OUTCOMES = ("success", "failure", "error")

VideoMode = Literal["none", "failures", "all"] | int
"""Which episodes leave a video; a number stands for the first so many of each row, however they end."""

VIDEO_MODES: tuple[str, ...] = ("none", "failures", "all")


class BadVideoMode(VlagenError, ValueError):
    """A text that does not say which episodes leave a video."""


class EncodingError(VlagenError):
    """A video that could not be written."""


def parse_video_mode(text: str | int) -> VideoMode:
    """Reads which episodes leave a video.

    Args:
        text: one of ``VIDEO_MODES``, or a whole number from 1.

    Raises:
        BadVideoMode: neither.
    """
    if text in VIDEO_MODES:
        return text
    count = int(text) if str(text).isdecimal() else 0
    if count < 1:
        raise BadVideoMode(
            f"{unknown('video mode', text, VIDEO_MODES)}, or a number from 1 for the first so many of each row"
        )
    return count


def needs_recording(mode: VideoMode, position: int) -> bool:
    """Whether the episode at this place of its row's evaluation order can end up in a video."""
    return position < mode if isinstance(mode, int) else mode != "none"


def wants_video(mode: VideoMode, outcome: str, position: int) -> bool:
    """Whether the episode at this place of its row's evaluation order leaves a video, now that it has ended."""
    return needs_recording(mode, position) and not (mode == "failures" and outcome == "success")


class Film:
    """One episode's pictures, each kept as its difference from the one before it.

    What does not change costs next to nothing: 80 steps take 1 to 9 MB rather than 74, without loss, for 1 to 3 ms a
    picture.

    Attributes:
        instruction: what the policy was told; an episode that ends in an error may have no record of it.
        horizon: control steps that the episode takes.
        rate: of the control steps [Hz].
    """

    def __init__(self) -> None:
        self.instruction = ""
        self.horizon = 0
        self.rate = CONTROL_FREQUENCY
        self._differences: list[bytes] = []
        self._last: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self._differences)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yields the pictures (H, W, 3) uint8 in the order in which they were added."""
        picture = None if self._last is None else np.zeros_like(self._last)
        for difference in self._differences:
            picture = picture ^ np.frombuffer(zlib.decompress(difference), dtype=np.uint8).reshape(picture.shape)
            yield picture

    @property
    def size(self) -> int:
        """The memory that the pictures take [bytes]."""
        return sum(map(len, self._differences)) + (0 if self._last is None else self._last.nbytes)

    def add(self, picture: np.ndarray) -> None:
        """Appends a picture (H, W, 3) uint8; it may be overwritten afterwards."""
        difference = picture if self._last is None else picture ^ self._last
        self._last = np.array(picture)
        self._differences.append(zlib.compress(np.ascontiguousarray(difference), level=1))


class Recorder:
    """Films what is played in the simulators it wraps, and writes the videos that are wanted in the end.

    Args:
        mode: which episodes leave a video.
        folder: where videos go.
        positions: places of episodes in their rows' evaluation order, at least of those that come first; only a
            numeric ``mode`` looks at them.
    """

    def __init__(self, mode: VideoMode, folder: Path, positions: Mapping[EpisodeKey, int] | None = None) -> None:
        self._mode = mode
        self._folder = folder
        self._positions = positions or {}
        self._films: dict[EpisodeKey, Film] = {}

    def wrap(self, simulator: Simulator) -> Simulator:
        """Returns a simulator that behaves like the given one and is filmed; films outlive it."""
        return simulator if self._mode == "none" else RecordingSimulator(simulator, self)

    def begin(self, episodes: Sequence[EpisodeLike]) -> tuple[tuple[int, Film], ...]:
        """Starts new films and forgets older ones of the same episodes.

        Returns:
            The place in the batch and the film of each episode that can end up in a video.
        """
        started = []
        for place, episode in enumerate(episodes):
            key = (episode.variant, episode.index)
            self._films.pop(key, None)
            if needs_recording(self._mode, self._position(key)):
                self._films[key] = Film()
                started.append((place, self._films[key]))
        return tuple(started)

    def save(self, record: EpisodeRecord) -> str | None:
        """Writes the video of an episode, if it is to leave one, and forgets its film.

        Videos that earlier tries of this episode have left are removed.

        Returns:
            Why there is no video although there should be, for a warning: a video is not worth losing a record.
        """
        film = self._films.pop(record.key, None)
        try:
            for path in _all_paths(self._folder, record.row, record.index):
                path.unlink(missing_ok=True)
            if film is None or not wants_video(self._mode, record.outcome, self._position(record.key)):
                return None
            if not len(film):
                raise EncodingError("the simulator shows no pictures")
            path = video_path(self._folder, record.row, record.index, record.outcome)
            frames = captioned(film, _caption(record, film), hold=HOLD_SECONDS * film.rate)
            write_video(path, frames, film.rate)
        except Exception as error:  # noqa: BLE001 - whatever keeps a video from being written, the episode counts
            return f"no video of {record.row} {record.index}: {error}"
        return None

    def _position(self, key: EpisodeKey) -> int:
        return self._positions.get(key, 1 << 62)


class RecordingSimulator(SimulatorWrapper):
    """Passes everything through to a simulator and shows its pictures to a recorder.

    Args:
        simulator: what is filmed.
        recorder: who films it.
    """

    def __init__(self, simulator: Simulator, recorder: Recorder) -> None:
        super().__init__(simulator)
        self._recorder = recorder
        self._films: tuple[tuple[int, Film], ...] = ()

    def start(self, episodes: Sequence[EpisodeLike]) -> Observation:
        self._films = self._recorder.begin(episodes)
        observation = self.simulator.start(episodes)
        for place, film in self._films:
            film.instruction, film.horizon = observation.instruction[place], self.horizon
            film.rate = self.control_frequency
        self._keep(observation)
        return observation

    def step(self, actions: np.ndarray) -> StepResult:
        result = self.simulator.step(actions)
        self._keep(result.observation)
        return result

    def _keep(self, observation: Observation) -> None:
        if observation.rgb is not None:
            for place, film in self._films:
                film.add(observation.rgb[place])


def _caption(record: EpisodeRecord, film: Film) -> Caption:
    error = (record.error or "").strip().splitlines()
    detail = (record.failure or "").replace("-", " ")
    return Caption(
        instruction=film.instruction,
        row=record.row,
        index=record.index,
        horizon=film.horizon,
        outcome=record.outcome,
        detail=error[-1] if error else detail,
    )


def video_path(folder: Path, row: str, index: int, outcome: str) -> Path:
    """Returns where the video of an episode lies, e.g. ``folder/vision-table/17_failure.mp4``."""
    return folder / file_name(row) / f"{index}_{outcome}.mp4"


def _unfinished(path: Path) -> Path:
    return path.with_name(f".{path.name}")


def _all_paths(folder: Path, row: str, index: int) -> tuple[Path, ...]:
    paths = [video_path(folder, row, index, outcome) for outcome in OUTCOMES]
    return (*paths, *map(_unfinished, paths))


def write_video(path: Path, frames: Iterable[np.ndarray], frames_per_second: int = CONTROL_FREQUENCY) -> None:
    """Encodes frames as H.264.

    Args:
        path: of the mp4 file; appears only when it is complete.
        frames: (T, H, W, 3) uint8 with T >= 1 and even H and W.
        frames_per_second: how fast they are shown [Hz].

    Raises:
        EncodingError: there is no ffmpeg, or it fails.
        OSError: the disk is full, or the folder cannot be written.
    """
    executable = _ffmpeg()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _unfinished(path)
    frames = iter(frames)
    first = next(frames)
    try:
        with tempfile.TemporaryFile() as log:
            process = subprocess.Popen(
                _command(executable, temporary, *first.shape[:2], frames_per_second),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                # Ctrl-C reaches the whole process group; this process alone decides what it means.
                start_new_session=True,
            )
            broken = _feed(process, first, frames)
            if process.wait() or broken:
                log.seek(0)
                complaint = log.read().decode(errors="replace").strip().splitlines()
                raise EncodingError(f"ffmpeg: {complaint[-1] if complaint else f'exit code {process.returncode}'}")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _feed(process: subprocess.Popen, first: np.ndarray, rest: Iterable[np.ndarray]) -> bool:
    """Sends the frames to ffmpeg; returns whether it stopped listening before the last one."""
    try:
        with process.stdin as pipe:
            pipe.write(np.ascontiguousarray(first))
            for frame in rest:
                pipe.write(np.ascontiguousarray(frame))
    except BrokenPipeError:
        return True
    except BaseException:
        process.kill()
        process.wait()
        raise
    return False


def _ffmpeg() -> str:
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError) as error:
        raise EncodingError(f"videos need ffmpeg ({error}); pip install imageio-ffmpeg brings one") from error


def _command(executable: str, path: Path, height: int, width: int, rate: int) -> list[str]:
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(rate), "-i", "-"]
    # 4:2:0 is what browsers play; medium would take twice veryfast's time for files of the same size.
    codec = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "20", "-pix_fmt", "yuv420p"]
    return [executable, "-loglevel", "error", "-y", *source, *codec, "-movflags", "+faststart", "-f", "mp4", str(path)]
