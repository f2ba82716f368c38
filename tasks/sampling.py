"""Which episodes an evaluation runs: nested lists that every policy, host and worker count shares."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import islice

import numpy as np

from .episodes import Episode, decode, total
from .restriction import WHOLE, Pools, restricted, whole_index
from .rows import order_id, pools_of
from .variants import Variant

RESERVED = 4096
"""So many episodes at the head of an evaluation order are never drawn for training; of few, a quarter."""


def episode_indices(row: Variant, count: int) -> tuple[int, ...]:
    """The first ``count`` indices of the row's one fixed evaluation order, without repeats.

    Counter-based: Philox keyed by a hash of protocol and id, so lists are nested, stored nowhere and the same on every
    host. A 64-bit draw ``r`` becomes ``r * total >> 64``. A composition has its own list; severities and control arms
    share that of the row they are made of. A part of a row has its own, too, and ends where training begins. Raises
    ``ValueError`` if the row has fewer episodes.
    """
    return evaluation_indices(row, count, WHOLE)


def evaluation_indices(row: Variant, count: int, pools: Pools) -> tuple[int, ...]:
    """The first ``count`` indices of an evaluation of a part of a row; of the whole, see ``episode_indices``.

    Raises:
        BadPools: see ``restriction.narrowed``.
        ValueError: there are fewer.
    """
    chosen = pools_of(row, pools)
    part, size = restricted(row, chosen), evaluation_size(row, pools)
    if not 0 <= count <= size:
        kept = f"{total(part)} episodes, of which evaluations have {size}" if chosen.chosen() else f"{size} episodes"
        raise ValueError(f"{row.id} ({row.protocol}) has {kept}; {count} were asked for")
    key = f"evaluation:{label(row, chosen)}" if chosen.chosen() else f"{row.protocol}:{order_id(row)}"
    return tuple(islice(shuffled(row, part, key), count))


def evaluation_size(row: Variant, pools: Pools = WHOLE) -> int:
    """How many episodes evaluations have: all of a row, of a part those that training leaves to them.

    Raises:
        BadPools: see ``restriction.narrowed``.
    """
    chosen = pools_of(row, pools)
    return held_back(total(restricted(row, chosen))) if chosen.chosen() else total(row)


def held_back(size: int) -> int:
    """How many of so many episodes are never drawn for training."""
    return min(RESERVED, size // 4)


def evaluation_episodes(row: Variant, count: int) -> tuple[Episode, ...]:
    """The first ``count`` episodes of the row's evaluation order."""
    return tuple(decode(row, index) for index in episode_indices(row, count))


def shuffled(row: Variant, part: Variant, key: str) -> Iterator[int]:
    """Indices of a row that ``part``, it or a restriction of it, has, without repeats, in the order of a key."""
    generator = np.random.Philox(key=int.from_bytes(hashlib.sha256(key.encode()).digest()[:16], "little"))
    size, seen = total(part), set()
    while len(seen) < size:
        number = int(generator.random_raw()) * size >> 64
        if number not in seen:
            seen.add(number)
            yield whole_index(row, part, number)


def label(row: Variant, pools: Pools) -> str:
    """A text for the key of a part's draws: equal for equal parts of a row in canonical form."""
    return f"{row.protocol}:{order_id(row)}:{sorted(pools.chosen().items())}"
