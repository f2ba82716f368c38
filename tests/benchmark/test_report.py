import csv
import io
import math
from collections import Counter
from dataclasses import replace

import pytest
from rich.console import Console

from vlagen.benchmark.paired import compare_with_control
from vlagen.benchmark.records import EpisodeRecord
from vlagen.benchmark.report import tables
from vlagen.benchmark.report.severity import severity_curves, write_severity_csv
from vlagen.benchmark.statistics import (
    UNKNOWN_FAILURE,
    Interval,
    RowSummary,
    summarize_axes,
    summarize_held_out,
    wilson_interval,
)
from vlagen.benchmark.taxonomy import FAILURES
from vlagen.tasks.variants import AXES, variants

COMPOSED = "vision/table+execution/moved-midway"


def summary(row, axis, n, successes, errors=0):
    rate = successes / n if n else math.nan
    interval = wilson_interval(successes, n)
    return RowSummary("vlagen-v1", "builtin", row, axis, n, successes, rate, interval, rate, rate, errors)


ROWS = [summary(row.id, row.axis, 64, 4 * number) for number, row in enumerate(variants())]
ROWS[3] = summary(ROWS[3].row, "vision", 0, 0, errors=64)
ROWS[4] = summary(ROWS[4].row, "vision", 60, 15, errors=4)


def paired(row, both, only_control, only_row, neither):
    """Records of a row and its control arm, of which so many pairs went so."""
    kinds = [(True, True)] * both + [(True, False)] * only_control + [(False, True)] * only_row
    kinds += [(False, False)] * neither
    return [
        EpisodeRecord(
            protocol="vlagen-v1",
            row=arm,
            index=index,
            assets="builtin",
            seed=0,
            outcome="success" if success else "failure",
            success_at_end=success,
        )
        for index, (control, perturbed) in enumerate(kinds)
        for arm, success in ((f"{row}~control", control), (row, perturbed))
    ]


def printed(table):
    console = Console(width=80, file=io.StringIO())
    console.print(table)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    return text


def words(text):
    return [" ".join(line.split()) for line in text.splitlines()]


def test_csv_has_exactly_the_documented_columns_and_numbers(tmp_path):
    tables.write_csv(tmp_path / "summary.csv", ROWS)
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
    rows = [summary(row.id, row.axis, 512, 512) for row in variants()]
    assert "99.3–100.0" in printed(tables.table(rows, summarize_axes(rows), summarize_held_out(rows)))


def test_table_shows_every_row_axis_and_the_held_out_mean():
    text = printed(tables.table(ROWS, summarize_axes(ROWS), summarize_held_out(ROWS)))
    for row in ROWS:
        assert row.row in text
    for axis in AXES:
        assert f"{axis}, mean of" in text
    assert "vision/noise-weak 60 25.0 15.8–37.2 25.0 25.0 4" in words(text)
    assert any(line.startswith("held-out, mean of 3 axes 892 ") for line in words(text))


def test_table_without_held_out_rows_has_no_held_out_mean():
    assert "held-out" not in printed(tables.table(ROWS[:1], summarize_axes(ROWS[:1]), summarize_held_out(ROWS[:1])))


def test_composed_rows_are_shown_completely():
    row = summary(f"semantics/two-receptacles-unseen+{COMPOSED}", "other", 512, 512)
    text = printed(tables.table([row], summarize_axes([row])))
    column = "".join(line[: line.find(" ")] for line in text.splitlines()[3:])
    assert row.row in column


def test_rows_with_brackets_are_shown_completely():
    row = summary("train[objects=0,tables=0]", "part", 8, 4)
    failures = {row.row: {"dropped": 4}}
    for table in (tables.table([row], summarize_axes([row])), tables.failures_table(failures)):
        assert row.row in printed(table)


def test_the_headline_says_what_was_averaged_and_the_drop():
    rows = [summary("train", "in-distribution", 64, 64), summary("vision/table", "vision", 64, 32)]
    text = tables.headline(summarize_held_out(rows))
    assert text.startswith("held-out mean of vision (no semantics, no execution): 50.0% (")
    assert "50.0% (" in text.split("), ")[-1]
    assert text.endswith("below the 100.0% in distribution; not all held-out rows were played")
    assert tables.headline(summarize_held_out(rows[:1])) is None
    assert "in distribution" not in tables.headline(summarize_held_out(rows[1:]))


def test_nothing_is_minus_zero():
    rows = [summary("train", "in-distribution", 10**4, 5 * 10**3), summary("vision/table", "vision", 10**4, 5002)]
    held_out = summarize_held_out(rows)
    assert -0.0005 < held_out.relative_drop < 0
    assert "), 0.0% (" in tables.headline(held_out)
    no_drop = replace(held_out, drop_interval=Interval(-0.0001, 0.0))
    assert "(0.0 to 0.0) below" in tables.headline(no_drop)


def test_a_table_says_whose_it_is():
    text = printed(tables.table(ROWS, summarize_axes(ROWS), title="expert (oracle)"))
    assert text.splitlines()[0].strip() == "expert (oracle)"


