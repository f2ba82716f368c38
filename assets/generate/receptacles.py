"""The 17 receptacles: the plate for training, then 16 others; flat things standing on z = 0, metres."""

from __future__ import annotations

import numpy as np

from vlagen.assets.generate import patterns
from vlagen.assets.generate.objects import Model
from vlagen.assets.generate.shapes import (
    Mesh,
    Shape,
    band,
    box,
    circle,
    ellipsoid,
    extrude,
    lathe,
    loft,
    move,
    prism,
    rotate,
    rounded_rectangle,
    tube,
)
from vlagen.assets.generate.write import rng


def sheet(outline: np.ndarray, z: float) -> Mesh:
    """Thin printed layer on a star-shaped outline [m]."""
    return extrude(outline, 0.0003, z=z)


def slab(shape: Shape, width: float, depth: float, height: float, radius: float = 0.004) -> None:
    """Collide as a plate with rounded corners [m]."""
    points = rounded_rectangle(width, depth, radius, 0.0, 3)
    shape.collide(points, points + [0, 0, height])


def plate() -> Shape:
    shape = Shape()
    profile = [(0.034, 0), (0.038, 0.0008), (0.0545, 0.0048), (0.0550, 0.0054), (0.0540, 0.0055), (0.0395, 0.0046)]
    shape.add(lathe([*profile, (0.0365, 0.0031), (0.001, 0.0030)], 64), "#cdcac0", 0.2, crease=15.0)
    low, high = 0.0460, 0.0505
    z = [0.0046 + (r - 0.0395) * (0.0009 / 0.0145) for r in (low, high)]
    stripe = [(low, z[0]), (high, z[1]), (high, z[1] + 0.0003), (low, z[0] + 0.0003)]
    shape.add(band(stripe, 64), "#2c62b4", 0.3, crease=20.0)
    shape.collide(prism(0.036, 0, 0.0054, 20, 0.0542))
    return shape


def tray() -> Shape:
    shape = Shape()
    ring = [
        rounded_rectangle(0.114 + g, 0.096 + g, 0.012, z, 6)
        for g, z in ((-0.004, 0), (0, 0.001), (0, 0.0060), (-0.003, 0.0060), (-0.005, 0.0040))
    ]
    shape.add(loft(ring), "#1f8f8a", 0.35)
    shape.add(sheet(rounded_rectangle(0.104, 0.086, 0.009, 0, 6), 0.0040), "#27a39c", 0.3)
    for x in (-0.052, 0.052):
        shape.add(
            sheet(move(Mesh(rounded_rectangle(0.0045, 0.030, 0.002, 0), None), (x, 0, 0)).vertices, 0.0059),
            "#0e4b4a",
            0.6,
        )
    slab(shape, 0.112, 0.094, 0.0058, 0.012)
    return shape


def cutting_board() -> Shape:
    shape = Shape()
    board = rounded_rectangle(0.118, 0.090, 0.008, 0, 6)
    shape.add(extrude(board, 0.0060, 0.0010), "#ffffff", 0.7, picture=patterns.wood("board", "#d9a766", "#9a6531"))
    groove = rounded_rectangle(0.106, 0.078, 0.005, 0.0061, 6)
    shape.add(tube(groove, 0.0007, 6, closed=True), "#8a5a2b", 0.8)
    shape.add(sheet(circle(0.0050, 20) + [0.048, 0, 0], 0.0060), "#3c2512", 0.9)
    slab(shape, 0.118, 0.090, 0.0062, 0.008)
    return shape


def book() -> Shape:
    shape = Shape()
    shape.add(box((0.086, 0.114, 0.0014), (0, 0, 0.0007), 0.0003), "#143f39", 0.6)
    shape.add(box((0.083, 0.110, 0.0058), (0.0005, 0, 0.0043), 0.0004), "#efe6cf", 0.9)
    shape.add(box((0.086, 0.114, 0.0014), (0, 0, 0.0077), 0.0003), "#ffffff", 0.6, picture=patterns.book())
    shape.add(box((0.0030, 0.114, 0.0080), (-0.0420, 0, 0.0042), 0.0010), "#143f39", 0.6)
    slab(shape, 0.087, 0.114, 0.0084, 0.001)
    return shape


def coaster() -> Shape:
    shape = Shape()
    shape.add(
        lathe([(0.051, 0), (0.053, 0.001), (0.053, 0.0044), (0.052, 0.0052), (0.001, 0.0052)], 48),
        "#ffffff",
        0.95,
        picture=patterns.cork(),
    )
    shape.collide(prism(0.0530, 0, 0.0052, 20))
    return shape


def napkin() -> Shape:
    shape = Shape()
    print_ = patterns.gingham("#f7f2ec", "#d13238")
    shape.add(box((0.108, 0.108, 0.0012), (0, 0, 0.0006), 0.0004), "#ffffff", 0.95, picture=print_)
    shape.add(box((0.1075, 0.1075, 0.0012), (0.0002, 0.0002, 0.0019), 0.0004), "#ffffff", 0.95, picture=print_)
    slab(shape, 0.108, 0.108, 0.0025, 0.001)
    return shape


