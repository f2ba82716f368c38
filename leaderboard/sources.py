"""What a command line may name: runs, folders of runs, submissions, and folders of submissions."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from vlagen.leaderboard.errors import BadRun, NotOneTable
from vlagen.leaderboard.naming import Entry, Name, group
from vlagen.leaderboard.runs import Run, find_runs, load_runs
from vlagen.leaderboard.verification import read_entry, verify

_WORTH_PROCESSES = 8  # runs; for fewer, starting a process takes longer than it saves


@dataclass(frozen=True, eq=False)
class Sources:
    """What was read, and checked each for itself."""

    runs: tuple[Run, ...]
    entries: tuple[Entry, ...]


def load(paths: Iterable[Path], *, allow_errors: bool = False, executor: Executor | None = None) -> Sources:
    """Reads runs and submissions.

    Args:
        paths: of folders with a ``run.json`` at or below them, files of submissions, or folders of these.
        allow_errors: see ``runs.load_runs``.
        executor: reads runs in other processes.

    Raises:
        BadRun: a run is damaged or incomplete, or a path leads to nothing.
        BadEntry: a submission is not what was submitted.
    """
    folders, files = [], []
    paths = tuple(paths)
    if not paths:
        raise BadRun("nothing to read was given; name folders that vlagen-eval wrote, or submissions")
    for path in paths:
        entries = _entry_files(path)
        files += entries
        folders += [] if entries else [path]
    runs = load_runs(folders, allow_errors=allow_errors, executor=executor) if folders else ()
    return Sources(runs, tuple(verify(read_entry(file), str(file)) for file in dict.fromkeys(files)))


def load_one(path: Path, *, allow_errors: bool = False, name: str | None = None) -> Entry:
    """Reads what must be one entry: a run, the seeds of one policy, or a submission.

    Args:
        path: see ``load``.
        allow_errors: see ``load``.
        name: what to call it, and reason to take runs of different policies for one.

    Raises:
        NotOneTable: it is more than one.
    """
    sources = load([path], allow_errors=allow_errors)
    names = (Name(("*",), name),) if name else ()
    found = (*group(sources.runs, names), *sources.entries)
    if len(found) != 1:
        raise NotOneTable(
            f"{path} holds {len(found)} entries ({', '.join(entry.name for entry in found[:5])}); give one of them, or "
            "a name for all of them together"
        )
    return found[0]


@contextlib.contextmanager
def processes(count: int, paths: Iterable[Path]) -> Iterator[Executor | None]:
    """Gives an executor with so many processes where there is enough to do for them, else None."""
    folders = [path for path in paths if not _entry_files(path)]
    if count < 2 or not folders or len(find_runs(folders)) < _WORTH_PROCESSES:
        yield None
        return
    # Not forked: libraries that have started threads by now do not survive that.
    with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
        yield pool


def _entry_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix == ".json" and path.name != "run.json" else []
    files = sorted(path.glob("*.json")) if path.is_dir() else []
    return files if files and next(path.rglob("run.json"), None) is None else []
