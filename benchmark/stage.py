"""Where a suite's episodes are played: which rows there are, and what makes the simulator that plays them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vlagen.assets.packs import Pack, load_pack, require
from vlagen.benchmark import provenance
from vlagen.benchmark.backends.cluster_options import ClusterOptions
from vlagen.benchmark.backends.task_rows import require_folders
from vlagen.benchmark.plan import PlannedRow, check_length, planned, select_rows, with_controls, with_severities
from vlagen.benchmark.player import Job, Player
from vlagen.benchmark.policy import PolicySpec
from vlagen.benchmark.pool import Pool
from vlagen.benchmark.request import BadRequest, Request
from vlagen.benchmark.simulator import Simulator, choose_render_backend
from vlagen.benchmark.suites import Overrides, Suite, find_suite, resolve
from vlagen.benchmark.workers import worker_pool
from vlagen.tasks.interface import HORIZON, IMAGE_HEIGHT, IMAGE_WIDTH

Shape = tuple[int, int, int]

_ANY_CLUSTER = ClusterOptions()


def _no_files() -> None:
    """Checks the files of episodes that need none."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What is the same for all episodes of a run.

    Attributes:
        rows: in the order in which they are played.
        count: episodes of each row; the most, if their number follows from the results.
        protocol: whose rules.
        assets: name of the asset pack.
        identity: JSON values of all that can move a number here.
        make_simulator: makes a simulator with room for one episode on the CPU.
        picture_shape: (H, W, 3) of the pictures that are taken, None if none are or nobody knows beforehand.
        mixes_rows: all rows take equally many control steps.
        make_gpu_simulator: makes one for so many episodes with GPU physics; None if this stage has none.
        check_files: raises where a file is missing that the episodes need; importable, for other machines.
    """

    rows: tuple[PlannedRow, ...]
    count: int
    protocol: str
    assets: str
    identity: Mapping[str, Any] = field(default_factory=dict)
    make_simulator: Callable[[], Simulator]
    picture_shape: Shape | None = None
    mixes_rows: bool = True
    make_gpu_simulator: Callable[[int], Simulator] | None = None
    check_files: Callable[[], None] = _no_files

    def folder(self, policy: str) -> Path:
        """Where a policy's run goes when nobody says."""
        return Path("runs") / f"{policy}-{self.protocol}-{self.assets}"


def find_stage(request: Request, spec: PolicySpec, make_simulator: Callable[[], Simulator] | None = None) -> Stage:
    """Makes the stage of the request's suite, for a policy with these needs.

    Args:
        request: names the suite and what is chosen from it.
        spec: what the policy has to be shown.
        make_simulator: another simulator than ManiSkill's, for the rows of vlagen's own task; importable, because
            processes are sent its name. It may say its ``picture_shape``.

    Raises:
        VlagenError: no such suite, row, pack or number of episodes, missing files, or no renderer.
    """
    suite = resolve(
        find_suite(request.suite, request.suite_arguments),
        Overrides(rows=request.rows, episodes=request.episodes, protocol=request.protocol, assets=request.assets),
    )
    pictures = spec.needs_images or request.video != "none"
    if make_simulator is not None:
        return _own_rows(request, suite, make_simulator, "custom", getattr(make_simulator, "picture_shape", None))
    backend = choose_render_backend() if pictures else "none"
    make = _put_on_plate if suite.simulator == "put-on-plate" else _maniskill_task
    return make(request, suite, spec, backend)


def _put_on_plate(request: Request, suite: Suite, spec: PolicySpec, backend: str) -> Stage:
    from vlagen.benchmark.backends.put_on_plate import SHADER, ManiSkillSimulator

    make = functools.partial(
        ManiSkillSimulator, assets=suite.assets, render_backend=backend, privileged=spec.needs_privileged
    )
    renderer = provenance.renderer_identity(backend if spec.needs_images else "none", SHADER)
    shape = None if backend == "none" else (IMAGE_HEIGHT, IMAGE_WIDTH, 3)
    stage = _own_rows(request, suite, make, renderer, shape)
    check_files = functools.partial(_check_pack, suite.assets, stage.rows, stage.count)
    check_files()
    return replace(stage, make_gpu_simulator=functools.partial(_on_gpu, make), check_files=check_files)


def _own_rows(
    request: Request, suite: Suite, make: Callable[[], Simulator], renderer: Any, shape: Shape | None
) -> Stage:
    """The stage of vlagen's own task."""
    rows = chosen_rows(request, suite)
    check_length(rows, suite.episodes)
    return Stage(
        rows=rows,
        count=suite.episodes,
        protocol=suite.protocol,
        assets=suite.assets,
        identity={
            "protocol": suite.protocol,
            "assets": provenance.assets_identity(load_pack(suite.assets)),
            "horizon": HORIZON,
            "success": "the object is on the receptacle after the last step",
            "renderer": renderer,
        },
        make_simulator=make,
        picture_shape=shape,
    )


