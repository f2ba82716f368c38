"""The folder of submissions, as a pull request would leave it: every entry sound, and no two of them the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from vlagen.assets.errors import VlagenError
from vlagen.leaderboard.cells import file_name
from vlagen.leaderboard.errors import BadEntry
from vlagen.leaderboard.naming import Entry
from vlagen.leaderboard.verification import read_entry, verify

LARGEST_FILE = 20_000_000  # bytes; five seeds of all rows with 192 episodes take about 2 million
_ALSO_ALLOWED = ("README.md",)


@dataclass(frozen=True)
class Finding:
    """What is to be said of one file; ``problem`` is None if nothing is wrong with it."""

    path: Path
    name: str
    problem: str | None


def verify_files(paths: Iterable[Path]) -> tuple[Finding, ...]:
    """Verifies submissions each for itself, wherever they lie.

    Raises:
        BadEntry: none was given.
    """
    paths = tuple(paths)
    if not paths:
        raise BadEntry("no submission was given; name the files that vlagen-leaderboard submit wrote")
    return tuple(_find(path, lambda path: verify(read_entry(path), str(path))) for path in paths)


def check_folder(folder: Path) -> tuple[Finding, ...]:
    """Checks all submissions of a folder.

    Raises:
        BadEntry: there is no such folder.
    """
    if not folder.is_dir():
        raise BadEntry(f"no folder {folder}; give the one that holds the submissions")
    names: dict[str, Path] = {}
    runs: dict[str, Path] = {}

    def check(path: Path) -> Entry:
        entry = _check(path)
        _check_new([entry.name.casefold()], names, path, "has the name of")
        _check_new([run.description["fingerprint"] for run in entry.runs], runs, path, "repeats a run of")
        return entry

    return tuple(_find(path, check) for path in sorted(folder.iterdir()) if path.name not in _ALSO_ALLOWED)


def _find(path: Path, check: Callable[[Path], Entry]) -> Finding:
    try:
        return Finding(path, check(path).name, None)
    except VlagenError as error:
        return Finding(path, path.name, str(error))


def _check(path: Path) -> Entry:
    if path.is_symlink() or not path.is_file() or path.suffix != ".json":
        raise BadEntry(f"{path} is no file of JSON; only submissions belong here")
    if path.stat().st_size > LARGEST_FILE:
        raise BadEntry(f"{path} has {path.stat().st_size} bytes; allowed: {LARGEST_FILE}")
    entry = verify(read_entry(path), str(path))
    expected = f"{file_name(entry.name)}.json"
    if path.name != expected:
        raise BadEntry(f"{path} holds the entry {entry.name!r}, whose file is called {expected}; rename it")
    return entry


def _check_new(keys: Iterable[str], seen: dict[str, Path], path: Path, what: str) -> None:
    for key in keys:
        other = seen.setdefault(key, path)
        if other != path:
            raise BadEntry(f"{path} {what} {other}; remove one of them")
