import csv
import json
import subprocess
import sys

import pytest

from tests.benchmark import toys
from vlagen.benchmark import cli
from vlagen.benchmark.listing import describe
from vlagen.benchmark.loading.source import BUILT_IN
from vlagen.tasks.variants import PROTOCOLS, ROW_IDS, variants


def run(out, *arguments, policy=toys.SlowPolicy):
    arguments = ["--policy", toys.named(policy), "--assets", toys.ASSETS, "--episodes", "2", *arguments]
    return cli.main([*arguments, "--out", str(out)], toys.ToySimulator)


def test_a_run_over_all_rows_leaves_its_four_files(tmp_path, capsys):
    assert run(tmp_path) == cli.COMPLETE
    assert {path.name for path in tmp_path.iterdir()} == {
        ".lock",
        "run.json",
        "episodes.jsonl",
        "summary.csv",
        "summary.png",
    }
    with (tmp_path / "summary.csv").open() as file:
        assert [(line["row"], line["n"], line["successes"]) for line in csv.DictReader(file)] == [
            (row, "2", "2") for row in ROW_IDS
        ]
    assert "semantics, mean of 7" in capsys.readouterr().out


def test_a_finished_run_shows_its_table_again(tmp_path, capsys):
    run(tmp_path, "--rows", "train")
    table = capsys.readouterr().out.split("Written")[0].split("success", 1)[1]
    assert run(tmp_path, "--rows", "train", "--workers", "2") == cli.COMPLETE
    again = capsys.readouterr().out
    assert "nothing is played again" in again
    assert "64" not in table
    assert table.splitlines()[-4:] == again.split("Written")[0].splitlines()[-4:]


@pytest.mark.parametrize(("policy", "is_oracle"), [(toys.OraclePolicy, True), (toys.SlowPolicy, False)])
def test_an_oracle_is_marked_in_the_run_and_in_what_is_printed(tmp_path, capsys, policy, is_oracle):
    run(tmp_path, "--rows", "train", policy=policy)
    identity = json.loads((tmp_path / "run.json").read_text())["identity"]
    assert identity["policy"]["oracle"] is is_oracle
    assert (f"{policy.__name__} (oracle)" in capsys.readouterr().out) is is_oracle


def test_errors_are_counted_shown_and_change_the_exit_code(tmp_path, capsys):
    assert run(tmp_path, "--rows", "vision/table", "--episodes", "4", policy=toys.RaisingPolicy) == cli.ERRORS
    output = " ".join(capsys.readouterr().out.split())
    assert "ended in errors; the run is incomplete" in output
    assert "ZeroDivisionError: toy trouble" in output


def test_stopping_keeps_what_is_finished(tmp_path, capsys, monkeypatch):
    def interrupt(self, episodes):
        if self.count == 3:
            raise KeyboardInterrupt
        self.count += 1
        return start(self, episodes)

    start = toys.ToySimulator.start
    monkeypatch.setattr(toys.ToySimulator, "count", 0, raising=False)
    monkeypatch.setattr(toys.ToySimulator, "start", interrupt)
    assert run(tmp_path, "--rows", "vision") == cli.INTERRUPTED
    assert "Stopped: 3 of 10 episodes are kept" in capsys.readouterr().out
    monkeypatch.setattr(toys.ToySimulator, "start", start)
    assert run(tmp_path, "--rows", "vision") == cli.COMPLETE
    assert "Continuing: 7 of 10 episodes are missing" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--policy", "noop", "--rows", "semantic"], "unknown row 'semantic'; did you mean 'semantics'"),
        (["--policy", "no-op"], "unknown policy 'no-op'; did you mean 'noop'? allowed: random, noop, expert"),
        (["--policy", "noop", "--protocol", "v1"], "unknown protocol 'v1'"),
        (["--policy", "noop", "--assets", "rl4"], "unknown asset pack 'rl4'"),
        (["--policy", "noop", "--episodes", "-1"], "--episodes -1; allowed: 1 to"),
        (["--rows", "train"], "no policy was given; name one with --policy"),
        (["--list", "--protocol", "v1"], "unknown protocol 'v1'"),
    ],
)
def test_bad_input_is_one_line_without_traceback(arguments, complaint, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == cli.BAD_INPUT
    message = capsys.readouterr().err
    assert message.startswith("vlagen-eval: ")
    assert complaint in message
    assert message.count("\n") == 1
    assert not any(tmp_path.iterdir())


def test_unknown_options_are_bad_input():
    with pytest.raises(SystemExit) as stop:
        cli.main(["--polciy", "noop"])
    assert stop.value.code == cli.BAD_INPUT


def test_a_folder_of_another_run_is_bad_input(tmp_path, capsys):
    run(tmp_path, "--rows", "train")
    assert run(tmp_path, "--rows", "train", "--seed", "3") == cli.BAD_INPUT
    assert "holds another run: seed is 0 there and 3 here" in capsys.readouterr().err


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_list_names_every_row_and_policy(protocol, capsys):
    assert cli.main(["--list", "--protocol", protocol]) == cli.COMPLETE
    output = capsys.readouterr().out
    for name in (*ROW_IDS, *BUILT_IN):
        assert name in output


def test_descriptions_follow_from_the_rows():
    described = {row.id: describe(row) for row in variants()}
    assert described["train"] == "nothing"
    assert described["vision/table"] == "tables: 16-20"
    assert described["execution/moved-midway"] == "layout: object-triples; reposition at step: 5"
    assert len(set(described.values())) == len(described)


@pytest.mark.parametrize(
    "arguments", [["--list"], ["--help"], ["--policy", "nop"], ["--policy", "noop", "--rows", "none"]]
)
def test_quick_answers_do_not_import_the_simulator(arguments):
    code = (
        "import sys; from vlagen.benchmark import cli\n"
        f"try: cli.main({arguments!r})\n"
        "except SystemExit: pass\n"
        "print([name for name in ('torch', 'sapien', 'mani_skill', 'gymnasium', 'matplotlib') if name in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.splitlines()[-1] == "[]"
