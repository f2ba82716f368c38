import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.benchmark.test_paired import run
from tests.benchmark.test_statistics import counted
from tests.benchmark.toys import record
from vlagen.benchmark.gate.judging import (
    LEVEL,
    BadBaseline,
    BadThresholds,
    Baseline,
    DropTest,
    Thresholds,
    check_comparable,
    describe_drop,
    describe_errors,
    describe_shortfall,
    list_episodes,
    read_baseline,
    read_thresholds,
)
from vlagen.benchmark.paired import compare
from vlagen.benchmark.records import to_line
from vlagen.benchmark.significance import holm
from vlagen.tasks.variants import ROW_IDS


@pytest.fixture
def thresholds(tmp_path):
    def read(text):
        path = tmp_path / "thresholds.toml"
        path.write_text(text)
        return read_thresholds(path, ROW_IDS)

    return read


def test_a_rows_own_threshold_comes_before_its_axis_and_the_default(thresholds):
    read = thresholds('default = 0.8\n[axes]\nvision = 0.5\n[rows]\n"vision/table" = 0.7\n"train+vision/table" = 1\n')
    assert read.of("vision/table", "vision") == 0.7
    assert read.of("vision/noise-weak", "vision") == 0.5
    assert read.of("train", "in-distribution") == 0.8
    assert read.judge == "interval"
    assert thresholds('judge = "rate"').of("train", "in-distribution") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("defualt = 0.8", "unknown setting 'defualt'; did you mean 'default'"),
        ("default = 80", "default = 80; allowed: a rate from 0 to 1"),
        ("default = true", "default = True; allowed: a rate from 0 to 1"),
        ('[rows]\n"visoin/table" = 0.7', "unknown row 'visoin/table'; did you mean 'vision/table'"),
        ('[rows]\n"vision/table" = "0.7"', "rows.vision/table = '0.7'; allowed: a rate from 0 to 1"),
        ("rows = 0.7", r"rows is 0.7; allowed: a table, e.g. \[rows\]"),
        ("[axes]\nvison = 0.7", "unknown axis 'vison'; did you mean 'vision'"),
        ('judge = "mean"', "unknown judge 'mean'"),
        ("default 0.8", "thresholds.toml: "),
    ],
)
def test_bad_thresholds_say_where_and_what_is_allowed(thresholds, text, message):
    with pytest.raises(BadThresholds, match=message):
        thresholds(text)


def test_a_missing_file_of_thresholds_is_named(tmp_path):
    with pytest.raises(BadThresholds, match=r"nothing\.toml"):
        read_thresholds(tmp_path / "nothing.toml", ROW_IDS)


def test_an_interval_has_to_lie_below_the_threshold_altogether():
    # Wilson: 4 of 8 is 21.5% to 78.5%, 5 of 8 is 30.6% to 86.3%
    needed = Thresholds(0.8, {}, {})
    assert describe_shortfall(counted("train", 5, 8), needed) is None
    text = describe_shortfall(counted("train", 4, 8), needed)
    assert text.startswith(
        "success at the end 50.0% (4 of 8, 95% interval 21.5% to 78.5%) is below the threshold of 80.0%"
    )
    assert "judge = 'rate'" in text
    strict = Thresholds(0.8, {}, {}, "rate")
    assert "is below the threshold of 80.0%: the rate is" in describe_shortfall(counted("train", 5, 8), strict)
    assert describe_shortfall(counted("train", 7, 8), strict) is None
    assert describe_shortfall(counted("train", 0, 8), Thresholds(None, {}, {"vision/table": 1.0})) is None


def test_errors_are_told_by_the_last_line_of_their_traceback():
    records = run({"train": "+-"}) + [record("train", 7, "error")]
    records[-1] = type(records[-1])(**{**vars(records[-1]), "error": "Traceback:\n  File\nZeroDivisionError: toy\n"})
    assert describe_errors(records) == "1 of 3 episodes ended in errors; the first, episode 7: ZeroDivisionError: toy"
    assert describe_errors(records[:2]) is None


