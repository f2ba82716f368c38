"""Tables: golden files of an example that can be checked by eye, and names that try to be markup."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from tests.leaderboard.conftest import ROWS, frames_of
from tests.leaderboard.synthetic import write_run
from vlagen.leaderboard import latex, markdown
from vlagen.leaderboard.cells import file_name
from vlagen.leaderboard.cells import latex as latex_cell
from vlagen.leaderboard.cells import markdown as markdown_cell
from vlagen.leaderboard.frames import Frames
from vlagen.leaderboard.grids import measured_grids
from vlagen.leaderboard.published import read_published, with_published
from vlagen.leaderboard.tables import write_tables
from vlagen.leaderboard.ties import tied_with_best

GOLDEN = Path(__file__).parent / "golden"
NASTY = "<b>x</b> | [a](http://b) $\\input{c}$ _d_ & 50% #1 ~ ^ `e`"


def write(frames: Frames, out: Path) -> Path:
    write_tables(frames, out, frames.entries, tied_with_best(frames))
    return out


@pytest.mark.parametrize("name", ["leaderboard.csv", "axes.csv", "failures.csv", "leaderboard.md", "leaderboard.tex"])
def test_the_example_is_written_as_checked_by_eye(example_frames, tmp_path, name):
    written = (write(example_frames, tmp_path / "out") / name).read_text(encoding="utf-8")
    if os.environ.get("VLAGEN_UPDATE_GOLDEN"):
        GOLDEN.mkdir(exist_ok=True)
        (GOLDEN / name).write_text(written, encoding="utf-8")
    assert written == (GOLDEN / name).read_text(encoding="utf-8")


def test_csv_and_json_hold_the_frames(example_frames, tmp_path):
    out = write(example_frames, tmp_path / "out")
    csv = pd.read_csv(out / "leaderboard.csv")
    assert csv["successes"].tolist() == example_frames.rows["successes"].tolist()
    assert csv["ci_low"].tolist() == pytest.approx(example_frames.rows["ci_low"].tolist(), rel=1e-5)
    content = json.loads((out / "leaderboard.json").read_text())
    assert [row["row"] for row in content["rows"]] == csv["row"].tolist()
    assert content["axes"][0]["relative_drop"] is None
    assert content["runs"][0]["fingerprint"] == example_frames.runs["fingerprint"].iloc[0]


def test_undefined_is_a_dash_and_never_zero(tmp_path):
    write_run(tmp_path / "a", {"train": "00", "vision/table": "10"}, policy="a")
    write_run(tmp_path / "b", {"train": "10"}, policy="b")
    out = write(frames_of(tmp_path), tmp_path / "out")
    lines = {line.split(" | ")[0]: line for line in (out / "leaderboard.md").read_text().splitlines()}
    # A never succeeded in training, so that it has no drop; B has not played the row.
    assert lines["| a"].endswith("| – |")
    assert lines["| b"].count("–") == 3
    assert lines["| vision/table"].endswith("| – |")
    values = pd.read_csv(out / "axes.csv").set_index(["entry", "axis"])["success_at_end"]
    assert values[("a", "in-distribution")] == 0
    assert math.isnan(values[("b", "vision")])


def test_published_results_have_tables_of_their_own(example_frames, tmp_path):
    out = write(with_published(example_frames, read_published()), tmp_path / "out")
    text = (out / "leaderboard.md").read_text()
    measured, published = text.split("## Published results by axis")
    assert "RL4VLA" not in measured
    assert "alpha" not in published
    # Both published baselines of supervised fine-tuning, which disagree: 78.1 and 88.5 in distribution.
    assert "OpenVLA-7B SFT-16k \\[RL4VLA\\]" in published
    assert "| OpenVLA-7B SFT-16k (RL4VLA, as quoted) \\[FAN\\] | not said | 88.5 | 74.0 |" in published
    csv = pd.read_csv(out / "leaderboard.csv")
    assert set(csv.loc[csv["kind"] == "published", "assets"]) == {"published"}


@pytest.mark.parametrize("name", [NASTY, "../../etc/passwd", "=cmd()", "\\"])
def test_names_are_shown_as_they_are(tmp_path, name):
    marks = dict(zip(ROWS, ("10", "11", "00", "1o"), strict=True))
    write_run(tmp_path / "runs" / "a", marks, policy=name)
    write_run(tmp_path / "runs" / "b", marks, policy="other")
    frames = frames_of(tmp_path / "runs")
    grids = measured_grids(frames, frames.entries, tied_with_best(frames))
    text = markdown.document(grids)
    assert markdown_cell(name) in text
    assert "<b>" not in text
    # Every line of the table has as many cells as its head.
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in table[:4]} == {8}
    tex = latex.document(grids)
    # Long names go over several lines.
    assert all(latex_cell(word) in tex for word in name.split())
    assert "\\input" not in tex
    assert pd.read_csv(write(frames, tmp_path / "out") / "leaderboard.csv")["entry"].tolist().count(name) == 4


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed (texlive-latex-base)")
@pytest.mark.parametrize(
    "name", [NASTY, "\\", "[a]", "*a*", "été “naïve” – so…", "word " * 20, "x" * 100, '"` | <a> \\end{table}']
)
def test_latex_compiles_and_fits_the_page(tmp_path, name):
    marks = dict(zip(ROWS, ("10", "11", "00", "1o"), strict=True))
    write_run(tmp_path / "runs" / "a", marks, policy=name.strip())
    write_run(tmp_path / "runs" / "b", marks, policy="other")
    out = write(with_published(frames_of(tmp_path / "runs"), read_published()), tmp_path / "out")
    preamble = r"\documentclass{article}\usepackage[T1]{fontenc}\usepackage{booktabs,graphicx}"
    (out / "paper.tex").write_text(preamble + r"\begin{document}\input{leaderboard}\end{document}")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-draftmode", "paper.tex"]
    done = subprocess.run(command, cwd=out, capture_output=True, text=True, errors="replace", timeout=300)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull \\hbox" not in done.stdout


def test_signs_are_escaped_for_each_language():
    assert markdown_cell("a|b*c<d>&e") == r"a\|b\*c&lt;d&gt;&amp;e"
    assert markdown_cell("[x](y)") == r"\[x\](y)"
    assert latex_cell("50% of a_b & {c}") == r"50\% of a\_b \& \{c\}"
    assert latex_cell("\\x^2") == r"\textbackslash{}x\textasciicircum{}2"
    assert markdown_cell("two\nlines") == "two lines"


def test_file_names_stay_in_their_folder_and_tell_names_apart():
    assert file_name("ppo") == "ppo"
    names = ["../../x", "x", "X", "x ", ".x", "con/x", "é", "", "x" * 300, "a/b", "a-b"]
    files = [file_name(name) for name in names]
    assert len(set(files)) == len(names)
    for file in files:
        assert set(file) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
        assert file
        assert len(file) < 80
