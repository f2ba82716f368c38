"""Which runs may stand in one table: those that met the same episodes under the same conditions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vlagen.benchmark.records import differences
from vlagen.leaderboard.errors import NotOneTable
from vlagen.leaderboard.naming import Entry, Name, check_names, check_used, group
from vlagen.leaderboard.runs import Run


@dataclass(frozen=True, eq=False)
class Track:
    """Runs that are comparable with one another.

    Attributes:
        protocol: whose rules.
        assets: name of the asset pack.
        conditions: hash of all that can move a number but the policy and its seed; of those who see pictures, as
            policies that see none are comparable whatever rendered them.
        entries: who takes part.
    """

    protocol: str
    assets: str
    conditions: str
    entries: tuple[Entry, ...]


def tracks(
    runs: Sequence[Run],
    names: Sequence[Name] = (),
    submitted: Sequence[Entry] = (),
    *,
    split: bool = False,
    common: bool = False,
) -> tuple[Track, ...]:
    """Sorts runs into tables.

    Args:
        runs: those that are yet to be grouped into entries.
        names: see ``naming.group``.
        submitted: entries that are already grouped and named.
        split: runs of different protocols, packs or conditions go to tables of their own.
        common: runs may have played different episodes of a row; whoever makes the table then keeps the shared ones.

    Raises:
        NotOneTable: runs must not stand in one table and ``split`` was not asked for, or see ``naming.group``. Says
            exactly what differs.
    """
    check_used(names, runs)
    items: list[Run | Entry] = [*runs, *submitted]
    tables = _tables([item if isinstance(item, Run) else item.runs[0] for item in items])
    if len(tables) > 1 and not split:
        raise NotOneTable(_explain(tables, "give runs that agree, or --split for a table of each kind"))
    found = []
    for table in tables:
        members = [items[place] for place in table.places]
        entries = (
            *group([item for item in members if isinstance(item, Run)], names),
            *(item for item in members if isinstance(item, Entry)),
        )
        check_names([entry.name for entry in entries])
        example = table.example
        track = Track(example.protocol, example.assets, example.description["conditions"], entries)
        if not common:
            check_same_episodes(track)
        found.append(track)
    return tuple(found)


def check_same_episodes(track: Track) -> None:
    """Checks that all who played a row have played the same episodes of it.

    Raises:
        NotOneTable: they have not; says who, where and how many.
    """
    first: dict[str, Run] = {}
    for run in (run for entry in track.entries for run in entry.runs):
        for row, indices in run.description["plan"].items():
            reference = first.setdefault(row, run)
            expected = reference.description["plan"][row]
            if indices == expected:
                continue
            shared = len(set(indices) & set(expected))
            raise NotOneTable(
                f"row {row}: {run.path} has played {len(indices)} episodes and {reference.path} {len(expected)}, "
                f"{shared} of them the same; play the same ones, or compare on the shared ones with --common"
            )


def check_comparable(runs: Sequence[Run]) -> None:
    """Checks that runs were played under the same conditions.

    Raises:
        NotOneTable: they were not; says exactly what differs.
    """
    tables = _tables(runs)
    if len(tables) > 1:
        raise NotOneTable(_explain(tables, "compare runs that agree"))


@dataclass(frozen=True, eq=False)
class _Table:
    """Places of runs that are comparable, and one of them that shows under which conditions."""

    places: tuple[int, ...]
    example: Run


def _tables(runs: Sequence[Run]) -> list[_Table]:
    """Puts runs together that agree in all but policy and seed.

    A policy that sees no pictures has met the same episodes whatever rendered them for the others: it is comparable
    with all of them, and stands in several tables if they need several.
    """
    alike: dict[tuple[str, str, str], list[int]] = {}
    for place, run in enumerate(runs):
        conditions = _conditions(run.identity)
        conditions.pop("renderer", None)
        alike.setdefault((run.protocol, run.assets, json.dumps(conditions, sort_keys=True)), []).append(place)
    found = []
    for places in alike.values():
        seeing = [place for place in places if not _is_blind(runs[place])]
        renderers = dict.fromkeys(_renderer(runs[place]) for place in seeing)
        if not seeing:
            found.append(_Table(tuple(places), runs[places[0]]))
        for renderer in renderers:
            own = [place for place in places if place not in seeing or _renderer(runs[place]) == renderer]
            found.append(_Table(tuple(own), runs[next(place for place in own if place in seeing)]))
    return found


def _is_blind(run: Run) -> bool:
    return run.identity.get("renderer") == {"backend": "none"}


def _renderer(run: Run) -> str:
    return json.dumps(run.identity.get("renderer"), sort_keys=True)


def _explain(tables: Sequence[_Table], advice: str) -> str:
    """Words in what the runs of the first two tables differ."""
    first, other = (table.example for table in tables[:2])
    found = differences(*(_conditions(run.identity) for run in (first, other)))
    for name in ("protocol", "assets"):
        there, here = getattr(first, name), getattr(other, name)
        if there != here and not any(text.startswith(name) for text in found):
            found.append(f"{name} is {there!r} there and {here!r} here")
    more = f" (and {len(tables) - 2} more kinds of runs)" if len(tables) > 2 else ""
    return (
        f"{first.path} (there) and {other.path} (here) were not played under the same conditions{more}: "
        f"{'; '.join(found)}; {advice}"
    )


def _conditions(identity: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in identity.items() if key not in ("policy", "seed")}
