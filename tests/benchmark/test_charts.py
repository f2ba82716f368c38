from collections import Counter

import pytest
from PIL import Image

from tests.benchmark.test_report import COMPOSED, ROWS, paired, summary
from vlagen.benchmark.paired import compare_with_control
from vlagen.benchmark.report import charts
from vlagen.benchmark.report.severity import severity_curves, write_severity_chart
from vlagen.benchmark.statistics import UNKNOWN_FAILURE
from vlagen.benchmark.taxonomy import FAILURES
from vlagen.tasks.rows import row_axis
from vlagen.tasks.variants import AXES, ROW_IDS

ODD = [
    summary(COMPOSED, "composition", 64, 20, 2),
    summary("semantics/two-receptacles-unseen+execution/robot-pose", "composition", 64, 0),
    summary("vision/noise-weak@0.35", "vision", 32, 32),
    summary("StackCube-v1", "maniskill", 50, 3, 1),
]
CHOICES = [ROWS, ROWS[:1], ROWS[6:9], ROWS[3:4], ODD]


def is_drawn(path):
    with Image.open(path) as picture:
        colours = picture.convert("RGB").getcolors(maxcolors=1 << 24)
        return picture.width >= 1000 and len(colours) > 10


def colours_of(path):
    with Image.open(path) as picture:
        return {colour for count, colour in picture.convert("RGB").getcolors(maxcolors=1 << 24) if count > 50}


