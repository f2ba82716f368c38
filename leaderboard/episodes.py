"""All episodes of a table in one frame, and the same as matrices of outcomes that can be paired."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from vlagen.leaderboard.naming import Entry
from vlagen.leaderboard.summaries import RowOutcomes, axis_of
from vlagen.tasks.variants import ROW_IDS

Outcomes = Mapping[str, Mapping[str, RowOutcomes]]
"""Outcomes by entry and row."""

_TEXTS = ("row", "outcome", "failure", "instruction")
_NUMBERS = ("index", "success_at_end", "success_once", "steps", "episode_return", "closest_approach")


def episode_frame(entries: Sequence[Entry]) -> pd.DataFrame:
    """Makes the frame ``episodes``, see ``frames``; rows in the study's order, then as they appear."""
    runs = [(entry, run, seed) for entry in entries for run, seed in zip(entry.runs, entry.seeds, strict=True)]
    lengths = [len(run.episodes) for _, run, _ in runs]
    frame = pd.DataFrame(
        {name: np.concatenate([run.episodes[name].to_numpy() for _, run, _ in runs]) for name in _NUMBERS}
    )
    names = [entry.name for entry in entries]
    frame["entry"] = _repeated([entry.name for entry, _, _ in runs], lengths, names)
    frame["run"] = _repeated([str(run.path) for _, run, _ in runs], lengths, [str(run.path) for _, run, _ in runs])
    frame["seed"] = np.repeat(np.array([seed for _, _, seed in runs], dtype=np.int64), lengths)
    for name in _TEXTS:
        frame[name] = _merged([run.episodes[name] for _, run, _ in runs])
    rows = list(frame["row"].cat.categories)
    # As they appear in the plans: categories come sorted.
    seen = dict.fromkeys(row for _, run, _ in runs for row in run.description["plan"])
    ordered = [row for row in dict.fromkeys([*ROW_IDS, *seen]) if row in rows]
    frame["row"] = frame["row"].cat.set_categories(ordered)
    axes = [axis_of(row) for row in ordered]
    unique = list(dict.fromkeys(axes))
    codes = np.array([unique.index(axis) for axis in axes])[frame["row"].cat.codes]
    frame["axis"] = pd.Categorical.from_codes(codes, categories=unique)
    videos = np.concatenate([run.episodes["video"].to_numpy(dtype=object) for _, run, _ in runs])
    # Of this type explicitly: pandas would make texts of it, and NaN of None.
    frame["video"] = pd.Series(videos, dtype=object)
    frame["gripper_path"] = np.concatenate([run.gripper_paths.split() for _, run, _ in runs])
    columns = ("entry", "run", "seed", "row", "axis", "index", "outcome", "success_at_end", "success_once", "failure")
    columns += ("steps", "episode_return", "closest_approach", "instruction", "video", "gripper_path")
    return frame[list(columns)]


def keep_common(episodes: pd.DataFrame) -> pd.DataFrame:
    """Keeps of each row the episodes that every seed of every entry that plays the row has played."""
    players = episodes.groupby("row", observed=True)[["run"]].nunique()["run"]
    played = episodes.groupby(["row", "index"], observed=True)["run"].transform("size")
    kept = episodes[played.to_numpy() == players.loc[episodes["row"]].to_numpy()].reset_index(drop=True)
    kept["row"] = kept["row"].cat.remove_unused_categories()
    return kept


def outcomes_by_entry(episodes: pd.DataFrame, entries: Sequence[Entry]) -> dict[str, dict[str, RowOutcomes]]:
    """Puts outcomes side by side: of each entry and row a matrix of its seeds and episodes.

    Columns are episodes in increasing order of their indices, so that the same column of two entries is the same
    episode. One that ended in an error under one of the seeds is left out for all seeds of the entry.
    """
    policies = {entry.name: entry.policy_of for entry in entries}
    names, rows = episodes["entry"].cat, episodes["row"].cat
    seeds = episodes["seed"].to_numpy()
    order = np.lexsort((episodes["index"].to_numpy(), seeds, rows.codes, names.codes))
    codes = names.codes.to_numpy()[order].astype(np.int64) * len(rows.categories) + rows.codes.to_numpy()[order]
    at_end, once = (episodes[name].to_numpy()[order] for name in ("success_at_end", "success_once"))
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    found: dict[str, dict[str, RowOutcomes]] = {name: {} for name in names.categories}
    for start, end in zip(starts, [*starts[1:], len(codes)], strict=True):
        entry, row = divmod(int(codes[start]), len(rows.categories))
        name = names.categories[entry]
        own = np.unique(seeds[order[start:end]])
        count = len(own)
        matrix = at_end[start:end].reshape(count, -1)
        known = ~np.isnan(matrix).any(axis=0)
        found[name][rows.categories[row]] = RowOutcomes(
            at_end=matrix[:, known],
            once=once[start:end].reshape(count, -1)[:, known],
            policies=np.array([policies[name][int(seed)] for seed in own]),
            known=known,
            errors=int(np.isnan(matrix).sum()),
        )
    return found


def _repeated(names: Sequence[str], lengths: Sequence[int], categories: Sequence[str]) -> pd.Categorical:
    places = {name: place for place, name in enumerate(categories)}
    codes = np.repeat(np.array([places[name] for name in names]), lengths)
    return pd.Categorical.from_codes(codes, categories=list(dict.fromkeys(categories)))


def _merged(columns: Sequence[pd.Series]) -> pd.Categorical:
    """Strings categorical columns together; their categories, in order of appearance, become one list."""
    names = list(dict.fromkeys(name for column in columns for name in column.cat.categories))
    places = {name: place for place, name in enumerate(names)}
    codes = []
    for column in columns:
        # The last place is for -1, which stands for an absent value.
        table = np.array([*(places[name] for name in column.cat.categories), -1])
        codes.append(table[column.cat.codes])
    return pd.Categorical.from_codes(np.concatenate(codes), categories=names)
