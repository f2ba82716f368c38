"""Runs again what a ``run.json`` describes, and compares the two runs episode by episode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from vlagen.benchmark.records import BrokenRecords, EpisodeKey, EpisodeRecord, differences, read_run
from vlagen.benchmark.request import Request


@dataclass(frozen=True)
class Comparison:
    """How a replay compares with what it repeats.

    Attributes:
        identical: episodes that went alike to the last bit.
        same_outcome: further episodes with the same outcome.
        changed: episodes with another outcome.
        missing: episodes that only one of the runs has.
    """

    identical: int
    same_outcome: int
    changed: tuple[EpisodeKey, ...]
    missing: tuple[EpisodeKey, ...]


def original_request(run: Path) -> Request:
    """The request that began a run.

    Args:
        run: the ``run.json``.

    Raises:
        BrokenRecords: it is none, or written by a version with other options.
    """
    stored: Mapping[str, Any] = read_run(run)["sessions"][0].get("request", {})
    names = {field.name for field in fields(Request)}
    if not stored or set(stored) - names:
        strange = ", ".join(sorted(set(stored) - names)) or "no request"
        raise BrokenRecords(f"{run} was written by another version of vlagen ({strange}); replay it with that one")
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in stored.items()}
    return Request(**{**values, "out": None})


def replay_request(run: Path, asked: Request) -> Request:
    """What to play again: the original request, in another folder.

    Args:
        run: the ``run.json``.
        asked: says where and with how many workers to play, as these move no number; all else is the original's.
    """
    out = asked.out or run.resolve().parent.with_name(run.resolve().parent.name + "-replay")
    return replace(original_request(run), out=out, workers=asked.workers, backend=asked.backend)


def changed_conditions(run: Path, again: Path) -> list[str]:
    """Words in what the two runs' circumstances differ, e.g. a package's version."""
    return differences(read_run(run)["identity"], read_run(again)["identity"])


def compare(before: Sequence[EpisodeRecord], after: Sequence[EpisodeRecord]) -> Comparison:
    """Compares the records of a run and of its replay."""
    old, new = ({record.key: record for record in records} for records in (before, after))
    both = [key for key in old if key in new]
    identical = [key for key in both if old[key].trajectory is not None and old[key].trajectory == new[key].trajectory]
    changed = tuple(key for key in both if old[key].outcome != new[key].outcome)
    return Comparison(
        identical=len(identical),
        same_outcome=len(both) - len(set(identical) | set(changed)),
        changed=changed,
        missing=tuple(key for key in {**old, **new} if key not in old or key not in new),
    )
