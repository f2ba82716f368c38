"""Which part of the picture the robot and the objects can cover: pure projection arithmetic in numpy.

Most of the picture is replaced by the table picture, and software rendering costs by the pixel; so only the window that
holds the foreground is rendered. Camera coordinates are OpenCV's: x right, y down, z forward [m].
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.spatial import ConvexHull

WINDOW_SIZES = ((192, 256), (256, 256), (256, 320), (320, 320), (320, 384), (384, 384), (448, 448), (512, 480))
"""Width and height [pixels] of the windows that are rendered, by area; what fits none takes the whole picture."""

MARGIN = 2  # [pixels]


class Outline(NamedTuple):
    """A convex body's vertices (V, 3) [m] in its own frame, and its edges as vertex index pairs (E, 2)."""

    vertices: np.ndarray
    edges: np.ndarray


class Window(NamedTuple):
    """A part of the picture [pixels]."""

    x: int
    y: int
    width: int
    height: int


def outline(points: np.ndarray) -> Outline:
    """The convex hull of points (N, 3), which need not be a proper volume."""
    low, high = points.min(0), points.max(0)
    if np.any(high - low < 1e-6):
        corners = np.array(np.meshgrid(*zip(low, high, strict=True), indexing="ij")).reshape(3, -1).T
        edges = [(a, b) for a in range(8) for b in range(a) if bin(a ^ b).count("1") == 1]
        return Outline(corners, np.array(edges))
    hull = ConvexHull(points)
    index = np.full(len(points), -1)
    index[hull.vertices] = np.arange(len(hull.vertices))
    triangles = index[hull.simplices]
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    return Outline(points[hull.vertices], np.unique(np.sort(edges, axis=1), axis=0))


def in_front(points: np.ndarray, edges: np.ndarray, near: float) -> np.ndarray:
    """The vertices in front of the near plane, and where edges cross it: points (N, 3) to (M, 3)."""
    ahead = points[:, 2] >= near
    if ahead.all():
        return points
    crossing = edges[ahead[edges[:, 0]] != ahead[edges[:, 1]]]
    start, end = points[crossing[:, 0]], points[crossing[:, 1]]
    fraction = (near - start[:, 2:]) / (end[:, 2:] - start[:, 2:])
    return np.concatenate([points[ahead], start + fraction * (end - start)])


def projected_bounds(points: np.ndarray, intrinsic: np.ndarray) -> np.ndarray:
    """Smallest and largest column and row of points (N, 3) in front of the camera: ``[x0, y0, x1, y1]``."""
    pixels = points[:, :2] / points[:, 2:] * intrinsic[[0, 1], [0, 1]] + intrinsic[:2, 2]
    return np.concatenate([pixels.min(0), pixels.max(0)])


def window(bounds: np.ndarray, width: int, height: int) -> Window:
    """The smallest rendered window that holds ``bounds`` ``[x0, y0, x1, y1]``, clipped to the picture."""
    x0, y0 = np.maximum(np.floor(bounds[:2]) - MARGIN, 0)
    x1, y1 = np.minimum(np.ceil(bounds[2:]) + MARGIN + 1, (width, height))
    for w, h in WINDOW_SIZES:
        if x1 - x0 <= w <= width and y1 - y0 <= h <= height:
            return Window(int(min(x0, width - w)), int(min(y0, height - h)), w, h)
    return Window(0, 0, width, height)
