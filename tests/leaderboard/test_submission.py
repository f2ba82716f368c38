"""A submission is refused once anything in it was changed, and the message names what."""

from __future__ import annotations

import copy
import json
import re

import pytest

from tests.leaderboard.synthetic import write_run
from vlagen.leaderboard.arguments import Build, Submit
from vlagen.leaderboard.build import build, submit
from vlagen.leaderboard.entry import Card, sealed
from vlagen.leaderboard.errors import BadEntry, BadRun, NotOneTable
from vlagen.leaderboard.model_card import model_card
from vlagen.leaderboard.submissions import check_folder
from vlagen.leaderboard.verification import read_entry, verify

CARD = Card(authors="Ada & Co", description="A toy.", license="mit", citation="@misc{toy}")
MARKS = {"train": "1110", "vision/table": "10o0"}


@pytest.fixture
def file(tmp_path):
    for seed in (0, 1):
        write_run(tmp_path / "runs" / f"{seed}", MARKS, seed=seed, official=True)
    return submit(Submit(runs=(tmp_path / "runs",), card=CARD, name="Toy <b>", out=tmp_path / "entries"))


@pytest.fixture
def content(file):
    return read_entry(file)


def change(content, path, value):
    """Sets the value at a dotted path (keys may hold no dot, so that a row's id is one key)."""
    *parents, last = path.split(".")
    for key in parents:
        content = content[int(key) if isinstance(content, list) else key]
    content[last] = value


def test_what_was_submitted_is_sound_and_holds_the_numbers_of_its_records(file, content):
    entry = verify(content, "x")
    assert entry.name == "Toy <b>"
    assert entry.seeds == (0, 1)
    row = content["results"]["rows"]["vision/table"]
    assert (row["n"], row["successes"], row["success_at_end"], row["success_once"]) == (8, 2, 0.25, 0.5)
    assert content["results"]["axes"]["held-out"]["relative_drop"] == pytest.approx(1 - 0.25 / 0.75, rel=1e-5)
    assert re.fullmatch(r"toy-b-[0-9a-f]{8}\.json", file.name)


def test_nothing_of_the_machine_is_in_it(file):
    text = file.read_text()
    assert "here" not in text
    assert str(file.parents[1]) not in text
    assert "put carrot" not in text


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("results.rows.train.successes", 8, "results.rows.train.successes is 8, and its records give 6"),
        ("results.rows.train.success_at_end", 0.76, "results.rows.train.success_at_end is 0.76"),
        ("results.rows.train.success_at_end", None, "results.rows.train.success_at_end is None"),
        ("results.rows.train.ci_high", 0.99, "results.rows.train was edited|results.rows.train"),
        ("results.axes.held-out.ci_low", 0.2, "results.axes.held-out.ci_low is 0.2"),
        ("results.axes.vision.rows", 5, "results.axes.vision.rows is 5, and its records give 1"),
        ("results.axes.vision.rows", True, "results.axes.vision.rows is True"),
        ("results.axes.made-up", {"n": 1}, "results.axes has made-up"),
        ("card.license", "apache-2.0", "was edited: card.license"),
        ("card.authors", "", "card.authors is empty"),
        ("card.authors", 3, "card.authors is no text"),
        ("card.shoe_size", "43", "unexpected keyword"),
        ("name", "Other", "was edited: name"),
        ("policy", 5, "policy is no text"),
        ("schema", 2, "has schema 2"),
        ("format", "json", "is no submission"),
        ("comment", "hello", "lacks fields or has others: comment"),
        ("runs.0.digest", "0", "was edited: runs.0.digest"),
        ("runs.0.identity.seed", 7, "was edited: runs.0.identity"),
        ("runs.0.plan.train", [1, 2, 3, 4], "was edited: runs.0.plan"),
        ("runs.1.sessions", [], "was edited: runs.1.sessions"),
        ("runs.0.records.train.success_at_end", "1111", "was edited: runs.0.records.train"),
        ("runs.0.records", [], "runs.0 lacks fields"),
        ("runs", [], "not as vlagen-leaderboard submit writes"),
        ("runs", [3], "not as vlagen-leaderboard submit writes"),
        ("results", {"rows": [], "axes": {}}, "not as vlagen-leaderboard submit writes"),
        ("digests", [], "not as vlagen-leaderboard submit writes"),
        ("digest", "0" * 64, "was edited: digests"),
    ],
)
def test_an_edit_is_refused_with_its_place(content, path, value, message):
    change(content, path, value)
    with pytest.raises(BadEntry, match=message):
        verify(content, "x")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("runs.0.records.train.success_at_end", "1111", "contradicts itself"),
        ("runs.0.records.train.success_at_end", "111", "success_at_end is not of 4 episodes"),
        ("runs.0.records.train.success_at_end", "11x0", "has other signs"),
        ("runs.0.records.train.steps", ["80"] * 4, "steps is '80'"),
        ("runs.0.records.train.steps", [10**400] * 4, "too large"),
        ("runs.0.records.train.failure", [{}] * 4, "failure is {}"),
        ("runs.0.records.train", {}, "other fields"),
        ("runs.0.records", {}, "not of the rows of its plan"),
        ("runs.0.identity.seed", 7, "its fingerprint is"),
        ("runs.0.identity", [], "does not say which policy"),
        ("runs.0.plan", {"train": 3}, "does not say which policy"),
        ("conditions", "0" * 64, "other conditions than the entry says"),
        ("results.rows.train.successes", 8, "results.rows.train.successes is 8"),
        ("name", "two\nlines", "cannot stand in a table"),
    ],
)
def test_new_hashes_do_not_make_an_edit_sound(content, path, value, message):
    change(content, path, value)
    with pytest.raises(BadEntry, match=message):
        verify(sealed({name: part for name, part in content.items() if name not in ("digests", "digest")}), "x")


