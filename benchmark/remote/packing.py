"""Encoding of messages, into memory that is used again for the next one.

A picture is a megabyte; asking the system for a new one at every step costs more than everything else that is done to
send it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import msgpack

from vlagen.benchmark.remote.limits import WireError

Describe = Callable[[Any], Any]
"""Turns what msgpack does not know (arrays) into maps; raises ``WireError`` for what the wire does not know either."""


class Packer:
    """Encodes one message after the other, for one thread."""

    def __init__(self) -> None:
        self._packers: dict[Describe, msgpack.Packer] = {}

    @contextlib.contextmanager
    def pack(self, value: Any, describe: Describe) -> Iterator[memoryview]:
        """Encodes a value and lends the message to the block.

        Raises:
            WireError: something is in it that cannot be sent.
        """
        if describe not in self._packers:
            self._packers[describe] = msgpack.Packer(default=describe, use_bin_type=True, autoreset=False)
        packer = self._packers[describe]
        packer.reset()
        try:
            packer.pack(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise _unsendable(error) from error
        with packer.getbuffer() as message:
            yield message


def pack(value: Any, describe: Describe) -> bytes:
    """Encodes a single message.

    Raises:
        WireError: something is in it that cannot be sent.
    """
    try:
        return msgpack.packb(value, default=describe, use_bin_type=True)
    except (TypeError, ValueError, OverflowError) as error:
        raise _unsendable(error) from error


def _unsendable(error: Exception) -> WireError:
    return error if isinstance(error, WireError) else WireError(f"cannot be sent: {error}")
