"""The built-in pack: complete, within the sizes the task needs, at rest when dropped, and what its generator writes."""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from vlagen.assets.generate.__main__ import save_models
from vlagen.assets.generate.objects import OBJECTS
from vlagen.assets.generate.receptacles import RECEPTACLES
from vlagen.assets.generate.robot import NO_COLLISION, save_robot
from vlagen.assets.generate.scenery import outline, render, to_room
from vlagen.assets.generate.tables import TABLES
from vlagen.assets.generate.textures import TEXTURES
from vlagen.assets.generate.write import save_picture

ROOT = Path(__file__).resolve().parents[2] / "assets" / "builtin"
MANIFEST = json.loads((ROOT / "manifest.json").read_text())
TABLE_TOP = 0.869532
LIMIT_BYTES = 8_000_000


def hulls(path: Path) -> list[np.ndarray]:
    """Vertices of every named body of an OBJ file."""
    bodies: list[list[list[float]]] = []
    for line in path.read_text().splitlines():
        word, *rest = line.split()
        if word == "o":
            bodies.append([])
        elif word == "v":
            bodies[-1].append([float(value) for value in rest])
    return [np.array(body) for body in bodies]


def test_counts_and_splits():
    assert [entry["split"] for entry in MANIFEST["objects"]] == ["train"] * 16 + ["held-out"] * 9
    assert [entry["split"] for entry in MANIFEST["receptacles"]] == ["train"] + ["held-out"] * 16
    assert [entry["split"] for entry in MANIFEST["tables"]] == ["train"] * 16 + ["held-out"] * 5
    assert [entry["mix"] for entry in MANIFEST["textures"]] == [0.0] + [1.0] * 20
    assert MANIFEST["receptacles"][0]["name"] == "plate"


def test_names_and_texts_are_unique_lower_case_words():
    texts = [entry["text"] for kind in ("objects", "receptacles") for entry in MANIFEST[kind]]
    assert len(set(texts)) == 42
    assert all(text.replace(" ", "").isalpha() and text == text.lower() for text in texts)
    for kind in ("objects", "receptacles", "tables", "textures"):
        names = [entry["name"] for entry in MANIFEST[kind]]
        assert len(set(names)) == len(names)


