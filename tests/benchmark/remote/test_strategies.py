"""Which of the waiting sessions are answered together, and who is waited for."""

from __future__ import annotations

import time

from tests.benchmark.remote.serving import EpisodewisePolicy, observation
from vlagen.benchmark.policy import PolicyEpisode
from vlagen.benchmark.remote.own import Seating
from vlagen.benchmark.remote.strategies import Independent, Play, Request


def waiting_requests(*sessions: tuple[str, int, float]):
    """Requests of (party, its size, when it arrived)."""
    episode = PolicyEpisode("go", 0)
    return [
        Request(Play(Seating(episode, party, size, place)), observation(), arrived=arrived)
        for place, (party, size, arrived) in enumerate(sessions)
    ]


def test_who_is_waited_for():
    strategy = Independent(EpisodewisePolicy(), most=16, patience=10.0)
    now = time.monotonic()
    # Alone among others: as long as the first has patience.
    alone = waiting_requests(("a", 1, now - 7), ("b", 1, now - 1))
    assert strategy.choose(alone, plays=5) == ([], now + 3)
    assert strategy.choose(waiting_requests(("a", 1, now - 11), ("b", 1, now)), plays=5)[1] is None
    # One of four that play in step: the next of them is waited for, however long ago the first came ...
    party = waiting_requests(("a", 4, now - 25), ("b", 1, now), ("a", 4, now - 7))
    assert strategy.choose(party, plays=9) == ([], now + 3)
    # ... until nothing more comes, or all are there.
    late = waiting_requests(("a", 4, now - 25), ("a", 4, now - 11))
    assert strategy.choose(late, plays=9) == (late, None)
    complete = waiting_requests(*[("a", 4, now - age) for age in (25, 20, 15, 9)])
    assert strategy.choose(complete, plays=9) == (complete, None)
    assert strategy.choose(party, plays=3) == (party, None)