def rgb(colour):
    return tuple(bytes.fromhex(colour[1:]))


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are drawn, to look at what is in them."""
    figures = []
    make = charts.figure_of_size

    def keep(*size):
        figures.append(make(*size))
        return figures[-1]

    monkeypatch.setattr(charts, "figure_of_size", keep)
    return figures


def texts(figure):
    """Returns every text of a figure with the box [px] that it takes."""
    from matplotlib.text import Text

    figure.canvas.draw()  # the file was drawn with another resolution
    renderer = figure.canvas.get_renderer()
    # An axis keeps the labels of ticks beyond its ends, and does not draw them.
    beyond = {
        label
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in axis.get_major_ticks()
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
        for label in (tick.label1, tick.label2)
    }
    return [
        (text.get_text(), text.get_window_extent(renderer))
        for text in figure.findobj(Text)
        if text.get_text() and text.get_visible() and text not in beyond
    ]


def assert_legible(figure):
    """No text leaves the picture or lies on another one."""
    boxes = texts(figure)
    width, height = figure.canvas.get_width_height()
    for text, box in boxes:
        assert box.x0 >= -1, text
        assert box.y0 >= -1, text
        assert box.x1 <= width + 1, text
        assert box.y1 <= height + 1, text
    for number, (text, box) in enumerate(boxes):
        for other, another in boxes[number + 1 :]:
            # A box has some air above and below its letters.
            apart = box.x1 <= another.x0 or another.x1 <= box.x0 or box.y1 - 2 <= another.y0 or another.y1 - 2 <= box.y0
            assert apart, (text, other)


@pytest.mark.parametrize("rows", CHOICES)
def test_success_can_be_drawn_of_any_choice_of_rows(tmp_path, drawn, rows):
    charts.write_chart(tmp_path / "summary.png", rows, "toy")
    assert is_drawn(tmp_path / "summary.png")
    assert_legible(drawn[0])
    shown = [text for text, _ in texts(drawn[0])]
    assert {charts.label(row) for row in rows} | {row.axis for row in rows} <= set(shown)


@pytest.mark.parametrize("rows", CHOICES)
def test_failures_can_be_drawn_of_any_choice_of_rows(tmp_path, drawn, rows):
    counts = {
        row.row: Counter(dict.fromkeys([*FAILURES, UNKNOWN_FAILURE], (row.n - row.successes) // 8)) for row in rows
    }
    charts.write_failures_chart(tmp_path / "failures.png", rows, counts, "toy")
    assert is_drawn(tmp_path / "failures.png")
    assert_legible(drawn[0])


def test_the_parts_of_a_bar_are_the_outcomes_in_their_colours_with_their_numbers(tmp_path, drawn):
    rows = [summary("train", "in-distribution", 60, 20, errors=20)]
    charts.write_failures_chart(
        tmp_path / "f.png", rows, {"train": Counter(dropped=10, **{"never-reached": 30})}, "toy"
    )
    (axes,) = drawn[0].axes
    parts = [(round(bar.get_x(), 6), round(bar.get_width(), 6)) for bar in axes.patches]
    assert parts == [(0.0, 25.0), (25.0, 12.5), (37.5, 37.5), (75.0, 25.0)]
    shown = {text for text, _ in texts(drawn[0])}
    assert {"20", "10", "30", "80", "success", "dropped", "never reached", "error"} <= shown
    assert "wrong object" not in shown
    assert rgb(charts.GREEN) in colours_of(tmp_path / "f.png")


def test_every_outcome_has_a_colour_of_its_own():
    colours = [charts._look(outcome)["facecolor"] for outcome in ("success", *FAILURES, UNKNOWN_FAILURE, "error")]
    assert len(set(colours)) == len(FAILURES) + 3


@pytest.mark.parametrize("rows", [ROW_IDS[1:], ROW_IDS[1:2], (ROW_IDS[1], ROW_IDS[8], COMPOSED)])
def test_drops_can_be_drawn_of_any_choice_of_rows(tmp_path, drawn, rows):
    records = [one for number, row in enumerate(rows) for one in paired(row, 20, 10 + number, 2, 5)]
    charts.write_control_chart(tmp_path / "control.png", compare_with_control(records), "toy")
    assert is_drawn(tmp_path / "control.png")
    assert_legible(drawn[0])


def test_a_drop_is_drawn_to_the_right_of_zero_and_filled_if_it_is_sure(tmp_path, drawn):
    records = [*paired("vision/table", 10, 20, 0, 10), *paired("vision/noise-weak", 30, 1, 2, 7)]
    charts.write_control_chart(tmp_path / "control.png", compare_with_control(records), "toy")
    (axes,) = drawn[0].axes
    markers = [line for line in axes.lines if line.get_marker() == "o"]
    assert [float(line.get_xdata()[0]) for line in markers] == [50.0, -2.5]
    assert [line.get_markerfacecolor() == "white" for line in markers] == [False, True]
    assert axes.get_xlim() == (-20.0, 70.0)


def sweep(row, axis, values):
    return [summary(f"{row}@{value:g}", axis, 64, round(64 * 0.9**number)) for number, value in enumerate(values)]


@pytest.mark.parametrize("count", [1, 3, 5])
def test_severities_are_drawn_with_a_panel_for_each_knob(tmp_path, monkeypatch, count):
    import vlagen.benchmark.report.severity as severity

    figures = []
    make = severity.figure_of_size
    monkeypatch.setattr(severity, "figure_of_size", lambda *size: figures.append(make(*size)) or figures[-1])
    rows = [
        *sweep("vision/noise-weak", "vision", [0, 0.1, 0.2, 0.7]),
        *sweep("vision/texture-strong", "vision", [0, 0.1, 0.2, 0.7]),
        *sweep("execution/position", "execution", [0.01, 0.02]),
        *sweep("execution/moved-midway", "execution", [5, 10, 40]),
        *sweep("execution/robot-pose", "execution", [1]),
    ]
    rows[1] = summary(rows[1].row, "vision", 0, 0, errors=64)
    knobs = {
        "vision/noise-weak": "blend strength",
        "vision/texture-strong": "blend strength",
        "execution/position": "pose radius [m]",
        "execution/moved-midway": "reposition after step",
        "execution/robot-pose": "joint offset [rad]",
    }
    curves = severity_curves(rows, knobs)[:count]
    write_severity_chart(tmp_path / "severity.png", curves, "toy")
    assert is_drawn(tmp_path / "severity.png")
    (figure,) = figures
    assert len(figure.axes) == {1: 1, 3: 2, 5: 4}[count]
    assert_legible(figure)
    labels = [handle.get_text() for axes in figure.axes for handle in axes.get_legend().get_texts()]
    assert [label.split(",")[0] for label in labels] == [curve.row for curve in curves]
    assert labels[0] == "vision/noise-weak, area undefined"
    # Of four points one has no result.
    assert len(figure.axes[0].lines[0].get_xdata()) == 3


def test_a_long_title_stays_in_the_picture(tmp_path, drawn):
    charts.write_chart(
        tmp_path / "s.png", ROWS[:1], "some.very.long.package.with.many.modules.in.it:AndALongPolicyName"
    )
    assert_legible(drawn[0])
    assert any(text.endswith("AndALongPolicyName") for text, _ in texts(drawn[0]))


def test_every_axis_has_a_colour_that_no_other_axis_of_the_same_picture_has():
    assert set(charts.AXIS_COLOURS) == set(AXES)
    derived = (COMPOSED, "vision/noise-weak@0.35", "train[tables=0]", "vision/table~control")
    axes = [*AXES, *map(row_axis, derived)]
    assert len({charts.axis_colour(axis) for axis in axes}) == len(axes) == 8
    assert charts.axis_colour("maniskill").startswith("#")


def test_labels_do_not_repeat_the_axis_but_keep_composed_ids():
    assert charts.label(ROWS[1]) == "table"
    assert charts.label(ODD[2]) == "noise-weak@0.35"
    assert charts.label(ODD[0]) == COMPOSED


def test_rows_of_an_axis_stand_together_and_control_arms_behind_all(tmp_path, drawn):
    rows = [summary(f"{row}{arm}", row_axis(f"{row}{arm}"), 8, 4) for row in ROW_IDS[4:7] for arm in ("", "~control")]
    charts.write_chart(tmp_path / "summary.png", rows, "toy")
    (axes,) = drawn[0].axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        *("noise-weak", "noise-strong", "object"),
        *("vision/noise-weak~control", "vision/noise-strong~control", "semantics/object~control"),
    ]
    headings = [text for text, _ in texts(drawn[0])]
    assert [headings.count(axis) for axis in ("vision", "semantics", "control")] == [1, 1, 1]
