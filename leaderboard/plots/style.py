"""What the figures share: who has which colour, which order rows have, and how a name or a legend is written."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from vlagen.assets.errors import VlagenError, unknown
from vlagen.benchmark.statistics import is_derived
from vlagen.tasks.variants import AXES, ROW_IDS

# Okabe and Ito's palette: told apart with every common colour vision deficiency. Neighbours differ in brightness too.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#e69f00", "#56b4e9", "#cc79a7", "#4d4d4d", "#f0e442")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
MOST_ENTRIES = len(PALETTE)

AXIS_COLOURS = {
    "in-distribution": "#4d4d4d",
    "vision": "#0072b2",
    "semantics": "#b34700",
    "execution": "#007d5c",
    "held-out": "#4d4d4d",
}
"""The palette's axis colours as in ``benchmark.report``, two of them darker: here they colour words, not bars."""

INK = "#222222"
QUIET = "#666666"
GRID = "#e3e3e3"
PANEL = "#f4f4f2"
TICK_SIZE = 8.5
SPLIT_LINES = {"in-distribution": "--", "held-out": "-"}

_LONGEST_NAME = 44


class UndrawableFrame(VlagenError, ValueError):
    """A frame that does not hold what a figure shows, or holds more than it can."""


@dataclass(frozen=True)
class EntryStyle:
    """How an entry looks in every figure.

    Attributes:
        colour: of its place among the entries, ``#rrggbb``.
        dark: the same, darkened for thin lines and edges.
        published: its numbers were copied from a publication; hatched bars, open markers, dashed lines.
        label: for the legend.
    """

    colour: str
    dark: str
    marker: str
    published: bool
    label: str

    @property
    def bar(self) -> dict[str, Any]:
        """Keywords of a bar."""
        if self.published:
            return {"facecolor": "#ffffff", "edgecolor": self.dark, "hatch": "/////", "linewidth": 0.8}
        return {"facecolor": self.colour, "edgecolor": self.dark, "linewidth": 0.6}

    @property
    def line(self) -> dict[str, Any]:
        """Keywords of a line with markers."""
        return {
            "color": self.colour if self.colour != PALETTE[7] else self.dark,
            "marker": self.marker,
            "markersize": 4,
            "markerfacecolor": "#ffffff" if self.published else self.colour,
            "markeredgecolor": self.dark,
            "markeredgewidth": 0.8,
            "linewidth": 1.6,
            "linestyle": (0, (3, 1.2)) if self.published else "-",
        }


def entry_styles(frame: pd.DataFrame, entries: Sequence[str] | None = None) -> dict[str, EntryStyle]:
    """Gives each entry of a frame its look.

    Args:
        frame: with a column ``entry``, and ``kind`` where published entries occur.
        entries: which to draw and in which order, e.g. all that any figure shows: an entry's place in it decides its
            colour, also where some of the others are absent from the frame. None for those of the frame, as they
            come.

    Returns:
        The styles of those that the frame has.

    Raises:
        UndrawableFrame: the frame has none of them, or they are more than colours to tell apart.
    """
    present = list(frame["entry"].unique())
    order = present if entries is None else list(dict.fromkeys(entries))
    if len(order) > MOST_ENTRIES:
        raise UndrawableFrame(
            f"{len(order)} entries in one figure; allowed: at most {MOST_ENTRIES}, which colours can tell apart; "
            "choose some with entries=[...]"
        )
    if not set(order) & set(present):
        named = unknown("entry", order[0], present) if order else "no entry to draw: the frame is empty"
        raise UndrawableFrame(named)
    published = set(frame.loc[frame["kind"] == "published", "entry"]) if "kind" in frame else set()
    return {
        entry: EntryStyle(
            colour=PALETTE[place],
            dark=_darken(PALETTE[place]),
            marker=MARKERS[place],
            published=entry in published,
            label=written(entry) + (" (published)" if entry in published else ""),
        )
        for place, entry in enumerate(order)
        if entry in present
    }


def row_order(frame: pd.DataFrame, rows: Sequence[str] | None = None) -> list[str]:
    """Puts the rows of a frame into the study's order, foreign ones behind.

    Args:
        frame: with a column ``row``.
        rows: which to draw, in that order; None for all but derived ones.

    Raises:
        UndrawableFrame: the frame has none of them.
    """
    present = list(frame["row"].unique())
    if rows is not None:
        chosen = [row for row in rows if row in present]
    else:
        plain = [row for row in present if not is_derived(row)]
        chosen = [row for row in ROW_IDS if row in plain] + [row for row in plain if row not in ROW_IDS]
    if not chosen:
        raise UndrawableFrame(f"no row to draw; the frame has {', '.join(present) or 'none'}; choose with rows=[...]")
    return chosen


