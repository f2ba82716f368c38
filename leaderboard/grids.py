"""What the tables say, before anybody decides how they look: lines of cells, for Markdown and LaTeX alike."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from vlagen.benchmark.statistics import HELD_OUT_AXES
from vlagen.leaderboard.cells import DASH, interval, percent
from vlagen.leaderboard.frames import MEASURED, PUBLISHED, Frames
from vlagen.leaderboard.published import AT_END, ONCE
from vlagen.leaderboard.summaries import HELD_OUT
from vlagen.leaderboard.ties import LEVEL
from vlagen.tasks.variants import ROW_IDS

TRAINING = "in-distribution"
_SUCCESS_WORDS = {AT_END: "at the end", ONCE: "at any step"}


@dataclass(frozen=True)
class Cell:
    """A number as text, and its interval if it has one."""

    value: str
    interval: str = ""
    bold: bool = False


@dataclass(frozen=True)
class Line:
    """A line of a table: what it is about, then its cells."""

    label: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Grid:
    """A table.

    Attributes:
        title: one sentence without a full stop.
        header: what the columns are, that of the labels first.
        parts: lines that belong together, with a rule between parts.
        notes: sentences below the table.
        left: which columns hold text and are aligned to the left; the others are numbers.
    """

    title: str
    header: tuple[str, ...]
    parts: tuple[tuple[Line, ...], ...]
    notes: tuple[str, ...] = ()
    left: tuple[int, ...] = (0,)


def measured_grids(frames: Frames, shown: Sequence[str], tied: Mapping[str, frozenset[str]]) -> tuple[Grid, ...]:
    """The measured results: all entries by axis, and some of them row by row.

    Args:
        frames: of a table.
        shown: measured entries for the table by row.
        tied: the entries to set in bold, see ``ties.tied_with_best``.
    """
    measured = frames.axes[frames.axes["kind"] == MEASURED].set_index(["entry", "axis"])
    return _by_axis(frames, measured, tied), _by_row(frames, measured, tied, shown)


def published_grids(frames: Frames) -> tuple[Grid, ...]:
    """Published results: what is known of axes, row by row, and of other tasks; none if there are none."""
    published = frames.published
    if not len(published):
        return ()
    rows = published[published["scope"].isin(ROW_IDS)]
    means = frames.axes[frames.axes["kind"] == PUBLISHED].set_index(["entry", "axis"])
    # Whoever gives a few rows has measured these, not the study.
    detailed = [entry for entry in dict.fromkeys(rows["entry"]) if (entry, HELD_OUT) in means.index]
    axes = published[published["scope"].str.startswith("axis:") | published["scope"].eq("train")]
    rest = published[~published.index.isin(axes.index) & ~published["entry"].isin(detailed)]
    grids = [_published_axes(axes)]
    if detailed:
        grids.append(_published_rows(rows[rows["entry"].isin(detailed)], means, detailed))
    if len(rest):
        grids.append(_published_rest(rest))
    return tuple(grids)


def _by_axis(frames: Frames, measured: pd.DataFrame, tied: Mapping[str, frozenset[str]]) -> Grid:
    columns = list(dict.fromkeys(measured.index.get_level_values("axis")))
    seeds = frames.rows.groupby("entry")["seeds"].max()
    lines = []
    for entry in frames.entries:
        cells = [Cell(str(seeds[entry])), *(_found(measured, entry, column, tied[column]) for column in columns)]
        if HELD_OUT in columns:
            cells.append(_drop(measured.loc[(entry, HELD_OUT)]))
        lines.append(Line(entry, tuple(cells)))
    header = ["entry", "seeds", *(_heading(column, measured) for column in columns)]
    if HELD_OUT in columns:
        header.append("relative drop")
    return Grid("Success by axis", tuple(header), (tuple(lines),), _notes(frames, tied))


def _by_row(frames: Frames, axes: pd.DataFrame, tied: Mapping[str, frozenset[str]], entries: Sequence[str]) -> Grid:
    rows = frames.rows[frames.rows["kind"] == MEASURED].set_index(["entry", "row"])
    axis_of = dict(zip(frames.rows["row"], frames.rows["axis"], strict=True))
    parts = []
    for axis in dict.fromkeys(axis_of[row] for row in frames.row_ids):
        own = [row for row in frames.row_ids if axis_of[row] == axis]
        lines = [Line(row, tuple(_found(rows, entry, row, tied[row]) for entry in entries)) for row in own]
        if axis in HELD_OUT_AXES:
            lines += _mean_lines(axes, axis, f"mean of {axis}", entries, tied)
        parts.append(tuple(lines))
    if HELD_OUT in axes.index.get_level_values("axis"):
        parts.append(_mean_lines(axes, HELD_OUT, "held-out mean", entries, tied))
    of = f", {len(entries)} of {len(frames.entries)} entries" if len(entries) < len(frames.entries) else ""
    return Grid(f"Success by row{of}", ("row", *entries), tuple(parts))


def _mean_lines(
    axes: pd.DataFrame, axis: str, label: str, entries: Sequence[str], tied: Mapping[str, frozenset[str]]
) -> tuple[Line, ...]:
    if axis not in axes.index.get_level_values("axis"):
        return ()
    return (
        Line(label, tuple(_found(axes, entry, axis, tied.get(axis, frozenset())) for entry in entries)),
        Line("relative drop", tuple(_drop(axes.loc[(entry, axis)]) for entry in entries)),
    )


def _published_axes(axes: pd.DataFrame) -> Grid:
    scopes = ["train", *(f"axis:{axis}" for axis in HELD_OUT_AXES), "axis:mean"]
    lines = []
    for entry, found in axes.groupby("entry", sort=False):
        values = found.set_index("scope")["value"]
        if not set(values.index) - {"train"}:
            continue
        first = found.iloc[0]
        cells = [
            Cell(_SUCCESS_WORDS.get(first["success"], "not said")),
            *(Cell(percent(values.get(scope, math.nan))) for scope in scopes),
            Cell(f"{first['citation']}; {first['evidence']}"),
        ]
        lines.append(Line(entry, tuple(cells)))
    header = ("result", "success", TRAINING, *HELD_OUT_AXES, "mean, as published", "source")
    notes = ("Nothing in this table was measured by vlagen, and no test compares it with what was.",)
    return Grid("Published results by axis", header, (tuple(lines),), notes, left=(0, 1, len(header) - 1))


def _published_rows(rows: pd.DataFrame, means: pd.DataFrame, entries: Sequence[str]) -> Grid:
    values = rows.set_index(["entry", "scope"])["value"]
    lines = tuple(
        Line(row, tuple(Cell(percent(values.get((entry, row), math.nan))) for entry in entries)) for row in ROW_IDS
    )
    computed = [_mean_lines(means, axis, f"mean of {axis}", entries, {}) for axis in HELD_OUT_AXES]
    computed.append(_mean_lines(means, HELD_OUT, "held-out mean", entries, {}))
    notes = ["Means, drops and their intervals are computed here from the published rows."]
    for entry in entries:
        first = rows[rows["entry"] == entry].iloc[0]
        size = DASH if pd.isna(first["episodes"]) else str(first["episodes"])
        notes.append(
            f"{entry}: success {_SUCCESS_WORDS.get(first['success'], 'not said when')}, {size} episodes a row, "
            f"temperature {first['temperature']:g}; {first['citation']}; {first['evidence']}."
        )
    return Grid("Published results by row", ("row", *entries), (lines, *computed), tuple(notes))


def _published_rest(rest: pd.DataFrame) -> Grid:
    lines = tuple(
        Line(
            line.entry,
            (
                Cell(line.scope),
                Cell(percent(line.value)),
                Cell(_SUCCESS_WORDS.get(line.success, "not said")),
                Cell(f"{line.citation}; {line.evidence}"),
            ),
        )
        for line in rest.itertuples()
    )
    header = ("result", "task", "value", "success", "source")
    return Grid("Other published results", header, (lines,), left=(0, 1, 3, 4))


def _heading(axis: str, measured: pd.DataFrame) -> str:
    rows = int(measured.xs(axis, level="axis")["rows"].max())
    return f"{axis} ({rows} {'row' if rows == 1 else 'rows'})"


def _found(frame: pd.DataFrame, entry: str, name: str, tied: frozenset[str]) -> Cell:
    return _rate(frame.loc[(entry, name)], entry in tied) if (entry, name) in frame.index else Cell(DASH)


def _rate(line: pd.Series, bold: bool) -> Cell:
    if math.isnan(line["success_at_end"]):
        return Cell(DASH)
    return Cell(percent(line["success_at_end"]), interval(line["ci_low"], line["ci_high"]), bold)


def _drop(line: pd.Series) -> Cell:
    if math.isnan(line["relative_drop"]):
        return Cell(DASH)
    return Cell(percent(line["relative_drop"]), interval(line["drop_low"], line["drop_high"]))


def _notes(frames: Frames, tied: Mapping[str, frozenset[str]]) -> tuple[str, ...]:
    measured = frames.rows[frames.rows["kind"] == MEASURED]
    counts = sorted({int(n) // int(seeds) for n, seeds in zip(measured["n"], measured["seeds"], strict=True)})
    size = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    errors = int(measured["errors"].sum())
    notes = [
        "Success at the end of the episode in percent, with 95% intervals.",
        "A relative drop is 1 − held-out / in-distribution, in percent.",
    ]
    notes.append(
        f"Protocol {frames.protocol}, asset pack {frames.assets}, conditions {frames.conditions[:12]}, "
        f"{size} episodes a row."
    )
    if any(tied.values()):
        notes.append(
            "Bold: the best of a column and those that a paired test on the same episodes cannot tell from it "
            f"(all sign flips, Holm over the column, {LEVEL:.0%})."
        )
    if errors:
        notes.append(f"{errors} episodes ended in errors and are in no rate.")
    return tuple(notes)
