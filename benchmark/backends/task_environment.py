"""One ManiSkill task, made, checked and identified: the part of a foreign simulator that touches ManiSkill.

ManiSkill is used below its gymnasium wrappers, because those ask at the keyboard for missing files and end episodes
early. Its environments are made without observations; joints are read off the robot, and only the camera that the
policy sees takes pictures.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vlagen.assets.errors import MissingAsset, VlagenError, unknown
from vlagen.benchmark.backends.actions import UnsupportedTask, choose_control_mode, read_mapping
from vlagen.benchmark.backends.task_rows import INSTRUCTIONS, TaskRow, require_folders
from vlagen.benchmark.digests import hash_folder
from vlagen.benchmark.simulator import NoRenderer
from vlagen.tasks.rendering import prepare_rendering


class UnknownTask(VlagenError, ValueError):
    """An id under which ManiSkill registers nothing."""


class TaskEnvironment:
    """A task's scene for ``count`` episodes in step.

    Args:
        task: which task, and how.
        render_backend: ``"cpu"`` or ``"gpu"`` takes pictures with that device; ``"none"`` takes none and needs no
            renderer. Physics does not depend on it.
        count: more than one needs GPU physics.
        physics: ``"physx_cpu"`` or ``"physx_cuda"``.

    Attributes:
        mapping: from canonical actions to the task's.
        horizon: control steps an episode takes.
        picture_shape: (H, W, 3), None without pictures.

    Raises:
        UnknownTask: ManiSkill registers no such task.
        UnsupportedTask: it has no control mode, success, instruction, horizon or camera that vlagen can use.
        MissingAsset: it needs files that are not here.
        NoRenderer: pictures are wanted and cannot be made.
    """

    def __init__(self, task: TaskRow, render_backend: str, count: int, physics: str) -> None:
        require_folders([task])
        self._task = task
        self._settings = {"render_backend": render_backend, "num_envs": count, "sim_backend": physics}
        self._pictures = render_backend != "none"
        self._specification = _find(task.environment)
        self._require_downloads()
        self.horizon = task.horizon or self._specification.max_episode_steps
        if self.horizon is None:
            raise UnsupportedTask(
                f"{task.environment} does not say how long an episode is; give --suite-args horizon=50"
            )
        self._environment = self._make({})
        try:
            self._adapt()
        except BaseException:
            self.close()
            raise

    def _adapt(self) -> None:
        """Finds control mode and camera, and makes the environment again if it has others."""
        task, agent = self._task, self._environment.agent
        mode = choose_control_mode(getattr(agent, "_controller_configs", {}), task.control_mode, task.environment)
        self._camera = self._choose_camera() if self._pictures else None
        if mode != agent.control_mode or task.image is not None:
            image = {self._camera: dict(zip(("height", "width"), task.image, strict=True))} if task.image else {}
            self._environment.close()
            self._environment = self._make(image if self._pictures else {}, control_mode=mode)
        self.mapping = read_mapping(self._environment.agent, task.environment)
        if "success" not in self._environment.get_info():
            raise UnsupportedTask(
                f"{task.environment} does not say whether an episode succeeded, so nothing can be scored"
            )
        self.instructions()
        sensor = self._environment._sensor_configs[self._camera] if self._pictures else None
        self.picture_shape = (sensor.height, sensor.width, 3) if sensor is not None else None

    def _choose_camera(self) -> str:
        cameras = self._environment._sensor_configs
        if self._task.camera is not None and self._task.camera not in cameras:
            raise UnsupportedTask(f"{self._task.environment}: {unknown('camera', self._task.camera, cameras)}")
        if not cameras:
            raise UnsupportedTask(
                f"{self._task.environment} has no camera; only policies without pictures can be scored"
            )
        camera = self._task.camera or ("base_camera" if "base_camera" in cameras else next(iter(cameras)))
        if self._task.image is not None and cameras[camera].intrinsic is not None:
            raise UnsupportedTask(
                f"{self._task.environment}: {camera} models a real camera pixel by pixel; leave out height and width"
            )
        return camera

    def _make(self, sensors: dict[str, Any], **settings: Any) -> Any:
        """Makes the environment itself, below every wrapper."""
        from mani_skill.envs.tasks.digital_twins.base_env import BaseDigitalTwinEnv

        base = self._specification.cls
        attributes: dict[str, Any] = {"SUPPORTED_OBS_MODES": ("none",)}
        if not self._pictures:
            # Else it looks for the camera whose background it is to replace.
            attributes["rgb_overlay_mode"] = "none"
        # Both are shared by all environments of the process upstream: one would get the other's background.
        BaseDigitalTwinEnv._rgb_overlay_images = {}
        BaseDigitalTwinEnv._objects_to_remove_from_greenscreen = []
        # ManiSkill collects garbage at every rebuild, and searches all of torch for it if that is not frozen.
        gc.collect()
        gc.freeze()
        with _quiet(), _unattended(), _renderer_needed(self._pictures):
            environment = type(base.__name__, (base,), attributes)(
                obs_mode="none",
                sensor_configs={"shader_pack": self._task.shader, **sensors},
                **self._specification.default_kwargs,
                **self._settings,
                **settings,
            )
        if isinstance(environment, BaseDigitalTwinEnv) and environment._rgb_overlay_images is not None:
            environment._rgb_overlay_images = dict(environment._rgb_overlay_images)
        return environment

    def _require_downloads(self) -> None:
        from mani_skill.utils.assets import data

        missing = [uid for uid in self._downloads() if not data.is_data_source_downloaded(uid)]
        if missing:
            raise MissingAsset(
                f"{self._task.environment} needs {', '.join(missing)}, which are not here; fetch them with "
                f"`python -m mani_skill.utils.download_asset {self._task.environment} -y`"
            )

    def _downloads(self) -> list[str]:
        from mani_skill.utils.assets import data

        return sorted(data.expand_data_group_into_individual_data_source_ids(self._task.environment))

    def reset(self, numbers: Sequence[int]) -> None:
        """Rebuilds the scene and starts the episodes with these numbers, (count,)."""
        import torch

        numbers = [int(number) for number in numbers]
        device = self._environment.device
        options: dict[str, Any] = {"reconfigure": True}
        if self._task.numbering == "episode_id":
            options["episode_id"] = torch.tensor(numbers, device=device)
        with _quiet():
            self._environment.reset(seed=numbers, options=options)
            # ManiSkill seeds a whole batch by its first episode; one by one, none depends on which others there are.
            for place, number in enumerate(numbers) if len(numbers) > 1 else ():
                alone = {"env_idx": torch.tensor([place], device=device)}
                self._environment.reset(seed=[number] * len(numbers), options=alone)
        if self._pictures:
            self._prepare_pictures()

    def _prepare_pictures(self) -> None:
        """Drops the cameras that nobody looks through: each costs as much as the one that is needed."""
        from mani_skill.envs.utils.observations import parse_obs_mode_to_struct

        for camera in [camera for camera in self._environment._sensors if camera != self._camera]:
            del self._environment._sensors[camera]
        # Segmentation is what real backgrounds are put in by.
        replaced = getattr(self._environment, "rgb_overlay_paths", None) is not None
        self._environment.obs_mode_struct = parse_obs_mode_to_struct("rgb+segmentation" if replaced else "rgb")

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
        """Executes one control step with the task's own actions (count, N); returns reward (count,) and info."""
        _, reward, _, _, info = self._environment.step(actions)
        return to_numpy(reward).astype(np.float64).reshape(len(actions)), info

    def picture(self) -> np.ndarray | None:
        """What the policy sees now, (count, H, W, 3) uint8; None without pictures."""
        if not self._pictures:
            return None
        return to_numpy(self._environment._get_obs_sensor_data()[self._camera]["rgb"]).astype(np.uint8)

    def joints(self) -> np.ndarray:
        """Joint positions as ManiSkill orders them, (count, J) float32."""
        return to_numpy(self._environment.agent.robot.get_qpos()).astype(np.float32)

    def gripper_pose(self) -> np.ndarray:
        """The link that actions move, in the frame they are in, (count, 7) float32: xyz [m] and quaternion wxyz."""
        parts = self._environment.agent.controller.controllers.values()
        arm = next(part for part in parts if hasattr(part, "ee_pose_at_base"))
        return to_numpy(arm.ee_pose_at_base.raw_pose).astype(np.float32)

    def instructions(self) -> tuple[str, ...]:
        """What the policy is told, (count,) texts."""
        words = self._task.instruction
        if words is None and hasattr(self._environment, "get_language_instruction"):
            return tuple(self._environment.get_language_instruction())
        words = words or INSTRUCTIONS.get(self._task.environment)
        if words is None:
            raise UnsupportedTask(
                f"{self._task.environment} has no words for what is to be done; give them with "
                '--suite-args instruction="..."'
            )
        return (words,) * self._settings["num_envs"]

    @property
    def control_frequency(self) -> int:
        """Control steps a second [Hz]."""
        return self._environment.control_freq

    def identity(self) -> dict[str, Any]:
        """What can move a number, as JSON values; ManiSkill's version is not repeated here."""
        environment, agent = self._environment, self._environment.agent
        return {
            "environment": self._task.environment,
            "robot": agent.uid,
            "episodes": f"index = {self._task.numbering}",
            "instructions": sorted(set(self.instructions())),
            "control": self.mapping.identity(),
            "control_frequency": self.control_frequency,
            "physics_frequency": environment.sim_freq,
            "horizon": self.horizon,
            "reward": environment.reward_mode,
            "success": "the environment's own, after the last step",
            "camera": self._camera,
            "picture": list(self.picture_shape) if self.picture_shape else None,
            "shader": self._task.shader if self._pictures else None,
            "assets": self._hashes(agent.uid),
        }

    def _hashes(self, robot: str) -> dict[str, str | None]:
        from mani_skill.utils.assets import data

        known = data.expand_data_group_into_individual_data_source_ids(robot) if robot in data.DATA_GROUPS else []
        sources = {uid: data.DATA_SOURCES[uid] for uid in sorted({*self._downloads(), *known})}
        return {uid: hash_folder(Path(source.output_dir) / source.target_path) for uid, source in sources.items()}

    def close(self) -> None:
        """Frees the scene."""
        self._environment.close()