def _maniskill_task(request: Request, suite: Suite, spec: PolicySpec, backend: str) -> Stage:
    """The stage of somebody else's tasks."""
    from vlagen.benchmark.backends.maniskill_task import ManiSkillTaskSimulator

    for option, given in (("control", request.control), ("severity", request.severity is not None)):
        if given:
            raise BadRequest(f"--{option}: suite {suite.name!r} has no rows that derive from others; leave it out")
    tasks = suite.chosen_tasks
    require_folders(tasks)
    make = functools.partial(ManiSkillTaskSimulator, tasks, render_backend=backend, privileged=spec.needs_privileged)
    simulator = make()
    facts = simulator.inspect()
    simulator.close()
    shapes = {fact.picture_shape for fact in facts.values()}
    return Stage(
        rows=tuple(PlannedRow(task.id, task.axis, task.protocol, task.size, task.listing) for task in tasks),
        count=suite.episodes,
        protocol=suite.protocol,
        assets=suite.assets,
        identity={
            "protocol": suite.protocol,
            "tasks": {row: _seen(fact.identity, spec.needs_images) for row, fact in facts.items()},
            "success": "the task says so after the last step",
            "renderer": provenance.renderer_identity(backend if spec.needs_images else "none", tasks[0].shader),
        },
        make_simulator=make,
        picture_shape=shapes.pop() if len(shapes) == 1 else None,
        mixes_rows=False,
        make_gpu_simulator=functools.partial(_on_gpu, make),
    )


def _seen(identity: Mapping[str, Any], pictures: bool) -> dict[str, Any]:
    """What of a task's identity matters to a policy that is or is not shown pictures."""
    return {key: value for key, value in identity.items() if pictures or key not in ("camera", "picture", "shader")}


def _on_gpu(make: Callable[..., Simulator], count: int) -> Simulator:
    return make(count=count, physics="physx_cuda")


def chosen_rows(request: Request, suite: Suite) -> tuple[PlannedRow, ...]:
    """The rows of vlagen's own task that a request plays, with their severities and control arms."""
    rows = select_rows(suite.rows, suite.protocol)
    if request.severity is not None:
        rows = with_severities(rows, suite.rows, request.severity)
    if request.control:
        rows = with_controls(rows)
    return tuple(planned(row) for row in rows)


def check_assets(pack: Pack, rows: Sequence[PlannedRow], count: int) -> None:
    """Checks before the first episode that every file the rows' first ``count`` episodes need is there.

    Raises:
        MissingAsset: the first file that is missing, and how to get it.
    """
    episodes = [episode for row in rows for episode in row.listing(count)]
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


def _check_pack(assets: str, rows: Sequence[PlannedRow], count: int) -> None:
    check_assets(load_pack(assets), rows, count)


def choose_backend(request: Request, spec: PolicySpec) -> str:
    """Settles ``auto``: replicas where copies of the policy are cheap, else one policy for all workers."""
    if request.backend != "auto":
        return request.backend
    if request.workers == 1:
        return "in-process"
    return "replicas" if spec.light else "batched"


def make_player(
    backend: str, stage: Stage, job: Job, workers: int, cluster: ClusterOptions = _ANY_CLUSTER
) -> Player | Pool:
    """Makes what plays the episodes. All backends on the CPU give the same records.

    Args:
        backend: one of ``request.BACKENDS`` but ``auto``.
        stage: where.
        job: what.
        workers: processes, on the GPU episodes in step, on a cluster actors.
        cluster: which, for the backend ``ray``.

    Raises:
        BadRequest: the suite cannot run on this backend.
        VlagenError: simulator or policy cannot be made.
    """
    if backend == "in-process":
        return Player(job)
    if backend == "replicas":
        return worker_pool(job, workers)
    if backend == "ray":
        return _actors(stage, job, workers, cluster)
    return Player(replace(job, make_simulator=_batch_simulator(backend, stage, job, workers)))


def _actors(stage: Stage, job: Job, workers: int, cluster: ClusterOptions) -> Pool:
    try:
        # Imported here because Ray is an extra.
        from vlagen.benchmark.backends.cluster import cluster_pool
    except ImportError as error:
        raise BadRequest(f"--backend ray needs Ray ({error}); install it: pip install 'vlagen[ray]'") from error
    return cluster_pool(job, stage.identity, stage.check_files, workers, cluster)


def _batch_simulator(backend: str, stage: Stage, job: Job, workers: int) -> Callable[[], Simulator]:
    if backend == "gpu":
        if stage.make_gpu_simulator is None:
            raise BadRequest("--backend gpu: this suite has no GPU physics; allowed: in-process, replicas or batched")
        return functools.partial(stage.make_gpu_simulator, workers)
    if stage.picture_shape is None and job.policy.spec.needs_images:
        raise BadRequest(
            "--backend batched needs pictures of one size for all rows; choose rows that have it, give "
            "--suite-args height=... width=..., or take --backend replicas"
        )
    # Imported here because gymnasium belongs to the extra `sim`.
    from vlagen.benchmark.backends.vectorized import VectorSimulator

    return functools.partial(VectorSimulator, stage.make_simulator, workers, stage.picture_shape)
