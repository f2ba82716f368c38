"""Where two policies take the gripper: maps of how often, and how much of the table each one covers.

Coverage is the area, seen from above, of the square cells of ``CELL_MM`` in which the gripper was at least once. Only
episodes that both policies have a path of are used, so neither covers more by having played more. Paths are points
``records.PATH_STRIDE`` control steps apart that are not joined: a fast move across a cell may not count for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, LogNorm, Normalize
from matplotlib.ticker import NullFormatter

from .style import UndrawableFrame, entry_styles, finish, head

CELL_MM = 20

PANELS = ({"show": "a"}, {"show": "b"}, {"show": "difference"})
"""Options of the panels that make the whole figure, side by side."""

_NOTE = 13  # height of the line between title and map [points]
_DM2 = (CELL_MM / 100) ** 2


class Visits(NamedTuple):
    """How often two grippers were in each cell, over the same episodes.

    Attributes:
        x: edges (X+1,) of the cells, forwards from the robot's base [mm].
        y: edges (Y+1,), to the robot's left [mm].
        a: visits of A (X, Y).
        b: visits of B (X, Y).
        episodes: how many paths of each were counted.
    """

    x: np.ndarray
    y: np.ndarray
    a: np.ndarray
    b: np.ndarray
    episodes: int


class Coverage(NamedTuple):
    """Areas of the cells that were visited at least once [dm^2]."""

    a: float
    b: float
    both: float


def plot(
    episodes: pd.DataFrame,
    ax: Axes,
    *,
    pair: tuple[str, str] | None = None,
    show: Literal["a", "b", "difference"] = "difference",
    entries: Sequence[str] | None = None,
    title: str = "",
) -> None:
    """Draws a map of the table from above, the robot below it: one policy's visits, or who came more often.

    The difference is ``(visits of B - visits of A) / visits of both``: 1 where only B was, -1 where only A was.

    Args:
        episodes: tidy frame with columns entry, row, index and gripper_path: x, y, z in the robot's base frame in whole
            millimetres, strung together, None where unknown.
        ax: where.
        pair: the policies A and B; None if the frame has just two.
        show: which map.
        entries: all that other figures show, for the same colours, see ``style.entry_styles``.
        title: above the map, in place of what it shows.

    Raises:
        UndrawableFrame: not two entries, or no episode of which both have a path.
    """
    a, b = _choose(episodes, pair)
    styles = entry_styles(episodes, entries if entries is not None else (a, b))
    visits = count_visits(episodes, a, b)
    area = coverage(visits)
    if show == "difference":
        both = visits.a + visits.b
        values = np.divide(visits.b - visits.a, both, out=np.zeros(both.shape), where=both > 0)
        image = _map(ax, visits, values, both > 0, (styles[a].colour, "#ececec", styles[b].colour), Normalize(-1, 1))
        _scale(ax, image, {-1: "only A", 0: "equal", 1: "only B"})
        note = f"{area.both:.1f} dm² in common; {visits.episodes} paired episodes"
        head(ax, title or "who was there more often", {}, gap=_NOTE)
    else:
        counts, entry, own = (visits.a, a, area.a) if show == "a" else (visits.b, b, area.b)
        # One scale for both, so that the two maps can be compared.
        norm = LogNorm(1, max(10, int(visits.a.max()), int(visits.b.max())))
        image = _map(ax, visits, counts, counts > 0, ("#e4e4e4", styles[entry].colour, styles[entry].dark), norm)
        _scale(ax, image, None)
        note = f"covers {own:.1f} dm²"
        head(ax, title or f"{show.upper()}: {entry}", {}, gap=_NOTE)
    ax.annotate(note, (0, 1), xytext=(0, 5), xycoords="axes fraction", textcoords="offset points", fontsize=8.5)


def size(_episodes: pd.DataFrame, _entries: Sequence[str] | None = None) -> tuple[float, float]:
    """Returns the width and height [inches] that make all panels readable."""
    return 12.5, 3.3


def count_visits(episodes: pd.DataFrame, a: str, b: str) -> Visits:
    """Counts the points of two entries' paths in each cell, over the episodes that both have a path of.

    Of an episode that was played with several seeds, the first path of A is paired with the first of B, and so on.

    Args:
        episodes: see ``plot``.
        a: an entry.
        b: another.

    Raises:
        UndrawableFrame: there is no such episode.
    """
    own = episodes[episodes["entry"].isin((a, b))]
    paths = own[own["gripper_path"].map(lambda path: path is not None and np.size(path) >= 3)]
    keyed = []
    for entry in (a, b):
        own = paths[paths["entry"] == entry]
        turn = own.groupby(["row", "index"], observed=True).cumcount()
        keyed.append(own.set_index(["row", "index"]).set_index(turn.to_numpy(), append=True)["gripper_path"])
    shared = keyed[0].index.intersection(keyed[1].index)
    if not len(shared):
        raise UndrawableFrame(
            f"no episode of which both {a!r} and {b!r} have a gripper path; records have them since schema 2"
        )
    points = [np.concatenate([np.reshape(path, (-1, 3))[:, :2] for path in own.loc[shared]]) for own in keyed]
    everywhere = np.concatenate(points)
    low = np.floor(everywhere.min(0) / CELL_MM).astype(int)
    cells = np.floor(everywhere.max(0) / CELL_MM).astype(int) - low + 1
    x, y = ((first + np.arange(count + 1)) * CELL_MM for first, count in zip(low, cells, strict=True))
    counts = []
    for own in points:
        place = np.floor(own / CELL_MM).astype(int) - low
        counts.append(np.bincount(np.ravel_multi_index(place.T, cells), minlength=cells.prod()).reshape(cells))
    return Visits(x, y, *counts, episodes=len(shared))


def coverage(visits: Visits) -> Coverage:
    """Returns the areas that A, B and both of them visited."""
    a, b = visits.a > 0, visits.b > 0
    return Coverage(_DM2 * int(a.sum()), _DM2 * int(b.sum()), _DM2 * int((a & b).sum()))


def _choose(episodes: pd.DataFrame, pair: tuple[str, str] | None) -> tuple[str, str]:
    present = list(episodes["entry"].unique())
    chosen = present if pair is None else list(pair)
    if len(set(chosen)) != 2 or not set(chosen) <= set(present):
        raise UndrawableFrame(
            f"a map of {', '.join(map(repr, chosen)) or 'no entry'}; it compares two: choose with pair=(a, b) from "
            f"{', '.join(map(repr, present))}"
        )
    return chosen[0], chosen[1]


def _map(
    ax: Axes, visits: Visits, values: np.ndarray, seen: np.ndarray, colours: Sequence[str], norm: Normalize
) -> ScalarMappable:
    """Fills the cells (X, Y) that were ``seen``."""
    scale = LinearSegmentedColormap.from_list("cells", list(colours))
    image = ax.pcolormesh(visits.y, visits.x, np.ma.masked_array(values, ~seen), cmap=scale, norm=norm, rasterized=True)
    ax.set_aspect("equal")
    ax.invert_xaxis()
    ax.margins(0.08)
    ax.set_xlabel("to the left of the base [mm]", fontsize=9)
    ax.set_ylabel("in front of the base [mm]", fontsize=9)
    finish(ax, "both")
    return image


def _scale(ax: Axes, image: ScalarMappable, words: dict[int, str] | None) -> None:
    bar = ax.figure.colorbar(image, cax=ax.inset_axes((1.03, 0, 0.035, 1)))
    bar.outline.set_visible(False)
    bar.ax.tick_params(which="both", labelsize=8, length=0)
    if words is not None:
        bar.set_ticks(list(words), labels=list(words.values()))
    else:
        bar.ax.yaxis.set_major_formatter("{x:g}")
        bar.ax.yaxis.set_minor_formatter(NullFormatter())
        bar.ax.set_title("visits", fontsize=8, loc="left")
