"""What an evaluation leaves beside its records, and what it prints at its end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlagen.benchmark.evaluate import Evaluation
from vlagen.benchmark.paired import Comparison, NotComparable, compare_with_control
from vlagen.benchmark.report import charts, tables
from vlagen.benchmark.report.severity import SeverityCurve, severity_curves, write_severity_chart, write_severity_csv
from vlagen.benchmark.statistics import (
    UNKNOWN_FAILURE,
    RowSummary,
    count_failures,
    is_derived,
    summarize_axes,
    summarize_held_out,
)
from vlagen.tasks.rows import KNOBS


@dataclass(frozen=True)
class Results:
    """What an evaluation has found so far.

    Attributes:
        title: what the policy is called.
        rows: how each row went.
        failures: by row and category; empty where there were none, or the task does not tell them apart.
        control: the rows beside their control arms, if the run has any.
        curves: of the rows that were swept.
    """

    title: str
    rows: tuple[RowSummary, ...]
    failures: Mapping[str, Mapping[str, int]]
    control: Comparison | None
    curves: tuple[SeverityCurve, ...]


def collect(evaluation: Evaluation) -> Results:
    """Computes from an evaluation's records all that ``write`` and ``printed`` tell."""
    rows, records = evaluation.summaries(), evaluation.records
    failures = count_failures(records)
    try:
        control = compare_with_control(records, {row.id: row.axis for row in evaluation.rows})
    except NotComparable:
        control = None
    names = {row: f"{knob.name} [{knob.unit}]" if knob.unit else knob.name for row, knob in KNOBS.items()}
    return Results(
        title=evaluation.title,
        rows=rows,
        failures=failures if any(set(row) - {UNKNOWN_FAILURE} for row in failures.values()) else {},
        control=control,
        curves=severity_curves(rows, names),
    )


def write(results: Results, out: Path) -> tuple[str, ...]:
    """Writes tables and charts into a run's folder; those of which there is nothing to say are left out.

    Returns:
        Names of all files of the run.
    """
    rows, title = results.rows, results.title
    tables.write_csv(out / "summary.csv", rows)
    charts.write_chart(out / "summary.png", rows, title)
    written = ["run.json", "episodes.jsonl", "summary.csv", "summary.png"]
    if results.failures:
        tables.write_failures_csv(out / "failures.csv", rows, results.failures)
        charts.write_failures_chart(out / "failures.png", rows, results.failures, title)
        written += ["failures.csv", "failures.png"]
    if results.control is not None:
        tables.write_control_csv(out / "control.csv", rows, results.control)
        charts.write_control_chart(out / "control.png", results.control, title)
        written += ["control.csv", "control.png"]
    if results.curves:
        write_severity_csv(out / "severity.csv", results.curves)
        write_severity_chart(out / "severity.png", results.curves, title)
        written += ["severity.csv", "severity.png"]
    return tuple(written)


def printed(results: Results) -> Iterator[Any]:
    """Yields what a console is to print, part by part."""
    held_out = summarize_held_out(results.rows)
    yield tables.table(results.rows, summarize_axes(results.rows), held_out, results.title)
    failures = tables.failures_table(results.failures)
    if failures is not None:
        yield ""
        yield failures
    if results.control is not None:
        yield ""
        yield tables.control_table(results.control)
    if results.curves:
        yield ""
        yield tables.severity_table(results.curves)
    headline = tables.headline(held_out)
    if headline is not None and not all(is_derived(row.row) for row in results.rows):
        yield f"\n{headline}"
