"""From a request to scores: plan the episodes, play what is missing, keep the records, summarize."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

from vlagen.benchmark import provenance
from vlagen.benchmark.loading.source import find_policy
from vlagen.benchmark.plan import lengths, plan_of
from vlagen.benchmark.player import Job
from vlagen.benchmark.records import ORACLE_MARK, EpisodeKey, EpisodeRecord, RunDirectory
from vlagen.benchmark.request import Request
from vlagen.benchmark.sequential import confidence_sequence
from vlagen.benchmark.simulator import EpisodeLike, Simulator
from vlagen.benchmark.stage import choose_backend, find_stage, make_player
from vlagen.benchmark.statistics import RowSummary, summarize_row
from vlagen.benchmark.watching.video import VideoMode, parse_video_mode


class Evaluation:
    """One run, new or to be continued. Holds the lock on its folder until ``close``; also a context manager.

    Args:
        request: what to evaluate.
        make_simulator: another simulator than ManiSkill's, see ``stage.find_stage``.

    Attributes:
        title: what the policy is called in tables and charts; marked if it is an oracle.
        out: the run's folder.
        rows: the chosen rows, those derived from them included.
        stopped: the run was told to stop at an error, and did.

    Raises:
        VlagenError: a bad argument, missing files, no renderer, or a folder that holds another run.
    """

    def __init__(self, request: Request, make_simulator: Callable[[], Simulator] | None = None) -> None:
        request.check()
        video = parse_video_mode(request.video)
        policy = find_policy(request.policy, request.policy_arguments)
        self._stage = find_stage(request, policy.spec, make_simulator)
        self.rows = self._stage.rows
        self.title = policy.label + ORACLE_MARK * policy.spec.is_oracle
        self.out = request.out or self._stage.folder(policy.label)
        self.stopped = False
        self._request = request
        self._backend = choose_backend(request, policy.spec)
        self._job = Job(
            make_simulator=self._stage.make_simulator,
            policy=policy,
            assets=self._stage.assets,
            seed=request.seed,
            execute_horizon=request.execute_horizon,
            ensemble=request.ensemble,
            timeout=request.timeout or None,
            mixes_rows=self._stage.mixes_rows,
            video=video,
            video_folder=self.out / "videos",
            positions=self._first_episodes(video),
        )
        self._directory = RunDirectory(
            self.out,
            provenance.identity(self._job, self._stage.identity, self._backend),
            provenance.session(_stored(request), self._backend),
        )
        try:
            self._lengthen()
        except BaseException:
            self._directory.close()
            raise

    def __enter__(self) -> Evaluation:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def records(self) -> tuple[EpisodeRecord, ...]:
        """What has been played so far, in the order of the plan."""
        known = self._directory.records
        return tuple(known[key] for key in map(_key, self.episodes) if key in known)

    @property
    def missing(self) -> tuple[EpisodeLike, ...]:
        """What is still to be played, in the order of the plan."""
        known = self._directory.records
        return tuple(episode for episode in self.episodes if not self._is_settled(known.get(_key(episode))))

    @property
    def settled(self) -> tuple[EpisodeRecord, ...]:
        """What has been played and is not going to be played again, in the order of the plan."""
        return tuple(record for record in self.records if self._is_settled(record))

    def play(self) -> Iterator[EpisodeRecord]:
        """Plays what is missing and yields each record once it is on disk. Stopping early loses nothing."""
        missing = self.missing
        if missing:
            self._directory.begin_session()
            workers = min(self._request.workers, len(missing))
            with contextlib.closing(
                make_player(self._backend, self._stage, self._job, workers, self._request.cluster)
            ) as player:
                while missing and not self.stopped:
                    yield from self._keep(player.play(missing))
                    if self._request.until_ci is not None:
                        self._lengthen()
                    missing = self._unplayed()
        # Also when nothing was missing: the process before this one may have died between its last record and here.
        if not self.stopped:
            self._directory.finish()

    def summaries(self) -> tuple[RowSummary, ...]:
        """How each row went so far."""
        by_row: dict[str, list[EpisodeRecord]] = {row.id: [] for row in self.rows}
        for record in self.records:
            by_row[record.row].append(record)
        summaries = tuple(
            summarize_row(row.protocol, self._stage.assets, row.id, row.axis, by_row[row.id]) for row in self.rows
        )
        if self._request.until_ci is None:
            return summaries
        # When to stop followed from the results, and Wilson's interval does not allow for that.
        return tuple(
            replace(summary, interval=confidence_sequence(summary.successes, summary.n)) for summary in summaries
        )

    def close(self) -> None:
        """Releases the folder."""
        self._directory.close()

    def _keep(self, records: Iterator[EpisodeRecord]) -> Iterator[EpisodeRecord]:
        with contextlib.closing(records):
            for record in records:
                self._directory.append(record)
                yield record
                if record.outcome == "error" and self._request.on_error == "stop":
                    self.stopped = True
                    return

    def _lengthen(self) -> None:
        """Plans as many episodes as are needed, given what is known."""
        request, known = self._request, self._directory.records
        wanted = lengths(self.rows, self._stage.count, request.until_ci, known)
        episodes = {row.id: row.listing(wanted[row.id]) for row in self.rows}
        self._directory.adopt(plan_of(episodes))
        self.episodes = tuple(episode for listed in episodes.values() for episode in listed)

    def _first_episodes(self, video: VideoMode) -> Mapping[EpisodeKey, int]:
        """Where in their rows the episodes stand that a counting video mode can mean."""
        if not isinstance(video, int):
            return {}
        first = [row.listing(min(video, self._stage.count)) for row in self.rows]
        return {_key(episode): place for listed in first for place, episode in enumerate(listed)}

    def _unplayed(self) -> tuple[EpisodeLike, ...]:
        return tuple(episode for episode in self.episodes if _key(episode) not in self._directory.records)

    def _is_settled(self, record: EpisodeRecord | None) -> bool:
        return record is not None and not (record.outcome == "error" and self._request.retry_errors)


def _key(episode: EpisodeLike) -> EpisodeKey:
    return episode.variant, episode.index


def _stored(request: Request) -> Mapping[str, Any]:
    """The request as JSON values."""
    return {name: value if not hasattr(value, "__fspath__") else str(value) for name, value in asdict(request).items()}
