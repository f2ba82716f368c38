"""Toys; each function returns a shape standing on z = 0 in metres."""

from __future__ import annotations

import numpy as np

from vlagen.assets.generate.shapes import (
    Mesh,
    Shape,
    box,
    circle,
    cuboid,
    cylinder,
    ellipsoid,
    loft,
    move,
    prism,
    rotate,
    rounded_rectangle,
    stretch,
    tube,
)

STEEL, BLACK, WHITE = "#b9bec4", "#1c1d20", "#f4f3ee"


def cabin(length: tuple[float, float], width: tuple[float, float], low: float, high: float, lean: float = 0.0) -> Mesh:
    """Frustum with (bottom, top) length and width [m]; the top is shifted by `lean` in x."""
    bottom = rounded_rectangle(length[0], width[0], 0.003, low)
    top = rounded_rectangle(length[1], width[1], 0.003, high) + [lean, 0, 0]
    return loft([bottom, top])


def toy_car() -> Shape:
    shape = Shape()
    shape.add(box((0.078, 0.034, 0.013), (0, 0, 0.0125), 0.004), "#d8232a", 0.25)
    shape.add(cabin((0.046, 0.031), (0.030, 0.026), 0.018, 0.0310, -0.003), "#27303c", 0.1)
    shape.add(move(box((0.030, 0.025, 0.003), bevel=0.0014), (-0.007, 0, 0.0318)), "#d8232a", 0.25)
    for x in (-0.0225, -0.0075, 0.0115):
        for y in (-1, 1):
            post = tube([(x - 0.003 * (x < 0), y * 0.0150, 0.0185), (x * 0.78 - 0.003, y * 0.0128, 0.0312)], 0.0016, 6)
            shape.add(post, "#d8232a", 0.25)
    shape.add(box((0.079, 0.007, 0.0006), (0, 0, 0.0191), 0.0001), WHITE)
    shape.add(box((0.028, 0.007, 0.0006), (-0.007, 0, 0.0335), 0.0001), WHITE)
    for x in (-0.024, 0.024):
        for y in (-1, 1):
            shape.add(cylinder(0.0090, 0.007, (x, y * 0.0150, 0.0090), "y", 24, 0.001), BLACK, 0.9)
            shape.add(cylinder(0.0052, 0.0076, (x, y * 0.0150, 0.0090), "y", 16), STEEL, 0.3, 0.3)
    for y in (-1, 1):
        shape.add(ellipsoid((0.0018, 0.0040, 0.0030), (0.0388, y * 0.0110, 0.0140), 12), "#fff2b0", 0.2)
        shape.add(box((0.002, 0.006, 0.003), (-0.0388, y * 0.0115, 0.0140), 0.0006), "#7a0d10", 0.3)
    shape.add(box((0.003, 0.034, 0.004), (0.0385, 0, 0.0082), 0.001), STEEL, 0.3)
    shape.add(box((0.003, 0.034, 0.004), (-0.0385, 0, 0.0082), 0.001), STEEL, 0.3)
    shape.collide(
        cuboid((-0.033, -0.0185, 0), (0.033, 0.0185, 0.016)),
        cuboid((-0.0395, -0.017, 0.006), (0.0395, 0.017, 0.0185)),
        cuboid((-0.021, -0.0130, 0.0333), (0.008, 0.0130, 0.0333)),
    )
    return shape


def rubber_duck() -> Shape:
    shape = Shape()
    body = ellipsoid((0.030, 0.0190, 0.0165), (0, 0, 0.0150), 28)
    tail = body.vertices[:, 0] < -0.012
    lifted = body.vertices.copy()
    lifted[tail, 2] += 14.0 * (lifted[tail, 0] + 0.012) ** 2
    lifted[:, 2] = np.maximum(lifted[:, 2], 0)
    shape.add(Mesh(lifted, body.faces), "#ffd21c", 0.35)
    shape.add(ellipsoid((0.0135, 0.0130, 0.0130), (0.0135, 0, 0.0385), 24), "#ffd21c", 0.35)
    shape.add(ellipsoid((0.0080, 0.0072, 0.0024), (0.0275, 0, 0.0370), 16), "#f26a12", 0.4)
    shape.add(ellipsoid((0.0065, 0.0060, 0.0020), (0.0265, 0, 0.0345), 16), "#d9560c", 0.4)
    for y in (-1, 1):
        shape.add(ellipsoid((0.0028, 0.0022, 0.0032), (0.0220, y * 0.0082, 0.0425), 12), WHITE, 0.2)
        shape.add(ellipsoid((0.0018, 0.0014, 0.0020), (0.0238, y * 0.0090, 0.0428), 10), BLACK, 0.1)
        wing = rotate(ellipsoid((0.0140, 0.0040, 0.0080), sections=20), "y", 16)
        shape.add(move(wing, (-0.005, y * 0.0172, 0.0195)), "#f2bd0a", 0.4)
    shape.collide(
        stretch(Mesh(prism(1, 0, 1, 12), np.zeros((0, 3), int)), (0.0205, 0.0125, 0.001)).vertices,
        stretch(Mesh(prism(1, 0.0135, 0.0175, 12), np.zeros((0, 3), int)), (0.0285, 0.0186, 1)).vertices,
        stretch(Mesh(prism(1, 0.0295, 0.0305, 8), np.zeros((0, 3), int)), (0.0150, 0.0080, 1)).vertices,
    )
    head = [
        circle(r / np.cos(np.pi / 8), 8, z, 0.5) + [0.0135, 0, 0]
        for r, z in ((0.0105, 0.0300), (0.0130, 0.0360), (0.0130, 0.0410), (0.0060, 0.0510))
    ]
    shape.collide(*head)
    return shape


