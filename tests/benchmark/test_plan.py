import pytest

from tests.benchmark import toys
from vlagen.assets.errors import VlagenError
from vlagen.benchmark.plan import check_length, lengths, planned, select_rows, with_controls, with_severities
from vlagen.benchmark.records import read_records
from vlagen.benchmark.request import BadRequest
from vlagen.tasks.restriction import Pools
from vlagen.tasks.rows import find_row
from vlagen.tasks.sampling import evaluation_indices
from vlagen.tasks.variants import variant


def ids(rows):
    return [row.id for row in rows]


def test_compositions_follow_the_rows_of_the_table():
    rows = select_rows(["execution/moved-midway+vision/table", "train", "vision/noise-weak@0.2"], "vlagen-v1")
    assert ids(rows) == ["train", "vision/table+execution/moved-midway", "vision/noise-weak@0.2"]


def test_a_row_is_planned_once_however_it_is_named():
    rows = select_rows(["vision/table+execution/position", "execution/position+vision/table"], "vlagen-v1")
    assert ids(rows) == ["vision/table+execution/position"]


def test_every_perturbed_row_is_followed_by_its_control_arm():
    rows = with_controls(select_rows(["train", "vision/table", "semantics/object"], "rl4vla"))
    assert ids(rows) == [
        "train",
        "vision/table",
        "vision/table~control",
        "semantics/object",
        "semantics/object~control",
    ]
    assert {row.protocol for row in rows} == {"rl4vla"}
    assert with_controls(rows) == rows


def test_a_sweep_replaces_rows_with_a_knob_and_leaves_others_of_their_axis_out():
    rows = with_severities(select_rows(["vision"], "vlagen-v1"), ["vision"], "0:0.5:2")
    kinds = ("texture-weak", "texture-strong", "noise-weak", "noise-strong")
    assert ids(rows) == [f"vision/{kind}@{value}" for kind in kinds for value in ("0", "0.5")]


@pytest.mark.parametrize(
    ("names", "text", "complaint"),
    [
        (["vision/table"], "0:1:3", "--severity needs rows with a continuous knob; vision/table have none"),
        (["vision/table", "vision/noise-weak"], "0:1:3", "vision/table have none"),
        (["train"], "0:1:3", "have none; allowed: vision/texture-weak"),
        (["vision/noise-weak[objects=0]"], "0:1:3", r"setting in its id, e.g. vision/noise-weak@0.3\[objects=0\]"),
        (["vision/noise-weak"], "0:3:4", "blend strength 2; allowed: 0 to 1"),
        (["vision/noise-weak"], "0-1", "allowed: from:to:count"),
    ],
)
def test_a_sweep_that_makes_no_sense_is_refused(names, text, complaint):
    with pytest.raises(VlagenError, match=complaint):
        with_severities(select_rows(names, "vlagen-v1"), names, text)


def test_a_composition_of_two_rows_that_clash_is_refused():
    with pytest.raises(VlagenError, match="cannot be composed"):
        select_rows(["execution/moved-midway+semantics/two-objects-seen"], "vlagen-v1")
    with pytest.raises(BadRequest, match="unknown row 'vision-table'"):
        select_rows(["vision-table"], "vlagen-v1")


def test_the_control_arm_of_a_lengthened_row_is_as_long_as_the_row(tmp_path):
    toys.evaluate(tmp_path, toys.CoinPolicy, rows=("vision/table",), episodes=200, until_ci=0.2, control=True)
    rows = [record.row for record in read_records(tmp_path / "episodes.jsonl")[0]]
    assert rows.count("vision/table") == rows.count("vision/table~control") > 16


def test_without_a_precision_every_row_has_the_same_length():
    rows = [planned(variant(row)) for row in ("train", "vision/table")]
    assert lengths(rows, 7, None, {}) == {"train": 7, "vision/table": 7}
    assert lengths(rows, 500, 0.1, {}) == {"train": 16, "vision/table": 16}


def test_the_part_of_a_row_is_played_on_its_own_list(tmp_path):
    rows = ("train[tables=0,objects=0]", "vision/table[objects=0]", "train")
    evaluation = toys.evaluate(tmp_path, toys.SlowPolicy, rows=rows, episodes=5, control=True, video="all")
    part = "train[objects=0,tables=0]"
    records = {(record.row, record.index) for record in read_records(tmp_path / "episodes.jsonl")[0]}
    played = ["train", part, "vision/table[objects=0]", "vision/table[objects=0]~control"]
    assert sorted({row for row, _ in records}) == sorted(played)
    pools = Pools(objects=(0,), tables=(0,))
    assert {index for row, index in records if row == part} == {*evaluation_indices(variant("train"), 5, pools)}
    assert {row.row: row.axis for row in evaluation.summaries()} == dict(
        zip(played, ("in-distribution", "part", "part", "control"), strict=True)
    )
    folders = {path.parent.name for path in (tmp_path / "videos").rglob("*.mp4")}
    assert "train.objects-0.tables-0" in folders


def test_a_part_plays_no_more_than_training_leaves_to_it():
    rows = [planned(variant("train")), planned(find_row("train[objects=0,tables=0]"))]
    check_length(rows, 784)
    with pytest.raises(BadRequest, match=r"1 to 784, which is all that train\[objects=0,tables=0\] has for eval"):
        check_length(rows, 785)
