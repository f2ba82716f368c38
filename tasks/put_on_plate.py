"""The task as one ManiSkill3 environment that executes any episode: a WidowX-250S puts an object on a receptacle.

Nothing is drawn while an episode starts: ``reset(options={"episodes": [...]})`` takes the episodes themselves, one per
parallel environment. The rules are those of ``protocol.md`` sections 1 to 5.
"""

from __future__ import annotations

import gc
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from mani_skill.envs.sapien_env import BaseEnv
from mani_skill.utils import sapien_utils
from mani_skill.utils.structs import Actor, Pose
from mani_skill.utils.structs.types import SimConfig

from vlagen.assets.packs import Model, Pack, load_pack

from .cast import Cast
from .episodes import Episode
from .instructions import render as render_instruction
from .interface import CAMERA_UID, CONTROL_FREQUENCY, PrivilegedState, StepFacts
from .judge import Judge
from .pictures import Pictures
from .robot import BASE_POSE, BUILD_POSE, HOME_QPOS, SAFE_POSE, robot_class
from .scene import Key, add_lights, attach, build_model, build_table, detach, parking, start_pose
from .selection import EpisodeSource
from .view import MODES, View

SETTLE_STEPS = 650  # physics steps: upstream's 50 and then 600 (Q6)
REPOSITION_SETTLE_STEPS = 50


