"""``vlagen-serve``: serves any vlagen policy over a protocol that others speak."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from vlagen.assets.errors import VlagenError
from vlagen.benchmark.loading.arguments import split_pairs
from vlagen.benchmark.loading.source import find_policy
from vlagen.benchmark.remote.link import API_KEY_VARIABLE
from vlagen.benchmark.remote.memory import keep_freed_memory
from vlagen.benchmark.remote.server import Place, PolicyServer
from vlagen.benchmark.remote.serving import BadService, Service, make_server

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Arguments:
    """Serves a policy to vlagen-eval, and to whoever else speaks the protocol.

    The server listens on this machine alone unless --host says otherwise. Clients of vlagen's get the same records as
    with the policy in their own process.
    """

    policy: str
    """As for vlagen-eval, or lerobot:<repository or folder>."""

    policy_args: tuple[str, ...] = ()
    """Arguments of the policy, name=value."""

    service: Annotated[Service, tyro.conf.arg(name="")] = field(default_factory=Service)

    port: int = 8000
    """TCP port; 0 takes a free one."""

    host: str = "127.0.0.1"
    """Interface to listen on; 0.0.0.0 for all, which wants an API key."""

    api_key_file: Path | None = None
    """File with the key that clients must send; else the environment variable VLAGEN_API_KEY."""

    max_sessions: int = 64
    """Connections at a time."""

    verbose: bool = False
    """Log sessions as they come and go."""


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code: 0 stopped, 2 bad input."""
    try:
        arguments = tyro.cli(Arguments, prog="vlagen-serve", args=argv, config=(tyro.conf.FlagCreatePairsOff,))
        _serve(arguments)
    except VlagenError as error:
        print(f"vlagen-serve: {error}", file=sys.stderr)
        return 2
    return 0


def _serve(arguments: Arguments) -> None:
    logging.basicConfig(level=logging.INFO if arguments.verbose else logging.WARNING, format="%(message)s")
    # What a scanner of ports sends is no news.
    logging.getLogger("websockets").setLevel(logging.CRITICAL)
    keep_freed_memory()
    place = Place(
        host=arguments.host, port=arguments.port, api_key=_api_key(arguments), most_sessions=arguments.max_sessions
    )
    source = find_policy(arguments.policy, split_pairs(arguments.policy_args))
    server = make_server(source, arguments.service, place)
    if place.host not in _LOOPBACK and place.api_key is None:
        print(
            f"vlagen-serve: {place.host} is open to everybody who reaches it; set {API_KEY_VARIABLE}", file=sys.stderr
        )
    try:
        asyncio.run(_run(server, arguments))
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadService(f"cannot listen on {arguments.host}:{arguments.port}: {reason}") from error


async def _run(server: PolicyServer, arguments: Arguments) -> None:
    started = asyncio.Event()
    task = asyncio.ensure_future(server.run(started))
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    waiting = asyncio.ensure_future(started.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if started.is_set():
        host = "localhost" if arguments.host in _LOOPBACK else arguments.host
        print(
            f"{arguments.policy} is served: vlagen-eval --policy {arguments.service.protocol}://{host}:{server.port}",
            flush=True,
        )
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _api_key(arguments: Arguments) -> str | None:
    if arguments.api_key_file is None:
        return os.environ.get(API_KEY_VARIABLE) or None
    try:
        key = arguments.api_key_file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise BadService(f"--api-key-file {arguments.api_key_file}: {error.strerror}") from error
    if not key:
        raise BadService(f"--api-key-file {arguments.api_key_file} is empty")
    return key


if __name__ == "__main__":
    sys.exit(main())
