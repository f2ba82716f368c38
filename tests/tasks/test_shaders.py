"""The window camera's shader pack: what the edits leave of SAPIEN's ``default``, and that no pixel changes."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.tasks.environments import make_environment, needs_pack
from vlagen.assets.errors import VlagenError
from vlagen.tasks import shaders
from vlagen.tasks.sampling import evaluation_episodes
from vlagen.tasks.variants import variant

sapien = pytest.importorskip("sapien", reason="the extra `sim` is not installed")
torch = pytest.importorskip("torch", reason="the extra `sim` is not installed")
pytest.importorskip("mani_skill", reason="the extra `sim` is not installed")

pytestmark = [*needs_pack("builtin"), pytest.mark.sim]

DEFAULT = Path(sapien.__file__).parent / "vulkan_shader" / "default"


def slots(text, pattern):
    """Number -> name of the declarations that a pattern of two groups finds."""
    return {int(number): name for number, name in re.findall(pattern, text)}


# The text


def test_geometry_fills_three_targets_in_consecutive_slots():
    text = shaders.geometry_shader((DEFAULT / "gbuffer.frag").read_text())
    outputs = slots(text, r"layout\(location = (\d+)\) out vec4 (\w+);")
    assert outputs == {0: "outAlbedo", 1: "outSpecular", 2: "outNormal"}


def test_lighting_reads_those_and_the_depth():
    text = shaders.lighting_shader((DEFAULT / "deferred.frag").read_text())
    inputs = slots(text, r"layout\(set = 2, binding = (\d+)\) uniform sampler2D (\w+);")
    names = ["Albedo", "Specular", "Normal", "GbufferDepth"]
    assert sorted(inputs) == [0, 1, 2, 3]
    assert sorted(inputs.values()) == sorted(f"sampler{name}" for name in names)
    assert slots(text, r"layout\(location = (\d+)\) out vec4 (\w+);") == {0: "outPicture"}


@pytest.mark.parametrize(
    ("edit", "file", "passage"),
    [
        (shaders.geometry_shader, "gbuffer.frag", "outCustom"),
        (shaders.geometry_shader, "gbuffer.frag", "faceforward"),
        (shaders.lighting_shader, "deferred.frag", "samplerCustom"),
        (shaders.lighting_shader, "deferred.frag", "outLighting = vec4(color, 1);"),
    ],
)
def test_another_sapien_is_refused_with_what_it_lacks(edit, file, passage):
    text = (DEFAULT / file).read_text().replace(passage, "other")
    with pytest.raises(VlagenError, match=r"lacks .*pyproject"):
        edit(text)


# The files


FILES = {"foreground/a.frag": "first", "common/b.glsl": "second"}


def test_every_include_of_the_pack_is_among_its_files():
    files = shaders.pack_files(DEFAULT)
    for name, text in files.items():
        for included in re.findall(r'#include "(.+)"', text):
            assert os.path.normpath(Path(name).parent / included) in files


def test_processes_share_one_folder(tmp_path):
    folder = shaders.stored(FILES, tmp_path)
    assert {name: (folder / name).read_text() for name in FILES} == FILES
    assert shaders.stored(FILES, tmp_path) == folder
    assert shaders.stored(FILES | {"common/b.glsl": "third"}, tmp_path) != folder
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_with_other_content_is_not_used(tmp_path):
    folder = shaders.stored(FILES, tmp_path)
    (folder / "common/b.glsl").write_text("tampered")
    other = shaders.stored(FILES, tmp_path)
    assert other != folder
    assert (other / "common/b.glsl").read_text() == "second"


# The pixels


@pytest.fixture(scope="module")
def env():
    env = make_environment(obs_mode="rgb", render_backend="cpu")
    yield env
    env.close()


def start(env, row_id, position=0, **changes):
    episode = replace(evaluation_episodes(variant(row_id), 4)[position], **changes)
    env.reset(options={"episodes": [episode], "reconfigure": True})
    return env.unwrapped


def default_picture(task, part):
    """RGB and segmentation of a window as the ``default`` shader pack shows it."""
    window = task._view._window
    camera = sapien.render.RenderCameraComponent(part.width, part.height, str(DEFAULT))
    camera.local_pose = window.config.pose.sp
    window.mount.add_component(camera)
    k = window.intrinsic
    near, far = window.config.near, window.config.far
    camera.set_perspective_parameters(near, far, k[0, 0], k[1, 1], k[0, 2] - part.x, k[1, 2] - part.y, k[0, 1])
    task.scene.sub_scenes[0].update_render()
    camera.take_picture()
    rgb = (torch.from_numpy(camera.get_picture("Color"))[..., :3] * 255).to(torch.uint8)
    segmentation = torch.from_numpy(camera.get_picture("Segmentation")[..., 1].astype(np.int32))
    window.mount.remove_component(camera)
    return rgb, segmentation


def target_parts(task):
    """The parts of the render shapes of the object to move."""
    name = task.pack.objects[task.episodes[0].object].name
    (actor,) = (actor for key, actor in task.scene.actors.items() if key == name)
    body = actor._objs[0].find_component_by_type(sapien.render.RenderBodyComponent)
    return [part for shape in body.render_shapes for part in shape.parts]


def assert_default_pixels(task):
    view = task._view
    patch = view._window.capture(task.scene.sub_scenes[0], *view._foreground)
    part = view._window.window(*view._foreground)
    rgb, segmentation = default_picture(task, part)
    shown = view.mask(segmentation[None, ..., None])[0]
    assert shown.sum() > 1000
    assert torch.equal(patch.mask, shown)
    assert torch.equal(patch.rgb[shown], rgb[shown])


@pytest.mark.parametrize("row_id", ["train", "semantics/two-receptacles-unseen", "execution/robot-pose"])
def test_every_foreground_pixel_is_that_of_the_default_shader(env, row_id):
    task = start(env, row_id, position=1)
    rng = np.random.default_rng(0)
    for _ in range(4):
        env.step(np.array([[*rng.uniform(-0.04, 0.04, 6), 1.0]], dtype=np.float32))
        assert_default_pixels(task)


def test_bodies_that_glow_look_the_same(env):
    task = start(env, "train")
    dark = task._view.rgb()
    for part in target_parts(task):
        part.material.emission = [0.9, 0.2, 0.05, 0.7]
    assert_default_pixels(task)
    assert not torch.equal(task._view.rgb(), dark)


def test_translucent_bodies_are_drawn_by_the_default_shader(env):
    task = start(env, "train")
    for part in target_parts(task):
        part.material.base_color = [*part.material.base_color[:3], 0.5]
    task._start_view()
    assert torch.equal(task._view.rgb(), task._view.data(())["rgb"])
