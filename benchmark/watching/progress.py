"""What can be watched while an evaluation runs: by a person, or by a program that reads its standard output."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from vlagen.benchmark.records import EpisodeRecord
from vlagen.benchmark.statistics import RowSummary
from vlagen.benchmark.watching.counting import Counts, Pace

_EPISODE_FIELDS = ("protocol", "row", "index", "outcome", "success_once", "failure", "steps")
_ROW_FIELDS = (
    "protocol", "assets", "row", "axis", "n", "successes", "success_at_end", "success_once", "grasped", "errors"
)  # fmt: skip


class Observer(Protocol):
    """Is told how an evaluation goes. Nothing that an observer does may change a result."""

    def begin(self, plan_size: int, records_so_far: Sequence[EpisodeRecord]) -> None:
        """Called before the first episode, and again when the plan has grown.

        Args:
            plan_size: how many episodes the run is to have in all.
            records_so_far: of those episodes that are not going to be played (again).
        """
        ...

    def record(self, record: EpisodeRecord) -> None:
        """Called with each record once it is on disk."""
        ...

    def end(self, summaries: Sequence[RowSummary]) -> None:
        """Called when no more is played, also when that is because of Ctrl-C or an error."""
        ...


class Quiet:
    """Shows nothing."""

    def begin(self, plan_size: int, records_so_far: Sequence[EpisodeRecord]) -> None:
        pass

    def record(self, record: EpisodeRecord) -> None:
        pass

    def end(self, summaries: Sequence[RowSummary]) -> None:
        pass


class RichProgress:
    """A live display in a terminal; elsewhere, as in a log file, a plain line every so often.

    Args:
        console: where to; whatever else is printed meanwhile should go through it as well.
        axes: the axis of each row id, see ``Counts``.
        every: seconds between two plain lines.
        clock: returns the time [s].
    """

    def __init__(
        self,
        console: Console,
        axes: Mapping[str, str] | None = None,
        every: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._every = every
        self._clock = clock
        self._counts = Counts(axes or {})
        self._plan_size = 0
        self._pace: Pace | None = None
        self._live: Live | None = None
        self._row = ""
        self._last_line = -math.inf

    def begin(self, plan_size: int, records_so_far: Sequence[EpisodeRecord]) -> None:
        self._plan_size = plan_size
        for record in records_so_far:
            self._counts.add(record)
        if self._pace is not None:
            return
        self._pace = Pace(self._clock)
        self._last_line = self._clock()
        missing = plan_size - self._counts.finished
        if not missing:
            self._console.print("This run is complete; nothing is played again.")
            return
        if self._counts.finished:
            self._console.print(f"Continuing: {missing} of {plan_size} episodes are missing.")
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            # Drawn twice a second by a thread of its own: recording an episode only counts it.
            self._live = Live(get_renderable=self._render, console=self._console, refresh_per_second=2, transient=True)
            self._live.start()

    def record(self, record: EpisodeRecord) -> None:
        self._counts.add(record)
        self._plan_size = max(self._plan_size, self._counts.finished)
        self._row = record.row
        self._pace.tick()
        is_last = self._counts.finished >= self._plan_size
        if self._live is None and (is_last or self._clock() - self._last_line >= self._every):
            self._last_line = self._clock()
            self._console.print(self._line(), markup=False, highlight=False, soft_wrap=True)

    def end(self, summaries: Sequence[RowSummary]) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _line(self) -> str:
        return ", ".join(filter(None, [self._progress(), self._speed(), self._success(), self._errors(), self._row]))

    def _render(self) -> RenderableType:
        top = Table.grid(padding=(0, 2), expand=True)
        top.add_column(ratio=1)
        top.add_column(no_wrap=True)
        top.add_column(no_wrap=True)
        top.add_row(ProgressBar(max(self._plan_size, 1), self._counts.finished), self._progress(), self._speed())
        now = Text(self._row, style="dim")
        if self._errors():
            now.append("  ").append(self._errors(), style="not dim red")
        return Group(top, Text(self._success() or "no episode has ended yet"), now)

    def _progress(self) -> str:
        return f"{self._counts.finished}/{self._plan_size} episodes"

    def _speed(self) -> str:
        if math.isnan(self._pace.per_minute):
            return ""
        left = self._pace.seconds_left(self._plan_size - self._counts.finished)
        return f"{self._pace.per_minute:.1f} a minute, {duration(left)} left"

    def _success(self) -> str:
        # A copy, because the thread that draws reads while the other one counts.
        rates = [
            f"{axis} {100 * count.rate:.0f}% of {count.n}" for axis, count in [*self._counts.axes.items()] if count.n
        ]
        return f"success: {', '.join(rates)}" if rates else ""

    def _errors(self) -> str:
        return f"{self._counts.errors} error{'s' if self._counts.errors > 1 else ''}" if self._counts.errors else ""


def duration(seconds: float) -> str:
    """Writes a time span as hours, minutes and seconds, e.g. ``1:02:03`` or ``2:03``."""
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class JsonLines:
    """One JSON object a line for each event. What is undefined is null. Fields may be added, but none changes or goes.

    Every line has ``event``, ``total`` (episodes in the plan), ``finished`` (those that have a record) and ``errors``
    (those of them that ended in one). Beside these,

    - ``"begin"``, which comes first and again whenever the plan has grown, has ``schema`` (1);
    - ``"episode"``, for each episode as it ends, has ``protocol``, ``row``, ``index``, ``outcome`` (``"success"``,
      ``"failure"`` or ``"error"``), ``success_once``, ``failure`` (its category), ``steps``, ``seconds`` and ``error``
      (the last line of its traceback);
    - ``"end"``, which comes last, has ``complete`` (no episode is missing and none ended in an error) and ``rows``: a
      list of objects with ``protocol``, ``assets``, ``row``, ``axis``, ``n``, ``successes``, ``success_at_end``,
      ``ci_low``, ``ci_high``, ``success_once``, ``grasped`` and ``errors``. Rates are in [0, 1] and over the ``n``
      episodes without an error; the interval has 95%.

    Args:
        stream: where to; by default the standard output.
    """

    def __init__(self, stream: IO[str] | None = None) -> None:
        self._stream = stream or sys.stdout
        self._counts = Counts({})
        self._plan_size = 0

    def begin(self, plan_size: int, records_so_far: Sequence[EpisodeRecord]) -> None:
        self._plan_size = plan_size
        for record in records_so_far:
            self._counts.add(record)
        self._write("begin", schema=1)

    def record(self, record: EpisodeRecord) -> None:
        self._counts.add(record)
        self._plan_size = max(self._plan_size, self._counts.finished)
        error = (record.error or "").strip().splitlines()
        fields = {name: getattr(record, name) for name in _EPISODE_FIELDS}
        self._write("episode", **fields, seconds=record.timing.get("seconds"), error=error[-1] if error else None)

    def end(self, summaries: Sequence[RowSummary]) -> None:
        complete = self._counts.finished == self._plan_size and not self._counts.errors
        self._write("end", complete=complete, rows=[_summary_fields(summary) for summary in summaries])

    def _write(self, event: str, **fields: Any) -> None:
        counts = {"total": self._plan_size, "finished": self._counts.finished, "errors": self._counts.errors}
        # Flushed, because whoever reads the other end of a pipe waits for it.
        print(json.dumps({"event": event, **counts, **fields}, allow_nan=False), file=self._stream, flush=True)


def _summary_fields(summary: RowSummary) -> dict[str, Any]:
    fields = {name: getattr(summary, name) for name in _ROW_FIELDS}
    fields |= {"ci_low": summary.interval.low, "ci_high": summary.interval.high}
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in fields.items()}
