"""Bars in groups, one of each entry, with their intervals: what the figures by row and by axis have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes

from .style import INK, QUIET, EntryStyle, is_known

GROUP_WIDTH = 0.8


class Bar(NamedTuple):
    """A rate and its interval in [0, 1]; NaN where undefined. ``note`` stands above the bar."""

    rate: float
    low: float
    high: float
    note: str = ""


def draw_groups(
    ax: Axes,
    places: Sequence[float],
    bars: Mapping[tuple[str, int], Bar],
    styles: Mapping[str, EntryStyle],
    *,
    note_size: float = 7.0,
    upright: bool = True,
) -> None:
    """Draws bars in percent with their intervals, and a dash where a number is undefined.

    Args:
        ax: where.
        places: (G,) the middle of each group.
        bars: by entry and number of the group; what is absent leaves its place empty.
        styles: of the entries, in the order within a group.
        note_size: font size of the notes.
        upright: the notes read from left to right; else from bottom to top, for narrow bars.
    """
    width = GROUP_WIDTH / len(styles)
    for number, (entry, style) in enumerate(styles.items()):
        shift = (number - (len(styles) - 1) / 2) * width
        for group, place in enumerate(places):
            bar = bars.get((entry, group))
            if bar is not None:
                _draw(ax, place + shift, 0.92 * width, bar, style, note_size, 0 if upright else 90)


def _draw(ax: Axes, place: float, width: float, bar: Bar, style: EntryStyle, note_size: float, rotation: float) -> None:
    if not is_known(bar.rate):
        ax.text(place, 1, "–", ha="center", va="bottom", fontsize=9, color=QUIET)
        return
    rate = 100 * bar.rate
    ax.bar(place, rate, width, **style.bar)
    top = rate
    if is_known(bar.low, bar.high):
        low, high = 100 * bar.low, 100 * bar.high
        # Rounding may put a bound of 0 or 1 just inside the rate.
        reach = [[max(0.0, rate - low)], [max(0.0, high - rate)]]
        ax.errorbar(place, rate, yerr=reach, fmt="none", ecolor=INK, elinewidth=0.9, capsize=1.8, capthick=0.9)
        top = max(rate, high)
    if bar.note:
        offset = {"xytext": (0, 2.5), "textcoords": "offset points"}
        style_ = {"ha": "center", "va": "bottom", "fontsize": note_size, "color": INK, "rotation": rotation}
        ax.annotate(bar.note, (place, top), **offset, **style_)
