"""Ways to write a rotation down, and the matrices (..., 3, 3) they stand for; any number of leading dimensions."""

from __future__ import annotations

import numpy as np

ROTATION_SIZES = {
    "euler_xyz_intrinsic": 3,
    "euler_xyz_extrinsic": 3,
    "axis_angle": 3,
    "quaternion_wxyz": 4,
    "quaternion_xyzw": 4,
    "rotation_6d": 6,
    "rotation_6d_rows": 6,
    "rotation_6d_interleaved": 6,
}
"""How many numbers each way takes.

- ``euler_xyz_intrinsic``: angles a, b, c with ``Rx(a) Ry(b) Rz(c)``; vlagen's own and that of the study's controller.
- ``euler_xyz_extrinsic``: turns about fixed axes, x first: ``Rz(c) Ry(b) Rx(a)``. Also called roll, pitch, yaw.
- ``axis_angle``: the axis times the angle, also called rotation vector.
- ``quaternion_wxyz``, ``quaternion_xyzw``: of any length but 0.
- ``rotation_6d``: the matrix's first column, then its second, as Zhou et al. (2019) have it; they are made orthonormal.
- ``rotation_6d_rows``: its first row, then its second, as pytorch3d has it.
- ``rotation_6d_interleaved``: its first two columns read row by row.
"""

WITH_ANGLES = ("euler_xyz_intrinsic", "euler_xyz_extrinsic", "axis_angle")
"""Those whose numbers are angles and so have a unit."""

# Below this cosine of the middle Euler angle, the first and the last angle turn about the same axis.
_GIMBAL_LOCK = 1e-7


def to_matrix(numbers: np.ndarray, kind: str) -> np.ndarray:
    """Turns rotations into matrices.

    Args:
        numbers: (..., ``ROTATION_SIZES[kind]``); angles in radians.
        kind: one of ``ROTATION_SIZES``.

    Returns:
        Matrices (..., 3, 3) float64; not finite where a quaternion or a column is zero.
    """
    numbers = np.asarray(numbers, dtype=np.float64)
    if kind == "euler_xyz_intrinsic":
        return _about(0, numbers[..., 0]) @ _about(1, numbers[..., 1]) @ _about(2, numbers[..., 2])
    if kind == "euler_xyz_extrinsic":
        return _about(2, numbers[..., 2]) @ _about(1, numbers[..., 1]) @ _about(0, numbers[..., 0])
    if kind == "axis_angle":
        return _from_axis_angle(numbers)
    if kind == "quaternion_wxyz":
        return _from_quaternion(numbers)
    if kind == "quaternion_xyzw":
        return _from_quaternion(np.roll(numbers, 1, axis=-1))
    matrix = _from_columns(*_vectors(numbers, kind))
    return np.swapaxes(matrix, -1, -2) if kind == "rotation_6d_rows" else matrix


def from_matrix(matrix: np.ndarray, kind: str) -> np.ndarray:
    """Turns rotation matrices (..., 3, 3) into numbers (..., n) of a kind; the inverse of ``to_matrix``."""
    if kind == "euler_xyz_intrinsic":
        return _euler(matrix)
    if kind == "euler_xyz_extrinsic":
        # The inverse rotation undoes the turns in reverse order, which makes it an intrinsic one.
        return -_euler(np.swapaxes(matrix, -1, -2))
    if kind == "axis_angle":
        return _axis_angle(matrix)
    if kind == "quaternion_wxyz":
        return _quaternion(matrix)
    if kind == "quaternion_xyzw":
        return np.roll(_quaternion(matrix), -1, axis=-1)
    if kind == "rotation_6d":
        return np.concatenate([matrix[..., :, 0], matrix[..., :, 1]], axis=-1)
    if kind == "rotation_6d_rows":
        return np.concatenate([matrix[..., 0, :], matrix[..., 1, :]], axis=-1)
    return matrix[..., :, :2].reshape(*matrix.shape[:-2], 6)


def is_degenerate(numbers: np.ndarray, kind: str) -> np.ndarray:
    """Tells which six-number rotations (..., 6) have columns or rows that are zero or nearly parallel, (...) bool."""
    first, second = _vectors(np.asarray(numbers, dtype=np.float64), kind)
    area = np.linalg.norm(np.cross(first, second), axis=-1)
    return ~(area > 1e-3 * np.linalg.norm(first, axis=-1) * np.linalg.norm(second, axis=-1))


