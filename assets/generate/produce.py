"""Fruit and vegetables; each function returns a shape standing on z = 0 in metres."""

from __future__ import annotations

import numpy as np

from vlagen.assets.generate.shapes import (
    Mesh,
    Shape,
    circle,
    ellipsoid,
    extrude,
    lathe,
    loft,
    lying,
    lying_hull,
    move,
    prism,
    radius_at,
    rotate,
    tube,
)
from vlagen.assets.generate.write import rng

GREEN, LEAF, STEM = "#4f9a34", "#2f7d2c", "#6b4a24"


def leaf(length: float, width: float) -> Mesh:
    """A pointed leaf along +x starting at the origin [m]."""
    t = np.linspace(0, 1, 9)
    half = width / 2 * np.sin(np.pi * t) ** 0.8
    outline = np.concatenate([np.stack([length * t, -half], 1), np.stack([length * t, half], 1)[-2:0:-1]])
    return extrude(outline, 0.0012, z=-0.0006)


def on_lying(stations: list[tuple[float, float]], x: float, degrees: float) -> tuple[np.ndarray, float]:
    """Surface point of a lying body at (x, angle about its axis) and the radius there [m]."""
    radius = float(radius_at(stations, x))
    angle = np.deg2rad(degrees)
    return np.array([x, radius * np.cos(angle), radius + radius * np.sin(angle)]), radius


def carrot() -> Shape:
    shape = Shape()
    stations = [
        (-0.064, 0.0015),
        (-0.052, 0.006),
        (-0.026, 0.0105),
        (0.010, 0.014),
        (0.036, 0.0165),
        (0.046, 0.0155),
        (0.051, 0.009),
    ]
    x = np.linspace(-0.064, 0.051, 30)
    radius = radius_at(stations, x)
    shape.add(loft(lying(list(zip(x, radius, strict=True)))), "#f07a16", 0.6)
    for at in (-0.047, -0.036, -0.022, -0.011, 0.004, 0.015, 0.031, 0.039):
        _, r = on_lying(stations, at, 0)
        arc = np.deg2rad(np.linspace(20, 160, 9) + 900 * at)
        shape.add(tube([(at, r * 1.003 * np.cos(a), r + r * 1.003 * np.sin(a)) for a in arc], 0.0005, 6), "#c9580c")
    for k, (turn, rise) in enumerate(((-38, 5), (-20, 18), (0, 8), (17, 22), (36, 6))):
        t = np.linspace(0, 1, 7)
        reach = 0.036 - 0.003 * abs(k - 2)
        path = np.stack(
            [0.047 + reach * t, np.sin(np.deg2rad(turn)) * reach * t, 0.016 + 0.014 * t * np.sin(np.deg2rad(rise) * 3)],
            1,
        )
        shape.add(tube(path, 0.0012 + 0.0038 * np.sin(np.pi * t**0.7), 8), (GREEN, LEAF)[k % 2], 0.8)
    shape.collide(lying_hull(stations))
    return shape


def banana() -> Shape:
    shape = Shape()
    t = np.linspace(-1, 1, 25)
    angle = np.deg2rad(44) * t
    radius = 0.0145 * np.sqrt(np.clip(1 - 0.93 * np.abs(t) ** 3.2, 0, 1))
    path = np.stack([0.075 * np.sin(angle), 0.075 * (1 - np.cos(angle)), radius], axis=1)
    body = tube(path, radius, 5 * 4)
    shape.add(body, "#f6cf2e", 0.55)
    for side in (-1, 1):
        flank = path + np.stack([0 * t, side * radius * 0.72, radius * 0.70], axis=1)
        shape.add(tube(flank[3:-3], 0.0006, 6), "#c79a1c")
    tip, end = path[0], path[-1]
    shape.add(ellipsoid((0.004, 0.0042, 0.004), tip, 12), "#4a3418")
    stalk = [end, end + (0.006, 0.008, 0.003), end + (0.011, 0.015, 0.006)]
    shape.add(tube(stalk, [0.0042, 0.0034, 0.0036], 10), "#a98a24")
    shape.add(ellipsoid((0.0034, 0.0034, 0.002), stalk[-1], 10), "#4a3418")
    for rows in ((0, 4, 8, 12), (12, 16, 20, 24)):
        rings = []
        for i in rows:
            ring = circle(radius[i] / np.cos(np.pi / 8), 8, phase=0.5)
            side = np.array([-np.sin(angle[i]), np.cos(angle[i]), 0])
            rings.append(path[i] + ring[:, :1] * side + ring[:, 1:2] * [0, 0, 1])
        shape.collide(*rings)
    return shape


