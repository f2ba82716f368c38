import json
import subprocess
import sys

import pytest

from tests.benchmark.toys import record
from vlagen.benchmark.statistics import summarize_row
from vlagen.benchmark.watching.tracker import Sheet, Tracker, TrackerUnavailable
from vlagen.benchmark.watching.tracking import TensorBoard, WeightsAndBiases, markdown
from vlagen.tasks.variants import variant

RECORDS = (
    record("train", 5, "success"),
    record("train", 6, "failure", failure="dropped"),
    record("vision/table", 5, "failure", failure="never-reached"),
    record("vision/table", 6, "error"),
    record("vision/noise-weak", 5, "success"),
)
CURVES = {
    "success_by_row/train": [(1, 1.0), (2, 0.5)],
    "success_by_axis/in-distribution": [(1, 1.0), (2, 0.5)],
    "success_by_row/vision/table": [(1, 0.0)],
    "episodes/errors": [(4, 1.0)],
    "success_by_row/vision/noise-weak": [(1, 1.0)],
    "success_by_axis/vision": [(1, 0.0), (2, 0.5)],
}


def summaries(records):
    rows = map(variant, dict.fromkeys(one.row for one in RECORDS))
    return [summarize_row(row.protocol, "builtin", row.id, row.axis, records) for row in rows]


def play(tracker, known, played):
    tracker.begin(len(RECORDS), known)
    for one in played:
        tracker.record(one)
    tracker.end(summaries([*known, *played]))


class Notebook(Tracker):
    """A tracker in memory that outlives its sessions, as a server's would."""

    def __init__(self, out, pages, warn=None):
        super().__init__("notebook", out, warn=warn)
        self.pages = pages
        self.fails_at = None

    def _start(self, name):
        self.pages.setdefault("starts", []).append(name)

    def _log(self, points, finished):
        if finished == self.fails_at:
            raise ConnectionError("network is down")
        for point in points:
            self.pages.setdefault(f"{point.group}/{point.name}", []).append((point.x, point.y))

    def _report(self, sheets, summaries, finished):
        self.pages.setdefault("reports", []).append(sheets)

    def _close(self):
        self.pages["closed"] = True


def curves(pages):
    return {name: points for name, points in pages.items() if "/" in name}


def test_curves_are_running_rates_over_episodes_without_an_error(tmp_path):
    pages = {}
    play(Notebook(tmp_path, pages), (), RECORDS)
    assert curves(pages) == CURVES
    assert pages["closed"]


@pytest.mark.parametrize("cut", range(len(RECORDS) + 1))
@pytest.mark.parametrize("killed", [False, True])
def test_a_resumed_run_continues_its_curves_without_repeating_a_point(tmp_path, cut, killed):
    pages = {}
    first = Notebook(tmp_path, pages)
    first.begin(len(RECORDS), ())
    for one in RECORDS[:cut]:
        first.record(one)
    if not killed:
        first.end(summaries(RECORDS[:cut]))
    play(Notebook(tmp_path, pages), RECORDS[:cut], RECORDS[cut:])
    assert curves(pages) == CURVES
    assert len(set(pages["starts"])) == 1
    assert len(pages["reports"]) == 1


def test_looking_at_a_complete_run_again_changes_nothing(tmp_path):
    pages = {}
    play(Notebook(tmp_path, pages), (), RECORDS)
    before = json.dumps(pages, default=vars)
    play(Notebook(tmp_path, pages), RECORDS, ())
    assert json.dumps(pages, default=vars) == before


def test_a_run_that_began_without_a_tracker_is_told_from_its_beginning(tmp_path):
    pages = {}
    play(Notebook(tmp_path, pages), RECORDS[:3], RECORDS[3:])
    assert curves(pages) == CURVES


def test_retried_errors_update_the_results(tmp_path):
    pages = {}
    play(Notebook(tmp_path, pages), (), RECORDS)
    settled = tuple(one for one in RECORDS if one.outcome != "error")
    play(Notebook(tmp_path, pages), settled, [record("vision/table", 6, "success")])
    assert pages["success_by_row/vision/table"] == [(1, 0.0), (2, 0.5)]
    assert len(pages["reports"]) == 2


