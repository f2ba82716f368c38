"""The task as one ManiSkill3 environment that executes any episode: a WidowX-250S puts an object on a receptacle.

Nothing is drawn while an episode starts: ``reset(options={"episodes": [...]})`` takes the episodes themselves, one per
parallel environment. The rules are those of ``protocol.md`` sections 1 to 5.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import sapien
import torch
from mani_skill.envs.sapien_env import BaseEnv
from mani_skill.utils import sapien_utils
from mani_skill.utils.structs import Actor, Pose
from mani_skill.utils.structs.types import SimConfig

from vlagen.assets.packs import Model, Pack, load_pack

from . import success
from .camera import WindowCamera, entity_outline, foreground
from .compositing import Patch
from .contacts import forces_by
from .episodes import Episode
from .instructions import render as render_instruction
from .interface import PrivilegedState
from .pictures import Pictures
from .robot import BASE_POSE, BUILD_POSE, CAMERA_UID, HOME_QPOS, SAFE_POSE, robot_class
from .scene import add_lights, attach, build_model, build_table, detach
from .selection import EpisodeSource

SETTLE_STEPS = 650  # physics steps: upstream's 50 and then 600 (Q6)
REPOSITION_SETTLE_STEPS = 50

Key = tuple[str, int]
"""``("object" | "receptacle", index in the pack)``."""


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
        self._window_camera = None
        for key in self.source.model_keys(self.episodes) if self.gpu_sim_enabled else self._episode_keys():
            self._build(key)

    def _episode_keys(self) -> list[Key]:
        """Objects by index, then receptacles: PhysX's contact order, hence the last bits, follow the building order."""
        return sorted({key for episode in self.episodes for key in episode.models})

    def _model(self, key: Key) -> Model:
        return (self.pack.objects if key[0] == "object" else self.pack.receptacles)[key[1]]

    def _parking(self, key: Key) -> sapien.Pose:
        """Behind the camera, each model at its own place."""
        return sapien.Pose([1.0 if key[0] == "object" else 2.0, 0.3 * key[1], 1.0], [0, 0, 0, 1])

    def _build(self, key: Key) -> None:
        self._bodies[key] = build_model(self.scene, self.pack, self._model(key), self._parking(key))

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
                actor.set_pose(self._start_poses(key))
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
        self._ever_grasped, self._ever_held, self._previous_potential = zeros, zeros.clone(), None
        self._judge()
        self._previous_potential = torch.zeros(self.num_envs, device=self.device)
        self._prepare_pictures()

    def _start_poses(self, key: Key) -> Pose:
        """Commanded poses of one model, (B, 7): where an episode uses it, else parked."""
        parking = self._parking(key)
        rows = []
        for episode in self.episodes:
            place, rotation = parking.p, parking.q
            if key == ("object", episode.object):
                place, rotation = episode.object_position, episode.yaw_quaternion
            elif key == ("receptacle", episode.receptacle):
                place, rotation = episode.receptacle_position, (1.0, 0.0, 0.0, 0.0)
            elif key == (episode.distractor, episode.distractor_index):
                place = episode.distractor_position
                rotation = episode.yaw_quaternion if key[0] == "object" else (1.0, 0.0, 0.0, 0.0)
            rows.append([*place, *rotation])
        return Pose.create(torch.tensor(np.array(rows), dtype=torch.float32, device=self.device))

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
        on_fingers = [
            self._gather(self._object_keys, lambda body, link=link: self.scene.get_pairwise_contact_forces(link, body))
            for link in links
        ]
        pairs = list(zip(self._object_keys, self._receptacle_keys, strict=True))
        on_receptacle = self._gather(
            pairs, lambda pair: self.scene.get_pairwise_contact_forces(pair[1], pair[0]), self._bodies_of
        )
        return on_fingers[0], on_fingers[1], on_receptacle

    def _bodies_of(self, pair: tuple[Key, Key]) -> tuple[Actor, Actor]:
        return self._bodies[pair[0]], self._bodies[pair[1]]

    def _gather(self, keys: Sequence, read: Callable, find: Callable | None = None) -> torch.Tensor:
        """Read a (B, ...) quantity from the body that each environment uses; ``keys`` has B entries."""
        result = None
        for key in dict.fromkeys(keys):
            values = read(find(key) if find else self._bodies[key])
            if self.num_envs == 1:
                return values
            used = torch.tensor([other == key for other in keys], device=self.device)
            result = values if result is None else torch.where(used[:, None], values, result)
        return result

    def _pose(self, keys: Sequence[Key]) -> torch.Tensor:
        """World poses (B, 7), wxyz."""
        return self._gather(keys, lambda body: body.pose.raw_pose)

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
        return PrivilegedState(
            object_pose=self._pose(self._object_keys).cpu().numpy(),
            receptacle_pose=self._pose(self._receptacle_keys).cpu().numpy(),
            base_pose=base.raw_pose.cpu().numpy(),
            gripper_pose=controller.ee_pose.raw_pose.cpu().numpy(),
            gripper_target=(base * controller._target_pose).raw_pose.cpu().numpy(),
            object_index=np.array([e.object for e in self.episodes]),
            receptacle_index=np.array([e.receptacle for e in self.episodes]),
            grasped=self._grasped_now.cpu().numpy(),
            success=self._success_now.cpu().numpy(),
        )

    def _get_obs_extra(self, info: dict) -> dict[str, torch.Tensor]:
        if self.obs_mode not in ("state", "state_dict"):
            return {}
        return {
            "object_pose": self._pose(self._object_keys),
            "receptacle_pose": self._pose(self._receptacle_keys),
            "gripper_pose": self.agent.controller.controllers["arm"].ee_pose.raw_pose,
        }

    # Pictures

    def _prepare_pictures(self) -> None:
        """Load the episodes' pictures, and say which bodies are foreground."""
        if not self.scene.can_render():
            return
        config = self._sensor_configs[CAMERA_UID]
        self._pictures = Pictures(self.pack, self.episodes, config.width, config.height, self.device)
        self._background_ids = [0, self._table._objs[0].per_scene_id]
        if self.num_envs > 1 or self.gpu_sim_enabled:
            return
        if self._window_camera is None:
            self._window_camera = WindowCamera(config, self.agent.robot.links_map["base_link"]._objs[0].entity)
        drawn = [(link._objs[0].entity, f"{self.agent.urdf_path}:{link.name}") for link in self.agent.robot.links]
        drawn += [(self._bodies[key]._objs[0], str(self._model(key).visual)) for key in self._episode_keys()]
        outlines = [(entity, entity_outline(entity, name)) for entity, name in drawn]
        self._foreground = [(entity, body) for entity, body in outlines if body is not None]

    def observed_rgb(self) -> torch.Tensor:
        """What the policies see now, (B, H, W, 3) uint8, in any observation mode of an environment that can render."""
        if self._window_camera is not None:
            scene = self.scene.sub_scenes[0]
            patches = [self._window_camera.capture(scene, self._foreground, self._background_ids)]
        else:
            patches = self._patches(self._full_pictures(rgb=True, segmentation=True))
        return self._pictures.observe(patches)

    def _full_pictures(self, **modes: bool) -> dict[str, torch.Tensor]:
        """The whole pictures (B, H, W, C) of the named modes, without compositing."""
        self.scene.update_render(update_sensors=True, update_human_render_cameras=False)
        self.capture_sensor_data()
        off = {"rgb": False, "depth": False, "position": False, "segmentation": False}
        return self.scene.sensors[CAMERA_UID].get_obs(**(off | modes))

    def _patches(self, data: dict[str, torch.Tensor]) -> list[Patch]:
        masks = foreground(data["segmentation"][..., 0], self._background_ids)
        return [Patch(rgb, mask, 0, 0) for rgb, mask in zip(data["rgb"], masks, strict=True)]

    def _get_obs_sensor_data(self, apply_texture_transforms: bool = True) -> dict[str, dict[str, torch.Tensor]]:
        visual = self.obs_mode_struct.visual
        modes = {name: getattr(visual, name) for name in ("depth", "position", "segmentation", "normal", "albedo")}
        if not apply_texture_transforms or not (visual.rgb or self.obs_mode in ("state", "state_dict")):
            return super()._get_obs_sensor_data(apply_texture_transforms)
        if not any(modes.values()):
            return {CAMERA_UID: {"rgb": self.observed_rgb()}}
        data = self._full_pictures(**(modes | {"rgb": True, "segmentation": True}))
        observed = self._pictures.observe(self._patches(data))
        return {CAMERA_UID: {"rgb": observed} | {name: data[name] for name, wanted in modes.items() if wanted}}

    def render_rgb_array(self, camera_name: str | None = None) -> torch.Tensor:
        """What the policies see, so that recorded videos show the disturbances too."""
        return self.observed_rgb()
