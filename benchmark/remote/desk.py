"""Where one policy is asked for many sessions."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import replace

from vlagen.benchmark.actions.boundary import check_returned, shown
from vlagen.benchmark.actions.wrappers import resize
from vlagen.benchmark.policy import PolicyError, PolicySpec
from vlagen.benchmark.remote import own
from vlagen.benchmark.remote.metrics import Metrics
from vlagen.benchmark.remote.strategies import Play, Request, Strategy
from vlagen.tasks.interface import Observation

LOG = logging.getLogger("vlagen.serve")

_BROKEN = "another session of this batch, which is played in step, has left it"
_MOST_BROKEN = 10_000


class PartyBroken(PolicyError):
    """A session of a batch that is played in step has left it."""


class Desk:
    """The one thread in which the policy is asked; started by ``start``.

    Args:
        spec: the policy's declaration.
        strategy: who is asked together.
        metrics: is told what happens.
    """

    def __init__(self, spec: PolicySpec, strategy: Strategy, metrics: Metrics) -> None:
        self.spec = spec
        self.strategy = strategy
        self._metrics = metrics
        self._waiting: list[Request] = []
        self._plays: set[Play] = set()
        self._broken: OrderedDict[str, int] = OrderedDict()
        self._change = threading.Condition()
        self._open = True
        self._thread = threading.Thread(target=self._work, name="policy", daemon=True)

    def start(self) -> None:
        """Begins to work."""
        self._thread.start()

    def close(self) -> None:
        """Ends the work, after the batch that is being worked on."""
        with self._change:
            self._open = False
            for request in self._waiting:
                request.answer.cancel()
            self._waiting.clear()
            self._change.notify_all()
        self._thread.join()

    def ask(self, play: Play, observation: Observation) -> Future:
        """Asks for the actions of an episode, (n,) or (T, n).

        Returns:
            The future; what the policy raises is raised by it.
        """
        request = Request(play, observation)
        with self._change:
            if request.party in self._broken:
                request.answer.set_exception(PartyBroken(_BROKEN))
                return request.answer
            self._plays.add(play)
            self._waiting.append(request)
            self._change.notify_all()
        return request.answer

    def leave(self, play: Play) -> None:
        """Ends an episode. Who plays in step with it is told, as they would wait for it for ever."""
        with self._change:
            play.over = True
            self._plays.discard(play)
            apart = self.strategy.independent
            broken = [r for r in self._waiting if r.play is play or (not apart and r.party == play.seating.party)]
            self._waiting = [request for request in self._waiting if request not in broken]
            self.strategy.leave(play)
            if not apart and play.seating.size > 1:
                self._remember_broken(play.seating)
            self._change.notify_all()
        for request in broken:
            if request.play is not play and request.answer.set_running_or_notify_cancel():
                request.answer.set_exception(PartyBroken(_BROKEN))

    def _remember_broken(self, seating: own.Seating) -> None:
        """Keeps a party in mind until its last session has left it."""
        left = self._broken.pop(seating.party, 0) + 1
        if left < seating.size:
            self._broken[seating.party] = left
            if len(self._broken) > _MOST_BROKEN:
                self._broken.popitem(last=False)

    def _work(self) -> None:
        while True:
            with self._change:
                while True:
                    if not self._open:
                        return
                    chosen, again = self.strategy.choose(self._waiting, len(self._plays))
                    if chosen:
                        break
                    self._change.wait(None if again is None else max(0.0, again - time.monotonic()))
                self._waiting = [request for request in self._waiting if request not in chosen]
            # Whose client has gone is asked for all the same, as the others of its batch may be needed for the policy.
            present = [request for request in chosen if request.answer.set_running_or_notify_cancel()]
            self._answer(chosen, present)
            with self._change:
                # Who left while the policy was busy may have been given a copy of it only then.
                for request in chosen:
                    if request.play.over:
                        self.strategy.leave(request.play)

    def _answer(self, requests: list[Request], present: list[Request]) -> None:
        started = time.monotonic()
        try:
            actions = check_returned(self.strategy.act(requests), len(requests), self.spec)
            # Copied: the policy may reuse its array for the next step.
            actions = actions.copy()
        except (Exception, SystemExit) as error:  # policies raise anything; whoever asked is told
            LOG.warning("the policy raised", exc_info=error)
            self._metrics.failed(len(requests))
            for request in present:
                request.answer.set_exception(
                    error if isinstance(error, Exception) else PolicyError("the policy exited")
                )
            return
        waited = sum(started - request.arrived for request in requests)
        self._metrics.answered(len(requests), waited, time.monotonic() - started)
        by_request = dict(zip(requests, actions, strict=True))
        for request in present:
            request.answer.set_result(by_request[request])


def fit(observation: Observation, spec: PolicySpec) -> Observation:
    """Gives a policy what it asks for and nothing else: pictures in its size, and no state that it does not need.

    Raises:
        PolicyError: something it asks for is not there.
    """
    seen = shown(spec, observation)
    if seen.rgb is None or spec.image is None:
        return seen
    return replace(seen, rgb=resize(seen.rgb, spec.image))
