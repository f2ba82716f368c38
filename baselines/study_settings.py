"""What a study consists of: the settings of all its stages, from one recipe.

Beside the tables that ``vlagen-train`` reads for a single method, a recipe has four for the study as a whole::

    [study]            the attributes of ``Study``
    [demonstrations]   what is collected: options of ``vlagen-collect``
    [warmup]           what the warm-up changes of [sft]
    [evaluation]       how every policy is measured: options of ``vlagen-eval``
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from vlagen.assets.errors import unknown
from vlagen.baselines.data.request import CollectRequest
from vlagen.baselines.sections import SimulationSettings
from vlagen.baselines.settings import METHODS, BadSetting, build, checked, compose, merged, parsed, read_recipe
from vlagen.baselines.slots import draw_slots
from vlagen.benchmark.plan import select_rows
from vlagen.benchmark.request import Request
from vlagen.benchmark.suites import Overrides, Suite, find_suite, resolve
from vlagen.tasks.rows import find_row

MODULES = {method: f"vlagen.baselines.{method}" for method in METHODS}
"""Where each method's ``Config`` and ``main`` are; imported when needed, as torch takes seconds."""

WARMUP = "warmup"
"""The stage that all methods start from."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """What is compared."""

    out: Path = Path("runs/study")
    """The study's folder."""

    methods: tuple[str, ...] = METHODS
    """Which methods, in this order; more may be added later."""

    seeds: tuple[int, ...] = (0,)
    """Each method is trained with each; more may be added later."""

    shared_warmup: bool = True
    """One warm-up, of the first seed, for all; else each seed has its own."""

    data: tuple[Path, ...] = ()
    """Demonstrations that are there already; by default they are collected."""

    warmup: str = ""
    """A warmed-up model that is there already, a checkpoint's folder or hub id; by default it is trained."""

    warmup_recipe: str = ""
    """The recipe whose [sft] the warm-up follows, rather than this one's."""

    on_no_signal: Literal["continue", "stop"] = "continue"
    """What becomes of the study when a method has nothing to learn from and breaks off."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A study, settled before its first stage.

    Attributes:
        study: what is compared.
        collect: how demonstrations are collected.
        evaluation: how policies are measured; its policy is yet to be named.
        stages: the settings of ``WARMUP`` and of each method, but for what follows from earlier stages and from seeds.
        row: id of the row that is trained on.
    """

    study: Study
    collect: CollectRequest
    evaluation: Request
    stages: Mapping[str, Any]
    row: str


def plan_study(recipe: str | Path | None, overrides: Sequence[str] = ()) -> Plan:
    """Settles a study.

    Args:
        recipe: name or file; None for the defaults.
        overrides: ``table.name=value`` as in the recipe, e.g. ``ppo.discount=1`` or ``run.updates=10``.

    Raises:
        BadSetting: no such recipe or setting, or a value that the setting does not take.
        VlagenError: rows or demonstrations that do not exist, or groups that cannot be filled.
    """
    content = read_recipe(recipe) if recipe is not None else {}
    for override in overrides:
        content = merged(content, parsed(override))
    checked(content, str(recipe or "--set"))
    study = build(Study, content.get("study", {}), "study.")
    stages = {name: _stage(name, content, study) for name in (WARMUP, *_methods(study))}
    example = _played(study, stages)
    suite = resolve(find_suite(example.suite, ()), Overrides(assets=example.assets or None))
    row = _row(content, suite.protocol)
    return Plan(
        study=study,
        collect=_collect_request(content.get("demonstrations", {}), study, example, suite, row),
        evaluation=_evaluation_request(content.get("evaluation", {}), example, suite, row),
        stages=stages,
        row=row,
    )


def _methods(study: Study) -> tuple[str, ...]:
    for method in study.methods:
        if method not in METHODS:
            raise BadSetting(unknown("method in study.methods", method, METHODS))
    for name in ("methods", "seeds"):
        values = getattr(study, name)
        if len(set(values)) < len(values) or not values:
            raise BadSetting(f"study.{name} = {list(values)}; allowed: one or more, each once")
    return study.methods


def _played(study: Study, stages: Mapping[str, Any]) -> SimulationSettings:
    """Where all methods play."""
    first, *others = (stages[method].simulation for method in study.methods)
    for method, other in zip(study.methods[1:], others, strict=True):
        if (other.suite, other.assets) != (first.suite, first.assets):
            raise BadSetting(
                f"{method}.simulation: {other.suite} {other.assets}; all methods of a study play {first.suite} "
                f"{first.assets}: say it once, as simulation.suite and simulation.assets"
            )
    return first


def _stage(name: str, content: Mapping[str, Any], study: Study) -> Any:
    """The settings of a stage as its recipe has them."""
    module = importlib.import_module(MODULES["sft" if name == WARMUP else name])
    if name != WARMUP:
        config = compose(module.Config, content, (name,), {})
        if hasattr(config, "group_size"):
            # Says at once that groups cannot be filled, which would else be found after hours of other stages.
            count = config.rollouts.episodes
            draw_slots(find_row("train"), seed=0, update=0, count=count, group_size=config.group_size)
        return config
    if not study.warmup_recipe:
        return compose(module.Config, content, ("sft", WARMUP), {})
    base = checked(read_recipe(study.warmup_recipe), study.warmup_recipe)
    return compose(module.Config, base, ("sft",), content.get(WARMUP, {}))


def _row(content: Mapping[str, Any], protocol: str) -> str:
    """The row that is trained on; methods cannot have different ones, as they would not be comparable."""
    for method in METHODS:
        if "row" in content.get(method, {}).get("rollouts", {}):
            raise BadSetting(f"{method}.rollouts.row: all of a study train on one row; give it as rollouts.row")
    return find_row(content.get("rollouts", {}).get("row", "train"), protocol).id


def _collect_request(
    table: Mapping[str, Any], study: Study, example: SimulationSettings, suite: Suite, row: str
) -> CollectRequest:
    _refuse(table, "demonstrations", CollectRequest, ("out", "protocol", "assets"))
    given = {"rows": [row], "workers": example.workers, **table}
    values = {"out": study.out / "demonstrations", "protocol": suite.protocol, "assets": suite.assets, **given}
    request = build(CollectRequest, values, "demonstrations.")
    request.check()
    return request


def _evaluation_request(table: Mapping[str, Any], example: SimulationSettings, suite: Suite, row: str) -> Request:
    settled = ("out", "policy", "suite", "suite_args", "protocol", "assets", "seed", "retry_errors")
    _refuse(table, "evaluation", Request, settled)
    given = {"workers": example.workers, "rows": ["all"], **table}
    request = build(Request, {**given, "suite": example.suite, "assets": suite.assets}, "evaluation.")
    rows = [found.id for found in select_rows((*request.rows, row), suite.protocol)]
    request = replace(request, rows=tuple(rows))
    replace(request, policy="a trained one").check()
    return request


def _refuse(table: Mapping[str, Any], name: str, kind: type, settled: Sequence[str]) -> None:
    """Refuses options that the study itself settles."""
    for option in table:
        if option in settled:
            allowed = ", ".join(field.name for field in fields(kind) if field.name not in settled)
            raise BadSetting(f"{name}.{option} follows from the study's other settings; allowed: {allowed}")
