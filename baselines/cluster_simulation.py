"""Roll-outs on a Ray cluster: one policy here, and simulators that are actors wherever there is room."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from vlagen.baselines.rollouts import SimulatorGone
from vlagen.benchmark.backends.cluster import connect
from vlagen.benchmark.backends.cluster_actors import ActorSimulators, SimulatorLost
from vlagen.benchmark.backends.cluster_options import ClusterOptions
from vlagen.benchmark.simulator import EpisodeLike, Simulator, StepResult
from vlagen.tasks.interface import Observation
from vlagen.tasks.rendering import worker_environment


class ClusterSimulator:
    """``ActorSimulators`` whose loss of an actor costs a batch and not the run: the next start replaces it.

    Args:
        make_simulator: makes a simulator with room for one episode.
        count: number of actors.
        address: of the cluster; empty for the one that this machine belongs to, or else one made for this run.

    Raises:
        VlagenError: no cluster answers, or a simulator cannot be made.
        SimulatorGone: from ``start`` and ``step``, when an actor is gone.
    """

    control_frequency: float
    horizon: int

    def __init__(self, make_simulator: Callable[[], Simulator], count: int, address: str) -> None:
        connect(ClusterOptions(address=address or None), count)
        options = {"num_cpus": 1, "runtime_env": {"env_vars": worker_environment(2)}, "max_restarts": 0}
        self.capacity = count
        self._actors = ActorSimulators(make_simulator, count, options)

    def start(self, episodes: Sequence[EpisodeLike]) -> Observation:
        try:
            observation = self._actors.start(episodes)
        except SimulatorLost as error:
            raise SimulatorGone(str(error)) from error
        self.horizon, self.control_frequency = self._actors.horizon, self._actors.control_frequency
        return observation

    def step(self, actions: np.ndarray) -> StepResult:
        try:
            return self._actors.step(actions)
        except SimulatorLost as error:
            raise SimulatorGone(str(error)) from error

    def close(self) -> None:
        self._actors.close()
