"""Any ManiSkill3 task with one arm behind the simulator interface: SimplerEnv's four, or one that a user names."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlagen.benchmark.backends.actions import UnsupportedTask
from vlagen.benchmark.backends.task_environment import TaskEnvironment, to_numpy
from vlagen.benchmark.backends.task_rows import TaskEpisode, TaskRow
from vlagen.benchmark.simulator import StepResult
from vlagen.tasks.interface import Observation

CONSECUTIVE_GRASP_STEPS = 5
"""As in vlagen's own task, and in SimplerEnv's."""

_GRASPED = re.compile(r"is_(\w+_)?grasped")


class ActionsCut(UserWarning):
    """Actions asked for more than the task's controller takes in one step."""


@dataclass(frozen=True)
class TaskFacts:
    """What only making a task's environment can tell.

    Attributes:
        horizon: control steps an episode takes.
        picture_shape: (H, W, 3), None without pictures.
        identity: JSON values that can move a number.
    """

    horizon: int
    picture_shape: tuple[int, int, int] | None
    identity: Mapping[str, Any]


class ManiSkillTaskSimulator:
    """Plays episodes of several tasks, one task at a time, in scenes that are rebuilt for every batch.

    Pickling it as ``functools.partial`` costs nothing: ManiSkill is imported and an environment made when one is first
    asked for. Episodes succeed when the task says so; ManiSkill's ``fail`` is not looked at, and nothing ends early.

    Args:
        tasks: the rows that episodes may be of; the first is the one whose ``horizon`` is told before any start.
        render_backend: ``"cpu"`` or ``"gpu"`` takes pictures with that device; ``"none"`` takes none.
        privileged: refused: foreign tasks have no privileged state in vlagen's form.
        count: how many episodes run in step; more than one needs GPU physics. A smaller batch is filled up with copies
            of its last episode, which nobody sees.
        physics: ``"physx_cpu"`` or ``"physx_cuda"``.

    Attributes:
        capacity: the largest batch. All episodes of a batch must be of one row.

    Raises:
        UnsupportedTask: privileged state is wanted, or a batch of tasks whose success depends on its first episode.
    """

    def __init__(
        self,
        tasks: Sequence[TaskRow],
        render_backend: str,
        privileged: bool = False,
        count: int = 1,
        physics: str = "physx_cpu",
    ) -> None:
        names = ", ".join(task.id for task in tasks)
        if privileged:
            raise UnsupportedTask(
                f"{names}: the policy wants privileged state, which only vlagen's own task has; choose another policy"
            )
        numbered = [task.id for task in tasks if task.numbering == "episode_id"]
        if count > 1 and numbered:
            raise UnsupportedTask(
                f"{', '.join(numbered)}: upstream judges every episode of a batch by the first one's boxes, so these "
                "run one at a time; use the CPU, with several workers"
            )
        self.capacity = count
        self._tasks = {task.id: task for task in tasks}
        self._settings = {"render_backend": render_backend, "count": count, "physics": physics}
        self._row: str | None = None
        self._environment: TaskEnvironment | None = None
        self._warned = False
        self._step = 0
        self._instruction: tuple[str, ...] = ()
        self._cut_steps = self._grasp_streak = self._ever_grasped = self._ever_held = np.zeros(0, dtype=int)

    @property
    def horizon(self) -> int:
        """Control steps an episode of the present row takes."""
        return self._present.horizon

    @property
    def control_frequency(self) -> float:
        """Control steps a second of the present row [Hz]."""
        return self._present.control_frequency

    @property
    def _present(self) -> TaskEnvironment:
        return self._open(self._row or next(iter(self._tasks)))

    def inspect(self) -> dict[str, TaskFacts]:
        """Makes every row's environment in turn, which raises whatever is wrong with it, and says what it is like.

        Raises:
            VlagenError: see ``TaskEnvironment``.
        """
        facts = {}
        for row in self._tasks:
            environment = self._open(row)
            facts[row] = TaskFacts(environment.horizon, environment.picture_shape, environment.identity())
        return facts

    def identity(self) -> dict[str, Any]:
        """What can move a number, by row, as JSON values."""
        return {row: dict(facts.identity) for row, facts in self.inspect().items()}

    def start(self, episodes: Sequence[TaskEpisode]) -> Observation:
        rows = list(dict.fromkeys(episode.variant for episode in episodes))
        assert len(rows) == 1, f"a batch has episodes of one row, not of {', '.join(rows)}"
        environment = self._open(rows[0])
        numbers = [episode.index for episode in episodes]
        environment.reset(numbers + numbers[-1:] * (self.capacity - len(numbers)))
        self._step = 0
        self._instruction = environment.instructions()[: len(episodes)]
        self._cut_steps, self._grasp_streak = np.zeros((2, len(episodes)), dtype=int)
        self._ever_grasped, self._ever_held = np.zeros((2, len(episodes)), dtype=bool)
        return self._observe(environment)

    def step(self, actions: np.ndarray) -> StepResult:
        assert self._environment is not None, "start comes first"
        environment, batch = self._environment, len(actions)
        converted, cut = environment.mapping.convert(actions)
        self._count_cut(cut)
        reward, info = environment.step(
            np.concatenate([converted, converted[-1:].repeat(self.capacity - batch, axis=0)])
        )
        self._step += 1
        grasped, held = self._grasps(info, batch)
        return StepResult(
            observation=self._observe(environment),
            reward=reward[:batch],
            success=_flag(info["success"], batch),
            grasped=grasped,
            consecutive_grasp=held,
            cut_steps=self._cut_steps,
        )

    def close(self) -> None:
        if self._environment is not None:
            self._environment.close()
        self._environment, self._row = None, None

    def _open(self, row: str) -> TaskEnvironment:
        """The environment of a row. Only one is kept: each holds some hundred megabytes."""
        if self._row != row or self._environment is None:
            self.close()
            self._environment = TaskEnvironment(self._tasks[row], **self._settings)
            self._row = row
        return self._environment

    def _observe(self, environment: TaskEnvironment) -> Observation:
        batch = len(self._instruction)
        picture = environment.picture()
        return Observation(
            rgb=None if picture is None else picture[:batch],
            instruction=self._instruction,
            proprioception=environment.joints()[:batch],
            gripper_pose=environment.gripper_pose()[:batch],
            step=self._step,
        )

    def _grasps(self, info: Mapping[str, Any], batch: int) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Whether something was grasped, and held for five steps, at any step so far; None where the task is silent."""
        now = [key for key in info if _GRASPED.fullmatch(key)]
        if not now:
            return None, None
        grasped = np.any([_flag(info[key], batch) for key in now], axis=0)
        self._ever_grasped = self._ever_grasped | grasped
        if "consecutive_grasp" in info:
            # SimplerEnv's tasks, which count themselves; their flag of the grasp is one of any step already.
            return self._ever_grasped.copy(), _flag(info["consecutive_grasp"], batch)
        self._grasp_streak = np.where(grasped, self._grasp_streak + 1, 0)
        self._ever_held = self._ever_held | (self._grasp_streak >= CONSECUTIVE_GRASP_STEPS)
        return self._ever_grasped.copy(), self._ever_held.copy()

    def _count_cut(self, cut: np.ndarray) -> None:
        """Counts the episodes whose action the controller cuts; says so once, as every record tells how often."""
        self._cut_steps = self._cut_steps + cut
        if cut.any() and not self._warned:
            self._warned = True
            mapping = self._environment.mapping
            warnings.warn(
                f"{self._row}: an action asks for more than the controller takes in one step "
                f"({abs(mapping.scale[0]):g} m along each axis, {abs(mapping.scale[3]):g} rad) and is cut to that; "
                "a policy for this robot should ask for less",
                ActionsCut,
                stacklevel=2,
            )


def _flag(value: Any, batch: int) -> np.ndarray:
    """The first ``batch`` of one bool an episode, (B,)."""
    return to_numpy(value).astype(bool).reshape(-1)[:batch]