def strawberry() -> Shape:
    shape = Shape()
    stations = [(-0.024, 0.003), (-0.018, 0.0085), (-0.006, 0.0145), (0.005, 0.0178), (0.012, 0.0165), (0.016, 0.010)]

    def level(x: float, radius: float) -> np.ndarray:
        """Lift of a section [m]: the shoulder stays on the axis of the thickest place."""
        return np.array([0, 0, 0.0178 - radius if x > 0.005 else 0.0])

    x = np.linspace(-0.024, 0.016, 16)
    radius = radius_at(stations, x)
    rings = [
        ring + level(a, r) for ring, a, r in zip(lying(list(zip(x, radius, strict=True)), 24), x, radius, strict=True)
    ]
    shape.add(loft(rings), "#d81f2a", 0.35)
    for row, at in enumerate(np.linspace(-0.018, 0.012, 7)):
        for k in range(9):
            point, r = on_lying(stations, at, 40 * k + 20 * (row % 2) - 90 + 20)
            shape.add(ellipsoid((0.0013, 0.0009, 0.0009), point + level(at, r), 6), "#f4cf62")
    for k in range(7):
        blade = rotate(rotate(leaf(0.0170, 0.0090), "y", -104), "x", 360 / 7 * k)
        shape.add(move(blade, (0.0178, 0, 0.0178)), LEAF if k % 2 else GREEN, 0.8)
    shape.add(tube([(0.015, 0, 0.0178), (0.021, 0, 0.0185), (0.026, 0.002, 0.0205)], 0.0016, 8), GREEN)
    points = lying_hull(stations)
    shape.collide(points + np.concatenate([np.tile(level(a, r), (8, 1)) for a, r in stations]))
    return shape


def eggplant() -> Shape:
    shape = Shape()
    stations = [
        (-0.052, 0.006),
        (-0.046, 0.0130),
        (-0.034, 0.0180),
        (-0.018, 0.0190),
        (0.006, 0.0165),
        (0.026, 0.0125),
        (0.038, 0.0100),
    ]
    x = np.linspace(-0.052, 0.038, 26)
    shape.add(loft(lying(list(zip(x, radius_at(stations, x), strict=True)), 28)), "#4a1a63", 0.22)
    cap = [(0.024, 0.0137), (0.030, 0.0125), (0.038, 0.0110), (0.044, 0.0070), (0.047, 0.0042)]
    rings = lying(cap, 20)
    for ring, (at, radius) in zip(rings, cap, strict=True):
        ring[:, 2] += float(radius_at(stations, at)) - radius if at < 0.038 else 0.0100 - radius
    rings[0][::4, 0] -= 0.009
    shape.add(loft(rings), GREEN, 0.7)
    shape.add(
        tube([(0.044, 0, 0.0100), (0.052, 0.001, 0.0110), (0.060, 0.004, 0.0135)], [0.0042, 0.0033, 0.0036], 10), LEAF
    )
    shape.collide(lying_hull(stations))
    return shape


