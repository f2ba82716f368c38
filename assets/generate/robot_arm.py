"""Geometry of the links up to the wrist, each in its link frame in metres; one convex body collides per link."""

from __future__ import annotations

import numpy as np

from vlagen.assets.generate.shapes import (
    Mesh,
    Shape,
    box,
    circle,
    cuboid,
    cylinder,
    extrude,
    lathe,
    loft,
    move,
    rotate,
    rounded_rectangle,
)

BODY, SERVO, PLATE, SCREW, PRINT, RUBBER = "#2c2f34", "#1d1f23", "#3c4046", "#8d939b", "#c9ccd1", "#141517"


def body(shape: Shape, mesh: Mesh, colour: str = BODY) -> None:
    """Add a satin dark part."""
    metal = {PLATE: 0.25, SCREW: 0.4}.get(colour, 0.0)
    shape.add(mesh, colour, 0.35 if colour in (PLATE, SCREW) else 0.5, metal)


def block(low, high, bevel: float = 0.0015) -> Mesh:
    """Bevelled box between two corners [m]."""
    low, high = np.asarray(low, float), np.asarray(high, float)
    return box(tuple(high - low), tuple((low + high) / 2), bevel)


def screws(shape: Shape, places, axis: str, radius: float = 0.0018) -> None:
    """Add bolt heads whose axis is a coordinate axis at the given points [m]."""
    head = lathe([(radius, -0.0007), (radius, 0.0007)], 8)
    if axis != "z":
        head = rotate(head, "y" if axis == "x" else "x", 90)
    for place in places:
        body(shape, move(head, place), SCREW)


def servo(shape: Shape, low, high, face: str) -> None:
    """A servo block: case with a seam, four bolts and a printed label on the two sides normal to `face`."""
    low, high = np.asarray(low, float), np.asarray(high, float)
    body(shape, block(low, high, 0.0022), SERVO)
    k = "xyz".index(face)
    others = [i for i in range(3) if i != k]
    middle, half = (low + high) / 2, (high - low) / 2
    for side in (-1, 1):
        points = []
        for a in (-1, 1):
            for b in (-1, 1):
                point = middle.copy()
                point[k] += side * half[k]
                point[others[0]] += a * (half[others[0]] - 0.0038)
                point[others[1]] += b * (half[others[1]] - 0.0038)
                points.append(point)
        screws(shape, points, face)
        size = half * 0.9
        size[k] = 0.0007
        size[others[1]] = 0.0009
        place = middle.copy()
        place[k] += side * half[k]
        place[others[1]] += 0.25 * half[others[1]]
        body(shape, box(tuple(size), tuple(place), 0.0001), PRINT)


def base_link() -> Shape:
    shape = Shape()
    foot = circle(0.0765 / np.cos(np.pi / 8), 8, phase=0.5)
    body(shape, extrude(foot, 0.0115, 0.0015), PLATE)
    body(shape, block((-0.157, -0.046, 0), (-0.050, 0.046, 0.0115)), PLATE)
    body(
        shape,
        lathe(
            [(0.056, 0.0115), (0.0530, 0.020), (0.0520, 0.046), (0.0510, 0.048), (0.0510, 0.0690), (0.0490, 0.0716)], 48
        ),
    )
    body(shape, lathe([(0.0524, 0.0440), (0.0528, 0.0446), (0.0528, 0.0474), (0.0524, 0.0480)], 48), PLATE)
    body(shape, block((-0.154, -0.041, 0.0115), (-0.056, 0.041, 0.036), 0.006), SERVO)
    for x in np.linspace(-0.140, -0.084, 8):
        body(shape, block((x, -0.026, 0.0358), (x + 0.003, 0.026, 0.0364), 0.0002), RUBBER)
    shape.add(cylinder(0.0022, 0.001, (-0.070, 0.030, 0.0362), sections=12), "#37c26a", 0.3)
    corners = circle(0.071, 8, 0.0118, 0.5)
    screws(shape, corners, "z", 0.0030)
    outline = np.concatenate([foot[:, :2], [(-0.157, -0.046), (-0.157, 0.046)]])
    shape.collide(
        np.column_stack([outline, np.zeros(10)]),
        np.column_stack([outline, np.full(10, 0.0115)]),
        cuboid((-0.154, -0.041, 0), (-0.06, 0.041, 0.036)),
        circle(0.051, 16, 0.0716),
    )
    return shape


