"""Success by axis, one bar an entry, with intervals and the relative drop from the training task.

The study's headline: what reinforcement learning adds to supervised fine-tuning, axis by axis.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes

from vlagen.benchmark.rounding import percent

from .bars import Bar, draw_groups
from .style import (
    AXIS_COLOURS,
    INK,
    axis_order,
    bar_keys,
    entry_styles,
    head,
    is_known,
    percent_axis,
    single,
    written,
)

_ROOM_UPRIGHT, _ROOM_UPWARDS = 22, 46  # what a note takes above its bar [%]
_MOST_UPRIGHT = 3  # entries whose bars are wide enough for a note that reads from left to right


def plot(axes: pd.DataFrame, ax: Axes, *, entries: Sequence[str] | None = None, title: str = "") -> None:
    """Draws success at the end [%] by axis, and above each bar its drop relative to the training task.

    A drop is ``1 - rate / rate on the training task``, written with a minus sign and its 95% interval in brackets. Up
    to three entries have room for the rate as well.

    Args:
        axes: tidy frame with columns entry, axis, success_at_end, ci_low, ci_high (in [0, 1]), relative_drop,
            drop_low, drop_high and, for published entries to be hatched, kind.
        ax: where.
        entries: which to draw, in which order and colours, see ``style.entry_styles``.
        title: above the figure.

    Raises:
        UndrawableFrame: nothing to draw, too many entries, or several lines for an entry's axis.
    """
    styles = entry_styles(axes, entries)
    drawn = axes[axes["entry"].isin(styles)]
    names = axis_order(drawn["axis"])
    upright = len(styles) <= _MOST_UPRIGHT
    bars = {
        (entry, names.index(axis)): Bar(
            line["success_at_end"], line["ci_low"], line["ci_high"], _note(line, upright=upright)
        )
        for (entry, axis), line in single(drawn, ["entry", "axis"]).iterrows()
    }
    percent_axis(ax)
    draw_groups(ax, range(len(names)), bars, styles, note_size=7, upright=upright)
    tops = [100 * number for bar in bars.values() for number in (bar.rate, bar.high) if is_known(number)]
    ax.set_ylim(0, max(100, max(tops, default=0) + (_ROOM_UPRIGHT if upright else _ROOM_UPWARDS)))
    ax.set_xticks(range(len(names)), [written(name) for name in names], fontweight="bold", fontsize=9)
    for label, name in zip(ax.get_xticklabels(), names, strict=True):
        label.set_color(AXIS_COLOURS.get(name, INK))
    ax.set_xlim(-0.55, len(names) - 0.45)
    if "held-out" in names[1:]:
        # What stands right of it is a mean of what stands left of it.
        ax.axvline(names.index("held-out") - 0.5, color="#999999", linewidth=0.8, linestyle=":")
    head(ax, title, bar_keys(styles))


def size(axes: pd.DataFrame, entries: Sequence[str] | None = None) -> tuple[float, float]:
    """Returns the width and height [inches] that make the figure readable."""
    count = len(entry_styles(axes, entries))
    return max(4.0, 0.9 + axes["axis"].nunique() * max(1.0, 0.3 + 0.48 * min(count, 3), 0.3 + 0.19 * count)), 4.2


def _note(line: pd.Series, *, upright: bool) -> str:
    words = [str(percent(line["success_at_end"]))] if upright and is_known(line["success_at_end"]) else []
    if is_known(line["relative_drop"]):
        words.append(_signed(line["relative_drop"]) + "%")
        if is_known(line["drop_low"], line["drop_high"]):
            # The larger drop is the lower number.
            words.append(f"[{_signed(line['drop_high'])}, {_signed(line['drop_low'])}]")
    return ("\n" if upright else " ").join(words)


def _signed(drop: float) -> str:
    change = round(-100 * drop)
    return f"{change:+d}".replace("-", "−") if change else "0"
