"""Moves one file to where it belongs: over HTTP with resume and retries, or from another folder; always atomically."""

from __future__ import annotations

import http.client
import os
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from vlagen.assets.errors import FetchError, FetchStopped

Advance = Callable[[int], None]
"""Called with the number of bytes that arrived since the last call."""

_ATTEMPTS = 5
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 8.0
_TIMEOUT_S = 30.0
_BLOCK_BYTES = 1 << 18
_TRY_AGAIN = {408, 425, 429}


def part_path(target: Path) -> Path:
    """Returns where the content of `target` gathers until it is complete and checked."""
    return target.with_name(target.name + ".part")


def retrieve(url: str, part: Path, advance: Advance) -> None:
    """Brings `part` to the full body of `url`, going on from what an earlier attempt left there.

    Args:
        url: what to fetch.
        part: where the body gathers; its folder must exist.
        advance: told of progress.

    Raises:
        FetchError: the server does not have it, or it kept failing.
        FetchStopped: the server cannot be reached at all, or the disk refuses.
    """
    problem: object = None
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(min(_FIRST_PAUSE_S * 2 ** (attempt - 1), _LONGEST_PAUSE_S))
        try:
            if _go_on(url, part, advance):
                return
            problem = "the connection closed before the end"
        except urllib.error.HTTPError as error:
            problem = f"HTTP {error.code} {error.reason}"
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                part.unlink(missing_ok=True)  # it is as long as the body or longer, so it cannot be a beginning of it
            elif error.code < 500 and error.code not in _TRY_AGAIN:
                break
        except urllib.error.URLError as error:
            problem = error
        except (http.client.HTTPException, TimeoutError, ConnectionError) as error:
            problem = repr(error)
    if isinstance(problem, urllib.error.URLError):
        host = urllib.parse.urlsplit(url).netloc
        raise FetchStopped(
            f"cannot reach {host} ({problem.reason}): without a network, copy the files with `--from DIR`"
        )
    raise FetchError(f"{problem} from {url}")


def _go_on(url: str, part: Path, advance: Advance) -> bool:
    """Requests what `part` lacks and appends it; returns whether the body is complete now."""
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "vlagen"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
        # A server that does not do ranges answers 200 and sends everything.
        resumed = response.status == http.client.PARTIAL_CONTENT
        if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            part.unlink()
            return False
        announced = response.headers.get("Content-Length")
        try:
            with part.open("ab" if resumed else "wb") as stream:
                received = _pour(response, stream, advance)
        except (TimeoutError, ConnectionError, http.client.HTTPException):
            raise
        except OSError as error:
            raise FetchStopped(f"cannot write {part}: {error.strerror or error}") from error
    return announced is None or received == int(announced)


def _pour(source: BinaryIO, stream: BinaryIO, advance: Advance) -> int:
    received = 0
    while block := source.read(_BLOCK_BYTES):
        stream.write(block)
        received += len(block)
        advance(len(block))
    stream.flush()
    os.fsync(stream.fileno())
    return received


def copy(source: Path, part: Path, advance: Advance) -> None:
    """Copies a local file to `part`.

    Raises:
        FetchStopped: the disk refuses.
    """
    with source.open("rb") as stream:
        save(stream, part, advance)


def save(source: BinaryIO, part: Path, advance: Advance) -> None:
    """Writes an open stream to `part`, through to the disk.

    Raises:
        FetchStopped: the disk refuses.
    """
    try:
        with part.open("wb") as stream:
            _pour(source, stream, advance)
    except OSError as error:
        raise FetchStopped(f"cannot write {part}: {error.strerror or error}") from error


def prepare_folder(target: Path, needed_bytes: int = 0) -> None:
    """Makes the folder of `target` and checks that the disk has room.

    Raises:
        FetchStopped: it cannot be made, or there is no room.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(target.parent).free
    except OSError as error:
        raise FetchStopped(
            f"cannot make {target.parent}: {error.strerror or error}; MS_ASSET_DIR chooses another place"
        ) from error
    if free < needed_bytes:
        raise FetchStopped(f"{target.parent} has {free >> 20} MiB left and {needed_bytes >> 20} MiB are needed")