def _find(name: str) -> Any:
    """Looks a task up in ManiSkill's registry."""
    # The driver has to be chosen before SAPIEN is imported.
    prepare_rendering()
    import mani_skill.envs  # noqa: F401 - importing it registers the tasks
    from mani_skill.utils.registration import REGISTERED_ENVS

    if name not in REGISTERED_ENVS:
        raise UnknownTask(unknown("ManiSkill task", name, sorted(REGISTERED_ENVS)))
    return REGISTERED_ENVS[name]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps back what ManiSkill warns of at every rebuild of scenes that nobody here has written."""
    from mani_skill import logger

    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def _unattended() -> Iterator[None]:
    """Makes an error of ManiSkill's question whether to download something."""
    from mani_skill.utils import download_asset

    def refuse(question: str) -> bool:
        robot = re.search(r"Robot (\S+)", question)
        command = f"python -m mani_skill.utils.download_asset {robot[1] if robot else '<uid>'} -y"
        raise MissingAsset(f"files are not here, and ManiSkill asks: {question!r}; fetch them with `{command}`")

    ask = download_asset.prompt_yes_no
    download_asset.prompt_yes_no = refuse
    try:
        yield
    finally:
        download_asset.prompt_yes_no = ask


@contextlib.contextmanager
def _renderer_needed(pictures: bool) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        # What SAPIEN and Vulkan say when a driver is listed but does not work.
        if pictures and "physical device" in str(error):
            raise NoRenderer(f"this machine cannot render ({error}); `vlagen-doctor` names the fix") from error
        raise


def to_numpy(value: Any) -> np.ndarray:
    """Copies a torch tensor or an array-like to numpy: ManiSkill's own tensors may change at the next step."""
    return value.cpu().numpy().copy() if hasattr(value, "cpu") else np.array(value)
