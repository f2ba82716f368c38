"""A run that is played row by row, as whoever judges it asks for the rows; ``judging`` says how they are judged."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from vlagen.assets.packs import load_pack
from vlagen.benchmark import provenance, replay
from vlagen.benchmark.evaluate import Evaluation
from vlagen.benchmark.gate import judging
from vlagen.benchmark.paired import Comparison, compare
from vlagen.benchmark.records import EpisodeKey, EpisodeRecord
from vlagen.benchmark.report import outputs
from vlagen.benchmark.request import Request
from vlagen.benchmark.stage import chosen_rows
from vlagen.benchmark.statistics import RowSummary
from vlagen.benchmark.suites import SUITES, Overrides, Suite, find_suite, resolve
from vlagen.benchmark.watching.video import video_path
from vlagen.tasks.variants import ROW_IDS


@dataclass(frozen=True, kw_only=True)
class Options:
    """What is to be played and how it is judged. What is None or empty is taken from the baseline, else the suite.

    Attributes:
        policy: see ``request.Request``, as for all without an explanation here.
        baseline: folder of a run to compare with.
        thresholds: file for ``judging.read_thresholds``.
        simulator: ``module:attribute`` of another simulator than ManiSkill's.
    """

    policy: str
    policy_args: tuple[str, ...] = ()
    suite: str | None = None
    rows: tuple[str, ...] = ()
    episodes: int | None = None
    assets: str | None = None
    workers: int = 1
    video: str = "failures"
    out: Path | None = None
    baseline: Path | None = None
    thresholds: Path | None = None
    simulator: str | None = None


class GatedRun:
    """An evaluation whose rows are played when they are judged.

    Attributes:
        rows: axis by id of the row, in the order in which they are best judged.
        baseline: the run to compare with, if any.
        thresholds: if any.

    Raises:
        VlagenError: bad options, thresholds, or baseline.
    """

    def __init__(self, options: Options) -> None:
        self.baseline = judging.read_baseline(options.baseline) if options.baseline is not None else None
        self._simulator = options.simulator
        self._request = request_of(options, self.baseline)
        self._suite = _suite_of(self._request)
        self.rows = _rows_of(self._request, self._suite)
        known = [*ROW_IDS, *(task.id for suite in SUITES for task in suite.tasks), *self.rows]
        self.thresholds = judging.read_thresholds(options.thresholds, known) if options.thresholds is not None else None
        self._evaluation: Evaluation | None = None
        self._failure: BaseException | None = None

    @property
    def out(self) -> Path:
        """The run's folder."""
        return self._request.out

    @property
    def is_open(self) -> bool:
        """Whether ``open`` has succeeded, hence whether there is anything to tell."""
        return self._evaluation is not None

    def open(self, rows: Sequence[str]) -> None:
        """Settles which rows will be judged, and prepares to play them.

        Raises:
            VlagenError: no such policy, missing files, a baseline of other episodes, or a folder that is in use.
        """
        if self.baseline is not None:
            judging.check_comparable(self.baseline, rows, _conditions(self._suite))
        # The sweep is in the rows' ids by now.
        request = replace(self._request, rows=tuple(rows), severity=None)
        self._evaluation = Evaluation(request, _import(self._simulator) if self._simulator else None)
        self._drops = judging.DropTest(rows)
        self._records = self._evaluation.play()
        self._unplayed: dict[str, set[EpisodeKey]] = {row: set() for row in rows}
        for episode in self._evaluation.missing:
            self._unplayed[episode.variant].add((episode.variant, episode.index))

    def judge(self, row: str) -> list[str]:
        """Plays a row, if that has not happened yet, and words everything that is wrong with it."""
        records = self._play(row)
        failed = [record for record in records if record.outcome == "failure"]
        errors = judging.describe_errors(records)
        problems = [errors] if errors else []
        if self.thresholds is not None:
            shortfall = judging.describe_shortfall(self.summary(row), self.thresholds)
            problems += [shortfall, self._list("failed episodes:", failed)] if shortfall else []
        if self.baseline is not None and self._is_drop(row):
            solved = {record.key for record in self.baseline.row(row) if record.outcome == "success"}
            lost = [record for record in failed if record.key in solved]
            problems += [
                judging.describe_drop(self._compare(row).rows[0], self._drops, len(self._unplayed)),
                self._list("solved by the baseline and failed now:", lost),
            ]
        return problems

    def summary(self, row: str) -> RowSummary:
        """How one row went so far."""
        return next(summary for summary in self._evaluation.summaries() if summary.row == row)

    def tables(self) -> Iterator[Any]:
        """Yields what a rich console is to print at the end."""
        return outputs.printed(outputs.collect(self._evaluation))

    def comparison(self) -> Comparison | None:
        """Everything played so far beside the baseline; None without one, or before an episode is there."""
        if self.baseline is None or self._evaluation is None or not self._evaluation.records:
            return None
        there = [record for record in self.baseline.records if record.row in self._unplayed]
        return compare(there, self._evaluation.records, self.rows)

    def changed_conditions(self) -> list[str]:
        """Words in what the baseline's circumstances differ, apart from the policy."""
        run = self.out / "run.json"
        if self.baseline is None or not run.exists():
            return []
        found = replay.changed_conditions(self.baseline.folder / "run.json", run)
        return [text for text in found if not text.startswith(("policy", "seed"))]

    def close(self) -> None:
        """Stops playing and releases the folder. What has been played can still be read."""
        if self._evaluation is not None:
            self._records.close()
            self._evaluation.close()

    def _play(self, row: str) -> list[EpisodeRecord]:
        """Plays on until a row is complete. Rows before it are played too, by workers also parts of the next."""
        if self._failure is not None:
            raise self._failure
        try:
            while self._unplayed[row]:
                record = next(self._records)
                self._unplayed[record.row].discard(record.key)
            if not any(self._unplayed.values()):
                # To its very end, which puts the records in order.
                for _ in self._records:
                    pass
        except BaseException as error:
            self._failure = error
            raise
        return [record for record in self._evaluation.records if record.row == row]

    def _is_drop(self, row: str) -> bool:
        """Tests a row against the baseline; plays others first if Holm's procedure leaves no other way."""
        for other in [row, *self._unplayed]:
            if self._drops.verdict(row) is not None:
                break
            self._play(other)
            compared = self._compare(other).rows
            # Without any pair there is no evidence either.
            self._drops.add(other, compared[0].p.drop if compared and compared[0].pairs else 1.0)
        return bool(self._drops.verdict(row))

    def _compare(self, row: str) -> Comparison:
        return compare(self.baseline.row(row), [each for each in self._evaluation.records if each.row == row])

    def _list(self, heading: str, records: Sequence[EpisodeRecord]) -> str:
        folder = self.out / "videos"
        return judging.list_episodes(
            heading, records, lambda record: video_path(folder, record.row, record.index, record.outcome)
        )


