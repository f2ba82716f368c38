"""The workflow that checks pull requests with submissions."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tests.leaderboard.synthetic import write_run
from vlagen.leaderboard.cli import PROBLEMS, SOUND, main

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def workflow():
    return yaml.safe_load((ROOT / ".github/workflows/entries.yml").read_text())


@pytest.fixture(scope="module")
def steps(workflow):
    (job,) = workflow["jobs"].values()
    return job["steps"]


def test_it_runs_for_pull_requests_that_change_entries_and_may_only_read(workflow):
    # YAML 1.1 takes the key `on` for a truth value.
    assert workflow[True] == {"pull_request": {"paths": ["leaderboard/entries/**"]}}
    assert workflow["permissions"] == {"contents": "read"}


def test_what_it_installs_is_the_target_branchs(steps):
    places = {step["with"]["path"]: step["with"].get("ref", "") for step in steps if "checkout" in step.get("uses", "")}
    assert "pull_request.base" in places["base"]
    assert places["proposed"] == ""
    assert [step["run"] for step in steps if step.get("run", "").startswith("pip")] == ["pip install ./base"]


def test_its_check_tells_sound_entries_from_edited_ones(steps, tmp_path, monkeypatch, capsys):
    program, *arguments = shlex.split(steps[-1]["run"])
    assert program == "vlagen-leaderboard"
    write_run(tmp_path / "run", {"train": "1101"}, official=True)
    entries = tmp_path / "proposed" / "leaderboard" / "entries"
    card = ["--card.authors", "Ada", "--card.description", "A toy."]
    assert main(["submit", str(tmp_path / "run"), "--out", str(entries), *card]) == SOUND
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == SOUND
    file = entries / "toy.json"
    file.write_text(file.read_text().replace('"1101"', '"1111"'))
    assert main(arguments) == PROBLEMS
