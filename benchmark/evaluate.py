"""From a request to scores: plan the episodes, play what is missing, keep the records, summarize."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from vlagen.assets.errors import VlagenError, unknown
from vlagen.assets.packs import load_pack, require
from vlagen.benchmark import provenance, workers
from vlagen.benchmark.policy import find_policy, load_policy
from vlagen.benchmark.records import EpisodeKey, EpisodeRecord, RunDirectory
from vlagen.benchmark.simulator import ManiSkillSimulator, Simulator, choose_render_backend
from vlagen.benchmark.statistics import RowSummary, summarize_row
from vlagen.benchmark.video import VIDEO_MODES, VideoMode
from vlagen.tasks.episodes import Episode, total
from vlagen.tasks.sampling import evaluation_episodes
from vlagen.tasks.variants import AXES, Variant, variants


class BadRequest(VlagenError, ValueError):
    """An argument that no evaluation can be made of."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to evaluate.

    Attributes:
        policy: see ``policy.find_policy``.
        rows: row ids, names of axes, or ``all``.
        episodes: the first so many of each row's fixed evaluation order.
        assets: name of the asset pack.
        out: the run's folder.
        seed: of the policy; episodes do not depend on it.
        workers: number of processes that play.
        video: which episodes leave a video.
        retry_errors: play again what ended in an error before.
    """

    policy: str
    out: Path
    rows: tuple[str, ...] = ("all",)
    episodes: int = 64
    protocol: str = "vlagen-v1"
    assets: str = "builtin"
    seed: int = 0
    workers: int = 1
    video: VideoMode = "none"
    retry_errors: bool = False


def select_rows(names: Sequence[str], protocol: str) -> tuple[Variant, ...]:
    """Finds rows by id, by axis, or ``all`` of them, in the order of the table and each once.

    Raises:
        UnknownVariant: no such protocol.
        BadRequest: a name is neither, or there is none.
    """
    rows = variants(protocol)
    groups = {"all": set(rows)} | {axis: {row for row in rows if row.axis == axis} for axis in AXES}
    groups |= {row.id: {row} for row in rows}
    if not names:
        raise BadRequest(f"no row was given; allowed: {', '.join(groups)}")
    for name in names:
        if name not in groups:
            raise BadRequest(unknown("row", name, groups))
    chosen = set().union(*(groups[name] for name in names))
    return tuple(row for row in rows if row in chosen)


def plan(rows: Sequence[Variant], count: int) -> tuple[Episode, ...]:
    """Lists the first ``count`` evaluation episodes of every row, row after row."""
    smallest = min(rows, key=total)
    if not 1 <= count <= total(smallest):
        raise BadRequest(f"--episodes {count}; allowed: 1 to {total(smallest)}, which is all that {smallest.id} has")
    return tuple(episode for row in rows for episode in evaluation_episodes(row, count))


def check_assets(pack_name: str, episodes: Sequence[Episode]) -> None:
    """Checks before the first episode that every file the plan needs is there.

    Raises:
        UnknownPack: no such pack.
        MissingAsset: the first file that is missing, and how to get it.
    """
    pack = load_pack(pack_name)
    models = {model for episode in episodes for model in episode.models}
    for kind, index in sorted(models):
        model = pack.model(kind, index)
        require(pack, model.collision)
        require(pack, model.visual)
    for table in sorted({episode.table for episode in episodes}):
        require(pack, pack.tables[table].image)
    for texture in sorted({episode.texture for episode in episodes if episode.texture is not None}):
        require(pack, pack.textures[texture].image)
    require(pack, pack.robot_urdf)


class Evaluation:
    """One run, new or to be continued. Holds the lock on its folder until ``close``; also a context manager.

    Args:
        request: what to evaluate.
        make_simulator: another simulator than ManiSkill's; importable, because workers are sent its name.

    Attributes:
        rows: the chosen rows.
        episodes: the plan, in the order in which ``episodes.jsonl`` ends up.

    Raises:
        VlagenError: a bad argument, missing files, no renderer, or a folder that holds another run.
    """

    def __init__(self, request: Request, make_simulator: Callable[[], Simulator] | None = None) -> None:
        if request.workers < 1:
            raise BadRequest(f"--workers {request.workers}; allowed: 1 or more")
        if request.video not in VIDEO_MODES:
            raise BadRequest(unknown("video mode", request.video, VIDEO_MODES))
        self.rows = select_rows(request.rows, request.protocol)
        self.episodes = plan(self.rows, request.episodes)
        factory = find_policy(request.policy)
        sees = factory.spec.needs_images
        if make_simulator is None:
            check_assets(request.assets, self.episodes)
            backend = choose_render_backend() if sees or request.video != "none" else "none"
            make_simulator = functools.partial(
                ManiSkillSimulator,
                assets=request.assets,
                render_backend=backend,
                privileged=factory.spec.needs_privileged,
            )
            renderer = backend if sees else "none"
        else:
            renderer = "custom"
        self._request = request
        self._make_simulator = make_simulator
        self._directory = RunDirectory(
            request.out,
            provenance.identity(
                policy=request.policy,
                factory=factory,
                episodes=self.episodes,
                assets=request.assets,
                seed=request.seed,
                renderer=renderer,
            ),
            provenance.session(asdict(request) | {"out": str(request.out)}),
        )

    def __enter__(self) -> Evaluation:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def records(self) -> tuple[EpisodeRecord, ...]:
        """What has been played so far, in the order of the plan."""
        known = self._directory.records
        return tuple(known[_key(episode)] for episode in self.episodes if _key(episode) in known)

    @property
    def missing(self) -> tuple[Episode, ...]:
        """What is still to be played, in the order of the plan."""
        known = self._directory.records
        return tuple(episode for episode in self.episodes if not self._is_settled(known.get(_key(episode))))

    def play(self) -> Iterator[EpisodeRecord]:
        """Plays what is missing and yields each record once it is on disk. Stopping early loses nothing."""
        missing = self.missing
        if missing:
            self._directory.begin_session()
            job = workers.Job(
                make_simulator=self._make_simulator,
                make_policy=functools.partial(load_policy, self._request.policy),
                policy_name=self._request.policy,
                assets=self._request.assets,
                seed=self._request.seed,
                video=self._request.video,
                video_folder=self._request.out / "videos",
            )
            with contextlib.closing(workers.play(job, missing, self._request.workers)) as records:
                for record in records:
                    self._directory.append(record)
                    yield record
        # Also when nothing was missing: the process before this one may have died between its last record and here.
        self._directory.finish(_key(episode) for episode in self.episodes)

    def summaries(self) -> tuple[RowSummary, ...]:
        """How each row went so far."""
        records = self.records
        return tuple(summarize_row(row, self._request.assets, records) for row in self.rows)

    def close(self) -> None:
        """Releases the folder."""
        self._directory.close()

    def _is_settled(self, record: EpisodeRecord | None) -> bool:
        return record is not None and not (record.outcome == "error" and self._request.retry_errors)


def _key(episode: Episode) -> EpisodeKey:
    return episode.variant, episode.index
