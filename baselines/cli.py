"""``vlagen-train``: trains a policy by one of the study's methods, or does the study."""

from __future__ import annotations

import functools
import importlib
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console

from vlagen.assets.errors import VlagenError
from vlagen.baselines.exported import how_played, newest_model
from vlagen.baselines.settings import configure, flat, read_recipe, recipe_names
from vlagen.baselines.study_settings import MODULES, Plan, plan_study
from vlagen.benchmark.simulator import Simulator

COMPLETE, STOPPED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
"""Exit codes: trained; broke off, the message says why; nothing was begun; stopped by Ctrl-C."""


@dataclass(frozen=True)
class Arguments:
    """Trains a policy by one of the study's methods, or compares the methods with each other.

    The same command continues a run that was stopped. Exit codes: 0 trained, 1 broke off, 2 bad input, 130 stopped.
    """

    method: tyro.conf.Positional[Literal["sft", "ppo", "grpo", "dpo", "study"]]
    """Supervised fine-tuning on demonstrations, proximal policy optimization, its group-relative kind, preference
    optimization of whole episodes; or study: all of them from one warm-up, evaluated on all rows."""

    recipe: str = ""
    """A recipe that comes with vlagen (see --show), or a TOML file of your own; the defaults if empty."""

    overrides: Annotated[tuple[str, ...], tyro.conf.arg(name="set")] = ()
    """Settings beside the recipe, e.g. --set model.source=my_model optimizer.learning_rate=1e-5 run.out=runs/mine. Of a
    study, the names in the recipe: --set study.out=runs/mine ppo.discount=1 evaluation.episodes=64."""

    show: bool = False
    """Print all settings that this would train with, and the recipes there are, and stop."""


def main(argv: list[str] | None = None, make_simulator: Callable[[], Simulator] | None = None) -> int:
    """Runs the command line.

    Args:
        argv: arguments without the program's name; by default those of this process.
        make_simulator: another simulator than ManiSkill's, see ``stage.find_stage``.

    Returns:
        The exit code.
    """
    arguments = tyro.cli(Arguments, prog="vlagen-train", args=argv, config=(tyro.conf.FlagCreatePairsOff,))
    console = Console(soft_wrap=True, highlight=False)
    begun = False
    try:
        if arguments.method == "study":
            plan = plan_study(arguments.recipe or None, arguments.overrides)
            settings = {name: getattr(plan, name) for name in ("study", "collect", "evaluation")} | dict(plan.stages)
            run = functools.partial(_study, plan)
        else:
            module = importlib.import_module(MODULES[arguments.method])
            config = configure(module.Config, arguments.method, arguments.recipe or None, arguments.overrides)
            settings, run = {"": config}, functools.partial(_train, module.main, config)
        if arguments.show:
            _show(console, settings)
            return COMPLETE
        begun = True
        return run(console, make_simulator)
    except KeyboardInterrupt:
        console.print("Stopped; the same command goes on where this ended.")
        return INTERRUPTED
    except VlagenError as error:
        # Unwrapped, because a long path in pieces cannot be copied.
        Console(stderr=True, soft_wrap=True).print(f"vlagen-train: {error}", markup=False, highlight=False)
        return STOPPED if begun and _has_trained(error) else BAD_INPUT


def _train(
    train: Callable[..., Path], config: Any, console: Console, make_simulator: Callable[[], Simulator] | None
) -> int:
    out = train(config, make_simulator=make_simulator)
    if int(os.environ.get("RANK", 0)) == 0:  # of several processes one reports
        played = how_played(newest_model(out))
        given = " ".join(f"{name}={value}" for name, value in played.arguments.items())
        console.print(f"Trained: {out}. Its newest model is scored by:", markup=False)
        console.print(f"  vlagen-eval --policy {played.policy} --policy-args {given}", markup=False)
    return COMPLETE


def _study(plan: Plan, console: Console, make_simulator: Callable[[], Simulator] | None) -> int:
    # Imported here because it imports what collecting needs.
    from vlagen.baselines.study import main as run
    from vlagen.baselines.study_report import printed

    report = run(plan, make_simulator, console=console)
    for part in printed(report):
        console.print(part)
    return COMPLETE if report.is_whole else STOPPED


def _has_trained(error: VlagenError) -> bool:
    """Tells what broke a training off from what kept it from beginning."""
    # Imported here because it imports torch.
    from vlagen.baselines.agents import NotFinite
    from vlagen.baselines.loop import NoSignal
    from vlagen.baselines.rollouts import RolloutFailed

    return isinstance(error, NotFinite | NoSignal | RolloutFailed)


def _show(console: Console, settings: Mapping[str, Any]) -> None:
    """Prints settings under dotted names, those of a study with their stage in front."""
    for stage, values in settings.items():
        for name, value in flat(values).items():
            console.print(f"{stage and stage + '.'}{name} = {json.dumps(value)}", markup=False)
    console.print("\nRecipes:")
    for recipe in recipe_names():
        console.print(f"  {recipe}: {read_recipe(recipe).get('description', '')}", markup=False)


if __name__ == "__main__":
    sys.exit(main())
