"""The pictures that a run leaves: success, what failures look like, and the paired drop, row by row."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from vlagen.benchmark.paired import Comparison, RowComparison
from vlagen.benchmark.statistics import UNKNOWN_FAILURE, RowSummary
from vlagen.benchmark.taxonomy import FAILURES

# Okabe and Ito's palette: told apart with every common colour vision deficiency, and in grey.
BLUE, VERMILION, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
SKY, ORANGE, YELLOW, GREY, SILVER = "#56b4e9", "#e69f00", "#f0e442", "#4d4d4d", "#999999"

AXIS_COLOURS = {"in-distribution": GREY, "vision": BLUE, "semantics": VERMILION, "execution": GREEN}

# Of what is derived from the study's rows; any other axis is purple too.
_DERIVED_COLOURS = {"composition": PURPLE, "severity": ORANGE, "part": SILVER, "control": SKY}

# From what almost succeeded to what never began; colours that follow each other differ in lightness.
_FAILURE_COLOURS = (SKY, BLUE, YELLOW, VERMILION, PURPLE, ORANGE, GREY)
_OUTCOME_COLOURS = {"success": GREEN, **dict(zip(FAILURES, _FAILURE_COLOURS, strict=True)), UNKNOWN_FAILURE: "#bdbdbd"}
_LONGEST_TITLE = 50
_NARROWEST_LABELLED = 4.5  # percent: below that a number does not fit into its part of a bar


class Row(Protocol):
    """What is drawn at one place of the vertical axis."""

    @property
    def row(self) -> str:
        """The row's id."""
        ...

    @property
    def axis(self) -> str:
        """The row's axis."""
        ...


R = TypeVar("R", bound=Row)


def axis_colour(axis: str) -> str:
    """Returns the colour of an axis, whether or not it is one of the study's."""
    return (AXIS_COLOURS | _DERIVED_COLOURS).get(axis, PURPLE)


def write_chart(path: Path, rows: Sequence[RowSummary], title: str) -> None:
    """Draws success at the end as horizontal bars, grouped by axis, with their 95% intervals.

    Args:
        path: of the picture.
        rows: in the order to draw them within their axes; an in-distribution row becomes a reference line as well.
        title: e.g. the policy's name.
    """
    rows = _grouped(rows)
    figure, axes, positions = _figure(rows, title, _subtitle(rows) + _reference(rows))
    for row, position in zip(rows, positions, strict=True):
        _draw_bar(axes, row, position)
    for reference in (row for row in rows if row.axis == "in-distribution" and row.n):
        axes.axvline(100 * reference.success_at_end, color=AXIS_COLOURS[reference.axis], linewidth=0.9, linestyle="--")
    _percent_axis(axes, "success at the end of the episode [%], with 95% interval")
    figure.savefig(path, dpi=200)


def write_failures_chart(
    path: Path, rows: Sequence[RowSummary], counts: Mapping[str, Mapping[str, int]], title: str
) -> None:
    """Draws how each row's episodes ended as bars of stacked parts, with the number of episodes in each.

    Args:
        path: of the picture.
        rows: in the order to draw them within their axes.
        counts: failures by row id and category, see ``statistics.count_failures``.
        title: e.g. the policy's name.
    """
    rows = _grouped(rows)
    subtitle = f"{rows[0].protocol}, asset pack {rows[0].assets}: how episodes ended"
    figure, axes, positions = _figure(rows, title, subtitle, footroom=0.75)
    drawn = dict.fromkeys([*_OUTCOME_COLOURS, "error"], False)
    for row, position in zip(rows, positions, strict=True):
        parts = {"success": row.successes, **counts.get(row.row, {}), "error": row.errors}
        left, played = 0.0, row.n + row.errors
        for outcome in drawn:
            if share := 100 * parts.get(outcome, 0) / max(played, 1):
                drawn[outcome] = True
                _draw_part(axes, position, left, share, outcome, str(parts[outcome]))
                left += share
        _write_beside(axes, position, str(played) if played else "-")
    _write_beside(axes, min(positions) - 1, "n", weight="bold")
    _percent_axis(axes, "share of the episodes played [%]; numbers are episodes")
    figure.legend(
        handles=[_patch(outcome) for outcome, there in drawn.items() if there],
        loc="outside lower center",
        ncols=min(4, max(1, sum(drawn.values()))),
        fontsize=8.5,
        frameon=False,
        handlelength=1.2,
        columnspacing=1.4,
    )
    figure.savefig(path, dpi=200)


