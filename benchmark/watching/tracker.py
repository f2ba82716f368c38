"""What is logged to an experiment tracker, whichever it is: curves while a run goes on, and its results at the end."""

from __future__ import annotations

import hashlib
import json
import math
import sys
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlagen.assets.errors import VlagenError
from vlagen.benchmark.records import EpisodeKey, EpisodeRecord
from vlagen.benchmark.statistics import RowSummary, count_failures, summarize_axes, summarize_held_out
from vlagen.benchmark.watching.counting import Counts
from vlagen.benchmark.watching.video import video_path


class TrackerUnavailable(VlagenError):
    """A tracker that is not installed or cannot begin; found out before the first episode."""


@dataclass(frozen=True)
class Point:
    """One point of a curve.

    Attributes:
        group: what kind of curve, e.g. ``"success_by_row"``.
        name: of the curve within its group, e.g. a row id.
        x: episodes so far.
        y: the value.
    """

    group: str
    name: str
    x: int
    y: float


@dataclass(frozen=True)
class Sheet:
    """One table of what is shown at the end; cells are texts or numbers, None where undefined."""

    title: str
    columns: tuple[str, ...]
    lines: tuple[tuple[Any, ...], ...]


class Tracker(ABC):
    """Decides what is logged, whoever logs it, and keeps trouble there away from the evaluation.

    Args:
        target: names the tracker and the place it logs to.
        out: the run's folder.
        axes: the axis of each row id, see ``Counts``.
        warn: is told once if logging fails in the middle of the run; by default it is printed to standard error.
    """

    def __init__(
        self,
        target: str,
        out: Path,
        axes: Mapping[str, str] | None = None,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        self._target = target
        self._out = out
        self._warn = warn or (lambda message: sys.stderr.write(f"warning: {message}\n"))
        self._memory = _Memory(out, target)
        self._counts = Counts(axes or {})
        self._records: dict[EpisodeKey, EpisodeRecord] = {}
        self._plan_size: int | None = None
        self._open = self._broken = False

    def begin(self, plan_size: int, records_so_far: Sequence[EpisodeRecord]) -> None:
        """Continues or creates the tracker's run.

        Raises:
            TrackerUnavailable: it cannot.
        """
        is_first = self._plan_size is None
        self._plan_size = plan_size
        if not is_first:
            return
        knows_them = self._memory.is_known
        if not knows_them or len(records_so_far) < plan_size:
            try:
                self._ensure_open()
            except Exception as error:
                raise TrackerUnavailable(f"{self._target} cannot begin: {error}{self._advice()}") from error
        for record in records_so_far:
            points = self._count(record)
            if not knows_them:
                self._log_safely(points)

    def record(self, record: EpisodeRecord) -> None:
        self._log_safely(self._count(record))

    def end(self, summaries: Sequence[RowSummary]) -> None:
        if self._counts.finished >= (self._plan_size or 1):
            self._attempt(lambda: self._show(summaries))
        if self._open:
            self._open = False
            self._attempt(self._close)

    @abstractmethod
    def _start(self, name: str) -> None:
        """Continues the tracker's run of this name, or creates it."""

    @abstractmethod
    def _log(self, points: Sequence[Point], finished: int) -> None:
        """Adds points to curves; ``finished`` counts the run's episodes."""

    @abstractmethod
    def _report(self, sheets: Sequence[Sheet], summaries: Sequence[RowSummary], finished: int) -> None:
        """Shows the results of a complete run."""

    @abstractmethod
    def _close(self) -> None:
        """Makes sure that everything is written."""

    def _advice(self) -> str:
        return ""

    def _count(self, record: EpisodeRecord) -> tuple[Point, ...]:
        """Counts an episode and returns what that adds to the curves."""
        counts, axis = self._counts, self._counts.axis_of(record.row)
        counts.add(record)
        self._records[record.key] = record
        if record.outcome == "error":
            return (Point("episodes", "errors", counts.finished, counts.errors),)
        of_row, of_axis = counts.rows[record.row], counts.axes[axis]
        return (
            Point("success_by_row", record.row, of_row.n, of_row.rate),
            Point("success_by_axis", axis, of_axis.n, of_axis.rate),
        )

    def _log_safely(self, points: Sequence[Point]) -> None:
        self._attempt(lambda: self._log(points, self._counts.finished))

    def _show(self, summaries: Sequence[RowSummary]) -> None:
        sheets = results_sheets(summaries, self._records.values(), self._out)
        digest = hashlib.sha256(json.dumps([vars(sheet) for sheet in sheets]).encode()).hexdigest()
        if digest != self._memory.shown:
            self._ensure_open()
            self._report(sheets, summaries, self._counts.finished)
            self._memory.store(digest)

    def _ensure_open(self) -> None:
        if not self._open:
            self._start(self._memory.name())
            self._open = True
            self._memory.store(self._memory.shown)

    def _attempt(self, action: Callable[[], None]) -> None:
        if self._broken:
            return
        try:
            action()
        except Exception as error:  # noqa: BLE001 - no trouble of a tracker is worth an episode
            self._broken = True
            self._warn(f"{self._target}: {error}; nothing more is logged there, the evaluation goes on")


class _Memory:
    """``tracking.json`` in the run's folder: under which name trackers know the run, and what they were told last.

    The name is made up once and kept with the run rather than derived from the folder's: two runs in folders of the
    same name, on two machines say, must not end up as one.

    Attributes:
        is_known: this target has been logged to before.
        shown: fingerprint of the results that it shows, None for none.
    """

    def __init__(self, out: Path, target: str) -> None:
        self._file = out / "tracking.json"
        self._target = target
        stored = self._read()
        folder = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in out.resolve().name)
        self._new_name = f"{folder[:100]}-{uuid.uuid4().hex[:8]}"
        self.is_known = target in stored.get("shown", {})
        self.shown: str | None = stored.get("shown", {}).get(target)

    def name(self) -> str:
        """Returns the run's name, the same for all trackers: read again, as another one may have stored it by now."""
        return self._read().get("name", self._new_name)

    def store(self, shown: str | None) -> None:
        """Notes that this target is logged to, and which results it shows."""
        self.shown = shown
        stored = self._read()
        stored.setdefault("name", self._new_name)
        stored.setdefault("shown", {})[self._target] = shown
        temporary = self._file.with_name(".tracking.json")
        temporary.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
        temporary.replace(self._file)

    def _read(self) -> dict[str, Any]:
        try:
            return json.loads(self._file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}


