"""One simulator in each of several processes, stepped together: the policy sees all of them as one batch.

The processes are gymnasium's ``AsyncVectorEnv``, which passes pictures through shared memory. A large policy is then
held in memory once and acts for all scenes in one call.
"""

from __future__ import annotations

import contextlib
import signal
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode

from vlagen.benchmark.environment import environment_variables
from vlagen.benchmark.simulator import EpisodeLike, Simulator, StepResult, concatenate
from vlagen.tasks.interface import ACTION_SIZE, Observation
from vlagen.tasks.rendering import worker_environment

_RESULT, _PACE = "result", "pace"


class SimulatorEnvironment(gymnasium.Env):
    """A simulator with room for one episode, as a gymnasium environment.

    Pictures are the observation, as gymnasium shares the memory of those; all else is small and travels in ``info``.
    The simulator is made at the first reset, because gymnasium makes one environment more than it uses.

    Args:
        make_simulator: makes the simulator.
        place: which of the episodes that a reset names this environment plays.
        picture_shape: (H, W, 3) of the pictures, None without pictures.
    """

    def __init__(
        self, make_simulator: Callable[[], Simulator], place: int, picture_shape: tuple[int, int, int] | None
    ) -> None:
        self._make_simulator = make_simulator
        self._place = place
        self._simulator: Simulator | None = None
        self._idle = True
        self._blank = np.zeros(picture_shape or (1,), dtype=np.uint8)
        self.observation_space = gymnasium.spaces.Box(0, 255, self._blank.shape, np.uint8)
        self.action_space = gymnasium.spaces.Box(-np.inf, np.inf, (ACTION_SIZE,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Starts the episode at this environment's place; there may be none for it, and it then idles."""
        episodes = options["episodes"]
        self._idle = self._place >= len(episodes)
        if self._idle:
            return self._blank, {}
        if self._simulator is None:
            # Ctrl-C reaches the whole process group; the parent alone decides what it means.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            self._simulator = self._make_simulator()
        picture, info = self._split(self._simulator.start([episodes[self._place]]))
        simulator = self._simulator
        return picture, {**info, _PACE: (simulator.horizon, simulator.control_frequency)}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Executes a control step. Reward and success are in ``info``; nothing ends an episode but the next reset."""
        if self._idle:
            return self._blank, 0.0, False, False, {}
        result = self._simulator.step(action[None])
        picture, _ = self._split(result.observation)
        return picture, 0.0, False, False, {_RESULT: replace(result, observation=_blind(result.observation))}

    def close(self) -> None:
        """Frees the simulator."""
        if self._simulator is not None:
            self._simulator.close()

    def _split(self, observation: Observation) -> tuple[np.ndarray, dict]:
        picture = self._blank if observation.rgb is None else observation.rgb[0]
        return picture, {_RESULT: _blind(observation)}


class VectorSimulator:
    """Plays up to ``count`` episodes in as many processes, in step.

    Args:
        make_simulator: makes a simulator with room for one episode; importable, because processes are sent its name.
        count: number of processes.
        picture_shape: (H, W, 3) of the pictures that it takes, None if it takes none.

    Attributes:
        horizon: that of the episodes started last.
        control_frequency: theirs [Hz].

    Raises:
        EOFError, ConnectionError: from any call, when a process has died; make another simulator then.
    """

    def __init__(
        self,
        make_simulator: Callable[[], Simulator],
        count: int,
        picture_shape: tuple[int, int, int] | None,
    ) -> None:
        self.capacity = count
        self.horizon, self.control_frequency = 0, 0.0
        self._pictures = picture_shape is not None
        self._active = 0

        def at(place: int) -> Callable[[], SimulatorEnvironment]:
            return lambda: SimulatorEnvironment(make_simulator, place, picture_shape)

        with environment_variables(worker_environment(count)):
            self._environments = AsyncVectorEnv(
                [at(place) for place in range(count)],
                shared_memory=True,
                copy=True,
                # A forked child would share the parent's CUDA context and threads.
                context="spawn",
                autoreset_mode=AutoresetMode.DISABLED,
            )

    def start(self, episodes: Sequence[EpisodeLike]) -> Observation:
        self._active = len(episodes)
        pictures, info = self._environments.reset(options={"episodes": list(episodes)})
        ((self.horizon, self.control_frequency),) = set(info[_PACE][: self._active].tolist())
        return self._show(pictures, concatenate(self._parts(info)))

    def step(self, actions: np.ndarray) -> StepResult:
        everyone = np.zeros((self.capacity, ACTION_SIZE), dtype=np.float32)
        everyone[: self._active] = actions
        pictures, _, _, _, info = self._environments.step(everyone)
        result = concatenate(self._parts(info))
        return replace(result, observation=self._show(pictures, result.observation))

    def close(self) -> None:
        # Not politely: a process may be hanging, or dead.
        for process in self._environments.processes:
            process.kill()
        with warnings.catch_warnings(), contextlib.suppress(EOFError, ConnectionError, RuntimeError):
            # It warns of calls that nobody waits for any more.
            warnings.simplefilter("ignore")
            self._environments.close(terminate=True)

    def _parts(self, info: dict[str, Any]) -> list[Any]:
        return list(info[_RESULT][: self._active])

    def _show(self, pictures: np.ndarray, observation: Observation) -> Observation:
        return replace(observation, rgb=pictures[: self._active]) if self._pictures else observation


def _blind(observation: Observation) -> Observation:
    return replace(observation, rgb=None)
