"""What a run leaves on disk: ``run.json`` and one line an episode in ``episodes.jsonl``.

Records come before scores: everything else is derived from these two files. Standard library only, so that reading a
run needs neither numpy nor a simulator.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

from vlagen.assets.errors import VlagenError

SCHEMA = 1

EpisodeKey = tuple[str, int]
"""Row id and episode index: what tells the episodes of one run apart."""


class RunConflict(VlagenError):
    """A folder that holds something else than the run that wants it, or that another process writes to."""


class BrokenRecords(VlagenError):
    """A record file with a damaged line that no interrupted write explains."""


@dataclass(frozen=True, kw_only=True)
class EpisodeRecord:
    """One line of ``episodes.jsonl``. Results are None where an error kept them from being known.

    Attributes:
        seed: what the policy received.
        outcome: an error is neither success nor failure, and stays out of every rate.
        success_at_end: the object was on the receptacle after the last step; the headline.
        success_once: it was there after some step.
        first_success_step: the 1-based control step after which it first was, None if never.
        grasped: it was grasped at some step.
        consecutive_grasp: it was held for five steps in a row.
        episode_return: sum of rewards.
        steps: control steps executed.
        trajectory: hash of every step's joint positions and reward. Equal hashes mean that two episodes went alike to
            the last bit, which counts alone cannot tell; another kind of processor may give another hash.
        error: traceback.
        timing: everything about a record that differs from one machine or worker to the next.
    """

    protocol: str
    row: str
    index: int
    assets: str
    seed: int
    instruction: str | None = None
    outcome: Literal["success", "failure", "error"]
    success_at_end: bool | None = None
    success_once: bool | None = None
    first_success_step: int | None = None
    grasped: bool | None = None
    consecutive_grasp: bool | None = None
    episode_return: float | None = None
    steps: int | None = None
    trajectory: str | None = None
    error: str | None = None
    timing: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> EpisodeKey:
        """What tells this episode apart within its run."""
        return self.row, self.index


def to_line(record: EpisodeRecord) -> bytes:
    """Writes a record as one line of JSON."""
    return (json.dumps(vars(record), ensure_ascii=False, allow_nan=False) + "\n").encode()


def read_records(path: Path) -> tuple[list[EpisodeRecord], int]:
    """Reads a record file that may have been cut off in the middle of its last line.

    Args:
        path: of an ``episodes.jsonl``; it need not exist.

    Returns:
        The records in the order of the file, and how many bytes of it are sound.

    Raises:
        BrokenRecords: a complete line is not a record.
    """
    if not path.exists():
        return [], 0
    content = path.read_bytes()
    sound = content.rfind(b"\n") + 1
    lines = content[:sound].splitlines()
    return [_from_line(line, f"{path}, line {number}") for number, line in enumerate(lines, start=1)], sound


def _from_line(line: bytes, place: str) -> EpisodeRecord:
    try:
        return EpisodeRecord(**json.loads(line))
    except (ValueError, TypeError) as error:
        raise BrokenRecords(
            f"{place} is not an episode record ({error}); delete that line to run its episode again"
        ) from None


def fingerprint(identity: Mapping[str, Any]) -> str:
    """Hashes what can move a number: runs are comparable line by line if and only if their fingerprints agree."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


class RunDirectory:
    """The folder of one run, locked for one process from construction to ``close``.

    Args:
        path: created if need be.
        identity: JSON values that can move a number; a folder with another identity is refused.
        session: JSON values worth knowing about this process, e.g. host and arguments; noted by ``begin_session``.

    Attributes:
        records: the last record of every finished episode, by key.

    Raises:
        RunConflict: another process holds the folder, it belongs to another run, or it has results of no known run.
        BrokenRecords: see ``read_records``.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any], session: Mapping[str, Any]) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(path)
        try:
            self._run = self._read_or_create_run(identity)
            records, sound = read_records(self._episodes)
            self.records = {record.key: record for record in records}
        except BaseException:
            self._lock.close()
            raise
        self._session = dict(session)
        self._sound_bytes = sound
        self._appending: IO[bytes] | None = None

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _episodes(self) -> Path:
        return self.path / "episodes.jsonl"

    def begin_session(self) -> None:
        """Notes in ``run.json`` that this process adds episodes, and drops a line that a killed one left unfinished."""
        self._run["sessions"].append(self._session)
        _write_atomically(self.path / "run.json", json.dumps(self._run, indent=1).encode() + b"\n")
        self._appending = self._episodes.open("ab")
        self._appending.truncate(self._sound_bytes)

    def append(self, record: EpisodeRecord) -> None:
        """Adds a record; it survives a power cut once this returns."""
        assert self._appending is not None, "begin_session comes first"
        self._appending.write(to_line(record))
        self._appending.flush()
        os.fsync(self._appending.fileno())
        self.records[record.key] = record

    def finish(self, order: Iterable[EpisodeKey]) -> None:
        """Rewrites a complete run's records in ``order``: the file no longer tells in which order episodes ended."""
        self._stop_appending()
        _write_atomically(self._episodes, b"".join(to_line(self.records[key]) for key in order))

    def close(self) -> None:
        """Releases the folder."""
        self._stop_appending()
        self._lock.close()

    def _stop_appending(self) -> None:
        if self._appending is not None:
            self._appending.close()
            self._appending = None

    def _read_or_create_run(self, identity: Mapping[str, Any]) -> dict[str, Any]:
        file = self.path / "run.json"
        if file.exists():
            try:
                run = json.loads(file.read_text(encoding="utf-8"))
                there = run["identity"]
            except (ValueError, KeyError, TypeError) as error:
                raise BrokenRecords(f"{file} does not describe a run ({error!r}); choose another --out") from None
            # Through JSON, so that tuples and lists compare equal.
            differences = _differences(there, json.loads(json.dumps(identity)))
            if differences:
                raise RunConflict(f"{self.path} holds another run: {'; '.join(differences)}. Choose another --out")
            return run
        leftovers = [name for name in ("episodes.jsonl", "summary.csv", "summary.png") if (self.path / name).exists()]
        if leftovers:
            raise RunConflict(
                f"{self.path} holds {', '.join(leftovers)} but no run.json that says whose; choose another --out"
            )
        return {"schema": SCHEMA, "fingerprint": fingerprint(identity), "identity": identity, "sessions": []}


def _lock(path: Path) -> IO[str]:
    file = (path / ".lock").open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        owner = file.read().strip() or "unknown"
        file.close()
        raise RunConflict(
            f"{path} is being written by process {owner}; wait for it, end it, or choose another --out"
        ) from None
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


def _write_atomically(path: Path, content: bytes) -> None:
    """Replaces a file so that a crash leaves the old content or the new, never a part."""
    temporary = path.with_name(f"{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _differences(there: Any, here: Any, name: str = "") -> list[str]:
    """Words where two nested JSON values differ, one text for each leaf."""
    if isinstance(there, dict) and isinstance(here, dict):
        keys = list(dict.fromkeys([*there, *here]))
        return [
            text
            for key in keys
            for text in _differences(there.get(key), here.get(key), f"{name}.{key}" if name else key)
        ]
    if there == here:
        return []
    return [f"{name} is {_shorten(there)} there and {_shorten(here)} here"]


def _shorten(value: Any) -> str:
    if value is None:
        return "absent"
    if isinstance(value, Sequence) and not isinstance(value, str) and len(value) > 4:
        return f"a list of {len(value)} ({', '.join(map(str, value[:3]))}, ...)"
    if isinstance(value, str) and len(value) == 64:
        return f"{value[:12]}..."
    return repr(value)
