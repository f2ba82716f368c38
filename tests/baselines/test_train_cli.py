import json

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("peft")

from tests.baselines import toys  # noqa: E402 - needs torch
from tests.benchmark.toys import ASSETS  # noqa: E402
from vlagen.baselines import cli, ppo  # noqa: E402


@pytest.fixture
def train(tmp_path, monkeypatch):
    """Runs the command line with the toy world and the toy agent."""
    real = ppo.main
    agents = []

    def main(config, make_simulator=None):
        def make_agent(settings, seed):
            agents.append(Agent(seed))
            return agents[0]

        return real(config, make_agent, make_simulator)

    class Agent(toys.ToyAgent):
        def save(self, folder):
            super().save(folder)
            content = {"policy": "openvla", "policy_args": {"checkpoint": "toy.pt", "unnorm_key": "toy"}}
            (folder / "policy.json").write_text(json.dumps(content), encoding="utf-8")

    monkeypatch.setattr(ppo, "main", main)

    def run(*arguments):
        given = [f"run.out={tmp_path / 'run'}", f"simulation.assets={ASSETS}", "run.evaluate_every=0", "run.updates=1"]
        given += ["rollouts.episodes=8", *arguments]
        return cli.main(["ppo", "--set", *given], toys.LampSimulator)

    return run


def test_a_run_ends_with_the_command_that_scores_its_model(train, tmp_path, capsys):
    assert train() == cli.COMPLETE
    printed = capsys.readouterr().out
    model = tmp_path / "run" / "models" / "000001" / "toy.pt"
    assert f"vlagen-eval --policy openvla --policy-args checkpoint={model} unnorm_key=toy" in printed


def test_bad_input_is_told_in_a_line(train, capsys):
    assert train("run.updats=3") == cli.BAD_INPUT
    assert capsys.readouterr().err.startswith("vlagen-train: unknown setting of run 'updats'; did you mean 'updates'?")


def test_weights_that_break_end_in_another_code_than_bad_input(train, capsys):
    assert train("optimizer.learning_rate=1e30", "run.updates=9") == cli.STOPPED
    assert "finite" in capsys.readouterr().err


def test_another_run_in_the_folder_is_bad_input(train, capsys):
    assert train() == cli.COMPLETE
    assert train("discount=0.5") == cli.BAD_INPUT
    assert "discount" in capsys.readouterr().err


def test_show_prints_the_settings_and_trains_nothing(tmp_path, capsys):
    assert cli.main(["dpo", "--recipe", "tiny", "--show", "--set", f"run.out={tmp_path / 'run'}", "beta=0.7"]) == 0
    printed = capsys.readouterr().out
    assert "beta = 0.7" in printed
    assert "rl4vla: the study" in printed
    assert not (tmp_path / "run").exists()
