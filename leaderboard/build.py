"""From what a command line names to files."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path

from vlagen.leaderboard.arguments import Build, Compare, Submit
from vlagen.leaderboard.cells import file_name
from vlagen.leaderboard.entry import make_entry, to_text
from vlagen.leaderboard.errors import BadEntry, NotOneTable
from vlagen.leaderboard.frames import Frames, build_frames
from vlagen.leaderboard.naming import Entry, Name, group, parse_name, read_names
from vlagen.leaderboard.published import read_published, with_published
from vlagen.leaderboard.sources import load, load_one, processes
from vlagen.leaderboard.tables import write_tables
from vlagen.leaderboard.tracks import Track, check_comparable, tracks
from vlagen.leaderboard.verification import verify


def build(command: Build) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Writes tables, figures and pages.

    Yields:
        Each folder that is complete, and the names of the files in it.

    Raises:
        VlagenError: the runs cannot be shown, or not together.
    """
    names = [parse_name(text) for text in command.name]
    names += read_names(command.names) if command.names is not None else []
    with processes(command.processes, command.runs) as executor:
        sources = load(command.runs, allow_errors=command.allow_errors, executor=executor)
        found = tracks(sources.runs, names, sources.entries, split=command.split, common=command.common)
        for track in found:
            frames = build_frames(track, common=command.common, executor=executor)
            if command.published:
                frames = with_published(frames, read_published())
            folder = command.out if len(found) == 1 else command.out / track_name(track)
            files = _write(frames, folder, command, executor)
            yield folder, tuple(path.relative_to(folder).as_posix() for path in files)


def pair(command: Compare) -> tuple[Frames, str, str]:
    """Reads two entries to be compared.

    Returns:
        Their frames, on the episodes that both have played, and their names.

    Raises:
        VlagenError: one of them is no entry, or they were not played under the same conditions.
    """
    a, b = (
        load_one(path, allow_errors=command.allow_errors, name=name)
        for path, name in ((command.a, command.name_a), (command.b, command.name_b))
    )
    if a.name == b.name:
        a, b = _renamed(a, command.a), _renamed(b, command.b)
    if a.name == b.name:
        raise NotOneTable(f"A and B are both called {a.name!r}; tell them apart with --name-a and --name-b")
    check_comparable([*a.runs, *b.runs])
    (track,) = tracks((), (), (a, b), common=True)
    return build_frames(track, common=True), a.name, b.name


def submit(command: Submit) -> Path:
    """Writes a submission.

    Returns:
        Its file.

    Raises:
        VlagenError: the runs are not complete or not of one policy, or the file is there already.
    """
    sources = load(command.runs)
    if sources.entries:
        raise BadEntry("submissions cannot be submitted again; give the runs")
    names = (Name(("*",), command.name),) if command.name else ()
    entries = group(sources.runs, names)
    if len(entries) != 1:
        raise NotOneTable(
            f"these are runs of {len(entries)} policies ({', '.join(entry.name for entry in entries[:5])}); submit "
            "each for itself, or give --name for the training seeds of one method"
        )
    (track,) = tracks((), (), entries)
    content = make_entry(build_frames(track), entries[0], command.card)
    path = command.out
    if path.suffix != ".json":
        path = path / f"{file_name(entries[0].name)}.json"
    if path.exists():
        raise BadEntry(f"{path} is there already; remove it, or choose another --name or --out")
    # What cannot be verified here will not be anywhere else.
    verify(content, str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_text(content), encoding="utf-8")
    return path


def track_name(track: Track) -> str:
    """The folder of a table among others."""
    return file_name(f"{track.protocol}-{track.assets}-{track.conditions[:8]}".lower())


def _write(frames: Frames, folder: Path, command: Build, executor: Executor | None) -> Iterator[Path]:
    # Imported here because they take longer than all that a comparison needs.
    from vlagen.leaderboard.figures import choose, write_figures
    from vlagen.leaderboard.ties import tied_with_best
    from vlagen.leaderboard.web.page import write_page

    shown = choose(frames, command.top, command.show)
    figures: Iterator[Path] = iter(())
    if not command.no_figures:
        files = {"curves": command.curves, "scaling": command.scaling}
        figures = write_figures(frames, folder / "figures", shown, **files, executor=executor)
    tied = tied_with_best(frames)
    yield from write_tables(frames, folder, [entry for entry in shown if entry in frames.entries], tied)
    if command.html:
        title = f"vlagen leaderboard: {frames.protocol}, {frames.assets}"
        yield write_page(frames, folder / "index.html", title=title, tied=tied)
    yield from figures


def _renamed(entry: Entry, path: Path) -> Entry:
    return replace(entry, name=f"{entry.name} ({path})")
