"""``vlagen-collect``: demonstrations for training."""

from __future__ import annotations

import sys
from collections.abc import Callable

from rich.console import Console
from rich.markup import escape

from vlagen.assets.errors import VlagenError
from vlagen.baselines.data.arguments import Check, Collect, Export, Import, parse
from vlagen.baselines.data.collect import Collection
from vlagen.baselines.data.dataset import Dataset, check_packs
from vlagen.baselines.data.summary import write_summary
from vlagen.benchmark.simulator import Simulator
from vlagen.benchmark.watching.progress import Observer, Quiet, RichProgress

COMPLETE, ERRORS, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
"""Exit codes: all is there; episodes ended in errors and others were taken instead; nothing could be done, or no more;
stopped by Ctrl-C."""


def main(argv: list[str] | None = None, make_simulator: Callable[[], Simulator] | None = None) -> int:
    """Runs the command line.

    Args:
        argv: arguments without the program's name; by default those of this process.
        make_simulator: see ``Collection``.

    Returns:
        The exit code.
    """
    command = parse(argv)
    console = Console(soft_wrap=True, highlight=False)
    try:
        if isinstance(command, Collect):
            return _collect(command, console, make_simulator)
        handlers = {Export: _export, Import: _import, Check: _check}
        return handlers[type(command)](command, console)
    except VlagenError as error:
        # Unwrapped, because a long path in pieces cannot be copied.
        Console(stderr=True, soft_wrap=True).print(f"vlagen-collect: {error}", markup=False, highlight=False)
        return BAD_INPUT


def _collect(command: Collect, console: Console, make_simulator: Callable[[], Simulator] | None) -> int:
    with Collection(command.request, make_simulator) as collection:
        observer: Observer = Quiet() if command.quiet else RichProgress(console, collection.axes)
        try:
            # How many more are needed is known when they have been played: those that fail are replaced.
            observer.begin(len(collection.records) + collection.missing, collection.records)
            for record in collection.play():
                observer.record(record)
        except KeyboardInterrupt:
            console.print(
                f"Stopped: {collection.collected} of {collection.wanted} demonstrations are kept in {collection.out}; "
                "the same command continues."
            )
            return INTERRUPTED
        finally:
            observer.end(())
        dataset = Dataset(collection.out)
        written = write_summary(dataset, collection.records, collection.norm_key)
        _describe(console, dataset)
        console.print(f"Written to {escape(str(collection.out))}: data, videos or pictures, meta, {', '.join(written)}")
        errors = [record for record in collection.records if record.outcome == "error"]
        if not errors:
            return COMPLETE
        last = (errors[0].error or "").strip().splitlines()[-1:]
        console.print(
            f"[red]{len(errors)} episodes ended in errors[/red] and others were taken instead. The first: "
            f"{escape(errors[0].row)} {errors[0].index}: {escape(' '.join(last))}; "
            "tracebacks are in collection/episodes.jsonl."
        )
        return ERRORS


def _describe(console: Console, dataset: Dataset) -> None:
    height, width = dataset.picture_size
    size = sum(path.stat().st_size for kind in ("data", "videos") for path in (dataset.root / kind).rglob("*.*"))
    console.print(
        f"{escape(str(dataset.root))}: {len(dataset.episodes)} episodes, {len(dataset)} frames of {height}x{width} "
        f"({'H.264' if dataset.is_video else 'PNG'}), {size / 1e6:.1f} MB, asset pack {dataset.assets or 'unknown'}"
    )


def _export(command: Export, console: Console) -> int:
    from vlagen.baselines.data.convert import export

    console.print(f"Written: {escape(str(export(command.source, command.target, command.to, command.pictures)))}")
    return COMPLETE


def _import(command: Import, console: Console) -> int:
    from vlagen.baselines.data.convert import import_

    count = import_(command.source, command.target)
    dataset = Dataset(command.target)
    write_summary(dataset, (), command.target.name)
    console.print(f"Written: {count} demonstrations")
    _describe(console, dataset)
    return COMPLETE


def _check(command: Check, console: Console) -> int:
    datasets = {str(folder): Dataset(folder) for folder in command.folders}
    check_packs(datasets)
    for dataset in datasets.values():
        pictures = sum(1 for _ in dataset.images())
        _describe(console, dataset)
        console.print(f"sound: {pictures} pictures were decoded")
    return COMPLETE


if __name__ == "__main__":
    sys.exit(main())