def pizza() -> Shape:
    shape = Shape()
    draw = rng("pizza")
    shape.add(
        lathe([(0.050, 0), (0.054, 0.0012), (0.0550, 0.0030), (0.0530, 0.0048), (0.0490, 0.0046), (0.001, 0.0036)], 56),
        "#d9a253",
        0.85,
        crease=60.0,
    )
    angle = np.arange(56) * 2 * np.pi / 56
    sauce = circle(1.0, 56) * (0.0490 + 0.0012 * np.sin(7 * angle) + 0.0008 * np.cos(13 * angle))[:, None]
    shape.add(sheet(sauce, 0.0041), "#c2371d", 0.6)
    shape.add(sheet(sauce * (0.93 + 0.03 * np.sin(9 * angle))[:, None], 0.0044), "#f4c95a", 0.5)
    for k in range(11):
        r, a = (
            (0.0, 0.0) if k == 10 else ((0.036, k * 2 * np.pi / 7) if k < 7 else (0.018, (k - 7) * 2 * np.pi / 3 + 0.4))
        )
        shape.add(
            move(
                lathe([(0.0075, 0), (0.0078, 0.0005), (0.0070, 0.0008), (0.001, 0.0007)], 20),
                (r * np.cos(a), r * np.sin(a), 0.0046),
            ),
            "#a82318",
            0.5,
        )
    for k in range(14):
        r, a = 0.046 * np.sqrt(draw.uniform(0.05, 0.85)), draw.uniform(0, 2 * np.pi)
        scrap = rotate(ellipsoid((0.0042, 0.0017, 0.0006), sections=10), "z", float(draw.uniform(0, 180)))
        shape.add(move(scrap, (r * np.cos(a), r * np.sin(a), 0.0050)), ("#2f7d2c", "#3c2a36")[k % 3 == 0])
    shape.collide(prism(0.0520, 0, 0.0052, 20))
    return shape


def chess_board() -> Shape:
    shape = Shape()
    shape.add(box((0.110, 0.110, 0.0060), (0, 0, 0.0030), 0.0008), "#ffffff", 0.45, picture=patterns.chess())
    slab(shape, 0.110, 0.110, 0.0060, 0.001)
    return shape


def vinyl_record() -> Shape:
    shape = Shape()
    shape.add(
        lathe([(0.0545, 0), (0.055, 0.0005), (0.055, 0.0025), (0.0545, 0.0030), (0.001, 0.0030)], 56),
        "#ffffff",
        0.3,
        picture=patterns.record(),
    )
    shape.collide(prism(0.0550, 0, 0.0030, 20))
    return shape


def bamboo_mat() -> Shape:
    shape = Shape()
    shape.add(box((0.118, 0.104, 0.0032), (0, 0, 0.0016), 0.0006), "#ffffff", 0.8, picture=patterns.bamboo())
    slab(shape, 0.118, 0.104, 0.0032, 0.001)
    return shape


def frying_pan() -> Shape:
    shape = Shape()
    shape.add(
        lathe(
            [
                (0.048, 0),
                (0.050, 0.0006),
                (0.0545, 0.0064),
                (0.0550, 0.0070),
                (0.0535, 0.0070),
                (0.0495, 0.0044),
                (0.001, 0.0044),
            ],
            56,
        ),
        "#26282c",
        0.4,
    )
    shape.add(band([(0.0535, 0.0066), (0.0552, 0.0066), (0.0552, 0.0074), (0.0535, 0.0074)], 56), "#8c929a", 0.3, 0.2)
    for r in (0.020, 0.034, 0.0455):
        shape.add(band([(r, 0.0043), (r + 0.0008, 0.0043), (r + 0.0008, 0.0047), (r, 0.0047)], 48), "#3d4046", 0.5)
    shape.add(box((0.020, 0.010, 0.0030), (0.060, 0, 0.0055), 0.0010), "#8c929a", 0.3, 0.2)
    grip = [rounded_rectangle(w, 0.006, 0.0028, 0, 4) for w in (0.010, 0.013, 0.014, 0.011)]
    rings = [
        np.stack([np.full(16, x), g[:, 0], g[:, 1] + 0.0055], 1)
        for g, x in zip(grip, (0.066, 0.074, 0.092, 0.098), strict=True)
    ]
    shape.add(loft(rings), "#9c3a22", 0.6)
    shape.collide(prism(0.0490, 0, 0.0072, 16, 0.0546))
    return shape


