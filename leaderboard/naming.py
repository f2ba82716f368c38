"""What runs are called, and which of them are one entry of a leaderboard.

Runs whose identity differs in nothing but the seed are one entry. A file of names may say otherwise, e.g. for the
checkpoints of several training seeds: a JSON object of

    {"OpenVLA, PPO": {"runs": ["runs/ppo-*"], "policy": "OpenVLA-7B", "method": "PPO"}}

where ``runs`` are patterns of folders, and ``policy`` and ``method`` are optional.
"""

from __future__ import annotations

import fnmatch
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlagen.benchmark.records import ORACLE_MARK
from vlagen.leaderboard.errors import NotOneTable
from vlagen.leaderboard.runs import Run

LONGEST_NAME = 120


@dataclass(frozen=True)
class Name:
    """What the runs whose folders match one of the patterns are called."""

    patterns: tuple[str, ...]
    entry: str
    policy: str | None = None
    method: str | None = None


@dataclass(frozen=True, eq=False)
class Entry:
    """One line of a leaderboard: a policy, measured with one seed or several.

    Attributes:
        name: unique in its table.
        policy: what it is.
        method: how it was made or called; may be empty.
        runs: of the entry.
        seeds: (number of runs) what tells the repetitions apart: runs with the same number are parts of one, with
            different rows.
        policies: (number of runs) the same number for the same policy: repetitions that differ in nothing but the seed
            vary less than those that were trained anew.
    """

    name: str
    policy: str
    method: str
    runs: tuple[Run, ...]
    seeds: tuple[int, ...]
    policies: tuple[int, ...]

    @property
    def policy_of(self) -> dict[int, int]:
        """The policy's number of each seed's."""
        return dict(zip(self.seeds, self.policies, strict=True))


