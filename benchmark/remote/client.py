"""A policy that lives behind a policy server: ``--policy openpi://host:port`` and the like."""

from __future__ import annotations

import contextlib
import inspect
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from vlagen.benchmark.policy import PolicyEpisode, PolicyError, PolicySpec
from vlagen.benchmark.remote.declarations import Declaration, UnknownFormat
from vlagen.benchmark.remote.link import Address, LostServer, parse_address
from vlagen.benchmark.remote.memory import keep_freed_memory
from vlagen.benchmark.remote.openpi_session import OpenpiSession, RoboArenaSession
from vlagen.benchmark.remote.own import Seating
from vlagen.benchmark.remote.session import Session
from vlagen.benchmark.remote.settings import BadSetting, Settings, settings_of
from vlagen.benchmark.remote.states import NO_STATE, check_state
from vlagen.benchmark.remote.vla_eval_session import VlaEvalSession
from vlagen.tasks.interface import Observation

SESSIONS: dict[str, type[Session]] = {
    "openpi": OpenpiSession,
    "roboarena": RoboArenaSession,
    "vla-eval": VlaEvalSession,
}
"""By protocol."""

_USUAL_IMAGE = {"openpi": (224, 224), "roboarena": (224, 224)}


class RemotePolicy:
    """Asks a policy server, with one session for each episode of a batch.

    A connection that breaks before an episode's first answer is made anew, and what was sent is sent again. One that
    breaks later costs the attempt, as the server's memory of the episode is gone: the episode is an error, and the
    second attempt at it waits for the server. Only where the protocol allows no memory (openpi with a server that is
    not vlagen's) does the episode go on.

    Args:
        address: the server's.
        settings: how to talk to it.

    Raises:
        LostServer: nobody answers there.
        PolicyError: the server speaks something else.
        UnknownFormat: it does not say, or not so that vlagen understands it, what the numbers of its actions mean.
    """

    def __init__(self, address: Address, settings: Settings) -> None:
        self._address = address
        self._settings = settings
        self._sessions: list[Session] = []
        self._seatings: list[Seating] = []
        self._answered = False
        keep_freed_memory()
        self._open(1)
        self.declaration = self._sessions[0].declaration
        self.spec = _spec(self.declaration, address, settings)

    def reset(self, episodes: Sequence[PolicyEpisode]) -> None:
        party = uuid.uuid4().hex
        self._seatings = [Seating(episode, party, len(episodes), place) for place, episode in enumerate(episodes)]
        self._answered = False
        self._open(len(episodes))
        try:
            self._begin()
        except LostServer:
            self._reopen()
            self._begin()

    def act(self, observation: Observation) -> np.ndarray:
        try:
            actions = self._exchange(observation)
        except LostServer:
            if self._answered and not self._sessions[0].self_contained:
                raise
            self._reopen()
            self._begin()
            actions = self._exchange(observation)
        self._answered = True
        return actions

    def close(self) -> None:
        """Ends all sessions."""
        for session in self._sessions:
            session.close()
        self._sessions = []

    def _open(self, count: int) -> None:
        """Sees to it that there are so many open sessions."""
        until = time.monotonic() + self._settings.patience
        while len(self._sessions) > count:
            self._sessions.pop().close()
        while len(self._sessions) < count:
            self._sessions.append(SESSIONS[self._address.protocol](self._address, self._settings))
        for session in self._sessions:
            if not session.is_open:
                session.open(until)

    def _reopen(self) -> None:
        """Makes all sessions anew: what the others were still to be told belongs to a question that is asked again."""
        count = len(self._sessions)
        self.close()
        self._open(count)

    def _begin(self) -> None:
        for session, seating in zip(self._sessions, self._seatings, strict=True):
            session.begin(seating)

    def _exchange(self, observation: Observation) -> np.ndarray:
        """Asks all sessions, then collects the answers, so that the server has all questions at once."""
        with self._in_step():
            for row, session in enumerate(self._sessions):
                session.ask(observation, row)
            answers = [session.answer() for session in self._sessions]
        shapes = {answer.shape for answer in answers}
        if len(shapes) > 1:
            raise PolicyError(f"{self._address} answered with actions of different shapes: {sorted(shapes)}")
        return np.stack(answers)

    @contextlib.contextmanager
    def _in_step(self) -> Iterator[None]:
        """Closes all sessions if one fails (or is interrupted): the others hold answers that nobody waits for."""
        try:
            yield
        except BaseException:
            for session in self._sessions:
                session.close()
            raise


class RemoteFactory:
    """Makes the policy behind an address; its parameters are the fields of ``Settings``.

    Args:
        name: the address, see ``link.parse_address``.

    Raises:
        PolicyError: it is none.
    """

    __module__ = __name__
    __signature__ = inspect.signature(Settings)

    def __init__(self, name: str) -> None:
        self._address = parse_address(name)

    def __call__(self, **values: Any) -> RemotePolicy:
        return RemotePolicy(self._address, settings_of(values))

    def identity(self, policy: RemotePolicy, values: dict[str, Any]) -> dict[str, Any]:
        """Says as JSON values which policy this is.

        A server of vlagen's says itself which one it serves, wherever it runs; of another, the address is all that
        tells it from the next.
        """
        own = policy.declaration.spec is not None
        return {
            "name": self._address.protocol if own else str(self._address),
            "arguments": settings_of(values).telling,
            "server": policy.declaration.identity,
        }


def _spec(declaration: Declaration, address: Address, settings: Settings) -> PolicySpec:
    if declaration.spec is not None:
        # How pictures are sent over vla-eval's wire is the one choice that is left.
        needless = [name for name in settings.telling if name != "encoding"]
        if needless:
            raise BadSetting(f"{address} is vlagen's own and says everything itself; leave out {', '.join(needless)}")
        return replace(declaration.spec, light=declaration.independent is True)
    actions = settings.action_format(declaration.actions)
    if actions is None:
        raise UnknownFormat(
            f"{address}: {declaration.problem}"
            if declaration.problem is not None
            else f"{address} does not say what the numbers of its actions mean. Say it with --policy-args "
            "actions=vlagen (metres, Euler angles, gripper +1 open and -1 closed), actions=bridge (gripper 1 open and "
            "0 closed), actions=libero, or single fields such as rotation=axis_angle; docs/servers.md has them all"
        )
    state = settings.state or declaration.state or ("joints" if address.protocol != "vla-eval" else NO_STATE)
    check_state(state)
    return PolicySpec(
        image=settings.image_format(declaration.image or _USUAL_IMAGE.get(address.protocol)),
        needs_proprioception=state != NO_STATE,
        emits=actions,
        light=True,
    )