def _vectors(numbers: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """The two columns or rows (..., 3) that six numbers (..., 6) hold."""
    if kind == "rotation_6d_interleaved":
        return numbers[..., 0::2], numbers[..., 1::2]
    return numbers[..., :3], numbers[..., 3:]


def _about(axis: int, angle: np.ndarray) -> np.ndarray:
    """The rotation by an angle (...) about a coordinate axis."""
    matrix = np.zeros((*angle.shape, 3, 3))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix[..., axis, axis] = 1.0
    matrix[..., i, i] = matrix[..., j, j] = np.cos(angle)
    matrix[..., j, i] = np.sin(angle)
    matrix[..., i, j] = -np.sin(angle)
    return matrix


def _from_axis_angle(vector: np.ndarray) -> np.ndarray:
    angle = np.linalg.norm(vector, axis=-1)[..., None, None]
    cross = np.zeros((*vector.shape[:-1], 3, 3))
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        cross[..., k, j] = vector[..., i]
        cross[..., j, k] = -vector[..., i]
    # sin(a) / a and (1 - cos(a)) / a², both good at a = 0: numpy's sinc(x) is sin(pi x) / (pi x).
    first, second = np.sinc(angle / np.pi), np.sinc(angle / (2 * np.pi)) ** 2 / 2
    return np.eye(3) + first * cross + second * (cross @ cross)


def _from_quaternion(quaternion: np.ndarray) -> np.ndarray:
    w, x, y, z = np.moveaxis(quaternion / np.linalg.norm(quaternion, axis=-1, keepdims=True), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def _from_columns(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    first = first / np.linalg.norm(first, axis=-1, keepdims=True)
    second = second - np.sum(first * second, axis=-1, keepdims=True) * first
    second = second / np.linalg.norm(second, axis=-1, keepdims=True)
    return np.stack([first, second, np.cross(first, second)], axis=-1)


def _euler(matrix: np.ndarray) -> np.ndarray:
    """Intrinsic XYZ angles (..., 3); in gimbal lock the last is 0."""
    cosine = np.hypot(matrix[..., 0, 0], matrix[..., 0, 1])
    locked = cosine < _GIMBAL_LOCK
    first = np.where(
        locked,
        np.arctan2(matrix[..., 2, 1], matrix[..., 1, 1]),
        np.arctan2(-matrix[..., 1, 2], matrix[..., 2, 2]),
    )
    middle = np.arctan2(matrix[..., 0, 2], cosine)
    last = np.where(locked, 0.0, np.arctan2(-matrix[..., 0, 1], matrix[..., 0, 0]))
    return np.stack([first, middle, last], axis=-1)


def _quaternion(matrix: np.ndarray) -> np.ndarray:
    """Unit quaternions wxyz (..., 4) with w >= 0."""
    m = matrix
    trace = np.trace(m, axis1=-2, axis2=-1)
    x, y, z = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    xy, xz, yz = m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1]
    squares = [1 + trace, *(1 + 2 * m[..., i, i] - trace for i in range(3))]
    # Each row is the quaternion times four of its own components; the largest of these loses the fewest digits.
    rows = [
        [squares[0], x, y, z],
        [x, squares[1], xy, xz],
        [y, xy, squares[2], yz],
        [z, xz, yz, squares[3]],
    ]
    table = np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
    largest = np.argmax(np.stack(squares, axis=-1), axis=-1)[..., None, None]
    chosen = np.take_along_axis(table, largest, axis=-2)[..., 0, :]
    unit = chosen / np.linalg.norm(chosen, axis=-1, keepdims=True)
    return np.where(unit[..., :1] < 0, -unit, unit)


def _axis_angle(matrix: np.ndarray) -> np.ndarray:
    quaternion = _quaternion(matrix)
    sine = np.linalg.norm(quaternion[..., 1:], axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, quaternion[..., :1])
    # For small angles the vector is twice the quaternion's imaginary part.
    return quaternion[..., 1:] * np.where(sine > 1e-12, angle / np.maximum(sine, 1e-12), 2.0)