def test_every_file_is_listed_with_its_checksum_and_the_pack_is_small():
    present = {path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*") if path.is_file()}
    assert present == {"manifest.json", *MANIFEST["files"]}
    for name, entry in MANIFEST["files"].items():
        data = (ROOT / name).read_bytes()
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (entry["sha256"], entry["bytes"]), name
    assert sum(entry["bytes"] for entry in MANIFEST["files"].values()) <= LIMIT_BYTES


@pytest.mark.parametrize("entry", [*MANIFEST["tables"], *MANIFEST["textures"]], ids=lambda entry: entry["name"])
def test_pictures_are_640_by_480_and_not_blank(entry):
    with Image.open(ROOT / entry["image"]) as image:
        assert image.size == (640, 480)
        assert "transparency" not in image.info
        pixels = np.asarray(image.convert("RGB"))
    assert pixels.std() > 10 or entry["name"] == "plain"


@pytest.mark.parametrize("name", TABLES)
def test_the_workspace_lies_on_the_table(name):
    corners = np.array([[x, y, TABLE_TOP] for x in (-0.27, -0.05) for y in (-0.11, 0.11)])
    room = to_room(TABLES[name], corners)
    # 5 cm: half of a receptacle or a long object around the outermost position.
    assert outline(TABLES[name], room[:, 0], room[:, 1]).max() < -0.05


@pytest.mark.parametrize("kind", ["objects", "receptacles"])
def test_hulls_are_convex_small_and_span_the_stated_box(kind):
    spatial = pytest.importorskip("scipy.spatial")
    for entry in MANIFEST[kind]:
        bodies = hulls(ROOT / entry["collision"])
        assert len(bodies) <= 2, entry["name"]
        volume = 0.0
        for body in bodies:
            assert len(body) <= 64, entry["name"]
            hull = spatial.ConvexHull(body)
            # A corner may be off its hull by the rounding of the file to 1 um, no more.
            off = np.setdiff1d(np.arange(len(body)), hull.vertices)
            depth = -(hull.equations[:, :3] @ body[off].T + hull.equations[:, 3:])
            assert off.size == 0 or depth.min(axis=0).max() < 2e-6, entry["name"]
            volume += hull.volume
        points = np.concatenate(bodies)
        np.testing.assert_allclose([points.min(axis=0), points.max(axis=0)], entry["bbox"], atol=1.5e-6)
        assert 0.01 <= volume * entry["density"] <= 0.5, entry["name"]


def test_objects_fit_the_gripper():
    for entry in MANIFEST["objects"]:
        low, high = np.array(entry["bbox"])
        size = high - low
        assert size.max() <= 0.15, entry["name"]
        assert 0.015 <= size[2] <= 0.09, entry["name"]
        assert np.abs(low + high).max() < 1e-5, entry["name"]
        width = narrowest_width(hulls(ROOT / entry["collision"]))
        assert 0.012 <= width <= 0.042, (entry["name"], width)


def narrowest_width(bodies: list[np.ndarray]) -> float:
    """Least horizontal width [m] at the middle height of what fingers 1 cm wide enclose, over directions."""
    spatial = pytest.importorskip("scipy.spatial")
    planes = [spatial.ConvexHull(body).equations for body in bodies]
    widths = []
    for angle in np.linspace(0, np.pi, 37):
        across, along = np.array([np.cos(angle), np.sin(angle), 0]), np.array([-np.sin(angle), np.cos(angle), 0])
        ends = [chord(plane, offset * along, across) for plane in planes for offset in (-0.005, 0.0, 0.005)]
        reached = [end for end in ends if end is not None]
        widths.append(max(high for _, high in reached) - min(low for low, _ in reached))
    return min(widths)


def chord(planes: np.ndarray, point: np.ndarray, direction: np.ndarray) -> tuple[float, float] | None:
    """Where a line enters and leaves a convex body given by its planes; None if it misses."""
    slope, level = planes[:, :3] @ direction, planes[:, :3] @ point + planes[:, 3]
    low = max((-level[slope < -1e-9] / slope[slope < -1e-9]), default=-np.inf)
    high = min((-level[slope > 1e-9] / slope[slope > 1e-9]), default=np.inf)
    outside = (level[np.abs(slope) <= 1e-9] > 0).any()
    return None if outside or low >= high else (float(low), float(high))


def test_receptacles_are_flat_and_about_11_cm_wide():
    for entry in MANIFEST["receptacles"]:
        size = np.diff(entry["bbox"], axis=0)[0]
        assert 0.10 <= size[:2].max() <= 0.12, entry["name"]
        assert size[:2].min() >= 0.08, entry["name"]
        assert size[2] <= 0.009, entry["name"]
        assert np.abs(np.sum(entry["bbox"], axis=0)[:2]).max() < 1e-5, entry["name"]


def test_models_are_what_the_generator_writes(tmp_path):
    by_name = {entry["name"]: entry for kind in ("objects", "receptacles") for entry in MANIFEST[kind]}
    for kind, models in (("objects", OBJECTS[:3] + OBJECTS[-1:]), ("receptacles", RECEPTACLES[:1] + RECEPTACLES[-1:])):
        for entry in save_models(tmp_path, kind, models, train=0):
            kept = by_name[entry["name"]]
            assert {**entry, "split": kept["split"], "bbox": None} == {**kept, "bbox": None}
            np.testing.assert_allclose(entry["bbox"], kept["bbox"], atol=1e-6)
            for ours, theirs in zip(
                hulls(tmp_path / entry["collision"]), hulls(ROOT / entry["collision"]), strict=True
            ):
                np.testing.assert_allclose(ours, theirs, atol=1e-6)
            assert abs((tmp_path / entry["visual"]).stat().st_size - (ROOT / entry["visual"]).stat().st_size) < 2000


def test_generator_is_deterministic(tmp_path):
    for run in ("first", "second"):
        save_models(tmp_path / run, "objects", OBJECTS[11:12], train=0)
        save_models(tmp_path / run, "receptacles", RECEPTACLES[6:7], train=0)
        save_robot(tmp_path / run / "robot")
        save_picture(TEXTURES["polka"](), tmp_path / run / "polka.png")
    files = sorted(path.relative_to(tmp_path / "first") for path in (tmp_path / "first").rglob("*") if path.is_file())
    assert len(files) > 20
    for file in files:
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes(), file


@pytest.mark.parametrize(
    ("paint", "image"),
    [
        (lambda: render(TABLES["marble"]), "tables/marble.png"),
        (TEXTURES["voronoi"], "textures/voronoi.png"),
        (TEXTURES["tartan"], "textures/tartan.png"),
    ],
    ids=["marble", "voronoi", "tartan"],
)
def test_pictures_are_what_the_generator_paints(paint, image, tmp_path):
    save_picture(paint(), tmp_path / "again.png")
    ours, theirs = (
        np.asarray(Image.open(p).convert("RGB")).astype(int) for p in (tmp_path / "again.png", ROOT / image)
    )
    assert np.abs(ours - theirs).max() <= 1


INITIAL_QPOS = [-0.01840777, 0.0398835, 0.22242722, -0.00460194, 1.36524296, 0.00153398, 0.037, 0.037]


@functools.cache
def load_robot():
    """The scene, and the arm loaded into it with SAPIEN's own loader; bodies only, as visuals take a renderer."""
    sapien = pytest.importorskip("sapien")
    scene = sapien.Scene([sapien.physx.PhysxCpuSystem()])
    scene.set_timestep(1 / 500)
    loader = scene.create_urdf_loader()
    loader.fix_root_link = True
    with tempfile.TemporaryDirectory() as folder:
        urdf = Path(shutil.copytree((ROOT / MANIFEST["robot"]["urdf"]).parent, Path(folder) / "robot")) / "wx250s.urdf"
        tree = ElementTree.parse(urdf)
        for link in tree.iter("link"):
            for visual in link.findall("visual"):
                link.remove(visual)
        tree.write(urdf)
        return scene, loader.load(str(urdf))


@pytest.mark.sim
def test_robot_kinematics_match_the_protocol():
    _, robot = load_robot()
    names = ["waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate", "left_finger", "right_finger"]
    assert [joint.name for joint in robot.active_joints] == names
    np.testing.assert_allclose(robot.get_qlimits()[-2:], [[0.015, 0.037]] * 2, atol=1e-7)
    robot.set_qpos(np.array(INITIAL_QPOS))
    pose = next(link for link in robot.links if link.name == "ee_gripper_link").entity_pose
    np.testing.assert_allclose(pose.p, [0.2920694, -0.0060915, 0.1353209], atol=2e-6)
    np.testing.assert_allclose(pose.q, [0.6867121, 0.0052571, 0.7268656, -0.0080838], atol=2e-6)


@pytest.mark.sim
def test_robot_touches_nothing_of_itself_at_the_start():
    scene, robot = load_robot()
    robot.set_qpos(np.array(INITIAL_QPOS))
    robot.set_qvel(np.zeros(8))
    for link in robot.links:
        link.disable_gravity = True
    scene.step()
    assert not [contact for contact in scene.get_contacts() if any(p.separation < 0 for p in contact.points)]


@pytest.mark.sim
def test_fingers_close_on_the_same_width_as_the_real_ones():
    _, robot = load_robot()
    fingers = {link.name: link for link in robot.links if link.name.endswith("finger_link")}
    for side, name in ((1, "left_finger_link"), (-1, "right_finger_link")):
        (shape,) = fingers[name].collision_shapes
        points = np.asarray(shape.vertices) * [1, side, 1] * 1000
        # Measured on the mesh of the real finger, in its link frame [mm]: tip, root, width, inner face near the tip.
        np.testing.assert_allclose(points[:, 0].max(), 43.15, atol=0.3)
        np.testing.assert_allclose(points[:, 0].min(), -12.15, atol=0.3)
        np.testing.assert_allclose(np.abs(points[:, 2]).max(), 14.5, atol=0.3)
        np.testing.assert_allclose(points[points[:, 0] > 42, 1].min(), -8.95, atol=0.3)
        np.testing.assert_allclose(points[:, 1].min(), -11.0, atol=0.3)


def test_pairs_that_may_touch_are_the_seven_of_the_original():
    text = (ROOT / "robot" / "wx250s.srdf").read_text()
    assert len(NO_COLLISION) == 7
    assert text.count("disable_collisions") == 7


@pytest.mark.sim
@pytest.mark.parametrize("entry", MANIFEST["objects"], ids=lambda entry: entry["name"])
def test_a_dropped_object_comes_to_rest_upright(entry):
    sapien = pytest.importorskip("sapien")
    material, default = sapien.physx.PhysxMaterial(1.0, 1.0, 0.0), sapien.physx.PhysxMaterial(0.3, 0.3, 0.0)
    scene = sapien.Scene([sapien.physx.PhysxCpuSystem()])
    scene.set_timestep(1 / 500)
    ground = scene.create_actor_builder()
    ground.add_box_collision(sapien.Pose([0, 0, TABLE_TOP - 0.05]), [2, 2, 0.05], material=default)
    ground.build_static()
    bodies = []
    for number, yaw in enumerate((0, np.pi / 4, np.pi / 2, 3 * np.pi / 4)):
        builder = scene.create_actor_builder()
        builder.add_multiple_convex_collisions_from_file(
            str(ROOT / entry["collision"]), density=entry["density"], material=material
        )
        builder.set_initial_pose(sapien.Pose([0.4 * number - 0.6, 0, 0.95], [np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)]))
        bodies.append((builder.build(), yaw))
    for _ in range(650):
        scene.step()
    for actor, yaw in bodies:
        body = actor.find_component_by_type(sapien.physx.PhysxRigidDynamicComponent)
        assert np.linalg.norm(body.linear_velocity) < 1e-3
        assert np.linalg.norm(body.angular_velocity) < 1e-2
        start = sapien.Pose(q=[np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)])
        turn = (start.inv() * actor.pose).q
        assert np.rad2deg(2 * np.arccos(min(1.0, abs(float(turn[0]))))) < 10
        half_height = entry["bbox"][1][2]
        assert actor.pose.p[2] == pytest.approx(TABLE_TOP + half_height, abs=2e-3)
