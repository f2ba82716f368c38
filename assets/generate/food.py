"""Prepared food; each function returns a shape standing on z = 0 in metres."""

from __future__ import annotations

import numpy as np

from vlagen.assets.generate.shapes import (
    Shape,
    box,
    circle,
    ellipsoid,
    extrude,
    lathe,
    loft,
    move,
    prism,
    rotate,
    stretch,
    tube,
)
from vlagen.assets.generate.write import rng


def hamburger() -> Shape:
    shape = Shape()
    shape.add(lathe([(0.016, 0), (0.0192, 0.0015), (0.0202, 0.005), (0.0195, 0.0075)]), "#d3903f", 0.75)
    rings = []
    for k, z in enumerate((0.0075, 0.0082, 0.0098, 0.0102)):
        ring = circle(0.0205 if k in (1, 2) else 0.015, 36, z)
        ring[:, 2] += 0.0009 * np.sin(np.arange(36) * 2 * np.pi / 36 * 9)
        rings.append(ring)
    shape.add(loft(rings), "#63b531", 0.6)
    shape.add(
        lathe([(0.017, 0.0100), (0.0200, 0.0112), (0.0204, 0.0135), (0.0200, 0.0160), (0.017, 0.0168)]), "#5b311a", 0.85
    )
    corner = rotate(box((0.0290, 0.0290, 0.0014), bevel=0.0004), "z", 20)
    shape.add(move(corner, (0, 0, 0.0174)), "#ffb81f", 0.45)
    shape.add(lathe([(0.018, 0.0180), (0.0197, 0.0183), (0.0197, 0.0200), (0.018, 0.0204)]), "#d2321f", 0.4)
    dome = [
        (0.0203, 0.0203),
        (0.0207, 0.0225),
        (0.0199, 0.0262),
        (0.0170, 0.0303),
        (0.0120, 0.0332),
        (0.006, 0.0346),
        (0.0, 0.0350),
    ]
    shape.add(lathe(dome, 32), "#d98f36", 0.55)
    heights = dict(reversed([(r, z) for r, z in dome]))
    radii = sorted(heights)
    for k in range(26):
        r = 0.0175 * np.sqrt((k + 0.5) / 26)
        a = 2.39996 * k
        z = np.interp(r, radii, [heights[q] for q in radii])
        seed = rotate(ellipsoid((0.0015, 0.0009, 0.0007), sections=8), "z", np.degrees(a) * 1.7)
        shape.add(move(seed, (r * np.cos(a), r * np.sin(a), z)), "#fbeec2")
    shape.collide(prism(0.0200, 0, 0.026), prism(0.0125, 0.033, 0.0345))
    return shape


def bread() -> Shape:
    shape = Shape()
    outline = np.array(
        [(0.0165, 0), (0.0175, 0.004), (0.0170, 0.014), (0.0198, 0.020), (0.0190, 0.027), (0.0130, 0.0325), (0, 0.0345)]
    )
    outline = np.concatenate([outline, outline[-2::-1] * [-1, 1]])
    rings = []
    for x, scale in ((-0.038, 0.80), (-0.0365, 0.92), (-0.033, 1.0), (0.033, 1.0), (0.0365, 0.92), (0.038, 0.80)):
        rings.append(np.column_stack([np.full(len(outline), x), outline[:, 0] * scale, outline[:, 1] * scale]))
    shape.add(loft(rings), "#b9742c", 0.85, crease=50.0)
    for x in (-0.022, -0.0075, 0.0075, 0.022):
        slash = stretch(ellipsoid((0.0028, 0.0150, 0.0022), sections=16), (1, 1, 1))
        shape.add(move(rotate(slash, "z", 24), (x, 0, 0.0337)), "#f0cd8c", 0.9)
    shape.add(box((0.070, 0.031, 0.004), (0, 0, 0.0025)), "#8f5520", 0.9)
    shape.collide(np.concatenate(rings[1:-1]), rings[0][::2], rings[-1][::2])
    return shape


