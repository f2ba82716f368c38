"""The commands, end to end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.leaderboard.conftest import ROWS
from tests.leaderboard.synthetic import random_outcomes, write_random_runs, write_run
from vlagen.leaderboard.cli import BAD_INPUT, PROBLEMS, SOUND, main

TABLES = {"leaderboard.csv", "leaderboard.json", "leaderboard.md", "leaderboard.tex", "axes.csv", "failures.csv"}


def test_build_writes_tables_figures_and_a_page(example, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["build", str(example), "--out", str(out), "--published", "--html"]) == SOUND
    written = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert written >= TABLES | {
        "published.csv",
        "index.html",
        "figures/rows.png",
        "figures/rows.svg",
        "figures/axes.png",
    }
    printed = capsys.readouterr().out
    assert f"Written to {out}: leaderboard.csv" in printed
    assert all(name in printed for name in written)


def test_one_policy_alone_makes_a_table(tmp_path):
    write_run(tmp_path / "runs", {"train": "10"})
    assert main(["build", str(tmp_path / "runs"), "--out", str(tmp_path / "out"), "--html"]) == SOUND
    assert pd.read_csv(tmp_path / "out" / "leaderboard.csv")["successes"].tolist() == [1]


def test_the_same_input_gives_the_same_files_for_any_number_of_processes(tmp_path):
    write_random_runs(tmp_path / "runs", policies=5, episodes=4, seeds=2)
    for processes in ("1", "2"):
        out = tmp_path / processes
        assert (
            main(["build", str(tmp_path / "runs"), "--out", str(out), "--processes", processes, "--no-figures"])
            == SOUND
        )
    for name in TABLES:
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def test_split_writes_a_table_of_each_kind(example, tmp_path, capsys):
    write_run(example / "other", dict(zip(ROWS, ("10", "1", "1", "1"), strict=True)), protocol="rl4vla")
    out = tmp_path / "out"
    assert main(["build", str(example), "--out", str(out), "--no-figures"]) == BAD_INPUT
    assert "protocol is 'vlagen-v1' there and 'rl4vla' here" in capsys.readouterr().err
    assert not out.exists()
    assert main(["build", str(example), "--out", str(out), "--no-figures", "--split"]) == SOUND
    folders = sorted(path.name for path in out.iterdir())
    assert [folder.rsplit("-", 1)[0] for folder in folders] == ["rl4vla-builtin", "vlagen-v1-builtin"]
    assert set(pd.read_csv(out / folders[0] / "leaderboard.csv")["entry"]) == {"toy"}


def test_entries_to_show_are_chosen_and_checked(example, tmp_path, capsys):
    arguments = ["build", str(example), "--out", str(tmp_path / "out"), "--no-figures"]
    assert main([*arguments, "--show", "beta"]) == SOUND
    assert "| row | beta |" in (tmp_path / "out" / "leaderboard.md").read_text()
    assert main([*arguments, "--show", "bata"]) == BAD_INPUT
    assert "unknown entry 'bata'; did you mean 'beta'?" in capsys.readouterr().err
    assert main([*arguments, "--top", "9"]) == BAD_INPUT
    assert "allowed: 1 to 8" in capsys.readouterr().err


def test_curves_and_scaling_are_drawn_from_files(example, tmp_path, capsys):
    curves = tmp_path / "curves.csv"
    curves.write_text(
        "entry,seed,environment_steps,split,success\nPPO,0,0,held-out,0.1\nPPO,0,1000,held-out,0.5\n"
        "PPO,0,0,in-distribution,0.2\nPPO,0,1000,in-distribution,0.8\n"
    )
    scaling = tmp_path / "scaling.csv"
    scaling.write_text(
        "entry,demonstrations,split,success,ci_low,ci_high\nSFT,100,held-out,0.2,0.1,0.3\nSFT,1000,held-out,0.4,0.3,0.5\n"
    )
    out = tmp_path / "out"
    arguments = ["build", str(example), "--out", str(out), "--curves"]
    assert main([*arguments, str(curves), "--scaling", str(scaling)]) == SOUND
    assert (out / "figures" / "learning.svg").is_file()
    assert (out / "figures" / "scaling.svg").is_file()
    assert main([*arguments, str(scaling)]) == BAD_INPUT
    assert "lacks seed, environment_steps" in capsys.readouterr().err


def test_compare_prints_a_verdict_and_writes_it(tmp_path, capsys):
    for policy, marks in {"a": "0" * 8, "b": "1" * 8}.items():
        write_run(tmp_path / policy, {"train": "1" * 8, "vision/table": marks}, policy=policy)
    file = tmp_path / "comparison.json"
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--json", str(file)]) == SOUND
    printed = capsys.readouterr().out
    assert "b is better than a on the held-out rows: 100.0% against 0.0%" in printed
    content = json.loads(file.read_text())
    assert content["headline"]["difference"] == 1
    assert content["verdict"] in printed
    assert content["episodes"][0]["row"] == "vision/table"


def test_compare_tells_the_same_policy_apart_by_its_folder(tmp_path, capsys):
    for seed, name in enumerate(("old", "new")):
        write_run(tmp_path / name, {"train": "10"}, seed=seed)
    assert main(["compare", str(tmp_path / "old"), str(tmp_path / "new")]) == SOUND
    assert f"A: toy ({tmp_path / 'old'})" in capsys.readouterr().out
    assert main(["compare", str(tmp_path / "old"), str(tmp_path / "old")]) == BAD_INPUT
    assert "--name-a" in capsys.readouterr().err


def test_compare_refuses_other_conditions_and_folders_of_several(tmp_path, capsys):
    write_run(tmp_path / "a" / "1", {"train": "10"}, policy="one")
    write_run(tmp_path / "a" / "2", {"train": "10"}, policy="two")
    write_run(tmp_path / "b", {"train": "10"}, policy="b", code="d" * 64)
    assert main(["compare", str(tmp_path / "a" / "1"), str(tmp_path / "b")]) == BAD_INPUT
    assert "code is cccccccccccc... there and dddddddddddd... here; compare runs that agree" in capsys.readouterr().err
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == BAD_INPUT
    assert "holds 2 entries (one, two)" in capsys.readouterr().err


def test_from_run_to_pull_request(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    write_run(tmp_path / "run", random_outcomes(0, 4, 0.8), official=True)
    entries = tmp_path / "entries"
    card = ["--card.authors", "Ada", "--card.description", "A toy."]
    assert main(["submit", str(tmp_path / "run"), "--out", str(entries), *card]) == SOUND
    file = entries / "toy.json"
    assert main(["verify", str(file)]) == SOUND
    assert main(["check", str(entries)]) == SOUND
    capsys.readouterr()
    assert main(["model-card", str(file)]) == SOUND
    assert capsys.readouterr().out.startswith("---\npipeline_tag:")
    file.write_text(file.read_text().replace('"Ada"', '"Eve"'))
    assert main(["verify", str(file)]) == PROBLEMS
    assert main(["check", str(entries)]) == PROBLEMS
    assert "was edited: card.authors" in capsys.readouterr().out
    assert main(["model-card", str(file)]) == BAD_INPUT


def test_a_pull_requests_problems_are_shown_beside_its_files(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    (tmp_path / "a,b%0A::warning::.json").write_text("{}")
    assert main(["check", str(tmp_path)]) == PROBLEMS
    first, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("::error file=")
    # Nothing in a file's name ends the command or begins another.
    assert "a%2Cb%250A%3A%3Awarning%3A%3A.json::" in first


@pytest.mark.parametrize("arguments", [["build", "--out", "x"], ["build", "nowhere", "--out", "x"], ["verify"]])
def test_nothing_to_read_is_an_error(tmp_path, monkeypatch, capsys, arguments):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == BAD_INPUT
    assert capsys.readouterr().err.startswith("vlagen-leaderboard: ")


def test_the_core_install_is_enough():
    """Importing every module of the leaderboard brings in nothing that simulates or learns."""
    root = Path(__file__).resolve().parents[2]
    modules = [
        f"vlagen.{'.'.join(path.relative_to(root).with_suffix('').parts)}"
        for path in sorted((root / "leaderboard").rglob("*.py"))
        if path.stem != "__init__"
    ]
    code = f"""