def results_sheets(
    summaries: Sequence[RowSummary], records: Iterable[EpisodeRecord], out: Path
) -> tuple[Sheet, Sheet, Sheet]:
    """Lays out the results, the failures by category, and where the videos lie."""
    records = list(records)
    held_out = summarize_held_out(summaries)
    results = [(row.row, row.n, row.success_at_end, *row.interval, row.errors) for row in summaries]
    results += [
        (f"{axis.axis}, mean of {axis.rows}", axis.n, axis.success_at_end, *axis.interval, axis.errors)
        for axis in summarize_axes(summaries)
    ]
    if held_out.n:
        results.append((held_out.label, held_out.n, held_out.success_at_end, *held_out.interval, 0))
    failures = [(row, category, n) for row, counts in count_failures(records).items() for category, n in counts.items()]
    videos = [
        (record.row, record.index, record.outcome, record.failure or "", str(path.resolve()))
        for record in records
        if (path := video_path(out / "videos", record.row, record.index, record.outcome)).is_file()
    ]
    return (
        Sheet("results", ("row", "n", "success at end", "ci low", "ci high", "errors"), _defined(results)),
        Sheet("failures", ("row", "category", "count"), tuple(sorted(failures))),
        Sheet("videos", ("row", "index", "outcome", "failure", "file"), tuple(sorted(videos))),
    )


def _defined(lines: Iterable[tuple[Any, ...]]) -> tuple[tuple[Any, ...], ...]:
    return tuple(
        tuple(None if isinstance(cell, float) and math.isnan(cell) else cell for cell in line) for line in lines
    )
