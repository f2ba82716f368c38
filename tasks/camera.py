"""Taking the picture: only the window that robot and objects can cover is rendered (``region`` says which)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import sapien
import torch
from mani_skill.render import set_shader_pack
from mani_skill.sensors.camera import CameraConfig
from sapien.render import RenderBodyComponent, RenderCameraComponent

from .compositing import Patch
from .region import Frustum, Outline, Window, outline, visible_points, window

_OUTLINES: dict[str, Outline | None] = {}


def entity_outline(entity: sapien.Entity, key: str) -> Outline | None:
    """The convex outline of what is drawn for an entity, in its frame; None if nothing is. Cached under ``key``."""
    if key not in _OUTLINES:
        body = entity.find_component_by_type(RenderBodyComponent)
        points = [_shape_points(shape) for shape in body.render_shapes] if body is not None else []
        _OUTLINES[key] = outline(np.concatenate(points).astype(np.float64)) if points else None
    return _OUTLINES[key]


def _shape_points(shape) -> np.ndarray:
    """Vertices (N, 3) [m] of a render shape in its entity's frame."""
    pose = shape.local_pose.to_transformation_matrix()
    scale = getattr(shape, "scale", np.ones(3))
    points = np.concatenate([part.vertices for part in shape.parts]) * scale
    return points @ pose[:3, :3].T + pose[:3, 3]


class WindowCamera:
    """Renders the window of one camera's picture in which there is foreground.

    The window is a whole number of pixels away and has the same focal length, so its pixels equal those of the whole
    picture, but for a few dozen at mesh edges: mostly by one grey level, one or two that fall on the other side.
    """

    def __init__(self, config: CameraConfig, mount: sapien.Entity):
        self.config = config
        self.mount = mount
        self.intrinsic = np.asarray(config.intrinsic, dtype=np.float64)
        names = config.shader_config.texture_names
        self._color = next(name for name, modes in names.items() if "rgb" in modes)
        self._segmentation = next(name for name, modes in names.items() if "segmentation" in modes)
        self._cameras: dict[tuple[int, int], RenderCameraComponent] = {}

    def _camera(self, part: Window) -> RenderCameraComponent:
        size = (part.width, part.height)
        if size not in self._cameras:
            set_shader_pack(self.config.shader_config)
            camera = RenderCameraComponent(*size)
            camera.local_pose = self.config.pose.sp
            self.mount.add_component(camera)
            self._cameras[size] = camera
        camera, k = self._cameras[size], self.intrinsic
        camera.set_perspective_parameters(
            self.config.near, self.config.far, k[0, 0], k[1, 1], k[0, 2] - part.x, k[1, 2] - part.y, k[0, 1]
        )
        return camera

    def _extrinsic(self) -> np.ndarray:
        """World to OpenCV camera coordinates, (4, 4)."""
        camera = (self.mount.pose * self.config.pose.sp).to_transformation_matrix()
        axes = np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
        return axes @ np.linalg.inv(camera)

    def window(self, entities: Iterable[tuple[sapien.Entity, Outline]]) -> Window:
        """The window that holds these entities."""
        to_camera, points = self._extrinsic(), []
        frustum = Frustum(self.intrinsic, self.config.near, self.config.width, self.config.height)
        for entity, body in entities:
            pose = to_camera @ entity.pose.to_transformation_matrix()
            vertices = body.vertices @ pose[:3, :3].T + pose[:3, 3]
            points.append(visible_points(vertices, body.edges, frustum))
        return window(frustum.project(np.concatenate(points)), frustum.width, frustum.height)

    def capture(
        self, scene: sapien.Scene, entities: Sequence[tuple[sapien.Entity, Outline]], background: Sequence[int]
    ) -> Patch:
        """Render the entities' window; ``background`` are the segmentation ids that are not foreground."""
        part = self.window(entities)
        camera = self._camera(part)
        scene.update_render()
        camera.take_picture()
        transforms = self.config.shader_config.texture_transforms
        rgb = transforms[self._color](torch.from_numpy(camera.get_picture(self._color)))["rgb"]
        raw = camera.get_picture(self._segmentation)
        raw = raw.view(np.int32) if raw.dtype == np.uint32 else raw  # torch has no arithmetic on uint32
        segmentation = transforms[self._segmentation](torch.from_numpy(raw))["segmentation"][..., 0]
        return Patch(rgb, foreground(segmentation, background), part.x, part.y)


def foreground(segmentation: torch.Tensor, background: Sequence[int]) -> torch.Tensor:
    """Which pixels show robot or objects, given the ids (H, W) that are empty or table."""
    mask = segmentation != background[0]
    for other in background[1:]:
        mask &= segmentation != other
    return mask
