"""Where things may stand: position tables, yaws and robot joint offsets (``protocol.md`` sections 2 and 3.1).

Tables are enumerated exactly as upstream does, in float64 and with Euclidean distance as ``sqrt(dx*dx + dy*dy)``: the
grid offsets (3, 4) lie at 0.15 m up to rounding, so another formula keeps other rows and shifts every later index.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import numpy as np

Layout = Literal["grid", "object-triples", "receptacle-triples", "ring", "grid+ring"]
YawSet = Literal["training", "held-out", "all"]
OffsetSet = Literal["home", "held-out", "held-out+home", "all"]

GRID_CENTER = (-0.16, 0.0)  # [m] world xy
GRID_HALF_SIZE = 0.075  # [m]
INNER = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
OUTER = (-0.2, *INNER, 1.2)

DROP_HEIGHT = 0.95  # [m] world z at which settling starts when two bodies share the table
TRIPLE_HEIGHTS: dict[str, tuple[float, float, float]] = {  # [m] object, receptacle, third body
    "object-triples": (0.95, 0.92, 1.0),
    "receptacle-triples": (1.0, 0.92, 0.96),
}

_TRAINING_YAWS = tuple(k * np.pi / 4 for k in range(4))
_HELD_OUT_YAWS = tuple(-(2 * k + 1) * np.pi / 8 for k in range(4))
YAWS: dict[YawSet, tuple[float, ...]] = {
    "training": _TRAINING_YAWS, "held-out": _HELD_OUT_YAWS, "all": _TRAINING_YAWS + _HELD_OUT_YAWS
}  # fmt: skip
"""Rotations of the object about world z [rad]."""


def _points(cells: list[tuple[float, float]]) -> np.ndarray:
    """Map unit-square cells to world xy [m], in upstream's own order of operations."""
    unit = np.array(cells, dtype=np.float64)
    return (unit * 2.0 - 1.0) * GRID_HALF_SIZE + np.array(GRID_CENTER)


def grid_points() -> np.ndarray:
    """The 36 training cells as world xy [m], shape (36, 2); row ``6 a + b`` has ``x`` from ``a``, ``y`` from ``b``."""
    return _points([(a, b) for a in INNER for b in INNER])


def ring_points() -> np.ndarray:
    """The 28 cells around the training grid as world xy [m], shape (28, 2)."""
    sides = [(a, b) for a in INNER for b in (OUTER[0], OUTER[-1])]
    return _points([(OUTER[0], b) for b in OUTER] + sides + [(OUTER[-1], b) for b in OUTER])


def _distances(points: np.ndarray) -> np.ndarray:
    delta = points[:, None] - points[None, :]
    return np.sqrt(delta[..., 0] * delta[..., 0] + delta[..., 1] * delta[..., 1])


def _place(points: np.ndarray, rows: np.ndarray, heights: tuple[float, ...]) -> np.ndarray:
    """Rows of point indices (N, K) and K heights [m] to positions (N, K, 3)."""
    z = np.broadcast_to(np.array(heights), rows.shape)
    return np.concatenate([points[rows], z[..., None]], axis=-1)


def _pairs(points: np.ndarray) -> np.ndarray:
    keep = (_distances(points) > 0.070) & ~np.eye(len(points), dtype=bool)
    return _place(points, np.argwhere(keep), (DROP_HEIGHT, DROP_HEIGHT))


def _triples(layout: str) -> np.ndarray:
    """Object i, receptacle j, third k: the two bodies of one kind stay 0.15 m apart, all others 0.07 m."""
    points = grid_points()
    far, near = _distances(points) > 0.150, _distances(points) > 0.070
    third_to_object, third_to_receptacle = (far, near) if layout == "object-triples" else (near, far)
    keep = near[:, :, None] & third_to_receptacle[None, :, :] & third_to_object[:, None, :]
    return _place(points, np.argwhere(keep), TRIPLE_HEIGHTS[layout])


@cache
def places(layout: Layout) -> np.ndarray:
    """Start positions of a layout in the world frame [m], read-only float64.

    Shape (784, 2, 3) for ``grid``, (628, 2, 3) for ``ring``, (1412, 2, 3) for ``grid+ring`` and (2104, 3, 3) for the
    triples; the second axis is object, receptacle and, in triples, the distractor or the place the object moves to.
    """
    if layout in ("grid", "ring"):
        table = _pairs(grid_points() if layout == "grid" else ring_points())
    elif layout == "grid+ring":
        table = np.concatenate([places("grid"), places("ring")])
    else:
        table = _triples(layout)
    table.setflags(write=False)
    return table


@cache
def robot_offsets(which: OffsetSet) -> np.ndarray:
    """Arm joint offsets from the home posture [rad], read-only, shape (N, 6).

    The held-out grid of upstream has 14375 rows and contains the home posture; ``held-out`` leaves that row out
    (14374), ``held-out+home`` keeps it and ``all`` puts the home posture once more in front.
    """
    steps, wrist = np.array([-0.15, -0.08, 0.0, 0.08, 0.15]), np.array([-0.6, -0.3, 0.0, 0.3, 0.6])
    grid = np.stack(np.meshgrid(*[steps] * 5, wrist, indexing="ij"), axis=-1).reshape(-1, 6)
    grid = grid[np.abs(grid[:, 1] + grid[:, 2]) <= 0.25]
    home = np.zeros((1, 6))
    table = {
        "home": home,
        "held-out": grid[np.any(grid != 0.0, axis=1)],
        "held-out+home": grid,
        "all": np.concatenate([home, grid]),
    }[which]
    table.setflags(write=False)
    return table
