"""Who plays the episodes: this process, or several beside it that each hold one simulator and one policy.

Only the caller writes records. A worker that dies takes nothing with it but the episode it was playing, and that one
gets a second try.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path

from vlagen.assets.errors import VlagenError
from vlagen.benchmark.policy import Policy, policy_seed
from vlagen.benchmark.records import EpisodeRecord
from vlagen.benchmark.rollout import run_episodes
from vlagen.benchmark.simulator import Simulator
from vlagen.benchmark.video import RecordingSimulator, VideoMode, video_path, write_video
from vlagen.tasks.episodes import Episode
from vlagen.tasks.rendering import worker_environment

_ATTEMPTS = 2


class WorkerError(VlagenError):
    """Worker processes that cannot even start."""


@dataclass(frozen=True)
class Job:
    """What a worker has to know; it is pickled, so factories must be importable.

    Attributes:
        video_folder: where videos go, if ``video`` asks for any.
    """

    make_simulator: Callable[[], Simulator]
    make_policy: Callable[[], Policy]
    policy_name: str
    assets: str
    seed: int
    video: VideoMode
    video_folder: Path


class Player:
    """One simulator and one policy, playing episodes one after the other."""

    def __init__(self, job: Job) -> None:
        self._job = job
        simulator = job.make_simulator()
        self._recorder = RecordingSimulator(simulator) if job.video != "none" else None
        self._simulator: Simulator = self._recorder or simulator
        self._policy = job.make_policy()

    def play(self, episode: Episode) -> EpisodeRecord:
        """Plays one episode; whatever goes wrong inside becomes a record with the outcome ``"error"``."""
        job = self._job
        try:
            (record,) = run_episodes(
                self._simulator,
                self._policy,
                [episode],
                policy_name=job.policy_name,
                assets=job.assets,
                seed=job.seed,
            )
        except Exception:  # noqa: BLE001 - policies and simulators raise anything; the traceback is kept
            record = _error_record(job, episode, traceback.format_exc())
        if self._recorder and self._recorder.frames and (job.video == "all" or record.outcome != "success"):
            frames = [frame[0] for frame in self._recorder.frames]
            write_video(video_path(job.video_folder, record.row, record.index, record.outcome), frames)
        return record

    def close(self) -> None:
        """Frees the simulator."""
        self._simulator.close()


def play(job: Job, episodes: Sequence[Episode], workers: int) -> Iterator[EpisodeRecord]:
    """Plays episodes and yields each record as soon as its episode ends, in whatever order that is.

    Args:
        job: what to play.
        episodes: which episodes.
        workers: number of processes; with 1 this process plays.

    Raises:
        WorkerError: worker processes die before their first episode.
        VlagenError: simulator or policy cannot be made.
    """
    if workers > 1:
        return _Pool(job, episodes, min(workers, len(episodes))).play()
    return _play_here(job, episodes)


def _play_here(job: Job, episodes: Sequence[Episode]) -> Iterator[EpisodeRecord]:
    with contextlib.closing(Player(job)) as player:
        for episode in episodes:
            yield player.play(episode)


class _Pool:
    """Keeps ``count`` worker processes busy until every episode has a record."""

    def __init__(self, job: Job, episodes: Sequence[Episode], count: int) -> None:
        self._job = job
        self._count = count
        self._waiting = deque(episodes)
        self._attempts: Counter[Episode] = Counter()
        self._deaths_at_start = 0
        self._workers: list[_Worker] = []

    def play(self) -> Iterator[EpisodeRecord]:
        try:
            self._workers.extend(self._start_worker() for _ in range(self._count))
            while self._waiting or any(worker.episode for worker in self._workers):
                by_connection = {worker.connection: worker for worker in self._workers}
                for connection in wait(list(by_connection)):
                    record = self._advance(by_connection[connection])
                    if record is not None:
                        yield record
        finally:
            for worker in self._workers:
                worker.stop()

    def _start_worker(self) -> _Worker:
        return _Worker(self._job, worker_environment(self._count))

    def _advance(self, worker: _Worker) -> EpisodeRecord | None:
        """Takes what a worker has to say and gives it something to do; returns a record if that settled an episode."""
        try:
            record = worker.receive()
        except (EOFError, ConnectionError):
            return self._replace(worker)
        if self._waiting:
            worker.send(self._waiting.popleft())
        return record

    def _replace(self, dead: _Worker) -> EpisodeRecord | None:
        """Deals with a dead worker; returns an error record if the episode it was playing has no attempt left."""
        fate = _describe_exit(dead.stop())
        self._workers.remove(dead)
        if not dead.ready:
            self._deaths_at_start += 1
            if self._deaths_at_start == _ATTEMPTS:
                raise WorkerError(
                    f"{_ATTEMPTS} worker processes {fate} while starting; `vlagen-doctor` checks the machine, and "
                    "--workers 1 shows what they would have said"
                )
        record = None
        if dead.episode is not None:
            self._attempts[dead.episode] += 1
            if self._attempts[dead.episode] < _ATTEMPTS:
                self._waiting.appendleft(dead.episode)
            else:
                reason = f"{_ATTEMPTS} worker processes {fate} while playing this episode"
                record = _error_record(self._job, dead.episode, reason)
        if self._waiting:
            self._workers.append(self._start_worker())
        return record


class _Worker:
    """The parent's view of one worker process.

    Attributes:
        ready: the worker has made its simulator and policy.
        episode: what it is playing, None if nothing.
    """

    def __init__(self, job: Job, environment: Mapping[str, str]) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.ready = False
        self.episode: Episode | None = None
        self._process = context.Process(target=_serve, args=(theirs, job), daemon=True)
        with _environment(environment):
            self._process.start()
        theirs.close()

    def send(self, episode: Episode) -> None:
        """Hands over an episode; a worker that is already dead is noticed by the next ``receive``."""
        self.episode = episode
        with contextlib.suppress(ConnectionError):
            self.connection.send(episode)

    def receive(self) -> EpisodeRecord | None:
        """Takes a finished record, or None when the worker has just become ready.

        Raises:
            VlagenError: it could not make its simulator or policy.
            EOFError: it is dead.
        """
        message = self.connection.recv()
        if isinstance(message, VlagenError):
            raise message
        self.ready, self.episode = True, None
        return message

    def stop(self) -> int | None:
        """Ends the process and returns its exit code, negative if a signal ended it."""
        self.connection.close()
        # A dying process has closed its end of the pipe a moment before its exit code can be known.
        self._process.join(timeout=1)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()
        return self._process.exitcode


def _serve(connection: Connection, job: Job) -> None:
    """What a worker process runs: episodes come in, records go out, until the parent closes the pipe or dies."""
    # Ctrl-C reaches the whole process group; the parent alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        player = Player(job)
    except VlagenError as error:
        connection.send(VlagenError(str(error)))
        return
    with contextlib.closing(player), contextlib.suppress(EOFError, ConnectionError):
        connection.send(None)
        while True:
            connection.send(player.play(connection.recv()))


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Sets environment variables for the processes that start meanwhile: torch and Vulkan read them when imported."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _error_record(job: Job, episode: Episode, error: str) -> EpisodeRecord:
    return EpisodeRecord(
        protocol=episode.protocol,
        row=episode.variant,
        index=episode.index,
        assets=job.assets,
        seed=policy_seed(job.seed, episode.protocol, episode.variant, episode.index),
        outcome="error",
        error=error,
    )


def _describe_exit(code: int | None) -> str:
    if code is not None and code < 0:
        return f"were killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
