import itertools

import numpy as np
import pytest

from vlagen.benchmark.adapters.grasps import (
    FINGER_HALF_WIDTH,
    FLOOR_CLEARANCE,
    HALF_OPENING,
    PALM,
    SLIPPERY,
    plan_grasps,
    sample_shape,
)

NOTHING = np.empty((0, 3))


def box(size, center=(0.0, 0.0, 0.0)):
    """A box's vertices and triangles, wound at random: the sampler must not rely on winding."""
    corners = np.array(list(itertools.product((-0.5, 0.5), repeat=3))) * size + center
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    triangles = [t for a, b, c, d in quads for t in ((a, b, c), (d, c, a))]
    return corners, np.array([t if i % 3 else t[::-1] for i, t in enumerate(triangles)])


def plan(shape, turned=0.0, at=(0.0, 0.0, 0.0), **options):
    """Grasps of a shape that is turned about z and put at ``at``, on a table at z = 0."""
    turn = np.array([[np.cos(turned), -np.sin(turned), 0], [np.sin(turned), np.cos(turned), 0], [0, 0, 1]])
    settings = {"floor": 0.0, "obstacles": NOTHING, "yaw": 0.0} | options
    return plan_grasps(shape.points @ turn.T + at, shape.normals @ turn.T, turn @ shape.center + at, **settings)


def between(first, second):
    """The smaller angle between two lines."""
    return abs((first - second + np.pi / 2) % np.pi - np.pi / 2)


def test_sampling_finds_surface_normals_and_centre_of_a_box():
    shape = sample_shape([box((0.10, 0.02, 0.04), (0.01, 0.0, 0.02))])
    assert shape.center == pytest.approx([0.01, 0.0, 0.02])
    assert shape.points.min(axis=0) == pytest.approx([-0.04, -0.01, 0.0])
    assert shape.points.max(axis=0) == pytest.approx([0.06, 0.01, 0.04])
    right = shape.normals[:, 0] > 0.5
    assert shape.points[right, 0] == pytest.approx(0.06)
    assert np.linalg.norm(shape.normals, axis=1) == pytest.approx(1.0)


def test_the_centre_of_mass_weighs_bodies_by_volume():
    shape = sample_shape([box((0.02, 0.02, 0.02)), box((0.02, 0.02, 0.06), (0.08, 0.0, 0.0))])
    assert shape.center == pytest.approx([0.06, 0.0, 0.0])


@pytest.mark.parametrize("yaw", [0.0, np.pi / 4, 1.2, -np.pi / 8])
def test_a_long_box_is_gripped_across_its_short_side_at_its_middle(yaw):
    best = plan(sample_shape([box((0.10, 0.02, 0.02))]), yaw, at=(0.3, -0.1, 0.01))[0]
    assert between(best.yaw, yaw + np.pi / 2) < np.pi / 36
    assert best.tip == pytest.approx([0.3, -0.1, FLOOR_CLEARANCE], abs=0.003)
    assert best.width == pytest.approx(0.02, abs=0.004)  # planned yaws are 5 degrees apart


def test_what_is_wider_than_the_gripper_can_only_be_pinched_at_a_corner():
    side = 2 * HALF_OPENING + 0.001
    grasps = plan(sample_shape([box((side, side, 0.02))]), at=(0, 0, 0.01))
    assert all(grasp.cost > SLIPPERY for grasp in grasps)


def test_what_closed_fingers_cannot_touch_is_not_gripped():
    assert plan(sample_shape([box((0.007, 0.007, 0.03))]), at=(0, 0, 0.015)) == []


def test_a_tall_box_is_gripped_as_low_as_the_palm_allows():
    best = plan(sample_shape([box((0.02, 0.03, 0.10))]), at=(0, 0, 0.05))[0]
    assert 0.10 - PALM < best.tip[2] < 0.10 - PALM + 0.005
    assert best.top == pytest.approx(0.10)


def test_fingers_stay_above_an_obstacle_beside_the_object():
    wall = sample_shape([box((0.02, 0.2, 0.01), (0.03, 0.0, 0.005))])
    low_cube = sample_shape([box((0.03, 0.03, 0.03))])
    free = plan(low_cube, at=(0, 0, 0.015))[0]
    assert between(free.yaw, 0.0) < 0.01
    beside = plan(low_cube, at=(0, 0, 0.015), obstacles=wall.points)[0]
    assert between(beside.yaw, np.pi / 2) < 0.3 or beside.tip[2] > 0.01


def test_an_object_is_gripped_at_its_heavy_end():
    hammer = sample_shape([box((0.10, 0.015, 0.02), (-0.06, 0, 0)), box((0.03, 0.04, 0.03), (0.005, 0, 0))])
    best = plan(hammer, at=(0, 0, 0.015))[0]
    assert abs(best.tip[0] - hammer.center[0]) < FINGER_HALF_WIDTH


def test_a_grasp_that_failed_is_not_the_next_choice():
    shape = sample_shape([box((0.10, 0.02, 0.02))])
    best = plan(shape, at=(0, 0, 0.01))[0]
    other = plan(shape, at=(0, 0, 0.01), avoid=[best])[0]
    assert np.linalg.norm(other.tip - best.tip) > 0.005 or between(other.yaw, best.yaw) > 0.1


def test_the_gripper_turns_no_further_than_a_quarter():
    shape = sample_shape([box((0.10, 0.02, 0.02))])
    for now in (-3.0, -1.6, 0.4, 2.9):
        assert all(abs(grasp.yaw - now) <= np.pi / 2 + 1e-9 for grasp in plan(shape, 0.3, at=(0, 0, 0.01), yaw=now))
