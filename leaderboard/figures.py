"""Which figures a table has, and which entries they show."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from vlagen.assets.errors import unknown
from vlagen.leaderboard.cells import file_name
from vlagen.leaderboard.errors import NotOneTable
from vlagen.leaderboard.frames import PUBLISHED, Frames
from vlagen.leaderboard.plots.render import save
from vlagen.leaderboard.plots.style import MOST_ENTRIES
from vlagen.leaderboard.summaries import HELD_OUT

_LEAST_SPOKES = 3

CURVE_COLUMNS = ("entry", "seed", "environment_steps", "split", "success")
SCALING_COLUMNS = ("entry", "demonstrations", "split", "success", "ci_low", "ci_high")


@dataclass(frozen=True, eq=False)
class _Figure:
    """A figure to be drawn: which, from what, under which name, and with which options."""

    name: str
    frame: pd.DataFrame
    file: str
    options: Mapping[str, Any]


def write_figures(
    frames: Frames,
    out: Path,
    shown: Sequence[str],
    *,
    curves: Path | None = None,
    scaling: Path | None = None,
    executor: Executor | None = None,
) -> Iterator[Path]:
    """Writes every figure that the data allow as PNG and SVG.

    Args:
        frames: of one table.
        out: the folder; created.
        shown: entries, see ``choose``.
        curves: CSV with ``CURVE_COLUMNS``, evaluations during training, for the learning curves.
        scaling: CSV with ``SCALING_COLUMNS``, for success over the number of demonstrations.
        executor: draws in other processes, which begin at once.

    Returns:
        The files, as they are complete.
    """
    out.mkdir(parents=True, exist_ok=True)
    figures = _of_results(frames, shown)
    if curves is not None:
        figures.append(_Figure("learning", _read(curves, CURVE_COLUMNS), "learning", {}))
    if scaling is not None:
        figures.append(_Figure("scaling", _read(scaling, SCALING_COLUMNS), "scaling", {}))
    drawn = (executor.map if executor else map)(_draw, figures, [out] * len(figures))
    return itertools.chain.from_iterable(drawn)


def _of_results(frames: Frames, shown: Sequence[str]) -> list[_Figure]:
    rows = frames.rows[frames.rows["entry"].isin(shown)]
    plain = rows[~rows["derived"]]
    measured = [entry for entry in shown if entry in frames.entries]
    options = {"entries": list(shown)}
    figures = []
    if len(plain):
        figures.append(_Figure("rows", plain, "rows", options))
        figures.append(_Figure("axes", frames.axes[frames.axes["entry"].isin(shown)], "axes", options))
        if plain["row"].nunique() >= _LEAST_SPOKES:
            figures.append(_Figure("radar", plain, "radar", options))
    failures = frames.failures[frames.failures["entry"].isin(measured)]
    if len(failures):
        played = frames.rows[frames.rows["entry"].isin(measured)]
        figures.append(_Figure("taxonomy", failures, "taxonomy", {"rows": played, "entries": measured}))
    # What is more than a row of the table with a setting, e.g. a composition with one, is a point of no curve.
    swept = rows["row"].str.extract(r"^([^@+\[~]+)@[^@+\[~]+$")[0].dropna()
    figures += [
        _Figure("severity", rows, f"severity-{file_name(row.replace('/', '-'))}", {"row": row, **options})
        for row in dict.fromkeys(swept)
    ]
    pair = [entry for entry in measured if _has_paths(frames, entry)][:2]
    if len(pair) == 2:
        episodes = frames.episodes.loc[
            frames.episodes["entry"].isin(pair), ["entry", "row", "index", "seed", "gripper_path"]
        ]
        figures.append(_Figure("workspace", episodes, "workspace", {"pair": tuple(pair), **options}))
    return figures


def _draw(figure: _Figure, out: Path) -> tuple[Path, ...]:
    return save(figure.name, figure.frame, out / figure.file, **figure.options)


def choose(frames: Frames, top: int, wanted: Sequence[str] = ()) -> tuple[str, ...]:
    """Chooses the entries that figures and tables by row show.

    Args:
        frames: of one table.
        top: how many at most; figures can tell ``style.MOST_ENTRIES`` apart.
        wanted: by name; none for the best measured ones and, behind them, published ones that have a held-out mean.

    Raises:
        NotOneTable: there is no such entry, or they are too many.
    """
    axes = frames.axes[frames.axes["success_at_end"].notna()]
    published = axes[(axes["kind"] == PUBLISHED) & (axes["axis"] == HELD_OUT)]["entry"].tolist()
    known = [*frames.entries, *dict.fromkeys(frames.rows.loc[frames.rows["kind"] == PUBLISHED, "entry"])]
    for entry in wanted:
        if entry not in known:
            raise NotOneTable(unknown("entry", entry, known))
    if not 1 <= max(top, len(wanted)) <= MOST_ENTRIES:
        raise NotOneTable(f"{max(top, len(wanted))} entries to show; allowed: 1 to {MOST_ENTRIES}")
    return tuple(wanted) or (*frames.entries[: max(1, top - len(published))], *published)[:top]


def _has_paths(frames: Frames, entry: str) -> bool:
    return bool(frames.episodes.loc[frames.episodes["entry"] == entry, "gripper_path"].notna().any())


def _read(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    try:
        frame = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise NotOneTable(f"{path} is no readable CSV file ({error})") from None
    missing = [column for column in columns if column not in frame]
    if missing or not len(frame):
        raise NotOneTable(f"{path} lacks {', '.join(missing) or 'lines'}; it needs {', '.join(columns)}")
    return frame