def envelope() -> Shape:
    shape = Shape()
    shape.add(box((0.116, 0.084, 0.0024), (0, 0, 0.0012), 0.0008), "#e7cfa0", 0.9)
    left, right, top, bottom = -0.0565, 0.0565, 0.0405, -0.0405
    for y, tip in ((top, -0.004), (bottom, 0.008)):
        flap = np.array([(left, y), (0, tip), (right, y)])
        shape.add(tube(np.column_stack([flap, np.full(3, 0.0024)]), 0.00055, 6), "#a9854c", 0.9)
    shape.add(
        extrude(
            circle(0.0090, 28) * (1 + 0.05 * np.sin(np.arange(28) * 1.7))[:, None] + [0, -0.002, 0],
            0.0012,
            0.0004,
            z=0.0022,
        ),
        "#b01f26",
        0.35,
    )
    shape.add(sheet(circle(0.0050, 5) + [0, -0.002, 0], 0.0034), "#d8565a", 0.4)
    slab(shape, 0.116, 0.084, 0.0028, 0.001)
    return shape


def ceramic_tile() -> Shape:
    shape = Shape()
    shape.add(box((0.108, 0.108, 0.0060), (0, 0, 0.0030), 0.0010), "#ffffff", 0.15, picture=patterns.tile())
    slab(shape, 0.108, 0.108, 0.0060, 0.001)
    return shape


def lily_pad() -> Shape:
    shape = Shape()
    angle = np.deg2rad(np.linspace(14, 346, 50))
    outline = np.concatenate([[(0.006, 0)], 0.055 * np.stack([np.cos(angle), np.sin(angle)], 1)])
    outline[1:] *= (1 + 0.012 * np.sin(9 * angle))[:, None]
    # The notch makes the pad star-shaped about its own middle but not about the centroid of the points.
    shape.add(extrude(outline, 0.0030, 0.0010), "#3f9a4a", 0.5)
    for a in np.deg2rad(np.linspace(35, 325, 10)):
        vein = [(r * np.cos(a), r * np.sin(a), 0.0030) for r in (0.004, 0.025, 0.049)]
        shape.add(tube(vein, [0.0009, 0.0007, 0.0003], 6), "#8fcf6a", 0.6)
    shape.collide(prism(0.0545, 0, 0.0032, 20))
    return shape


def tablet() -> Shape:
    shape = Shape()
    shape.add(extrude(rounded_rectangle(0.116, 0.084, 0.007, 0, 5), 0.0060, 0.0010), "#2a2c31", 0.3)
    shape.add(sheet(rounded_rectangle(0.112, 0.080, 0.005, 0, 5), 0.0059), "#ffffff", 0.1, picture=patterns.tablet())
    slab(shape, 0.116, 0.084, 0.0061, 0.007)
    return shape


def pancake() -> Shape:
    shape = Shape()
    shape.add(
        lathe([(0.048, 0), (0.0535, 0.0014), (0.0540, 0.0034), (0.0500, 0.0058), (0.001, 0.0062)], 48),
        "#ffffff",
        0.7,
        picture=patterns.pancake(),
        crease=60.0,
    )
    shape.add(extrude(rounded_rectangle(0.018, 0.018, 0.003, 0, 4), 0.0016, 0.0005, z=0.0056), "#ffe680", 0.3)
    shape.collide(prism(0.0505, 0, 0.0034, 20, 0.0538), prism(0.0480, 0.0062, 0.0064, 20))
    return shape


def rug() -> Shape:
    shape = Shape()
    shape.add(box((0.108, 0.090, 0.0030), (0, 0, 0.0015), 0.0006), "#ffffff", 1.0, picture=patterns.rug())
    for side in (-1, 1):
        for y in np.linspace(-0.043, 0.043, 22):
            thread = rounded_rectangle(0.0050, 0.0016, 0.0005, 0, 2) + [side * 0.0560, y, 0]
            shape.add(extrude(thread, 0.0010), "#e5c98c", 1.0)
    slab(shape, 0.112, 0.090, 0.0030, 0.001)
    return shape


TRAIN_RECEPTACLES = 1

RECEPTACLES = (
    Model("plate", "plate", 1200.0, plate),
    Model("tray", "tray", 1500.0, tray),
    Model("cutting_board", "cutting board", 1300.0, cutting_board),
    Model("book", "book", 1500.0, book),
    Model("coaster", "coaster", 1400.0, coaster),
    Model("napkin", "napkin", 3000.0, napkin),
    Model("pizza", "pizza", 2200.0, pizza),
    Model("chess_board", "chess board", 2200.0, chess_board),
    Model("vinyl_record", "vinyl record", 2600.0, vinyl_record),
    Model("bamboo_mat", "bamboo mat", 2600.0, bamboo_mat),
    Model("frying_pan", "frying pan", 3600.0, frying_pan),
    Model("envelope", "envelope", 2600.0, envelope),
    Model("ceramic_tile", "ceramic tile", 2400.0, ceramic_tile),
    Model("lily_pad", "lily pad", 2600.0, lily_pad),
    Model("tablet", "tablet", 2600.0, tablet),
    Model("pancake", "pancake", 2000.0, pancake),
    Model("rug", "rug", 2600.0, rug),
)
