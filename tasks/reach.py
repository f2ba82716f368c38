"""How far the fingers are from an object, and what they do to it. Numpy in few calls: all of it runs every step."""

from __future__ import annotations

import numpy as np

# A rotation matrix's entries, row by row, as sums of products of two components of its quaternion.
_ENTRIES = (
    "+ww+xx-yy-zz", "+xy+xy-wz-wz", "+xz+xz+wy+wy",
    "+xy+xy+wz+wz", "+ww-xx+yy-zz", "+yz+yz-wx-wx",
    "+xz+xz-wy-wy", "+yz+yz+wx+wx", "+ww-xx-yy+zz",
)  # fmt: skip


def _coefficients() -> np.ndarray:
    """``_ENTRIES`` as numbers: what each of the 16 products ww, wx, …, zz adds to each of the 9 entries, (16, 9)."""
    table = np.zeros((4, 4, 9))
    for entry, terms in enumerate(_ENTRIES):
        for sign, first, second in zip(terms[::3], terms[1::3], terms[2::3], strict=True):
            table["wxyz".index(first), "wxyz".index(second), entry] += 1 if sign == "+" else -1
    return table.reshape(16, 9)


_COEFFICIENTS = _coefficients()


def rotation_matrices(quaternion: np.ndarray) -> np.ndarray:
    """Unit quaternions wxyz (B, 4) to rotation matrices (B, 3, 3)."""
    products = quaternion[:, :, None] * quaternion[:, None, :]
    return (products.reshape(-1, 16) @ _COEFFICIENTS).reshape(-1, 3, 3)


def distance_to_box(point: np.ndarray, pose: np.ndarray, center: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Distance [m] (B,) of points (B, 3) to the world-aligned boxes around turned boxes; 0 inside.

    The boxes have ``center`` and ``size`` (B, 3) [m] in the frames of bodies whose world poses are ``pose`` (B, 7),
    position and quaternion wxyz.
    """
    rotation = rotation_matrices(pose[:, 3:])
    away = point - pose[:, :3] - (rotation @ center[:, :, None])[:, :, 0]
    half = (np.abs(rotation) @ size[:, :, None])[:, :, 0] / 2
    outside = np.maximum(np.abs(away) - half, 0)
    return np.sqrt((outside * outside).sum(-1))


class Displacement:
    """How far B bodies have moved since the fingers first came near them; until then, 0.

    What bodies do by themselves does not count: some cylinders roll for decimetres after the start.

    Args:
        position: where they are at the start (B, 3) [m].
    """

    def __init__(self, position: np.ndarray):
        self._approached = np.zeros(len(position), dtype=bool)
        self._anchor = position

    def update(self, position: np.ndarray, near: np.ndarray) -> np.ndarray:
        """Takes in positions (B, 3) [m] and whether fingers are near (B,) after one more step; displacements [m] (B,).

        They count from the last step at which the fingers were not near yet.
        """
        self._approached |= near
        self._anchor = np.where(self._approached[:, None], self._anchor, position)
        return np.linalg.norm(position - self._anchor, axis=-1)
