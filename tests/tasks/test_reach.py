"""Distances to turned boxes and what counts as moved by the fingers, worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vlagen.tasks.reach import Displacement, distance_to_box, rotation_matrices

HALF = math.sqrt(0.5)
IDENTITY, QUARTER_Z = (1.0, 0.0, 0.0, 0.0), (HALF, 0.0, 0.0, HALF)
EIGHTH_Z = (math.cos(math.pi / 8), 0.0, 0.0, math.sin(math.pi / 8))
BRICK = {"center": np.zeros((1, 3)), "size": np.array([[0.08, 0.04, 0.02]])}


def distance(point, position=(0.0, 0.0, 0.0), quaternion=IDENTITY, **box):
    return float(distance_to_box(np.array([point]), np.array([[*position, *quaternion]]), **(BRICK | box))[0])


@pytest.mark.parametrize(
    ("quaternion", "x_axis", "y_axis", "z_axis"),
    [
        (IDENTITY, (1, 0, 0), (0, 1, 0), (0, 0, 1)),
        (QUARTER_Z, (0, 1, 0), (-1, 0, 0), (0, 0, 1)),
        ((HALF, HALF, 0, 0), (1, 0, 0), (0, 0, 1), (0, -1, 0)),
        ((HALF, 0, HALF, 0), (0, 0, -1), (0, 1, 0), (1, 0, 0)),
        ((0.5, 0.5, 0.5, 0.5), (0, 1, 0), (0, 0, 1), (1, 0, 0)),
    ],
)
def test_the_columns_of_a_rotation_are_the_turned_axes(quaternion, x_axis, y_axis, z_axis):
    (matrix,) = rotation_matrices(np.array([quaternion]))
    np.testing.assert_allclose(matrix, np.transpose([x_axis, y_axis, z_axis]), atol=1e-12)


@given(arrays(np.float64, (5, 4), elements=st.floats(-1, 1)).filter(lambda q: (np.linalg.norm(q, axis=1) > 0.1).all()))
def test_rotations_keep_lengths_and_handedness(quaternions):
    matrices = rotation_matrices(quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True))
    np.testing.assert_allclose(matrices @ matrices.transpose(0, 2, 1), np.tile(np.eye(3), (5, 1, 1)), atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(matrices), 1, atol=1e-9)


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        ((0.0, 0.0, 0.0), 0.0),
        ((0.039, -0.019, 0.009), 0.0),
        ((0.05, 0.0, 0.0), 0.01),
        ((0.0, 0.0, -0.11), 0.1),
        ((0.07, 0.06, 0.0), 0.05),  # 3 and 4 cm beyond
        ((-0.06, 0.03, 0.03), 0.03),  # 2, 1 and 2 cm beyond
    ],
)
def test_distance_to_a_box_that_stands_straight(point, expected):
    assert distance(point) == pytest.approx(expected, abs=1e-12)


def test_the_box_turns_and_moves_with_its_body():
    # A quarter turn swaps length and width.
    assert distance((0.05, 0.0, 0.0), quaternion=QUARTER_Z) == pytest.approx(0.03, abs=1e-9)
    assert distance((1.0, 2.0, 3.02), position=(1.0, 2.0, 3.0)) == pytest.approx(0.01, abs=1e-9)


def test_the_box_around_a_slanted_body_is_as_wide_as_its_shadow():
    # An eighth of a turn: (0.08 + 0.04) / 2 * sqrt(1/2) to each side.
    assert distance((0.1, 0.0, 0.0), quaternion=EIGHTH_Z) == pytest.approx(0.1 - 0.06 * HALF, abs=1e-9)


def test_a_box_need_not_lie_around_its_bodys_origin():
    off = {"center": np.array([[0.1, 0.0, 0.0]])}
    assert distance((0.1, 0.0, 0.0), **off) == 0
    assert distance((0.0, 0.0, 0.0), **off) == pytest.approx(0.06, abs=1e-12)
    assert distance((0.0, 0.1, 0.0), quaternion=QUARTER_Z, **off) == pytest.approx(0.0, abs=1e-9)


def test_each_body_of_a_batch_has_its_own_box():
    points = np.array([[0.05, 0, 0], [0.05, 0, 0], [0, 0, 0.5]])
    poses = np.array([[0, 0, 0, *IDENTITY], [0, 0, 0, *QUARTER_Z], [0, 0, 0.4, *IDENTITY]])
    sizes = np.array([[0.08, 0.04, 0.02], [0.08, 0.04, 0.02], [0.02, 0.02, 0.02]])
    found = distance_to_box(points, poses, np.zeros((3, 3)), sizes)
    np.testing.assert_allclose(found, [0.01, 0.03, 0.09], atol=1e-9)


def test_only_motion_with_the_fingers_near_counts():
    follow = Displacement(np.zeros((1, 3)))
    steps = [
        ((0.3, 0.0, 0.0), False, 0.0),  # rolls by itself
        ((0.4, 0.0, 0.0), False, 0.0),
        ((0.4, 0.1, 0.0), True, 0.1),  # the fingers came during this step
        ((0.4, 0.3, 0.0), False, 0.3),  # and what follows is their doing
        ((0.4, 0.0, 0.4), False, 0.4),
    ]
    for position, near, expected in steps:
        assert follow.update(np.array([position]), np.array([near])) == pytest.approx([expected], abs=1e-12)


def test_bodies_with_the_fingers_near_from_the_start_are_measured_from_there():
    follow = Displacement(np.array([[1.0, 0.0, 0.0], [2.0, 0.0, 0.0]]))
    found = follow.update(np.array([[1.2, 0.0, 0.0], [2.2, 0.0, 0.0]]), np.array([True, False]))
    np.testing.assert_allclose(found, [0.2, 0.0], atol=1e-12)
