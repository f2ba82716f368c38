"""What a run says at its end: a table, a CSV file and a picture."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.table import Table

from vlagen.benchmark.statistics import AxisSummary, Interval, RowSummary

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

# Okabe and Ito's palette: told apart with every common colour vision deficiency, and in grey.
AXIS_COLOURS = {
    "in-distribution": "#4d4d4d",
    "vision": "#0072b2",
    "semantics": "#d55e00",
    "execution": "#009e73",
}


def table(rows: Sequence[RowSummary], axes: Sequence[AxisSummary]) -> Table:
    """Lays rows and axis means out for a terminal of 80 columns; rates are percentages.

    A row's axis is the first part of its id, so it needs no column of its own.
    """
    result = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    result.add_column("axis/row", no_wrap=True)
    for heading in ("n", "success\nat end", "95%\ninterval", "once", "grasped", "err"):
        result.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        result.add_row(row.row, *_cells(row))
    result.add_section()
    for axis in axes:
        result.add_row(f"{axis.axis}, mean of {axis.rows}", *_cells(axis))
    return result


def write_csv(path: Path, rows: Sequence[RowSummary]) -> None:
    """Writes one line a row with the columns ``CSV_COLUMNS``; rates are in [0, 1], undefined ones ``nan``."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(CSV_COLUMNS)
        for row in rows:
            rates = (row.success_at_end, *row.interval, row.success_once)
            writer.writerow(
                [row.protocol, row.assets, row.row, row.axis, row.n, row.successes]
                + [f"{rate:.6g}" for rate in rates]
                + [row.errors]
            )


def write_chart(path: Path, rows: Sequence[RowSummary], title: str) -> None:
    """Draws success at the end as horizontal bars, grouped by axis, with their 95% intervals.

    Args:
        path: of the picture.
        rows: in the order to draw them; the in-distribution row, if there, becomes a reference line as well.
        title: e.g. the policy's name.
    """
    # Not pyplot: it holds global state and looks for a display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    positions = _positions(rows)
    figure = Figure(figsize=(7.2, 1.5 + 0.32 * (max(positions) + 1)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for row, position in zip(rows, positions, strict=True):
        _draw_bar(axes, row, position)
    for reference in (row for row in rows if row.axis == "in-distribution" and row.n):
        axes.axvline(100 * reference.success_at_end, color=AXIS_COLOURS[reference.axis], linewidth=0.9, linestyle="--")

    axes.set_yticks(positions, [row.row.split("/")[-1] for row in rows])
    axes.set_ylim(max(positions) + 0.7, -0.2)
    axes.set_xlim(0, 100)
    axes.set_xticks(range(0, 101, 20))
    axes.set_xlabel("success at the end of the episode [%], with 95% interval")
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", pad=20)
    axes.annotate(
        _subtitle(rows),
        (0, 1),
        xycoords="axes fraction",
        xytext=(0, 6),
        textcoords="offset points",
        fontsize=8.5,
        color="#555555",
    )
    axes.grid(axis="x", color="#e3e3e3", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0, labelsize=9)
    axes.tick_params(axis="x", labelsize=9)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    _label_axes(axes, rows, positions)
    figure.savefig(path, dpi=200)


def _draw_bar(axes, row: RowSummary, position: float) -> None:
    if not row.n:
        axes.text(1, position, "no result", va="center", fontsize=8, style="italic", color="#777777")
        return
    rate, low, high = (100 * value for value in (row.success_at_end, *row.interval))
    axes.barh(position, rate, height=0.72, color=AXIS_COLOURS[row.axis], alpha=0.85, linewidth=0)
    axes.errorbar(
        rate,
        position,
        xerr=[[rate - low], [high - rate]],
        fmt="none",
        ecolor="#222222",
        elinewidth=1.0,
        capsize=2.5,
        capthick=1.0,
    )
    # Beyond the plot, where no whisker can reach it.
    axes.annotate(
        f"{rate:.0f}" + (f"  ({row.errors} err.)" if row.errors else ""),
        (1.012, position),
        xycoords=("axes fraction", "data"),
        va="center",
        fontsize=8.5,
        annotation_clip=False,
    )


def _label_axes(axes, rows: Sequence[RowSummary], positions: Sequence[float]) -> None:
    """Writes each axis' name above its rows, in its colour."""
    for axis in dict.fromkeys(row.axis for row in rows):
        first = next(position for row, position in zip(rows, positions, strict=True) if row.axis == axis)
        axes.annotate(
            axis,
            (0, first - 0.72),
            xycoords=("axes fraction", "data"),
            xytext=(-6, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize=9,
            fontweight="bold",
            color=AXIS_COLOURS[axis],
            annotation_clip=False,
        )


def _positions(rows: Sequence[RowSummary]) -> list[float]:
    """Returns each bar's place from the top, with a gap in front of each axis for its name."""
    positions, place = [], -1.0
    for number, row in enumerate(rows):
        place += 1.0 if number and rows[number - 1].axis == row.axis else 2.0
        positions.append(place)
    return positions


def _subtitle(rows: Sequence[RowSummary]) -> str:
    counts = sorted({row.n for row in rows})
    n = f"n = {counts[0]}" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]}"
    reference = "; dashed: in distribution" if any(row.axis == "in-distribution" and row.n for row in rows) else ""
    return f"{rows[0].protocol}, asset pack {rows[0].assets}, {n} a row{reference}"


def _cells(summary: RowSummary | AxisSummary) -> tuple[str, ...]:
    return (
        str(summary.n),
        _percent(summary.success_at_end),
        _interval(summary.interval),
        _percent(summary.success_once),
        _percent(summary.grasped),
        f"[red]{summary.errors}[/red]" if summary.errors else "0",
    )


def _percent(rate: float) -> str:
    return "-" if math.isnan(rate) else f"{100 * rate:.1f}"


def _interval(interval: Interval) -> str:
    return "-" if math.isnan(interval.low) else f"{100 * interval.low:.1f}–{100 * interval.high:.1f}"
