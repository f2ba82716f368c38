"""Learning curves: success over environment steps, in distribution and held out, with the spread of the seeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter

from .style import (
    SPLIT_LINES,
    EntryStyle,
    UndrawableFrame,
    entry_styles,
    finish,
    head,
    line_keys,
    percent_axis,
    split_keys,
)


def plot(
    curves: pd.DataFrame,
    ax: Axes,
    *,
    entries: Sequence[str] | None = None,
    splits: Sequence[str] = ("held-out", "in-distribution"),
    title: str = "",
) -> None:
    """Draws the mean of the seeds as a line and lowest to highest as a band, over the steps that all seeds reach.

    Seeds that were evaluated at other steps are interpolated between their neighbouring evaluations. A number that
    is undefined is left out, so that its neighbours are joined.

    Args:
        curves: tidy frame, one line an evaluation during training: entry (str), seed (int), environment_steps (control
            steps of all environments together so far; NaN for a method that takes none, such as SFT: it is drawn as a
            level line), split ("in-distribution" or "held-out"), success (at the end, in [0, 1]).
        ax: where.
        entries: which to draw, in which order and colours, see ``style.entry_styles``.
        splits: which to draw.
        title: above the figure.

    Raises:
        UndrawableFrame: nothing to draw, too many entries, a split that is neither, or two evaluations of a seed at one
            step.
    """
    foreign = set(curves["split"]) - set(SPLIT_LINES)
    if foreign:
        raise UndrawableFrame(f"split {sorted(foreign)[0]!r}; allowed: {', '.join(SPLIT_LINES)}")
    styles = entry_styles(curves, entries)
    drawn = curves[curves["entry"].isin(styles) & curves["split"].isin(splits) & curves["success"].notna()]
    percent_axis(ax)
    for (entry, split), lines in drawn.groupby(["entry", "split"], sort=False, observed=True):
        level = lines[lines["environment_steps"].isna()]
        if len(level):
            _draw_level(ax, float(level["success"].mean()), styles[entry], split)
        _draw_curve(ax, lines[lines["environment_steps"].notna()], styles[entry], split)
    shown = [split for split in splits if split in set(drawn["split"])]
    ax.set_xlabel("environment steps", fontsize=9)
    ax.xaxis.set_major_formatter(EngFormatter(sep=""))
    ax.set_xlim(left=0)
    finish(ax)
    head(ax, title, {**line_keys(styles), **(split_keys(shown) if len(shown) > 1 else {})})


def size(curves: pd.DataFrame, entries: Sequence[str] | None = None) -> tuple[float, float]:
    """Returns the width and height [inches] that make the figure readable."""
    return 6.2, 4.0 + 0.08 * len(entry_styles(curves, entries))


def spread(lines: pd.DataFrame) -> pd.DataFrame:
    """Returns steps, mean, low and high over the seeds of one entry and split, at every step that all seeds cover.

    Args:
        lines: with columns seed, environment_steps and success.

    Raises:
        UndrawableFrame: a seed has two evaluations at one step.
    """
    twice = lines[lines.duplicated(["seed", "environment_steps"])]
    if len(twice):
        line = twice.iloc[0]
        raise UndrawableFrame(
            f"two evaluations of seed {line['seed']} at step {line['environment_steps']:.0f}; pass one for each"
        )
    seeds = [group.sort_values("environment_steps") for _, group in lines.groupby("seed")]
    steps = np.unique(lines["environment_steps"])
    first = max((group["environment_steps"].iloc[0] for group in seeds), default=0)
    last = min((group["environment_steps"].iloc[-1] for group in seeds), default=-1)
    steps = steps[(steps >= first) & (steps <= last)]
    values = np.array([np.interp(steps, group["environment_steps"], group["success"]) for group in seeds])
    if not len(steps):
        return pd.DataFrame({"steps": [], "mean": [], "low": [], "high": []})
    return pd.DataFrame({"steps": steps, "mean": values.mean(0), "low": values.min(0), "high": values.max(0)})


def _draw_curve(ax: Axes, lines: pd.DataFrame, style: EntryStyle, split: str) -> None:
    curve = spread(lines)
    if curve.empty:
        return
    look = {**style.line, "linestyle": SPLIT_LINES[split]}
    if len(curve) > 25:
        look["markevery"] = max(1, len(curve) // 10)
    ax.plot(curve["steps"], 100 * curve["mean"], zorder=3, **look)
    if lines["seed"].nunique() > 1:
        ax.fill_between(
            curve["steps"], 100 * curve["low"], 100 * curve["high"], color=style.colour, alpha=0.16, linewidth=0
        )


def _draw_level(ax: Axes, rate: float, style: EntryStyle, split: str) -> None:
    ax.axhline(100 * rate, color=style.line["color"], linestyle=SPLIT_LINES[split], linewidth=1.2, zorder=2)
