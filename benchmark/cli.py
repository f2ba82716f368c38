"""``vlagen-eval``: scores a policy on the training task and its held-out variants."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from vlagen.assets.errors import BrokenManifest, VlagenError
from vlagen.assets.packs import PACKS, load_pack
from vlagen.benchmark import report
from vlagen.benchmark.evaluate import Evaluation, Request
from vlagen.benchmark.policy import BUILT_IN
from vlagen.benchmark.records import EpisodeRecord
from vlagen.benchmark.simulator import Simulator
from vlagen.benchmark.statistics import summarize_axes
from vlagen.tasks.episodes import total
from vlagen.tasks.variants import Variant, variants

COMPLETE, ERRORS, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
"""Exit codes: every episode scored; some ended in errors; nothing was run; stopped by Ctrl-C."""


@dataclass(frozen=True)
class Arguments:
    """Scores a policy on the training task and its held-out variants.

    The same command continues a run that was stopped. Exit codes: 0 every episode was scored, 1 some ended in errors,
    2 bad input, 130 stopped.
    """

    policy: str | None = None
    """Name of a built-in policy (see --list), or module:attribute for your own."""

    rows: tuple[str, ...] = ("all",)
    """Row ids such as vision/table, axes such as vision, or all."""

    episodes: int = 64
    """Episodes a row: the first so many of the row's fixed list. 64 give a rate to within 12 points, in about half an
    hour for all rows on two cores; 192 (within 7 points) suit a publication, 8 a smoke test."""

    protocol: str = "vlagen-v1"
    """vlagen-v1, or rl4vla for the original study's episodes with their quirks."""

    assets: str = "builtin"
    """Asset pack: builtin, or rl4vla for the original study's objects (vlagen-assets download rl4vla)."""

    out: Path | None = None
    """The run's folder; by default runs/<policy>-<protocol>-<assets>."""

    seed: int = 0
    """Seed of the policy's own randomness; episodes do not depend on it."""

    workers: int = 1
    """Processes that play episodes; results do not depend on their number."""

    video: str = "none"
    """Which episodes leave a video: none, failures (errors included) or all."""

    retry_errors: bool = False
    """Play again what ended in an error when this run was made."""

    list_all: Annotated[bool, tyro.conf.arg(name="list")] = False
    """Print rows, policies and asset packs, and stop."""


def main(argv: list[str] | None = None, make_simulator: Callable[[], Simulator] | None = None) -> int:
    """Runs the command line.

    Args:
        argv: arguments without the program's name; by default those of this process.
        make_simulator: see ``Evaluation``.

    Returns:
        The exit code.
    """
    arguments = tyro.cli(Arguments, prog="vlagen-eval", args=argv, config=(tyro.conf.FlagCreatePairsOff,))
    console = Console()
    try:
        if arguments.list_all:
            print_list(console, arguments.protocol)
            return COMPLETE
        return _evaluate(console, _request(arguments), make_simulator)
    except VlagenError as error:
        # Unwrapped, because a long path or command in pieces cannot be copied.
        Console(stderr=True, soft_wrap=True).print(f"vlagen-eval: {error}", markup=False, highlight=False)
        return BAD_INPUT


def print_list(console: Console, protocol: str) -> None:
    """Prints the rows of a protocol, the built-in policies and the asset packs."""
    rows = Table(box=None, pad_edge=False)
    rows.add_column("row", no_wrap=True)
    rows.add_column("episodes", justify="right", no_wrap=True)
    rows.add_column("differs from training in")
    axis = None
    for row in variants(protocol):
        if row.axis != axis:
            axis = row.axis
            rows.add_row(f"[bold]{axis}[/bold]")
        rows.add_row(row.id, f"{total(row):.2g}" if total(row) >= 1e6 else str(total(row)), describe(row))
    console.print(f"Rows of {protocol}, by axis; --rows takes rows and axes\n")
    console.print(rows)
    console.print(f"\nPolicies: {', '.join(BUILT_IN)}, or module:attribute for your own")
    for name in PACKS:
        console.print(_describe_pack(name), soft_wrap=True)