def cupcake() -> Shape:
    shape = Shape()
    wave = 1 + 0.035 * np.cos(np.arange(72) * np.pi)  # one pleat per pair of points
    rings = [
        circle(1.0, 72) * [r, r, 0] * wave[:, None] + [0, 0, z]
        for r, z in ((0.0138, 0), (0.0142, 0.0008), (0.0182, 0.0185))
    ]
    shape.add(loft(rings), "#38a5c4", 0.7, crease=10.0)
    shape.add(lathe([(0.0180, 0.0180), (0.0196, 0.0195), (0.0190, 0.0218), (0.0160, 0.0225)]), "#c98a4b", 0.8)
    turns = np.linspace(0, 4 * 2 * np.pi, 92)
    rise = turns / turns[-1]
    reach = 0.0142 * (1 - rise) ** 0.85
    path = np.stack([reach * np.cos(turns), reach * np.sin(turns), 0.0240 + 0.0150 * rise], axis=1)
    shape.add(tube(path, 0.0046 - 0.0018 * rise, 8), "#f58fb4", 0.5)
    shape.add(lathe([(0.0140, 0.0215), (0.011, 0.030), (0.004, 0.038)]), "#f58fb4", 0.5)
    shape.add(ellipsoid((0.0052, 0.0052, 0.0050), (0, 0, 0.0425), 16), "#c4141f", 0.2)
    draw = rng("cupcake")
    for k in range(36):
        i = int(draw.integers(4, 76))
        away = path[i] - (0, 0, path[i][2])
        away = away / np.linalg.norm(away) * 0.6 + (0, 0, 0.8)
        bit = rotate(ellipsoid((0.0015, 0.0006, 0.0006), sections=6), "z", float(draw.uniform(0, 180)))
        shape.add(
            move(bit, path[i] + away * (0.0047 - 0.0018 * rise[i])), ("#ffe14d", "#3bb54a", "#3f6fd8", "#ffffff")[k % 4]
        )
    shape.collide(
        prism(0.0140, 0, 0.019, top=0.0192), prism(0.0192, 0.019, 0.0265, top=0.0175), prism(0.004, 0.0460, 0.0462)
    )
    return shape


def donut() -> Shape:
    shape = Shape()
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    path = np.stack([0.0130 * np.cos(angle), 0.0130 * np.sin(angle), np.full(40, 0.0078)], axis=1)
    shape.add(tube(path, 0.0078, 16, closed=True), "#cf9048", 0.75)
    half = np.linspace(-0.12, 1.12, 10) * np.pi
    rings = []
    for a in angle:
        drip = 1 + 0.10 * np.sin(5 * a) * np.abs(np.cos(half)) ** 3
        across = 0.0130 + 0.0083 * np.cos(half)
        rings.append(np.stack([across * np.cos(a), across * np.sin(a), 0.0078 + 0.0085 * np.sin(half) * drip], axis=1))
    shape.add(loft([ring[::-1] for ring in rings], closed=True), "#f26fa5", 0.3, crease=60.0)
    draw = rng("donut")
    for k in range(44):
        a, tilt = draw.uniform(0, 2 * np.pi), draw.uniform(-0.9, 0.9)
        across = 0.0130 + 0.0085 * np.sin(tilt)
        bit = rotate(ellipsoid((0.0017, 0.0006, 0.0006), sections=6), "z", float(draw.uniform(0, 180)))
        place = (across * np.cos(a), across * np.sin(a), 0.0078 + 0.0086 * np.cos(tilt))
        shape.add(move(bit, place), ("#ffffff", "#ffe14d", "#46c3e6", "#6fd04b", "#7b3fd0")[k % 5])
    shape.collide(prism(0.0150, 0, 0.0050, top=0.0208), prism(0.0208, 0.0100, 0.0162, top=0.0150))
    return shape


def watermelon_slice() -> Shape:
    shape = Shape()
    for radius, low, high, colour in (
        (0.0405, 0.0000, 0.0180, "#2c7a33"),
        (0.0382, -0.0002, 0.0184, "#dff0c4"),
        (0.0358, -0.0004, 0.0188, "#e8394a"),
    ):
        angle = np.linspace(0, np.pi, 25)
        outline = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
        shape.add(move(extrude(outline, high - low, 0.0004 if low else 0.0012, z=low + 0.0004), (0, 0, 0)), colour, 0.5)
    for r, count in ((0.012, 3), (0.021, 5), (0.030, 7)):
        for a in np.linspace(0.3, np.pi - 0.3, count):
            seed = rotate(ellipsoid((0.0019, 0.0011, 0.0008), sections=8), "z", np.degrees(a))
            shape.add(move(seed, (r * np.cos(a), r * np.sin(a), 0.0190)), "#241510", 0.3)
    angle = np.linspace(0, np.pi, 13)
    arc = np.stack([0.0405 * np.cos(angle), 0.0405 * np.sin(angle)], axis=1)
    shape.collide(np.column_stack([arc, np.zeros(13)]), np.column_stack([arc, np.full(13, 0.0190)]))
    return shape