def test_a_better_outcome_needs_other_numbers_too(content):
    """Records may be forged so that they agree with themselves; then the results no longer follow from them."""
    records = content["runs"][0]["records"]["train"]
    records["success_at_end"], records["success_once"] = "1111", "1111"
    records["first_success_step"][3], records["failure"][3] = 40, None
    with pytest.raises(BadEntry, match="successes is 6, and its records give 7"):
        verify(sealed({name: part for name, part in content.items() if name not in ("digests", "digest")}), "x")


def test_episodes_of_ones_own_choice_are_refused(tmp_path):
    write_run(tmp_path / "run", MARKS)
    with pytest.raises(BadEntry, match="episodes of row train are not the first 4 of that row's list"):
        submit(Submit(runs=(tmp_path / "run",), card=CARD, out=tmp_path / "entries"))
    assert not (tmp_path / "entries").exists()


def test_incomplete_runs_and_several_policies_are_not_submitted(tmp_path):
    write_run(tmp_path / "bad", {"train": "1e"}, official=True)
    with pytest.raises(BadRun, match="incomplete"):
        submit(Submit(runs=(tmp_path / "bad",), card=CARD, out=tmp_path))
    for policy in "ab":
        write_run(tmp_path / "two" / policy, {"train": "10"}, policy=policy, official=True)
    with pytest.raises(NotOneTable, match=r"runs of 2 policies \(a, b\)"):
        submit(Submit(runs=(tmp_path / "two",), card=CARD, out=tmp_path))


def test_a_submission_is_not_overwritten_nor_submitted_again(tmp_path, file):
    with pytest.raises(BadEntry, match="is there already"):
        submit(Submit(runs=(tmp_path / "runs",), card=CARD, name="Toy <b>", out=tmp_path / "entries"))
    with pytest.raises(BadEntry, match="cannot be submitted again"):
        submit(Submit(runs=(file,), card=CARD, out=tmp_path / "again"))


def test_what_is_no_json_is_refused(tmp_path):
    for text in ("", "{", "[" * 100_000, "[1, 2]"):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(BadEntry, match="is no submission"):
            verify(read_entry(tmp_path / "x.json"), "x")


def test_a_table_can_be_built_from_submissions(tmp_path, file):
    write_run(tmp_path / "other", MARKS, policy="other", official=True)
    ((out, _),) = build(Build(runs=(file.parent, tmp_path / "other"), out=tmp_path / "out", no_figures=True))
    rows = json.loads((out / "leaderboard.json").read_text())["rows"]
    assert {row["entry"]: row["successes"] for row in rows if row["row"] == "train"} == {"Toy <b>": 6, "other": 3}


def test_a_folder_of_submissions_is_checked_as_a_whole(tmp_path, file, content):
    (file.parent / "README.md").write_text("about")
    assert [finding.problem for finding in check_folder(file.parent)] == [None]
    copied = copy.deepcopy(content)
    (file.parent / "zzz.json").write_text(json.dumps(copied))
    (file.parent / "tool.py").write_text("")
    (file.parent / "folder").mkdir()
    (file.parent / "link.json").symlink_to(file)
    problems = {finding.path.name: finding.problem for finding in check_folder(file.parent)}
    assert problems[file.name] is None
    assert f"whose file is called {file.name}" in problems["zzz.json"]
    for name in ("tool.py", "folder", "link.json"):
        assert "only submissions belong here" in problems[name]
    with pytest.raises(BadEntry, match="no folder"):
        check_folder(tmp_path / "nowhere")


def test_a_run_is_submitted_once(tmp_path, file):
    submit(Submit(runs=(tmp_path / "runs",), card=CARD, name="zzz", out=tmp_path / "entries"))
    problems = [finding.problem for finding in check_folder(file.parent)]
    assert problems[0] is None
    assert "repeats a run of" in problems[1]


def test_the_model_card_is_what_the_hub_reads(content):
    yaml = pytest.importorskip("yaml")
    text = model_card(content)
    assert text.startswith("---\n")
    assert text.endswith("---\n")
    metadata = yaml.safe_load(text.strip("-\n"))
    (model,) = metadata["model-index"]
    assert model["name"] == "Toy <b>"
    assert metadata["license"] == "mit"
    by_name = {result["dataset"]["config"]: result["metrics"][0] for result in model["results"]}
    assert by_name["train"]["value"] == 0.75
    assert by_name["train"]["args"]["episodes"] == 8
    assert set(by_name) == {"train", "vision/table", "mean of held-out"}


def test_the_hubs_own_code_reads_the_model_card(content):
    hub = pytest.importorskip("huggingface_hub")
    data = hub.ModelCard(model_card(content)).data
    assert {result.dataset_config: result.metric_value for result in data.eval_results}["train"] == 0.75
