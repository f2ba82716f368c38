"""Success over the setting of a row's knob: curves from the summaries of rows such as ``vision/noise-weak@0.35``."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlagen.benchmark.report.charts import (
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    figure_of_size,
    style,
    write_title,
)
from vlagen.benchmark.statistics import UNDEFINED, Estimate, RowSummary, curve_area

CSV_COLUMNS = (
    "protocol", "assets", "row", "knob", "value", "n", "successes", "success_at_end", "ci_low", "ci_high", "errors",
    "area", "area_low", "area_high",
)  # fmt: skip

_LINES = ((BLUE, "o"), (VERMILION, "s"), (GREEN, "^"), (PURPLE, "D"), (ORANGE, "v"), (SKY, "P"))
_PANELS_ABREAST = 3


@dataclass(frozen=True)
class SeverityCurve:
    """How success changes with the setting of a row's knob.

    Attributes:
        row: id of the row without a setting.
        knob: what is set, with its unit, e.g. ``"blend strength"``.
        values: (P,) settings, increasing.
        points: (P,) the summary of the row at each.
        area: under the curve, as a share of what it would be if every episode succeeded; NaN unless there are two
            settings or more and each has a result.
    """

    row: str
    knob: str
    values: tuple[float, ...]
    points: tuple[RowSummary, ...]
    area: Estimate


def severity_curves(
    summaries: Sequence[RowSummary], knobs: Mapping[str, str] | None = None
) -> tuple[SeverityCurve, ...]:
    """Collects the rows that have a setting into one curve for each row they are derived from.

    Args:
        summaries: of a run; rows without a setting, and control arms, are ignored.
        knobs: what is set, by row id; ``"severity"`` where it is not told.
    """
    groups: dict[str, dict[float, RowSummary]] = {}
    for summary in summaries:
        base, _, setting = summary.row.rpartition("@")
        if base and _is_number(setting):
            groups.setdefault(base, {})[float(setting)] = summary
    return tuple(_curve(row, (knobs or {}).get(row, "severity"), points) for row, points in groups.items())


def _curve(row: str, knob: str, by_value: Mapping[float, RowSummary]) -> SeverityCurve:
    values = tuple(sorted(by_value))
    points = tuple(by_value[value] for value in values)
    area = Estimate(math.nan, UNDEFINED)
    if len(values) > 1:
        area = curve_area(values, [point.successes for point in points], [point.n for point in points])
    return SeverityCurve(row, knob, values, points, area)


def write_severity_csv(path: Path, curves: Sequence[SeverityCurve]) -> None:
    """Writes one line a setting with the columns ``CSV_COLUMNS``; a curve's area stands in each of its lines."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(CSV_COLUMNS)
        for curve in curves:
            area = [f"{number:.6g}" for number in (curve.area.value, *curve.area.interval)]
            for value, point in zip(curve.values, curve.points, strict=True):
                rates = [f"{rate:.6g}" for rate in (point.success_at_end, *point.interval)]
                start = [point.protocol, point.assets, curve.row, curve.knob, f"{value:g}", point.n, point.successes]
                writer.writerow([*start, *rates, point.errors, *area])


def write_severity_chart(path: Path, curves: Sequence[SeverityCurve], title: str) -> None:
    """Draws success over each knob, with a 95% band; curves over the same knob share a panel.

    Args:
        path: of the picture.
        curves: at least one.
        title: e.g. the policy's name.
    """
    panels: dict[str, list[SeverityCurve]] = {}
    for curve in curves:
        panels.setdefault(curve.knob, []).append(curve)
    across = min(len(panels), _PANELS_ABREAST)
    down = -(-len(panels) // across)
    figure = figure_of_size(max(5.6, 3.9 * across), 3.6 * down + 0.3)
    grid = figure.subplots(down, across, sharey=True, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.remove()
    for number, (axes, (knob, drawn)) in enumerate(zip(grid.flat, panels.items(), strict=False)):
        for curve, (colour, marker) in zip(drawn, _LINES * len(drawn), strict=False):
            _draw_curve(axes, curve, colour, marker)
        style(axes, grid="both")
        axes.set_ylim(-3, 103)
        axes.set_yticks(range(0, 101, 20))
        axes.set_xlabel(knob)
        if number % across == 0:
            axes.set_ylabel("success at the end [%]")
        axes.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.17), handlelength=1.6)
    first = curves[0].points[0]
    counts = sorted({point.n for curve in curves for point in curve.points})
    each = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    write_title(grid[0, 0], title, f"{first.protocol}, asset pack {first.assets}, n = {each} a point; bands: 95%")
    figure.savefig(path, dpi=200)


def _draw_curve(axes: Any, curve: SeverityCurve, colour: str, marker: str) -> None:
    known = [(value, point) for value, point in zip(curve.values, curve.points, strict=True) if point.n]
    settings = [value for value, _ in known]
    rates, low, high = (
        [100 * number for number in numbers]
        for numbers in (
            [point.success_at_end for _, point in known],
            [point.interval.low for _, point in known],
            [point.interval.high for _, point in known],
        )
    )
    axes.fill_between(settings, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.plot(settings, rates, color=colour, marker=marker, markersize=4.5, linewidth=1.5, label=_legend(curve))


def _legend(curve: SeverityCurve) -> str:
    area, interval = curve.area
    if math.isnan(area):
        return f"{curve.row}, area undefined"
    return f"{curve.row}, area {100 * area:.0f}% ({100 * interval.low:.0f}–{100 * interval.high:.0f})"


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
