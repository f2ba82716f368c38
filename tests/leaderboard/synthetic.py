"""Runs in the real format, without a simulator: what happened is written down as one character an episode.

``1`` success at the end · ``o`` success once, lost again · ``0`` failure, never a success · ``e`` error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vlagen.benchmark.records import SCHEMA, EpisodeRecord, conditions, fingerprint, to_line
from vlagen.tasks.rows import file_name, find_row
from vlagen.tasks.sampling import episode_indices
from vlagen.tasks.variants import ROW_IDS

FAILURES = ("never-reached", "reached-not-grasped", "wrong-object")
HORIZON = 80


def identity(
    policy: str, arguments: Mapping[str, Any], seed: int, oracle: bool = False, **changes: Any
) -> dict[str, Any]:
    """What ``run.json`` says of a run; ``changes`` replace top-level values."""
    return {
        "policy": {
            "name": policy,
            "arguments": dict(arguments),
            "oracle": oracle,
            "source": "5" * 64,
            "emits": {"frame": "base"},
            "image": None,
            "execute_horizon": None,
            "ensemble": None,
        },
        "seed": seed,
        "protocol": "vlagen-v1",
        "assets": {"name": "builtin", "version": "1", "digest": "a" * 64, "stand_ins": []},
        "horizon": HORIZON,
        "success": "the object is on the receptacle after the last step",
        "renderer": {"backend": "none"},
        "physics": "physx_cpu",
        "code": "c" * 64,
        "versions": {"vlagen": "0.1.0", "sapien": "3.0.3"},
        **changes,
    }


def record(row: str, index: int, mark: str, *, protocol: str, assets: str, path_offset: int = 0) -> EpisodeRecord:
    """The record of one episode; everything that the mark leaves open follows from the index."""
    common: dict[str, Any] = {
        "protocol": protocol,
        "row": row,
        "index": index,
        "assets": assets,
        "seed": index * 7 + 1,
        "instruction": f"put carrot on plate {index % 5}",
        "timing": {"seconds": 1.5, "attempts": 1},
    }
    if mark == "e":
        return EpisodeRecord(**common, outcome="error", error="Traceback\nValueError: broken arm")
    at_end, once = mark == "1", mark in "1o"
    waypoints = [(300 + 3 * step, (index * 37 + path_offset) % 200 - 100, 200 - 10 * step) for step in range(16)]
    return EpisodeRecord(
        **common,
        outcome="success" if at_end else "failure",
        success_at_end=at_end,
        success_once=once,
        first_success_step=40 + index % 30 if once else None,
        grasped=once,
        consecutive_grasp=once,
        episode_return=2.0 if at_end else 0.5 if once else 0.0,
        steps=HORIZON,
        trajectory=f"{index:016x}",
        failure=None if at_end else "placed-then-lost" if once else FAILURES[index % 3],
        closest_approach=0.01 if once else 0.05,
        gripper_path=[number for point in waypoints for number in point],
    )


def write_run(
    folder: Path,
    outcomes: Mapping[str, str],
    *,
    policy: str = "toy",
    arguments: Mapping[str, Any] = {},
    seed: int = 0,
    videos: Sequence[tuple[str, int]] = (),
    official: bool = False,
    **changes: Any,
) -> Path:
    """Writes a complete run.

    Args:
        folder: of the run; created.
        outcomes: one character an episode by row id; the k-th episode of a row has the index ``10 * k + 3``.
        official: take the indices of the rows' own lists instead.
        policy: its name.
        arguments: of the policy.
        seed: of the run.
        videos: row and position of episodes that have one (an empty file).
        changes: see ``identity``.

    Returns:
        The folder.
    """
    described = identity(policy, arguments, seed, **changes)
    protocol, assets = described["protocol"], described["assets"]["name"]
    plan = {row: [10 * place + 3 for place in range(len(marks))] for row, marks in outcomes.items()}
    if official:
        plan = {row: list(episode_indices(find_row(row, protocol), len(marks))) for row, marks in outcomes.items()}
    lines = [
        to_line(record(row, index, mark, protocol=protocol, assets=assets, path_offset=seed))
        for row, marks in outcomes.items()
        for index, mark in zip(plan[row], marks, strict=True)
    ]
    folder.mkdir(parents=True)
    (folder / "episodes.jsonl").write_bytes(b"".join(lines))
    write_description(folder, described, plan)
    for row, place in videos:
        name = {"1": "success", "e": "error"}.get(outcomes[row][place], "failure")
        video = folder / "videos" / file_name(row) / f"{plan[row][place]}_{name}.mp4"
        video.parent.mkdir(parents=True, exist_ok=True)
        video.write_bytes(b"")
    return folder


def write_description(folder: Path, described: Mapping[str, Any], plan: Mapping[str, Sequence[int]]) -> None:
    """Writes the ``run.json`` that belongs to an identity and a plan."""
    request = {"policy": described["policy"]["name"], "seed": described["seed"]}
    description = {
        "schema": SCHEMA,
        "fingerprint": fingerprint(described, plan),
        "conditions": conditions(described),
        "identity": described,
        "plan": plan,
        "sessions": [{"started_at": "2026-11-22T10:00:00+00:00", "request": request, "git_commit": None}],
    }
    (folder / "run.json").write_text(json.dumps(description), encoding="utf-8")


def random_outcomes(seed: int, episodes: int, skill: float, rows: Sequence[str] = ROW_IDS) -> dict[str, str]:
    """Draws outcomes: a fraction ``skill`` of successes in distribution, less on every row after it."""
    generator = np.random.default_rng(seed)
    result = {}
    for place, row in enumerate(rows):
        rate = skill * (1 - 0.5 * place / max(1, len(rows) - 1))
        draws = generator.choice(["1", "o", "0"], size=episodes, p=[rate, (1 - rate) * 0.2, (1 - rate) * 0.8])
        result[row] = "".join(draws)
    return result


def write_random_runs(folder: Path, policies: int, episodes: int, seeds: int = 1) -> list[Path]:
    """Writes ``policies * seeds`` runs of all 16 rows, policies named ``policy-000`` and so on."""
    return [
        write_run(
            folder / f"policy-{number:03}-seed-{seed}",
            random_outcomes(1000 * number + seed, episodes, 0.3 + 0.65 * number / max(1, policies - 1)),
            policy=f"policy-{number:03}",
            seed=seed,
        )
        for number in range(policies)
        for seed in range(seeds)
    ]
