"""Mesh primitives and the description of a model made of them; lengths in metres, z up."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from scipy.spatial import ConvexHull


class Mesh(NamedTuple):
    """Triangles with outward winding: vertices (V, 3) [m], faces (F, 3)."""

    vertices: np.ndarray
    faces: np.ndarray


@dataclass(frozen=True)
class Material:
    """PBR surface: sRGB colour "#rrggbb", roughness and metalness in [0, 1], optional (H, W, 3) uint8 picture."""

    colour: str = "#ffffff"
    roughness: float = 0.7
    metallic: float = 0.0
    picture: np.ndarray | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Part:
    """A mesh with one material; edges sharper than `crease` [deg] stay sharp.

    A picture is projected along z so that it fills the part's bounding box in x and y.
    """

    mesh: Mesh
    material: Material
    crease: float = 40.0


@dataclass
class Shape:
    """What is drawn (`parts`) and what collides (`hulls`, each the vertices of one convex body)."""

    parts: list[Part] = field(default_factory=list)
    hulls: list[np.ndarray] = field(default_factory=list)

    def add(self, mesh: Mesh, colour: str, roughness: float = 0.7, metallic: float = 0.0, **options) -> None:
        """Append a visual part; `options` are `picture` and `crease`."""
        crease = options.pop("crease", 40.0)
        self.parts.append(Part(mesh, Material(colour, roughness, metallic, **options), crease))

    def collide(self, *points: np.ndarray) -> None:
        """Append one convex body spanned by the given (N, 3) point sets [m]."""
        self.hulls.append(np.concatenate([np.asarray(p, float).reshape(-1, 3) for p in points]))


def circle(radius: float, sections: int, z: float = 0.0, phase: float = 0.0) -> np.ndarray:
    """Points (sections, 3) on a horizontal circle [m]; `phase` in section widths."""
    angle = (np.arange(sections) + phase) * 2 * np.pi / sections
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), np.full(sections, z)], axis=1)


def rounded_rectangle(width: float, depth: float, radius: float, z: float = 0.0, corner: int = 4) -> np.ndarray:
    """Points (4 * corner, 3) of a rounded rectangle centred on the origin [m]."""
    angle = np.concatenate([np.linspace(q, q + 90, corner) for q in (0, 90, 180, 270)]) * np.pi / 180
    sign = np.repeat([[1, 1], [-1, 1], [-1, -1], [1, -1]], corner, axis=0)
    centre = sign * [width / 2 - radius, depth / 2 - radius]
    xy = centre + radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return np.column_stack([xy, np.full(len(xy), z)])


def loft(rings: list[np.ndarray] | np.ndarray, capped: bool = True, closed: bool = False) -> Mesh:
    """Skin through rings (R, N, 3) [m] that run counter-clockwise about the direction of travel.

    Args:
      rings: cross sections with equally many points.
      capped: close both ends with a fan about the centroid.
      closed: join the last ring to the first one (no caps).
    """
    rings = np.asarray(rings, float)
    count, size = rings.shape[:2]
    vertices = rings.reshape(-1, 3)
    faces = []
    step = np.arange(size)
    nxt = (step + 1) % size
    for i in range(count if closed else count - 1):
        a, b = i * size, ((i + 1) % count) * size
        faces += [np.stack([a + step, a + nxt, b + nxt], 1), np.stack([a + step, b + nxt, b + step], 1)]
    if capped and not closed:
        low, high = len(vertices), len(vertices) + 1
        vertices = np.concatenate([vertices, rings[[0, -1]].mean(axis=1)])
        last = (count - 1) * size
        faces += [np.stack([nxt, step, np.full(size, low)], 1)]
        faces += [np.stack([last + step, last + nxt, np.full(size, high)], 1)]
    return Mesh(vertices, np.concatenate(faces))


def lathe(profile: list[tuple[float, float]], sections: int = 28) -> Mesh:
    """Solid of revolution about z through (radius, z) points [m], listed from bottom to top along the outside."""
    return loft([circle(max(r, 1e-5), sections, z) for r, z in profile])


def band(profile: list[tuple[float, float]], sections: int = 48) -> Mesh:
    """Ring of revolution about z whose (radius, z) outline [m] is closed and runs counter-clockwise."""
    return loft([circle(r, sections, z) for r, z in profile], closed=True)


def extrude(outline: np.ndarray, height: float, bevel: float = 0.0, z: float = 0.0) -> Mesh:
    """Prism over a counter-clockwise, star-shaped outline (N, 2 or 3) [m] with bevelled rims."""
    outline = np.asarray(outline, float)[:, :2]
    centre = outline.mean(axis=0)
    reach = np.linalg.norm(outline - centre, axis=1, keepdims=True)
    inner = centre + (outline - centre) * np.maximum(1 - bevel / reach, 0.05)
    levels = [(outline, 0.0), (outline, height)]
    if bevel > 0:
        levels = [(inner, 0.0), (outline, bevel), (outline, height - bevel), (inner, height)]
    return loft([np.column_stack([xy, np.full(len(xy), z + h)]) for xy, h in levels])


def box(size: tuple[float, float, float], centre: tuple[float, float, float] = (0, 0, 0), bevel: float = 0.001) -> Mesh:
    """Box with bevelled edges: size and centre in metres."""
    x, y, z = size
    bevel = min(bevel, 0.45 * min(size))
    rings = [
        rounded_rectangle(x - 2 * inset, y - 2 * inset, max(bevel - inset, 1e-5), level, 2)
        for inset, level in ((bevel, -z / 2), (0, -z / 2 + bevel), (0, z / 2 - bevel), (bevel, z / 2))
    ]
    return move(loft(rings), centre)


def ellipsoid(
    radii: tuple[float, float, float], centre: tuple[float, float, float] = (0, 0, 0), sections: int = 24
) -> Mesh:
    """Ellipsoid with semi-axes and centre in metres."""
    angle = np.linspace(-np.pi / 2, np.pi / 2, sections // 2 + 1)[1:-1]
    mesh = lathe([(np.cos(a), np.sin(a)) for a in angle], sections)
    mesh.vertices[-2:, 2] = -1.0, 1.0  # the centres of the two caps become the poles
    return Mesh(mesh.vertices * radii + np.asarray(centre), mesh.faces)


def tube(path: np.ndarray, radius: float | np.ndarray, sections: int = 12, closed: bool = False) -> Mesh:
    """Round tube along a polyline (N, 3) [m]; radius [m] is a number or one per point."""
    path = np.asarray(path, float)
    radius = np.broadcast_to(radius, len(path))
    if closed:
        tangent = np.roll(path, -1, axis=0) - np.roll(path, 1, axis=0)
    else:
        tangent = np.gradient(path, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    spread = np.ptp(path, axis=0)
    up = np.eye(3)[np.argmin(spread)]  # the direction the path leaves least, so frames never flip
    angle = np.arange(sections) * 2 * np.pi / sections
    rings = []
    for point, direction, r in zip(path, tangent, radius, strict=True):
        side = np.cross(up, direction)
        side /= np.linalg.norm(side)
        top = np.cross(direction, side)
        rings.append(point + r * (np.cos(angle)[:, None] * side + np.sin(angle)[:, None] * top))
    return loft(rings, closed=closed)


def cylinder(
    radius: float, length: float, centre=(0, 0, 0), axis: str = "z", sections: int = 24, bevel: float = 0.0005
) -> Mesh:
    """Cylinder with bevelled rims about a coordinate axis (metres)."""
    half = length / 2
    mesh = lathe(
        [(radius - bevel, -half), (radius, -half + bevel), (radius, half - bevel), (radius - bevel, half)], sections
    )
    if axis == "x":
        mesh = rotate(mesh, "y", 90)
    elif axis == "y":
        mesh = rotate(mesh, "x", 90)
    return move(mesh, centre)


def move(mesh: Mesh, offset) -> Mesh:
    """Translate by `offset` [m]."""
    return Mesh(mesh.vertices + np.asarray(offset, float), mesh.faces)


def stretch(mesh: Mesh, factors) -> Mesh:
    """Scale by positive `factors` per axis."""
    return Mesh(mesh.vertices * np.asarray(factors, float), mesh.faces)


def rotation(axis: str, degrees: float) -> np.ndarray:
    """Rotation matrix (3, 3) about a coordinate axis."""
    a = np.deg2rad(degrees)
    c, s = np.cos(a), np.sin(a)
    i = "xyz".index(axis)
    j, k = (i + 1) % 3, (i + 2) % 3
    matrix = np.eye(3)
    matrix[[j, j, k, k], [j, k, j, k]] = c, -s, s, c
    return matrix


def rotate(mesh: Mesh, axis: str, degrees: float) -> Mesh:
    """Rotate about a coordinate axis through the origin."""
    return Mesh(mesh.vertices @ rotation(axis, degrees).T, mesh.faces)


def convex_hull(points: np.ndarray) -> Mesh:
    """Convex hull of (N, 3) points with outward winding and only the corner vertices kept."""
    points = np.round(points, 6)
    hull = ConvexHull(points)
    corners = points[np.unique(hull.simplices)]
    hull = ConvexHull(corners)
    faces = hull.simplices.copy()
    a, b, c = (corners[faces[:, i]] for i in range(3))
    inward = np.einsum("ij,ij->i", np.cross(b - a, c - a), hull.equations[:, :3]) < 0
    faces[inward] = faces[inward][:, ::-1]
    return Mesh(corners, faces)


def radius_at(stations: list[tuple[float, float]], x: np.ndarray | float) -> np.ndarray:
    """Radius [m] at x by straight lines between (x, radius) stations."""
    table = np.array(stations)
    return np.interp(x, table[:, 0], table[:, 1])


def lying(stations: list[tuple[float, float]], sections: int = 20) -> list[np.ndarray]:
    """Rings of a round body lying along x on the plane z = 0.

    Args:
      stations: (x, radius) pairs [m] with increasing x.
      sections: points per ring.
    """
    rings = []
    for x, r in stations:
        ring = circle(max(r, 1e-5), sections, phase=0.5)
        rings.append(np.stack([np.full(sections, x), ring[:, 0], ring[:, 1] + r], axis=1))
    return rings


def lying_hull(stations: list[tuple[float, float]], sections: int = 8) -> np.ndarray:
    """Points of the faceted body around `lying(stations)`: a flat facet below, so it cannot roll."""
    grow = 1 / np.cos(np.pi / sections)
    rings = []
    for x, r in stations:
        ring = circle(r * grow, sections, phase=0.5 - sections / 4)
        rings.append(np.stack([np.full(sections, x), ring[:, 0], ring[:, 1] + r], axis=1))
    return np.concatenate(rings)


def cuboid(low, high) -> np.ndarray:
    """The 8 corners of an axis-aligned box [m]."""
    return np.array([[x, y, z] for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])])


def prism(radius: float, low: float, high: float, sections: int = 12, top: float | None = None) -> np.ndarray:
    """Points of an upright n-gon frustum whose flats touch the circle of `radius` (`top` at the upper end) [m]."""
    grow = 1 / np.cos(np.pi / sections)
    upper = radius if top is None else top
    return np.concatenate([circle(radius * grow, sections, low, 0.5), circle(upper * grow, sections, high, 0.5)])
