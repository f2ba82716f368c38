"""The scripts that make figures and pictures of the docs still run."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vlagen.benchmark.actions.formats import NOOP
from vlagen.benchmark.adapters.expert import ExpertPolicy
from vlagen.benchmark.simulator import NoRenderer, choose_render_backend

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"

pytestmark = [pytest.mark.slow, pytest.mark.sim]


def run(monkeypatch, script, *arguments):
    pytest.importorskip("mani_skill")
    monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
    runpy.run_path(str(SCRIPTS / script), run_name="__main__")


def test_the_experts_rates_are_measured_row_by_row(monkeypatch, capsys):
    run(monkeypatch, "measure_expert.py", "--rows", "train", "execution/position", "--train-count", 2, "--count", 1)
    train, position = map(json.loads, capsys.readouterr().out.splitlines()[-2:])
    assert (train["row"], train["n"], train["successes"], train["rate"]) == ("train", 2, 2, 1.0)
    assert (position["row"], position["n"], position["failures"]) == ("execution/position", 1, [])
    assert 0 < train["median_first_success"] <= 80


def test_an_expert_that_fails_is_told_in_which_phase(monkeypatch, capsys):
    monkeypatch.setattr(ExpertPolicy, "act", lambda self, observation: np.tile(NOOP, (len(observation.instruction), 1)))
    run(monkeypatch, "measure_expert.py", "--rows", "train", "--train-count", 1)
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (report["successes"], report["rate"], report["median_first_success"]) == (0, 0.0, None)
    ((name, _, phase, grasped, reached),) = report["failures"]
    assert report["failed_by_object"] == {name: "1/1"}
    assert phase.isupper()
    assert (grasped, reached) == (False, None)


def test_every_row_is_drawn(monkeypatch, tmp_path):
    try:
        choose_render_backend()
    except NoRenderer as error:
        pytest.skip(str(error))
    run(monkeypatch, "picture_of_rows.py", "--out", tmp_path / "rows.jpg")
    picture = np.asarray(Image.open(tmp_path / "rows.jpg"), dtype=float)
    assert picture.shape == (1040, 1200, 3)
    # Four by four pictures, none of them empty.
    for part in (part for band in np.split(picture, 4) for part in np.split(band, 4, axis=1)):
        assert part[60:160, 60:240].std() > 10


def test_a_training_is_drawn(monkeypatch, tmp_path):
    run_folder = tmp_path / "run"
    run_folder.mkdir()
    lines = [{"step": step, "loss": 3 / step, "action_l1": 0.2} for step in (1, 2, 3)]
    lines[1] |= {"held_out/loss": 2.0, "held_out/action_l1": 0.3}
    (run_folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    run(monkeypatch, "picture_of_training.py", run_folder, "--out", tmp_path / "training.png")
    assert np.asarray(Image.open(tmp_path / "training.png").convert("L")).std() > 10


def test_roll_outs_of_several_trainings_are_drawn_together(monkeypatch, tmp_path):
    runs = [tmp_path / "ppo/seed-0", tmp_path / "dpo/seed-0"]
    for run_folder, more in zip(runs, ({"entropy": 0.9}, {}), strict=True):
        run_folder.mkdir(parents=True)
        lines = [{"step": step, "environment_steps": 80 * step, "success": step / 4, **more} for step in (1, 2, 3)]
        lines.append({"step": 3, "evaluation/errors": 0.0, "environment_steps": 240})
        (run_folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    run(monkeypatch, "picture_of_training.py", *runs, "--out", tmp_path / "training.png", "--smooth", "2")
    assert np.asarray(Image.open(tmp_path / "training.png").convert("L")).std() > 10
