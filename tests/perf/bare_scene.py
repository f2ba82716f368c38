"""The floor: the task's scene in bare SAPIEN, without ManiSkill, controller, predicates or compositing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import sapien
from sapien import physx, render

TABLE_TOP = 0.869532
PHYSICS_STEPS = 100


class BareScene:
    """Robot, table, one object and one receptacle; ``step`` is 100 physics steps and one 640x480 picture, fetched."""

    def __init__(self, robot_urdf: Path, models: list):
        physx.set_body_config(solver_position_iterations=15, solver_velocity_iterations=1)
        physx.set_default_material(0.3, 0.3, 0.0)
        render.set_camera_shader_dir("default")
        render.set_picture_format("Color", "r32g32b32a32sfloat")
        self.scene = sapien.Scene([physx.PhysxCpuSystem(), render.RenderSystem("cpu")])
        self.scene.physx_system.timestep = 1 / 500
        self._robot(robot_urdf)
        self._table()
        self._bodies(models)
        self._lights()
        self._camera()

    def _robot(self, urdf: Path) -> None:
        loader = self.scene.create_urdf_loader()
        loader.fix_root_link = True
        self.robot = loader.load(str(urdf))
        self.robot.set_pose(sapien.Pose([0.147, 0.028, 0.870], [0, 0, 0, 1]))
        qpos = [-0.01840777, 0.0398835, 0.22242722, -0.00460194, 1.36524296, 0.00153398, 0.037, 0.037]
        self.robot.set_qpos(np.array(qpos))
        for joint, target in zip(self.robot.get_active_joints(), qpos, strict=True):
            joint.set_drive_properties(1000, 200, force_limit=100)
            joint.set_drive_target(target)
        for link in self.robot.get_links():
            link.disable_gravity = True

    def _table(self) -> None:
        builder = self.scene.create_actor_builder()
        builder.add_box_collision(half_size=[0.75, 1.0, 0.4])
        builder.add_box_visual(half_size=[0.75, 1.0, 0.4])
        builder.set_initial_pose(sapien.Pose([-0.25, 0, TABLE_TOP - 0.4]))
        builder.build_static(name="arena")

    def _bodies(self, models: list) -> None:
        material = physx.PhysxMaterial(1.0, 1.0, 0.0)
        for model, position in zip(
            models, ([-0.2, 0.05, 0.95], [-0.11, -0.05, 0.92], [-0.25, -0.07, 1.0]), strict=False
        ):
            builder = self.scene.create_actor_builder()
            builder.add_multiple_convex_collisions_from_file(
                str(model.collision), material=material, density=model.density
            )
            builder.add_visual_from_file(str(model.visual))
            builder.set_initial_pose(sapien.Pose(position))
            builder.build(name=model.name)
        for _ in range(650):
            self.scene.step()

    def _lights(self) -> None:
        self.scene.set_ambient_light([0.3, 0.3, 0.3])
        for direction, colour in (([0, 0, -1], 2.2), ([-1, -0.5, -1], 0.7), ([1, 1, -1], 0.7)):
            self.scene.add_directional_light(direction, [colour] * 3)

    def _camera(self) -> None:
        camera = render.RenderCameraComponent(640, 480)
        camera.set_perspective_parameters(0.01, 100, 623.588, 623.588, 319.501, 239.545, 0.0)
        camera.local_pose = sapien.Pose([0, -0.16, 0.36], [0.8992917, -0.09263245, 0.35892478, 0.23209205])
        self.robot.get_links()[0].entity.add_component(camera)
        self.camera = camera

    def picture(self) -> tuple[np.ndarray, np.ndarray]:
        """Take and fetch colour and segmentation."""
        self.scene.update_render()
        self.camera.take_picture()
        return self.camera.get_picture("Color"), self.camera.get_picture("Segmentation")

    def step(self) -> None:
        """One control step's worth of physics, and its picture."""
        for _ in range(PHYSICS_STEPS):
            self.scene.step()
        self.picture()
