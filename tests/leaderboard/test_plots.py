import math
import warnings
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from matplotlib import colors
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from vlagen.benchmark.taxonomy import FAILURES
from vlagen.leaderboard.plots import (
    axes,
    learning,
    radar,
    render,
    rows,
    scaling,
    severity,
    taxonomy,
    workspace,
)
from vlagen.leaderboard.plots.style import PALETTE, UndrawableFrame, entry_styles, row_order
from vlagen.tasks.variants import ROW_IDS, variant

NAN = math.nan
NAMES = (
    "SFT",
    "_PPO $x$ <b>",
    "GRPO",
    "a name that is much longer than what any legend has room for in print",
    "π0",
    "f",
    "g",
    "h",
)


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def new_axes(projection=None):
    figure = Figure(layout="constrained")
    FigureCanvasAgg(figure)
    return figure.add_subplot(projection=projection)


def row_line(entry, row, rate, low=NAN, high=NAN, kind="measured", **more):
    axis = row.split("/")[0] if "/" in row else "in-distribution"
    return {
        "entry": entry,
        "kind": kind,
        "row": row,
        "axis": axis,
        "n": 10,
        "successes": NAN if math.isnan(rate) else round(10 * rate),
        "success_at_end": rate,
        "ci_low": low,
        "ci_high": high,
        **more,
    }


@pytest.fixture
def three_rows():
    """Two entries; A has no result on the second row, B is published and has no interval there."""
    return pd.DataFrame(
        [
            row_line("A", "execution/position", 0.3, 0.1, 0.6),
            row_line("A", "train", 0.8, 0.5, 0.9),
            row_line("A", "vision/table", NAN),
            row_line("B", "train", 1.0, 0.7, 0.9999999, kind="published"),
            row_line("B", "vision/table", 0.5, kind="published"),
            row_line("B", "execution/position", 0.0, 0.0, 0.3, kind="published"),
        ]
    )


def bars(ax):
    """The bars from left to right; shaded bands are none."""
    found = [
        patch for container in ax.containers if not isinstance(container, ErrorbarContainer) for patch in container
    ]
    return sorted(found, key=lambda bar: bar.get_x())


def whiskers(ax):
    """Lower and upper end of each error bar."""
    containers = [container for container in ax.containers if isinstance(container, ErrorbarContainer)]
    segments = [container.lines[2][0].get_segments()[0] for container in containers]
    return sorted((segment[0][0], segment[0][1], segment[1][1]) for segment in segments)


def texts(ax):
    return [text.get_text() for text in ax.texts if text.get_text()]


def legend(ax):
    return [text.get_text().strip() for text in ax.get_legend().get_texts()]


def assert_finite(ax):
    for line in ax.lines:
        assert np.isfinite(np.asarray(line.get_xydata(), dtype=float)).all()
    for patch in ax.patches:
        assert np.isfinite(patch.get_path().vertices).all()
        assert np.isfinite(patch.get_transform().get_matrix()).all()
    for collection in ax.collections:
        if isinstance(collection, PathCollection):
            assert np.isfinite(collection.get_offsets()).all()
        for path in collection.get_paths():
            assert np.isfinite(path.vertices).all()
    ax.figure.canvas.draw()


def test_rows_draws_rates_intervals_and_a_dash_where_nothing_is_known(three_rows):
    ax = new_axes()
    rows.plot(three_rows, ax)
    # In the study's order: train (A, B), vision/table (only B), execution/position (A, B).
    assert [bar.get_height() for bar in bars(ax)] == pytest.approx([80, 100, 50, 30, 0])
    assert [whisker[1:] for whisker in whiskers(ax)] == [
        pytest.approx((50, 90)),
        pytest.approx((70, 100)),
        pytest.approx((10, 60)),
        pytest.approx((0, 30)),
    ]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["training task", "table", "position"]
    assert texts(ax).count("–") == 1
    assert {"80", "100", "50", "30", "0"} < set(texts(ax))
    assert_finite(ax)


def test_published_entries_are_hatched_and_say_so(three_rows):
    ax = new_axes()
    rows.plot(three_rows, ax)
    assert [bool(bar.get_hatch()) for bar in bars(ax)] == [False, True, True, False, True]
    assert legend(ax) == ["A", "B (published)"]


