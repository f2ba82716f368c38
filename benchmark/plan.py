"""Which episodes an evaluation plays: rows by name, their control arms and severities, and how far down each list."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from vlagen.assets.errors import unknown
from vlagen.benchmark.records import EpisodeKey, EpisodeRecord, Plan
from vlagen.benchmark.request import BadRequest
from vlagen.benchmark.sequential import needed
from vlagen.benchmark.simulator import EpisodeLike
from vlagen.benchmark.statistics import is_derived
from vlagen.tasks.rows import CONTROL, KNOBS, control_of, find_row, order_id, sweep
from vlagen.tasks.sampling import evaluation_episodes, evaluation_size
from vlagen.tasks.variants import AXES, Variant, variants


@dataclass(frozen=True)
class PlannedRow:
    """One row of an evaluation.

    Attributes:
        id: of the row.
        axis: where the row tests generalization.
        protocol: which rules its episodes follow.
        size: how many episodes it has for evaluations.
        listing: its first so many episodes, in its fixed order.
    """

    id: str
    axis: str
    protocol: str
    size: int
    listing: Callable[[int], tuple[EpisodeLike, ...]]

    @property
    def measured(self) -> str:
        """Id of the row whose results decide how many episodes this one needs: a control arm follows its row."""
        return self.id.removesuffix(CONTROL)


def planned(row: Variant) -> PlannedRow:
    """A row of vlagen's own table, or one derived from them."""
    return PlannedRow(row.id, row.axis, row.protocol, evaluation_size(row), functools.partial(evaluation_episodes, row))


def select_rows(names: Sequence[str], protocol: str) -> tuple[Variant, ...]:
    """Finds rows by id, by axis, or ``all`` of them, in the order of the table and each once; then derived rows.

    Args:
        names: ids such as ``vision/table``, axes, ``all``, or ids of derived rows (``tasks.rows``).
        protocol: whose rows.

    Raises:
        UnknownVariant: no such protocol, or a derived row that cannot be made.
        BadRequest: a name is neither, or there is none.
    """
    rows = variants(protocol)
    groups = {"all": set(rows)} | {axis: {row for row in rows if row.axis == axis} for axis in AXES}
    groups |= {row.id: {row} for row in rows}
    if not names:
        raise BadRequest(f"no row was given; allowed: {', '.join(groups)}")
    derived: dict[str, Variant] = {}
    chosen: set[Variant] = set()
    for name in names:
        if name in groups:
            chosen |= groups[name]
        elif is_derived(name):
            row = find_row(name, protocol)
            derived[row.id] = row
        else:
            raise BadRequest(unknown("row", name, groups))
    return tuple(row for row in rows if row in chosen) + tuple(derived.values())


def with_severities(rows: Sequence[Variant], names: Sequence[str], text: str) -> tuple[Variant, ...]:
    """Replaces each row that has a knob by one row for each of its settings.

    Args:
        rows: what ``names`` stand for.
        names: as given by the user; a row that was named itself must have a knob, others are left out silently.
        text: ``from:to:count``.

    Raises:
        BadRequest: no row has a knob, or one that was named has none.
        BadSweep: the text says no settings.
        UnknownVariant: a setting outside of the knob's range.
    """
    swept = [row for row in rows if row.id in KNOBS]
    without = [row.id for row in rows if row.id in names and row.id not in KNOBS]
    if without or not swept:
        hint = "; a derived row has its setting in its id, e.g. vision/noise-weak@0.3[objects=0]"
        raise BadRequest(
            f"--severity needs rows with a continuous knob; {', '.join(without) or 'these rows'} have none; "
            f"allowed: {', '.join(KNOBS)}{hint if any(is_derived(row.id) for row in rows) else ''}"
        )
    return tuple(derived for row in swept for derived in sweep(row.id, text, row.protocol))


def with_controls(rows: Sequence[Variant]) -> tuple[Variant, ...]:
    """Puts each perturbed row's control arm behind it."""
    result = []
    for row in rows:
        result.append(row)
        if order_id(row) != "train" and not row.id.endswith(CONTROL):
            result.append(control_of(row))
    return tuple(dict.fromkeys(result))


def check_length(rows: Sequence[PlannedRow], count: int) -> None:
    """Checks that every row has so many episodes.

    Raises:
        BadRequest: a row has fewer.
    """
    smallest = min(rows, key=lambda row: row.size)
    if not 1 <= count <= smallest.size:
        raise BadRequest(
            f"--episodes {count}; allowed: 1 to {smallest.size}, which is all that {smallest.id} has for evaluations"
        )


def lengths(
    rows: Sequence[PlannedRow], count: int, until_ci: float | None, records: Mapping[EpisodeKey, EpisodeRecord]
) -> dict[str, int]:
    """How many episodes each row should have, given what is known so far.

    Args:
        rows: of the plan.
        count: episodes a row; with ``until_ci`` the most that a row may take.
        until_ci: half-width of the confidence sequence at which a row is done, see ``sequential``; None for ``count``
            episodes whatever the results.
        records: what has been played.
    """
    if until_ci is None:
        return {row.id: count for row in rows}
    wanted = {}
    for row in rows:
        if row.measured == row.id:
            order = [(row.id, episode.index) for episode in row.listing(count)]
            played = max((place + 1 for place, key in enumerate(order) if key in records), default=0)
            # Only what was played without a gap: whoever finishes first must not decide how long a row becomes.
            outcomes = [records[key].success_at_end for key in itertools.takewhile(records.__contains__, order)]
            wanted[row.id] = max(needed(outcomes, until_ci, limit=count), played)
    return {row.id: wanted[row.measured] for row in rows}


def plan_of(episodes: Mapping[str, Sequence[EpisodeLike]]) -> Plan:
    """The indices of the episodes of each row."""
    return {row: [episode.index for episode in listed] for row, listed in episodes.items()}
