"""Writes a table's files: tidy CSV and JSON for programs, Markdown and LaTeX for people."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from vlagen.leaderboard import latex, markdown
from vlagen.leaderboard.frames import Frames
from vlagen.leaderboard.grids import measured_grids, published_grids

SCHEMA = 1
_DIGITS = "%.6g"


def write_tables(
    frames: Frames, out: Path, shown: Sequence[str], tied: Mapping[str, frozenset[str]]
) -> tuple[Path, ...]:
    """Writes ``leaderboard.csv``, ``.json``, ``.md``, ``.tex``, and ``axes.csv``, ``failures.csv``, ``published.csv``.

    Args:
        frames: of one table.
        out: the folder; created.
        shown: measured entries for the tables by row; the files for programs have all of them.
        tied: the entries to set in bold, see ``ties.tied_with_best``.

    Returns:
        The files.
    """
    out.mkdir(parents=True, exist_ok=True)
    grids = (*measured_grids(frames, shown, tied), *published_grids(frames))
    texts = {
        "leaderboard.csv": to_csv(frames.rows),
        "leaderboard.json": to_json(frames),
        "leaderboard.md": markdown.document(grids),
        "leaderboard.tex": latex.document(grids),
        "axes.csv": to_csv(frames.axes),
        "failures.csv": to_csv(frames.failures),
    }
    if len(frames.published):
        texts["published.csv"] = to_csv(frames.published)
    for name, text in texts.items():
        (out / name).write_text(text, encoding="utf-8", newline="\n")
    return tuple(out / name for name in texts)


def to_csv(frame: pd.DataFrame) -> str:
    """A frame as CSV; undefined numbers are ``nan`` as in a run's ``summary.csv``."""
    return frame.to_csv(index=False, float_format=_DIGITS, na_rep="nan", lineterminator="\n")


def to_json(frames: Frames) -> str:
    """All of a table but its episodes as JSON; undefined numbers are null."""
    content = {
        "schema": SCHEMA,
        "protocol": frames.protocol,
        "assets": frames.assets,
        "conditions": frames.conditions,
        # Not where the runs lie on this machine: the file is for others.
        "runs": frames.runs.drop(columns="path").to_dict("records"),
        **{name: getattr(frames, name).to_dict("records") for name in ("rows", "axes", "failures", "published")},
    }
    return to_json_text(content)


def to_json_text(content: Any) -> str:
    """Values as JSON; undefined numbers are null."""
    return json.dumps(_plain(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def plain_values(line: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers as JSON holds them: six digits, None for undefined ones."""
    return {name: _plain(value) for name, value in line.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return plain_values(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return None
    return float(_DIGITS % value) if isinstance(value, float) else value
