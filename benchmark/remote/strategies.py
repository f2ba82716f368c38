"""Who is asked together, and where the memory of an episode is."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from vlagen.benchmark.policy import Policy, PolicyEpisode, PolicyError, PolicySpec
from vlagen.benchmark.remote import own
from vlagen.tasks.interface import Observation


@runtime_checkable
class EpisodewisePolicy(Protocol):
    """A policy whose memory of an episode is an object, so that any set of running episodes can be asked together.

    A policy may implement this beside ``reset`` and ``act``; a server then needs one copy of it for any number of
    sessions, and batches across them. The two ways must give the same actions.
    """

    spec: PolicySpec

    def begin(self, episode: PolicyEpisode) -> Any:
        """Makes the memory of an episode that begins; anything but None."""
        ...

    def act_on(self, observation: Observation, memories: Sequence[Any]) -> np.ndarray:
        """Chooses actions (B, n) or (B, T, n) for B running episodes, and changes their memories in place.

        ``observation.step`` is -1 where the episodes are not at the same step.
        """
        ...


class Busy(PolicyError):
    """More sessions than the policy has copies."""


@dataclass(eq=False)
class Play:
    """An episode that a session plays.

    Attributes:
        seating: what is known of it.
        memory: of an ``EpisodewisePolicy``; None before the first step.
        over: the session has left it.
    """

    seating: own.Seating
    memory: Any = None
    over: bool = False


@dataclass(eq=False)
class Request:
    """One session's question."""

    play: Play
    observation: Observation
    arrived: float = field(default_factory=time.monotonic)
    answer: Future = field(default_factory=Future)

    @property
    def party(self) -> str:
        """The batch that the session plays in."""
        return self.play.seating.party


class Strategy(ABC):
    """Which of the waiting requests are answered together, and how."""

    independent = False

    @abstractmethod
    def choose(self, waiting: Sequence[Request], plays: int) -> tuple[list[Request], float | None]:
        """Returns the requests to answer now, or none of them and the time at which to ask again, None for never."""

    @abstractmethod
    def act(self, requests: Sequence[Request]) -> np.ndarray:
        """Answers requests, (B, ...)."""

    def leave(self, play: Play) -> None:
        """Forgets an episode; more than once does no harm."""
        play.memory = None


class Independent(Strategy):
    """For an ``EpisodewisePolicy``: whoever waits is asked, up to a number.

    Args:
        policy: the one copy.
        most: requests that are answered together.
        patience: seconds that the first of them waits for others. It does not wait if everybody has asked already.
            Sessions of one client in step come one after the other, and the client needs all answers before it goes
            on: as long as some are missing, the seconds count from the last that came.
    """

    independent = True

    def __init__(self, policy: EpisodewisePolicy, most: int, patience: float) -> None:
        self.most = most
        self.patience = patience
        self._policy = policy

    def choose(self, waiting: Sequence[Request], plays: int) -> tuple[list[Request], float | None]:
        if not waiting:
            return [], None
        shape = own.shapes(waiting[0].observation)
        alike = [request for request in waiting if own.shapes(request.observation) == shape][: self.most]
        due = self._due(waiting)
        if len(alike) == self.most or len(waiting) >= plays or time.monotonic() >= due:
            return alike, None
        return [], due

    def _due(self, waiting: Sequence[Request]) -> float:
        first = waiting[0]
        party = [request for request in waiting if request.party == first.party]
        since = first if len(party) >= first.play.seating.size else party[-1]
        return since.arrived + self.patience

    def act(self, requests: Sequence[Request]) -> np.ndarray:
        for request in requests:
            if request.play.memory is None:
                request.play.memory = self._policy.begin(request.play.seating.episode)
        observation = own.stack([request.observation for request in requests])
        return self._policy.act_on(observation, [request.play.memory for request in requests])


class InStep(Strategy):
    """For any policy: sessions that began together are its batch, and each such party has a copy to itself.

    Args:
        make: makes a further copy.
        first: the first copy.
        copies: how many there may be.
    """

    def __init__(self, make: Callable[[], Policy], first: Policy, copies: int) -> None:
        self._make = make
        self._free = [first]
        self._left = copies - 1
        self._copies = copies
        self._taken: dict[str, Policy] = {}

    def choose(self, waiting: Sequence[Request], plays: int) -> tuple[list[Request], float | None]:
        parties: dict[str, list[Request]] = {}
        for request in waiting:
            party = parties.setdefault(request.party, [])
            party.append(request)
            if len(party) == request.play.seating.size:
                return sorted(party, key=lambda one: one.play.seating.place), None
        return [], None

    def act(self, requests: Sequence[Request]) -> np.ndarray:
        seatings = [request.play.seating for request in requests]
        if [seating.place for seating in seatings] != list(range(seatings[0].size)):
            raise PolicyError("sessions of one batch name the same place in it")
        if len({own.shapes(request.observation) for request in requests}) > 1:
            raise PolicyError("sessions of one batch sent pictures or states of different sizes")
        party = seatings[0].party
        if party not in self._taken:
            policy = self._take()
            policy.reset([seating.episode for seating in seatings])
            self._taken[party] = policy
        return self._taken[party].act(own.stack([request.observation for request in requests]))

    def leave(self, play: Play) -> None:
        if play.seating.party in self._taken:
            self._free.append(self._taken.pop(play.seating.party))

    def _take(self) -> Policy:
        if self._free:
            return self._free.pop()
        if self._left == 0:
            raise Busy(
                f"all {self._copies} copies of the policy are at work for other sessions; start vlagen-serve with "
                "--copies <more>, with --stateless if nothing is remembered between steps, or let the policy "
                "implement begin and act_on"
            )
        self._left -= 1
        return self._make()


class Stateless:
    """An ``EpisodewisePolicy`` of a policy that remembers nothing but what its ``reset`` is told."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.spec = policy.spec

    def begin(self, episode: PolicyEpisode) -> PolicyEpisode:
        return episode

    def act_on(self, observation: Observation, memories: Sequence[PolicyEpisode]) -> np.ndarray:
        self._policy.reset(memories)
        return self._policy.act(observation)
