"""The simulated side of a roll-out: what the loop needs from a simulator, whoever simulates."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Protocol, TypeVar

import numpy as np

from vlagen.assets.errors import VlagenError
from vlagen.tasks import rendering
from vlagen.tasks.interface import Observation, StepFacts

T = TypeVar("T")


class NoRenderer(VlagenError):
    """Pictures are needed on a machine that cannot make them."""


class EpisodeLike(Protocol):
    """What the roll-out has to know of an episode; a simulator knows more of its own kind."""

    @property
    def protocol(self) -> str:
        """Which rules its index is read by."""
        ...

    @property
    def variant(self) -> str:
        """Id of its row."""
        ...

    @property
    def index(self) -> int:
        """What tells it apart within its row."""
        ...


@dataclass(frozen=True)
class StepResult:
    """What one control step did to B episodes. None stands for what a task cannot tell.

    Attributes:
        observation: what is seen after the step.
        reward: (B,) float.
        success: (B,) bool, the object is on the receptacle after this step.
        grasped: (B,) bool, the object has been grasped at some step so far.
        consecutive_grasp: (B,) bool, it has been held for five steps in a row so far.
        facts: what tells in which way an episode failed.
        cut_steps: (B,) int, steps so far in which an action asked for more than the controller takes and was cut.
    """

    observation: Observation
    reward: np.ndarray
    success: np.ndarray
    grasped: np.ndarray | None
    consecutive_grasp: np.ndarray | None
    facts: StepFacts | None = None
    cut_steps: np.ndarray | None = None


class Simulator(Protocol):
    """Runs batches of B episodes in step; the same batch gives the same results whatever ran before.

    Attributes:
        horizon: control steps that the episodes started last take.
        capacity: the largest B.
        control_frequency: control steps a second of those episodes [Hz].
    """

    horizon: int
    capacity: int
    control_frequency: float

    def start(self, episodes: Sequence[EpisodeLike]) -> Observation:
        """Builds the scenes of these episodes and lets them settle."""
        ...

    def step(self, actions: np.ndarray) -> StepResult:
        """Executes one control step with actions (B, 7) float32."""
        ...

    def close(self) -> None:
        """Frees what the simulator holds."""
        ...


class SimulatorWrapper:
    """Passes everything through to a simulator; what is built on it overrides what it wants to watch or change.

    Args:
        simulator: is played in.
    """

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.capacity = simulator.capacity

    @property
    def horizon(self) -> int:
        return self.simulator.horizon

    @property
    def control_frequency(self) -> float:
        return self.simulator.control_frequency

    def start(self, episodes: Sequence[EpisodeLike]) -> Observation:
        return self.simulator.start(episodes)

    def step(self, actions: np.ndarray) -> StepResult:
        return self.simulator.step(actions)

    def close(self) -> None:
        self.simulator.close()


def concatenate(parts: Sequence[T]) -> T:
    """Joins values of several batches, such as ``Observation`` or ``StepResult``, into those of one batch.

    Arrays and tuples have a place for each episode and are strung together; other fields are alike in all parts.
    """
    first = parts[0]
    if is_dataclass(first):
        return type(first)(**{f.name: concatenate([getattr(part, f.name) for part in parts]) for f in fields(first)})
    if isinstance(first, np.ndarray):
        return np.concatenate(parts)
    if isinstance(first, tuple):
        return tuple(value for part in parts for value in part)
    assert all(part == first for part in parts[1:]), f"batches that disagree: {parts}"
    return first


def choose_render_backend() -> str:
    """Returns the device that renders on this machine, ``"gpu"`` or ``"cpu"``, without importing SAPIEN.

    Raises:
        NoRenderer: there is neither an NVIDIA GPU nor a software driver that SAPIEN accepts.
    """
    if rendering.nvidia_gpu_present():
        return "gpu"
    variables = dict(os.environ)
    rendering.prepare_rendering(variables)
    if not (variables.get("VK_ICD_FILENAMES") or variables.get("VK_DRIVER_FILES")):
        raise NoRenderer("pictures are needed, and this machine has no Vulkan driver; `vlagen-doctor` names the fix")
    mesa = rendering.mesa_version()
    if mesa is not None and not rendering.mesa_is_new_enough(mesa):
        needed = ".".join(map(str, rendering.MINIMUM_MESA))
        raise NoRenderer(f"pictures are needed, and Mesa {mesa} is older than {needed}; `vlagen-doctor` names the fix")
    return "cpu"