def test_a_drop_is_told_with_its_numbers():
    a, b = run({"train": "+" * 20}), run({"train": "+" * 9 + "-" * 10 + "x"})
    comparison = compare(a, b).rows[0]
    drops = DropTest(["train", "vision/table"])
    drops.add("train", comparison.p.drop)
    text = describe_drop(comparison, drops, 2)
    assert "fell from 100.0% in the baseline to 47.4% now on the same 19 episodes; 1 more with errors left out" in text
    assert re.search(r"-52\.6 points, 95% interval -6\d\.\d to -2\d\.\d\n", text)
    assert "solved by the baseline only: 10, by this policy only: 0" in text
    assert "p = 0.00098, after Holm over 2 rows at most 0.002, level 0.05" in text  # 1 / 1024
    assert "points would have been found with a probability of 80%" in text
    few = compare(run({"train": "++"}), run({"train": "--"})).rows[0]
    assert "so few episodes cannot show any drop" in describe_drop(few, drops, 2)


def test_listed_episodes_have_their_failure_and_video(tmp_path):
    (tmp_path / "1").touch()
    records = [record("train", i, "failure", failure="dropped") for i in range(12)]
    lines = list_episodes("failed:", records, lambda each: tmp_path / str(each.index)).splitlines()
    assert lines[:3] == ["failed:", "  0  dropped  (no video)", f"  1  dropped  {tmp_path / '1'}"]
    assert lines[-1] == "  and 2 more"
    assert len(lines) == 12


def test_most_rows_are_decided_before_all_are_known():
    drops = DropTest(["a", "b", "c", "d"])
    assert drops.verdict("a") is None
    drops.add("a", 0.0125)
    assert drops.verdict("a") is True
    assert drops.bounds("a") == (0.0125, 0.05)
    drops.add("b", 0.051)
    assert drops.verdict("b") is False
    drops.add("c", 0.02)
    assert drops.verdict("c") is None  # 3 * 0.02 if d is harmless, 2 * 0.02 if d drops as well
    drops.add("d", 0.001)
    assert drops.verdict("c") is True


@given(st.lists(st.one_of(st.floats(0, 1), st.floats(0, 0.06)), min_size=1, max_size=8))
def test_an_early_verdict_is_what_holm_says_in_the_end(p):
    rows = [str(place) for place in range(len(p))]
    drops, early = DropTest(rows), {}
    for row, value in zip(rows, p, strict=True):
        drops.add(row, value)
        early |= {each: drops.verdict(each) for each in rows if each not in early and drops.verdict(each) is not None}
    final = {row: value <= LEVEL for row, value in zip(rows, holm(p), strict=True)}
    assert early == final
    assert all(drops.bounds(row) == (value, value) for row, value in zip(rows, holm(p), strict=True))


def baseline(records, **identity):
    return Baseline("runs/before", {"protocol": "vlagen-v1", **identity}, tuple(records))


def test_a_baseline_of_other_episodes_is_refused_with_the_difference():
    before = baseline(run({"train": "++"}), assets={"name": "builtin", "digest": "a" * 64})
    check_comparable(before, ["train"], {"protocol": "vlagen-v1"})
    with pytest.raises(BadBaseline, match="protocol is 'vlagen-v1' there and 'rl4vla' here"):
        check_comparable(before, ["train"], {"protocol": "rl4vla"})
    with pytest.raises(BadBaseline, match=r"assets\.digest is aaaaaaaaaaaa\.\.\. there and bbbbbbbbbbbb\.\.\. here"):
        check_comparable(before, ["train"], {"assets": {"name": "builtin", "digest": "b" * 64}})
    with pytest.raises(BadBaseline, match="has no episode of vision/table; it has train"):
        check_comparable(before, ["train", "vision/table"], {"protocol": "vlagen-v1"})


def test_a_baseline_without_run_or_episodes_is_refused(tmp_path):
    with pytest.raises(BadBaseline, match=r"holds no run\.json"):
        read_baseline(tmp_path)
    (tmp_path / "run.json").write_text('{"identity": {}, "plan": {}, "sessions": [{}]}')
    with pytest.raises(BadBaseline, match="has no finished episode"):
        read_baseline(tmp_path)
    (tmp_path / "episodes.jsonl").write_bytes(to_line(record("train", 3, "success")))
    assert read_baseline(tmp_path / "run.json").row("train") == [record("train", 3, "success")]
    assert read_baseline(tmp_path).row("vision/table") == []
