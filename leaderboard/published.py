"""Published results, as data: what others have reported about the same rows, and how they counted.

They stand beside measured results, never among them: they come without episodes, so no test can use them, and often
with another definition of success. ``published.csv`` holds one number a line:

    source, citation, evidence, model, method, success ("at_end" | "once" | "unknown"), temperature, scope, value,
    episodes

where ``scope`` is a row, ``axis:<axis>`` or ``axis:mean`` for what the source calls the mean over rows of an axis and
over the axes, or a task that is none of ours; ``episodes`` behind the number is empty where the source does not say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from vlagen.benchmark.statistics import UNDEFINED, RowSummary, wilson_interval
from vlagen.leaderboard.errors import NotOneTable
from vlagen.leaderboard.frames import (
    AXIS_COLUMNS,
    PUBLISHED,
    PUBLISHED_COLUMNS,
    ROW_COLUMNS,
    Frames,
    axis_lines,
    row_lines,
)
from vlagen.leaderboard.summaries import RowNumbers, axis_of, expected_rows, summarize_rows
from vlagen.tasks.variants import ROW_IDS

FILE = Path(__file__).with_name("published.csv")
AT_END, ONCE, UNKNOWN = "at_end", "once", "unknown"
_COUNTS = ("seeds", "n", "successes", "errors")
_ROUNDING = 0.0005  # the sources give three digits


def read_published(path: Path = FILE) -> pd.DataFrame:
    """Reads published results as the frame ``published``, see ``frames``.

    Raises:
        NotOneTable: a success definition or value that cannot be.
    """
    published = pd.read_csv(path, keep_default_na=False, na_values={name: [""] for name in ("temperature", "episodes")})
    known = published["success"].isin((AT_END, ONCE, UNKNOWN)) & published["value"].between(0, 1)
    if not known.all():
        line = int(np.argmin(known.to_numpy())) + 2
        raise NotOneTable(f"{path}, line {line}: allowed are values in [0, 1] and success at_end, once or unknown")
    published["episodes"] = published["episodes"].astype("Int64")
    published["entry"] = published["model"] + " " + published["method"] + " [" + published["source"] + "]"
    return published[list(PUBLISHED_COLUMNS)]


def with_published(frames: Frames, published: pd.DataFrame) -> Frames:
    """Adds published results to a table, as entries of the kind ``published`` behind the measured ones.

    ``rows`` takes what is about a row of the study, with the number in ``success_at_end`` or ``success_once`` if the
    source says which it is; ``axes`` the means that follow from its rows. The rest is in ``published`` only.

    Raises:
        NotOneTable: a measured entry has the name of a published one.
    """
    rows, axes = [], []
    for entry, lines in published.groupby("entry", sort=False):
        if entry in frames.entries:
            raise NotOneTable(f"{entry!r} is a published result; call the measured entry otherwise with --name")
        numbers = [_row(line) for line in lines.itertuples() if line.scope in ROW_IDS and line.success != UNKNOWN]
        first = lines.iloc[0]
        rows += row_lines(entry, PUBLISHED, first["model"], first["method"], numbers)
        counted = [row.summary for row in numbers if row.summary.successes is not None]
        if len(counted) > 1:
            exact = [replace(row, success_at_end=row.successes / row.n, errors=0) for row in counted]
            axes += axis_lines(entry, PUBLISHED, summarize_rows(exact, expected_rows(ROW_IDS)))
    return replace(
        frames,
        rows=_joined(frames.rows, pd.DataFrame(rows, columns=ROW_COLUMNS), _COUNTS),
        axes=_joined(frames.axes, pd.DataFrame(axes, columns=AXIS_COLUMNS), ()),
        published=published,
    )


def _row(line) -> RowNumbers:
    """A published number of a row. Its count follows from rate and sample size if these fit each other."""
    n = None if pd.isna(line.episodes) else int(line.episodes)
    successes = round(line.value * n) if n is not None and line.success == AT_END else None
    if successes is not None and abs(line.value - successes / n) > _ROUNDING:
        successes = None
    return RowNumbers(
        seeds=None,
        summary=RowSummary(
            protocol=PUBLISHED,
            assets=PUBLISHED,
            row=line.scope,
            axis=axis_of(line.scope),
            n=n,
            successes=successes,
            success_at_end=line.value if line.success == AT_END else np.nan,
            interval=UNDEFINED if successes is None else wilson_interval(successes, n),
            success_once=line.value if line.success == ONCE else np.nan,
            grasped=np.nan,
            errors=None,
        ),
    )


def _joined(measured: pd.DataFrame, published: pd.DataFrame, counts: Sequence[str]) -> pd.DataFrame:
    """Counts may be unknown in the result, so they are pandas' nullable integers there."""
    kinds = dict.fromkeys(counts, "Int64")
    return pd.concat([measured.astype(kinds), published.astype(kinds)], ignore_index=True)