def pepper() -> Shape:
    shape = Shape()
    profile = [
        (0.008, 0.0005),
        (0.0135, 0),
        (0.0165, 0.004),
        (0.0185, 0.014),
        (0.0202, 0.026),
        (0.0192, 0.034),
        (0.0140, 0.0385),
        (0.006, 0.0360),
        (0.001, 0.0345),
    ]
    a = np.arange(48) * 2 * np.pi / 48
    lobes = 0.93 + 0.07 * np.abs(np.cos(2 * a)) ** 0.7
    rings = [circle(1.0, 48) * [r, r, 0] * lobes[:, None] + [0, 0, z] for r, z in profile]
    shape.add(loft(rings), "#d5231c", 0.25, crease=60.0)
    shape.add(lathe([(0.0075, 0.0355), (0.0070, 0.0372), (0.003, 0.0385)], 10), GREEN)
    shape.add(tube([(0, 0, 0.037), (0.001, 0, 0.043), (0.005, 0.001, 0.048)], [0.0030, 0.0024, 0.0030], 10), LEAF)
    shape.collide(
        prism(0.0130, 0, 0.004, 12, 0.0162), prism(0.0198, 0.026, 0.033, 12, 0.0190), prism(0.0130, 0.0384, 0.0385, 12)
    )
    return shape


def pear() -> Shape:
    shape = Shape()
    profile = [
        (0.011, 0),
        (0.0150, 0.002),
        (0.0186, 0.009),
        (0.0194, 0.017),
        (0.0175, 0.026),
        (0.0138, 0.034),
        (0.0112, 0.041),
        (0.0095, 0.048),
        (0.0060, 0.053),
        (0.001, 0.0535),
    ]
    heights = np.linspace(0, 1, 30) * (len(profile) - 1)
    table = np.array(profile)
    smooth = [
        (float(np.interp(h, range(len(table)), table[:, 0])), float(np.interp(h, range(len(table)), table[:, 1])))
        for h in heights
    ]
    shape.add(lathe(smooth, 32), "#bcc53a", 0.5, crease=60.0)
    shape.add(tube([(0, 0, 0.052), (0.001, 0, 0.058), (0.004, 0, 0.064)], [0.0016, 0.0014, 0.0019], 8), STEM)
    blade = rotate(leaf(0.022, 0.011), "y", -22)
    shape.add(move(rotate(blade, "z", 140), (0, 0, 0.056)), LEAF)
    draw = rng("pear")
    for _ in range(40):
        h = draw.uniform(0.006, 0.046)
        r, turn = float(np.interp(h, table[:, 1], table[:, 0])), draw.uniform(0, 2 * np.pi)
        shape.add(ellipsoid((0.0006, 0.0006, 0.0006), (r * np.cos(turn), r * np.sin(turn), h), 6), "#8d8a2a")
    shape.collide(
        prism(0.0140, 0, 0.009, 12, 0.0186), prism(0.0194, 0.0160, 0.0180, 10), prism(0.0095, 0.048, 0.0535, 8, 0.004)
    )
    return shape


def mushroom() -> Shape:
    shape = Shape()
    shape.add(lathe([(0.0125, 0), (0.0128, 0.003), (0.0105, 0.009), (0.0090, 0.019), (0.0085, 0.022)]), "#f3ead6", 0.8)
    cap = [
        (0.0185, 0.0185),
        (0.0205, 0.0200),
        (0.0200, 0.0240),
        (0.0175, 0.0290),
        (0.0130, 0.0335),
        (0.0070, 0.0365),
        (0.0, 0.0375),
    ]
    shape.add(lathe([(0.008, 0.0205), (0.0180, 0.0186)], 32), "#f7f0e0", 0.8)
    shape.add(lathe(cap, 36), "#d8281e", 0.3)
    table = np.array(cap[::-1])
    for k in range(17):
        r = 0.0198 * np.sqrt((k + 0.3) / 17)
        turn = 2.39996 * k
        z = float(np.interp(r, table[:, 0], table[:, 1]))
        size = 0.0026 - 0.0006 * (k % 3)
        shape.add(ellipsoid((size, size, 0.0012), (r * np.cos(turn), r * np.sin(turn), z), 10), "#fdf8ee", 0.8)
    shape.collide(prism(0.0126, 0, 0.004), prism(0.0086, 0.020, 0.021))
    shape.collide(
        prism(0.0183, 0.0185, 0.0205, 12, 0.0203), prism(0.0175, 0.0280, 0.0290, 12), prism(0.006, 0.0364, 0.0370, 8)
    )
    return shape
