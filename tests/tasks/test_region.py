"""Which window of the picture is rendered: projections by hand, and that nothing visible is ever left out."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("scipy", reason="outlines are convex hulls (extra `sim`)")

from vlagen.tasks import region
from vlagen.tasks.region import Bodies, Frustum, Outline, Window, outline, visible_points, window

# A camera of 640 x 480 pixels that shows 1 m at a distance of 1 m in 100 pixels; the optical axis meets (320, 240).
CAMERA = Frustum(np.array([[100.0, 0, 320], [0, 100, 240], [0, 0, 1]]), near=0.1, width=640, height=480)

CORNERS = np.array([[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])


def box(center, half=(1.0, 1.0, 1.0)):
    body = outline(CORNERS * half)
    return Outline(body.vertices + center, body.edges)


def seen(body, frustum=CAMERA):
    """Pixels (N, 2) that span what shows of a body."""
    return frustum.project(visible_points(body.vertices, body.edges, frustum))


def bounds(pixels):
    return [*pixels.min(axis=0).round(9).tolist(), *pixels.max(axis=0).round(9).tolist()]


# Outlines


def test_a_cube_has_its_eight_corners_and_twelve_edges():
    inside = [[0.0, 0.0, 0.0], [0.5, -0.5, 0.9]]
    body = outline(np.concatenate([CORNERS, inside]))
    assert sorted(map(tuple, body.vertices.tolist())) == sorted(map(tuple, CORNERS.tolist()))
    lengths = np.linalg.norm(body.vertices[body.edges[:, 0]] - body.vertices[body.edges[:, 1]], axis=1)
    assert (np.abs(lengths - 2) < 1e-12).sum() == 12  # the others are diagonals of its faces, cut into triangles
    assert len(lengths) == 18


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_flat_sheet_has_its_four_corners(axis):
    sheet = np.insert(np.array([[0.0, 0.0], [2.0, 0.0], [2.0, 1.0], [0.0, 1.0], [1.0, 0.5]]), axis, 5.0, axis=1)
    body = outline(sheet)
    assert {tuple(v) for v in body.vertices.tolist()} == {tuple(v) for v in sheet[:4].tolist()}
    lengths = np.linalg.norm(body.vertices[body.edges[:, 0]] - body.vertices[body.edges[:, 1]], axis=1)
    assert set(lengths.tolist()) == {0.0, 1.0, 2.0}


def test_a_sheet_that_leans_is_inside_its_outline():
    sheet = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 1.0], [1.0, 1.0, 1.0], [0.0, 1.0, 0.0]])
    body = outline(sheet)
    assert np.all(body.vertices.min(0) <= 0)
    assert np.all(body.vertices.max(0) >= 1)


def test_a_single_point_and_a_line_have_outlines():
    assert (outline(np.ones((1, 3))).vertices == 1).all()
    assert set(outline(np.array([[0.0, 0, 0], [0, 0, 3]])).vertices[:, 2]) == {0.0, 3.0}


# What shows of a body


def test_projection_by_hand():
    points = np.array([[0.0, 0.0, 2.0], [1.0, 0.0, 2.0], [0.0, 1.0, 2.0], [-2.0, -1.0, 1.0]])
    assert CAMERA.project(points).tolist() == [[320, 240], [370, 240], [320, 290], [120, 140]]


def test_a_body_in_front_shows_whole():
    # A cube of 2 m whose near face is 4 m away: one metre there is 25 pixels.
    assert bounds(seen(box((0.0, 0.0, 5.0)))) == [295.0, 215.0, 345.0, 265.0]


def test_a_body_half_outside_shows_up_to_the_pictures_side():
    # 5 m away, 20 pixels a metre: the left side of the picture is at x = -16 m, the top at y = -12 m.
    pixels = seen(box((-16.0, 0.0, 6.0), (2.0, 1.0, 1.0)))
    left, top, right, bottom = bounds(pixels)
    assert left == 0.0
    assert right == 120.0  # 7 m away, the far end of its right face shows at x = -14 m: 20 pixels are 1.4 m
    assert (top, bottom) == (220.0, 260.0)


@pytest.mark.parametrize(
    "center", [(0.0, 0.0, -5.0), (0.0, 0.0, -1.0), (-40.0, 0.0, 6.0), (40.0, 0.0, 6.0), (0.0, 40.0, 6.0)]
)
def test_a_body_behind_or_beside_the_picture_does_not_show(center):
    assert len(visible_points(*box(center), CAMERA)) == 0


def test_a_body_that_reaches_through_the_near_plane_may_show_anywhere():
    beam = box((0.0, 2.0, 0.0), (0.5, 1.0, 5.0))  # below the camera, from 5 m behind it to 5 m before it
    assert bounds(seen(beam)) == [0.0, 0.0, 640.0, 480.0]


def test_a_body_before_the_near_plane_does_not_show():
    assert len(visible_points(*box((0.0, 0.0, 0.0), (0.05, 0.05, 0.05)), CAMERA)) == 0


@pytest.mark.parametrize(
    ("center", "expected"),
    [
        ((0.0, 0.0, 1.5), [0, 0, 640, 480]),  # a wall over the whole picture: none of its edges shows
        ((-50.0, 0.0, 1.5), [0, 0, 320, 480]),  # a wall over the left half: of its edges one shows
        ((0.0, 50.0, 1.5), [0, 240, 640, 480]),
        ((-50.0, -50.0, 1.5), [0, 0, 320, 240]),
    ],
)
def test_a_wall_shows_up_to_the_pictures_corners(center, expected):
    assert bounds(seen(box(center, (50.0, 50.0, 0.5)))) == expected


def test_several_bodies_show_what_each_shows():
    rng = np.random.default_rng(1)
    bodies = [random_body(rng)[0] for _ in range(60)]
    poses = np.tile(np.eye(4), (60, 1, 1))
    poses[:, :3, :3] = np.linalg.qr(rng.normal(size=(60, 3, 3)))[0]
    poses[:, :3, 3] = rng.uniform(-1, 1, (60, 3))
    moved = [Outline(b.vertices @ p[:3, :3].T + p[:3, 3], b.edges) for b, p in zip(bodies, poses, strict=True)]
    parts = [visible_points(*body, CAMERA) for body in moved]
    assert 0 < sum(len(part) == 0 for part in parts) < 60
    together = Bodies(bodies).visible_points(poses, CAMERA)
    assert sorted(map(tuple, together.round(9))) == sorted(map(tuple, np.concatenate(parts).round(9)))


# Windows


@pytest.fixture
def steps_of_64(monkeypatch):
    """How large the steps are is a matter of speed; these numbers are for 64 pixels."""
    monkeypatch.setattr(region, "WINDOW_STEP", 64)


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        ([[100.0, 100.0]], (98, 98, 64, 64)),
        ([[100.0, 100.0], [157.0, 157.0]], (98, 98, 64, 64)),  # 100 - 2 to 157 + 2 are 62 pixels
        ([[100.0, 100.0], [161.0, 157.0]], (98, 98, 128, 64)),  # one more than 64
        ([[0.0, 0.0]], (0, 0, 64, 64)),
        ([[639.0, 479.0]], (576, 416, 64, 64)),  # pushed back into the picture
        ([[0.0, 0.0], [640.0, 480.0]], (0, 0, 640, 480)),
        ([[0.0, 300.0], [640.0, 479.0]], (0, 288, 640, 192)),
        ([[-500.0, 200.0], [-400.0, 210.0]], (0, 198, 64, 64)),
        ([[2000.0, 200.0], [2100.0, 210.0]], (576, 198, 64, 64)),
    ],
)
def test_windows_by_hand(pixels, expected, steps_of_64):
    assert window(np.array(pixels), 640, 480) == Window(*expected)


def test_nothing_visible_gives_the_smallest_window(steps_of_64):
    assert window(np.empty((0, 2)), 640, 480) == Window(0, 0, 64, 64)


def test_a_picture_smaller_than_a_step_is_its_own_window(steps_of_64):
    assert window(np.array([[10.0, 10.0]]), 50, 30) == Window(0, 0, 50, 30)


def random_body(rng):
    """A turned box of 2 cm to 3 m, anywhere around a camera."""
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    half = 10 ** rng.uniform(-2, 0.2, size=3)
    center = rng.uniform((-3, -3, -1), (3, 3, 3))
    body = outline(CORNERS * half)
    surface = rng.uniform(-1, 1, size=(600, 3))
    surface[np.arange(600), rng.integers(0, 3, 600)] = rng.choice((-1.0, 1.0), 600)
    return Outline(body.vertices @ turn.T + center, body.edges), surface * half @ turn.T + center


def test_every_visible_point_of_a_body_is_in_its_window():
    rng = np.random.default_rng(0)
    partly, unseen = 0, []
    for trial in range(3000):
        body, surface = random_body(rng)
        x, y, width, height = window(seen(body), 640, 480)
        assert 0 <= x <= x + width <= 640
        assert 0 <= y <= y + height <= 480
        surface = surface[surface[:, 2] > CAMERA.near]
        pixels = CAMERA.project(surface)
        pixels = pixels[((pixels >= 0) & (pixels < (640, 480))).all(axis=1)]
        partly += 0 < len(pixels) < 600
        inside = (pixels >= (x, y)) & (pixels < (x + width, y + height))
        if not inside.all():
            unseen.append(trial)
    assert not unseen
    assert partly > 500
