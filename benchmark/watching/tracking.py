"""Logging to TensorBoard or Weights & Biases, so that evaluations stand beside training runs (extra ``tracking``).

Both show the running success of every row and axis over the episodes that ended without an error, and at the end the
results, the counts of failures and where the videos lie. Both continue where they stopped when the run is resumed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vlagen.benchmark.statistics import RowSummary
from vlagen.benchmark.watching.tracker import Point, Sheet, Tracker, TrackerUnavailable


class TensorBoard(Tracker):
    """Writes TensorBoard's event files into a folder below ``folder`` that has the run's name.

    By the package ``tensorboard`` itself, whose writer ``torch.utils.tensorboard`` uses too: it needs no torch, and
    whoever wants to look at the files has it anyway.

    Args:
        folder: what TensorBoard is to be pointed at.
        out: the run's folder.
        axes: see ``Tracker``, as ``warn``.
        warn: is told if logging fails.

    Raises:
        TrackerUnavailable: the package is missing.
    """

    def __init__(
        self,
        folder: Path,
        out: Path,
        axes: Mapping[str, str] | None = None,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(f"TensorBoard {folder.resolve()}", out, axes, warn)
        _require("tensorboard", "--tensorboard")
        self._folder = folder

    def _start(self, name: str) -> None:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._writer = EventFileWriter(str(self._folder / name), flush_secs=10)

    def _log(self, points: Sequence[Point], finished: int) -> None:
        for point in points:
            self._add(point.x, tag=f"{point.group}/{point.name}", simple_value=point.y)

    def _report(self, sheets: Sequence[Sheet], summaries: Sequence[RowSummary], finished: int) -> None:
        from tensorboard.compat.proto import tensor_pb2, types_pb2
        from tensorboard.plugins.text.metadata import create_summary_metadata

        for sheet in sheets:
            if sheet.lines:
                text = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, string_val=[markdown(sheet).encode()])
                self._add(finished, tag=sheet.title, metadata=create_summary_metadata(sheet.title, ""), tensor=text)

    def _add(self, step: int, **value: Any) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2

        summary = summary_pb2.Summary(value=[summary_pb2.Summary.Value(**value)])
        self._writer.add_event(event_pb2.Event(wall_time=time.time(), step=step, summary=summary))

    def _close(self) -> None:
        self._writer.close()


class WeightsAndBiases(Tracker):
    """Logs to a project of Weights & Biases; with ``WANDB_MODE=offline`` to files in the run's folder.

    The x-axis of each curve is the number of episodes it is over.

    Args:
        project: where the run appears.
        out: the run's folder.
        axes: see ``Tracker``, as ``warn``.
        warn: is told if logging fails.

    Raises:
        TrackerUnavailable: the package is missing.
    """

    def __init__(
        self,
        project: str,
        out: Path,
        axes: Mapping[str, str] | None = None,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(f"Weights & Biases {project}", out, axes, warn)
        self._project = project
        self._known: set[str] = set()
        _require("wandb", "--wandb")

    def _start(self, name: str) -> None:
        import wandb

        # Not our console, repository or machine: what was run is in run.json.
        settings = wandb.Settings(
            console="off", silent=True, disable_git=True, disable_code=True, x_disable_stats=True, x_disable_meta=True
        )
        self._run = wandb.init(
            project=self._project, id=name, name=name, dir=self._out, resume="allow", settings=settings
        )

    def _advice(self) -> str:
        return " (`wandb login`, or WANDB_MODE=offline and later `wandb sync`)"

    def _log(self, points: Sequence[Point], finished: int) -> None:
        values: dict[str, float] = {}
        for point in points:
            curve, x = f"{point.group}/{point.name}", f"episodes_of_{point.group}/{point.name}"
            if curve not in self._known:
                self._known.add(curve)
                self._run.define_metric(x, hidden=True)
                self._run.define_metric(curve, step_metric=x)
            values |= {curve: point.y, x: point.x}
        # Named, because a process that continues the run offline would count from 0.
        self._run.log(values, step=finished)

    def _report(self, sheets: Sequence[Sheet], summaries: Sequence[RowSummary], finished: int) -> None:
        import wandb

        tables = {sheet.title: wandb.Table(list(sheet.columns), list(map(list, sheet.lines))) for sheet in sheets}
        self._run.log(tables, step=finished)
        self._run.summary.update({f"success/{row.row}": row.success_at_end for row in summaries if row.n})

    def _close(self) -> None:
        self._run.finish()


def _require(package: str, option: str) -> None:
    try:
        __import__(package)
    except ImportError as error:
        raise TrackerUnavailable(f"{option} needs the package {package}: pip install {package}") from error


def markdown(sheet: Sheet) -> str:
    """Writes a table as Markdown."""

    def line(cells: Iterable[Any]) -> str:
        return f"| {' | '.join(_cell(cell) for cell in cells)} |"

    return "\n".join([line(sheet.columns), line(["---"] * len(sheet.columns)), *map(line, sheet.lines)])


def _cell(cell: Any) -> str:
    return "-" if cell is None else f"{cell:.3f}" if isinstance(cell, float) else str(cell).replace("|", "\\|")
