"""A part of a row's pools: some of its objects, receptacles, tables or templates, and nothing else changed.

A part's episodes are episodes of the whole row and have its indices. Written, it looks like ``objects=0-3,6,tables=0``:
what follows a pool's name are its ids, alone or as spans. Its one canonical form has the pools in the order of
``Pools``, ids in increasing order, every run of them as a span, and no pool that is whole.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from vlagen.assets.errors import VlagenError, unknown

from .episodes import digits, radices
from .pools import Ids
from .variants import Variant

_DIGIT = {"objects": 0, "templates": 3, "receptacles": 5, "tables": 7}
"""Which digit of an episode's index counts through a pool, see ``episodes``."""

_SPAN = re.compile(r"(\d{1,4})(?:-(\d{1,4}))?")


class BadPools(VlagenError, ValueError):
    """A part of a row's pools that the row does not have."""


@dataclass(frozen=True)
class Pools:
    """A part of a row's pools; None leaves a pool whole. Ids are those of the asset pack, and of the templates."""

    objects: Ids | None = None
    receptacles: Ids | None = None
    tables: Ids | None = None
    templates: Ids | None = None

    def chosen(self) -> dict[str, Ids]:
        """The pools that are cut down, by name; ids in increasing order, as their order means nothing."""
        values = {name: getattr(self, name) for name in POOLS}
        return {name: tuple(sorted(ids)) for name, ids in values.items() if ids is not None}

    def __str__(self) -> str:
        return ",".join(f"{name}={spell(ids)}" for name, ids in self.chosen().items())


POOLS = tuple(field.name for field in fields(Pools))

WHOLE = Pools()
"""Nothing is cut down."""


def narrowed(row: Variant, pools: Pools) -> Pools:
    """The canonical form of a part of a row's pools: only what is really less than the row has.

    Raises:
        BadPools: an id that the row's pool does not have, one given twice, or none.
    """
    result = {}
    for name, ids in pools.chosen().items():
        allowed = getattr(row, name)
        if nearest(row, Pools(**{name: ids})).chosen() != {name: ids}:
            raise BadPools(
                f"--{name} {' '.join(map(str, ids))}: row {row.id} ({row.protocol}) has {name} {span(allowed)}; "
                "give one or more of these, each once"
            )
        if len(ids) < len(allowed):
            result[name] = ids
    return Pools(**result)


def nearest(row: Variant, pools: Pools) -> Pools:
    """The part of the row's pools whose ids are nearest to those given, each once; a pool without ids stays whole."""
    result = {}
    for name, ids in pools.chosen().items():
        allowed = getattr(row, name)
        found = {min(allowed, key=lambda own, number=number: abs(own - number)) for number in ids}
        result[name] = tuple(sorted(found or allowed))
    return Pools(**result)


def restricted(row: Variant, pools: Pools) -> Variant:
    """The row with these pools only; its id stays, its indices are others (``whole_index``).

    Raises:
        BadPools: see ``narrowed``.
    """
    chosen = narrowed(row, pools).chosen()
    return replace(row, **chosen) if chosen else row


def whole_index(row: Variant, part: Variant, index: int) -> int:
    """The index under which a row has the episode that ``part``, a restriction of it, has under ``index``."""
    if part is row:
        return index
    places = list(digits(part, index))
    for name, digit in _DIGIT.items():
        places[digit] = getattr(row, name).index(getattr(part, name)[places[digit]])
    return int(np.ravel_multi_index(places, radices(row)))


def holds(part: Variant, row: Variant, index: int) -> bool:
    """Whether ``part``, a restriction of a row, has the episode that the row has under ``index``."""
    places = digits(row, index)
    return all(getattr(row, name)[places[digit]] in getattr(part, name) for name, digit in _DIGIT.items())


def parse(text: str) -> Pools:
    """Reads a part as it is written, in canonical form or not.

    Raises:
        BadPools: an unknown pool, one twice, or what is no id.
    """
    found: dict[str, list[int]] = {}
    name = ""
    for item in text.split(","):
        key, equals, ids = (piece.strip() for piece in item.rpartition("="))
        if equals:
            name = key
            if name not in POOLS:
                raise BadPools(unknown("pool", name, POOLS))
            if name in found:
                raise BadPools(f"{name} is there twice; give all of its ids at once, e.g. {name}=0,2")
        match = _SPAN.fullmatch(ids)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, -1)
        if not name or first > last:
            raise BadPools(
                f"{item.strip()!r} is no part of a pool; allowed: {', '.join(POOLS)}, each followed by ids, "
                f"e.g. {name or POOLS[0]}=0 or {name or POOLS[0]}=0-3,6"
            )
        found.setdefault(name, []).extend(range(first, last + 1))
    return Pools(**{name: tuple(ids) for name, ids in found.items()})


def spell(ids: Sequence[int]) -> str:
    """Ids in increasing order as they are written, every run of them as a span: ``0-3,6``."""
    starts = [number for number in ids if number - 1 not in ids]
    ends = [number for number in ids if number + 1 not in ids]
    runs = zip(starts, ends, strict=True)
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def span(ids: Ids) -> str:
    """Ids in words, for messages."""
    return f"{ids[0]} to {ids[-1]}" if len(ids) > 3 and ids == tuple(range(ids[0], ids[-1] + 1)) else str(list(ids))
