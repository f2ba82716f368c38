"""Success as a polygon over the rows, or over the axes: the shape of a policy's generalization at a glance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from .style import (
    AXIS_COLOURS,
    GRID,
    INK,
    QUIET,
    EntryStyle,
    UndrawableFrame,
    axis_order,
    entry_styles,
    is_known,
    line_keys,
    row_order,
    short_row,
    single,
    written,
)

PROJECTION = "polar"
"""What ``Figure.add_subplot`` must be told to make the Axes."""


_MOST_FILLED = 3
_LONGEST_IN_HALF = 40  # characters of a label that fit beside another


def plot(
    frame: pd.DataFrame,
    ax: Axes,
    *,
    entries: Sequence[str] | None = None,
    spokes: Sequence[str] | None = None,
    title: str = "",
) -> None:
    """Draws success at the end [%] outwards; where it is undefined the outline has a gap and no filling.

    Args:
        frame: tidy frame with columns entry, success_at_end (in [0, 1]) and either row and axis, or axis alone; kind
            marks published entries, which are dashed.
        ax: with the polar projection.
        entries: which to draw, in which order and colours, see ``style.entry_styles``.
        spokes: row ids, or axes; None for all but derived rows and the held-out mean, in the study's order.
        title: above the figure.

    Raises:
        UndrawableFrame: fewer than three spokes, no polar Axes, nothing to draw, too many entries, or several lines for
            an entry's spoke.
    """
    if ax.name != PROJECTION:
        raise UndrawableFrame(f"a radar on an Axes with the projection {ax.name!r}; make it with projection='polar'")
    styles = entry_styles(frame, entries)
    drawn = frame[frame["entry"].isin(styles)]
    column = "row" if "row" in frame else "axis"
    names = _spokes(drawn, column, spokes)
    if len(names) < 3:
        raise UndrawableFrame(f"a radar over {', '.join(names)}; it needs at least three spokes")
    rates = single(drawn[drawn[column].isin(names)], ["entry", column])["success_at_end"]
    angles = 2 * np.pi * np.arange(len(names)) / len(names)
    _prepare(ax, len(names))
    for entry, style in styles.items():
        values = np.array([100 * rates.get((entry, name), np.nan) for name in names], dtype=float)
        _outline(ax, angles, values, style, filled=len(styles) <= _MOST_FILLED and not style.published)
    axis_of = dict(zip(drawn[column], drawn["axis"], strict=True))
    _name_spokes(ax, angles, names, [AXIS_COLOURS.get(axis_of[name], INK) for name in names])
    if title:
        ax.set_title(written(title), pad=22, fontsize=11, fontweight="bold", color=INK)
    _add_legend(ax, styles)


def size(frame: pd.DataFrame, entries: Sequence[str] | None = None) -> tuple[float, float]:
    """Returns the width and height [inches] that make the figure readable."""
    styles = entry_styles(frame, entries)
    return 7.6, 5.3 + 0.19 * len(styles) / _columns(styles)


def _columns(styles: Mapping[str, EntryStyle]) -> int:
    return 2 if len(styles) > 1 and max(len(style.label) for style in styles.values()) <= _LONGEST_IN_HALF else 1


def _add_legend(ax: Axes, styles: Mapping[str, EntryStyle]) -> None:
    """Puts the legend below the circle, where spokes' names leave room."""
    keys = line_keys(styles)
    ax.legend(
        list(keys.values()),
        [f" {label}" for label in keys],  # Matplotlib leaves a label that begins with "_" out
        loc="upper center",
        bbox_to_anchor=(0.5, -0.09),
        ncols=_columns(styles),
        fontsize=8.5,
        frameon=False,
        handletextpad=0.3,
    )


def _spokes(drawn: pd.DataFrame, column: str, spokes: Sequence[str] | None) -> list[str]:
    if column == "row":
        return row_order(drawn, spokes)
    present = [axis for axis in axis_order(drawn["axis"]) if axis != "held-out"]
    return present if spokes is None else [axis for axis in spokes if axis in set(drawn["axis"])]


def _prepare(ax: Axes, count: int) -> None:
    ax.set_theta_offset(np.pi / 2)
    ax.set_theta_direction(-1)
    ax.set_ylim(0, 100)
    # Between two spokes, where no outline has a corner.
    ax.set_rlabel_position(180 / count)
    ax.set_yticks(range(20, 101, 20), ["20", "40", "60", "80", "100%"], fontsize=7.5, color=QUIET)
    ax.grid(color=GRID, linewidth=0.8)
    ax.spines["polar"].set_color("#bbbbbb")
    ax.set_axisbelow(True)


def _outline(ax: Axes, angles: np.ndarray, values: np.ndarray, style: EntryStyle, *, filled: bool) -> None:
    known = np.array([is_known(value) for value in values])
    for start, stop in _stretches(known):
        places = np.arange(start, stop) % len(values)
        around = angles[places] + 2 * np.pi * (np.arange(start, stop) // len(values))
        ax.plot(around, values[places], clip_on=False, zorder=3, **style.line)
    if known.all() and filled:
        ax.fill(angles, values, color=style.colour, alpha=0.07, linewidth=0)


def _stretches(known: np.ndarray) -> list[tuple[int, int]]:
    """Returns the ranges of neighbouring known spokes around the circle; a full one ends where it begins."""
    count = len(known)
    if known.all():
        return [(0, count + 1)]
    starts = [place for place in range(count) if known[place] and not known[place - 1]]
    ranges = []
    for start in starts:
        stop = start
        while known[stop % count]:
            stop += 1
        ranges.append((start, stop))
    return ranges


def _name_spokes(ax: Axes, angles: np.ndarray, names: Sequence[str], colours: Sequence[str]) -> None:
    ax.set_xticks(angles, [])
    for angle, name, colour in zip(angles, names, colours, strict=True):
        side = np.sin(angle)
        ax.annotate(
            short_row(name) if "/" in name or name == "train" else written(name),
            (angle, 100),
            xytext=(11 * side, 9 * np.cos(angle)),
            textcoords="offset points",
            ha="center" if abs(side) < 0.15 else "left" if side > 0 else "right",
            va="center",
            fontsize=8.5,
            color=colour,
            annotation_clip=False,
        )
