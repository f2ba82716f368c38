"""What a run leaves on disk: ``run.json`` and one line an episode in ``episodes.jsonl``.

Records come before scores: everything else is derived from these two files. Standard library only, so that reading a
run needs neither numpy nor a simulator.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

from vlagen.assets.errors import VlagenError
from vlagen.benchmark.atomic import write_atomically

SCHEMA = 2

EpisodeKey = tuple[str, int]
"""Row id and episode index: what tells the episodes of one run apart."""

PATH_STRIDE = 5

ORACLE_MARK = " (oracle)"
"""Stands behind the name of a policy that sees what no camera shows."""

Plan = Mapping[str, Sequence[int]]
"""Episode indices by row id, both in the order in which ``episodes.jsonl`` ends up."""


class RunConflict(VlagenError):
    """A folder that holds something else than the run that wants it, or that another process writes to."""


class UnwritableRun(VlagenError):
    """A run's folder that cannot be written."""


class BrokenRecords(VlagenError):
    """A record file with a damaged line that no interrupted write explains."""


@dataclass(frozen=True, kw_only=True)
class EpisodeRecord:
    """One line of ``episodes.jsonl``. Results are None where an error kept them from being known or a task cannot tell.

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
        failure: in which way a failure went wrong, one of ``taxonomy.FAILURES``.
        closest_approach: how near the fingers came to the object [m].
        gripper_path: where the gripper was after every ``PATH_STRIDE``-th step, in the robot's base frame: x, y, z in
            whole millimetres, strung together.
        cut_steps: steps whose action asked for more than the controller takes, and was cut to that.
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
    failure: str | None = None
    closest_approach: float | None = None
    gripper_path: Sequence[int] | None = None
    cut_steps: int | None = None
    error: str | None = None
    timing: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> EpisodeKey:
        """What tells this episode apart within its run."""
        return self.row, self.index


def to_line(record: EpisodeRecord) -> bytes:
    """Writes a record as one line of JSON."""
    return (json.dumps(vars(record), ensure_ascii=False, allow_nan=False) + "\n").encode()


def read_run(path: Path) -> dict[str, Any]:
    """Reads a ``run.json``.

    Raises:
        BrokenRecords: it is not there or does not describe a run.
    """
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
        run["identity"], run["plan"], run["sessions"][0]
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise BrokenRecords(
            f"{path} does not describe a run ({error!r}); a run's folder holds it as run.json"
        ) from None
    return run


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


def fingerprint(identity: Mapping[str, Any], plan: Plan) -> str:
    """Hashes what can move a number: two runs with one fingerprint have played the same under the same conditions."""
    return _hash({"identity": identity, "plan": plan})


def conditions(identity: Mapping[str, Any]) -> str:
    """Hashes all of that but the policy and its seed: policies for which this agrees are comparable."""
    return _hash({key: value for key, value in identity.items() if key not in ("policy", "seed")})


def _hash(identity: Mapping[str, Any]) -> str:
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
        UnwritableRun: the folder can be neither made nor written.
        BrokenRecords: see ``read_records``.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any], session: Mapping[str, Any]) -> None:
        self.path = path
        self._lock = lock(path)
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

    def adopt(self, plan: Plan) -> None:
        """Sets which episodes the run shall have. A plan may grow, also while the run goes on, but not lose any.

        Raises:
            RunConflict: there are records of other episodes.
        """
        planned = {(row, index) for row, indices in plan.items() for index in indices}
        surplus = [key for key in self.records if key not in planned]
        if surplus:
            row, index = surplus[0]
            raise RunConflict(
                f"{self.path} holds {len(surplus)} episodes that this command does not ask for, e.g. {row} {index}; "
                "ask for these rows and at least as many episodes, or choose another --out"
            )
        self._run["plan"] = {row: list(indices) for row, indices in plan.items()}
        self._run["fingerprint"] = fingerprint(self._run["identity"], self._run["plan"])
        if self._appending is not None:
            self._write_run()

    def begin_session(self) -> None:
        """Notes in ``run.json`` that this process adds episodes, and drops a line that a killed one left unfinished."""
        self._run["sessions"].append(self._session)
        self._run["digest"] = None
        self._write_run()
        self._appending = self._episodes.open("ab")
        self._appending.truncate(self._sound_bytes)

    def append(self, record: EpisodeRecord) -> None:
        """Adds a record; it survives a power cut once this returns."""
        assert self._appending is not None, "begin_session comes first"
        self._appending.write(to_line(record))
        self._appending.flush()
        os.fsync(self._appending.fileno())
        self.records[record.key] = record

    def finish(self) -> None:
        """Rewrites a complete run's records in the plan's order: the file no longer tells in which they ended.

        ``run.json`` gets the file's SHA-256, so that whoever reads the two notices an edited record.
        """
        self._stop_appending()
        keys = [(row, index) for row, indices in self._run["plan"].items() for index in indices]
        content = b"".join(to_line(self.records[key]) for key in keys)
        write_atomically(self._episodes, content)
        digest = hashlib.sha256(content).hexdigest()
        if self._run.get("digest") != digest:
            self._run["digest"] = digest
            self._write_run()

    def close(self) -> None:
        """Releases the folder."""
        self._stop_appending()
        self._lock.close()

    def _stop_appending(self) -> None:
        if self._appending is not None:
            self._appending.close()
            self._appending = None

    def _write_run(self) -> None:
        write_atomically(self.path / "run.json", json.dumps(self._run, indent=1).encode() + b"\n")

    def _read_or_create_run(self, identity: Mapping[str, Any]) -> dict[str, Any]:
        file = self.path / "run.json"
        if file.exists():
            run = read_run(file)
            # Through JSON, so that tuples and lists compare equal.
            found = differences(run["identity"], json.loads(json.dumps(identity)))
            if found:
                raise RunConflict(f"{self.path} holds another run: {'; '.join(found)}. Choose another --out")
            return run
        leftovers = [name for name in ("episodes.jsonl", "summary.csv", "summary.png") if (self.path / name).exists()]
        if leftovers:
            raise RunConflict(
                f"{self.path} holds {', '.join(leftovers)} but no run.json that says whose; choose another --out"
            )
        return {
            "schema": SCHEMA,
            "fingerprint": None,
            "conditions": conditions(identity),
            "identity": dict(identity),
            "plan": {},
            "digest": None,
            "sessions": [],
        }


def lock(path: Path, option: str = "--out") -> IO[str]:
    """Makes a folder if need be and takes it for this process, until the file that is returned is closed.

    Args:
        path: the folder.
        option: what names it on the command line.

    Raises:
        RunConflict: another process has it.
        UnwritableRun: it can be neither made nor written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        file = (path / ".lock").open("a+")
    except OSError as error:
        raise UnwritableRun(
            f"{path} cannot be written ({error.strerror or error}); choose another {option}, or give the folder to "
            f"user {os.getuid()}"
        ) from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        owner = file.read().strip() or "unknown"
        file.close()
        raise RunConflict(
            f"{path} is being written by process {owner}; wait for it, end it, or choose another {option}"
        ) from None
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


def differences(there: Any, here: Any, name: str = "") -> list[str]:
    """Words where two nested JSON values differ, one text for each leaf."""
    if isinstance(there, dict) and isinstance(here, dict):
        keys = list(dict.fromkeys([*there, *here]))
        return [
            text
            for key in keys
            for text in differences(there.get(key), here.get(key), f"{name}.{key}" if name else key)
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
