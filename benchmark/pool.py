"""Who plays which episode next, where several workers play them: processes here, or actors on a cluster's machines.

Only the caller writes records. A worker that is lost takes nothing with it but what it was playing, and that is given
to another.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from typing import Protocol

from vlagen.assets.errors import VlagenError
from vlagen.benchmark.player import Job, error_record
from vlagen.benchmark.records import EpisodeKey, EpisodeRecord
from vlagen.benchmark.simulator import EpisodeLike

_POLL_SECONDS = 0.5

_PATIENCE = 4
"""How many times as many workers may be lost while starting, once one has started."""

_LATE = 1.5
"""How many times the usual duration is so long that somebody idle may well be first."""


class WorkerError(VlagenError):
    """Workers that cannot even start."""


class WorkLost(Exception):
    """What a worker was playing will bring no records.

    Args:
        fate: what became of it, to follow "2 worker processes": ``"were killed by SIGKILL"``.
        over: the worker is gone, too.
    """

    def __init__(self, fate: str, over: bool = True) -> None:
        super().__init__(fate)
        self.fate = fate
        self.over = over


class Worker(Protocol):
    """The pool's view of what plays episodes elsewhere.

    Attributes:
        ready: it has made its simulator and policy.
    """

    ready: bool

    def send(self, episodes: Sequence[EpisodeLike]) -> None:
        """Hands over episodes; a worker that is already lost is noticed by the next ``receive``."""
        ...

    def receive(self) -> Sequence[EpisodeRecord]:
        """Takes what it has to say: finished records, or none while it is getting ready.

        Raises:
            VlagenError: it could not make its simulator or policy.
            WorkLost: it is gone, or what it was playing is.
        """
        ...

    def stop(self) -> None:
        """Ends it."""
        ...


class Crew(Protocol):
    """Where workers come from.

    Attributes:
        noun: what its workers are called in messages, e.g. ``"worker processes"``.
    """

    noun: str

    def hire(self) -> Worker:
        """Starts another worker; it need not be ready at once."""
        ...

    def wait(self, workers: Sequence[Worker], seconds: float | None) -> Sequence[Worker]:
        """Waits until some of the workers have something to say, or for so long, and returns those."""
        ...

    def close(self) -> None:
        """Frees what its workers shared."""
        ...


class Pool:
    """Plays like ``player.Player``, on workers that never wait for each other.

    Args:
        job: what is played; its episodes' error records need it.
        crew: where workers come from.
        count: number of workers; they start with the first episodes and live until ``close``.
        lives: how many workers an episode may cost before that is its result.
        shard: how many episodes a worker is handed at once.
        steal: an idle worker plays what another has been playing for longer than usual, and whoever is first counts:
            for workers of unlike speed, on records that do not depend on who plays.
    """

    def __init__(self, job: Job, crew: Crew, count: int, *, lives: int, shard: int = 1, steal: bool = False) -> None:
        self._job = job
        self._crew = crew
        self._count = count
        self._lives = lives
        self._shard = shard
        self._steals = steal
        self._waiting: deque[EpisodeLike] = deque()
        self._unsettled: dict[EpisodeKey, EpisodeLike] = {}
        self._workers: list[Worker] = []
        self._playing: dict[Worker, Sequence[EpisodeLike]] = {}
        self._since: dict[Worker, float] = {}
        self._durations: list[float] = []
        self._costs: Counter[EpisodeKey] = Counter()
        self._failed_starts = 0
        self._has_started = False

    def play(self, episodes: Sequence[EpisodeLike]) -> Iterator[EpisodeRecord]:
        """Plays episodes and yields each record as soon as its episode ends, in whatever order that is.

        Raises:
            WorkerError: workers are lost before their first episode.
            VlagenError: simulator or policy cannot be made.
        """
        self._waiting.extend(episodes)
        self._unsettled.update((_key(episode), episode) for episode in episodes)
        for worker in self._idle():
            self._occupy(worker)
        wanted = min(self._count, -(-len(episodes) // self._shard))
        while self._waiting and len(self._workers) < wanted:
            self._workers.append(self._crew.hire())
        while self._unsettled:
            can_steal = self._steals and bool(self._idle())
            for worker in self._crew.wait(self._workers, _POLL_SECONDS if can_steal else None):
                yield from self._advance(worker)
            if self._steals and self._unsettled:
                self._steal()

    def close(self) -> None:
        """Ends the workers."""
        for worker in self._workers:
            worker.stop()
        self._workers.clear()
        self._crew.close()

    def _idle(self) -> list[Worker]:
        return [worker for worker in self._workers if worker.ready and worker not in self._playing]

    def _occupy(self, worker: Worker) -> None:
        if self._waiting:
            # Towards the end shares become smaller, so that nobody plays several while others have nothing to do.
            share = min(self._shard, -(-len(self._waiting) // max(1, len(self._workers))))
            self._give(worker, [self._waiting.popleft() for _ in range(share)])

    def _give(self, worker: Worker, episodes: Sequence[EpisodeLike]) -> None:
        self._playing[worker] = episodes
        self._since[worker] = time.monotonic()
        worker.send(episodes)

    def _advance(self, worker: Worker) -> Iterator[EpisodeRecord]:
        """Takes what a worker has to say, gives it something to do, and yields the records of what that settled."""
        was_ready = worker.ready
        try:
            records = worker.receive()
        except WorkLost as loss:
            yield from self._lose(worker, loss)
            return
        if worker.ready:
            if not was_ready:
                self._failed_starts, self._has_started = 0, True
            if self._playing.pop(worker, None) is not None:
                self._durations.append(time.monotonic() - self._since[worker])
            self._occupy(worker)
        for record in records:
            if self._unsettled.pop(record.key, None) is not None:
                yield record

    def _lose(self, worker: Worker, loss: WorkLost) -> Iterator[EpisodeRecord]:
        """Deals with lost work; yields error records for those episodes that have cost all the workers they may."""
        episodes = self._playing.pop(worker, ())
        if loss.over:
            worker.stop()
            self._workers.remove(worker)
            self._since.pop(worker, None)
        elsewhere = {_key(episode) for others in self._playing.values() for episode in others}
        self._costs.update(map(_key, episodes))
        lost = [e for e in episodes if _key(e) in self._unsettled and _key(e) not in elsewhere]
        failed = [episode for episode in lost if self._costs[_key(episode)] >= self._lives]
        self._waiting.extendleft(episode for episode in reversed(lost) if episode not in failed)
        replace = loss.over and (worker.ready or not self._gives_up(loss))
        for idle in self._idle():
            self._occupy(idle)
        if replace and self._waiting:
            self._workers.append(self._crew.hire())
        for episode in failed:
            del self._unsettled[_key(episode)]
            reason = f"{self._lives} {self._crew.noun} {loss.fate} while playing this episode"
            yield error_record(self._job, episode, reason)

    def _gives_up(self, loss: WorkLost) -> bool:
        """Counts a worker that was lost before it was ready, and tells whether to replace such ones no longer.

        Raises:
            WorkerError: and there is no other.
        """
        self._failed_starts += 1
        # Where one has started, it is not for want of anything that others do not.
        if self._failed_starts < self._lives * (_PATIENCE if self._has_started else 1):
            return False
        if not self._workers:
            raise WorkerError(
                f"{self._failed_starts} {self._crew.noun} {loss.fate} while starting; `vlagen-doctor` checks the "
                "machine, and --workers 1 --backend in-process shows what they would have said"
            )
        return True

    def _steal(self) -> None:
        """Gives idle workers what others have been playing for longer than it usually takes."""
        if self._waiting or not self._durations:
            return
        late = time.monotonic() - _LATE * statistics.median(self._durations)
        twice = Counter(_key(episode) for episodes in self._playing.values() for episode in episodes)
        idle = self._idle()
        for victim in sorted(self._playing, key=self._since.__getitem__):
            left = [episode for episode in self._playing[victim] if _key(episode) in self._unsettled]
            if idle and left and self._since[victim] < late and all(twice[_key(episode)] == 1 for episode in left):
                self._give(idle.pop(), left)


def _key(episode: EpisodeLike) -> EpisodeKey:
    return episode.variant, episode.index
