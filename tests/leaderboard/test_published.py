"""Published results are copied facts: complete, marked, and kept apart."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from tests.leaderboard.conftest import frames_of
from tests.leaderboard.synthetic import write_run
from vlagen.leaderboard.errors import NotOneTable
from vlagen.leaderboard.frames import PUBLISHED_COLUMNS
from vlagen.leaderboard.published import FILE, read_published, with_published
from vlagen.tasks.variants import AXES, ROW_IDS

PPO, SFT = "OpenVLA-7B PPO [RL4VLA]", "OpenVLA-7B SFT-16k [RL4VLA]"


@pytest.fixture
def frames(example_frames):
    return with_published(example_frames, read_published())


def test_every_fact_has_its_source_and_a_scope_that_is_known():
    published = read_published()
    assert tuple(published.columns) == PUBLISHED_COLUMNS
    assert (published[["source", "citation", "evidence", "model", "method"]] != "").all(axis=None)
    ours = {*ROW_IDS, *(f"axis:{axis}" for axis in (*AXES[1:], "mean"))}
    foreign = published[~published["scope"].isin(ours)]["scope"]
    assert foreign.str.startswith(("simpler-widowx/", "maniskill3/")).all()
    assert not published.duplicated(["entry", "scope"]).any()


def test_the_study_is_complete_and_its_means_are_those_it_reports(frames):
    rows = frames.rows[frames.rows["entry"] == PPO]
    assert rows["row"].tolist() == list(ROW_IDS)
    assert (rows["n"] == 192).all()
    axes = frames.axes[frames.axes["entry"] == PPO].set_index("axis")
    # As the paper's text has them: semantics .728, 22.4% below training, and execution .783, 16.5% below.
    assert axes.loc["semantics", "success_at_end"] == pytest.approx(0.728, abs=5e-4)
    assert axes.loc["semantics", "relative_drop"] == pytest.approx(0.224, abs=5e-4)
    assert axes.loc["execution", "success_at_end"] == pytest.approx(0.783, abs=5e-4)
    assert axes.loc["execution", "relative_drop"] == pytest.approx(0.165, abs=5e-4)


def test_both_baselines_of_supervised_fine_tuning_are_there(frames):
    published = frames.published
    training = published[published["scope"] == "train"].set_index("entry")["value"]
    assert training[SFT] == 0.781
    assert training["OpenVLA-7B SFT-16k (RL4VLA, as quoted) [FAN]"] == 0.885


def test_another_definition_of_success_is_in_another_column(frames):
    rlinf = frames.rows[frames.rows["entry"] == "OpenVLA-7B PPO [RLinf]"].iloc[0]
    assert math.isnan(rlinf["success_at_end"])
    assert rlinf["success_once"] == 0.9609
    assert rlinf["n"] is pd.NA
    # FAN does not say when success is judged: in no column of rates at all.
    assert not frames.rows["entry"].str.contains("FAN").any()


def test_published_entries_are_marked_and_behind_the_measured_ones(frames):
    kinds = frames.rows.drop_duplicates("entry")["kind"].tolist()
    assert kinds == sorted(kinds)
    assert set(kinds) == {"measured", "published"}
    assert set(frames.entries) == {"alpha", "beta"}
    assert set(frames.rows.loc[frames.rows["kind"] == "published", "protocol"]) == {"published"}


def test_a_measured_entry_cannot_take_a_published_name(tmp_path):
    write_run(tmp_path / "run", {"train": "1"}, policy=PPO)
    with pytest.raises(NotOneTable, match="is a published result"):
        with_published(frames_of(tmp_path), read_published())


@pytest.mark.parametrize("edit", [(",0.781,", ",78.1,"), (",at_end,", ",sometimes,")])
def test_impossible_values_are_refused_with_their_line(tmp_path, edit):
    file = tmp_path / "published.csv"
    file.write_text(FILE.read_text(encoding="utf-8").replace(*edit, 1), encoding="utf-8")
    with pytest.raises(NotOneTable, match="line 2"):
        read_published(file)
