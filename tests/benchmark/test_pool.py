"""Handing episodes to workers that come and go. The workers here are values: each says when it answers, and what."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from vlagen.benchmark.loading.source import PolicySource
from vlagen.benchmark.player import Job
from vlagen.benchmark.pool import Pool, WorkerError, WorkLost
from vlagen.benchmark.records import EpisodeRecord

JOB = Job(make_simulator=lambda: None, policy=PolicySource("noop"), assets="builtin")
NEVER = float("inf")


@dataclass(frozen=True)
class ToyEpisode:
    index: int
    protocol: str = "toy"
    variant: str = "row"


EPISODES = tuple(map(ToyEpisode, range(6)))


@dataclass(eq=False)
class ToyWorker:
    """Plays each share in so many seconds; some episodes, or its own start, make an end of it."""

    seconds: float = 0.0
    deadly: frozenset[int] = frozenset()
    stillborn: bool = False
    survives: bool = False
    ready: bool = False
    stopped: bool = False
    share: Sequence[ToyEpisode] = ()
    shares: list[tuple[int, ...]] = field(default_factory=list)
    due: float = 0.0

    def send(self, episodes):
        self.share = tuple(episodes)
        self.shares.append(tuple(episode.index for episode in episodes))
        self.due = time.monotonic() + self.seconds

    def receive(self):
        if self.stillborn:
            raise WorkLost("stumbled")
        share, self.share, self.due = self.share, (), NEVER
        if not self.ready:
            self.ready = True
            return ()
        if self.deadly & {episode.index for episode in share}:
            raise WorkLost("stumbled", over=not self.survives)
        return [
            EpisodeRecord(protocol="toy", row="row", index=e.index, assets="builtin", seed=0, outcome="success")
            for e in share
        ]

    def stop(self):
        self.stopped = True


class ToyCrew:
    noun = "toys"

    def __init__(self, *workers: Callable[[], ToyWorker]):
        self.makers = list(workers)
        self.hired: list[ToyWorker] = []
        self.closed = False

    def hire(self):
        worker = self.makers[min(len(self.hired), len(self.makers) - 1)]()
        self.hired.append(worker)
        return worker

    def wait(self, workers, seconds):
        until = time.monotonic() + (60 if seconds is None else seconds)
        while time.monotonic() < until:
            due = [worker for worker in workers if worker.due <= time.monotonic()]
            if due:
                return due
            time.sleep(0.001)
        assert seconds is not None, "the pool waits for somebody who will never answer"
        return []

    def close(self):
        self.closed = True


def play(crew: ToyCrew, count: int = 2, **options) -> dict[int, EpisodeRecord]:
    pool = Pool(JOB, crew, count, **({"lives": 2} | options))
    records = list(pool.play(EPISODES))
    pool.close()
    assert crew.closed
    assert all(worker.stopped for worker in crew.hired)
    assert Counter(record.index for record in records) == Counter(range(6)), "each episode has one record"
    return {record.index: record for record in records}


def test_each_episode_is_played_once():
    crew = ToyCrew(ToyWorker)
    assert {record.outcome for record in play(crew).values()} == {"success"}
    assert sorted(index for worker in crew.hired for share in worker.shares for index in share) == list(range(6))


def test_no_more_workers_than_shares():
    assert len(_hired(count=10)) == 6
    assert len(_hired(count=10, shard=3)) == 2


def _hired(**options):
    crew = ToyCrew(ToyWorker)
    play(crew, **options)
    return crew.hired


def test_shares_become_smaller_towards_the_end():
    shares = [share for worker in _hired(count=2, shard=4) for share in worker.shares]
    assert max(map(len, shares)) == 3  # of six for two workers, although each could take four
    assert sum(map(len, shares)) == 6


def test_what_a_lost_worker_was_playing_goes_to_another():
    crew = ToyCrew(lambda: ToyWorker(deadly=frozenset({0, 1})), ToyWorker)
    assert {record.outcome for record in play(crew).values()} == {"success"}
    assert len(crew.hired) <= 3


def test_an_episode_that_costs_as_many_workers_as_it_may_is_an_error():
    for lives in (2, 5):
        crew = ToyCrew(lambda: ToyWorker(deadly=frozenset({3})))
        records = play(crew, lives=lives)
        assert {index for index, record in records.items() if record.outcome == "error"} == {3}
        assert records[3].error == f"{lives} toys stumbled while playing this episode"
        assert sum(worker.shares.count((3,)) for worker in crew.hired) == lives


def test_a_worker_that_survives_what_it_lost_goes_on():
    crew = ToyCrew(lambda: ToyWorker(deadly=frozenset({3}), survives=True))
    assert play(crew, lives=3)[3].outcome == "error"
    assert len(crew.hired) == 2


def test_workers_that_never_start_stop_the_run():
    crew = ToyCrew(lambda: ToyWorker(stillborn=True))
    with pytest.raises(WorkerError, match=r"3 toys stumbled while starting; `vlagen-doctor`"):
        play(crew, lives=2)


def test_a_machine_on_which_nothing_starts_costs_its_workers_and_not_the_run():
    crew = ToyCrew(ToyWorker, lambda: ToyWorker(stillborn=True))
    assert {record.outcome for record in play(crew, count=2, lives=2).values()} == {"success"}
    assert len(crew.hired) <= 1 + 2 * 4


def test_the_idle_play_what_others_take_too_long_for():
    crew = ToyCrew(lambda: ToyWorker(seconds=NEVER), lambda: ToyWorker(seconds=0.01))
    began = time.monotonic()
    assert {record.outcome for record in play(crew, steal=True).values()} == {"success"}
    slow, fast = crew.hired
    assert slow.shares == [(0,)]
    assert (0,) in fast.shares
    assert time.monotonic() - began < 5


def test_nobody_plays_twice_what_takes_as_long_as_usual():
    crew = ToyCrew(lambda: ToyWorker(seconds=0.2))
    play(crew, count=4, steal=True)  # two of the four have nothing to do in the second round
    assert sum(len(worker.shares) for worker in crew.hired) == 6


def test_the_slower_answer_is_dropped_also_when_it_comes_in_a_later_call():
    crew = ToyCrew(lambda: ToyWorker(seconds=0.8), lambda: ToyWorker(seconds=0.01))
    pool = Pool(JOB, crew, 2, lives=2, steal=True)
    assert sorted(record.index for record in pool.play(EPISODES)) == list(range(6))
    slow, _ = crew.hired
    assert slow.share == (EPISODES[0],), "it is still busy with what another has settled"
    more = tuple(map(ToyEpisode, range(6, 200)))
    assert sorted(record.index for record in pool.play(more)) == list(range(6, 200))
    assert len(slow.shares) > 1, "and was given something new once it had answered"
