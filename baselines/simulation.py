"""From settings to the simulators that training plays in."""

from __future__ import annotations

import functools
from collections.abc import Callable

from vlagen.baselines.rollouts import SimulatorKeeper
from vlagen.baselines.sections import RunSettings, SimulationSettings
from vlagen.baselines.settings import BadSetting
from vlagen.benchmark.policy import PolicySpec
from vlagen.benchmark.request import Request
from vlagen.benchmark.simulator import Simulator
from vlagen.benchmark.stage import Stage, find_stage


def open_stage(
    settings: SimulationSettings,
    run: RunSettings,
    spec: PolicySpec,
    make_simulator: Callable[[], Simulator] | None = None,
) -> tuple[Stage, SimulatorKeeper]:
    """Finds the rows that are evaluated, and what makes simulators for them and for roll-outs alike.

    Args:
        settings: of the simulation.
        run: says which rows are evaluated.
        spec: what the agent has to be shown.
        make_simulator: another simulator than ManiSkill's, see ``stage.find_stage``.

    Raises:
        VlagenError: no such suite, row or pack, missing files, no renderer, or a backend that cannot be had.
    """
    if settings.workers < 1:
        raise BadSetting(f"simulation.workers = {settings.workers}; allowed: 1 or more")
    request = Request(
        policy="training",
        suite=settings.suite,
        rows=run.evaluate_rows,
        episodes=1,
        assets=settings.assets or None,
    )
    stage = find_stage(request, spec, make_simulator)
    backend = settings.backend
    if backend == "auto":
        backend = "in-process" if settings.workers == 1 else "batched"
    if backend == "gpu":
        if stage.make_gpu_simulator is None:
            raise BadSetting("simulation.backend = 'gpu': this suite has no GPU physics; allowed: in-process, batched")
        return stage, SimulatorKeeper(functools.partial(stage.make_gpu_simulator, settings.workers))
    if backend == "in-process":
        return stage, SimulatorKeeper(stage.make_simulator)
    if backend == "ray":
        try:
            # Imported here because Ray is an extra.
            from vlagen.baselines.cluster_simulation import ClusterSimulator
        except ImportError as error:
            raise BadSetting(f"simulation.backend = 'ray' needs Ray ({error}): pip install 'vlagen[ray]'") from error
        make = functools.partial(ClusterSimulator, stage.make_simulator, settings.workers, settings.address)
        return stage, SimulatorKeeper(make)
    # Imported here because gymnasium belongs to the extra `sim`.
    from vlagen.benchmark.backends.vectorized import VectorSimulator

    return stage, SimulatorKeeper(
        functools.partial(VectorSimulator, stage.make_simulator, settings.workers, stage.picture_shape)
    )
