"""Keeps the memory of one message for the next."""

from __future__ import annotations

import contextlib
import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # from glibc's malloc.h
_KEPT = 64 * 2**20
_LARGEST_BLOCK = 32 * 2**20


def keep_freed_memory() -> None:
    """Tells glibc to keep up to 64 MiB of freed memory instead of giving it back after every message.

    A picture passes through half a dozen buffers of a megabyte on its way. Fresh from the system, each costs a page
    fault every 4 KiB: without this a step over a server on the same machine takes twice as long. Elsewhere than on
    Linux with glibc nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_TRIM_THRESHOLD, _KEPT)
        library.mallopt(_M_MMAP_THRESHOLD, _LARGEST_BLOCK)
