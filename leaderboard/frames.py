"""The tidy frames of one table, which everything that shows results reads.

``rows``, one line an entry and row, entries in the order of the table (best held-out mean first), rows in the study's:

    entry, kind ("measured" | "published"), policy, method, protocol, assets, row, axis, derived (bool: made of rows of
    the table and in no mean), seeds, n, successes, success_at_end, ci_low, ci_high, success_once, errors

``axes``, one line an entry and axis, of the study's or a foreign suite's, and ``held-out``, the mean of the held-out
axes' means; ``rows`` says how many rows are in it, and a mean that lacks rows which others of the table have is NaN:

    entry, kind, axis, rows, n, success_at_end, ci_low, ci_high, relative_drop, drop_low, drop_high

``episodes``, one line an episode of measured entries:

    entry, run, seed, row, axis, index, outcome, success_at_end, success_once, failure, steps, episode_return,
    closest_approach, instruction, video, gripper_path

``failures``, one line an entry, row and category that occurs, measured only: entry, row, axis, category, count, n.

``runs``, one line a measured run: entry, policy, method, run, seed, training, path, fingerprint, digest, episodes.
``training`` counts the policies of an entry: seeds with the same number are of the same policy, and only those of
different ones vary beyond what the episodes explain (``crossed``).

``published``, as in ``published.csv``: entry, source, citation, evidence, model, method, success, temperature, scope,
value, episodes. ``rows`` and ``axes`` take from it only what counts success at the end on a row.

Rates, drops and intervals are fractions, NaN where undefined. ``success_at_end`` and ``success_once`` of an episode are
1, 0, or NaN for an error (unknown). Texts are categorical; ``seed`` is the policy's, or counts the runs of an entry
where the seed does not tell them apart. ``run`` is the run's folder as it was given, ``video`` a path relative to it or
None; ``gripper_path`` is a (T, 3) int16 array [mm], x, y, z in the robot's base frame after every fifth step, or None.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from vlagen.benchmark.statistics import UNKNOWN_FAILURE, is_derived
from vlagen.leaderboard.episodes import Outcomes, episode_frame, keep_common, outcomes_by_entry
from vlagen.leaderboard.errors import NotOneTable
from vlagen.leaderboard.naming import Entry
from vlagen.leaderboard.summaries import HELD_OUT, AxisNumbers, RowNumbers, expected_rows, summarize
from vlagen.leaderboard.tracks import Track

MEASURED, PUBLISHED = "measured", "published"

ROW_NUMBERS = ("n", "successes", "success_at_end", "ci_low", "ci_high", "success_once", "errors")
ROW_COLUMNS = (
    "entry",
    "kind",
    "policy",
    "method",
    "protocol",
    "assets",
    "row",
    "axis",
    "derived",
    "seeds",
    *ROW_NUMBERS,
)
AXIS_NUMBERS = ("rows", "n", "success_at_end", "ci_low", "ci_high", "relative_drop", "drop_low", "drop_high")
AXIS_COLUMNS = ("entry", "kind", "axis", *AXIS_NUMBERS)
PUBLISHED_COLUMNS = (
    "entry",
    "source",
    "citation",
    "evidence",
    "model",
    "method",
    "success",
    "temperature",
    "scope",
    "value",
    "episodes",
)


@dataclass(frozen=True, eq=False)
class Frames:
    """One table's data; see the module's text for the columns.

    Attributes:
        protocol: of the measured entries.
        assets: likewise.
        conditions: hash of what was the same for all of them.
        outcomes: (S, N) successes at the end by entry and row, in which a column is the same episode for all entries.
    """

    protocol: str
    assets: str
    conditions: str
    rows: pd.DataFrame
    axes: pd.DataFrame
    episodes: pd.DataFrame
    failures: pd.DataFrame
    runs: pd.DataFrame
    published: pd.DataFrame
    outcomes: Outcomes

    @property
    def entries(self) -> tuple[str, ...]:
        """The names of the measured entries, in the order of the table."""
        return tuple(self.episodes["entry"].cat.categories)

    @property
    def row_ids(self) -> tuple[str, ...]:
        """The rows that some measured entry has, in the order of the table."""
        return tuple(self.episodes["row"].cat.categories)


def build_frames(track: Track, *, common: bool = False, executor: Executor | None = None) -> Frames:
    """Makes the frames of a table.

    Args:
        track: the runs of the table.
        common: keep only those episodes of each row that everybody has played.
        executor: computes the entries' numbers in other processes.

    Raises:
        NotOneTable: no episode of a row is shared by all who played it.
    """
    episodes = episode_frame(track.entries)
    if common:
        episodes = keep_common(episodes)
        if not len(episodes):
            raise NotOneTable("these runs have no episode in common; play the same rows")
    outcomes = outcomes_by_entry(episodes, track.entries)
    expected = expected_rows(list(episodes["row"].cat.categories))
    work = functools.partial(summarize, track.protocol, track.assets, expected=expected)
    mapped = (executor.map if executor else map)(work, [outcomes[entry.name] for entry in track.entries])
    numbers = dict(zip((entry.name for entry in track.entries), mapped, strict=True))
    ranked = sorted(track.entries, key=lambda entry: _rank(entry.name, numbers[entry.name][1]))
    episodes["entry"] = episodes["entry"].cat.reorder_categories([entry.name for entry in ranked])
    return Frames(
        protocol=track.protocol,
        assets=track.assets,
        conditions=track.conditions,
        rows=pd.DataFrame(
            [
                line
                for entry in ranked
                for line in row_lines(entry.name, MEASURED, entry.policy, entry.method, numbers[entry.name][0])
            ],
            columns=ROW_COLUMNS,
        ),
        axes=pd.DataFrame(
            [line for entry in ranked for line in axis_lines(entry.name, MEASURED, numbers[entry.name][1])],
            columns=AXIS_COLUMNS,
        ),
        episodes=episodes,
        failures=count_failures(episodes),
        runs=_runs(ranked),
        published=pd.DataFrame(columns=PUBLISHED_COLUMNS),
        outcomes=outcomes,
    )


def row_lines(entry: str, kind: str, policy: str, method: str, rows: Sequence[RowNumbers]) -> list[tuple[Any, ...]]:
    """The lines of ``rows`` of one entry."""
    return [
        (
            entry,
            kind,
            policy,
            method,
            row.summary.protocol,
            row.summary.assets,
            row.summary.row,
            row.summary.axis,
            is_derived(row.summary.row),
            row.seeds,
            row.summary.n,
            row.summary.successes,
            row.summary.success_at_end,
            *row.summary.interval,
            row.summary.success_once,
            row.summary.errors,
        )
        for row in rows
    ]


def axis_lines(entry: str, kind: str, axes: Sequence[AxisNumbers]) -> list[tuple[Any, ...]]:
    """The lines of ``axes`` of one entry."""
    return [
        (
            entry,
            kind,
            axis.axis,
            axis.rows,
            axis.n,
            axis.success_at_end,
            *axis.interval,
            axis.relative_drop,
            *axis.drop_interval,
        )
        for axis in axes
    ]


def count_failures(episodes: pd.DataFrame) -> pd.DataFrame:
    """Counts failures by category; ``n`` is how many episodes of the row ended without an error."""
    known = episodes["failure"].cat.add_categories(
        [] if UNKNOWN_FAILURE in episodes["failure"].cat.categories else [UNKNOWN_FAILURE]
    )
    failed = (episodes["outcome"] == "failure").to_numpy()
    keys = ["entry", "row", "axis"]
    counts = (
        episodes.loc[failed, keys]
        .assign(category=known[failed].fillna(UNKNOWN_FAILURE))
        .groupby([*keys, "category"], observed=True)
        .size()
        .rename("count")
        .reset_index()
    )
    totals = episodes[episodes["outcome"] != "error"].groupby(["entry", "row"], observed=True).size().rename("n")
    return counts.join(totals, on=["entry", "row"])


def _rank(name: str, axes: Sequence[AxisNumbers]) -> tuple[float, float, str]:
    """Best first: by the held-out mean, then by the training row, then by name; undefined ones last."""
    values: Mapping[str, float] = {axis.axis: axis.success_at_end for axis in axes}
    keys = [-values.get(axis, np.nan) for axis in (HELD_OUT, "in-distribution")]
    return (*(np.inf if np.isnan(key) else key for key in keys), name)


def _runs(entries: Sequence[Entry]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "entry": entry.name,
                "policy": entry.policy,
                "method": entry.method,
                "run": str(run.path),
                "seed": seed,
                "training": training,
                "path": str(run.path.resolve()),
                "fingerprint": run.description["fingerprint"],
                "digest": run.digest,
                "episodes": len(run.episodes),
            }
            for entry in entries
            for run, seed, training in zip(entry.runs, entry.seeds, entry.policies, strict=True)
        ]
    )