def _describe_pack(name: str) -> str:
    try:
        pack = load_pack(name)
    except BrokenManifest as error:
        return escape(f"Asset pack {name}: {error}")
    absent = sum(not (pack.root / file.path).is_file() for file in pack.files) - len(pack.stand_ins)
    return (
        f"Asset pack {pack.name} {pack.version}: {len(pack.objects)} objects, {len(pack.receptacles)} receptacles, "
        f"{len(pack.tables)} tables, {len(pack.textures)} textures; "
        + (f"{absent} of {len(pack.files)} files are missing" if absent else "ready")
        + (f", {len(pack.stand_ins)} models drawn by stand-ins" if pack.stand_ins else "")
    )


def describe(row: Variant) -> str:
    """Words what a row changes, e.g. ``tables: 16-20``; derived from the row, so that it cannot be out of date."""
    changes = []
    for field in fields(row):
        value = getattr(row, field.name)
        if field.name in ("id", "title", "protocol") or value == field.default:
            continue
        name = field.name.replace("_", " ")
        if isinstance(value, tuple):
            changes.append(f"{name}: {value[0]}-{value[-1]}" if len(value) > 1 else f"{name}: {value[0]}")
        elif field.name == "overlay":
            changes.append(f"{name}: {value.kind} {value.strength}")
        elif field.name == "distractor":
            changes.append(f"{name}: {value.kind} {value.pool[0]}-{value.pool[-1]}")
        else:
            changes.append(f"{name}: {value}")
    return "; ".join(changes) or "nothing"


def _request(arguments: Arguments) -> Request:
    if arguments.policy is None:
        raise VlagenError(f"no policy was given; name one with --policy, e.g. one of {', '.join(BUILT_IN)}")
    folder = f"{arguments.policy}-{arguments.protocol}-{arguments.assets}".replace(":", "-").replace("/", "-")
    return Request(
        policy=arguments.policy,
        out=arguments.out or Path("runs") / folder,
        rows=arguments.rows,
        episodes=arguments.episodes,
        protocol=arguments.protocol,
        assets=arguments.assets,
        seed=arguments.seed,
        workers=arguments.workers,
        video=arguments.video,
        retry_errors=arguments.retry_errors,
    )


def _evaluate(console: Console, request: Request, make_simulator: Callable[[], Simulator] | None) -> int:
    with Evaluation(request, make_simulator) as evaluation:
        try:
            _play(console, evaluation)
        except KeyboardInterrupt:
            console.print(
                f"Stopped: {len(evaluation.records)} of {len(evaluation.episodes)} episodes are kept in "
                f"{request.out}; the same command continues.",
                soft_wrap=True,
            )
            return INTERRUPTED
        rows = evaluation.summaries()
        console.print(report.table(rows, summarize_axes(rows)))
        report.write_csv(request.out / "summary.csv", rows)
        report.write_chart(request.out / "summary.png", rows, request.policy)
        console.print(f"\nWritten to {request.out}: run.json, episodes.jsonl, summary.csv, summary.png", soft_wrap=True)
        return _report_errors(console, evaluation.records)


def _play(console: Console, evaluation: Evaluation) -> None:
    """Plays what is missing behind a progress bar."""
    known, missing = evaluation.records, len(evaluation.missing)
    if not missing:
        console.print("This run is complete; nothing is played again.")
    elif known:
        console.print(f"Continuing: {missing} of {len(evaluation.episodes)} episodes are missing.")
    scored = [record for record in known if record.outcome != "error"]
    successes = sum(record.outcome == "success" for record in scored)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        # Episodes take seconds each, and those of different rows different times.
        speed_estimate_period=300,
        disable=not missing,
    ) as progress:
        task = progress.add_task("starting", total=missing)
        n = len(scored)
        for record in evaluation.play():
            n += record.outcome != "error"
            successes += record.outcome == "success"
            rate = f"{100 * successes / n:.0f}%" if n else "-"
            progress.update(task, advance=1, description=f"{escape(record.row)}, success so far {rate}")


def _report_errors(console: Console, records: tuple[EpisodeRecord, ...]) -> int:
    """Says which episodes ended in errors and how the first one reads; returns the exit code."""
    failed = [record for record in records if record.outcome == "error"]
    if not failed:
        return COMPLETE
    first = failed[0]
    reason = (first.error or "").strip().splitlines()[-1]
    console.print(
        f"[red]{len(failed)} of {len(records)} episodes ended in errors; the run is incomplete.[/red] "
        f"The first: {first.row} {first.index}: {escape(reason)}\n"
        "episodes.jsonl has the tracebacks; --retry-errors plays them again.",
        soft_wrap=True,
    )
    return ERRORS


if __name__ == "__main__":
    sys.exit(main())