def write_control_chart(path: Path, comparison: Comparison, title: str) -> None:
    """Draws by how much each row's success is below that of its control arm, with 95% intervals.

    Args:
        path: of the picture.
        comparison: of the control arm (A) with the rows (B), see ``paired.compare_with_control``.
        title: e.g. the policy's name.
    """
    rows = _grouped(comparison.rows)
    pairs = _range([row.pairs for row in rows])
    subtitle = f"n = {pairs} pairs a row; filled: p < 0.05 (Holm)"
    figure, axes, positions = _figure(rows, title, subtitle)
    bounds = [0.0]
    for row, position in zip(rows, positions, strict=True):
        if row.pairs:
            _draw_drop(axes, row, position)
            bounds += [-100 * row.interval.low, -100 * row.interval.high]
        else:
            _write_missing(axes, position, at=0)
    _write_beside(axes, min(positions) - 1, "control → row", weight="bold")
    axes.axvline(0, color=GREY, linewidth=0.9)
    axes.set_xlim(min(-10.0, math.floor(min(bounds) / 10) * 10), max(10.0, math.ceil(max(bounds) / 10) * 10))
    axes.set_xlabel("drop against the same episodes unperturbed [points], with 95% interval")
    figure.savefig(path, dpi=200)


def figure_of_size(width: float, height: float) -> Any:
    """Returns an empty figure [inches] that draws itself without a display."""
    # Not pyplot: it holds global state and looks for a display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def style(axes: Any, *, grid: str) -> None:
    """Takes away what carries no information and puts a pale grid behind the rest.

    Args:
        axes: to style.
        grid: ``"x"``, ``"y"`` or ``"both"``.
    """
    axes.grid(axis=grid, color="#e3e3e3", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def write_title(axes: Any, title: str, subtitle: str) -> None:
    """Writes a bold title and a grey line below it, above the plot and flush with its left edge."""
    # The end tells more: it is where a path or a module's name has what it is about.
    shown = title if len(title) <= _LONGEST_TITLE else f"…{title[1 - _LONGEST_TITLE :]}"
    axes.set_title(shown, loc="left", fontsize=11, fontweight="bold", pad=20)
    axes.annotate(
        subtitle,
        (0, 1),
        xycoords="axes fraction",
        xytext=(0, 6),
        textcoords="offset points",
        fontsize=8.5,
        color="#555555",
    )


def label(row: Row) -> str:
    """Returns a row's name below the heading of its axis, without what it repeats of that."""
    return row.row if "+" in row.row else row.row.removeprefix(f"{row.axis}/")


def _grouped(rows: Sequence[R]) -> list[R]:
    """Puts rows of one axis side by side, and what is derived from the study's rows behind these."""
    axes = list(dict.fromkeys(row.axis for row in rows))
    return sorted(rows, key=lambda row: (row.axis in _DERIVED_COLOURS, axes.index(row.axis)))


def _figure(rows: Sequence[Row], title: str, subtitle: str, footroom: float = 0.0) -> tuple[Any, Any, list[float]]:
    """Begins a picture with a place for each row; returns the figure, its axes and the places from the top."""
    positions = _positions(rows)
    longest = max(len(label(row)) for row in rows)
    figure = figure_of_size(7.2 + 0.06 * max(0, longest - 26), 1.5 + 0.32 * (max(positions) + 1) + footroom)
    axes = figure.add_subplot()
    axes.set_yticks(positions, [label(row) for row in rows])
    axes.set_ylim(max(positions) + 0.7, -0.2)
    style(axes, grid="x")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    write_title(axes, title, subtitle)
    _label_axes(axes, rows, positions)
    return figure, axes, positions


def _percent_axis(axes: Any, text: str) -> None:
    axes.set_xlim(0, 100)
    axes.set_xticks(range(0, 101, 20))
    axes.set_xlabel(text)


def _draw_bar(axes: Any, row: RowSummary, position: float) -> None:
    if not row.n:
        _write_missing(axes, position, at=1)
        return
    rate, low, high = (100 * value for value in (row.success_at_end, *row.interval))
    axes.barh(position, rate, height=0.72, color=axis_colour(row.axis), alpha=0.85, linewidth=0)
    _draw_interval(axes, position, rate, low, high, "#222222")
    _write_beside(axes, position, f"{rate:.0f}" + (f"  ({row.errors} err.)" if row.errors else ""))


def _draw_part(axes: Any, position: float, left: float, share: float, outcome: str, text: str) -> None:
    axes.barh(position, share, left=left, height=0.72, **_look(outcome), linewidth=0.6)
    if share >= _NARROWEST_LABELLED:
        axes.text(left + share / 2, position, text, ha="center", va="center", fontsize=7.5, color=_text_colour(outcome))


def _draw_drop(axes: Any, row: RowComparison, position: float) -> None:
    colour, drop = axis_colour(row.axis), -100 * row.difference
    _draw_interval(axes, position, drop, -100 * row.interval.high, -100 * row.interval.low, colour)
    is_sure = row.adjusted.two_sided < 0.05
    axes.plot(drop, position, "o", color=colour, markersize=6, markerfacecolor=colour if is_sure else "white")
    _write_beside(axes, position, f"{100 * row.rate_a:.0f} → {100 * row.rate_b:.0f}")


def _draw_interval(axes: Any, position: float, value: float, low: float, high: float, colour: str) -> None:
    # A bound may lie beyond the value by a rounding error.
    reach = [[max(0.0, value - low)], [max(0.0, high - value)]]
    axes.errorbar(
        value, position, xerr=reach, fmt="none", ecolor=colour, elinewidth=1.0, capsize=2.5, capthick=1.0, zorder=2
    )


def _write_missing(axes: Any, position: float, at: float) -> None:
    axes.text(at, position, " no result", va="center", fontsize=8, style="italic", color="#777777")


def _write_beside(axes: Any, position: float, text: str, weight: str = "normal") -> None:
    """Writes to the right of the plot, where nothing that is drawn can reach it."""
    axes.annotate(
        text,
        (1.012, position),
        xycoords=("axes fraction", "data"),
        va="center",
        fontsize=8.5,
        fontweight=weight,
        annotation_clip=False,
    )


def _label_axes(axes: Any, rows: Sequence[Row], positions: Sequence[float]) -> None:
    """Writes each axis' name above its rows, in its colour."""
    for number, (row, position) in enumerate(zip(rows, positions, strict=True)):
        if number and rows[number - 1].axis == row.axis:
            continue
        axes.annotate(
            row.axis,
            (0, position - 0.72),
            xycoords=("axes fraction", "data"),
            xytext=(-6, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize=9,
            fontweight="bold",
            color=axis_colour(row.axis),
            annotation_clip=False,
        )


def _positions(rows: Sequence[Row]) -> list[float]:
    """Returns each row's place from the top, with a gap in front of each axis for its name."""
    positions, place = [], -1.0
    for number, row in enumerate(rows):
        place += 1.0 if number and rows[number - 1].axis == row.axis else 2.0
        positions.append(place)
    return positions


def _look(outcome: str) -> dict[str, str]:
    if outcome == "error":
        return {"facecolor": "white", "edgecolor": "#777777", "hatch": "/////"}
    return {"facecolor": _OUTCOME_COLOURS[outcome], "edgecolor": "white"}


def _text_colour(outcome: str) -> str:
    """Black or white, whichever is easier to read there."""
    colour = _look(outcome)["facecolor"]
    if not colour.startswith("#"):
        return "black"
    red, green, blue = bytes.fromhex(colour[1:])
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 120 else "white"


def _patch(outcome: str) -> Any:
    from matplotlib.patches import Patch

    return Patch(label=outcome.replace("-", " "), linewidth=0.6, **_look(outcome))


def _range(numbers: Iterable[int]) -> str:
    ordered = sorted(set(numbers))
    return str(ordered[0]) if len(ordered) == 1 else f"{ordered[0]} to {ordered[-1]}"


def _subtitle(rows: Sequence[RowSummary]) -> str:
    return f"{rows[0].protocol}, asset pack {rows[0].assets}, n = {_range(row.n for row in rows)} a row"


def _reference(rows: Sequence[RowSummary]) -> str:
    return "; dashed: in distribution" if any(row.axis == "in-distribution" and row.n for row in rows) else ""
