"""Which episodes an evaluation runs: nested lists that every policy, host and worker count shares."""

from __future__ import annotations

import hashlib

import numpy as np

from .episodes import Episode, decode, total
from .variants import Variant


def episode_indices(row: Variant, count: int) -> tuple[int, ...]:
    """The first ``count`` indices of the row's one fixed evaluation order, without repeats.

    Counter-based: Philox keyed by a hash of protocol and id, so lists are nested, stored nowhere and the same on every
    host. A 64-bit draw ``r`` becomes ``r * total >> 64``. Raises ``ValueError`` if the row has fewer episodes.
    """
    size = total(row)
    if not 0 <= count <= size:
        raise ValueError(f"{row.id} ({row.protocol}) has {size} episodes; {count} were asked for")
    key = int.from_bytes(hashlib.sha256(f"{row.protocol}:{row.id}".encode()).digest()[:16], "little")
    generator = np.random.Philox(key=key)
    chosen: dict[int, None] = {}
    while len(chosen) < count:
        chosen[int(generator.random_raw()) * size >> 64] = None
    return tuple(chosen)


def evaluation_episodes(row: Variant, count: int) -> tuple[Episode, ...]:
    """The first ``count`` episodes of the row's evaluation order."""
    return tuple(decode(row, index) for index in episode_indices(row, count))
