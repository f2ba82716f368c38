"""Whether a row passes: no errors, its threshold reached, no significant drop from a baseline run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vlagen.assets.errors import VlagenError, unknown
from vlagen.benchmark.paired import RowComparison
from vlagen.benchmark.records import EpisodeRecord, differences, read_records, read_run
from vlagen.benchmark.rounding import percent
from vlagen.benchmark.significance import detectable_difference, holm
from vlagen.benchmark.statistics import RowSummary, is_derived
from vlagen.benchmark.toml_files import read_toml
from vlagen.tasks.variants import AXES

LEVEL = 0.05
"""The probability of failing any row although the policy is as good as the baseline on all of them, at most."""

_SHOWN_EPISODES = 10


class BadThresholds(VlagenError, ValueError):
    """A file of thresholds that cannot be read or asks for something that does not exist."""


class BadBaseline(VlagenError, ValueError):
    """A run that the present one cannot be compared with."""


@dataclass(frozen=True)
class Thresholds:
    """What success at the end each row has to reach.

    Attributes:
        default: for rows without their own; None if there is none.
        axes: for the rows of an axis without their own.
        rows: by row id.
        judge: ``interval`` fails a row whose whole 95% interval lies below the threshold, so that the data rule the
            threshold out; ``rate`` one whose rate does.
    """

    default: float | None
    axes: Mapping[str, float]
    rows: Mapping[str, float]
    judge: Literal["interval", "rate"] = "interval"

    def of(self, row: str, axis: str) -> float | None:
        """The threshold of a row: its own, else its axis', else the default."""
        return self.rows.get(row, self.axes.get(axis, self.default))


@dataclass(frozen=True)
class Baseline:
    """An earlier run.

    Attributes:
        folder: that holds its ``run.json`` and ``episodes.jsonl``.
        identity: what it was played with, see ``provenance.identity``.
        records: its episodes.
    """

    folder: Path
    identity: Mapping[str, Any]
    records: tuple[EpisodeRecord, ...]

    def row(self, row: str) -> list[EpisodeRecord]:
        """The episodes of one row."""
        return [record for record in self.records if record.row == row]


class DropTest:
    """Holm's procedure over rows whose p-values become known one after the other.

    Most rows are decided at once, whatever the others will say: a p-value up to ``LEVEL / rows`` is significant, one
    above ``LEVEL`` is not. Only what lies between has to wait.

    Args:
        rows: the family, fixed beforehand.
    """

    def __init__(self, rows: Sequence[str]) -> None:
        self._rows = tuple(rows)
        self._p: dict[str, float] = {}

    def add(self, row: str, p: float) -> None:
        """Notes the p-value of a row."""
        self._p[row] = p

    def bounds(self, row: str) -> tuple[float, float]:
        """The smallest and the largest adjusted p-value that this row can still get; equal once all are known."""
        place = self._rows.index(row)
        low, high = (holm([self._p.get(each, rest) for each in self._rows])[place] for rest in (0.0, 1.0))
        return low, high

    def verdict(self, row: str) -> bool | None:
        """Whether the row's drop is significant; None while that depends on rows that are not known."""
        low, high = self.bounds(row)
        return high <= LEVEL if (high <= LEVEL) == (low <= LEVEL) else None


def read_thresholds(path: Path, known_rows: Iterable[str]) -> Thresholds:
    """Reads thresholds from a TOML file: ``default``, ``judge``, and the tables ``rows`` and ``axes``.

    Args:
        path: of the file.
        known_rows: rows that may be named, beside derived ones.

    Raises:
        BadThresholds: it cannot be read, or names what does not exist.
    """
    try:
        content = read_toml(path)
    except (OSError, ValueError) as error:
        raise BadThresholds(f"{path}: {error}") from None
    for key in content:
        if key not in ("default", "judge", "rows", "axes"):
            raise BadThresholds(f"{path}: {unknown('setting', key, ('default', 'judge', 'rows', 'axes'))}")
    judge = content.get("judge", "interval")
    if judge not in ("interval", "rate"):
        raise BadThresholds(f"{path}: {unknown('judge', judge, ('interval', 'rate'))}")
    rows, axes = (_table(path, name, content.get(name, {})) for name in ("rows", "axes"))
    names = list(known_rows)
    for row in rows:
        if row not in names and not is_derived(row):
            raise BadThresholds(f"{path}: {unknown('row', row, names)}")
    for axis in axes:
        if axis not in AXES:
            raise BadThresholds(f"{path}: {unknown('axis', axis, AXES)}")
    default = _rate(path, "default", content["default"]) if "default" in content else None
    return Thresholds(default, axes, rows, judge)


def read_baseline(path: Path) -> Baseline:
    """Reads a run to compare with.

    Args:
        path: the run's folder, or a file in it.

    Raises:
        BadBaseline: there is no run, or it has no episode.
        BrokenRecords: it is damaged.
    """
    folder = path if path.is_dir() else path.parent
    if not (folder / "run.json").is_file():
        raise BadBaseline(f"baseline {path} holds no run.json; give the folder of a run that vlagen-eval has made")
    identity = read_run(folder / "run.json")["identity"]
    records, _ = read_records(folder / "episodes.jsonl")
    if not records:
        raise BadBaseline(f"baseline {folder} has no finished episode; play it to its end first")
    return Baseline(folder, identity, tuple(records))


