"""What a run says at its end, in the terminal and as CSV files.

Tables fit 80 columns, and rates in them are percentages; in files rates are in [0, 1], undefined ones ``nan``.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from vlagen.benchmark.paired import Comparison, GroupComparison, RowComparison
from vlagen.benchmark.report.severity import SeverityCurve
from vlagen.benchmark.rounding import percent
from vlagen.benchmark.statistics import UNKNOWN_FAILURE, AxisSummary, HeldOutSummary, Interval, RowSummary
from vlagen.benchmark.taxonomy import FAILURES

CSV_COLUMNS = (
    "protocol",
    "assets",
    "row",
    "axis",
    "n",
    "successes",
    "success_at_end",
    "ci_low",
    "ci_high",
    "success_once",
    "errors",
)
FAILURES_CSV_COLUMNS = ("protocol", "assets", "row", "category", "count")
CONTROL_CSV_COLUMNS = (
    "protocol", "assets", "row", "axis", "pairs", "control_success_at_end", "success_at_end", "drop", "ci_low",
    "ci_high", "p", "p_holm", "control_only", "row_only", "errors",
)  # fmt: skip

# Two short lines each, as seven of them have to stand beside a row's name.
_SHORT_FAILURES = {
    "placed-then-lost": "lost\nagain",
    "wrong-receptacle": "wrong\nplace",
    "timeout-while-carrying": "time\nout",
    "dropped": "drop-\nped",
    "wrong-object": "wrong\nobj.",
    "reached-not-grasped": "no\ngrasp",
    "never-reached": "never\nthere",
    UNKNOWN_FAILURE: "un-\nknown",
}


def table(
    rows: Sequence[RowSummary],
    axes: Sequence[AxisSummary],
    held_out: HeldOutSummary | None = None,
    title: str | None = None,
) -> Table:
    """Lays out how rows, axes and the held-out rows as a whole went.

    A row's axis is the first part of its id, so it needs no column of its own.
    """
    result = _table("axis/row", ("n", "success\nat end", "95%\ninterval", "once", "grasped", "err"))
    result.title = None if title is None else Text(title, style="bold")
    result.title_justify = "left"
    for row in rows:
        result.add_row(escape(row.row), *_cells(row))
    result.add_section()
    for axis in axes:
        result.add_row(f"{axis.axis}, mean of {axis.rows}", *_cells(axis))
    if held_out is not None and held_out.n:
        result.add_row(
            f"held-out, mean of {len(held_out.axes)} ax{'e' if len(held_out.axes) > 1 else 'i'}s",
            *(str(held_out.n), _percent(held_out.success_at_end), _interval(held_out.interval), "", "", ""),
            style="bold",
        )
    return result


def headline(held_out: HeldOutSummary) -> str | None:
    """Words a run in one sentence; None if it has no held-out row."""
    if not held_out.n:
        return None
    text = f"{held_out.label}: {_percent(held_out.success_at_end)}% ({_interval(held_out.interval)})"
    if not math.isnan(held_out.relative_drop):
        text += (
            f", {_percent(held_out.relative_drop)}% ({_span(*held_out.drop_interval)}) below the "
            f"{_percent(held_out.in_distribution)}% in distribution"
        )
    return text + ("" if held_out.complete else "; not all held-out rows were played")


def failures_table(counts: Mapping[str, Mapping[str, int]]) -> Table | None:
    """Lays out how many episodes of each row failed in which way; only ways that occur have a column.

    Args:
        counts: failures by row id and category, see ``statistics.count_failures``.

    Returns:
        The table, None if nothing has failed.
    """
    occurring = [category for category in _SHORT_FAILURES if any(row.get(category) for row in counts.values())]
    if not occurring:
        return None
    # Eight columns beside the longest row of the study fit only without the space that other tables have.
    result = _table("failures of", [_SHORT_FAILURES[category] for category in occurring], space=0)
    for row, categories in counts.items():
        if any(categories.values()):
            result.add_row(escape(row), *(str(categories.get(category) or "·") for category in occurring))
    if len(counts) > 1:
        result.add_section()
        result.add_row("all", *(str(sum(row.get(category, 0) for row in counts.values())) for category in occurring))
    return result


def control_table(comparison: Comparison) -> Table:
    """Lays out what each row's perturbation costs on the very same episodes.

    Args:
        comparison: of the control arm (A) with the rows (B), see ``paired.compare_with_control``.
    """
    result = _table("drop against control", ("pairs", "con-\ntrol", "row", "drop", "95%\ninterval", "p\n(Holm)"))
    for row in comparison.rows:
        result.add_row(escape(row.row), *_drop_cells(row), _p(row.adjusted.two_sided))
    result.add_section()
    for group in (*comparison.axes, comparison.held_out or comparison.overall):
        if group is not None:
            result.add_row(f"{group.name}, mean of {group.rows}", *_drop_cells(group), "")
    return result


def severity_table(curves: Sequence[SeverityCurve]) -> Table:
    """Lays out how each row bears its knob: success at either end, and the area under the whole curve."""
    result = _table("severity of", ("from", "to", "success\nthere", "area", "95%\ninterval"))
    for curve in curves:
        ends = [_percent(curve.points[place].success_at_end) for place in (0, -1)]
        area = (_percent(curve.area.value), _interval(curve.area.interval))
        result.add_row(escape(curve.row), f"{curve.values[0]:g}", f"{curve.values[-1]:g}", " → ".join(ends), *area)
    return result


def write_csv(path: Path, rows: Sequence[RowSummary]) -> None:
    """Writes one line a row with the columns ``CSV_COLUMNS``."""
    lines = (
        (row.protocol, row.assets, row.row, row.axis, row.n, row.successes)
        + _numbers(row.success_at_end, *row.interval, row.success_once)
        + (row.errors,)
        for row in rows
    )
    _write(path, CSV_COLUMNS, lines)


def write_failures_csv(path: Path, rows: Sequence[RowSummary], counts: Mapping[str, Mapping[str, int]]) -> None:
    """Writes one line for each row and category, those that do not occur included.

    Args:
        path: of the file; its columns are ``FAILURES_CSV_COLUMNS``.
        rows: which rows.
        counts: failures by row id and category, see ``statistics.count_failures``.
    """
    lines = (
        (row.protocol, row.assets, row.row, category, counts.get(row.row, {}).get(category, 0))
        for row in rows
        for category in (*FAILURES, UNKNOWN_FAILURE)
    )
    _write(path, FAILURES_CSV_COLUMNS, lines)


def write_control_csv(path: Path, rows: Sequence[RowSummary], comparison: Comparison) -> None:
    """Writes one line a row with the columns ``CONTROL_CSV_COLUMNS``; a positive drop means worse than the control.

    Args:
        path: of the file.
        rows: of the run, from which protocol and asset pack are taken.
        comparison: see ``control_table``.
    """
    lines = (
        (rows[0].protocol, rows[0].assets, row.row, row.axis, row.pairs)
        + _numbers(row.rate_a, row.rate_b, *_drop(row), row.p.two_sided, row.adjusted.two_sided)
        + (row.only_a, row.only_b, row.errors)
        for row in comparison.rows
    )
    _write(path, CONTROL_CSV_COLUMNS, lines)


def _table(first: str, headings: Iterable[str], space: int = 1) -> Table:
    result = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, space, 0, 0))
    # Folded where there is no room: the id of a composed row has to be complete.
    result.add_column(first, overflow="fold")
    for heading in headings:
        result.add_column(heading, justify="right", no_wrap=True)
    return result


def _write(path: Path, columns: Sequence[str], lines: Iterable[Sequence[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(lines)


def _numbers(*values: float) -> tuple[str, ...]:
    return tuple(f"{value:.6g}" for value in values)


def _cells(summary: RowSummary | AxisSummary) -> tuple[str, ...]:
    return (
        str(summary.n),
        _percent(summary.success_at_end),
        _interval(summary.interval),
        _percent(summary.success_once),
        _percent(summary.grasped),
        f"[red]{summary.errors}[/red]" if summary.errors else "0",
    )


def _drop(comparison: RowComparison | GroupComparison) -> tuple[float, float, float]:
    """Returns the drop from the control arm and the bounds of its interval."""
    # Plus zero, as there is no drop of -0.
    return 0.0 - comparison.difference, 0.0 - comparison.interval.high, 0.0 - comparison.interval.low


def _drop_cells(comparison: RowComparison | GroupComparison) -> tuple[str, ...]:
    drop, low, high = _drop(comparison)
    rates = (_percent(comparison.rate_a), _percent(comparison.rate_b))
    return (str(comparison.pairs), *rates, _percent(drop), _span(low, high))


def _p(value: float) -> str:
    return "-" if math.isnan(value) else "<0.001" if value < 0.001 else f"{value:.3f}"


def _percent(rate: float) -> str:
    return "-" if math.isnan(rate) else str(percent(rate))


def _span(low: float, high: float) -> str:
    """An interval of what can be negative, where a dash between the bounds would be taken for a sign."""
    return "-" if math.isnan(low) else f"{_percent(low)} to {_percent(high)}"


def _interval(interval: Interval) -> str:
    return "-" if math.isnan(interval.low) else f"{_percent(interval.low)}–{_percent(interval.high)}"
