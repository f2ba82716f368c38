"""Where to grip a rigid object with two flat fingers from above: geometry only, no simulator.

World frames have z up. A grasp closes along the horizontal direction ``(cos yaw, sin yaw)``; the fingers are wide along
the horizontal direction across it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

# The gripper of the WidowX-250S as its collision bodies have it, seen from `ee_gripper_link` [m].
TIP = 0.0156  # how far the fingers reach beyond the link
PALM = 0.0376  # how far the palm stays behind the tips
HALF_OPENING = 0.026  # of the fully open fingers, at their roots; at the tips 0.028
FINGER_THICKNESS = 0.016
FINGER_HALF_WIDTH = 0.0145
PALM_HALF_LENGTH = 0.0523  # along the closing direction
PALM_HALF_WIDTH = 0.0358
NARROWEST = 0.0105  # closed fingers leave a gap of 8 to 12 mm

FLOOR_CLEARANCE = 0.004  # [m] of the tips above whatever is below them
PALM_CLEARANCE = 0.003
OBSTACLE_MARGIN = 0.004
SAMPLE_SIZE = 0.004  # [m] between points on a surface
CELL_SIZE = 0.003  # [m] edge of the cubes of which each keeps one point a direction
CONTACT_DEPTH = 0.0015  # [m] what lies so close to the outermost point counts as touched
FRICTION_COSINE = 0.84  # of the friction cone's angle at a coefficient of 0.65
SLIPPERY = 0.1  # cost of touching a surface that lies outside that cone

YAWS = 36
SLIDES = np.arange(-0.060, 0.0601, 0.005)  # [m] places along the object, from its centre of mass


@dataclass(frozen=True)
class Shape:
    """A model's collision bodies, sampled; in the model's frame [m].

    Attributes:
        corners: (M, 3), the vertices of the convex bodies: all extents follow from them.
        points: (N, 3), spread over the surfaces.
        normals: (N, 3), the outward unit normals there.
        center: (3,), the centre of mass at uniform density.
    """

    corners: np.ndarray
    points: np.ndarray
    normals: np.ndarray
    center: np.ndarray


@dataclass(frozen=True)
class Grasp:
    """Where the fingers should be when they close; world frame.

    Attributes:
        tip: (3,), the point midway between the finger tips [m].
        yaw: of the closing direction [rad].
        width: of what is between the fingers [m].
        top: highest point [m] of what the palm will hang over.
        cost: lower is better; [m] of equivalent distance from the centre of mass.
    """

    tip: np.ndarray
    yaw: float
    width: float
    top: float
    cost: float


def load_shape(path: Path) -> Shape:
    """Reads a collision mesh as the simulator does: every connected part becomes a convex body."""
    from sapien.physx import PhysxCollisionShapeConvexMesh, PhysxMaterial  # comes with the simulator only

    bodies = PhysxCollisionShapeConvexMesh.load_multiple(str(path), np.ones(3), PhysxMaterial(0, 0, 0))
    return sample_shape([(np.asarray(body.vertices, dtype=np.float64), np.asarray(body.triangles)) for body in bodies])


def sample_shape(bodies: Sequence[tuple[np.ndarray, np.ndarray]]) -> Shape:
    """Samples convex bodies, each given by its vertices (V, 3) [m] and triangles (F, 3) of any winding."""
    points, normals, volumes, moments = [], [], [], []
    for vertices, triangles in bodies:
        inside = vertices.mean(axis=0)
        for first, second, third in vertices[triangles]:
            cross = np.cross(second - first, third - first)
            height = cross @ (first - inside)
            if np.linalg.norm(cross) < 1e-12:
                continue
            volumes.append(abs(height) / 6)
            moments.append((first + second + third + inside) / 4 * volumes[-1])
            points.append(_spread(first, second, third))
            normals.append(np.tile(np.sign(height) * cross / np.linalg.norm(cross), (len(points[-1]), 1)))
    spots, directions = np.concatenate(points), np.concatenate(normals)
    # Long thin triangles get far more points than they need; one in each small cube and direction is enough.
    cells = np.concatenate([np.floor(spots / CELL_SIZE), np.round(2 * directions)], axis=1)
    chosen = np.sort(np.unique(cells, axis=0, return_index=True)[1])
    return Shape(
        corners=np.concatenate([vertices for vertices, _ in bodies]),
        points=spots[chosen],
        normals=directions[chosen],
        center=np.sum(moments, axis=0) / np.sum(volumes),
    )


def _spread(first: np.ndarray, second: np.ndarray, third: np.ndarray) -> np.ndarray:
    """Spreads points (K, 3) over a triangle, its corners among them, no further than ``SAMPLE_SIZE`` apart."""
    longest = max(np.linalg.norm(second - first), np.linalg.norm(third - second), np.linalg.norm(first - third))
    count = int(np.ceil(longest / SAMPLE_SIZE))
    i, j = np.meshgrid(np.arange(count + 1), np.arange(count + 1), indexing="ij")
    keep = i + j <= count
    u, v = i[keep] / count, j[keep] / count
    return first + u[:, None] * (second - first) + v[:, None] * (third - first)


def _nearest_half_turn(yaw: np.ndarray, reference: float) -> np.ndarray:
    """The gripper is symmetric: returns the yaws, modulo half a turn, that lie nearest to a reference."""
    return reference + (yaw - reference + np.pi / 2) % np.pi - np.pi / 2


def plan_grasps(
    points: np.ndarray,
    normals: np.ndarray,
    center: np.ndarray,
    *,
    floor: float,
    obstacles: np.ndarray,
    yaw: float,
    avoid: Sequence[Grasp] = (),
    prefer: Grasp | None = None,
) -> list[Grasp]:
    """Lists where an object can be gripped, best first.

    Args:
        points: (N, 3) on the object's surface, world frame [m].
        normals: (N, 3), outward there.
        center: (3,), its centre of mass.
        floor: height of the table [m].
        obstacles: (M, 3) points of whatever else stands around; may be empty.
        yaw: of the gripper now [rad]; turning costs a little.
        avoid: grasps that failed.
        prefer: the grasp aimed at so far; another has to be better by more than a little.
    """
    grasps = []
    yaws = _nearest_half_turn(yaw + np.arange(YAWS) * np.pi / YAWS, yaw)
    for angle in yaws:
        grasps += _grasps_at(float(angle), points, normals, center, floor, obstacles)
    return sorted((_judge(grasp, yaw, avoid, prefer) for grasp in grasps), key=lambda grasp: grasp.cost)


def _likeness(first: Grasp, second: Grasp) -> float:
    """How alike two grasps are, from 1 (the same) to 0 (20 mm or 0.8 rad apart)."""
    turned = abs((first.yaw - second.yaw + np.pi / 2) % np.pi - np.pi / 2)
    away = float(np.linalg.norm(first.tip - second.tip))
    return max(0.0, 1 - away / 0.02 - turned / 0.8)


def _judge(grasp: Grasp, yaw: float, avoid: Sequence[Grasp], prefer: Grasp | None) -> Grasp:
    """Adds what a grasp costs beyond its geometry."""
    cost = grasp.cost + 0.002 * abs(grasp.yaw - yaw) + sum(0.03 * _likeness(grasp, failed) for failed in avoid)
    if prefer is not None:
        cost -= 0.006 * _likeness(grasp, prefer)
    return Grasp(grasp.tip, grasp.yaw, grasp.width, grasp.top, cost)


def _grasps_at(
    yaw: float, points: np.ndarray, normals: np.ndarray, center: np.ndarray, floor: float, obstacles: np.ndarray
) -> list[Grasp]:
    """All usable grasps with one closing direction."""
    closing = np.array([np.cos(yaw), np.sin(yaw)])
    across = np.array([-closing[1], closing[0]])
    c, a, z = points[:, :2] @ closing, points[:, :2] @ across, points[:, 2]
    facing = normals[:, :2] @ closing
    c0, a0 = center[:2] @ closing, center[:2] @ across
    oc, oa = obstacles[:, :2] @ closing, obstacles[:, :2] @ across
    grasps = []
    for slide in SLIDES:
        place = a0 + slide
        beneath = np.abs(a - place) <= PALM_HALF_WIDTH
        slab = np.abs(a - place) <= FINGER_HALF_WIDTH
        if not slab.any():
            continue
        top = float(z[beneath].max())
        low = max(floor + FLOOR_CLEARANCE, top + PALM_CLEARANCE - PALM)
        between = slab & (z >= low)
        if not between.any():
            continue
        middle = (c[between].min() + c[between].max()) / 2
        low = _clear_of(low, middle, place, oc, oa, obstacles)
        between = slab & (z >= low)
        if not between.any():
            continue
        cost, width, middle = _cost(c[between], a[between], z[between], facing[between], low, place)
        if not np.isfinite(cost):
            continue
        cost += abs(place - a0) + 0.5 * abs(middle - c0)
        xy = middle * closing + place * across
        grasps.append(Grasp(np.array([*xy, low]), yaw, width, top, cost))
    return grasps


def _clear_of(low: float, middle: float, place: float, oc: np.ndarray, oa: np.ndarray, obstacles: np.ndarray) -> float:
    """Returns the height of the tips at which fingers and palm stay above all obstacles beneath them."""
    reach = HALF_OPENING + FINGER_THICKNESS + OBSTACLE_MARGIN
    apart = np.abs(oc - middle)
    fingers = (apart <= reach) & (apart >= 0.01) & (np.abs(oa - place) <= FINGER_HALF_WIDTH + OBSTACLE_MARGIN)
    palm = (apart <= PALM_HALF_LENGTH + OBSTACLE_MARGIN) & (np.abs(oa - place) <= PALM_HALF_WIDTH + OBSTACLE_MARGIN)
    if fingers.any():
        low = max(low, float(obstacles[fingers, 2].max()) + FLOOR_CLEARANCE)
    if palm.any():
        low = max(low, float(obstacles[palm, 2].max()) + PALM_CLEARANCE - PALM)
    return low


def _cost(
    c: np.ndarray, a: np.ndarray, z: np.ndarray, facing: np.ndarray, low: float, place: float
) -> tuple[float, float, float]:
    """Judges what is between the fingers: returns cost, width [m] and middle [m] along the closing direction."""
    left, right = c.min(), c.max()
    width, middle = float(right - left), float(left + right) / 2
    bite = float(z.max() - low)
    margin = HALF_OPENING - width / 2
    if width < NARROWEST or margin < 0.0005 or bite < 0.005:
        return np.inf, width, middle
    cost = 2.0 * max(0.0, 0.006 - margin) + 0.5 * max(0.0, 0.015 - bite) + 2.0 * max(0.0, 0.013 - width)
    touched = []
    for patch, sign in ((c <= left + CONTACT_DEPTH, -1.0), (c >= right - CONTACT_DEPTH, 1.0)):
        flat = sign * facing[patch]
        cost += 0.05 * (1.0 - float(flat.max())) + 0.05 * (1.0 - float(flat.mean()))
        cost += SLIPPERY if flat.max() < FRICTION_COSINE else 0.0
        touched.append(float(a[patch].mean()))
    cost += 0.5 * abs(touched[0] - touched[1]) + 0.3 * abs(sum(touched) / 2 - place)
    return cost, width, middle