def test_an_entry_keeps_its_colour_in_every_figure(three_rows):
    only_b = three_rows[three_rows["entry"] == "B"].assign(kind="measured")
    ax, polar = new_axes(), new_axes("polar")
    rows.plot(only_b, ax, entries=["A", "B", "C"])
    radar.plot(only_b, polar, entries=["A", "B", "C"])
    assert {colors.to_hex(bar.get_facecolor()) for bar in bars(ax)} == {PALETTE[1]}
    assert {colors.to_hex(line.get_color()) for line in polar.lines} == {PALETTE[1]}


def test_entries_choose_and_order(three_rows):
    ax = new_axes()
    rows.plot(three_rows, ax, entries=["B", "A"], rows_shown=["train"])
    assert [bar.get_height() for bar in bars(ax)] == pytest.approx([100, 80])


def test_derived_rows_are_drawn_only_if_asked_for(three_rows):
    frame = pd.concat([three_rows, pd.DataFrame([row_line("A", "vision/table@0.35", 0.4)])])
    assert row_order(frame) == ["train", "vision/table", "execution/position"]
    assert row_order(frame, ["vision/table@0.35", "absent"]) == ["vision/table@0.35"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.iloc[:0], "frame is empty"),
        (lambda f: pd.concat([f, f.iloc[:1]]), "two lines for entry 'A', row 'execution/position'"),
        (
            lambda f: pd.concat([f.assign(entry=f"{i}") for i in range(9)]),
            "9 entries in one figure; allowed: at most 8",
        ),
    ],
)
def test_rows_refuses_what_it_cannot_draw(three_rows, change, message):
    with pytest.raises(UndrawableFrame, match=message):
        rows.plot(change(three_rows), new_axes())


def test_an_unknown_entry_is_named_with_its_neighbour(three_rows):
    with pytest.raises(UndrawableFrame, match="unknown entry 'a'; did you mean 'A'"):
        rows.plot(three_rows, new_axes(), entries=["a"])


def axis_line(entry, axis, rate, low, high, drop=NAN, drop_low=NAN, drop_high=NAN):
    return {
        "entry": entry,
        "axis": axis,
        "success_at_end": rate,
        "ci_low": low,
        "ci_high": high,
        "relative_drop": drop,
        "drop_low": drop_low,
        "drop_high": drop_high,
    }


@pytest.fixture
def by_axis():
    return pd.DataFrame(
        [
            axis_line("SFT", "held-out", 0.5, 0.4, 0.6, 0.375, 0.2, 0.5),
            axis_line("SFT", "in-distribution", 0.8, 0.7, 0.9),
            axis_line("SFT", "vision", 0.6, 0.5, 0.7, 0.25, 0.1, 0.4),
            axis_line("RL", "in-distribution", 0.9, 0.8, 0.95),
            axis_line("RL", "vision", 0.945, 0.9, 0.97, -0.05),
            axis_line("RL", "semantics", NAN, NAN, NAN),
        ]
    )


def test_axes_draws_rates_and_drops(by_axis):
    ax = new_axes()
    axes.plot(by_axis, ax)
    assert [label.get_text() for label in ax.get_xticklabels()] == [
        "in-distribution",
        "vision",
        "semantics",
        "held-out",
    ]
    assert [bar.get_height() for bar in bars(ax)] == pytest.approx([80, 90, 60, 94.5, 50])
    assert whiskers(ax)[2][1:] == pytest.approx((50, 70))
    # 0.6 is 25% below 0.8; the drop's own bounds are 10% and 40%. 0.945 is 5% above 0.9.
    assert set(texts(ax)) == {"80.0", "90.0", "60.0\n−25%\n[−40, −10]", "94.5\n+5%", "50.0\n−38%\n[−50, −20]", "–"}
    assert_finite(ax)


def test_axes_with_many_entries_writes_drops_upwards(by_axis):
    ax = new_axes()
    axes.plot(pd.concat([by_axis.assign(entry=by_axis["entry"] + suffix) for suffix in ("", "2")]), ax)
    drops = [text for text in ax.texts if text.get_text() == "−25% [−40, −10]"]
    assert [text.get_rotation() for text in drops] == [90, 90]


@pytest.mark.parametrize("copies", [1, 4])
def test_axes_has_room_for_the_notes_of_bars_that_reach_the_top(by_axis, copies):
    full = by_axis.assign(ci_high=1.0, drop_low=-0.999, drop_high=0.999)
    figure = render.draw("axes", pd.concat([full.assign(entry=full["entry"] + str(copy)) for copy in range(copies)]))
    figure.canvas.draw()
    top = figure.axes[0].get_window_extent().y1
    assert max(text.get_window_extent().y1 for text in figure.axes[0].texts) <= top


