"""Held, on the receptacle, and what that is worth: cases worked by hand."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch", reason="the simulator's arithmetic is torch (extra `sim`)")

from vlagen.tasks.success import (  # noqa: E402
    is_grasped,
    is_on_receptacle,
    potential,
    rotation_matrix,
    world_box,
    y_axis,
)

HALF = math.sqrt(0.5)
IDENTITY = (1.0, 0.0, 0.0, 0.0)
QUARTER_X, QUARTER_Y, QUARTER_Z = (HALF, HALF, 0.0, 0.0), (HALF, 0.0, HALF, 0.0), (HALF, 0.0, 0.0, HALF)
EIGHTH_Z = (math.cos(math.pi / 8), 0.0, 0.0, math.sin(math.pi / 8))


def rows(*values):
    return torch.tensor(values, dtype=torch.float32)


def close(found, *expected):
    torch.testing.assert_close(found, rows(*expected), atol=1e-6, rtol=0)


# Orientation


@pytest.mark.parametrize(
    ("quaternion", "axis"),
    [
        (IDENTITY, (0.0, 1.0, 0.0)),
        (QUARTER_X, (0.0, 0.0, 1.0)),
        (QUARTER_Y, (0.0, 1.0, 0.0)),
        (QUARTER_Z, (-1.0, 0.0, 0.0)),
        ((0.0, 0.0, 0.0, 1.0), (0.0, -1.0, 0.0)),
        (EIGHTH_Z, (-HALF, HALF, 0.0)),
    ],
)
def test_y_axis_after_turns_by_hand(quaternion, axis):
    close(y_axis(rows(quaternion)), axis)


def test_rotation_matrix_of_a_quarter_turn_about_z():
    close(rotation_matrix(rows(QUARTER_Z)), ((0.0, -1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)))


def test_y_axis_is_the_second_column_of_the_rotation():
    quaternions = torch.randn((200, 4), generator=torch.Generator().manual_seed(0))
    quaternions /= quaternions.norm(dim=-1, keepdim=True)
    matrices = rotation_matrix(quaternions)
    torch.testing.assert_close(y_axis(quaternions), matrices[:, :, 1], atol=1e-6, rtol=0)
    torch.testing.assert_close(matrices @ matrices.mT, torch.eye(3).expand(200, 3, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(matrices), torch.ones(200), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("quaternion", "box"),
    [
        (IDENTITY, (0.2, 0.1, 0.04)),
        (QUARTER_Z, (0.1, 0.2, 0.04)),
        (QUARTER_X, (0.2, 0.04, 0.1)),
        (QUARTER_Y, (0.04, 0.1, 0.2)),
        (EIGHTH_Z, (0.3 * HALF, 0.3 * HALF, 0.04)),  # (0.2 + 0.1) / sqrt(2) both ways
    ],
)
def test_world_box_after_turns_by_hand(quaternion, box):
    close(world_box(rows((0.2, 0.1, 0.04)), rows(quaternion)), box)


# Held

LEFT, RIGHT = (0.0, 1.0, 0.0), (0.0, -1.0, 0.0)  # the directions in which the fingers open


def held(left, right):
    return bool(is_grasped(rows(left), rows(right), rows(LEFT), rows(RIGHT))[0])


def tilted(newtons, degrees, opening):
    """A force that makes an angle with a finger's opening direction."""
    angle = math.radians(degrees)
    return (newtons * math.sin(angle), opening[1] * newtons * math.cos(angle), 0.0)


@pytest.mark.parametrize(
    ("newtons", "expected"), [(0.0, False), (0.49, False), (0.5, True), (0.51, True), (50.0, True)]
)
@pytest.mark.parametrize("weak", ["left", "right"])
def test_each_finger_must_feel_half_a_newton(newtons, expected, weak):
    forces = {"left": (0.0, 2.0, 0.0), "right": (0.0, -2.0, 0.0)}
    forces[weak] = tuple(newtons / 2 * component for component in forces[weak])
    assert held(**forces) is expected


@pytest.mark.parametrize(
    ("degrees", "expected"), [(0, True), (80, True), (84.9, True), (85.1, False), (90, False), (180, False)]
)
@pytest.mark.parametrize("side", ["left", "right"])
def test_each_finger_must_be_pushed_open(degrees, expected, side):
    forces = {"left": (0.0, 2.0, 0.0), "right": (0.0, -2.0, 0.0)}
    forces[side] = tilted(2.0, degrees, {"left": LEFT, "right": RIGHT}[side])
    assert held(**forces) is expected


def test_one_finger_alone_holds_nothing():
    assert not held((0.0, 2.0, 0.0), (0.0, 0.0, 0.0))
    assert not held((0.0, 0.0, 0.0), (0.0, -2.0, 0.0))


def test_fingers_pushed_the_same_way_hold_nothing():
    assert not held((0.0, 2.0, 0.0), (0.0, 2.0, 0.0))


