"""How an agent does while it is trained: the harness's own episodes, loop and statistics, and a learning curve."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlagen.baselines.agents import Agent, AgentPolicy
from vlagen.baselines.processes import ALONE, Processes
from vlagen.baselines.rollouts import SimulatorKeeper
from vlagen.baselines.settings import BadSetting
from vlagen.baselines.splits import held_out_axes, score
from vlagen.benchmark.plan import PlannedRow
from vlagen.benchmark.player import Job, Player
from vlagen.benchmark.policy import Policy, PolicySpec
from vlagen.benchmark.simulator import Simulator
from vlagen.benchmark.statistics import summarize_row

CURVE_COLUMNS = ("entry", "seed", "environment_steps", "split", "success")
"""What ``vlagen-leaderboard --curves`` reads."""


@dataclass(frozen=True, eq=False)
class InMemory:
    """A policy that is at hand, where the harness expects to be told where one comes from."""

    policy: Policy
    name: str = "the agent"

    @property
    def spec(self) -> PolicySpec:
        """What the policy declares."""
        return self.policy.spec

    def make(self) -> Policy:
        """The policy itself."""
        return self.policy


class _Lent:
    """A simulator that belongs to a keeper: who closes it has found it broken, and the keeper makes another."""

    def __init__(self, keeper: SimulatorKeeper) -> None:
        self._keeper = keeper
        self._simulator: Simulator = keeper.lend()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._simulator, name)

    def close(self) -> None:
        self._keeper.discard()


class Examiner:
    """Plays a fixed list of episodes of each row and notes how it went.

    Args:
        agent: plays.
        simulators: where.
        rows: which rows.
        seed: of the run.
        episodes: of each row.
        temperature: of sampling.
        assets: name of the asset pack.
        timeout: seconds that one call may take, None for no limit.
        trained_on: id of the row that is trained on: it counts as in distribution.
        processes: that share the episodes.

    Raises:
        BadSetting: a row has fewer episodes.
    """

    def __init__(
        self,
        agent: Agent,
        simulators: SimulatorKeeper,
        rows: Sequence[PlannedRow],
        *,
        seed: int,
        episodes: int,
        temperature: float,
        assets: str,
        timeout: float | None,
        trained_on: str = "train",
        processes: Processes = ALONE,
    ) -> None:
        smallest = min(rows, key=lambda row: row.size)
        if not 1 <= episodes <= smallest.size:
            raise BadSetting(
                f"run.evaluate_episodes = {episodes}; allowed: 1 to {smallest.size}, all that {smallest.id} has"
            )
        self._rows, self._episodes, self._assets = rows, episodes, assets
        self._processes = processes
        self._own = {trained_on: "in-distribution"}
        self._others = held_out_axes([row.id for row in rows], trained_on)
        self._job = Job(
            make_simulator=lambda: _Lent(simulators),
            policy=InMemory(AgentPolicy(agent, temperature)),
            assets=assets,
            seed=seed,
            timeout=timeout,
        )

    def examine(self) -> dict[str, float]:
        """Plays all episodes, and returns success at the end by row and split, and how many ended in errors.

        All processes must call this, and all get the same.
        """
        listed = [episode for row in self._rows for episode in row.listing(self._episodes)]
        shares = self._processes.gathered(list(Player(self._job).play(self._processes.block(listed))))
        records = [record for share in shares for record in share]
        summaries = [summarize_row(row.protocol, self._assets, row.id, row.axis, records) for row in self._rows]
        splits = {"in-distribution": score(summaries, self._own), "held-out": score(summaries, self._others)}
        return {
            **{f"evaluation/{split}": found.rate for split, found in splits.items() if found is not None},
            "evaluation/errors": float(sum(summary.errors for summary in summaries)),
            **{f"rows/{summary.row}": summary.success_at_end for summary in summaries},
        }


def write_curve(path: Path, metrics: Iterable[Mapping[str, Any]], *, entry: str, seed: int) -> None:
    """Writes the learning curve that ``vlagen-leaderboard --curves`` reads.

    Args:
        path: of the CSV file.
        metrics: lines of a run's ``metrics.jsonl``; those of evaluations count.
        entry: what the run is called.
        seed: of the run.
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(CURVE_COLUMNS)
        for line in metrics:
            for split in ("in-distribution", "held-out"):
                if f"evaluation/{split}" in line:
                    writer.writerow((entry, seed, line["environment_steps"], split, line[f"evaluation/{split}"]))
