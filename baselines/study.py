"""The study as one command: demonstrations, a warm-up, every method from that warm-up, and what became of each.

The study's folder holds::

    study.json               what the study is
    demonstrations/          see ``vlagen-collect``
    warm-up/seed-0/          a training run, as ``vlagen-train sft`` leaves it ...
    ppo/seed-0/              ... and one of each method and seed
        recipe.toml          ... its settings as a recipe by itself
        stage.json           ... how it ended; a stage with this file and these settings is not run again
    evaluations/ppo/seed-0/  what ``vlagen-eval`` leaves
    superseded/              evaluations of models that were trained further
    leaderboard/             what ``vlagen-leaderboard build`` leaves, and ``compare`` of each method with the warm-up
    report.json, report.md   the table that is printed at the end

Every stage can be continued by itself, so the same command goes on after it was stopped, wherever that was.
"""

from __future__ import annotations

import gc
import importlib
import itertools
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from vlagen.baselines.data.collect import Collection
from vlagen.baselines.data.dataset import Dataset
from vlagen.baselines.data.summary import write_summary
from vlagen.baselines.exported import how_played, newest_model
from vlagen.baselines.settings import BadSetting, as_recipe, flat, plain
from vlagen.baselines.study_report import BROKEN, COMPLETE, LABELS, NO_SIGNAL, Report, Trained, make_report
from vlagen.baselines.study_settings import MODULES, WARMUP, Plan
from vlagen.benchmark.atomic import write_atomically
from vlagen.benchmark.evaluate import Evaluation
from vlagen.benchmark.records import RunConflict, differences, lock, read_run
from vlagen.benchmark.report import outputs
from vlagen.benchmark.request import Request
from vlagen.benchmark.simulator import Simulator
from vlagen.benchmark.watching.progress import RichProgress

_ANYWHERE = (
    "run.out",
    "model.device",
    *(f"simulation.{name}" for name in ("workers", "backend", "address", "timeout")),
)
"""Settings that say where a stage is run, and not what."""

Trainers = Mapping[str, Callable[..., Path]]
"""Method to what trains by it: takes a configuration and ``make_simulator``, and returns the run's folder."""

MakeSimulator = Callable[[], Simulator]


