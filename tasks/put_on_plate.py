"""The task as one ManiSkill3 environment that executes any episode: a WidowX-250S puts an object on a receptacle.

Nothing is drawn while an episode starts: ``reset(options={"episodes": [...]})`` takes the episodes themselves, one per
parallel environment. The rules are those of ``protocol.md`` sections 1 to 5.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from mani_skill.envs.sapien_env import BaseEnv
from mani_skill.utils import sapien_utils
from mani_skill.utils.structs import Actor, Pose
from mani_skill.utils.structs.types import SimConfig

from vlagen.assets.packs import Model, Pack, load_pack

from . import success
from .contacts import forces_by
from .episodes import Episode
from .instructions import render as render_instruction
from .interface import CAMERA_UID, PrivilegedState
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
        self._bodies: dict[Key, Actor] = {}
        # ManiSkill collects garbage whenever it rebuilds a scene: 0.25 s if that searches torch's modules each time.
        gc.collect()
        gc.freeze()
        # ManiSkill's own default is its fast "minimal" shader, which looks different from what the study used.
        sensor_configs = {"shader_pack": "default"} | (sensor_configs or {})
        super().__init__(*args, robot_uids=robot_class(self.pack), sensor_configs=sensor_configs, **kwargs)

    @property
    def _default_sim_config(self) -> SimConfig:
        return SimConfig(sim_freq=500, control_freq=5, spacing=20)

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
        self._object_keys = [("object", e.object) for e in self.episodes]
        self._receptacle_keys = [("receptacle", e.receptacle) for e in self.episodes]
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

        self._object_box = self._world_box(self._object_keys)
        self._receptacle_box = self._world_box(self._receptacle_keys)
        zeros = torch.zeros(self.num_envs, dtype=torch.bool, device=self.device)
        self._grasp_streak = torch.zeros(self.num_envs, dtype=torch.int32, device=self.device)
        self._ever_grasped, self._ever_held = zeros, zeros.clone()
        self._judge()
        self._start_view()

    def _physics(self, steps: int) -> None:
        """Step the physics without actions."""
        if self.gpu_sim_enabled:
            self.scene._gpu_apply_all()
        for _ in range(steps):
            self.scene.px.step()
        if self.gpu_sim_enabled:
            self.scene._gpu_fetch_all()

    def _world_box(self, keys: Sequence[Key]) -> torch.Tensor:
        corners = np.array([self._model(key).bbox for key in keys])
        size = torch.tensor(corners[:, 1] - corners[:, 0], dtype=torch.float32, device=self.device)
        return success.world_box(size, self._pose(keys)[:, 3:])

    # Step

    def _after_control_step(self) -> None:
        if self.gpu_sim_enabled:
            self.scene._gpu_fetch_all()
        self._reposition(int(self._elapsed_steps[0]) + 1)
        self._previous_potential = self._potential
        self._judge()

    def _reposition(self, step: int) -> None:
        """Teleport the target at the end of its step; velocities are kept (``protocol.md`` section 3.1)."""
        moved = torch.tensor([e.reposition_at_step == step for e in self.episodes], device=self.device)
        if not moved.any():
            return
        for key in dict.fromkeys(self._object_keys):
            actor = self._bodies[key]
            raw = actor.pose.raw_pose.clone()
            for i, episode in enumerate(self.episodes):
                if moved[i] and self._object_keys[i] == key:
                    raw[i] = torch.tensor([*episode.reposition_to, *episode.yaw_quaternion], device=self.device)
            actor.set_pose(Pose.create(raw))
        self._physics(REPOSITION_SETTLE_STEPS)

    def _judge(self) -> None:
        """Measure the scene once and update the flags; ``evaluate`` only reports them."""
        left, right, on_receptacle = self._forces()
        fingers = (self.agent.finger1_link, self.agent.finger2_link)
        openings = [success.y_axis(link.pose.q) for link in fingers]
        self._grasped_now = success.is_grasped(left, right, openings[0], -openings[1])
        self._grasp_streak = torch.where(self._grasped_now, self._grasp_streak + 1, 0)
        self._ever_grasped = self._ever_grasped | self._grasped_now
        self._ever_held = self._ever_held | (self._grasp_streak >= success.CONSECUTIVE_GRASP_STEPS)
        self._success_now = success.is_on_receptacle(
            self._pose(self._object_keys)[:, :3],
            self._pose(self._receptacle_keys)[:, :3],
            self._object_box,
            self._receptacle_box,
            torch.linalg.norm(on_receptacle, dim=-1),
        )
        self._potential = success.potential(self._ever_grasped, self._ever_held, self._success_now)

    def _forces(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Forces [N] of the target on left finger, right finger and receptacle, each (B, 3)."""
        links = (self.agent.finger1_link, self.agent.finger2_link)
        if not self.gpu_sim_enabled:
            target, receptacle = self._bodies[self._object_keys[0]], self._bodies[self._receptacle_keys[0]]
            others = [link._objs[0].entity for link in links] + [receptacle._objs[0]]
            found = torch.tensor(forces_by(self.scene, target._objs[0], others), dtype=torch.float32)
            return found[0:1], found[1:2], found[2:3]
        force, bodies = self.scene.get_pairwise_contact_forces, self._bodies
        left, right = (self._gather(self._object_keys, lambda k, link=link: force(link, bodies[k])) for link in links)
        pairs = list(zip(self._object_keys, self._receptacle_keys, strict=True))
        return left, right, self._gather(pairs, lambda pair: force(bodies[pair[1]], bodies[pair[0]]))

    def _gather(self, keys: Sequence, read: Callable[[Any], torch.Tensor]) -> torch.Tensor:
        """Quantities (B, ...) of the bodies that each environment uses: ``read`` one key's, for B keys."""
        result = None
        for key in dict.fromkeys(keys):
            values = read(key)
            if self.num_envs == 1:
                return values
            used = torch.tensor([other == key for other in keys], device=self.device)
            result = values if result is None else torch.where(used[:, None], values, result)
        return result

    def _pose(self, keys: Sequence[Key]) -> torch.Tensor:
        """World poses (B, 7), wxyz."""
        return self._gather(keys, lambda key: self._bodies[key].pose.raw_pose)

    # What is reported

    def evaluate(self) -> dict[str, torch.Tensor]:
        """Upstream's info: flags of this step and distances [m]; free of side effects. Each (B,)."""
        fingers = (self.agent.finger1_link.pose.p + self.agent.finger2_link.pose.p) / 2
        target, receptacle = self._pose(self._object_keys)[:, :3], self._pose(self._receptacle_keys)[:, :3]
        return {
            "elapsed_steps": self._elapsed_steps.clone(),
            "is_src_obj_grasped": self._ever_grasped.clone(),
            "consecutive_grasp": self._ever_held.clone(),
            "src_on_target": self._success_now.clone(),
            "gripper_carrot_dist": torch.linalg.norm(fingers - target, dim=-1),
            "gripper_plate_dist": torch.linalg.norm(fingers - receptacle, dim=-1),
            "carrot_plate_dist": torch.linalg.norm(target - receptacle, dim=-1),
            "success": self._success_now.clone(),
        }

    def compute_dense_reward(self, obs: Any, action: torch.Tensor, info: dict) -> torch.Tensor:
        """The study's reward: the potential's change in this step, (B,)."""
        return self._potential - self._previous_potential

    def privileged_state(self) -> PrivilegedState:
        """Simulator truth as numpy, for oracle policies."""
        controller = self.agent.controller.controllers["arm"]
        base = self.agent.robot.pose
        distractors = [e.models[2] if len(e.models) > 2 else None for e in self.episodes]
        distractor_pose = np.full((self.num_envs, 7), np.nan, dtype=np.float32)
        for i, key in enumerate(distractors):
            if key is not None:
                distractor_pose[i] = self._bodies[key].pose.raw_pose[i].cpu().numpy()
        return PrivilegedState(
            assets=self.pack.name,
            object_pose=self._pose(self._object_keys).cpu().numpy(),
            receptacle_pose=self._pose(self._receptacle_keys).cpu().numpy(),
            base_pose=base.raw_pose.cpu().numpy(),
            gripper_pose=controller.ee_pose.raw_pose.cpu().numpy(),
            gripper_target=(base * controller._target_pose).raw_pose.cpu().numpy(),
            object_index=np.array([e.object for e in self.episodes]),
            receptacle_index=np.array([e.receptacle for e in self.episodes]),
            grasped=self._grasped_now.cpu().numpy(),
            success=self._success_now.cpu().numpy(),
            distractor=tuple(distractors),
            distractor_pose=distractor_pose,
        )

    def _get_obs_agent(self) -> dict[str, Any]:
        """ManiSkill's own, as a copy: a reset overwrites the controller's target in place."""
        return deepcopy(super()._get_obs_agent())

    def _get_obs_extra(self, info: dict) -> dict[str, torch.Tensor]:
        if self.obs_mode not in ("state", "state_dict"):
            return {}
        return {
            "object_pose": self._pose(self._object_keys),
            "receptacle_pose": self._pose(self._receptacle_keys),
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
        if not apply_texture_transforms or not (visual.rgb or self.obs_mode in ("state", "state_dict")):
            return super()._get_obs_sensor_data(apply_texture_transforms)
        modes = [mode for mode in MODES if getattr(visual, mode)]
        return {CAMERA_UID: self._view.data(modes) if modes else {"rgb": self._view.rgb()}}
