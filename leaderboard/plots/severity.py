"""How success fades while one change from training grows: a curve over its knob, and the area under it."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes

from vlagen.benchmark.statistics import Estimate, curve_area

from .style import (
    EntryStyle,
    UndrawableFrame,
    entry_styles,
    finish,
    head,
    is_known,
    line_keys,
    percent_axis,
    short_row,
    single,
)


def plot(
    rows: pd.DataFrame,
    ax: Axes,
    *,
    row: str | None = None,
    knob: str = "severity",
    entries: Sequence[str] | None = None,
    title: str = "",
) -> None:
    """Draws success at the end [%] over the knob with its interval as a band; the legend gives the area in [0, 1].

    The area is ``statistics.curve_area``: the mean success over the range swept, with its 95% interval. It is given for
    an entry with counts at two points or more.

    Args:
        rows: tidy frame with columns entry, row, success_at_end, ci_low, ci_high (in [0, 1]), successes, n and, for
            published entries to be marked, kind. Lines whose row is ``<row>@<number>`` are drawn, the others ignored.
        ax: where.
        row: id of the row that was swept; None if the frame has sweeps of one row only.
        knob: what was turned, for the label, with its unit if it has one.
        entries: which to draw, in which order and colours, see ``style.entry_styles``.
        title: above the figure.

    Raises:
        UndrawableFrame: no sweep, sweeps of several rows to choose from, too many entries, or two lines for a point.
    """
    swept = sweep(rows, row)
    styles = entry_styles(swept, entries)
    drawn = swept[swept["entry"].isin(styles)].sort_values("value")
    single(drawn, ["entry", "value"])
    percent_axis(ax)
    keys = {}
    lines = line_keys(styles)
    for entry, style in styles.items():
        own = drawn[drawn["entry"] == entry]
        _draw(ax, own, style)
        area = area_under(own)
        suffix = f", area {area.value:.2f} [{area.interval.low:.2f}, {area.interval.high:.2f}]" if area else ""
        keys[style.label + suffix] = lines[style.label]
    ax.set_xlabel(f"{short_row(swept['swept'].iloc[0])}: {knob}", fontsize=9)
    finish(ax)
    head(ax, title, keys)


def size(rows: pd.DataFrame, entries: Sequence[str] | None = None) -> tuple[float, float]:
    """Returns the width and height [inches] that make the figure readable."""
    return 5.8, 3.8 + 0.17 * len(entry_styles(rows, entries))


def sweep(rows: pd.DataFrame, row: str | None = None) -> pd.DataFrame:
    """Returns the lines of a swept row, with columns ``swept``, its id, and ``value``, the knob's.

    Raises:
        UndrawableFrame: there is none, or there are several rows to choose from.
    """
    parts = rows["row"].str.extract(r"^(?P<swept>[^@+~]+)@(?P<value>[-+.\deE]+)$")
    swept = rows.assign(swept=parts["swept"], value=pd.to_numeric(parts["value"])).dropna(subset=["value"])
    found = list(dict.fromkeys(swept["swept"]))
    chosen = row if row is not None else found[0] if len(found) == 1 else None
    if chosen not in found:
        raise UndrawableFrame(
            f"no sweep of {row!r} to draw" if row is not None else "which sweep is to be drawn?",
            f"choose row= from {', '.join(found)}" if found else "the frame has none; play rows with --severity",
        )
    return swept[swept["swept"] == chosen]


def area_under(points: pd.DataFrame) -> Estimate | None:
    """Computes the area of one entry's points, in the order of their values; None without counts at two or more."""
    counted = points[[is_known(n) and n > 0 for n in points["n"]]]
    counted = counted[[is_known(count) for count in counted["successes"]]]
    if len(counted) < 2 or len(counted) < len(points):
        return None
    counts = [int(count) for count in counted["successes"]]
    return curve_area(counted["value"].tolist(), counts, [int(n) for n in counted["n"]])


def _draw(ax: Axes, points: pd.DataFrame, style: EntryStyle) -> None:
    known = points[[is_known(rate) for rate in points["success_at_end"]]]
    ax.plot(known["value"], 100 * known["success_at_end"], zorder=3, **style.line)
    bounded = known[[is_known(low, high) for low, high in zip(known["ci_low"], known["ci_high"], strict=True)]]
    if len(bounded):
        ax.fill_between(
            bounded["value"],
            100 * bounded["ci_low"],
            100 * bounded["ci_high"],
            color=style.colour,
            alpha=0.16,
            linewidth=0,
        )
