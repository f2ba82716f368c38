"""Geometry of the gripper's links, each in its link frame in metres; one convex body collides per link."""

from __future__ import annotations

import numpy as np

from vlagen.assets.generate.robot_arm import BODY, PLATE, RUBBER, SCREW, block, body, screws, servo
from vlagen.assets.generate.shapes import (
    Mesh,
    Shape,
    box,
    circle,
    cuboid,
    cylinder,
    extrude,
    loft,
    rotate,
    rounded_rectangle,
)


def gripper_link() -> Shape:
    shape = Shape()
    body(shape, cylinder(0.0200, 0.0030, (0.0015, 0, 0), "x", 40), PLATE)
    screws(shape, [(0.0030, y, z) for y, z in circle(0.0160, 8, phase=0.5)[:, :2]], "x", 0.0016)
    servo(shape, (0.0030, -0.0143, -0.0113), (0.0420, 0.0143, 0.0352), "y")
    body(shape, block((0.0080, -0.0198, -0.0078), (0.0400, 0.0198, 0.0078), 0.003))
    screws(shape, [(x, side * 0.0198, 0) for x in (0.014, 0.034) for side in (-1, 1)], "y", 0.0020)
    body(shape, cylinder(0.0100, 0.0016, (0.0424, 0, 0), "x", 28), SCREW)
    shape.collide(
        *[np.stack([np.full(12, x), *circle(0.020, 12)[:, :2].T], 1) for x in (0.0, 0.003)],
        cuboid((0.003, -0.0143, -0.0113), (0.0430, 0.0143, 0.0352)),
        cuboid((0.003, -0.0200, -0.0080), (0.0430, 0.0200, 0.0080)),
    )
    return shape


def gripper_prop_link() -> Shape:
    shape = Shape()
    body(shape, cylinder(0.0100, 0.0046, (0, 0, 0), "x", 28), SCREW)
    arm = rotate(extrude(rounded_rectangle(0.0085, 0.0350, 0.0042), 0.0032, 0.0004, z=-0.0016), "y", 90)
    body(shape, rotate(arm, "x", 90), PLATE)
    return shape


def gripper_bar_link() -> Shape:
    shape = Shape()
    half = np.array([(0.0523, 0.0055), (0.0420, 0.0095), (0.0220, 0.0165), (0.0150, 0.0345), (0.0125, 0.0358)])
    top = np.concatenate([half, half[::-1] * [-1, 1]])
    low = np.array([(-0.0523, -0.0055), (-0.0150, -0.0130), (0.0, -0.0145), (0.0150, -0.0130), (0.0523, -0.0055)])
    outline = np.concatenate([top, low])
    plate = extrude(outline, 0.0042, 0.0006)
    turn = Mesh(plate.vertices[:, [2, 0, 1]] + [-0.0004, 0, 0], plate.faces)
    body(shape, turn, PLATE)
    screws(shape, [(0.0040, y, z) for y in (-0.010, 0.010) for z in (0.021, 0.031, -0.006)], "x", 0.0017)
    body(shape, block((0.0170, -0.0523, -0.0058), (0.0286, 0.0523, 0.0058), 0.0012))
    body(shape, block((0.0282, -0.0480, -0.0016), (0.0289, 0.0480, 0.0016), 0.0002), SCREW)
    for side in (-1, 1):
        body(shape, cylinder(0.0040, 0.0140, (0.0105, side * 0.0478, 0), "x", 20), SCREW)
        screws(shape, [(0.0286, side * 0.0478, z) for z in (-0.003, 0.003)], "x", 0.0014)
    rim = np.column_stack([np.zeros(len(outline)), outline])
    shape.collide(
        rim + [-0.0006, 0, 0], rim + [0.0040, 0, 0], cuboid((0.0170, -0.0523, -0.0058), (0.0286, 0.0523, 0.0058))
    )
    return shape


# Corners of the left finger (x, y, z) in millimetres, mirrored in z: what the gripper closes on.
FINGER = (
    np.array(
        [
            (43.15, -6.0, 10.2),
            (43.15, -8.95, 12.1),
            (42.3, -8.95, 12.8),
            (41.4, -4.0, 8.9),
            (38.2, -0.1, 10.5),
            (36.9, -2.4, 13.1),
            (12.0, 5.0, 12.0),
            (12.0, 2.5, 14.5),
            (12.0, -8.95, 14.5),
            (1.9, -11.0, 10.3),
            (0.0, -11.0, 11.9),
            (-1.9, -11.0, 10.3),
            (-5.0, -8.95, 14.5),
            (-6.3, 3.1, 14.5),
            (-6.3, -4.9, 14.5),
            (-8.1, 5.0, 12.6),
            (-8.1, -4.9, 12.6),
            (-12.1, 5.0, 4.7),
            (-12.1, 3.9, 5.6),
            (-12.1, -3.9, 5.6),
            (-12.1, -4.9, 4.7),
        ]
    )
    * 0.001
)


def finger(side: int) -> Shape:
    """A finger; side +1 is the left one, -1 the mirrored right one."""
    shape = Shape()

    def section(x: float, inner: float, outer: float, half: float, bevel: float) -> np.ndarray:
        ring = rounded_rectangle(outer - inner, 2 * half, bevel, 0, 3)
        return np.stack([np.full(len(ring), x), ring[:, 0] + (inner + outer) / 2, ring[:, 1]], axis=1)

    parts = [
        (
            loft(
                [
                    section(-0.0095, -0.0049, 0.0050, 0.0125, 0.002),
                    section(0.0050, -0.0049, 0.0050, 0.0145, 0.002),
                    section(0.0052, -0.0088, 0.0050, 0.0145, 0.002),
                    section(0.0120, -0.0088, 0.0050, 0.0143, 0.002),
                    section(0.0380, -0.0088, 0.0000, 0.0130, 0.0015),
                    section(0.0430, -0.0088, -0.0058, 0.0112, 0.001),
                ]
            ),
            BODY,
        ),
        (block((-0.0121, -0.0049, -0.0056), (-0.0090, 0.0050, 0.0056), 0.001), SCREW),
        (block((0.0150, -0.00895, -0.0108), (0.0420, -0.0080, 0.0108), 0.0004), RUBBER),
        (box((0.016, 0.0006, 0.0100), (0.024, 0.0026, 0), 0.0002), RUBBER),
    ]
    for z in (-0.0098, 0.0098):
        parts.append((cylinder(0.0042, 0.0062, (0.0, -0.0078, z), "y", 20), PLATE))
        parts.append((cylinder(0.0020, 0.0010, (0.006, 0.0050, z), "y", 12, 0.0003), SCREW))
    ribs = np.linspace(0.0185, 0.0385, 6)
    parts += [(block((x, -0.00905, -0.0100), (x + 0.0012, -0.0088, 0.0100), 0.00008), PLATE) for x in ribs]
    for mesh, colour in parts:
        if side < 0:
            mesh = Mesh(mesh.vertices * [1, -1, 1], mesh.faces[:, ::-1])
        body(shape, mesh, colour)
    shape.collide(FINGER * [1, side, 1], FINGER * [1, side, -1])
    return shape


def left_finger_link() -> Shape:
    return finger(1)


def right_finger_link() -> Shape:
    return finger(-1)