def shoulder_link() -> Shape:
    shape = Shape()
    body(shape, cylinder(0.031, 0.004, (0, 0, -0.001), sections=36), SCREW)
    body(shape, cylinder(0.0511, 0.0035, (0, 0, 0.0018), sections=48), PLATE)
    screws(shape, circle(0.044, 8, 0.0038, 0.5), "z", 0.0024)
    for side in (-1, 1):
        low, high = sorted((side * 0.0165, side * 0.0500))
        servo(shape, (-0.0143, low, 0.0035), (0.0143, high, 0.0495), "x")
        body(shape, cylinder(0.0110, 0.0030, (0, side * 0.0155, 0.03865), "y", 28), SCREW)
    shape.collide(
        circle(0.0511, 20, -0.003),
        circle(0.0511, 20, 0.0035),
        cuboid((-0.0144, -0.050, 0.0035), (0.0144, 0.050, 0.0495)),
    )
    return shape


def upper_arm_link() -> Shape:
    shape = Shape()
    body(shape, block((-0.0144, -0.0144, -0.0144), (0.0144, 0.0144, 0.058), 0.003))
    body(shape, block((-0.0100, -0.0100, 0.050), (0.0100, 0.0100, 0.226), 0.0015), PLATE)
    for z in (0.085, 0.120, 0.155, 0.190):
        for side in (-1, 1):
            body(shape, box((0.0006, 0.0060, 0.022), (side * 0.0100, 0, z), 0.0002), RUBBER)
            body(shape, box((0.0060, 0.0006, 0.022), (0, side * 0.0100, z), 0.0002), RUBBER)
    screws(shape, [(x, y, z) for x in (-0.008, 0.008) for y in (-0.0144, 0.0144) for z in (0.034, 0.050)], "y", 0.0022)
    gusset = [
        rounded_rectangle(w, d, 0.004, z, 4) + [x, 0, 0]
        for w, d, x, z in ((0.024, 0.024, 0, 0.212), (0.030, 0.060, 0.004, 0.226), (0.046, 0.1060, 0.0135, 0.240))
    ]
    body(shape, loft(gusset))
    for side in (-1, 1):
        low, high = sorted((side * 0.0165, side * 0.0540))
        servo(shape, (-0.0090, low, 0.2390), (0.0610, high, 0.2680), "z")
        body(shape, cylinder(0.0115, 0.0028, (0.04975, side * 0.0155, 0.252), "y", 28), SCREW)
    shape.collide(
        cuboid((-0.0144, -0.0144, -0.0144), (0.0144, 0.0144, 0.058)),
        cuboid((-0.0100, -0.0525, 0.233), (0.020, 0.0525, 0.240)),
        cuboid((-0.0100, -0.0541, 0.240), (0.0610, 0.0541, 0.2685)),
    )
    return shape


def upper_forearm_link() -> Shape:
    shape = Shape()
    body(shape, block((-0.0144, -0.0144, -0.0144), (0.0500, 0.0144, 0.0144), 0.003))
    screws(
        shape, [(x, side * 0.0144, z) for x in (0.028, 0.044) for side in (-1, 1) for z in (-0.008, 0.008)], "y", 0.0022
    )
    body(shape, block((0.045, -0.0100, -0.0100), (0.130, 0.0100, 0.0100), 0.0015), PLATE)
    for x in (0.070, 0.102):
        for side in (-1, 1):
            body(shape, box((0.020, 0.0060, 0.0006), (x, 0, side * 0.0100), 0.0002), RUBBER)
            body(shape, box((0.020, 0.0006, 0.0060), (x, side * 0.0100, 0), 0.0002), RUBBER)
    body(shape, block((0.1255, -0.0144, -0.0144), (0.162, 0.0144, 0.0144), 0.003))
    body(shape, cylinder(0.0212, 0.0130, (0.1685, 0, 0), "x", 40, 0.001), PLATE)
    shape.collide(
        cuboid((-0.0144, -0.0144, -0.0144), (0.050, 0.0144, 0.0144)),
        *[np.stack([np.full(12, x), *circle(0.0212, 12)[:, :2].T], 1) for x in (0.162, 0.175)],
    )
    return shape