def test_a_batch_is_judged_row_by_row():
    left = rows((0.0, 1.0, 0.0), (0.0, 0.4, 0.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
    right = rows((0.0, -1.0, 0.0), (0.0, -1.0, 0.0), (0.0, 1.0, 0.0), (0.0, -1.0, 0.0))
    found = is_grasped(left, right, rows(LEFT).expand(4, 3), rows(RIGHT).expand(4, 3))
    assert found.tolist() == [True, False, False, False]


# On the receptacle: a plate 11 x 11 x 0.6 cm at the origin, an object 4 x 6 x 8 cm.

PLATE = (0.11, 0.11, 0.006)
OBJECT = (0.04, 0.06, 0.08)
# It lies on the plate when its centre is within 5.5 + 1 cm of the plate's in the plane, above it, and not higher than
# 0.3 + 4 + 5 cm.


def on_receptacle(*positions, plate=PLATE, forces=None):
    count = len(positions)
    return is_on_receptacle(
        rows(*positions),
        torch.zeros(count, 3),
        rows(OBJECT).expand(count, 3),
        rows(plate).expand(count, 3),
        torch.full((count,), 1.0) if forces is None else torch.tensor(forces),
    ).tolist()


def test_an_object_resting_in_the_middle_is_on_the_plate():
    assert on_receptacle((0.0, 0.0, 0.043)) == [True]


def test_in_the_plane_it_may_be_six_and_a_half_centimetres_off():
    assert on_receptacle((0.0649, 0.0, 0.043), (0.0651, 0.0, 0.043)) == [True, False]
    assert on_receptacle((0.0, -0.0649, 0.043), (0.0, -0.0651, 0.043)) == [True, False]
    # The distance counts, not each coordinate: 6.5 cm are (3.9, 5.2).
    assert on_receptacle((0.0389, 0.0519, 0.043), (0.0391, 0.0521, 0.043)) == [True, False]


def test_it_must_be_above():
    assert on_receptacle((0.0, 0.0, 0.0001), (0.0, 0.0, 0.0), (0.0, 0.0, -0.043)) == [True, False, False]


def test_it_must_not_be_more_than_five_centimetres_over_the_plate():
    assert on_receptacle((0.0, 0.0, 0.0929), (0.0, 0.0, 0.0931)) == [True, False]


def test_it_must_touch():
    resting = 3 * [(0.0, 0.0, 0.043)]
    assert on_receptacle(*resting, forces=[0.0, 0.029, 0.031]) == [False, False, True]


def test_positions_are_relative_to_the_receptacle():
    found = is_on_receptacle(rows((1.0, 2.0, 0.943)), rows((1.0, 2.0, 0.9)), rows(OBJECT), rows(PLATE), torch.ones(1))
    assert found.tolist() == [True]


def test_a_tall_receptacle_widens_the_tolerance_as_upstream_has_it():
    tall = (0.11, 0.11, 0.3)  # Q8: the largest half extent is its height's, 15 cm
    assert on_receptacle((0.159, 0.0, 0.19), (0.161, 0.0, 0.19), plate=tall) == [True, False]


def test_a_batch_of_three_has_three_outcomes():
    positions = ((0.0, 0.0, 0.043), (0.2, 0.0, 0.043), (0.0, 0.0, 0.043))
    assert on_receptacle(*positions, forces=[1.0, 1.0, 0.0]) == [True, False, False]


# Worth


@pytest.mark.parametrize(
    ("grasped", "held_for_five", "success", "value"),
    [
        (False, False, False, 0.0),
        (False, False, True, 0.0),  # pushed onto the plate, Q25
        (True, False, False, 0.1),
        (True, True, False, 0.2),
        (True, False, True, 1.1),
        (True, True, True, 1.2),
    ],
)
def test_potential(grasped, held_for_five, success, value):
    found = potential(torch.tensor([grasped]), torch.tensor([held_for_five]), torch.tensor([success]))
    assert found.dtype == torch.float32
    close(found, value)


# A batch is its rows


def test_batched_equals_stacked_singles():
    generator = torch.Generator().manual_seed(1)

    def random(*shape):
        return torch.randn(shape, generator=generator)

    count = 64
    quaternion = torch.nn.functional.normalize(random(count, 4), dim=-1)
    openings = [torch.nn.functional.normalize(random(count, 3), dim=-1) for _ in range(2)]
    cases = [
        (world_box, (random(count, 3).abs(), quaternion)),
        (y_axis, (quaternion,)),
        # Half of these forces push a finger open, and some are too weak.
        (is_grasped, (openings[0] + random(count, 3), openings[1] + random(count, 3), *openings)),
        (
            is_on_receptacle,
            (
                random(count, 3) * 0.05 + torch.tensor([0.0, 0.0, 0.04]),
                random(count, 3) * 0.01,
                *(rows(box).expand(count, 3) for box in (OBJECT, PLATE)),
                random(count).abs() * 0.1,
            ),
        ),
        (potential, tuple(random(count) > 0 for _ in range(3))),
    ]
    for function, arguments in cases:
        together = function(*arguments)
        single = torch.cat([function(*(a[i : i + 1] for a in arguments)) for i in range(count)])
        torch.testing.assert_close(together, single, atol=1e-6, rtol=0)
        if together.dtype == torch.bool:
            assert 0 < together.sum() < count, function.__name__
