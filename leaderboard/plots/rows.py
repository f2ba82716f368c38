"""Success on every row, one bar an entry, with intervals."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes

from .bars import Bar, draw_groups
from .style import AXIS_COLOURS, INK, PANEL, bar_keys, entry_styles, head, is_known, percent_axis, row_order, short_row
from .style import single as index_by

_AXIS_GAP = 0.35
_MOST_NOTED = 3  # entries whose bars are wide enough for a number


def plot(
    rows: pd.DataFrame,
    ax: Axes,
    *,
    entries: Sequence[str] | None = None,
    rows_shown: Sequence[str] | None = None,
    title: str = "",
) -> None:
    """Draws grouped bars of success at the end [%] with their intervals; a row without a result gets a dash.

    Args:
        rows: tidy frame with columns entry, row, axis, success_at_end, ci_low, ci_high (all in [0, 1]) and, for
            published entries to be hatched, kind.
        ax: where.
        entries: which to draw, in which order and colours, see ``style.entry_styles``.
        rows_shown: row ids; None for all but derived ones, in the study's order.
        title: above the figure.

    Raises:
        UndrawableFrame: nothing to draw, too many entries, or several lines for an entry's row.
    """
    styles = entry_styles(rows, entries)
    ids = row_order(rows[rows["entry"].isin(styles)], rows_shown)
    drawn = rows[rows["entry"].isin(styles) & rows["row"].isin(ids)]
    table = index_by(drawn, ["entry", "row"])
    axis_of = dict(zip(drawn["row"], drawn["axis"], strict=True))
    places = _places([axis_of[row] for row in ids])
    noted = len(styles) <= _MOST_NOTED
    bars = {}
    for (entry, row), line in table.iterrows():
        rate = line["success_at_end"]
        note = f"{100 * rate:.0f}" if noted and is_known(rate) else ""
        bars[entry, ids.index(row)] = Bar(rate, line["ci_low"], line["ci_high"], note)
    percent_axis(ax)
    draw_groups(ax, places, bars, styles, note_size=6.5 if len(styles) > 1 else 8)
    ax.set_ylim(0, 106 if noted else 100)
    _name_axes(ax, [axis_of[row] for row in ids], places)
    ax.set_xticks(places, [short_row(row) for row in ids], rotation=35, ha="right", rotation_mode="anchor")
    ax.set_xlim(places[0] - 0.6, places[-1] + 0.6)
    head(ax, title, bar_keys(styles), gap=14)


def size(rows: pd.DataFrame, entries: Sequence[str] | None = None) -> tuple[float, float]:
    """Returns the width and height [inches] that make the figure readable."""
    count = len(entry_styles(rows, entries))
    return max(3.2, 1.2 + len(row_order(rows)) * (0.36 + 0.058 * count)), 4.2 + 0.12 * count


def _places(axes: Sequence[str]) -> list[float]:
    """Returns each row's place, with a gap in front of each axis."""
    places, place = [], -1.0
    for number, axis in enumerate(axes):
        place += 1.0 + (_AXIS_GAP if number and axes[number - 1] != axis else 0.0)
        places.append(place)
    return places


def _name_axes(ax: Axes, axes: Sequence[str], places: Sequence[float]) -> None:
    """Shades every axis' rows and writes its name above them."""
    for axis in dict.fromkeys(axes):
        own = [place for place, name in zip(places, axes, strict=True) if name == axis]
        ax.axvspan(own[0] - 0.5, own[-1] + 0.5, color=PANEL, linewidth=0, zorder=0)
        ax.annotate(
            axis.replace("in-distribution", "in-dist.") if len(own) == 1 else axis,
            ((own[0] + own[-1]) / 2, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=8.5,
            fontweight="bold",
            color=AXIS_COLOURS.get(axis, INK),
        )
