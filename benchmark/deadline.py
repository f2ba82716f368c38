"""A limit on how long one call may take, so that a policy that hangs costs one episode and not the night."""

from __future__ import annotations

import faulthandler
import math
import signal
import sys
import threading
import time
from types import FrameType

from vlagen.assets.errors import VlagenError

GRACE = 30.0
"""Seconds after which a process that cannot even raise ``DeadlineExceeded`` is ended, where that was asked for."""


class DeadlineExceeded(VlagenError, TimeoutError):
    """A call that took longer than it may."""


class Watch:
    """Limits the calls that are made while it is kept: ``with Watch(600) as limit: with limit("act"): ...``.

    The limit is an alarm signal, which Python delivers between two of its instructions: it ends loops, sleeps and
    waits, in the main thread of a POSIX process; elsewhere there is no limit. A call that is stuck inside a library
    written in another language does not come back to Python.

    One alarm serves many calls: when it goes off, it looks how long the present call has taken, and is set again for
    what is left of its time. So a call costs two clock readings, where setting and clearing an alarm costs 35 µs.

    Args:
        seconds: the limit; None for none.
        fatal: end the process, after printing where it hangs, if it does not come back to Python. That is noticed
            ``GRACE`` seconds after the limit, or up to half a limit later. For processes that somebody watches over.
    """

    def __init__(self, seconds: float | None, *, fatal: bool = False) -> None:
        self._seconds, self._fatal = seconds, fatal
        self._what: str | None = None
        self._until, self._noticed = 0.0, -math.inf

    def __enter__(self) -> Watch:
        if threading.current_thread() is not threading.main_thread():
            self._seconds = None
        if self._seconds is not None:
            self._previous = signal.getsignal(signal.SIGALRM)
        return self

    def __exit__(self, *_: object) -> None:
        if self._seconds is None:
            return
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._previous)
        if self._fatal:
            faulthandler.cancel_dump_traceback_later()

    def __call__(self, what: str) -> Watch.Call:
        """Makes the context of one call.

        Args:
            what: names it for the message, e.g. ``policy 'mine' act``.
        """
        return Watch.Call(self, what)

    class Call:
        """One call under a limit; raises ``DeadlineExceeded`` in the block when it takes too long."""

        __slots__ = ("_watch", "_what")

        def __init__(self, watch: Watch, what: str) -> None:
            self._watch, self._what = watch, what

        def __enter__(self) -> None:
            self._watch._begin(self._what)

        def __exit__(self, *_: object) -> None:
            self._watch._what = None

    def _begin(self, what: str) -> None:
        if self._seconds is None:
            return
        now = time.monotonic()
        self._until, self._what = now + self._seconds, what
        # The alarm is off before the first call, and after a policy has used it for itself.
        if not signal.getitimer(signal.ITIMER_REAL)[0] or signal.getsignal(signal.SIGALRM) != self._expire:
            signal.signal(signal.SIGALRM, self._expire)
            signal.setitimer(signal.ITIMER_REAL, self._seconds)
        # A call that begins half a limit after this may take one more.
        if self._fatal and now >= self._noticed + self._seconds / 2:
            self._noticed = now
            faulthandler.dump_traceback_later(1.5 * self._seconds + GRACE, exit=True, file=sys.__stderr__)

    def _expire(self, _signal: int, _frame: FrameType | None) -> None:
        left = self._until - time.monotonic()
        if self._what is None or left > 0:
            signal.setitimer(signal.ITIMER_REAL, max(left, self._seconds / 10))
            return
        raise DeadlineExceeded(
            f"{self._what} took more than {self._seconds:g} s; --timeout sets how long a call may take"
        )