def toy_brick() -> Shape:
    shape = Shape()
    shape.add(box((0.064, 0.032, 0.0192), (0, 0, 0.0096), 0.0010), "#1f62c9", 0.3)
    for x in (-0.024, -0.008, 0.008, 0.024):
        for y in (-0.008, 0.008):
            shape.add(cylinder(0.0050, 0.0040, (x, y, 0.0206), sections=24, bevel=0.0006), "#2a70dc", 0.3)
    shape.collide(cuboid((-0.032, -0.016, 0), (0.032, 0.016, 0.0225)))
    return shape


def tennis_ball() -> Shape:
    shape = Shape()
    radius, height = 0.0200, 0.0185
    ball = ellipsoid((radius, radius, radius), (0, 0, height), 36)
    shape.add(Mesh(np.maximum(ball.vertices, [-1, -1, 0]), ball.faces), "#cfe23a", 0.95)
    t = np.linspace(0, 2 * np.pi, 80, endpoint=False)
    bend = 0.44
    seam = np.stack(
        [
            np.cos(t) + bend * np.cos(3 * t) / 3,
            np.sin(t) - bend * np.sin(3 * t) / 3,
            2 * np.sqrt(bend / 3) * np.sin(2 * t),
        ],
        axis=1,
    )
    seam *= radius * 1.002 / np.linalg.norm(seam, axis=1, keepdims=True)
    seam = seam @ np.array([[1, 0, 0], [0, 0.5, -0.866], [0, 0.866, 0.5]])
    shape.add(seam_tube(seam + [0, 0, height], 0.0009), WHITE, 0.9)
    levels = (
        (0.0085, -0.0185),
        (0.0140, -0.0150),
        (0.0192, -0.0070),
        (0.0192, 0.0070),
        (0.0145, 0.0150),
        (0.0055, 0.0196),
    )
    shape.collide(*[circle(r / np.cos(np.pi / 10), 10, z + height, 0.5) for r, z in levels])
    return shape


def seam_tube(path: np.ndarray, radius: float) -> Mesh:
    """Closed tube along a curve on a sphere about the curve's mean, flat against the surface [m]."""
    centre = path.mean(axis=0)
    tangent = np.roll(path, -1, axis=0) - np.roll(path, 1, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    outward = path - centre
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    side = np.cross(outward, tangent)
    angle = np.arange(6) * np.pi / 3
    rings = [
        p + radius * (np.cos(angle)[:, None] * s * 1.4 + np.sin(angle)[:, None] * o * 0.5)
        for p, s, o in zip(path, side, outward, strict=True)
    ]
    return loft(rings, closed=True)


def toy_boat() -> Shape:
    shape = Shape()

    def deck(scale: float, z: float, reach: float) -> np.ndarray:
        y = 0.0185 * scale
        xy = [
            (-0.038, -y),
            (-0.010, -y),
            (0.012, -y),
            (0.028, -0.62 * y),
            (reach, 0),
            (0.028, 0.62 * y),
            (0.012, y),
            (-0.010, y),
            (-0.038, y),
            (-0.039, 0),
        ]
        return np.array([(a, b, z) for a, b in xy])

    hull = [deck(0.72, 0, 0.033), deck(0.95, 0.010, 0.042), deck(1.0, 0.0185, 0.047)]
    shape.add(loft(hull), "#c9302c", 0.4)
    shape.add(
        loft(
            [
                deck(1.01, 0.0130, 0.0455),
                deck(1.03, 0.0135, 0.0460),
                deck(1.03, 0.0160, 0.0475),
                deck(1.01, 0.0165, 0.0470),
            ]
        ),
        WHITE,
        0.4,
    )
    shape.add(loft([deck(0.90, 0.0180, 0.043), deck(0.90, 0.0192, 0.043)]), "#d9a765", 0.7)
    shape.add(box((0.032, 0.0230, 0.0140), (-0.012, 0, 0.0255), 0.0015), WHITE, 0.4)
    shape.add(box((0.036, 0.0260, 0.0022), (-0.012, 0, 0.0335), 0.0008), "#2a5fb0", 0.4)
    for x in (-0.022, -0.012, -0.002):
        for y in (-1, 1):
            shape.add(cylinder(0.0028, 0.0010, (x, y * 0.0116, 0.0265), "y", 16), "#27303c", 0.2)
    shape.add(cylinder(0.0050, 0.0150, (-0.017, 0, 0.0415), sections=20), "#f2b01e", 0.4)
    shape.add(cylinder(0.0052, 0.0045, (-0.017, 0, 0.0465), sections=20), "#20242c", 0.5)
    shape.collide(np.concatenate(hull))
    shape.collide(cuboid((-0.0300, -0.0125, 0.0185), (0.0060, 0.0125, 0.0345)))
    return shape