import importlib, sys
for name in {modules!r}:
    importlib.import_module(name)
heavy = {{"torch", "sapien", "mani_skill", "gymnasium", "trimesh", "scipy", "cv2", "imageio_ffmpeg"}}
print(sorted(heavy & set(sys.modules)))
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert found.stdout.strip() == "[]"


def test_rows_with_brackets_and_settings_stand_in_tables_and_on_the_page(tmp_path, capsys):
    part, videos = "train[objects=0-3,6,tables=0]", [("train[objects=0-3,6,tables=0]", 1)]
    rows = {"train": "1101", "vision/table": "1010", part: "0110", "vision/noise-weak@0.3+execution/position": "1111"}
    write_run(tmp_path / "runs/a", rows, policy="alpha", official=True, videos=videos)
    write_run(tmp_path / "runs/b", rows | {part: "1111"}, policy="beta", official=True)
    out = tmp_path / "out"
    assert main(["build", str(tmp_path / "runs"), "--out", str(out), "--html"]) == SOUND
    assert part in set(pd.read_csv(out / "leaderboard.csv")["row"])
    assert r"train\[objects=0-3,6,tables=0\]" in (out / "leaderboard.md").read_text()
    assert "train{[}objects=0-3,6,tables=0]" in (out / "leaderboard.tex").read_text()
    assert "videos/train.objects-0-3%2C6.tables-0/" in (out / "index.html").read_text()
    # The only row with a setting is a composition, of which there is no curve.
    assert not list((out / "figures").glob("severity*"))
    card = ["--card.authors", "Ada", "--card.description", "A toy."]
    assert main(["submit", str(tmp_path / "runs/a"), "--out", str(tmp_path / "entries"), *card]) == SOUND
    assert main(["verify", str(tmp_path / "entries/alpha.json")]) == SOUND
    capsys.readouterr()
    assert main(["compare", str(tmp_path / "runs/a"), str(tmp_path / "runs/b")]) == SOUND
    assert "train[objects=0-3,6," in capsys.readouterr().out
