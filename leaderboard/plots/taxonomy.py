"""In which way failures went wrong: stacks of the categories of ``benchmark.taxonomy``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch

from vlagen.benchmark.statistics import UNKNOWN_FAILURE
from vlagen.benchmark.taxonomy import FAILURES

from .style import INK, QUIET, UndrawableFrame, finish, head, row_order, short_row, written

_UNKNOWN_COLOUR = "#d9d9d9"
_COLOURS = ("#56b4e9", "#e69f00", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#4d4d4d")
_HATCHES = ("", "....", "xxxx")
_NARROWEST_NOTED = 5  # [%] that a number fits in


def plot(
    failures: pd.DataFrame,
    ax: Axes,
    *,
    rows: pd.DataFrame | None = None,
    by: Literal["entry", "row"] | None = None,
    entries: Sequence[str] | None = None,
    title: str = "",
) -> None:
    """Draws a horizontal stack for each entry, or for each row of one, in the categories' own order.

    With ``rows``, a stack is as long as the share of episodes that failed; without, it is every category's share of the
    failures and ends at 100%. A stack without failures, or without episodes, is a dash.

    Args:
        failures: tidy frame with columns entry, row, category, count.
        ax: where.
        rows: tidy frame with columns entry, row, n: the episodes that the failures are out of.
        by: what a stack is; None for rows if the frame has one entry only.
        entries: which to draw, in that order; any number.
        title: above the figure.

    Raises:
        UndrawableFrame: nothing to draw, or stacks by row of several entries.
    """
    counts = tabulate(failures, by, entries)
    totals = _totals(counts, rows, list(dict.fromkeys(failures["entry"])) if entries is None else list(entries))
    looks = {category: _look(number, category) for number, category in enumerate(counts.columns)}
    for place, (_, stack) in enumerate(counts.iterrows()):
        _draw(ax, place, stack, totals.iloc[place], looks)
    by_row = counts.index.name == "row"
    ax.set_yticks(range(len(counts)), [short_row(name) if by_row else written(name) for name in counts.index])
    ax.set_ylim(len(counts) - 0.4, -0.6)
    ax.set_xlim(0, 100)
    ax.set_xlabel("share of the failures [%]" if rows is None else "share of the episodes [%]", fontsize=9)
    finish(ax, "x")
    used = [category for category in counts.columns if counts[category].sum()]
    head(ax, title, {written(category).replace("-", " "): _patch(looks[category]) for category in used})


def size(failures: pd.DataFrame, entries: Sequence[str] | None = None) -> tuple[float, float]:
    """Returns the width and height [inches] that make the figure readable."""
    chosen = failures if entries is None else failures[failures["entry"].isin(entries)]
    stacks = chosen["entry"].nunique()
    return 7.0, 1.7 + 0.3 * (stacks if stacks != 1 else chosen["row"].nunique())


def tabulate(failures: pd.DataFrame, by: str | None = None, entries: Sequence[str] | None = None) -> pd.DataFrame:
    """Counts failures: a line for each stack, a column for each category in the taxonomy's order, then foreign ones.

    Raises:
        UndrawableFrame: see ``plot``.
    """
    order = list(dict.fromkeys(failures["entry"] if entries is None else entries))
    drawn = failures[failures["entry"].isin(order)]
    order = [entry for entry in order if entry in set(drawn["entry"])]
    if not order:
        raise UndrawableFrame("no failures to draw: the frame has none of these entries")
    by = by or ("row" if len(order) == 1 else "entry")
    if by == "row" and len(order) > 1:
        raise UndrawableFrame(f"stacks by row of {len(order)} entries; choose one with entries=[...]")
    # Of another version of vlagen, or of a task with categories of its own.
    foreign = sorted(set(drawn["category"]) - {*FAILURES, UNKNOWN_FAILURE})
    categories = (*FAILURES, *foreign, UNKNOWN_FAILURE)
    index = order if by == "entry" else row_order(drawn)
    table = drawn.pivot_table(index=by, columns="category", values="count", aggfunc="sum", fill_value=0, observed=True)
    return table.reindex(index=index, columns=categories, fill_value=0).rename_axis(index=by)


def _totals(counts: pd.DataFrame, rows: pd.DataFrame | None, entries: Sequence[str]) -> pd.Series:
    """Returns what 100% is for each stack."""
    if rows is None:
        return counts.sum(axis=1)
    own = rows[rows["entry"].isin(entries)]
    return own.groupby(counts.index.name, observed=True)["n"].sum().reindex(counts.index).fillna(0)


def _draw(ax: Axes, place: int, stack: pd.Series, total: float, looks: Mapping[str, dict[str, str]]) -> None:
    if not total or not stack.sum():
        ax.text(0.6, place, "–" if not total else "no failures", va="center", fontsize=8.5, color=QUIET)
        return
    left = 0.0
    for category, count in stack.items():
        if not count:
            continue
        width = 100 * count / total
        ax.barh(place, width, left=left, height=0.72, edgecolor="#ffffff", linewidth=0.5, **looks[category])
        if width >= _NARROWEST_NOTED:
            look = {"fontsize": 7.5, "color": _ink_on(looks[category]["facecolor"])}
            ax.text(left + width / 2, place, f"{width:.0f}", ha="center", va="center", **look)
        left += width


def _look(place: int, category: str) -> dict[str, str]:
    if category == UNKNOWN_FAILURE:
        return {"facecolor": _UNKNOWN_COLOUR}
    # More categories than colours begin again, hatched.
    return {"facecolor": _COLOURS[place % len(_COLOURS)], "hatch": _HATCHES[place // len(_COLOURS) % len(_HATCHES)]}


def _ink_on(colour: str) -> str:
    red, green, blue = to_rgb(colour)
    return INK if 0.3 * red + 0.59 * green + 0.11 * blue > 0.45 else "#ffffff"


def _patch(look: Mapping[str, str]) -> Patch:
    return Patch(edgecolor="#ffffff", linewidth=0.5, **look)