def test_results_are_shown_only_when_the_run_is_complete(tmp_path):
    pages = {}
    play(Notebook(tmp_path, pages), (), RECORDS[:3])
    assert "reports" not in pages
    assert pages["closed"]


def test_a_plan_that_grows_is_complete_at_its_new_end(tmp_path):
    pages = {}
    tracker = Notebook(tmp_path, pages)
    tracker.begin(2, ())
    for one in RECORDS[:2]:
        tracker.record(one)
    tracker.begin(5, RECORDS[:2])
    for one in RECORDS[2:4]:
        tracker.record(one)
    tracker.end(summaries(RECORDS[:4]))
    assert "reports" not in pages
    assert pages["success_by_row/train"] == CURVES["success_by_row/train"]


def test_the_report_has_results_failures_and_where_the_videos_are(tmp_path):
    film = tmp_path / "videos" / "vision-table" / "5_failure.mp4"
    film.parent.mkdir(parents=True)
    film.touch()
    pages = {}
    play(Notebook(tmp_path, pages), (), RECORDS)
    results, failures, videos = pages["reports"][0]
    rows = {line[0]: line[1:] for line in results.lines}
    assert rows["train"][:2] == (2, 0.5)
    assert rows["vision/table"] == (1, 0.0, 0.0, pytest.approx(0.7935, abs=1e-4), 1)
    assert rows["vision, mean of 2"][:2] == (2, 0.5)
    assert any(name.startswith("held-out mean of vision") for name in rows)
    assert failures.lines == (("train", "dropped", 1), ("vision/table", "never-reached", 1))
    assert videos.lines == (("vision/table", 5, "failure", "never-reached", str(film)),)


def test_trouble_in_the_middle_is_one_warning_and_no_more(tmp_path):
    pages, warnings = {}, []
    tracker = Notebook(tmp_path, pages, warnings.append)
    tracker.fails_at = 2
    play(tracker, (), RECORDS)
    assert warnings == ["notebook: network is down; nothing more is logged there, the evaluation goes on"]
    assert curves(pages).keys() == {"success_by_row/train", "success_by_axis/in-distribution"}


def test_warnings_go_to_standard_error_by_default(tmp_path, capsys):
    tracker = Notebook(tmp_path, {})
    tracker.fails_at = 1
    play(tracker, (), RECORDS)
    assert capsys.readouterr() == (
        "",
        "warning: notebook: network is down; nothing more is logged there, the evaluation goes on\n",
    )


def test_a_tracker_that_cannot_begin_says_so_before_the_first_episode(tmp_path, monkeypatch):
    def refuse(self, name):
        raise PermissionError("no key")

    monkeypatch.setattr(Notebook, "_start", refuse)
    with pytest.raises(TrackerUnavailable, match="notebook cannot begin: no key"):
        Notebook(tmp_path, {}).begin(3, ())
    assert not any(tmp_path.iterdir())


def test_runs_in_folders_of_one_name_are_not_taken_for_one(tmp_path):
    pages = {}
    for machine in "ab":
        (tmp_path / machine / "run").mkdir(parents=True)
        play(Notebook(tmp_path / machine / "run", pages), (), RECORDS)
    assert len(set(pages["starts"])) == 2
    assert all(name.startswith("run-") for name in pages["starts"])


def test_two_trackers_know_a_run_by_one_name(tmp_path):
    pages = {}
    trackers = Notebook(tmp_path, pages), Notebook(tmp_path, pages)
    trackers[1]._memory._target = "another notebook"
    for tracker in trackers:
        tracker.begin(len(RECORDS), ())
    assert len(pages["starts"]) == 2
    assert len(set(pages["starts"])) == 1
    assert json.loads((tmp_path / "tracking.json").read_text())["shown"] == {"notebook": None, "another notebook": None}