def read_names(path: Path) -> tuple[Name, ...]:
    """Reads a file of names.

    Raises:
        NotOneTable: it is no such file.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        names = []
        for entry, value in content.items():
            surplus = set(value) - {"runs", "policy", "method"}
            if surplus or not isinstance(value["runs"], list) or not all(isinstance(run, str) for run in value["runs"]):
                raise ValueError(f"of {entry!r}: {', '.join(sorted(surplus)) or 'runs is no list of texts'}")
            names.append(Name(tuple(value["runs"]), entry, value.get("policy"), value.get("method")))
    except (OSError, ValueError, AttributeError, TypeError, KeyError) as error:
        raise NotOneTable(
            f"{path} is no file of names ({error!r}); it looks like "
            '{"OpenVLA, PPO": {"runs": ["runs/ppo-*"], "policy": "OpenVLA-7B", "method": "PPO"}}'
        ) from None
    return tuple(names)


def parse_name(text: str) -> Name:
    """Reads ``pattern=name`` of a command line.

    Raises:
        NotOneTable: it is not of that form.
    """
    pattern, equals, entry = text.partition("=")
    if not pattern or not equals or not entry.strip():
        raise NotOneTable(f"--name {text!r}; allowed: FOLDER=NAME, e.g. 'runs/ppo-*=OpenVLA, PPO'")
    return Name((pattern,), entry.strip())


def check_used(names: Sequence[Name], runs: Sequence[Run]) -> None:
    """Checks that every name is for some run.

    Raises:
        NotOneTable: one is for none.
    """
    for name in names:
        if not any(_fits(run, name) for run in runs):
            raise NotOneTable(
                f"the name {name.entry!r} is for {', '.join(name.patterns)}, and no run is called so; there are: "
                + ", ".join(str(run.path) for run in runs[:10])
            )


def group(runs: Sequence[Run], names: Sequence[Name] = ()) -> tuple[Entry, ...]:
    """Puts runs together that are repetitions of one entry, and names the entries.

    Args:
        runs: of one table.
        names: the first that fits a run counts.

    Raises:
        NotOneTable: a run is there twice, repetitions have played different rows, or two entries end up with one name.
    """
    named: dict[Name, list[Run]] = {name: [] for name in names}
    alike: dict[str, list[Run]] = {}
    for run in runs:
        name = next((name for name in names if _fits(run, name)), None)
        if name is None:
            alike.setdefault(_key(run.policy), []).append(run)
        else:
            named[name].append(run)
    labels = _labels([members[0].policy for members in alike.values()])
    found = [
        entry_of(name.entry, name.policy or members[0].policy["name"], name.method or "", members)
        for name, members in _joined(named).items()
        if members
    ]
    for (label, method), members in zip(labels, alike.values(), strict=True):
        found.append(entry_of(label, members[0].policy["name"], method, members))
    check_names([entry.name for entry in found])
    return tuple(found)


def _joined(named: Mapping[Name, list[Run]]) -> dict[Name, list[Run]]:
    """Two patterns may have one name."""
    joined: dict[str, tuple[Name, list[Run]]] = {}
    for name, members in named.items():
        joined.setdefault(name.entry, (name, []))[1].extend(members)
    return dict(joined.values())


def _fits(run: Run, name: Name) -> bool:
    folders = {str(run.path), str(run.path.resolve()), run.path.resolve().name}
    return any(fnmatch.fnmatchcase(folder, pattern.rstrip("/")) for folder in folders for pattern in name.patterns)


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def entry_of(name: str, policy: str, method: str, runs: Sequence[Run]) -> Entry:
    """Makes an entry of runs. Its repetitions are numbered by the seed, or in order if that does not tell them apart.

    An oracle's name is marked, whoever gave it: it is no competitor.

    Raises:
        NotOneTable: a run is there twice, or repetitions have played different rows.
    """
    repetitions: dict[tuple[str, int], list[Run]] = {}
    for run in runs:
        repetitions.setdefault((_key(run.policy), run.seed), []).append(run)
    by_seed = len({seed for _, seed in repetitions}) == len(repetitions)
    policies = list(dict.fromkeys(policy for policy, _ in repetitions))
    numbered = [
        (run, seed if by_seed else place, policies.index(policy))
        for place, ((policy, seed), members) in enumerate(repetitions.items())
        for run in members
    ]
    _check_rows(name, [(run, number) for run, number, _ in numbered])
    counts = Counter(policies.index(policy) for policy, _ in repetitions)
    if len(set(counts.values())) > 1:
        raise NotOneTable(f"the policies of {name!r} were run with different numbers of seeds; run each with as many")
    is_oracle = any(run.policy.get("oracle") for run in runs)
    if is_oracle and not name.endswith(ORACLE_MARK):
        name += ORACLE_MARK
    return Entry(name, policy, method, *map(tuple, zip(*numbered, strict=True)))


def _check_rows(name: str, runs: Sequence[tuple[Run, int]]) -> None:
    """Checks that every repetition has the same rows, and each of them once."""
    rows: dict[int, dict[str, Run]] = {}
    for run, number in runs:
        played = rows.setdefault(number, {})
        for row in run.description["plan"]:
            other = played.setdefault(row, run)
            if other is not run:
                raise NotOneTable(
                    f"{other.path} and {run.path} are the same policy with the same seed {run.seed} on the same row "
                    f"{row}; give one of them"
                )
    first, *others = rows.items()
    for number, played in others:
        alone = sorted(played.keys() ^ first[1].keys())
        if alone:
            raise NotOneTable(
                f"the seeds of {name!r} have played different rows: {', '.join(alone[:5])} with seed {number} or "
                f"{first[0]} only; play the same rows with every seed, or name the runs apart"
            )


def _labels(policies: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Words for each policy what it is called among others: its name and what differs between those that share it."""
    values = [_flat({key: value for key, value in policy.items() if key != "name"}) for policy in policies]
    labels = []
    for policy, own in zip(policies, values, strict=True):
        rivals = [other for other, theirs in zip(values, policies, strict=True) if theirs["name"] == policy["name"]]
        differing = [key for key in own if any(other.get(key) != own[key] for other in rivals)]
        method = ", ".join(f"{key.removeprefix('arguments.')}={_shorten(own[key])}" for key in differing)
        labels.append((f"{policy['name']} ({method})" if method else policy["name"], method))
    return labels


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {name: value}
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        flat |= _flat(inner, f"{name}.{key}" if name else key)
    return flat


def _shorten(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 40 else f"{text[:8]}…{text[-8:]}"


def check_names(names: Sequence[str]) -> None:
    """Checks the names of a table's entries.

    Raises:
        NotOneTable: one is there twice, or cannot be shown in a line.
    """
    for name in names:
        if names.count(name) > 1:
            raise NotOneTable(f"two entries would be called {name!r}; tell them apart with --name FOLDER=NAME")
        if not name.strip() or len(name) > LONGEST_NAME or not name.isprintable():
            raise NotOneTable(
                f"the name {name[:40]!r} cannot stand in a table; allowed: 1 to {LONGEST_NAME} printable characters; "
                "give another with --name FOLDER=NAME"
            )