class PutOnPlate(BaseEnv):
    """Puts objects on receptacles.

    Args:
        variant: id of a row; decides which episodes are drawn when a reset names none.
        protocol: ``vlagen-v1`` or ``rl4vla``.
        assets: asset pack.
        upstream: an upstream environment's name instead of a row; resets then take ``episode_id`` and ``obj_set``.

    Reset options: ``episodes`` (one ``Episode`` per environment, of any row), or ``episode_id`` (int64, one per
    environment) with an upstream id also ``obj_set``; else episodes are drawn uniformly with the reset's seed.
    ``reconfigure=True`` rebuilds the scene, so that the episode does not depend on what ran before, to the last bit.

    Attributes:
        takes_pictures: set to False, observations come without any until it is set back.
    """

    SUPPORTED_OBS_MODES = ("rgb+segmentation", "rgb", "state", "state_dict", "none", "any_textures")
    SUPPORTED_REWARD_MODES = ("dense", "none")

    def __init__(
        self,
        *args: Any,
        variant: str = "train",
        protocol: str = "vlagen-v1",
        assets: str = "builtin",
        upstream: str | None = None,
        sensor_configs: dict | None = None,
        **kwargs: Any,
    ):
        self.pack: Pack = load_pack(assets)
        self.source = EpisodeSource(variant, protocol, upstream)
        self.episodes: tuple[Episode, ...] = ()
        self.takes_pictures = True
        self._bodies: dict[Key, Actor] = {}
        # ManiSkill collects garbage whenever it rebuilds a scene: 0.25 s if that searches torch's modules each time.
        gc.collect()
        gc.freeze()
        # ManiSkill's own default is its fast "minimal" shader, which looks different from what the study used.
        sensor_configs = {"shader_pack": "default"} | (sensor_configs or {})
        super().__init__(*args, robot_uids=robot_class(self.pack), sensor_configs=sensor_configs, **kwargs)

    @property
    def _default_sim_config(self) -> SimConfig:
        return SimConfig(sim_freq=500, control_freq=CONTROL_FREQUENCY, spacing=20)

    # Episodes

    @property
    def instructions(self) -> list[str]:
        """What the policy is told, one text per environment."""
        return [
            render_instruction(e.template, self.pack.objects[e.object].text, self.pack.receptacles[e.receptacle].text)
            for e in self.episodes
        ]

    def get_language_instruction(self) -> list[str]:
        """``instructions`` under the name that upstream and SimplerEnv use."""
        return self.instructions

    def reset(self, seed: int | list[int] | None = None, options: dict | None = None) -> tuple[Any, dict]:
        """Start the episodes that ``options`` name; see the class. A batch always starts together."""
        options = dict(options or {})
        if "env_idx" in options and len(options["env_idx"]) != self.num_envs:
            raise ValueError("PutOnPlate starts all parallel environments together; reset without env_idx")
        self.episodes = self.source.choose(self.num_envs, seed, options)
        return super().reset(seed=seed, options=options)

    # Scene

    def _load_agent(self, options: dict) -> None:
        super()._load_agent(options, BUILD_POSE)

    def _load_lighting(self, options: dict) -> None:
        add_lights(self.scene)

    def _load_scene(self, options: dict) -> None:
        if self.scene.can_render():
            for articulation in self.agent.robot._objs:
                sapien_utils.set_articulation_render_material(articulation, specular=0.9, roughness=0.3)
        self._table = build_table(self.scene)
        self._bodies = {}
        self._view = None
        for key in self.source.model_keys(self.episodes) if self.gpu_sim_enabled else self._episode_keys():
            self._build(key)

    def _episode_keys(self) -> list[Key]:
        """Objects by index, then receptacles: PhysX's contact order, hence the last bits, follow the building order."""
        return sorted({key for episode in self.episodes for key in episode.models})

    def _model(self, key: Key) -> Model:
        return self.pack.model(*key)

    def _build(self, key: Key) -> None:
        self._bodies[key] = build_model(self.scene, self.pack, self._model(key), parking(key))

    def _bring_in(self) -> None:
        """Have the episodes' bodies in the scene; on the CPU, and only them."""
        needed = self._episode_keys()
        missing = [key for key in needed if key not in self._bodies]
        if self.gpu_sim_enabled:
            if missing:
                names = ", ".join(self._model(key).name for key in missing)
                raise ValueError(f"{names}: not in this GPU scene; reset with options={{'reconfigure': True}}")
            return
        for key in missing:
            self._build(key)
        for key, actor in self._bodies.items():
            if (key in needed) != (actor.name in self.scene.actors):
                (attach if key in needed else detach)(self.scene, actor)

    # Episode start

    def _initialize_episode(self, env_idx: torch.Tensor, options: dict) -> None:
        self._bring_in()
        self.cast = Cast(self.episodes, self._bodies, self.device)
        self.agent.robot.set_pose(SAFE_POSE)
        for key, actor in self._bodies.items():
            if actor.name in self.scene.actors:
                rows = [start_pose(episode, key) for episode in self.episodes]
                actor.set_pose(Pose.create(torch.tensor(rows, dtype=torch.float32, device=self.device)))
        self._physics(SETTLE_STEPS)

        self.agent.robot.set_pose(BASE_POSE)
        offsets = np.array([[*e.robot_offset, 0.0, 0.0] for e in self.episodes])
        self.agent.reset(torch.tensor(HOME_QPOS + offsets, dtype=torch.float32, device=self.device))
        if self.gpu_sim_enabled:
            self.scene._gpu_apply_all()
            self.scene.px.gpu_update_articulation_kinematics()
            self.scene._gpu_fetch_all()
        self.judge = Judge(self.scene, self.agent, self.cast, self.pack)
        self._start_view()

    def _physics(self, steps: int) -> None:
        """Step the physics without actions."""
        if self.gpu_sim_enabled:
            self.scene._gpu_apply_all()
        for _ in range(steps):
            self.scene.px.step()
        if self.gpu_sim_enabled:
            self.scene._gpu_fetch_all()

    # Step

    def _after_control_step(self) -> None:
        if self.gpu_sim_enabled:
            self.scene._gpu_fetch_all()
        self._reposition(int(self._elapsed_steps[0]) + 1)
        self.judge.update()

    def _reposition(self, step: int) -> None:
        """Teleport the target at the end of its step; velocities are kept (``protocol.md`` section 3.1)."""
        moved = torch.tensor([e.reposition_at_step == step for e in self.episodes], device=self.device)
        if not moved.any():
            return
        for key in dict.fromkeys(self.cast.objects):
            actor = self._bodies[key]
            raw = actor.pose.raw_pose.clone()
            for i, episode in enumerate(self.episodes):
                if moved[i] and self.cast.objects[i] == key:
                    raw[i] = torch.tensor([*episode.reposition_to, *episode.yaw_quaternion], device=self.device)
            actor.set_pose(Pose.create(raw))
        self._physics(REPOSITION_SETTLE_STEPS)

    # What is reported

    def evaluate(self) -> dict[str, torch.Tensor]:
        """Upstream's info: flags of this step and distances [m]; free of side effects. Each (B,)."""
        judge, fingers = self.judge, self.judge.fingers
        target, receptacle = judge.object_pose[:, :3], judge.receptacle_pose[:, :3]
        return {
            "elapsed_steps": self._elapsed_steps.clone(),
            "is_src_obj_grasped": judge.ever_grasped.clone(),
            "consecutive_grasp": judge.ever_held.clone(),
            "src_on_target": judge.success.clone(),
            "gripper_carrot_dist": torch.linalg.norm(fingers - target, dim=-1),
            "gripper_plate_dist": torch.linalg.norm(fingers - receptacle, dim=-1),
            "carrot_plate_dist": torch.linalg.norm(target - receptacle, dim=-1),
            "success": judge.success.clone(),
        }

    def compute_dense_reward(self, obs: Any, action: torch.Tensor, info: dict) -> torch.Tensor:
        """The study's reward: the potential's change in this step, (B,)."""
        return self.judge.reward

    def facts(self) -> StepFacts:
        """What tells in which way an episode fails, after the last control step, as numpy."""
        return self.judge.facts()

    def gripper_pose(self) -> np.ndarray:
        """Where the joint readings put ``ee_gripper_link`` in the base frame: xyz [m] and wxyz, (B, 7) float32."""
        link, base = self.agent.controller.controllers["arm"].ee_link, self.agent.robot.root
        if not self.gpu_sim_enabled:
            pose = base._objs[0].entity_pose.inv() * link._objs[0].entity_pose
            return np.concatenate([pose.p, pose.q])[None]
        return (base.pose.inv() * link.pose).raw_pose.cpu().numpy().copy()

    def privileged_state(self) -> PrivilegedState:
        """Simulator truth as numpy, for oracle policies."""
        controller = self.agent.controller.controllers["arm"]
        base = self.agent.robot.pose
        distractor_pose = np.full((self.num_envs, 7), np.nan, dtype=np.float32)
        for i, key in enumerate(self.cast.distractors):
            if key is not None:
                distractor_pose[i] = self._bodies[key].pose.raw_pose[i].cpu().numpy()
        return PrivilegedState(
            assets=self.pack.name,
            object_pose=self.cast.object_pose.cpu().numpy(),
            receptacle_pose=self.cast.receptacle_pose.cpu().numpy(),
            base_pose=base.raw_pose.cpu().numpy(),
            gripper_pose=controller.ee_pose.raw_pose.cpu().numpy(),
            gripper_target=(base * controller._target_pose).raw_pose.cpu().numpy(),
            object_index=np.array([e.object for e in self.episodes]),
            receptacle_index=np.array([e.receptacle for e in self.episodes]),
            grasped=self.judge.grasped.cpu().numpy(),
            success=self.judge.success.cpu().numpy(),
            distractor=tuple(self.cast.distractors),
            distractor_pose=distractor_pose,
        )

    def _get_obs_agent(self) -> dict[str, Any]:
        """ManiSkill's own, as a copy: a reset overwrites the controller's target in place."""
        return deepcopy(super()._get_obs_agent())

    def _get_obs_extra(self, info: dict) -> dict[str, torch.Tensor]:
        if self.obs_mode not in ("state", "state_dict"):
            return {}
        return {
            "object_pose": self.cast.object_pose,
            "receptacle_pose": self.cast.receptacle_pose,
            "gripper_pose": self.agent.controller.controllers["arm"].ee_pose.raw_pose,
        }

    # Pictures

    def _start_view(self) -> None:
        """Load the episodes' pictures, and tell the view which bodies are foreground."""
        if not self.scene.can_render():
            return
        if self._view is None:
            one = self.num_envs == 1 and not self.gpu_sim_enabled
            mount = self.agent.robot.links_map["base_link"]._objs[0].entity if one else None
            self._view = View(self.scene, self._sensors[CAMERA_UID], mount, self._table._objs[0])
        drawn = [(link._objs[0].entity, f"{self.agent.urdf_path}:{link.name}") for link in self.agent.robot.links]
        drawn += [(self._bodies[key]._objs[0], str(self._model(key).visual)) for key in self._episode_keys()]
        self._view.start(Pictures(self.pack, self.episodes, *self._view.size, self.device), drawn)

    def observed_rgb(self) -> torch.Tensor:
        """What the policies see now, (B, H, W, 3) uint8, in any observation mode of an environment that can render."""
        return self._view.rgb()

    def render_rgb_array(self, camera_name: str | None = None) -> torch.Tensor:
        """What the policies see, so that recorded videos show the disturbances too."""
        return self._view.rgb()

    def _get_obs_sensor_data(self, apply_texture_transforms: bool = True) -> dict[str, dict[str, torch.Tensor]]:
        visual = self.obs_mode_struct.visual
        if not self.takes_pictures:
            return {}
        if not apply_texture_transforms or not (visual.rgb or self.obs_mode in ("state", "state_dict")):
            return super()._get_obs_sensor_data(apply_texture_transforms)
        modes = [mode for mode in MODES if getattr(visual, mode)]
        return {CAMERA_UID: self._view.data(modes) if modes else {"rgb": self._view.rgb()}}
