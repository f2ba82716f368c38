"""How much a message from the network may hold, and how that is enforced while it is decoded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgpack

from vlagen.assets.errors import VlagenError


class WireError(VlagenError, ValueError):
    """Bytes from the network that are not what the protocol says, or more than is taken."""


@dataclass(frozen=True)
class Limits:
    """What a single message may hold.

    Attributes:
        message_bytes: the whole message. Arrays and raw pictures are views of it, so they cost no more than this.
        items: entries of all maps and lists together. A byte may stand for a list, which takes 56 bytes of memory, so
            the size of a message alone is no limit.
        pixels: of all compressed pictures together; a few bytes may stand for a gigabyte.
        text_bytes: of one text.
        entries: of one map or list. Room for them is made before the first of them is read.
    """

    message_bytes: int = 16 * 2**20
    items: int = 16_384
    pixels: int = 8 * 2**20
    text_bytes: int = 64 * 2**10
    entries: int = 4096


DEFAULT_LIMITS = Limits()


class Budget:
    """What is left of the limits of one message."""

    def __init__(self, limits: Limits) -> None:
        self._items = limits.items
        self._pixels = limits.pixels
        self._limits = limits

    def spend_items(self, count: int) -> None:
        """Counts entries of a map or list.

        Raises:
            WireError: the message has too many.
        """
        self._items -= count
        if self._items < 0:
            raise WireError(f"a message has more than {self._limits.items} entries; allowed are no more")

    def spend_pixels(self, count: int) -> None:
        """Counts pixels of a compressed picture, before it is unpacked.

        Raises:
            WireError: the message has too many.
        """
        self._pixels -= count
        if self._pixels < 0:
            raise WireError(
                f"the compressed pictures of a message have more than {self._limits.pixels} pixels; send smaller ones"
            )


Revive = Callable[[dict, Budget], Any]
"""Turns a map that stands for something else (an array, a picture) into that; returns other maps as they are."""


def unpack(data: bytes, limits: Limits, revive: Revive) -> Any:
    """Decodes one msgpack message.

    Args:
        data: the message.
        limits: what it may hold.
        revive: is given each map, innermost first; raises ``WireError``.

    Raises:
        WireError: it is no msgpack, holds more than the limits allow, or something that no policy is sent (extension
            types, keys that are no texts).
    """
    if len(data) > limits.message_bytes:
        raise WireError(f"a message has {len(data)} bytes; allowed: {limits.message_bytes}")
    budget = Budget(limits)

    def on_map(entries: dict) -> Any:
        budget.spend_items(len(entries) + 1)
        return revive(entries, budget)

    def on_list(entries: list) -> list:
        budget.spend_items(len(entries) + 1)
        return entries

    try:
        return msgpack.unpackb(
            data,
            raw=False,
            object_hook=on_map,
            list_hook=on_list,
            strict_map_key=True,
            max_str_len=limits.text_bytes,
            max_bin_len=limits.message_bytes,
            max_array_len=limits.entries,
            max_map_len=limits.entries,
            max_ext_len=0,
        )
    except WireError:
        raise
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.exceptions.UnpackException) as error:
        raise WireError(f"a message is no valid msgpack: {type(error).__name__}: {str(error)[:200]}") from error