def test_radar_goes_around_and_breaks_where_nothing_is_known(three_rows):
    ax = new_axes("polar")
    radar.plot(three_rows, ax)
    a, b = ax.lines
    # A: spokes 0 and 2 are neighbours across the top; spoke 1 is unknown.
    assert a.get_ydata() == pytest.approx([30, 80])
    assert a.get_xdata() == pytest.approx([4 * math.pi / 3, 2 * math.pi])
    assert b.get_ydata() == pytest.approx([100, 50, 0, 100])
    assert b.get_xdata() == pytest.approx([0, 2 * math.pi / 3, 4 * math.pi / 3, 2 * math.pi])
    assert not ax.patches  # A has a gap, B is published: neither is filled
    assert texts(ax) == ["training task", "table", "position"]
    assert_finite(ax)


def test_radar_over_axes_leaves_the_mean_of_axes_out(by_axis):
    ax = new_axes("polar")
    radar.plot(by_axis, ax)
    assert texts(ax) == ["in-distribution", "vision", "semantics"]
    assert [list(line.get_ydata()) for line in ax.lines] == [[80, 60], [90, pytest.approx(94.5)]]


def test_radar_needs_a_circle_and_three_spokes(three_rows):
    with pytest.raises(UndrawableFrame, match="projection='polar'"):
        radar.plot(three_rows, new_axes())
    with pytest.raises(UndrawableFrame, match="at least three spokes"):
        radar.plot(three_rows, new_axes("polar"), spokes=["train", "vision/table"])


def evaluation(entry, seed, steps, success, split="held-out"):
    return {"entry": entry, "seed": seed, "environment_steps": steps, "split": split, "success": success}


def test_learning_averages_seeds_where_all_of_them_have_come():
    curves = pd.DataFrame(
        [
            evaluation("PPO", 0, 0, 0.2),
            evaluation("PPO", 0, 100, 0.4),
            evaluation("PPO", 0, 200, 0.6),
            evaluation("PPO", 1, 0, 0.4),
            evaluation("PPO", 1, 50, NAN),
            evaluation("PPO", 1, 100, 0.8),
            evaluation("PPO", 0, 0, 0.5, "in-distribution"),
            evaluation("SFT", 0, NAN, 0.54),
        ]
    )
    ax = new_axes()
    learning.plot(curves, ax)
    held_out, trained, level = ax.lines
    assert held_out.get_xydata() == pytest.approx(np.array([[0, 30], [100, 60]]))
    assert trained.get_xydata() == pytest.approx(np.array([[0, 50]]))
    assert list(level.get_ydata()) == pytest.approx([54, 54])
    (band,) = ax.collections
    assert {tuple(vertex) for vertex in band.get_paths()[0].vertices.round(6)} >= {
        (0, 20),
        (0, 40),
        (100, 40),
        (100, 80),
    }
    assert legend(ax) == ["PPO", "SFT", "held-out", "in-distribution"]
    assert held_out.get_linestyle() != trained.get_linestyle()
    assert_finite(ax)


def test_seeds_evaluated_at_other_steps_are_interpolated():
    lines = pd.DataFrame(
        [
            {"seed": 0, "environment_steps": 0, "success": 0.0},
            {"seed": 0, "environment_steps": 100, "success": 1.0},
            {"seed": 1, "environment_steps": 20, "success": 0.4},
            {"seed": 1, "environment_steps": 140, "success": 0.4},
        ]
    )
    curve = learning.spread(lines)
    assert curve["steps"].tolist() == [20, 100]
    assert curve["mean"].tolist() == pytest.approx([0.3, 0.7])
    assert curve["low"].tolist() == pytest.approx([0.2, 0.4])
    assert curve["high"].tolist() == pytest.approx([0.4, 1.0])


def test_learning_refuses_other_splits_and_repeated_evaluations():
    with pytest.raises(UndrawableFrame, match="split 'test'; allowed: in-distribution, held-out"):
        learning.plot(pd.DataFrame([evaluation("PPO", 0, 0, 0.2, "test")]), new_axes())
    with pytest.raises(UndrawableFrame, match="two evaluations of seed 0 at step 5"):
        learning.plot(pd.DataFrame([evaluation("PPO", 0, 5, 0.2), evaluation("PPO", 0, 5, 0.3)]), new_axes())