@pytest.mark.parametrize(("kind", "package"), [(TensorBoard, "tensorboard"), (WeightsAndBiases, "wandb")])
def test_a_missing_package_is_named_with_its_remedy(tmp_path, monkeypatch, kind, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(TrackerUnavailable, match=f"needs the package {package}: pip install {package}"):
        kind(tmp_path, tmp_path)


def test_markdown_tables():
    sheet = Sheet("t", ("row", "rate"), (("a|b", 0.5), ("c", None)))
    assert markdown(sheet).splitlines() == ["| row | rate |", "| --- | --- |", "| a\\|b | 0.500 |", "| c | - |"]


def read_events(folder):
    """Returns the points by tag, the texts by tag, and the names of the runs that TensorBoard sees in a folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    runs = [path for path in folder.iterdir() if path.is_dir()]
    accumulator = EventAccumulator(str(runs[0]), size_guidance={"scalars": 0, "tensors": 0})
    accumulator.Reload()
    points = {
        tag: [(event.step, event.value) for event in accumulator.Scalars(tag)] for tag in accumulator.Tags()["scalars"]
    }
    texts = {
        tag: [event.tensor_proto.string_val[0].decode() for event in accumulator.Tensors(tag)]
        for tag in accumulator.Tags()["tensors"]
    }
    return points, texts, [path.name for path in runs]


def test_tensorboard_reads_what_was_written_over_several_sessions(tmp_path):
    pytest.importorskip("tensorboard")
    out, folder = tmp_path / "my run", tmp_path / "board"
    out.mkdir()
    for cut, stop in ((0, 2), (2, 5), (5, 5)):
        play(TensorBoard(folder, out), RECORDS[:cut], RECORDS[cut:stop])
    points, texts, (name,) = read_events(folder)
    assert points == CURVES
    assert name.startswith("my-run-")
    assert texts.keys() == {"results", "failures"}
    assert [len(versions) for versions in texts.values()] == [1, 1]
    assert "| train | 2 | 0.500 |" in texts["results"][0]
    assert "| vision/table | never-reached | 1 |" in texts["failures"][0]


def test_tensorboard_needs_no_torch(tmp_path):
    pytest.importorskip("tensorboard")
    code = (
        "import sys; from pathlib import Path; from vlagen.benchmark.watching.tracking import TensorBoard\n"
        f"here = Path({str(tmp_path)!r}); tracker = TensorBoard(here, here); tracker.begin(1, ()); tracker.end([])\n"
        "print('torch' in sys.modules, 'tensorflow' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == ["False", "False"]


def test_a_full_disk_under_tensorboard_does_not_stop_the_run(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    warnings = []
    tracker = TensorBoard(tmp_path / "board", tmp_path, warn=warnings.append)
    tracker.begin(len(RECORDS), ())
    monkeypatch.setattr(type(tracker._writer), "add_event", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    for one in RECORDS:
        tracker.record(one)
    tracker.end(summaries(RECORDS))
    assert len(warnings) == 1
    assert "disk full" in warnings[0]


def test_weights_and_biases_offline(tmp_path, monkeypatch, capfd):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    out = tmp_path / "my run"
    out.mkdir()
    for cut, stop in ((0, 3), (3, 5), (5, 5)):
        play(WeightsAndBiases("vlagen-tests", out), RECORDS[:cut], RECORDS[cut:stop])
    assert capfd.readouterr().out == ""
    name = json.loads((out / "tracking.json").read_text())["name"]
    sessions = sorted((out / "wandb").glob("offline-run-*"))
    assert len(sessions) == 2
    content = [(session / f"run-{name}.wandb").read_bytes() for session in sessions]
    # Names are written as they are; each point names its curve once, and the definition of a curve does so again.
    assert b"success_by_row/train" in content[0]
    assert b"success_by_row/vision/noise-weak" not in content[0]
    assert b"success_by_row/vision/noise-weak" in content[1]
    assert b"success_by_row/train" not in content[1]


def test_weights_and_biases_without_a_key_says_what_to_do(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")

    def refuse(**_):
        raise wandb.errors.UsageError("No API key configured.")

    monkeypatch.setattr(wandb, "init", refuse)
    with pytest.raises(TrackerUnavailable, match=r"cannot begin: No API key configured\. .*WANDB_MODE=offline"):
        WeightsAndBiases("p", tmp_path).begin(1, ())
