"""Two entries side by side: where they differ, how sure that is, and which episodes to look at.

A difference is B minus A. Only episodes that both have played count, and rows that both have.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd

from vlagen.benchmark.paired import paired_interval
from vlagen.benchmark.significance import detectable_difference, holm
from vlagen.benchmark.statistics import Interval, is_derived
from vlagen.leaderboard.crossed import crossed_difference_interval
from vlagen.leaderboard.errors import NotOneTable
from vlagen.leaderboard.frames import Frames
from vlagen.leaderboard.summaries import HELD_OUT, RowOutcomes, axis_of
from vlagen.leaderboard.ties import column_rows, paired, paired_by_policy, paired_p
from vlagen.tasks.variants import AXES

ALL_ROWS = "all rows"
_MOST_ROWS, _MOST_EPISODES = 3, 5


@dataclass(frozen=True)
class Difference:
    """How B differs from A on a row, or on average over several.

    Attributes:
        name: of the row, an axis, ``held-out`` or ``all rows``.
        rows: how many are averaged.
        episodes: that both played without an error.
        better: episodes that B did better.
        worse: episodes that A did better.
        interval: 95% interval of ``difference``.
        p: two-sided, of all flips of the episodes' signs; McNemar's exact test for one seed each.
        adjusted: for all rows, or for all axes, at once (Holm); the headline is a family of its own.
        detectable: a true difference that would be noticed with a probability of 80%; NaN for means of rows.
    """

    name: str
    rows: int
    episodes: int
    rate_a: float
    rate_b: float
    difference: float
    interval: Interval
    better: int
    worse: int
    p: float
    adjusted: float
    detectable: float


@dataclass(frozen=True)
class EpisodePair:
    """An episode on which the two differ; rates are over the seeds, videos paths or None."""

    row: str
    index: int
    instruction: str
    rate_a: float
    rate_b: float
    failure_a: str | None
    failure_b: str | None
    video_a: str | None
    video_b: str | None


@dataclass(frozen=True)
class Comparison:
    """Two entries side by side.

    Attributes:
        a: name of the reference.
        b: name of what is compared with it.
        headline: the held-out mean, or that of all rows where none is held out.
        axes: of the rows that both have.
        rows: likewise, derived ones included.
        episodes: on which the two differ, most on rows where the difference is largest.
        left_out: words what could not be compared; may be empty.
    """

    a: str
    b: str
    headline: Difference
    axes: tuple[Difference, ...]
    rows: tuple[Difference, ...]
    episodes: tuple[EpisodePair, ...]
    left_out: str


def compare(frames: Frames, a: str, b: str) -> Comparison:
    """Compares two entries of a table that was built with ``common``.

    Raises:
        NotOneTable: they have no row in common.
    """
    by_row = {
        row: (frames.outcomes[a][row], frames.outcomes[b][row])
        for row in frames.row_ids
        if row in frames.outcomes[a] and row in frames.outcomes[b]
    }
    used = [row for row, pair in by_row.items() if paired(*pair)[0].size]
    if not used:
        raise NotOneTable(f"{a!r} and {b!r} have no row in common; play the same rows")
    plain = [axis_of(row) for row in used if not is_derived(row)]
    axes = [axis for axis in dict.fromkeys([*AXES, *plain]) if axis in plain]
    weights = {name: column_rows(name, used) for name in (*used, *axes, HELD_OUT)}
    weights[ALL_ROWS] = {row: Fraction(1, len(used)) for row in used}
    rows = _adjust([_difference(row, by_row, weights[row]) for row in used])
    headline = HELD_OUT if weights[HELD_OUT] else ALL_ROWS
    return Comparison(
        a=a,
        b=b,
        headline=_difference(headline, by_row, weights[headline]),
        axes=_adjust([_difference(axis, by_row, weights[axis]) for axis in axes]),
        rows=rows,
        episodes=_telling_episodes(frames.episodes, a, b, rows),
        left_out=_left_out(frames, a, b, by_row),
    )


def _difference(
    name: str, by_row: Mapping[str, tuple[RowOutcomes, RowOutcomes]], weights: Mapping[str, Fraction]
) -> Difference:
    pairs = [paired(*by_row[row]) for row in weights]
    shares = [float(weight) for weight in weights.values()]
    rates = [sum(share * pair[side].mean() for share, pair in zip(shares, pairs, strict=True)) for side in (0, 1)]
    signs = np.concatenate([np.sign(b.mean(axis=0) - a.mean(axis=0)) for a, b in pairs])
    better, worse = int((signs > 0).sum()), int((signs < 0).sum())
    p = paired_p({row: by_row[row][0] for row in weights}, {row: by_row[row][1] for row in weights}, weights)
    one_row = len(pairs) == 1 and _one_seed(pairs)
    return Difference(
        name=name,
        rows=len(pairs),
        episodes=len(signs),
        rate_a=float(rates[0]),
        rate_b=float(rates[1]),
        difference=float(rates[1] - rates[0]),
        interval=_interval([by_row[row] for row in weights], pairs, shares),
        better=better,
        worse=worse,
        p=p,
        adjusted=p,
        detectable=detectable_difference(len(signs), better + worse) if one_row else math.nan,
    )


def _interval(
    outcomes: Sequence[tuple[RowOutcomes, RowOutcomes]],
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
    shares: Sequence[float],
) -> Interval:
    if not _one_seed(pairs):
        by_policy = [paired_by_policy(*sides) for sides in outcomes]
        return crossed_difference_interval([a for a, _ in by_policy], [b for _, b in by_policy], shares)
    counts = [[(a * b).sum(), (a * (1 - b)).sum(), ((1 - a) * b).sum(), ((1 - a) * (1 - b)).sum()] for a, b in pairs]
    return paired_interval(np.array(counts).round().astype(int), np.array(shares))


def _one_seed(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> bool:
    return all(len(a) == len(b) == 1 for a, b in pairs)


def _adjust(differences: Sequence[Difference]) -> tuple[Difference, ...]:
    adjusted = holm([difference.p for difference in differences])
    return tuple(replace(difference, adjusted=p) for difference, p in zip(differences, adjusted, strict=True))


def _telling_episodes(episodes: pd.DataFrame, a: str, b: str, rows: Sequence[Difference]) -> tuple[EpisodePair, ...]:
    """The first episodes on which the two differ, of the rows where they differ most, in the direction of the row."""
    sides = [episodes[(episodes["entry"] == name) & (episodes["outcome"] != "error")] for name in (a, b)]
    found: list[EpisodePair] = []
    for row in sorted(rows, key=lambda row: -abs(row.difference))[:_MOST_ROWS]:
        own = [side[side["row"] == row.name].sort_values("seed", kind="stable") for side in sides]
        rates = [side.groupby("index")["success_at_end"].mean() for side in own]
        change = (rates[1] - rates[0]).dropna()
        change = change[change * np.sign(row.difference) > 0]
        for index in change.abs().sort_values(ascending=False, kind="stable").index[:_MOST_EPISODES]:
            there, here = (_one_of(side[side["index"] == index]) for side in own)
            found.append(
                EpisodePair(
                    row=row.name,
                    index=int(index),
                    instruction=_text(here["instruction"]) or "",
                    rate_a=float(rates[0][index]),
                    rate_b=float(rates[1][index]),
                    failure_a=_text(there["failure"]),
                    failure_b=_text(here["failure"]),
                    video_a=_video(there),
                    video_b=_video(here),
                )
            )
    return tuple(found)


def _one_of(seeds: pd.DataFrame) -> pd.Series:
    """Of an episode's seeds the first that has a video, or the first."""
    return seeds.iloc[np.argmax(seeds["video"].notna().to_numpy())]


def _video(episode: pd.Series) -> str | None:
    return None if episode["video"] is None else str(Path(episode["run"]) / episode["video"])


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _left_out(frames: Frames, a: str, b: str, shared: Mapping[str, object]) -> str:
    parts = []
    for name in (a, b):
        alone = [row for row in frames.outcomes[name] if row not in shared]
        if alone:
            parts.append(f"{len(alone)} rows that only {name} has played, e.g. {alone[0]}")
        errors = sum(outcomes.errors for outcomes in frames.outcomes[name].values())
        if errors:
            parts.append(f"{errors} episodes of {name} that ended in errors")
    return "; ".join(parts)