def main(
    plan: Plan,
    make_simulator: MakeSimulator | None = None,
    *,
    console: Console | None = None,
    trainers: Trainers | None = None,
) -> Report:
    """Runs a study, or what is missing of it.

    Args:
        plan: what to do.
        make_simulator: another simulator than ManiSkill's, for all stages.
        console: what is going on is printed there.
        trainers: others than the methods' own.

    Raises:
        NoSignal: a method had nothing to learn from, and ``study.on_no_signal`` says to stop then.
        VlagenError: a stage cannot be run, or the folder holds another study.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise BadSetting(
            "a study runs in one process. To train one of its stages on several GPUs, stop the study when it has begun "
            "the stage, give its recipe.toml to `accelerate launch -m vlagen.baselines.cli <method> --recipe`, and "
            "start the study again: it finds the stage finished"
        )
    with _adopted(plan):
        return _Conductor(plan, make_simulator, console or Console(quiet=True), trainers or {}).run()


class _Conductor:
    def __init__(self, plan: Plan, make_simulator: MakeSimulator | None, console: Console, trainers: Trainers) -> None:
        self._plan, self._study, self._out = plan, plan.study, plan.study.out
        self._make_simulator, self._console, self._trainers = make_simulator, console, trainers

    def run(self) -> Report:
        study = self._study
        needed = "sft" in study.methods or not study.warmup
        data = study.data or ((self._collected(),) if needed else ())
        own = study.seeds[:1] if study.shared_warmup or study.warmup else study.seeds
        warmups = {seed: self._warm_up(seed, data) for seed in own}
        for warmup in warmups.values():
            self._evaluate(warmup)
        trained = list(warmups.values())
        for seed in study.seeds:
            start = warmups.get(seed, trained[0])
            for method in study.methods if start.played is not None else ():
                self._go_on(stage := self._learned(method, seed, start, data))
                self._evaluate(stage)
                trained.append(stage)
        self._say("leaderboard and report")
        return make_report(self._out, trained, self._plan.row)

    def _collected(self) -> Path:
        request = self._plan.collect
        self._say(f"demonstrations: {request.episodes} of {request.policy}, {request.out}")
        with Collection(request, self._make_simulator) as collection:
            if not collection.missing and _holds(request.out, collection.wanted):
                return request.out
            observer = RichProgress(self._console, collection.axes)
            try:
                observer.begin(len(collection.records) + collection.missing, collection.records)
                for record in collection.play():
                    observer.record(record)
            finally:
                observer.end(())
            write_summary(Dataset(request.out), collection.records, collection.norm_key)
        return request.out

    def _warm_up(self, seed: int, data: tuple[Path, ...]) -> Trained:
        if self._study.warmup:
            return Trained(WARMUP, seed, None, played=how_played(self._study.warmup))
        return self._train(WARMUP, replace(self._plan.stages[WARMUP], data=data), seed)

    def _learned(self, method: str, seed: int, start: Trained, data: tuple[Path, ...]) -> Trained:
        """Trains by a method, from the warm-up."""
        config = self._plan.stages[method]
        config = replace(config, model=replace(config.model, **start.played.start()))
        return self._train(method, replace(config, data=data) if method == "sft" else config, seed)

    def _train(self, stage: str, config: Any, seed: int) -> Trained:
        # Imported here because they import torch.
        from vlagen.baselines.agents import NotFinite
        from vlagen.baselines.loop import NoSignal
        from vlagen.baselines.rollouts import RolloutFailed

        folder = self._out / LABELS[stage].lower() / f"seed-{seed}"
        run = replace(config.run, out=folder, seed=seed, entry=config.run.entry or LABELS[stage])
        config = replace(config, run=run)
        settings = json.loads(json.dumps({"stage": stage, **flat(config)}))
        known = _finished(folder, settings)
        if known is not None:
            self._say(f"{LABELS[stage]}, seed {seed}: {known['outcome']}, {folder}")
            return Trained(stage, seed, folder, known["outcome"], known["note"], how_played(folder / known["model"]))
        self._say(f"{LABELS[stage]}, seed {seed}: trains, {folder}")
        folder.mkdir(parents=True, exist_ok=True)
        method = "sft" if stage == WARMUP else stage
        write_atomically(folder / "recipe.toml", as_recipe(method, config).encode())
        train = self._trainers.get(method) or importlib.import_module(MODULES[method]).main
        outcome, note = COMPLETE, ""
        try:
            train(config, make_simulator=self._make_simulator)
        except NoSignal as error:
            outcome, note = NO_SIGNAL, str(error)
        except (NotFinite, RolloutFailed) as error:
            return Trained(stage, seed, folder, BROKEN, str(error))
        finally:
            _free_memory()
        model = newest_model(folder)
        found = {"outcome": outcome, "note": note, "model": str(model.relative_to(folder)), "settings": settings}
        write_atomically(folder / "stage.json", json.dumps(found, indent=1).encode() + b"\n")
        return Trained(stage, seed, folder, outcome, note, how_played(model))

    def _go_on(self, stage: Trained) -> None:
        """Says that a stage did not end well, and stops if it was asked to."""
        if stage.outcome == COMPLETE:
            return
        self._say(f"{stage.label}, seed {stage.seed}: {stage.outcome}. {stage.note}")
        if stage.outcome == NO_SIGNAL and self._study.on_no_signal == "stop":
            from vlagen.baselines.loop import NoSignal

            raise NoSignal(
                f"{stage.label}, seed {stage.seed}: {stage.note}. The study goes on without with --set "
                "study.on_no_signal=continue"
            )

    def _evaluate(self, stage: Trained) -> None:
        if stage.played is None:
            return
        given = stage.played.arguments | dict(self._plan.evaluation.policy_arguments)
        request = replace(
            self._plan.evaluation,
            policy=stage.played.policy,
            policy_args=tuple(f"{name}={value}" for name, value in given.items()),
            out=stage.evaluation(self._out),
            seed=stage.seed,
            retry_errors=True,
        )
        _set_aside(request)
        with Evaluation(request, self._make_simulator) as evaluation:
            missing = len(evaluation.missing)
            counted = f"{missing} of {len(evaluation.episodes)} episodes to play"
            self._say(f"{stage.label}, seed {stage.seed}: evaluation, {counted}, {request.out}")
            if not missing and _is_summarized(request.out):
                return
            observer = RichProgress(self._console, {row.id: row.axis for row in evaluation.rows})
            try:
                observer.begin(len(evaluation.episodes), evaluation.settled)
                for record in evaluation.play():
                    observer.record(record)
            finally:
                observer.end(evaluation.summaries())
            outputs.write(outputs.collect(evaluation), evaluation.out)
        _free_memory()

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False)


@contextmanager
def _adopted(plan: Plan) -> Iterator[None]:
    """Holds the study's folder, if it is this study's or a new one.

    Raises:
        RunConflict: it holds another study, or is held by another process.
        UnwritableRun: it cannot be written.
    """
    out, file = plan.study.out, plan.study.out / "study.json"
    # More methods and seeds may be added; stages have settings of their own.
    fixed = ("data", "warmup", "shared_warmup")
    study = {name: value for name, value in plain(plan.study).items() if name in fixed}
    content = {"row": plan.row, "study": study}
    with lock(out, "study.out"):
        if file.exists():
            found = differences(json.loads(file.read_text(encoding="utf-8")), content)
            if found:
                raise RunConflict(f"{out} holds another study: {'; '.join(found)}. Choose another study.out")
        write_atomically(file, json.dumps(content, indent=1).encode() + b"\n")
        yield


def _holds(out: Path, wanted: int) -> bool:
    """Whether a folder is a complete data set; one that was stopped may lack its last episodes."""
    return (out / "meta/info.json").exists() and len(Dataset(out).episodes) >= wanted


def _finished(folder: Path, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """How a stage ended; None if it did not, was to be another, or its model is gone."""
    file = folder / "stage.json"
    if not file.exists():
        return None
    found = json.loads(file.read_text(encoding="utf-8"))
    there, here = ({k: v for k, v in values.items() if k not in _ANYWHERE} for values in (found["settings"], settings))
    return found if there == here and (folder / found["model"]).is_dir() else None


def _is_summarized(run: Path) -> bool:
    """Whether an evaluation's records are in order, and its tables and charts are of them."""
    files = [run / name for name in ("episodes.jsonl", "summary.csv", "summary.png")]
    if read_run(run / "run.json").get("digest") is None or not all(file.exists() for file in files):
        return False
    records, *written = (file.stat().st_mtime_ns for file in files)
    return min(written) >= records


def _set_aside(request: Request) -> None:
    """Moves an evaluation of an earlier model, e.g. of one that has been trained further since, out of the way."""
    if not (request.out / "run.json").exists():
        return
    before = read_run(request.out / "run.json")["sessions"]
    asked = before[-1]["request"] if before else {}
    if asked.get("policy_args", list(request.policy_args)) == list(request.policy_args):
        return
    study = request.out.parents[2]
    for number in itertools.count(1):
        place = study / "superseded" / f"{request.out.parent.name}-{request.out.name}-{number}"
        if not place.exists():
            place.parent.mkdir(exist_ok=True)
            request.out.rename(place)
            return


def _free_memory() -> None:
    """Gives back what a stage's model took."""
    # Imported here because a study whose stages are all finished does without.
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
