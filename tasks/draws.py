"""Training episodes: seeded draws that no evaluation list holds, from a whole row or from a part of its pools."""

from __future__ import annotations

from collections.abc import Iterator

from .episodes import total
from .restriction import WHOLE, Pools, holds, restricted
from .rows import find_row, order_id, pools_of
from .sampling import episode_indices, evaluation_indices, held_back, label, shuffled
from .variants import PROTOCOLS, Variant


def reserved(row: Variant, pools: Pools) -> frozenset[int]:
    """The indices that are kept for evaluations: the heads of both protocols' orders, and that of the part.

    Raises:
        BadPools: see ``restriction.narrowed``.
    """
    wholes = [find_row(order_id(row), protocol) for protocol in PROTOCOLS]
    head = held_back(total(row))
    kept = {index for whole in wholes for index in episode_indices(whole, min(head, total(whole)))}
    for part in (pools_of(row), pools_of(row, pools)):
        kept |= set(evaluation_indices(row, held_back(total(restricted(row, part))), part))
    return frozenset(kept)


def training_indices(row: Variant, seed: int, pools: Pools = WHOLE) -> Iterator[int]:
    """Indices for training, without repeats and without those of evaluations; a pure function of its arguments.

    Args:
        row: whose episodes.
        seed: of the draws.
        pools: the part of the row's pools to draw from.

    Yields:
        Indices of the whole row, until there are no more.

    Raises:
        BadPools: see ``restriction.narrowed``.
    """
    chosen = pools_of(row, pools)
    part, kept = restricted(row, chosen), reserved(row, pools)
    left = total(part) - sum(index < total(row) and holds(part, row, index) for index in kept)
    draws = shuffled(row, part, f"training:{seed}:{label(row, chosen)}")
    while left:
        index = next(draws)
        if index not in kept:
            left -= 1
            yield index
