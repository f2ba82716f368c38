"""What the policies see: takes the pictures of the running episodes and composites them."""

from __future__ import annotations

from collections.abc import Sequence

import sapien
import torch
from mani_skill.envs.scene import ManiSkillScene
from mani_skill.sensors.camera import Camera

from .camera import WindowCamera, entity_outline, foreground, is_opaque
from .compositing import Patch
from .pictures import Pictures
from .region import Bodies

MODES = ("depth", "position", "segmentation", "normal", "albedo")
"""What can be observed beside ``rgb``; anything of these takes the whole picture."""


class View:
    """The camera of one built scene.

    Args:
        scene: the scene, with its sensors set up.
        camera: the policies' camera.
        mount: the entity that carries the camera, in a scene with one environment on the CPU; there only the window
            that holds the foreground is rendered, if the shader is ``default`` and the bodies are opaque. None renders
            whole pictures.
        table: the table's entity, which is background.
    """

    def __init__(self, scene: ManiSkillScene, camera: Camera, mount: sapien.Entity | None, table: sapien.Entity):
        self._scene = scene
        self._camera = camera
        self._background = (0, table.per_scene_id)
        simple = mount is not None and camera.config.shader_config.shader_pack == "default"
        self._window = WindowCamera(camera.config, mount, table.per_scene_id) if simple else None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the picture [pixels]."""
        return self._camera.config.width, self._camera.config.height

    def start(self, pictures: Pictures, drawn: Sequence[tuple[sapien.Entity, str]]) -> None:
        """Begin new episodes with their table and texture pictures.

        ``drawn`` are the entities that can be foreground, each with a name under which its outline is kept.
        """
        self._pictures = pictures
        self._foreground = None
        if self._window is not None and all(is_opaque(entity) for entity, _ in drawn):
            outlines = [(entity, entity_outline(entity, name)) for entity, name in drawn]
            entities, bodies = zip(*((entity, body) for entity, body in outlines if body is not None), strict=True)
            self._foreground = entities, Bodies(bodies)

    def rgb(self) -> torch.Tensor:
        """What the policies see now, (B, H, W, 3) uint8."""
        if self._foreground is None:
            return self.data(())["rgb"]
        patch = self._window.capture(self._scene.sub_scenes[0], *self._foreground)
        return self._pictures.observe([patch])

    def data(self, modes: Sequence[str]) -> dict[str, torch.Tensor]:
        """``rgb`` as the policies see it, and the whole rendered pictures of other ``MODES``, each (B, H, W, C)."""
        raw = self.rendered((*modes, "rgb", "segmentation"))
        masks = self.mask(raw["segmentation"])
        patches = [Patch(rgb, mask, 0, 0) for rgb, mask in zip(raw["rgb"], masks, strict=True)]
        return {"rgb": self._pictures.observe(patches)} | {mode: raw[mode] for mode in modes}

    def rendered(self, modes: Sequence[str]) -> dict[str, torch.Tensor]:
        """The whole pictures (B, H, W, C) of ``rgb`` or other ``MODES`` as they are rendered."""
        self._scene.update_render(update_sensors=True, update_human_render_cameras=False)
        self._camera.capture()
        return self._camera.get_obs(**{mode: mode in modes for mode in ("rgb", *MODES)})

    def mask(self, segmentation: torch.Tensor) -> torch.Tensor:
        """Which pixels (B, H, W) show robot or objects, of segmentation (B, H, W, 1)."""
        return foreground(segmentation[..., 0], self._background)
