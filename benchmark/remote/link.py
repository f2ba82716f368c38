"""One WebSocket to a policy server, with limits on time and size."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

import websockets
from websockets.sync.client import ClientConnection, connect

from vlagen.assets.errors import unknown
from vlagen.benchmark.policy import PolicyError
from vlagen.benchmark.remote.declarations import VLAGEN_HEADER, VLAGEN_VERSION
from vlagen.benchmark.remote.limits import DEFAULT_LIMITS, Limits

PROTOCOLS = ("openpi", "vla-eval", "roboarena")
"""Also the schemes of addresses."""

API_KEY_VARIABLE = "VLAGEN_API_KEY"
"""The environment variable that holds the key; command lines are seen by every user of a machine, and kept in runs."""

_DEFAULT_PORT = 8000
_FIRST_WAIT, _LONGEST_WAIT = 0.25, 8.0
_CONNECT_SECONDS = 10.0


class LostServer(PolicyError):
    """A policy server that is not there, went away, or did not answer in time."""


@dataclass(frozen=True)
class Address:
    """Where a policy server is, and what it speaks."""

    protocol: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.protocol}://{host}:{self.port}"

    def url(self, tls: bool) -> str:
        """What is connected to."""
        return f"{'wss' if tls else 'ws'}://{str(self).partition('://')[2]}"


def parse_address(text: str) -> Address:
    """Reads an address such as ``openpi://localhost:8000``; the port is 8000 if none is given.

    Raises:
        PolicyError: it is none.
    """
    protocol = text.partition("://")[0]
    if protocol not in PROTOCOLS:
        raise PolicyError(f"policy {text!r}: {unknown('protocol', protocol, PROTOCOLS)}, as in openpi://localhost:8000")
    try:
        parts = urlsplit(f"//{text.partition('://')[2]}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.path not in ("", "/") or parts.query or parts.username:
        raise PolicyError(f"policy {text!r}: allowed: protocol://host:port, as in {protocol}://localhost:8000")
    return Address(protocol, host, port or _DEFAULT_PORT)


class Link:
    """A connection.

    Args:
        address: where to.
        tls: encrypted.
        timeout: seconds that an answer may take.
        limits: an answer longer than these allow closes the connection.
    """

    def __init__(self, address: Address, tls: bool, timeout: float, limits: Limits = DEFAULT_LIMITS) -> None:
        self._address = address
        self._url = address.url(tls)
        self._timeout = timeout
        self._limits = limits
        self._socket: ClientConnection | None = None

    @property
    def is_open(self) -> bool:
        """Tells whether there is a connection, as far as is known."""
        return self._socket is not None and self._socket.protocol.state is websockets.protocol.State.OPEN

    def open(self, until: float) -> None:
        """Connects, again and again with growing pauses.

        Args:
            until: when to give up, on ``time.monotonic``'s clock; one attempt is made in any case.

        Raises:
            LostServer: nobody answers there, or not as a policy server does.
        """
        pause = _FIRST_WAIT
        while True:
            try:
                self._connect(max(1.0, min(_CONNECT_SECONDS, until - time.monotonic())))
                return
            except websockets.InvalidStatus as error:
                status = error.response.status_code
                hint = f"; it wants a key: set {API_KEY_VARIABLE}" if status in (401, 403) else ""
                problem: Exception = error
                if status in (401, 403, 404):
                    raise LostServer(f"{self._address} answers with HTTP {status}{hint}") from error
            except (OSError, websockets.WebSocketException) as error:
                problem = error
            if time.monotonic() + pause > until:
                raise LostServer(
                    f"no policy server answers at {self._address} ({type(problem).__name__}: {problem}); start it, or "
                    "wait longer with --policy-args patience=<seconds>"
                ) from problem
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_WAIT)

    def send(self, data: bytes | memoryview) -> None:
        """Sends a message.

        Raises:
            LostServer: the connection is gone.
        """
        try:
            if self._socket is None:
                raise ConnectionError("not connected")
            self._socket.send(data)
        except (OSError, websockets.WebSocketException) as error:
            raise self._lost(error) from error

    def receive(self) -> bytes | str:
        """Waits for a message.

        Raises:
            LostServer: none comes in time, it is too large, or the connection is gone. The connection is closed then:
                an answer that comes late must not be taken for that to a later question.
        """
        try:
            if self._socket is None:
                raise ConnectionError("not connected")
            return self._socket.recv(timeout=self._timeout)
        except TimeoutError as error:
            self.close()
            raise LostServer(
                f"{self._address} did not answer within {self._timeout:g} s; give it longer with --policy-args "
                "timeout=<seconds>"
            ) from error
        except (OSError, websockets.WebSocketException) as error:
            raise self._lost(error) from error

    def close(self) -> None:
        """Ends the connection."""
        if self._socket is not None:
            # No goodbye is waited for: it may be a server that hangs.
            self._socket.close_timeout = 0.2
            self._socket.close()
            self._socket = None

    def _connect(self, seconds: float) -> None:
        self.close()
        headers = {VLAGEN_HEADER: str(VLAGEN_VERSION)}
        key = os.environ.get(API_KEY_VARIABLE)
        if key:
            headers["Authorization"] = f"Api-Key {key}"
        # Entered by hand, as it outlives this call; what ``connect`` returns without is going to change.
        self._socket = connect(
            self._url,
            compression=None,
            max_size=self._limits.message_bytes,
            additional_headers=headers,
            open_timeout=seconds,
            ping_interval=None,
            proxy=None,
        ).__enter__()

    def _lost(self, error: Exception) -> LostServer:
        self.close()
        return LostServer(f"{self._address} went away ({type(error).__name__}: {error})")
