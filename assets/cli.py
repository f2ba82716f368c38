"""``vlagen-assets``: lists, finds, checks and fetches asset packs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from vlagen.assets import integrity
from vlagen.assets.errors import VlagenError
from vlagen.assets.fetch import Outcome, copy_pack, download_pack, sources
from vlagen.assets.packs import PACKS, Pack, load_pack

PackName = Annotated[str, tyro.conf.Positional, tyro.conf.arg(help=f"One of: {', '.join(PACKS)}.", metavar="PACK")]


def main() -> int:
    """Runs the command line; returns the exit code."""
    commands = {"list": list_packs, "path": path, "verify": verify, "download": download}
    try:
        return tyro.extras.subcommand_cli_from_dict(commands, prog="vlagen-assets", description=__doc__)
    except VlagenError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130


def list_packs() -> int:
    """Show every pack: where it lies, whether it is complete, and its size."""
    failures = 0
    for name in PACKS:
        try:
            pack = load_pack(name)
        except VlagenError as error:
            print(f"{name:<8} broken      {error}")
            failures += 1
            continue
        size = sum(file.size or 0 for file in pack.files) / 1e6
        print(f"{name:<8} {describe(pack):<26} {size:6.1f} MB  version {pack.version}  {pack.root}")
    return 1 if failures else 0


def describe(pack: Pack) -> str:
    """Says in a few words whether a pack is complete."""
    missing = integrity.missing(pack)
    if missing:
        return f"{len(missing)} of {len(pack.files)} files missing"
    return f"complete ({len(pack.stand_ins)} stand-ins)" if pack.stand_ins else "complete"


def path(pack: PackName) -> int:
    """Print the folder that a pack's paths are relative to."""
    print(load_pack(pack).root)
    return 0


def verify(pack: PackName) -> int:
    """Hash every file of a pack; name each one that is missing or damaged."""
    loaded = load_pack(pack)
    faults = integrity.verify(loaded)
    for file, reason in faults.items():
        print(f"{reason}: {loaded.root / file}")
    if faults:
        print(f"{len(faults)} of {len(loaded.files)} files of {pack!r} are not right", file=sys.stderr)
        return 1
    print(f"{pack}: {len(loaded.files)} files are right{_stand_in_remark(loaded)}")
    return 0


def _stand_in_remark(pack: Pack) -> str:
    return f"; plainer meshes stand in for {', '.join(pack.stand_ins)}" if pack.stand_ins else ""


def download(
    pack: PackName,
    from_: Annotated[Path | None, tyro.conf.arg(name="from", help="Copy from this folder; needs no network.")] = None,
    force: Annotated[bool, tyro.conf.arg(help="Fetch also what is already right.")] = False,
) -> int:
    """Fetch what a pack lacks; running it again goes on where it stopped."""
    loaded = load_pack(pack)
    origins = sources(pack)
    with _progress(loaded, force) as progress:
        task = progress.task_ids[0]
        if from_ is None:
            outcome = download_pack(loaded, origins, force=force, advance=lambda count: progress.advance(task, count))
        else:
            outcome = copy_pack(
                loaded, origins, from_, force=force, advance=lambda count: progress.advance(task, count)
            )
    return _report(load_pack(pack), outcome, offline=from_ is not None)


def _progress(pack: Pack, force: bool) -> Progress:
    needed = [file for file in pack.files if force or integrity.fault(pack.root / file.path, file) is not None]
    progress = Progress(
        TextColumn(pack.name),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    progress.add_task(pack.name, total=sum(file.size or 0 for file in needed))
    return progress


def _report(pack: Pack, outcome: Outcome, *, offline: bool) -> int:
    for note in outcome.notes:
        print(f"note: {note}")
    for file, reason in outcome.failed.items():
        print(f"failed: {file}: {reason}", file=sys.stderr)
    print(
        f"{pack.name}: {len(outcome.fetched)} files fetched, {len(outcome.kept)} were right already, "
        f"{len(outcome.failed)} failed; {pack.root}"
    )
    if outcome.failed and offline:
        print(f"`vlagen-assets download {pack.name}` fetches the rest from the network", file=sys.stderr)
    return 1 if outcome.failed else 0


if __name__ == "__main__":
    sys.exit(main())