def check_comparable(baseline: Baseline, rows: Iterable[str], conditions: Mapping[str, Any]) -> None:
    """Checks that a run of these rows will play the baseline's episodes.

    Args:
        baseline: see ``read_baseline``.
        rows: ids of all rows that will be compared.
        conditions: what must be as in the baseline, by the names that ``run.json`` has for it.

    Raises:
        BadBaseline: a condition differs, or a row is not in the baseline.
    """
    found = differences({key: baseline.identity.get(key) for key in conditions}, dict(conditions))
    if found:
        raise BadBaseline(
            f"baseline {baseline.folder} was played under other conditions, so its episodes are others: "
            f"{'; '.join(found)}"
        )
    there = {record.row for record in baseline.records}
    absent = [row for row in rows if row not in there]
    if absent:
        raise BadBaseline(
            f"baseline {baseline.folder} has no episode of {', '.join(absent)}; it has {', '.join(sorted(there))}"
        )


def describe_errors(records: Sequence[EpisodeRecord]) -> str | None:
    """Words how many of a row's episodes ended in errors and what the first one says; None if none did."""
    failed = [record for record in records if record.outcome == "error"]
    if not failed:
        return None
    reason = (failed[0].error or "unknown").strip().splitlines()[-1]
    return f"{len(failed)} of {len(records)} episodes ended in errors; the first, episode {failed[0].index}: {reason}"


def describe_shortfall(summary: RowSummary, thresholds: Thresholds) -> str | None:
    """Words that a row misses its threshold; None if it does not, has none, or has no result."""
    threshold = thresholds.of(summary.row, summary.axis)
    if threshold is None or not summary.n:
        return None
    low, high = summary.interval
    if (high if thresholds.judge == "interval" else summary.success_at_end) >= threshold:
        return None
    why = (
        "the whole interval is (judge = 'rate' would compare the rate itself)"
        if thresholds.judge == "interval"
        else "the rate is (judge = 'interval' would fail a row only if the whole interval is)"
    )
    return (
        f"success at the end {percent(summary.success_at_end)}% ({summary.successes} of {summary.n}, 95% interval "
        f"{percent(low)}% to {percent(high)}%) is below the threshold of {percent(threshold)}%: {why}"
    )


def describe_drop(row: RowComparison, drops: DropTest, family: int, now: str = "now") -> str:
    """Words a significant drop from the baseline (A) to the present run (B).

    Args:
        row: the comparison.
        drops: which has this row's p-value.
        family: number of rows that are tested.
        now: what to call the present run.
    """
    at_least, at_most = drops.bounds(row.row)
    adjusted = f"{at_most:.2g}" if at_least == at_most else f"at most {at_most:.2g}"
    detectable = detectable_difference(row.pairs, row.only_a + row.only_b, LEVEL / family, sides=1)
    noticed = (
        f"a true drop of {percent(detectable)} points would have been found with a probability of 80%"
        if not math.isnan(detectable)
        else "so few episodes cannot show any drop"
    )
    left_out = f"; {row.errors} more with errors left out" if row.errors else ""
    return (
        f"success at the end fell from {percent(row.rate_a)}% in the baseline to "
        f"{percent(row.rate_b)}% {now} on the same "
        f"{row.pairs} episodes{left_out}: {percent(row.difference):+} points, 95% interval "
        f"{percent(row.interval.low):+} to {percent(row.interval.high):+}\n"
        f"  solved by the baseline only: {row.only_a}, by this policy only: {row.only_b}; exact McNemar test for a "
        f"drop: p = {row.p.drop:.2g}, after Holm over {family} rows {adjusted}, level {LEVEL}\n"
        f"  {noticed}"
    )


def list_episodes(heading: str, records: Sequence[EpisodeRecord], video: Callable[[EpisodeRecord], Path]) -> str:
    """Lists episodes with their failures and videos, the first few of many.

    Args:
        heading: the first line.
        records: of one row.
        video: where an episode's video lies if there is one.
    """
    lines = [heading]
    for record in records[:_SHOWN_EPISODES]:
        path = video(record)
        lines.append(f"  {record.index}  {record.failure or record.outcome}  {path if path.exists() else '(no video)'}")
    if len(records) > _SHOWN_EPISODES:
        lines.append(f"  and {len(records) - _SHOWN_EPISODES} more")
    return "\n".join(lines)


def _table(path: Path, name: str, content: Any) -> dict[str, float]:
    if not isinstance(content, dict):
        raise BadThresholds(f"{path}: {name} is {content!r}; allowed: a table, e.g. [{name}]")
    return {key: _rate(path, f"{name}.{key}", value) for key, value in content.items()}


def _rate(path: Path, name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise BadThresholds(f"{path}: {name} = {value!r}; allowed: a rate from 0 to 1")
    return float(value)
