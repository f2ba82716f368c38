"""vlagen's own ManiSkill environment behind the simulator interface: one scene on the CPU, or a batch on the GPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np

from vlagen.benchmark.simulator import NoRenderer, StepResult
from vlagen.tasks.episodes import Episode
from vlagen.tasks.interface import CAMERA_UID, CONTROL_FREQUENCY, HORIZON, IMAGE_HEIGHT, IMAGE_WIDTH, Observation

PICTURE_SHAPE = (IMAGE_HEIGHT, IMAGE_WIDTH, 3)

# What the study rendered with; ManiSkill's own default, "minimal", looks different.
SHADER = "default"


class ManiSkillSimulator:
    """vlagen's ManiSkill environment.

    On the CPU one episode at a time, in a scene rebuilt for it. On the GPU a batch in step; a smaller batch than there
    is room for is filled up with copies of its last episode, which nobody sees.

    Args:
        assets: name of the asset pack.
        render_backend: ``"cpu"`` or ``"gpu"`` renders pictures with that device; ``"none"`` renders nothing and needs
            no renderer. Physics does not depend on it.
        privileged: fill ``observation.privileged``.
        count: how many episodes run in step; more than one needs GPU physics.
        physics: ``"physx_cpu"`` or ``"physx_cuda"``.
    """

    horizon = HORIZON
    control_frequency = CONTROL_FREQUENCY

    def __init__(
        self, assets: str, render_backend: str, privileged: bool, count: int = 1, physics: str = "physx_cpu"
    ) -> None:
        # Imported here because it takes seconds.
        import gymnasium

        import vlagen.tasks.registration  # noqa: F401 - importing it registers the environments

        self.capacity = count
        self._pictures = render_backend != "none"
        self._privileged = privileged
        self._step = 0
        self._active = 0
        self._instruction: tuple[str, ...] = ()
        try:
            self._environment = gymnasium.make(
                "vlagen/train-v1",
                assets=assets,
                obs_mode="rgb" if self._pictures else "state_dict",
                num_envs=count,
                render_backend=render_backend,
                sim_backend=physics,
                sensor_configs={"shader_pack": SHADER},
            )
        except RuntimeError as error:
            # What SAPIEN and Vulkan say when a driver is listed but does not work.
            if self._pictures and "physical device" in str(error):
                raise NoRenderer(f"this machine cannot render ({error}); `vlagen-doctor` names the fix") from error
            raise

    def start(self, episodes: Sequence[Episode]) -> Observation:
        self._active = len(episodes)
        everyone = [*episodes, *[episodes[-1]] * (self.capacity - len(episodes))]
        self._environment.unwrapped.takes_pictures = True
        raw, _ = self._environment.reset(options={"episodes": everyone, "reconfigure": True})
        self._step = 0
        self._instruction = tuple(self._environment.unwrapped.instructions)
        return self._cut(self._observe(raw))

    def step(self, actions: np.ndarray) -> StepResult:
        surplus = self.capacity - self._active
        everyone = np.concatenate([actions, np.repeat(actions[-1:], surplus, axis=0)]) if surplus else actions
        raw, reward, _, _, info = self._environment.step(everyone)
        self._step += 1
        result = StepResult(
            observation=self._observe(raw),
            reward=_array(reward).astype(np.float64).reshape(self.capacity),
            success=_array(info["success"]).astype(bool),
            grasped=_array(info["is_src_obj_grasped"]).astype(bool),
            consecutive_grasp=_array(info["consecutive_grasp"]).astype(bool),
            facts=self._environment.unwrapped.facts(),
        )
        return self._cut(result)

    def stop_pictures(self) -> None:
        """Takes no more pictures until the next start: most of a step's time, where nobody looks at them any more."""
        self._environment.unwrapped.takes_pictures = False

    def close(self) -> None:
        self._environment.close()

    def _cut(self, value: Any) -> Any:
        return value if self._active == self.capacity else _first(self._active, value)

    def _observe(self, raw: dict[str, Any]) -> Observation:
        environment = self._environment.unwrapped
        pictures = self._pictures and environment.takes_pictures
        return Observation(
            rgb=_array(raw["sensor_data"][CAMERA_UID]["rgb"]) if pictures else None,
            instruction=self._instruction,
            proprioception=_array(raw["agent"]["qpos"]).astype(np.float32),
            gripper_pose=environment.gripper_pose(),
            step=self._step,
            privileged=environment.privileged_state() if self._privileged else None,
        )


def _first(count: int, value: Any) -> Any:
    """Cuts a batch-first value, such as ``StepResult``, to its first ``count`` episodes."""
    if is_dataclass(value):
        return replace(value, **{field.name: _first(count, getattr(value, field.name)) for field in fields(value)})
    return value[:count] if isinstance(value, (np.ndarray, tuple)) else value


def _array(value: Any) -> np.ndarray:
    """Copies a torch tensor or an array-like to numpy: ManiSkill's own tensors may change at the next step."""
    return value.cpu().numpy().copy() if hasattr(value, "cpu") else np.array(value)
