"""The simulated side of a roll-out: what the loop needs from a simulator, and ManiSkill behind that interface."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from vlagen.assets.errors import VlagenError
from vlagen.tasks import rendering
from vlagen.tasks.episodes import Episode
from vlagen.tasks.interface import CAMERA_UID, Observation


class NoRenderer(VlagenError):
    """Pictures are needed on a machine that cannot make them."""


@dataclass(frozen=True)
class StepResult:
    """What one control step did to B episodes.

    Attributes:
        observation: what is seen after the step.
        reward: (B,) float.
        success: (B,) bool, the object is on the receptacle after this step.
        grasped: (B,) bool, the object has been grasped at some step so far.
        consecutive_grasp: (B,) bool, it has been held for five steps in a row so far.
    """

    observation: Observation
    reward: np.ndarray
    success: np.ndarray
    grasped: np.ndarray
    consecutive_grasp: np.ndarray


class Simulator(Protocol):
    """Runs batches of B episodes in step; the same batch gives the same results whatever ran before."""

    def start(self, episodes: Sequence[Episode]) -> Observation:
        """Builds the scenes of these episodes and lets them settle."""
        ...

    def step(self, actions: np.ndarray) -> StepResult:
        """Executes one control step with actions (B, 7) float32."""
        ...

    def close(self) -> None:
        """Frees what the simulator holds."""
        ...


class ManiSkillSimulator:
    """vlagen's ManiSkill environment on CPU physics: one episode at a time, in a scene rebuilt for it.

    Args:
        assets: name of the asset pack.
        render_backend: ``"cpu"`` or ``"gpu"`` renders pictures with that device; ``"none"`` renders nothing and needs
            no renderer. Physics does not depend on it.
        privileged: fill ``observation.privileged``.
    """

    def __init__(self, assets: str, render_backend: str, privileged: bool) -> None:
        # Imported here because it takes seconds.
        import gymnasium

        import vlagen.tasks.registration  # noqa: F401 - importing it registers the environments

        self._pictures = render_backend != "none"
        self._privileged = privileged
        self._step = 0
        self._instruction: tuple[str, ...] = ()
        try:
            self._environment = gymnasium.make(
                "vlagen/train-v1",
                assets=assets,
                obs_mode="rgb" if self._pictures else "state_dict",
                num_envs=1,
                render_backend=render_backend,
                sim_backend="physx_cpu",
            )
        except RuntimeError as error:
            # What SAPIEN and Vulkan say when a driver is listed but does not work.
            if self._pictures and "physical device" in str(error):
                raise NoRenderer(f"this machine cannot render ({error}); `vlagen-doctor` names the fix") from error
            raise

    def start(self, episodes: Sequence[Episode]) -> Observation:
        raw, _ = self._environment.reset(options={"episodes": list(episodes), "reconfigure": True})
        self._step = 0
        self._instruction = tuple(self._environment.unwrapped.instructions)
        return self._observe(raw)

    def step(self, actions: np.ndarray) -> StepResult:
        raw, reward, _, _, info = self._environment.step(actions)
        self._step += 1
        return StepResult(
            observation=self._observe(raw),
            reward=_array(reward).astype(np.float64).reshape(len(actions)),
            success=_array(info["success"]).astype(bool),
            grasped=_array(info["is_src_obj_grasped"]).astype(bool),
            consecutive_grasp=_array(info["consecutive_grasp"]).astype(bool),
        )

    def close(self) -> None:
        self._environment.close()

    def _observe(self, raw: dict[str, Any]) -> Observation:
        return Observation(
            rgb=_array(raw["sensor_data"][CAMERA_UID]["rgb"]) if self._pictures else None,
            instruction=self._instruction,
            proprioception=_array(raw["agent"]["qpos"]).astype(np.float32),
            step=self._step,
            privileged=self._environment.unwrapped.privileged_state() if self._privileged else None,
        )


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


def _array(value: Any) -> np.ndarray:
    """Copies a torch tensor or an array-like to numpy: ManiSkill's own tensors may change at the next step."""
    return value.cpu().numpy().copy() if hasattr(value, "cpu") else np.array(value)
