"""In distribution and held out, worked by hand."""

from __future__ import annotations

import pytest

from vlagen.baselines.splits import gain, held_out_axes, score
from vlagen.benchmark.paired import compare
from vlagen.benchmark.records import EpisodeRecord
from vlagen.benchmark.statistics import summarize_row, wilson_interval

PART = "train[objects=0,tables=0]"


def played(row, outcomes):
    """Records of a row: 1 success, 0 failure, e error."""
    names = {"1": "success", "0": "failure", "e": "error"}
    return [
        EpisodeRecord(
            protocol="vlagen-v1",
            row=row,
            index=index,
            assets="builtin",
            seed=0,
            outcome=names[sign],
            success_at_end=None if sign == "e" else sign == "1",
            error="oh" if sign == "e" else None,
        )
        for index, sign in enumerate(outcomes)
    ]


def summaries(rows):
    return [summarize_row("vlagen-v1", "builtin", row, "", played(row, outcomes)) for row, outcomes in rows.items()]


def test_held_out_are_rows_of_the_table_and_without_any_parts_of_them():
    rows = ["train", PART, "vision/table", "vision/table[objects=0]", "execution/position", "vision/table~control"]
    assert held_out_axes(rows, PART) == {"vision/table": "vision", "execution/position": "execution"}
    assert held_out_axes(rows, "vision/table") == {"execution/position": "execution"}
    parts = ["train", PART, "vision/table[objects=0]", "vision/texture-weak@0.4", "train[objects=1]"]
    assert held_out_axes(parts, PART) == {"vision/table[objects=0]": "vision"}
    assert held_out_axes(["train"], "train") == {}


def test_axes_weigh_the_same_whatever_rows_they_have():
    rows = {"vision/table": "1100", "vision/noise-weak": "1111", "execution/position": "000e", "train": "1111"}
    axes = held_out_axes(list(rows), "train")
    found = score(summaries(rows), axes)
    # vision: (1/2 + 1) / 2 = 3/4; execution: 0 of 3
    assert found.rate == pytest.approx(3 / 8)
    assert (found.rows, found.n, found.errors) == (3, 11, 1)
    alone = score(summaries(rows), {"vision/table": "vision"})
    assert alone.interval == wilson_interval(2, 4)
    assert score(summaries(rows), {"semantics/object": "semantics"}) is None


def test_gains_are_of_pairs():
    before = played("vision/table", "0000") + played("execution/position", "0101")
    after = played("vision/table", "1110") + played("execution/position", "0010")
    axes = {"vision/table": "vision", "execution/position": "execution"}
    found = gain(compare(before, after).rows, axes)
    # vision +3/4, execution -1/4
    assert found.difference == pytest.approx(1 / 4)
    assert (found.pairs, found.better, found.worse) == (8, 4, 2)
    # of 6 coins, 4 heads or more on either side: 2 * (15 + 6 + 1) / 64
    assert found.p == pytest.approx(44 / 64)
    assert found.interval.low < found.difference < found.interval.high
    assert gain(compare(before, after).rows, {"train": "in-distribution"}) is None
