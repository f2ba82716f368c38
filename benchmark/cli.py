"""``vlagen-eval``: scores a policy on the training task and its held-out variants."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from vlagen.assets.errors import VlagenError
from vlagen.benchmark import replay
from vlagen.benchmark.arguments import Arguments, parse
from vlagen.benchmark.evaluate import Evaluation
from vlagen.benchmark.listing import print_list
from vlagen.benchmark.records import EpisodeRecord, read_records
from vlagen.benchmark.report import outputs
from vlagen.benchmark.simulator import Simulator
from vlagen.benchmark.watching.progress import JsonLines, Observer, Quiet, RichProgress

COMPLETE, ERRORS, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
"""Exit codes: every episode scored; some ended in errors; nothing was run; stopped by Ctrl-C."""


def main(argv: list[str] | None = None, make_simulator: Callable[[], Simulator] | None = None) -> int:
    """Runs the command line.

    Args:
        argv: arguments without the program's name; by default those of this process.
        make_simulator: see ``Evaluation``.

    Returns:
        The exit code.
    """
    arguments = parse(argv)
    # With --json-lines, standard output is for a machine alone.
    console = Console(stderr=arguments.json_lines)
    try:
        if arguments.list_all:
            print_list(console, arguments.request.protocol or "vlagen-v1")
            return COMPLETE
        if arguments.new_adapter is not None:
            return _write_adapter(console, arguments.new_adapter)
        if arguments.replay is not None:
            request = replay.replay_request(arguments.replay, arguments.request)
            code = _evaluate(console, replace(arguments, request=request), make_simulator)
            _compare(console, arguments.replay, request.out)
            return code
        return _evaluate(console, arguments, make_simulator)
    except VlagenError as error:
        # Unwrapped, because a long path or command in pieces cannot be copied.
        Console(stderr=True, soft_wrap=True).print(f"vlagen-eval: {error}", markup=False, highlight=False)
        return BAD_INPUT


def _write_adapter(console: Console, path: Path) -> int:
    # Imported here because nothing else needs it.
    from vlagen.benchmark.loading.template import write_template

    write_template(path)
    console.print(
        f"Written: {path}. It runs as it is: `vlagen-check-policy {path}` checks it, and "
        f"`vlagen-eval --policy {path} --suite smoke` scores it.",
        soft_wrap=True,
    )
    return COMPLETE


def _evaluate(console: Console, arguments: Arguments, make_simulator: Callable[[], Simulator] | None) -> int:
    with Evaluation(arguments.request, make_simulator) as evaluation:
        observers = _observers(console, arguments, evaluation)
        try:
            _play(evaluation, observers)
        except KeyboardInterrupt:
            console.print(
                f"Stopped: {len(evaluation.records)} of {len(evaluation.episodes)} episodes are kept in "
                f"{evaluation.out}; the same command continues.",
                soft_wrap=True,
            )
            return INTERRUPTED
        finally:
            for observer in observers:
                observer.end(evaluation.summaries())
        results = outputs.collect(evaluation)
        written = outputs.write(results, evaluation.out)
        if not arguments.json_lines:
            for part in outputs.printed(results):
                console.print(part)
            if not arguments.quiet:
                console.print(f"\nWritten to {evaluation.out}: {', '.join(written)}", soft_wrap=True)
        return _report_errors(console, evaluation)


def _observers(console: Console, arguments: Arguments, evaluation: Evaluation) -> list[Observer]:
    axes = {row.id: row.axis for row in evaluation.rows}
    if arguments.json_lines:
        watching: Observer = JsonLines(sys.stdout)
    elif arguments.quiet:
        watching = Quiet()
    else:
        watching = RichProgress(console, axes)
    observers = [watching]
    if arguments.tensorboard is not None or arguments.wandb is not None:
        # Imported here because the packages are an extra.
        from vlagen.benchmark.watching.tracking import TensorBoard, WeightsAndBiases

        if arguments.tensorboard is not None:
            observers.append(TensorBoard(arguments.tensorboard, evaluation.out, axes))
        if arguments.wandb is not None:
            observers.append(WeightsAndBiases(arguments.wandb, evaluation.out, axes))
    return observers


def _play(evaluation: Evaluation, observers: list[Observer]) -> None:
    planned = len(evaluation.episodes)
    for observer in observers:
        observer.begin(planned, evaluation.settled)
    for record in evaluation.play():
        if len(evaluation.episodes) > planned:
            planned = len(evaluation.episodes)
            for observer in observers:
                observer.begin(planned, ())
        for observer in observers:
            observer.record(record)


def _report_errors(console: Console, evaluation: Evaluation) -> int:
    """Says which episodes ended in errors and how the first one reads; returns the exit code."""
    records = evaluation.records
    failed = [record for record in records if record.outcome == "error"]
    if not failed:
        return COMPLETE
    first = failed[0]
    console.print(
        f"[red]{len(failed)} of {len(records)} episodes ended in errors; the run is incomplete.[/red] "
        f"The first: {escape(first.row)} {first.index}: {escape(_last_line(first))}\n"
        "episodes.jsonl has the tracebacks; --retry-errors plays them again."
        + (" Stopped there, as --on-error stop says." if evaluation.stopped else ""),
        soft_wrap=True,
    )
    return ERRORS


def _last_line(record: EpisodeRecord) -> str:
    return (record.error or "").strip().splitlines()[-1]


def _compare(console: Console, run: Path, out: Path) -> None:
    """Says how a replay went."""
    for difference in replay.changed_conditions(run, out / "run.json"):
        console.print(f"[yellow]not as before:[/yellow] {escape(difference)}", soft_wrap=True)
    before, after = (read_records(folder / "episodes.jsonl")[0] for folder in (run.parent, out))
    result = replay.compare(before, after)
    console.print(
        f"Replayed: {result.identical} episodes went alike to the last bit, {result.same_outcome} more ended alike, "
        f"{len(result.changed)} ended otherwise, {len(result.missing)} are in one of the runs only.",
        soft_wrap=True,
    )
    for row, index in result.changed[:10]:
        console.print(f"  ended otherwise: {escape(row)} {index}", soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
