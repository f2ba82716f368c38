from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

import pytest

from vlagen.baselines.sections import ModelSettings, OptimizerSettings
from vlagen.baselines.settings import BadSetting, build, configure, flat, plain, read_recipe, recipe_names


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of every type."""

    model: ModelSettings = field(default_factory=ModelSettings)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    beta: float = 0.1
    clip: float | None = 0.2
    level: Literal["action", "token"] = "action"
    out: Path = Path("runs")


RECIPE = """
description = "for tests"
[model]
source = "a"
lora_rank = 4
[rollouts]
episodes = 3
[optimizer]
betas = [0.8, 0.9]
[ppo]
beta = 2
optimizer.learning_rate = 1e-3
[dpo]
group_size = 7
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


def test_a_methods_table_goes_over_the_shared_sections_and_others_are_left_aside(recipe):
    config = configure(Config, "ppo", recipe)
    assert (config.model.source, config.model.lora_rank, config.optimizer.betas) == ("a", 4, (0.8, 0.9))
    assert (config.beta, config.optimizer.learning_rate) == (2.0, 1e-3)
    assert configure(Config, "grpo", recipe).beta == 0.1


def test_what_is_given_beside_the_recipe_goes_over_it(recipe):
    given = [
        "beta=0.5",
        "model.source=runs/warm",
        "optimizer.betas=[0.1, 0.2]",
        "clip=none",
        "out=there",
        "level=token",
    ]
    config = configure(Config, "ppo", recipe, given)
    assert (config.beta, config.model.source, config.optimizer.betas) == (0.5, "runs/warm", (0.1, 0.2))
    assert (config.clip, config.out, config.level) == (None, Path("there"), "token")
    assert config.model.lora_rank == 4


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("bta=1", "unknown setting 'bta'; did you mean 'beta'"),
        ("model.sorce=x", "unknown setting of model 'sorce'; did you mean 'source'"),
        ("beta=often", "beta = 'often' is a str; allowed: float"),
        ("model.lora_rank=1.5", "model.lora_rank = 1.5 is a float; allowed: int"),
        ("model.lora_rank=true", "model.lora_rank = True is a bool; allowed: int"),
        ("level=actoin", "unknown value of level 'actoin'; did you mean 'action'"),
        ("model=x", "model is a section; allowed: model.<setting>"),
        ("beta", "--set 'beta'; allowed: name=value"),
    ],
)
def test_a_setting_that_is_none_is_told_with_what_is_allowed(given, message):
    with pytest.raises(BadSetting) as caught:
        configure(Config, "ppo", None, [given])
    assert message in str(caught.value)


def test_a_recipe_that_is_none_is_told(tmp_path):
    with pytest.raises(BadSetting, match="unknown recipe 'tinny'; did you mean 'tiny'"):
        read_recipe("tinny")
    broken = tmp_path / "broken.toml"
    broken.write_text("[model", encoding="utf-8")
    with pytest.raises(BadSetting, match=r"broken\.toml cannot be read as a recipe"):
        read_recipe(broken)
    broken.write_text("[modell]\nsource = 'a'\n", encoding="utf-8")
    with pytest.raises(BadSetting, match="unknown section 'modell'; did you mean 'model'"):
        configure(Config, "ppo", broken)


def test_settings_survive_being_written_and_read():
    config = Config(beta=3.0, clip=None, out=Path("x"))
    assert build(Config, plain(config) | {"clip": "none"}) == config
    assert flat(config)["optimizer.betas"] == [0.9, 0.999]


@pytest.mark.parametrize("method", ["ppo", "grpo", "dpo"])
@pytest.mark.parametrize("recipe", recipe_names())
def test_every_recipe_has_settings_for_every_method(recipe, method):
    pytest.importorskip("torch")
    pytest.importorskip("peft")
    import importlib

    kind = importlib.import_module(f"vlagen.baselines.{method}").Config
    content = read_recipe(recipe)
    config = configure(kind, method, recipe)
    assert content["description"]
    assert config.rollouts.episodes % getattr(config, "group_size", 1) == 0


def test_the_studys_recipe_has_the_studys_numbers():
    pytest.importorskip("peft")
    from vlagen.baselines import grpo, ppo

    # openvla.md section 3 and protocol.md section 9: 64 x 80 steps, 32 optimizer steps of 160.
    config = configure(ppo.Config, "ppo", "rl4vla")
    assert config.rollouts.episodes * 80 / (config.optimizer.micro_batch * config.optimizer.accumulate) == 32
    assert (config.optimizer.learning_rate, config.optimizer.critic_learning_rate) == (1e-4, 3e-3)
    assert (config.discount, config.trace_decay, config.clip_low, config.huber_delta) == (0.99, 0.95, 0.2, 10.0)
    assert (config.optimizer.epochs, config.optimizer.max_gradient_norm, config.model.lora_rank) == (1, 10.0, 32)
    assert configure(grpo.Config, "grpo", "rl4vla").advantage == "nonzero-steps"


@pytest.mark.parametrize("method", ["ppo", "grpo"])
def test_upstreams_quirks_are_off_by_default(method):
    pytest.importorskip("peft")
    import importlib

    config = importlib.import_module(f"vlagen.baselines.{method}").Config()
    quirks = {"policy_coefficient": 1.0, "time_limit_is_terminal": False, "bfloat16_buffer": False, "recompute": True}
    for name in {each.name for each in fields(config)} & quirks.keys():
        assert getattr(config, name) == quirks[name]
    assert not config.model.upstream_value_head
