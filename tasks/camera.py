"""Taking the picture: only the window that robot and objects can cover is rendered (``region`` says which)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import sapien
import torch
from mani_skill.sensors.camera import CameraConfig
from sapien.render import RenderBodyComponent, RenderCameraComponent

from .compositing import Patch
from .region import Bodies, Frustum, Outline, Window, outline, window
from .shaders import BACKGROUND, PICTURE, foreground_pack

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


def is_opaque(entity: sapien.Entity) -> bool:
    """Whether nothing that is drawn for an entity lets light through; textures may still have holes."""
    body = entity.find_component_by_type(RenderBodyComponent)
    shapes = body.render_shapes if body is not None else ()
    return all(part.material.base_color[3] == 1 for shape in shapes for part in shape.parts)


class WindowCamera:
    """Renders the window of one camera's picture in which there is foreground.

    The window is a whole number of pixels away and has the same focal length, so its pixels equal those of the whole
    picture, but for a few dozen at mesh edges: mostly by one grey level, one or two that fall on the other side.

    Args:
        config: the camera whose picture it is, with the ``default`` shader pack.
        mount: the entity that carries it.
        background: segmentation id of the body that hides others but is not foreground.
    """

    def __init__(self, config: CameraConfig, mount: sapien.Entity, background: int):
        self.config = config
        self.mount = mount
        self.intrinsic = np.asarray(config.intrinsic, dtype=np.float64)
        self._background = background
        self._cameras: dict[tuple[int, int], RenderCameraComponent] = {}

    def _camera(self, part: Window) -> RenderCameraComponent:
        size = (part.width, part.height)
        if size not in self._cameras:
            camera = RenderCameraComponent(*size, str(foreground_pack()))
            camera.set_property(BACKGROUND, self._background)
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

    def window(self, entities: Sequence[sapien.Entity], bodies: Bodies) -> Window:
        """The window that holds these entities; ``bodies`` are their outlines."""
        poses = self._extrinsic() @ np.stack([entity.pose.to_transformation_matrix() for entity in entities])
        frustum = Frustum(self.intrinsic, self.config.near, self.config.width, self.config.height)
        return window(frustum.project(bodies.visible_points(poses, frustum)), frustum.width, frustum.height)

    def capture(self, scene: sapien.Scene, entities: Sequence[sapien.Entity], bodies: Bodies) -> Patch:
        """Render the entities' window."""
        part = self.window(entities, bodies)
        camera = self._camera(part)
        scene.update_render()
        camera.take_picture()
        # Truncated here, not in the shader: there the compiler merges it with the gamma, and a pixel in 10^5 changes.
        picture = torch.from_numpy((camera.get_picture(PICTURE) * np.float32(255)).astype(np.uint8))
        return Patch(picture[..., :3], picture[..., 3] > 0, part.x, part.y)


def foreground(segmentation: torch.Tensor, background: Sequence[int]) -> torch.Tensor:
    """Which pixels show robot or objects, given the ids (H, W) that are empty or table."""
    mask = segmentation != background[0]
    for other in background[1:]:
        mask &= segmentation != other
    return mask