def test_scaling_draws_points_over_demonstrations():
    points = pd.DataFrame(
        {
            "entry": "SFT",
            "demonstrations": [16000, 140, 1000],
            "split": "held-out",
            "success": [0.54, 0.2, NAN],
            "ci_low": [0.5, 0.1, NAN],
            "ci_high": [0.6, NAN, NAN],
        }
    )
    ax = new_axes()
    scaling.plot(points, ax)
    curve = max(ax.lines, key=lambda line: len(line.get_xdata()))
    assert curve.get_xydata() == pytest.approx(np.array([[140, 20], [16000, 54]]))
    assert whiskers(ax) == [pytest.approx((16000, 50, 60))]
    assert ax.get_xscale() == "log"
    assert_finite(ax)
    with pytest.raises(UndrawableFrame, match="logarithmic"):
        scaling.plot(points.assign(demonstrations=0), new_axes())


def test_severity_draws_the_sweep_and_its_area():
    points = [
        row_line("A", "vision/texture-weak@0", 1.0, 0.7, 1.0),
        row_line("A", "vision/texture-weak@0.5", 0.6, 0.3, 0.8),
        row_line("A", "vision/texture-weak@0.25", 0.8, 0.5, 0.9),
        row_line("A", "vision/texture-weak", 0.1),
        row_line("B", "vision/texture-weak@0", 0.9, 0.6, 1.0),
        row_line("B", "vision/texture-weak@0.25", NAN, n=0),
    ]
    ax = new_axes()
    severity.plot(pd.DataFrame(points), ax, knob="strength")
    a, b = ax.lines
    assert a.get_xydata() == pytest.approx(np.array([[0, 100], [0.25, 80], [0.5, 60]]))
    assert b.get_xydata() == pytest.approx(np.array([[0, 90]]))
    # Trapezoids: (1 + 0.8) / 2 and (0.8 + 0.6) / 2, equally wide, so their mean is 0.8. B's is undefined.
    assert legend(ax)[0].startswith("A, area 0.80 [0.6")
    assert legend(ax)[1] == "B"
    assert ax.get_xlabel() == "texture-weak: strength"
    assert_finite(ax)


def test_severity_asks_which_sweep():
    frame = pd.DataFrame([row_line("A", "vision/table@1", 0.5), row_line("A", "train", 0.5)])
    two = pd.concat([frame, frame.assign(row="execution/position@2")])
    with pytest.raises(UndrawableFrame, match=r"choose row= from vision/table, execution/position"):
        severity.plot(two, new_axes())
    with pytest.raises(UndrawableFrame, match="--severity"):
        severity.plot(frame[frame["row"] == "train"], new_axes())


def failures(*lines):
    return pd.DataFrame(lines, columns=["entry", "row", "category", "count"])


def test_taxonomy_stacks_in_the_taxonomys_order():
    first, last = FAILURES[0], FAILURES[-1]
    frame = failures(
        ("A", "train", last, 3), ("A", "train", first, 1), ("A", "vision/table", first, 1), ("B", "train", "unknown", 2)
    )
    ax = new_axes()
    taxonomy.plot(frame, ax)
    assert [
        (bar.get_x(), bar.get_width()) for bar in sorted(ax.patches, key=lambda bar: (bar.get_y(), bar.get_x()))
    ] == [
        (0, pytest.approx(40)),
        (pytest.approx(40), pytest.approx(60)),
        (0, 100),
    ]
    assert legend(ax) == [first.replace("-", " "), last.replace("-", " "), "unknown"]
    assert texts(ax) == ["40", "60", "100"]
    assert_finite(ax)


def test_taxonomy_out_of_episodes_by_row():
    frame = failures(
        ("A", "train", FAILURES[0], 1),
        ("A", "vision/table", FAILURES[0], 0),
        ("A", "vision/noise-weak", FAILURES[1], 2),
    )
    episodes = pd.DataFrame({"entry": "A", "row": ["train", "vision/table", "other"], "n": [10, 10, 7]})
    ax = new_axes()
    taxonomy.plot(frame, ax, rows=episodes)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["training task", "table", "noise-weak"]
    assert [bar.get_width() for bar in ax.patches] == pytest.approx([10])
    assert texts(ax) == ["10", "no failures", "–"]


def test_foreign_categories_stand_behind_the_taxonomys_own():
    frame = failures(("A", "train", "unknown", 1), ("A", "train", "bored", 1), ("A", "train", FAILURES[2], 2))
    ax = new_axes()
    taxonomy.plot(frame, ax)
    assert legend(ax) == [FAILURES[2].replace("-", " "), "bored", "unknown"]
    assert [bar.get_width() for bar in ax.patches] == pytest.approx([50, 25, 25])


