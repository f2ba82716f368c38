"""A policy server: one port with WebSockets for clients and a few HTTP paths for those who watch over it."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import http
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.server import Request, Response, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from vlagen.benchmark.remote.conversation import Conversation, Manners
from vlagen.benchmark.remote.desk import LOG, Desk
from vlagen.benchmark.remote.metrics import Metrics
from vlagen.benchmark.remote.openpi_conversation import OpenpiConversation, RoboArenaConversation
from vlagen.benchmark.remote.vla_eval_conversation import VlaEvalConversation

CONVERSATIONS: dict[str, type[Conversation]] = {
    "openpi": OpenpiConversation,
    "roboarena": RoboArenaConversation,
    "vla-eval": VlaEvalConversation,
}
"""By protocol."""

_TRY_AGAIN_LATER = 1013
_OPEN_TO_ALL = ("/health", "/healthz")


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where and for whom a server is.

    Attributes:
        host: the interface; the default is this machine alone.
        port: 0 for any free one.
        api_key: what clients must say; None for nothing.
        most_sessions: how many there may be at a time.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    api_key: str | None = None
    most_sessions: int = 64


class PolicyServer:
    """Serves a policy.

    Args:
        protocol: one of ``CONVERSATIONS``.
        desk: where the policy is asked.
        manners: how to talk.
        place: where and for whom.
        metrics: what ``desk`` counts in.
        config: JSON values for ``/config``.
    """

    def __init__(
        self, protocol: str, desk: Desk, manners: Manners, place: Place, metrics: Metrics, config: dict[str, Any]
    ) -> None:
        self._converse = CONVERSATIONS[protocol]
        self._desk = desk
        self._manners = manners
        self._place = place
        self._metrics = metrics
        self._config = config
        self._sessions = 0
        self.port: int | None = None

    async def run(self, started: asyncio.Event | None = None) -> None:
        """Serves until it is cancelled.

        Args:
            started: is set once clients may come; ``port`` is known by then.

        Raises:
            OSError: the port is taken, or the interface does not exist.
        """
        async with serve(
            self._handle,
            self._place.host,
            self._place.port,
            process_request=self._answer_http,
            # A browser names the page's origin; a page that somebody looks at has no business with a policy.
            origins=[None],
            compression=None,
            max_size=self._manners.limits.message_bytes,
            max_queue=2,
            # A client that computes does not answer pings; one whose machine is gone never will again.
            ping_interval=60,
            ping_timeout=600,
            server_header=None,
        ) as server:
            self.port = server.sockets[0].getsockname()[1]
            self._desk.start()
            if started is not None:
                started.set()
            try:
                await server.serve_forever()
            finally:
                await asyncio.to_thread(self._desk.close)

    async def _handle(self, connection: ServerConnection) -> None:
        if self._sessions >= self._place.most_sessions:
            await connection.close(_TRY_AGAIN_LATER, f"all {self._place.most_sessions} sessions are taken")
            return
        self._sessions += 1
        self._metrics.sessions(1)
        LOG.info("session opened by %s", connection.remote_address)
        try:
            await self._converse(connection, self._desk, self._manners, self._metrics).run()
        except ConnectionClosed:
            pass
        finally:
            self._sessions -= 1
            self._metrics.sessions(-1)
            LOG.info("session closed by %s", connection.remote_address)

    def _answer_http(self, connection: ServerConnection, request: Request) -> Response | None:
        path = urlsplit(request.path).path
        if path == "/healthz":
            return connection.respond(http.HTTPStatus.OK, "OK\n")
        if path == "/health":
            return _json(connection, {"status": "ok"})
        if not self._may_enter(request):
            return connection.respond(http.HTTPStatus.UNAUTHORIZED, "Authorization: Api-Key <key> is needed\n")
        if path == "/metrics":
            return connection.respond(http.HTTPStatus.OK, self._metrics.text())
        if path == "/config":
            return _json(connection, {"config": self._config})
        return None

    def _may_enter(self, request: Request) -> bool:
        wanted = self._place.api_key
        if wanted is None:
            return True
        given = request.headers.get_all("Authorization")
        kind, _, key = (given[0] if len(given) == 1 else "").partition(" ")
        is_equal = hmac.compare_digest(key.strip().encode("utf-8", "replace"), wanted.encode())
        return kind.lower() in ("api-key", "bearer") and is_equal


@contextlib.contextmanager
def in_background(server: PolicyServer) -> Iterator[int]:
    """Runs a server in a thread of this process as long as the block takes, and yields its port."""
    ready, problems = threading.Event(), []
    loop = asyncio.new_event_loop()
    task: asyncio.Task | None = None

    async def run() -> None:
        nonlocal task
        started = asyncio.Event()
        task = asyncio.ensure_future(server.run(started))
        waiting = asyncio.ensure_future(started.wait())
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        ready.set()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    def work() -> None:
        try:
            loop.run_until_complete(run())
        except OSError as error:
            problems.append(error)
        finally:
            ready.set()
            loop.close()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    ready.wait()
    try:
        if problems:
            raise problems[0]
        yield server.port
    finally:
        if task is not None and not loop.is_closed():
            loop.call_soon_threadsafe(task.cancel)
        thread.join()


def _json(connection: ServerConnection, values: Any) -> Response:
    response = connection.respond(http.HTTPStatus.OK, json.dumps(values) + "\n")
    del response.headers["Content-Type"]
    response.headers["Content-Type"] = "application/json"
    return response
