import csv
import io

import pytest
from PIL import Image
from rich.console import Console

from vlagen.benchmark import report
from vlagen.benchmark.statistics import RowSummary, summarize_axes, wilson_interval
from vlagen.tasks.variants import AXES, variants


def summary(row, n, successes, errors=0):
    rate = successes / n if n else float("nan")
    interval = wilson_interval(successes, n)
    return RowSummary(row.protocol, "builtin", row.id, row.axis, n, successes, rate, interval, rate, rate, errors)


ROWS = [summary(row, 64, 4 * number) for number, row in enumerate(variants())]
ROWS[3] = summary(variants()[3], 0, 0, errors=64)
ROWS[4] = summary(variants()[4], 60, 15, errors=4)


def test_csv_has_exactly_the_documented_columns_and_numbers(tmp_path):
    report.write_csv(tmp_path / "summary.csv", ROWS)
    text = (tmp_path / "summary.csv").read_text()
    lines = text.splitlines()
    assert lines[0] == "protocol,assets,row,axis,n,successes,success_at_end,ci_low,ci_high,success_once,errors"
    assert len(lines) == 17
    # 4 of 64: Wilson by hand (0.0625 + 0.0300113 -+ 1.959964 * sqrt(0.000915527 + 0.000234463)) / 1.0600225
    assert lines[2] == "vlagen-v1,builtin,vision/table,vision,64,4,0.0625,0.0245712,0.149975,0.0625,0"
    undefined = list(csv.DictReader(io.StringIO(text)))[3]
    assert (undefined["n"], undefined["success_at_end"], undefined["ci_low"], undefined["errors"]) == (
        "0",
        "nan",
        "nan",
        "64",
    )


def test_table_of_perfect_rows_fits_80_columns():
    rows = [summary(row, 512, 512) for row in variants()]
    console = Console(width=80, file=io.StringIO())
    console.print(report.table(rows, summarize_axes(rows)))
    assert "…" not in console.file.getvalue()
    assert "99.3–100.0" in console.file.getvalue()


def test_table_fits_80_columns_and_shows_every_row_and_axis():
    console = Console(width=80, file=io.StringIO())
    console.print(report.table(ROWS, summarize_axes(ROWS)))
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    for row in ROWS:
        assert row.row in text
    for axis in AXES:
        assert f"{axis}, mean of" in text
    assert "vision/noise-weak                  60     25.0  15.8–37.2  25.0     25.0    4" in text


@pytest.mark.parametrize("rows", [ROWS, ROWS[:1], ROWS[6:8], ROWS[3:4]])
def test_chart_can_be_drawn_of_any_choice_of_rows(tmp_path, rows):
    report.write_chart(tmp_path / "summary.png", rows, "toy")
    with Image.open(tmp_path / "summary.png") as picture:
        assert picture.width >= 1000
        assert len(picture.convert("RGB").getcolors(maxcolors=1 << 24)) > 10


def test_every_axis_has_a_colour():
    assert set(report.AXIS_COLOURS) == set(AXES)