def test_taxonomy_refuses_rows_of_two_entries():
    both = failures(("A", "train", FAILURES[0], 1), ("B", "train", FAILURES[0], 1))
    with pytest.raises(UndrawableFrame, match="choose one with entries="):
        taxonomy.plot(both, new_axes(), by="row")


@pytest.fixture
def paths():
    """Cells of 20 mm. A: (0, 0) twice and (1, 0). B: (0, 0) and (0, -1); a path without a partner goes far away."""
    return pd.DataFrame(
        [
            ("A", "train", 1, [5, 5, 90, 19, 19, 90]),
            ("A", "train", 2, [21, 1, 80]),
            ("B", "train", 2, [1, 1, 80, 1, -1, 80]),
            ("B", "train", 1, None),
            ("B", "train", 3, [900, 900, 80]),
            ("A", "train", 4, [2, 2, 10]),
            ("B", "train", 4, [2, 2, 10]),
        ],
        columns=["entry", "row", "index", "gripper_path"],
    )


def test_workspace_counts_paired_visits(paths):
    visits = workspace.count_visits(paths, "A", "B")
    assert visits.episodes == 2
    assert visits.x.tolist() == [0, 20, 40]
    assert visits.y.tolist() == [-20, 0, 20]
    assert visits.a.tolist() == [[0, 1], [0, 1]]
    assert visits.b.tolist() == [[1, 2], [0, 0]]
    # A cell has 0.04 dm^2.
    assert workspace.coverage(visits) == pytest.approx((0.08, 0.08, 0.04))


def test_workspace_draws_who_was_where(paths):
    ax = new_axes()
    workspace.plot(paths, ax)
    drawn = ax.collections[0].get_array()
    assert drawn.mask.tolist() == [[False, False], [True, False]]
    assert drawn.compressed() == pytest.approx([1, 1 / 3, -1])
    assert "2 paired episodes" in texts(ax)[0]
    ax.figure.canvas.draw()


def test_workspace_compares_two_that_have_paths(paths):
    with pytest.raises(UndrawableFrame, match="choose with pair="):
        workspace.plot(paths[paths["entry"] == "A"], new_axes())
    with pytest.raises(UndrawableFrame, match="no episode of which both"):
        workspace.plot(paths[paths["index"] == 1], new_axes())


def crowd(count):
    """All rows of several entries: odd names, a published one, and a number that is unknown."""
    lines = []
    for number, name in enumerate(NAMES[:count]):
        kind = "published" if number == 2 else "measured"
        for place, row in enumerate(ROW_IDS):
            rate = NAN if (number, place) == (1, 3) else (1 + 5 * number + place) / 60
            lines.append(row_line(name, row, rate, 0.8 * rate, min(1, 1.2 * rate), kind=kind))
    return pd.DataFrame(lines)


@pytest.mark.parametrize("count", [1, 2, 8])
def test_every_number_of_entries_is_written_to_files_without_a_warning(tmp_path, count):
    frame = crowd(count)
    for name in ("rows", "radar"):
        png, svg = render.save(name, frame, tmp_path / f"{name}.v1", title="a $title_{")
        assert png.name == f"{name}.v1.png"
        assert png.read_bytes().startswith(b"\x89PNG")
        assert ElementTree.parse(svg).getroot().tag.endswith("svg")
    figure = render.draw("rows", frame)
    assert len(bars(figure.axes[0])) == 16 * count - (count > 1)
    assert_finite(figure.axes[0])


def test_the_same_frame_gives_the_same_file(tmp_path):
    first, second = (render.save("rows", crowd(2), tmp_path / name) for name in ("a", "b"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_workspace_has_a_panel_for_each_and_one_for_both(paths):
    assert len([ax for ax in render.draw("workspace", paths).axes if ax.get_xlabel()]) == 3


def test_names_reach_the_legend_as_they_are(three_rows):
    frame = three_rows.assign(entry=three_rows["entry"].map({"A": "_a $\\frac{1}", "B": "$x$"}))
    ax = new_axes()
    rows.plot(frame, ax)
    ax.figure.canvas.draw()
    assert [style.label for style in entry_styles(frame).values()] == ["_a \\$\\frac{1}", "\\$x\\$ (published)"]
    assert legend(ax) == ["_a \\$\\frac{1}", "\\$x\\$ (published)"]


def test_rows_of_the_variant_table_have_the_axes_that_figures_colour():
    assert {variant(row).axis for row in ROW_IDS} < set(axes.AXIS_COLOURS)
