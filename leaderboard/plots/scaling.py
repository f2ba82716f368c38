"""How far more demonstrations carry supervised fine-tuning: success over the number of demonstrations."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

from .style import (
    SPLIT_LINES,
    EntryStyle,
    UndrawableFrame,
    entry_styles,
    finish,
    head,
    is_known,
    line_keys,
    percent_axis,
    single,
    split_keys,
)


def plot(points: pd.DataFrame, ax: Axes, *, entries: Sequence[str] | None = None, title: str = "") -> None:
    """Draws a line of points with their intervals over a logarithmic number of demonstrations.

    Args:
        points: tidy frame: entry, demonstrations (above 0), split ("in-distribution" or "held-out"), success, ci_low,
            ci_high (in [0, 1]) and, for published entries to be marked, kind.
        ax: where.
        entries: which to draw, in which order and colours, see ``style.entry_styles``.
        title: above the figure.

    Raises:
        UndrawableFrame: nothing to draw, too many entries, a split that is neither, no positive number of
            demonstrations, or two lines for a point.
    """
    styles = entry_styles(points, entries)
    drawn = points[points["entry"].isin(styles)]
    foreign = set(drawn["split"]) - set(SPLIT_LINES)
    if foreign:
        raise UndrawableFrame(f"split {sorted(foreign)[0]!r}; allowed: {', '.join(SPLIT_LINES)}")
    if not (drawn["demonstrations"] > 0).all():
        raise UndrawableFrame("a point without demonstrations; the scale is logarithmic, so leave it out")
    single(drawn, ["entry", "split", "demonstrations"])
    percent_axis(ax)
    ax.set_xscale("log")
    for (entry, split), lines in drawn.groupby(["entry", "split"], sort=False, observed=True):
        _draw(ax, lines.sort_values("demonstrations"), styles[entry], split)
    counts = sorted(drawn["demonstrations"].unique())
    if len(counts) <= 8:
        # The numbers that were tried say more than powers of ten.
        ax.set_xticks(counts, [f"{count:,.0f}".replace(",", "\u2009") for count in counts])
        ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel("demonstrations", fontsize=9)
    finish(ax)
    ax.tick_params(axis="x", which="minor", length=0)
    shown = [split for split in SPLIT_LINES if split in set(drawn["split"])]
    head(ax, title, {**line_keys(styles), **(split_keys(shown) if len(shown) > 1 else {})})


def size(points: pd.DataFrame, entries: Sequence[str] | None = None) -> tuple[float, float]:
    """Returns the width and height [inches] that make the figure readable."""
    return 5.6, 3.9 + 0.08 * len(entry_styles(points, entries))


def _draw(ax: Axes, lines: pd.DataFrame, style: EntryStyle, split: str) -> None:
    known = lines[[is_known(rate) for rate in lines["success"]]]
    ax.plot(
        known["demonstrations"], 100 * known["success"], zorder=3, **{**style.line, "linestyle": SPLIT_LINES[split]}
    )
    for _, point in known.iterrows():
        if is_known(point["ci_low"], point["ci_high"]):
            rate, low, high = (100 * point[column] for column in ("success", "ci_low", "ci_high"))
            ax.errorbar(
                point["demonstrations"],
                rate,
                yerr=[[max(0.0, rate - low)], [max(0.0, high - rate)]],
                fmt="none",
                ecolor=style.dark,
                elinewidth=0.9,
                capsize=2,
            )
