"""What is played to learn from, settled before it is played.

Slot s of update u of a run gets its initial state and the seed of its draws from a counter-based generator, so a run
that is resumed, or spread over other workers, plays the same.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass

import numpy as np

from vlagen.assets.errors import VlagenError
from vlagen.tasks.draws import reserved
from vlagen.tasks.episodes import Episode, decode
from vlagen.tasks.restriction import WHOLE
from vlagen.tasks.rows import index_at, row_size
from vlagen.tasks.variants import Variant


class BadGroups(VlagenError, ValueError):
    """Groups that cannot be filled."""


@dataclass(frozen=True)
class Slot:
    """One place of an update's roll-out.

    Attributes:
        group: number of the group whose episodes are compared with each other.
        episode: what is played.
        seed: of what the policy draws in it, 32 bits.
    """

    group: int
    episode: Episode
    seed: int


def draw_slots(
    row: Variant, *, seed: int, update: int, count: int, group_size: int = 1, same_start: bool = True
) -> tuple[Slot, ...]:
    """Says what an update plays: a pure function of its arguments.

    Philox keyed by a hash of run and row, its counter set to slot, update and purpose; a 64-bit draw ``r`` becomes
    ``r * total >> 64``, as in the evaluation's lists (``tasks.sampling``). Episodes of those lists are drawn again;
    others may come up twice.

    Args:
        row: where episodes are drawn from.
        seed: of the run.
        update: its number.
        count: episodes.
        group_size: how many of them make a group.
        same_start: those of a group start from one initial state; else each from its own.

    Raises:
        BadGroups: ``count`` is not a multiple of ``group_size``.
    """
    if group_size < 1 or count < 1 or count % group_size:
        raise BadGroups(
            f"{count} episodes in groups of {group_size}; allowed: a group size that divides the number of episodes"
        )
    key = int.from_bytes(hashlib.sha256(f"{seed}:{row.protocol}:{row.id}".encode()).digest()[:16], "little")
    size, kept = row_size(row), _reserved(row)

    def draws(purpose: int, place: int) -> np.random.Philox:
        return np.random.Philox(key=key, counter=[0, place, update, purpose])

    def episode(slot: int) -> Episode:
        generator = draws(0, slot // group_size if same_start else slot)
        while (index := index_at(row, int(generator.random_raw()) * size >> 64)) in kept:
            pass
        return decode(row, index)

    return tuple(
        Slot(slot // group_size, episode(slot), int(draws(1, slot).random_raw()) >> 32) for slot in range(count)
    )


@functools.lru_cache(maxsize=16)
def _reserved(row: Variant) -> frozenset[int]:
    """Indices that are kept for evaluations."""
    return reserved(row, WHOLE)