def axis_order(axes: Iterable[str]) -> list[str]:
    """Puts axis names into the study's order, then foreign ones, then the held-out mean."""
    present = list(dict.fromkeys(axes))
    foreign = [axis for axis in present if axis not in (*AXES, "held-out")]
    return [axis for axis in (*AXES, *foreign, "held-out") if axis in present]


def single(frame: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Indexes a frame by columns that must tell its lines apart.

    Raises:
        UndrawableFrame: they do not, e.g. as the frame holds two protocols.
    """
    twice = frame.duplicated(list(keys))
    if twice.any():
        line = frame.loc[twice, list(keys)].iloc[0]
        raise UndrawableFrame(
            f"two lines for {', '.join(f'{key} {value!r}' for key, value in line.items())}; "
            "a figure shows one: pass the lines of one protocol and one asset pack"
        )
    return frame.set_index(list(keys))


def written(name: object) -> str:
    """Writes a name so that Matplotlib takes it as it is: no formulas, no line breaks, and not endless."""
    text = " ".join(str(name).split())
    if len(text) > _LONGEST_NAME:
        half = _LONGEST_NAME // 2
        text = f"{text[: half - 1]}…{text[-half:]}"
    return text.replace("$", r"\$")


def short_row(row: str) -> str:
    """Writes a row's id without its axis, which stands beside it anyway."""
    return written("training task" if row == "train" else row.split("/", 1)[-1])


def is_known(*values: object) -> bool:
    """Whether all numbers are there to be drawn."""
    return all(value is not None and pd.notna(value) and math.isfinite(float(value)) for value in values)


def percent_axis(ax: Axes, label: str = "success at the end [%]") -> None:
    """Makes y a scale of 0 to 100%, with quiet lines behind the data."""
    ax.set_ylim(0, 100)
    ax.set_yticks(range(0, 101, 20))
    ax.set_ylabel(label, fontsize=9)
    finish(ax, "y")


def finish(ax: Axes, grid: str = "y") -> None:
    """Takes away what carries no information: the frame's top and right, tick marks, the grid's weight."""
    if grid:
        ax.grid(axis=grid, color=GRID, linewidth=0.7)
    ax.set_axisbelow(True)
    ax.tick_params(labelsize=TICK_SIZE, length=0)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color("#999999")


def head(ax: Axes, title: str, keys: Mapping[str, Any], *, gap: float = 0.0) -> None:
    """Puts a legend above the axes, in as many columns as their width holds, and the title above that.

    Args:
        ax: where.
        title: empty for none.
        keys: a patch or line for each label; one alone needs no legend if the title can say it, so none is drawn then.
        gap: room to leave between axes and legend [points].
    """
    pad = gap + 6
    if len(keys) > 1 or (keys and not title):
        box = ax.get_window_extent()
        width_in, height_in = (length / ax.figure.dpi for length in (box.width, box.height))
        longest_in = 0.55 + 0.066 * max(len(label) for label in keys)
        columns = max(1, min(len(keys), int(width_in / longest_in)))
        ax.legend(
            list(keys.values()),
            # Matplotlib leaves a label that begins with "_" out.
            [f" {label}" for label in keys],
            loc="lower left",
            bbox_to_anchor=(0, 1 + gap / 72 / height_in),
            ncols=columns,
            fontsize=8.5,
            frameon=False,
            borderaxespad=0.2,
            handlelength=1.8,
            handletextpad=0.3,
            columnspacing=1.4,
        )
        pad += 4 + 13 * math.ceil(len(keys) / columns)
    if title:
        ax.set_title(written(title), loc="left", pad=pad, fontsize=11, fontweight="bold", color=INK)


def bar_keys(styles: Mapping[str, EntryStyle]) -> dict[str, Patch]:
    """Returns the legend of bars."""
    return {style.label: Patch(**style.bar) for style in styles.values()}


def line_keys(styles: Mapping[str, EntryStyle]) -> dict[str, Line2D]:
    """Returns the legend of lines."""
    return {style.label: Line2D([], [], **style.line) for style in styles.values()}


def split_keys(splits: Iterable[str]) -> dict[str, Line2D]:
    """Returns the legend of the kinds of line that tell splits apart."""
    return {split: Line2D([], [], color=QUIET, linewidth=1.4, linestyle=SPLIT_LINES[split]) for split in splits}


def _darken(colour: str) -> str:
    channels = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return "#" + "".join(f"{int(0.62 * channel):02x}" for channel in channels)
