"""From a request to a data set: play training episodes, stage those that succeed, gather them in shards.

The folder ``collection`` beside the data set's own has the records of every episode that was played, failures too, in
the form of an evaluation's, and the staged demonstrations that no full shard holds yet.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from vlagen.assets.errors import VlagenError
from vlagen.assets.packs import load_pack
from vlagen.baselines.data.candidates import Candidates
from vlagen.baselines.data.demonstration import episode_from_json
from vlagen.baselines.data.feature_statistics import describe
from vlagen.baselines.data.layout import SHARD
from vlagen.baselines.data.lerobot import Shards
from vlagen.baselines.data.recording import Recording, StorageTrouble
from vlagen.baselines.data.request import CollectRequest
from vlagen.baselines.data.staging import read_staged, staged_path
from vlagen.benchmark import provenance
from vlagen.benchmark.loading.source import find_policy
from vlagen.benchmark.plan import PlannedRow
from vlagen.benchmark.player import Job
from vlagen.benchmark.records import EpisodeKey, EpisodeRecord, RunDirectory
from vlagen.benchmark.simulator import Simulator
from vlagen.benchmark.stage import Stage, check_assets, choose_backend, find_stage, make_player
from vlagen.tasks.rows import find_row

_NOT_IDENTITY = ("out", "episodes", "workers", "backend", "timeout")
"""What a collection may be continued with a different value of; the policy and its like the harness identifies."""


class CollectionStopped(VlagenError):
    """A collection that cannot go on now; what it has is safe, and the same command continues."""


class Collection:
    """One collection, new or to be continued. Holds the lock on its folder until ``close``; also a context manager.

    Args:
        request: what to collect.
        make_simulator: another simulator than ManiSkill's, see ``stage.find_stage``.

    Attributes:
        out: the data set's folder.
        wanted: demonstrations in all.

    Raises:
        VlagenError: a bad argument, missing files, no renderer, or a folder that holds something else.
    """

    def __init__(self, request: CollectRequest, make_simulator: Callable[[], Simulator] | None = None) -> None:
        request.check()
        self.out = request.out
        self._request = request
        policy = find_policy(request.policy, request.evaluation_request().policy_arguments)
        # The recording needs pictures whether or not the policy does; the player shows it only what it asks for.
        self._stage = find_stage(request.evaluation_request(), replace(policy.spec, needs_images=True), make_simulator)
        self._backend = choose_backend(request.evaluation_request(), policy.spec)
        self._staged = self.out / "collection" / "staged"
        self._job = Job(
            make_simulator=self._stage.make_simulator,
            policy=policy,
            assets=self._stage.assets,
            seed=request.seed,
            timeout=request.timeout or None,
            wrap=self._recording(not policy.spec.needs_images),
        )
        settings = {name: value for name, value in _stored(request).items() if name not in _NOT_IDENTITY}
        identity = provenance.identity(self._job, self._stage.identity, self._backend) | {"collection": settings}
        _refuse_others(self.out)
        with _stopping(self.out):
            self._directory = RunDirectory(
                self.out / "collection", identity, provenance.session(_stored(request), self._backend)
            )
        try:
            self._shards = Shards(self.out, {"policy": policy.label, "protocol": self._stage.protocol, **settings})
            self._sealed = {_key_of(text) for text in self._shards.episode_texts}
            self._rows = [
                Candidates(find_row(row.id, row.protocol), request.seed, request.pools, request.episodes, self._usable)
                for row in self._stage.rows
            ]
            self.wanted = request.episodes * len(self._rows)
            self._plan()
        except BaseException:
            self._directory.close()
            raise
        if make_simulator is None:
            _check_files(self._stage, self._rows)

    def __enter__(self) -> Collection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def records(self) -> tuple[EpisodeRecord, ...]:
        """Everything that has been played so far."""
        return tuple(self._directory.records.values())

    @property
    def axes(self) -> dict[str, str]:
        """The axis of each row's id."""
        return {row.id: row.axis for row in self._stage.rows}

    @property
    def missing(self) -> int:
        """How many episodes have to be played in any case."""
        return sum(len(row.missing(self._directory.records)) for row in self._rows)

    @property
    def collected(self) -> int:
        """How many demonstrations are safe."""
        return sum(record.outcome == "success" and self._usable(record.key) for record in self.records)

    @property
    def norm_key(self) -> str:
        """What statistics of the actions are called in a checkpoint: ``vlagen-<pack>``."""
        return f"vlagen-{self._stage.assets}"

    def play(self) -> Iterator[EpisodeRecord]:
        """Plays what is missing, and yields the record of each episode once it is safe; then writes the last shard.

        Raises:
            CollectionStopped: the disk is full, or the folder cannot be written any more.
            TooFewEpisodes: not as many of the training episodes succeed as are wanted.
            VlagenError: simulator or policy cannot be made, or a staged file is damaged.
        """
        with _stopping(self.out):
            missing = self._plan()
            if missing:
                self._directory.begin_session()
                workers = min(self._request.workers, len(missing))
                with contextlib.closing(make_player(self._backend, self._stage, self._job, workers)) as player:
                    while missing:
                        with contextlib.closing(player.play(missing)) as records:
                            yield from self._keep(records)
                        missing = self._plan()
            self._finish()

    def close(self) -> None:
        """Releases the folder."""
        self._directory.close()

    def _keep(self, records: Iterator[EpisodeRecord]) -> Iterator[EpisodeRecord]:
        for record in records:
            trouble = _storage_trouble(record)
            if trouble is not None:
                raise CollectionStopped(f"{trouble}. {_advice(self.out)}")
            self._directory.append(record)
            for row in self._rows:
                row.advance(self._directory.records)
            self._seal()
            yield record

    def _plan(self) -> list[Any]:
        """Looks as far down the draws as is needed; returns what has to be played."""
        for row in self._rows:
            row.advance(self._directory.records)
        missing = [episode for row in self._rows for episode in row.missing(self._directory.records)]
        self._directory.adopt({row.row.id: row.drawn for row in self._rows})
        return missing

    def _order(self, start: int) -> list[EpisodeKey]:
        """Keys of the data set's episodes from a place on, as far as they are known: the rows take turns."""
        known = len(self._rows) * min(len(row.taken) for row in self._rows)
        return [self._rows[place % len(self._rows)].taken[place // len(self._rows)] for place in range(start, known)]

    def _seal(self) -> None:
        """Writes the shards that are full."""
        while len(self._rows) * min(len(row.taken) for row in self._rows) >= self._shards.episodes + SHARD:
            keys = self._order(self._shards.episodes)[:SHARD]
            self._add(keys)
            self._sealed.update(keys)
            for key in keys:
                staged_path(self._staged, *key).unlink(missing_ok=True)

    def _add(self, keys: list[EpisodeKey]) -> None:
        demonstrations = [read_staged(staged_path(self._staged, *key)) for key in keys]
        self._shards.add(demonstrations, [describe(demonstration) for demonstration in demonstrations])

    def _finish(self) -> None:
        """Writes the last shard. Its staged files stay, so that the data set can grow."""
        self._seal()
        rest = self._order(self._shards.episodes)
        if rest:
            self._add(rest)
        else:
            self._shards.refresh()
        if self._directory.records:
            self._directory.finish()
        wanted = {staged_path(self._staged, *key) for key in rest}
        for path in set(self._staged.glob("*.npz")) - wanted:
            path.unlink()

    def _usable(self, key: EpisodeKey) -> bool:
        return key in self._sealed or staged_path(self._staged, *key).exists()

    def _recording(self, blind: bool) -> Recording:
        request = self._request
        height, width = request.picture_size
        return Recording(
            folder=self._staged.absolute(),
            assets=self._stage.assets,
            height=height,
            width=width,
            filter=request.image_filter,
            codec=request.codec,
            quality=request.quality,
            tail=request.tail,
            drop_small=request.small_actions == "drop",
            disturbance=request.disturbance,
            seed=request.seed,
            blind=blind,
        )


def _check_files(stage: Stage, rows: list[Candidates]) -> None:
    """Checks before the first episode that the files of all that will be played are there."""
    planned = [
        PlannedRow(r.row.id, r.row.axis, r.row.protocol, len(r.drawn), lambda _, r=r: tuple(r.episodes())) for r in rows
    ]
    check_assets(load_pack(stage.assets), planned, 0)


def _refuse_others(out: Path) -> None:
    if (out / "meta/info.json").exists() and not (out / "collection/run.json").exists():
        raise CollectionStopped(
            f"{out} holds a data set without collection/run.json, which says how it was collected; choose another --out"
        )


def _storage_trouble(record: EpisodeRecord) -> str | None:
    """What kept a demonstration from being written, if that is why its episode ended in an error."""
    lines = (record.error or "").splitlines()
    mark = f"{StorageTrouble.__module__}.{StorageTrouble.__name__}: "
    return next((line.removeprefix(mark) for line in lines if line.startswith(mark)), None)


@contextlib.contextmanager
def _stopping(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, VlagenError):
            raise
        where = f"{error.filename}: " if error.filename else ""
        raise CollectionStopped(f"{where}{error.strerror or error}. {_advice(out)}") from error


def _advice(out: Path) -> str:
    existing = next(path for path in (out, *out.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free / 1e6
    return f"Nothing collected is lost; {free:.0f} MB are free at {out}. Make room, then the same command goes on"


def _key_of(text: str) -> EpisodeKey:
    episode = episode_from_json(text)
    return episode.variant, episode.index


def _stored(request: CollectRequest) -> dict[str, Any]:
    """The request as JSON values."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(request).items()}
