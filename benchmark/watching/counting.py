"""What adds up while episodes end: successes of rows and axes, errors, and how fast it goes."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vlagen.benchmark.records import EpisodeKey, EpisodeRecord
from vlagen.tasks.variants import ROW_IDS


@dataclass
class Count:
    """How often it succeeded so far, errors aside."""

    n: int = 0
    successes: int = 0

    @property
    def rate(self) -> float:
        """Share of successes; NaN before the first episode."""
        return self.successes / self.n if self.n else math.nan

    def add(self, outcome: str, times: int) -> None:
        """Counts an outcome; ``times`` is -1 to take it back."""
        self.n += times * (outcome != "error")
        self.successes += times * (outcome == "success")


class Counts:
    """Counts episodes as they end. One that is played again counts as it ended last.

    Args:
        axes: the axis of each row id; only those of the study's own rows need not be told, others are ``"other"``.

    Attributes:
        rows: by row id, in the order of first sight.
        axes: by axis, pooled over its rows' episodes, in the order of first sight.
        failures: by row id and category.
        errors: episodes that ended in one.
    """

    def __init__(self, axes: Mapping[str, str]) -> None:
        self.rows: dict[str, Count] = {}
        self.axes: dict[str, Count] = {}
        self.failures: Counter[tuple[str, str]] = Counter()
        self.errors = 0
        self._axis_of = dict(axes)
        self._records: dict[EpisodeKey, EpisodeRecord] = {}

    @property
    def finished(self) -> int:
        """Episodes that have a record."""
        return len(self._records)

    def axis_of(self, row: str) -> str:
        """Returns the axis of a row id."""
        if row in self._axis_of:
            return self._axis_of[row]
        if row not in ROW_IDS:
            return "other"
        return row.split("/")[0] if "/" in row else "in-distribution"

    def add(self, record: EpisodeRecord) -> None:
        """Counts an episode."""
        before = self._records.get(record.key)
        if before is not None:
            self._count(before, -1)
        self._records[record.key] = record
        self._count(record, 1)

    def _count(self, record: EpisodeRecord, times: int) -> None:
        self.rows.setdefault(record.row, Count()).add(record.outcome, times)
        self.axes.setdefault(self.axis_of(record.row), Count()).add(record.outcome, times)
        self.errors += times * (record.outcome == "error")
        if record.failure is not None:
            self.failures[record.row, record.failure] += times


class Pace:
    """How fast episodes end in this session, judged by its last minutes: rows differ in how long an episode takes.

    What earlier sessions have played says nothing about this one's speed, so it never enters.

    Args:
        clock: returns the time [s]; only differences matter.
    """

    WINDOW = 300.0
    """Seconds that are looked back, further if they hold fewer than ``LEAST`` episodes."""
    LEAST = 64

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.started = clock()
        self._since = self.started
        self._ends: deque[float] = deque()

    def tick(self) -> None:
        """Notes that an episode has just ended."""
        now = self._clock()
        self._ends.append(now)
        while len(self._ends) > self.LEAST and self._ends[0] < now - self.WINDOW:
            self._since = self._ends.popleft()

    @property
    def per_minute(self) -> float:
        """Episodes a minute; NaN while nothing can be said."""
        if not self._ends or self._ends[-1] <= self._since:
            return math.nan
        return 60 * len(self._ends) / (self._ends[-1] - self._since)

    def seconds_left(self, missing: int) -> float:
        """How long ``missing`` more episodes will take from now on; NaN while nothing can be said."""
        since_last = self._clock() - (self._ends[-1] if self._ends else self.started)
        # Written as a comparison that NaN fails too.
        left = 60 * missing / self.per_minute - since_last
        return 0.0 if left < 0 else left
