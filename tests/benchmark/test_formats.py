"""Numbers worked by hand, scipy's rotations as a second opinion, and what must hold for every format."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from vlagen.benchmark.actions.formats import (
    LONGEST_STEP,
    NOOP,
    RANGE_TOLERANCE,
    ActionFormat,
    BadDeclaration,
    Bounds,
    convert,
    express,
    faults,
)
from vlagen.benchmark.actions.rotations import ROTATION_SIZES, WITH_ANGLES, from_matrix, to_matrix

HALF = np.pi / 2
# The gripper's x axis points along the base's y, its y along the base's -x: a quarter turn about z.
QUARTER_ABOUT_Z = np.float32([[0.3, 0.0, 0.1, np.sqrt(0.5), 0.0, 0.0, np.sqrt(0.5)]])
UPRIGHT = np.float32([[0.3, 0.0, 0.1, 1.0, 0.0, 0.0, 0.0]])


def one(*numbers):
    return np.array([numbers], dtype=np.float64)


def scipy_matrix(numbers, kind):
    """What scipy takes the numbers for; it reads quaternions as xyzw and has no six-number rotations."""
    if kind == "euler_xyz_intrinsic":
        return Rotation.from_euler("XYZ", numbers).as_matrix()
    if kind == "euler_xyz_extrinsic":
        return Rotation.from_euler("xyz", numbers).as_matrix()
    if kind == "axis_angle":
        return Rotation.from_rotvec(numbers).as_matrix()
    if kind == "quaternion_wxyz":
        return Rotation.from_quat(numbers[..., [1, 2, 3, 0]]).as_matrix()
    return Rotation.from_quat(numbers).as_matrix()


def test_the_default_is_vlagens_own_action():
    own = ActionFormat()
    assert own.size == 7
    assert (own.frame, own.length_unit, own.rotation, own.angle_unit) == ("base", "m", "euler_xyz_intrinsic", "rad")
    assert (own.gripper_open, own.gripper_closed, own.gripper_binary, own.normalised) == (1, -1, False, None)


@pytest.mark.parametrize("shape", [(3, 7), (3, 4, 7)])
def test_canonical_actions_keep_every_bit(shape):
    # Subnormal, negative zero, and angles that a trip through a matrix would change.
    actions = np.random.default_rng(0).normal(0, 3, shape).astype(np.float32)
    actions.flat[:3] = (1e-42, -0.0, 3.2)
    assert convert(actions, ActionFormat()).tobytes() == actions.tobytes()
    assert convert(actions, ActionFormat(gripper_open=0, gripper_closed=1))[..., :6].tobytes() == (
        actions[..., :6].tobytes()
    )


def test_conversion_does_not_write_into_what_it_is_given():
    actions = one(1, 2, 3, 0, 0, 0, 1).astype(np.float32)
    convert(actions, ActionFormat())[:] = 9
    assert actions.tolist() == [[1, 2, 3, 0, 0, 0, 1]]


def test_units_are_scaled():
    emits = ActionFormat(length_unit="cm", angle_unit="deg")
    assert convert(one(2, -1, 0.5, 90, 0, -45, 1), emits)[0] == pytest.approx(
        [0.02, -0.01, 0.005, HALF, 0, -HALF / 2, 1]
    )
    assert convert(one(2, -1, 0.5, 0, 0, 0, 1), ActionFormat(length_unit="mm"))[0, :3] == pytest.approx(
        [0.002, -0.001, 0.0005]
    )


def test_normalised_numbers_stand_for_their_bounds():
    bounds = Bounds(low=(-0.03, -0.04, -0.02, -0.1, -0.1, -0.2), high=(0.03, 0.04, 0.06, 0.1, 0.1, 0.2))
    converted = convert(one(-1, 1, 0, 0.5, 0, -1, -1), ActionFormat(normalised=bounds))[0]
    assert converted == pytest.approx([-0.03, 0.04, 0.02, 0.05, 0, -0.2, -1])


def test_bounds_are_in_the_declared_units():
    bounds = Bounds(low=(-2, -2, -2, -10, -10, -10), high=(2, 2, 2, 10, 10, 10))
    emits = ActionFormat(length_unit="cm", angle_unit="deg", normalised=bounds)
    assert convert(one(1, 0, -1, 0, 0, 1, 1), emits)[0] == pytest.approx(
        [0.02, 0, -0.02, 0, 0, np.radians(10), 1], abs=1e-7
    )


@pytest.mark.parametrize(
    ("opened", "closed", "given", "wanted"),
    [
        (1.0, -1.0, 0.25, 0.25),
        (1.0, 0.0, 1.0, 1.0),
        (1.0, 0.0, 0.0, -1.0),
        (1.0, 0.0, 0.75, 0.5),
        (0.0, 1.0, 0.0, 1.0),
        (0.0, 1.0, 1.0, -1.0),
        (-1.0, 1.0, 0.25, -0.25),
        (0.0, 255.0, 127.5, 0.0),
        (0.08, 0.0, 0.08, 1.0),
        (1.0, 0.0, 1.02, 1.0),  # within the tolerance, and cut
    ],
)
def test_the_gripper_is_mapped_from_closed_to_open(opened, closed, given, wanted):
    emits = ActionFormat(gripper_open=opened, gripper_closed=closed)
    assert convert(one(0, 0, 0, 0, 0, 0, given), emits)[0, 6] == pytest.approx(wanted)


@pytest.mark.parametrize(("given", "wanted"), [(0.0, 1), (0.3, 1), (0.5, 1), (0.51, -1), (1.0, -1)])
def test_a_binary_gripper_goes_by_the_middle(given, wanted):
    emits = ActionFormat(gripper_open=0.0, gripper_closed=1.0, gripper_binary=True)
    assert convert(one(0, 0, 0, 0, 0, 0, given), emits)[0, 6] == wanted


def test_the_grippers_own_axes_are_turned_into_the_bases():
    emits = ActionFormat(frame="gripper")
    # Forward along the gripper's x is the base's y; a turn about the gripper's x is one about the base's y.
    assert convert(one(0.01, 0, 0, 0.3, 0, 0, 1), emits, QUARTER_ABOUT_Z)[0] == pytest.approx(
        [0, 0.01, 0, 0, 0.3, 0, 1], abs=1e-7
    )
    assert convert(one(0, 0.01, 0.02, 0, 0.3, 0, 1), emits, QUARTER_ABOUT_Z)[0] == pytest.approx(
        [-0.01, 0, 0.02, -0.3, 0, 0, 1], abs=1e-7
    )
    chunk = np.stack([one(0.01, 0, 0, 0, 0, 0, 1), one(0, 0, 0.01, 0, 0, 0, -1)], axis=1)
    assert convert(chunk, emits, QUARTER_ABOUT_Z)[0] == pytest.approx(
        np.array([[0, 0.01, 0, 0, 0, 0, 1], [0, 0, 0.01, 0, 0, 0, -1]]), abs=1e-7
    )


def test_every_episode_has_its_own_gripper():
    poses = np.concatenate([QUARTER_ABOUT_Z, UPRIGHT])
    actions = np.repeat(one(0.01, 0, 0, 0, 0, 0, 1), 2, axis=0)
    converted = convert(actions, ActionFormat(frame="gripper"), poses)
    assert converted[:, :3] == pytest.approx(np.array([[0, 0.01, 0], [0.01, 0, 0]]), abs=1e-7)


def test_a_task_that_hides_the_gripper_cannot_be_acted_in_along_it():
    with pytest.raises(BadDeclaration, match="emit actions in the base frame"):
        convert(one(0, 0, 0, 0, 0, 0, 1), ActionFormat(frame="gripper"), None)


QUARTER = {
    "euler_xyz_intrinsic": (0, 0, HALF),
    "euler_xyz_extrinsic": (0, 0, HALF),
    "axis_angle": (0, 0, HALF),
    "quaternion_wxyz": (np.sqrt(0.5), 0, 0, np.sqrt(0.5)),
    "quaternion_xyzw": (0, 0, np.sqrt(0.5), np.sqrt(0.5)),
    # A quarter turn about z takes x to y and y to -x: these are the columns; the rows start with (0, -1, 0).
    "rotation_6d": (0, 1, 0, -1, 0, 0),
    "rotation_6d_rows": (0, -1, 0, 1, 0, 0),
    "rotation_6d_interleaved": (0, -1, 1, 0, 0, 0),
}


@pytest.mark.parametrize("kind", ROTATION_SIZES)
def test_a_quarter_turn_about_z_is_one_in_every_notation(kind):
    emits = ActionFormat(rotation=kind)
    converted = convert(one(0, 0, 0, *QUARTER[kind], 1), emits)[0]
    assert converted == pytest.approx([0, 0, 0, 0, 0, HALF, 1], abs=1e-7)
    assert emits.size == 3 + len(QUARTER[kind]) + 1


def test_extrinsic_angles_turn_about_fixed_axes():
    # First a quarter about x, then a quarter about the fixed z: x goes to y, y to z and z to x.
    matrix = to_matrix(np.array([HALF, 0, HALF]), "euler_xyz_extrinsic")
    assert matrix == pytest.approx(np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]]), abs=1e-9)
    # About the turned z instead, which then is the fixed -y: x goes to z, y to -x and z to -y.
    matrix = to_matrix(np.array([HALF, 0, HALF]), "euler_xyz_intrinsic")
    assert matrix == pytest.approx(np.array([[0, -1, 0], [0, 0, -1], [1, 0, 0]]), abs=1e-9)


def test_six_numbers_need_not_be_orthonormal():
    matrix = to_matrix(np.array([2.0, 0, 0, 5.0, 3.0, 0]), "rotation_6d")
    assert matrix == pytest.approx(np.eye(3))


def test_quaternions_count_by_their_direction():
    quaternion = np.array([0.9, 0.1, -0.2, 0.3])
    for other in (-quaternion, 0.95 * quaternion):
        assert to_matrix(other, "quaternion_wxyz") == pytest.approx(to_matrix(quaternion, "quaternion_wxyz"))


rotations = st.lists(st.floats(-3.1, 3.1), min_size=3, max_size=3)


@pytest.mark.parametrize("kind", [kind for kind in ROTATION_SIZES if not kind.startswith("rotation_6d")])
@given(vector=rotations)
@settings(max_examples=50, deadline=None)
def test_scipy_agrees(kind, vector):
    matrix = Rotation.from_rotvec(vector).as_matrix()
    numbers = from_matrix(matrix, kind)
    assert scipy_matrix(numbers, kind) == pytest.approx(matrix, abs=1e-7)
    assert to_matrix(numbers, kind) == pytest.approx(matrix, abs=1e-7)


@pytest.mark.parametrize("kind", ROTATION_SIZES)
@pytest.mark.parametrize("angles", [(0.3, HALF, 0.2), (0.3, -HALF, 0.2), (np.pi, 0, 0), (0, np.pi, 0), (0, 0, np.pi)])
def test_hard_rotations_survive(kind, angles):
    """Gimbal lock, where two angles turn about one axis, and half turns, where the axis has two directions."""
    matrix = Rotation.from_euler("XYZ", angles).as_matrix()
    assert to_matrix(from_matrix(matrix, kind), kind) == pytest.approx(matrix, abs=1e-7)


def test_batches_and_chunks_are_rotated_one_by_one():
    vectors = np.random.default_rng(0).normal(size=(2, 3, 3))
    for kind in ROTATION_SIZES:
        numbers = from_matrix(to_matrix(vectors, "axis_angle"), kind)
        assert numbers.shape == (2, 3, ROTATION_SIZES[kind])
        assert numbers[1, 2] == pytest.approx(from_matrix(to_matrix(vectors[1, 2], "axis_angle"), kind))


@st.composite
def formats(draw):
    rotation = draw(st.sampled_from(sorted(ROTATION_SIZES)))
    size = 3 + ROTATION_SIZES[rotation]
    bounds = None
    if draw(st.booleans()):
        # Wide enough for every number in every unit.
        bounds = Bounds(low=(-400.0,) * size, high=tuple(float(200 + n) for n in range(size)))
    opened, closed = draw(st.sampled_from([(1.0, -1.0), (0.0, 1.0), (1.0, 0.0), (-1.0, 1.0), (0.0, 255.0)]))
    return ActionFormat(
        frame=draw(st.sampled_from(["base", "gripper"])),
        length_unit=draw(st.sampled_from(["m", "cm", "mm"])),
        rotation=rotation,
        angle_unit=draw(st.sampled_from(["rad", "deg"])) if rotation in WITH_ANGLES else "rad",
        gripper_open=opened,
        gripper_closed=closed,
        normalised=bounds,
    )


steps = st.lists(st.floats(-0.2, 0.2), min_size=3, max_size=3)
turns = st.lists(st.floats(-1.5, 1.5), min_size=3, max_size=3)


@given(emits=formats(), step=steps, turn=turns, gripper=st.floats(-1, 1), pose=rotations)
@settings(max_examples=300, deadline=None)
def test_what_is_written_in_a_format_is_read_back(emits, step, turn, gripper, pose):
    x, y, z, w = Rotation.from_rotvec(pose).as_quat()
    gripper_pose = np.array([[0.3, 0, 0.1, w, x, y, z]])
    wanted = one(*step, *turn, gripper)
    written = express(wanted, emits, gripper_pose)
    assert written.shape == (1, emits.size)
    read = convert(written, emits, gripper_pose)
    assert read.dtype == np.float32
    assert read[0, :3] == pytest.approx(wanted[0, :3], abs=1e-6)
    assert read[0, 6] == pytest.approx(gripper, abs=1e-6)
    assert to_matrix(read[0, 3:6], "euler_xyz_intrinsic") == pytest.approx(
        Rotation.from_euler("XYZ", turn).as_matrix(), abs=1e-6
    )


# Faults


@given(emits=formats(), data=st.data())
@settings(max_examples=300, deadline=None)
def test_what_is_accepted_at_a_glance_is_what_would_be_accepted_at_length(emits, data):
    number = st.floats(-200, 200) | st.sampled_from([np.nan, np.inf, 0.0])
    if emits.surely_allowed is not None:
        ends = st.sampled_from([*np.unique(emits.surely_allowed)])
        number |= ends | ends.map(lambda end: np.nextafter(end, 2 * end))
    actions = np.array(data.draw(st.lists(number, min_size=emits.size, max_size=emits.size)))[None]
    thorough = dataclasses.replace(emits)
    thorough.__dict__["surely_allowed"] = None
    assert faults(actions, emits) == faults(actions, thorough)
    if emits.surely_allowed is not None:
        assert faults(np.array(emits.surely_allowed), thorough) == {}


def test_half_an_action_out_of_bounds_is_not_overlooked():
    low, high = ActionFormat().surely_allowed
    for place in range(7):
        action = np.zeros((1, 7))
        action[0, place] = 2 * high[place]
        assert 0 in faults(action, ActionFormat())
        action[0, place] = 2 * low[place]
        assert 0 in faults(action, ActionFormat())


GOOD = (0.01, 0.02, -0.01, 0.1, -0.2, 0.0, 1.0)


def faults_of(*actions, **declared):
    return faults(np.array(actions, dtype=np.float64), ActionFormat(**declared))


def test_good_actions_have_no_faults():
    assert faults_of(GOOD, GOOD) == {}
    assert faults(np.tile(NOOP, (3, 1)), ActionFormat()) == {}
    assert faults_of((0.14, 0.14, 0.14, np.pi, -np.pi, np.float32(np.pi), -1.0)) == {}


@pytest.mark.parametrize(
    ("place", "value", "complaint"),
    [
        (0, np.nan, "finite"),
        (5, np.inf, "finite"),
        (3, 1e300, "finite"),  # finite, but not as float32
        (6, np.nan, "finite"),
        (6, -1.06, r"between -1 \(closed\) and 1 \(open\)"),
        (1, 0.3, r"more than 0.25 m .* really m, and should it be declared as normalised"),
        (4, 3.2, "more than pi; is the unit really rad"),
    ],
)
def test_a_fault_is_that_of_its_episode_alone(place, value, complaint):
    bad = list(GOOD)
    bad[place] = value
    found = faults_of(GOOD, bad, GOOD)
    assert list(found) == [1]
    assert re.search(complaint, found[1])
    assert found[1].startswith("returned [")


def test_the_first_fault_of_an_episode_is_told():
    (fault,) = faults_of((np.nan, 9, 0, 9, 0, 0, 9)).values()
    assert "finite" in fault


def test_the_declared_gripper_range_counts():
    assert faults_of((*GOOD[:6], -1.0), gripper_open=0, gripper_closed=1).keys() == {0}
    assert faults_of((*GOOD[:6], 200.0), gripper_open=255, gripper_closed=0) == {}
    edge = 1 + RANGE_TOLERANCE
    assert faults_of((*GOOD[:6], 0.999 * edge)) == {}
    assert faults_of((*GOOD[:6], 1.001 * edge)).keys() == {0}


def test_normalised_numbers_lie_between_minus_one_and_one():
    bounds = Bounds(low=(-0.03,) * 3 + (-0.2,) * 3, high=(0.03,) * 3 + (0.2,) * 3)
    assert faults_of((1.0, -1.0, 1.04, 1, 1, 1, 1), normalised=bounds) == {}
    (fault,) = faults_of((1.0, -1.0, 1.06, 1, 1, 1, 1), normalised=bounds).values()
    assert "declared as normalised" in fault


def test_sizes_are_judged_in_metres_and_radians():
    assert faults_of((20, 0, 0, 90, 0, 0, 1), length_unit="cm", angle_unit="deg") == {}
    assert faults_of((20, 0, 0, 90, 0, 0, 1), length_unit="cm").keys() == {0}  # 90 rad
    assert faults_of((0.9 * LONGEST_STEP, 0, 0, 0, 0, 0, 1)) == {}
    # 0.2 along each axis is 0.35 m in all
    assert faults_of((0.2, 0.2, 0.2, 0, 0, 0, 1)).keys() == {0}
    # An axis and angle is judged as a whole: 2.5 along two axes is a turn by 3.5.
    assert faults_of((0, 0, 0, 2.5, 2.5, 0, 1), rotation="axis_angle").keys() == {0}
    assert faults_of((0, 0, 0, 2.5, 2.5, 0, 1)) == {}


def test_what_is_no_rotation_is_a_fault():
    def fault(kind, *rotation):
        return faults_of((0, 0, 0, *rotation, 1), rotation=kind)

    assert fault("quaternion_wxyz", 0, 0, 0, 0).keys() == {0}
    assert fault("quaternion_wxyz", 0.1, 0.2, 0.1, 0).keys() == {0}
    assert fault("quaternion_wxyz", -0.95, 0, 0, 0) == {}
    assert fault("rotation_6d", 1, 0, 0, 2, 0, 0).keys() == {0}
    assert fault("rotation_6d", 1, 0, 0, 0, 0, 0).keys() == {0}
    assert fault("rotation_6d", 0.5, 0, 0, 0.5, 3, 0) == {}
    # Interleaved, the same numbers are the columns (0.5, 0, 3) and (0, 0.5, 0), and (1, 1, 0, 0, 1, 1) is parallel.
    assert fault("rotation_6d_interleaved", 0.5, 0, 0, 0.5, 3, 0) == {}
    assert fault("rotation_6d_interleaved", 1, 1, 0, 0, 1, 1).keys() == {0}


def test_any_step_of_a_chunk_may_be_at_fault():
    chunks = np.tile(np.array(GOOD), (3, 4, 1))
    chunks[2, 3, 6] = 5.0
    found = faults(chunks, ActionFormat())
    assert list(found) == [2]
    assert "5." in found[2]


# Declarations


@pytest.mark.parametrize(
    ("declared", "complaint"),
    [
        ({"frame": "griper"}, "unknown frame 'griper'; did you mean 'gripper'.*turn actions of other frames"),
        ({"length_unit": "inch"}, "unknown length_unit 'inch'; allowed: m, cm, mm; scale"),
        ({"rotation": "quaternion"}, "unknown rotation 'quaternion'; did you mean 'quaternion_"),
        ({"rotation": ["axis_angle"]}, "unknown rotation"),
        ({"angle_unit": "degrees"}, "unknown angle_unit 'degrees'; did you mean 'deg'"),
        ({"rotation": "rotation_6d", "angle_unit": "deg"}, "has no angles; leave angle_unit"),
        ({"gripper_open": 1.0, "gripper_closed": 1.0}, "gripper_open 1 and gripper_closed 1; allowed: two different"),
        ({"gripper_open": np.nan}, "gripper_open nan"),
        ({"normalised": Bounds((0,) * 7, (1,) * 7)}, "bounds for 7 numbers; euler_xyz_intrinsic actions have 6"),
        ({"normalised": ((0,) * 6, (1,) * 6)}, r"normalised is a tuple; give Bounds\(low=..., high=...\)"),
    ],
)
def test_what_cannot_be_converted_is_refused_when_it_is_declared(declared, complaint):
    with pytest.raises(BadDeclaration, match=complaint):
        ActionFormat(**declared)


@pytest.mark.parametrize(
    ("low", "high", "complaint"),
    [
        ((0, 0), (1, 1, 1), "2 numbers in low, 3 in high"),
        ((0, 2), (1, 1), "from 2 to 1"),
        ((0, 0), (1, np.inf), "from 0 to inf"),
    ],
)
def test_bounds_are_checked(low, high, complaint):
    with pytest.raises(BadDeclaration, match=complaint):
        Bounds(low, high)


def test_a_number_that_never_changes_may_have_equal_bounds():
    bounds = Bounds(low=(-1, -1, -1, 0, 0, 0), high=(1, 1, 1, 0, 0, 0))
    emits = ActionFormat(normalised=bounds)
    assert convert(one(0.1, 0, 0, 0.7, 0, 0, 1), emits)[0] == pytest.approx([0.1, 0, 0, 0, 0, 0, 1])
    assert express(one(0.1, 0, 0, 0, 0, 0, 1), emits)[0] == pytest.approx([0.1, 0, 0, 0, 0, 0, 1])


def test_bounds_come_from_arrays_too_and_formats_can_be_compared_and_hashed():
    q01, q99 = -np.arange(1.0, 7.0), np.arange(1.0, 7.0)
    emits = ActionFormat(normalised=Bounds(q01, q99))
    assert emits == ActionFormat(normalised=Bounds(tuple(q01), tuple(q99)))
    assert len({emits, ActionFormat(), ActionFormat()}) == 2


@given(first=formats(), second=formats())
@settings(max_examples=100, deadline=None)
def test_formats_that_differ_are_described_differently(first, second):
    """The description goes into a run's fingerprint."""
    assert (first.describe() == second.describe()) == (first == second)


def test_every_field_shows_in_the_description():
    own = ActionFormat()
    others = {
        "frame": "gripper",
        "length_unit": "mm",
        "rotation": "axis_angle",
        "angle_unit": "deg",
        "gripper_open": 2.0,
        "gripper_closed": 0.0,
        "gripper_binary": True,
        "normalised": Bounds((-1,) * 6, (1,) * 6),
    }
    assert others.keys() == {field.name for field in dataclasses.fields(own)}
    described = {dataclasses.replace(own, **{name: value}).describe() for name, value in others.items()}
    assert len(described | {own.describe()}) == len(others) + 1
