"""Which part of the picture the robot and the objects can cover: pure projection arithmetic in numpy.

Most of the picture is replaced by the table picture, and software rendering costs by the pixel; so only the window that
holds the foreground is rendered. Camera coordinates are OpenCV's: x right, y down, z forward [m].
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.spatial import ConvexHull, QhullError

WINDOW_STEP = 64
"""Windows are multiples of this wide and high [pixels]: few sizes, as each needs a camera and its memory."""

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
    hull = None
    if np.all(high - low > 1e-6):
        with contextlib.suppress(QhullError):  # a sheet that leans
            hull = ConvexHull(points)
    if hull is None:
        corners = np.array(np.meshgrid(*zip(low, high, strict=True), indexing="ij")).reshape(3, -1).T
        edges = [(a, b) for a in range(8) for b in range(a) if bin(a ^ b).count("1") == 1]
        return Outline(corners, np.array(edges))
    index = np.full(len(points), -1)
    index[hull.vertices] = np.arange(len(hull.vertices))
    triangles = index[hull.simplices]
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    return Outline(points[hull.vertices], np.unique(np.sort(edges, axis=1), axis=0))


class Frustum(NamedTuple):
    """What a pinhole camera sees: intrinsic matrix (3, 3), near plane [m] and picture size [pixels]."""

    intrinsic: np.ndarray
    near: float
    width: int
    height: int

    def depths(self, points: np.ndarray) -> np.ndarray:
        """How far inside each of the five bounding planes points (..., 3) are, (..., 5); negative is outside."""
        (fx, fy), (cx, cy) = self.intrinsic[[0, 1], [0, 1]], self.intrinsic[:2, 2]
        x, y, z = np.moveaxis(points, -1, 0)
        right, bottom = (self.width - cx) * z - fx * x, (self.height - cy) * z - fy * y
        return np.stack([z - self.near, fx * x + cx * z, right, fy * y + cy * z, bottom], axis=-1)

    def project(self, points: np.ndarray) -> np.ndarray:
        """Points (N, 3) in front of the camera to pixels (N, 2)."""
        return points[:, :2] / points[:, 2:] * self.intrinsic[[0, 1], [0, 1]] + self.intrinsic[:2, 2]

    def unproject(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels (N, 2) to the points (N, 3) behind them at a depth of 1 m."""
        return np.column_stack(
            [(pixels - self.intrinsic[:2, 2]) / self.intrinsic[[0, 1], [0, 1]], np.ones(len(pixels))]
        )

    @property
    def corners(self) -> np.ndarray:
        """The picture's corners as pixels (4, 2)."""
        return np.array([[x, y] for x in (0, self.width) for y in (0, self.height)], dtype=np.float64)

    def covered_corners(self, points: np.ndarray) -> np.ndarray:
        """The picture's corners, as points (K, 3), that the hull of points (N, 3) before the camera covers.

        A body that covers a corner need not show an edge there. Seen from a covered corner, its pixels lie all around.
        """
        pixels, corners = self.project(points), self.corners
        corners = corners[((corners > pixels.min(axis=0)) & (corners < pixels.max(axis=0))).all(axis=1)]
        toward = pixels - corners[:, None]
        angles = np.sort(np.arctan2(toward[..., 1], toward[..., 0]), axis=1)
        gaps = np.diff(angles, axis=1, append=angles[:, :1] + 2 * np.pi)
        return self.unproject(corners[gaps.max(axis=1) < np.pi])


def visible_points(vertices: np.ndarray, edges: np.ndarray, frustum: Frustum) -> np.ndarray:
    """Points (N, 3) that span what shows of a convex body with these vertices (V, 3) and edges (E, 2).

    Edges are clipped to the frustum, so that a body beside what the camera sees does not count with its hidden part.
    One that reaches through the near plane may show anywhere: it gets the picture's corners.
    """
    depth = frustum.depths(vertices)
    outside = depth < 0
    if outside.all(axis=0).any():
        return np.empty((0, 3))
    if not outside.any():
        return vertices
    if outside[:, 0].any():
        return frustum.unproject(frustum.corners)
    # A bit for each plane. What matters are the vertices inside and the edges that cross planes, neither end beyond the
    # same one.
    beyond = outside @ (1 << np.arange(5))
    first, last = beyond[edges].T
    cut = edges[((first | last) != 0) & ((first & last) == 0)]
    start, along = vertices[cut[:, 0]], vertices[cut[:, 1]] - vertices[cut[:, 0]]
    first, last = depth[cut[:, 0]], depth[cut[:, 1]]
    # Along start + t * along: planes that the edge enters bound t from below, planes that it leaves from above.
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = first / (first - last)
    lower = np.where((first < 0) & (last >= 0), crossing, 0.0).max(axis=1, keepdims=True)
    upper = np.where((first >= 0) & (last < 0), crossing, 1.0).min(axis=1, keepdims=True)
    seen = lower[:, 0] <= upper[:, 0]
    clipped = [(start + lower * along)[seen], (start + upper * along)[seen]]
    return np.concatenate([vertices[beyond == 0], *clipped, frustum.covered_corners(vertices)])


class Bodies:
    """Several convex bodies that move, with their vertices in one array: an array's worth of work a picture, not B."""

    def __init__(self, outlines: Sequence[Outline]):
        self._edges = [body.edges for body in outlines]
        self._vertices = np.concatenate([body.vertices for body in outlines])
        self._lengths = np.array([len(body.vertices) for body in outlines])
        self._starts = np.cumsum(self._lengths) - self._lengths

    def visible_points(self, poses: np.ndarray, frustum: Frustum) -> np.ndarray:
        """``visible_points`` of all bodies, which have these poses (B, 4, 4) in camera coordinates."""
        turns, places = (np.repeat(part, self._lengths, axis=0) for part in (poses[:, :3, :3], poses[:, :3, 3]))
        vertices = np.einsum("nij,nj->ni", turns, self._vertices) + places
        whole = np.logical_and.reduceat((frustum.depths(vertices) >= 0).all(axis=-1), self._starts)
        points = [vertices[np.repeat(whole, self._lengths)]]
        for body in np.flatnonzero(~whole):
            own = vertices[self._starts[body] :][: self._lengths[body]]
            points.append(visible_points(own, self._edges[body], frustum))
        return np.concatenate(points)


def window(pixels: np.ndarray, width: int, height: int) -> Window:
    """The smallest rendered window that holds pixels (N, 2), clipped to the picture; N may be 0."""
    if len(pixels) == 0:
        pixels = np.zeros((1, 2))
    low = np.maximum(np.floor(pixels.min(axis=0)) - MARGIN, 0).astype(int)
    high = np.minimum(np.ceil(pixels.max(axis=0)).astype(int) + MARGIN + 1, (width, height))
    size = np.minimum(-(-np.maximum(high - low, 1) // WINDOW_STEP) * WINDOW_STEP, (width, height))
    x, y = np.minimum(low, np.array([width, height]) - size)
    return Window(int(x), int(y), int(size[0]), int(size[1]))
