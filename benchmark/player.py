"""Plays episodes with one simulator and one policy, and makes sure that what goes wrong costs one episode only."""

from __future__ import annotations

import contextlib
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path

from vlagen.benchmark.actions.wrappers import prepare
from vlagen.benchmark.deadline import Watch
from vlagen.benchmark.loading.source import PolicySource
from vlagen.benchmark.policy import policy_seed
from vlagen.benchmark.records import EpisodeKey, EpisodeRecord
from vlagen.benchmark.rollout import SimulatorTrouble, run_episodes
from vlagen.benchmark.simulator import EpisodeLike, Simulator
from vlagen.benchmark.watching.video import Recorder, VideoMode

ATTEMPTS = 2
"""How often an episode is tried before what went wrong is its result."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a player has to know; it is pickled, so factories must be importable.

    Attributes:
        make_simulator: makes the simulator.
        policy: makes the policy.
        assets: name of the asset pack, for the records.
        seed: of the run.
        execute_horizon: how many actions of a chunk are executed, None for all.
        ensemble: how overlapping chunks are merged, None for not at all; see ``wrappers.prepare``.
        timeout: seconds that a single call of policy or simulator may take, None for no limit.
        mixes_rows: episodes of different rows may be played in step, as they take equally many control steps.
        video: which episodes leave a video.
        video_folder: where videos go.
        positions: places of episodes in their rows' order, for a ``video`` that counts them.
        wrap: makes of the simulator the one that is played in, e.g. one that records; None leaves it as it is.
    """

    make_simulator: Callable[[], Simulator]
    policy: PolicySource
    assets: str
    seed: int = 0
    execute_horizon: int | None = None
    ensemble: str | None = None
    timeout: float | None = None
    mixes_rows: bool = True
    video: VideoMode = "none"
    video_folder: Path = Path("videos")
    positions: Mapping[EpisodeKey, int] = field(default_factory=dict)
    wrap: Callable[[Simulator], Simulator] | None = None


class Player:
    """One simulator and one policy, playing batches as large as the simulator takes.

    Args:
        job: what to play with.
        watched: somebody notices when this process ends and replaces it, so a call that hangs for good may end it.

    Raises:
        VlagenError: simulator or policy cannot be made.
    """

    def __init__(self, job: Job, watched: bool = False) -> None:
        self._job = job
        self._watched = watched
        self._policy = prepare(
            job.policy.make(), name=job.policy.name, execute_horizon=job.execute_horizon, ensemble=job.ensemble
        )
        self._recorder = Recorder(job.video, job.video_folder, job.positions)
        self._simulator: Simulator | None = self._make_simulator()
        self._capacity = self._simulator.capacity

    def play(self, episodes: Sequence[EpisodeLike]) -> Iterator[EpisodeRecord]:
        """Plays episodes and yields their records as they are known.

        Whatever goes wrong inside becomes a record with the outcome ``"error"``, after the episode was tried once more,
        alone: what broke a batch may have been one of its episodes, and the others must not suffer from it.
        """
        for batch in self._batches(episodes):
            for episode, record in zip(batch, self._attempt(batch, 1), strict=True):
                if record.outcome == "error":
                    (record,) = self._attempt([episode], ATTEMPTS)
                self._film(record)
                yield record

    def close(self) -> None:
        """Frees the simulator."""
        if self._simulator is not None:
            self._simulator.close()
            self._simulator = None

    def _make_simulator(self) -> Simulator:
        simulator = self._job.make_simulator()
        return self._recorder.wrap(simulator if self._job.wrap is None else self._job.wrap(simulator))

    def _batches(self, episodes: Sequence[EpisodeLike]) -> Iterator[Sequence[EpisodeLike]]:
        rows = groupby(episodes, key=lambda episode: None if self._job.mixes_rows else episode.variant)
        for _, together in rows:
            group = list(together)
            for start in range(0, len(group), self._capacity):
                yield group[start : start + self._capacity]

    def _film(self, record: EpisodeRecord) -> None:
        complaint = self._recorder.save(record)
        if complaint is not None:
            warnings.warn(complaint, stacklevel=2)

    def _attempt(self, batch: Sequence[EpisodeLike], attempt: int) -> list[EpisodeRecord]:
        job = self._job
        try:
            if self._simulator is None:
                self._simulator = self._make_simulator()
            with Watch(job.timeout, fatal=self._watched) as limit:
                records = run_episodes(
                    self._simulator, self._policy, batch, assets=job.assets, seed=job.seed, limit=limit
                )
        except Exception as error:  # noqa: BLE001 - policies and simulators raise anything; the traceback is kept
            if isinstance(error, SimulatorTrouble):
                with contextlib.suppress(Exception):
                    self.close()
                self._simulator = None
            records = [error_record(job, episode, traceback.format_exc()) for episode in batch]
        return [replace(record, timing={**record.timing, "attempts": attempt}) for record in records]


def error_record(job: Job, episode: EpisodeLike, error: str) -> EpisodeRecord:
    """The record of an episode that could not be played."""
    return EpisodeRecord(
        protocol=episode.protocol,
        row=episode.variant,
        index=episode.index,
        assets=job.assets,
        seed=policy_seed(job.seed, episode.protocol, episode.variant, episode.index),
        outcome="error",
        error=error,
    )