def lower_forearm_link() -> Shape:
    shape = Shape()
    body(shape, cylinder(0.0245, 0.0080, (-0.0004, 0, 0), "x", 44, 0.001))
    screws(shape, [(0.0036, y, z) for y, z in circle(0.0195, 8, phase=0.5)[:, :2]], "x", 0.0018)
    servo(shape, (0.0040, -0.0105, -0.0140), (0.0345, 0.0352, 0.0140), "z")
    outline = np.array(
        [
            (0.006, -0.0165),
            (0.078, -0.0165),
            (0.083, -0.0110),
            (0.083, 0.0110),
            (0.078, 0.0165),
            (0.058, 0.0165),
            (0.033, 0.0335),
            (0.012, 0.0335),
            (0.006, 0.020),
        ]
    )
    for low in (-0.0172, 0.0142):
        body(shape, extrude(outline, 0.0030, 0.0006, z=low), PLATE)
        top = low + (0.0030 if low > 0 else 0.0)
        screws(
            shape,
            [
                (x, y, top)
                for x, y in ((0.012, -0.011), (0.012, 0.028), (0.034, 0.026), (0.046, -0.012), (0.072, -0.012))
            ],
            "z",
            0.0020,
        )
        body(shape, cylinder(0.0070, 0.0006, (0.030, 0.004, top), "z", 24, 0.0001), RUBBER)
    servo(shape, (0.0385, -0.0170, -0.0140), (0.0862, 0.0170, 0.0140), "z")
    for side in (-1, 1):
        body(shape, cylinder(0.0105, 0.0035, (0.0750, side * 0.0176, 0), "y", 28), SCREW)
    shape.collide(
        *[np.stack([np.full(12, x), *circle(0.0245, 12)[:, :2].T], 1) for x in (-0.0044, 0.0036)],
        cuboid((0.004, -0.0110, -0.0172), (0.0345, 0.0352, 0.0172)),
        cuboid((0.040, -0.0190, -0.0150), (0.0862, 0.0190, 0.0150)),
    )
    return shape


def wrist_link() -> Shape:
    shape = Shape()
    side_view = np.array(
        [
            (-0.0034, -0.0110),
            (0.018, -0.0105),
            (0.048, -0.0070),
            (0.048, 0.0260),
            (0.034, 0.0250),
            (0.020, 0.0150),
            (-0.0034, 0.0115),
        ]
    )
    for side in (-1, 1):
        cheek = rotate(extrude(side_view, 0.0028, 0.0005), "x", 90)
        body(shape, move(cheek, (0, side * 0.0206 + 0.0014, 0)), PLATE)
        body(shape, cylinder(0.0085, 0.0008, (0, side * 0.0221, 0), "y", 24, 0.0002), SCREW)
        screws(
            shape,
            [
                (x, side * 0.0221, z)
                for x, z in ((0.006, 0), (-0.006 + 0.003, 0.006), (0.040, 0.020), (0.040, 0.0), (0.022, 0.004))
            ],
            "y",
            0.0016,
        )
    body(shape, block((0.0350, -0.0192, -0.0090), (0.0400, 0.0192, 0.0260), 0.001), PLATE)
    servo(shape, (0.0385, -0.0143, -0.0113), (0.0625, 0.0143, 0.0352), "y")
    body(shape, cylinder(0.0200, 0.0026, (0.0637, 0, 0), "x", 40), PLATE)
    shape.collide(
        cuboid((-0.0034, -0.0220, -0.0110), (0.016, 0.0220, 0.0130)),
        cuboid((0.0340, -0.0220, -0.0113), (0.0510, 0.0220, 0.0352)),
        cuboid((0.0340, -0.0143, -0.0113), (0.0650, 0.0143, 0.0352)),
        np.stack([np.full(12, 0.065), *circle(0.020, 12)[:, :2].T], 1),
    )
    return shape
