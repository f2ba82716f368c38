"""Several processes that each hold one simulator and one copy of the policy, and play episode after episode."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection, wait

from vlagen.assets.errors import VlagenError
from vlagen.benchmark.environment import environment_variables
from vlagen.benchmark.player import ATTEMPTS, Job, Player
from vlagen.benchmark.pool import Pool, Worker, WorkLost
from vlagen.benchmark.records import EpisodeRecord
from vlagen.benchmark.simulator import EpisodeLike
from vlagen.tasks.rendering import worker_environment


def worker_pool(job: Job, count: int) -> Pool:
    """Makes a pool of ``count`` processes beside this one."""
    return Pool(job, _Processes(job, worker_environment(count)), count, lives=ATTEMPTS)


class _Processes:
    """Where worker processes come from."""

    noun = "worker processes"

    def __init__(self, job: Job, environment: Mapping[str, str]) -> None:
        self._job = job
        self._environment = environment

    def hire(self) -> Worker:
        return _Process(self._job, self._environment)

    def wait(self, workers: Sequence[_Process], seconds: float | None) -> Sequence[_Process]:
        by_connection = {worker.connection: worker for worker in workers}
        return [by_connection[connection] for connection in wait(list(by_connection), seconds)]

    def close(self) -> None:
        pass


class _Process:
    """The parent's view of one worker process."""

    def __init__(self, job: Job, environment: Mapping[str, str]) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.ready = False
        self._process = context.Process(target=_serve, args=(theirs, job), daemon=True)
        with environment_variables(environment):
            self._process.start()
        theirs.close()

    def send(self, episodes: Sequence[EpisodeLike]) -> None:
        with contextlib.suppress(ConnectionError):
            self.connection.send(episodes)

    def receive(self) -> Sequence[EpisodeRecord]:
        try:
            message = self.connection.recv()
        except (EOFError, ConnectionError):
            raise WorkLost(_describe_exit(self._end())) from None
        if isinstance(message, VlagenError):
            raise message
        self.ready = True
        return message

    def stop(self) -> None:
        self._end()

    def _end(self) -> int | None:
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
        player = Player(job, watched=True)
    except VlagenError as error:
        connection.send(VlagenError(str(error)))
        return
    with contextlib.closing(player), contextlib.suppress(EOFError, ConnectionError):
        connection.send(())
        while True:
            connection.send(tuple(player.play(connection.recv())))


def _describe_exit(code: int | None) -> str:
    if code is not None and code < 0:
        return f"were killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