def request_of(options: Options, baseline: judging.Baseline | None) -> Request:
    """Makes the request of a gated run.

    Without a suite, a baseline says which episodes are played, and also how if it is one of the same policy.
    """
    request = Request(suite=options.suite or "smoke")
    if baseline is not None and options.suite is None:
        original = replay.original_request(baseline.folder / "run.json")
        longest = max(len(baseline.row(row)) for row in {record.row for record in baseline.records})
        kept = original if original.policy == options.policy else replace(original, **_POLICY_SETTINGS)
        request = replace(kept, episodes=longest if original.until_ci else original.episodes)
    return replace(
        request,
        policy=options.policy,
        policy_args=options.policy_args or request.policy_args,
        rows=options.rows or request.rows,
        episodes=options.episodes or request.episodes,
        assets=options.assets or request.assets,
        workers=options.workers,
        video=options.video,
        out=options.out or Path("runs") / f"pytest-{datetime.now():%Y%m%d-%H%M%S-%f}",
        backend="auto",
        until_ci=None,
        control=False,
        on_error="continue",
        retry_errors=False,
    )


_POLICY_SETTINGS: Mapping[str, Any] = {"policy_args": (), "execute_horizon": None, "ensemble": None}


def _suite_of(request: Request) -> Suite:
    overrides = Overrides(
        rows=request.rows, episodes=request.episodes, protocol=request.protocol, assets=request.assets
    )
    return resolve(find_suite(request.suite, request.suite_arguments), overrides)


def _rows_of(request: Request, suite: Suite) -> dict[str, str]:
    """The rows' axes by their ids, without looking for a simulator or a policy."""
    rows = suite.chosen_tasks if suite.tasks else chosen_rows(request, suite)
    return {row.id: row.axis for row in rows}


def _conditions(suite: Suite) -> dict[str, Any]:
    """What decides which episodes a suite has, by the names that ``run.json`` has for it."""
    if suite.tasks:
        return {"protocol": suite.protocol}
    return {"protocol": suite.protocol, "assets": provenance.assets_identity(load_pack(suite.assets))}


@functools.cache
def _import(name: str) -> Callable[[], Any]:
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)