def test_failures_are_shown_by_row_for_the_ways_that_occur():
    counts = {
        "train": Counter(),
        "vision/table": Counter({"dropped": 3, "never-reached": 1}),
        "execution/position": Counter({"dropped": 2, UNKNOWN_FAILURE: 4}),
    }
    lines = words(printed(tables.failures_table(counts)))
    assert lines[1].split() == ["failures", "of", "ped", "there", "known"]
    assert "vision/table 3 1 ·" in lines
    assert "execution/position 2 · 4" in lines
    assert "all 5 1 4" in lines
    assert not any(line.startswith("train") for line in lines)


def test_failures_of_all_rows_in_all_ways_fit_80_columns_unbroken():
    counts = {row.id: Counter(dict.fromkeys([*FAILURES, UNKNOWN_FAILURE], 17)) for row in variants()}
    lines = words(printed(tables.failures_table(counts)))
    assert "semantics/two-receptacles-unseen 17 17 17 17 17 17 17 17" in lines


def test_without_failures_there_is_no_table_of_them():
    assert tables.failures_table({"train": Counter()}) is None


def test_every_category_has_a_short_form():
    assert set(tables._SHORT_FAILURES) == {*FAILURES, UNKNOWN_FAILURE}


def test_failures_csv_is_tidy_and_complete(tmp_path):
    tables.write_failures_csv(tmp_path / "failures.csv", ROWS[:2], {"train": Counter(dropped=3)})
    with (tmp_path / "failures.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0]) == ["protocol", "assets", "row", "category", "count"]
    assert [line["category"] for line in lines] == [*FAILURES, UNKNOWN_FAILURE] * 2
    assert {(line["row"], line["category"]): line["count"] for line in lines if line["count"] != "0"} == {
        ("train", "dropped"): "3"
    }


def test_the_control_table_has_drops_with_intervals_and_p():
    comparison = compare_with_control([*paired("vision/table", 8, 10, 2, 0), *paired(COMPOSED, 3, 0, 0, 1)])
    lines = words(printed(tables.control_table(comparison)))
    # 10 of 12 discordant pairs to one side: 2 * (1 + 12 + 66) / 4096 = 0.0386, doubled by Holm for two rows.
    (table,) = (line.split() for line in lines if line.startswith("vision/table "))
    assert table[1:5] == ["20", "90.0", "50.0", "40.0"]
    assert table[-1] == "0.077"
    assert float(table[5]) < 40 < float(table[7])
    assert any(line.startswith("vision, mean of 1 20 90.0 50.0 40.0") for line in lines)
    assert any(line.startswith("held-out, mean of 1 20 90.0 50.0 40.0") for line in lines)


def test_the_control_csv_has_drops_with_their_signs(tmp_path):
    records = [*paired("vision/table", 8, 10, 2, 0), *paired("vision/noise-weak", 4, 0, 0, 0)]
    tables.write_control_csv(tmp_path / "control.csv", ROWS, compare_with_control(records))
    with (tmp_path / "control.csv").open() as file:
        table, noise = csv.DictReader(file)
    assert tuple(table) == tables.CONTROL_CSV_COLUMNS
    assert (table["protocol"], table["row"], table["axis"], table["pairs"]) == (
        "vlagen-v1", "vision/table", "vision", "20"
    )  # fmt: skip
    assert (table["control_success_at_end"], table["success_at_end"], table["drop"]) == ("0.9", "0.5", "0.4")
    assert float(table["ci_low"]) < 0.4 < float(table["ci_high"])
    assert (table["p"], table["p_holm"]) == ("0.0385742", "0.0771484")
    assert (table["control_only"], table["row_only"], table["errors"]) == ("10", "2", "0")
    assert noise["drop"] == "0"


def test_severities_become_curves_with_areas(tmp_path):
    # Rates 1, 1/2, 0 at 0, 0.1 and 0.4: (0.1 * 0.75 + 0.3 * 0.25) / 0.4 = 0.375.
    points = {"0.1": 32, "0": 64, "0.4": 0}
    rows = [summary(f"vision/noise-weak@{value}", "vision", 64, n) for value, n in points.items()]
    others = [ROWS[0], summary("vision/noise-weak@0.4~control", "vision", 64, 3), summary("a@b", "other", 64, 3)]
    (curve,) = severity_curves([*rows, *others], {"vision/noise-weak": "blend strength"})
    assert (curve.row, curve.knob, curve.values) == ("vision/noise-weak", "blend strength", (0.0, 0.1, 0.4))
    assert [point.successes for point in curve.points] == [64, 32, 0]
    assert curve.area.value == pytest.approx(0.375)
    assert "vision/noise-weak 0 0.4 100.0 → 0.0 37.5" in words(printed(tables.severity_table([curve])))[-1]
    write_severity_csv(tmp_path / "severity.csv", [curve])
    with (tmp_path / "severity.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [(line["value"], line["n"], line["success_at_end"], line["area"]) for line in lines] == [
        ("0", "64", "1", "0.375"),
        ("0.1", "64", "0.5", "0.375"),
        ("0.4", "64", "0", "0.375"),
    ]


def test_a_curve_of_one_setting_or_with_a_gap_has_no_area():
    rows = [summary("vision/noise-weak@0.1", "vision", 64, 3), summary("execution/position@1", "execution", 64, 3)]
    rows.append(summary("execution/position@2", "execution", 0, 0, errors=64))
    for curve in severity_curves(rows):
        assert math.isnan(curve.area.value)
        assert curve.knob == "severity"
    assert "- -" in words(printed(tables.severity_table(severity_curves(rows))))[-1]
