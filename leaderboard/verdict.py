"""A comparison in words that can be quoted, and as tables for a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich import box
from rich.table import Table

from vlagen.benchmark.rounding import points, rounded
from vlagen.leaderboard.breaking import BreakableName
from vlagen.leaderboard.cells import DASH, percent
from vlagen.leaderboard.compare import Comparison, Difference
from vlagen.leaderboard.summaries import HELD_OUT
from vlagen.leaderboard.ties import LEVEL


def verdict(comparison: Comparison) -> str:
    """Says which entry is better, where, and how sure that is, in a few sentences."""
    sentences = [_headline(comparison), *_where(comparison), _rows(comparison)]
    if comparison.left_out:
        sentences.append(f"Left out: {comparison.left_out}.")
    return " ".join(sentences)


def tables(comparison: Comparison) -> tuple[Table, ...]:
    """Lays out axes, rows and telling episodes."""
    differences = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=0)
    # A name may be broken, a number never: cut off, it would be another number.
    differences.add_column("axis/row")
    for heading in ("n", "A", "B", "B - A", "95%\ninterval", "B\nonly", "A\nonly", "p\n(Holm)"):
        differences.add_column(heading, justify="right", no_wrap=True)
    for group in ((comparison.headline,), comparison.axes, comparison.rows):
        for difference in group:
            differences.add_row(*_cells(difference))
        differences.add_section()
    if not comparison.episodes:
        return (differences,)
    episodes = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("row", "index", "A", "B", "video of A", "video of B"):
        episodes.add_column(heading)
    for pair in comparison.episodes:
        sides = (_outcome(pair.rate_a, pair.failure_a), _outcome(pair.rate_b, pair.failure_b))
        videos = (pair.video_a or DASH, pair.video_b or DASH)
        episodes.add_row(BreakableName(pair.row), str(pair.index), *map(BreakableName, (*sides, *videos)))
    return differences, episodes


def _headline(comparison: Comparison) -> str:
    a, b, found = comparison.a, comparison.b, comparison.headline
    where = "on the held-out rows" if found.name == HELD_OUT else "over all rows"
    rates = f"{percent(found.rate_b)}% against {percent(found.rate_a)}%"
    evidence = (
        f"{points(found.difference)} points, 95% interval {points(found.interval.low)} to "
        f"{points(found.interval.high)}, {_p(found.p)}, {found.episodes} paired episodes of "
        f"{found.rows} {'row' if found.rows == 1 else 'rows'}"
    )
    if found.p <= LEVEL and found.difference:
        return f"{b} is {'better' if found.difference > 0 else 'worse'} than {a} {where}: {rates} ({evidence})."
    return f"These episodes do not tell {b} from {a} {where}: {rates} ({evidence})."


def _where(comparison: Comparison) -> list[str]:
    clear = [axis for axis in comparison.axes if axis.adjusted <= LEVEL and axis.difference]
    unclear = [axis.name for axis in comparison.axes if axis not in clear]
    sentences = []
    if clear:
        ordered = sorted(clear, key=lambda axis: -abs(axis.difference))
        found = ", ".join(f"{axis.name} {points(axis.difference)} ({_p(axis.adjusted)})" for axis in ordered)
        sentences.append(f"By axis, in points: {found}.")
    if unclear:
        sentences.append(f"No clear difference {'elsewhere: ' if clear else 'on '}{', '.join(unclear)}.")
    return sentences


def _rows(comparison: Comparison) -> str:
    better = [row.name for row in comparison.rows if row.adjusted <= LEVEL and row.difference > 0]
    worse = [row.name for row in comparison.rows if row.adjusted <= LEVEL and row.difference < 0]
    counted = f"better on {_listed(better)} and worse on {_listed(worse)}"
    of = "On the one row" if len(comparison.rows) == 1 else f"Of {len(comparison.rows)} rows"
    text = f"{of}, {comparison.b} is clearly {counted} (Holm, {LEVEL:.0%})."
    visible = [row.detectable for row in comparison.rows if not math.isnan(row.detectable)]
    if visible and not better and not worse:
        least = f"{100 * max(visible):.0f} points"
        text += f" On a single row, a true difference of {least} would have shown four times in five."
    return text


def _listed(rows: Sequence[str]) -> str:
    return f"{len(rows)} ({', '.join(rows)})" if 0 < len(rows) <= 4 else f"{len(rows) or 'none'}"


def _cells(difference: Difference) -> tuple[str | BreakableName, ...]:
    low, high = difference.interval
    bold = difference.adjusted <= LEVEL
    change = points(difference.difference)
    return (
        BreakableName(difference.name),
        str(difference.episodes),
        percent(difference.rate_a),
        percent(difference.rate_b),
        f"[bold]{change}[/bold]" if bold else change,
        f"{points(low)} to {points(high)}",
        str(difference.better),
        str(difference.worse),
        _p(difference.adjusted).removeprefix("p = ").removeprefix("p "),
    )


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {rounded(value, 3 if value < 0.1 else 2)}"


def _outcome(rate: float, failure: str | None) -> str:
    if rate == 1:
        return "success"
    text = failure or "failure"
    return text if rate == 0 else f"{100 * rate:.0f}%, else {text}"
