"""Household things; each function returns a shape standing on z = 0 in metres."""

from __future__ import annotations

import numpy as np

from vlagen.assets.generate.shapes import (
    Shape,
    box,
    circle,
    cuboid,
    cylinder,
    ellipsoid,
    lathe,
    loft,
    lying,
    lying_hull,
    move,
    prism,
    rotate,
    rounded_rectangle,
    stretch,
    tube,
)
from vlagen.assets.generate.write import rng

STEEL, BLACK, WHITE = "#b9bec4", "#1c1d20", "#f4f3ee"


def mug() -> Shape:
    shape = Shape()
    shape.add(
        lathe(
            [
                (0.0165, 0),
                (0.0182, 0.001),
                (0.0195, 0.006),
                (0.0200, 0.042),
                (0.0196, 0.0430),
                (0.0180, 0.0430),
                (0.0174, 0.041),
                (0.0168, 0.010),
                (0.001, 0.009),
            ],
            36,
        ),
        "#2f6fc1",
        0.25,
    )
    shape.add(lathe([(0.0202, 0.026), (0.0204, 0.0265), (0.0205, 0.0335), (0.0203, 0.034)], 36), WHITE, 0.3)
    shape.add(lathe([(0.0171, 0.033), (0.0171, 0.0345), (0.001, 0.0346)], 32), "#4a2a16", 0.2)
    a = np.deg2rad(np.linspace(-100, 100, 17))
    path = np.stack([0.0190 + 0.0125 * np.cos(a), 0 * a, 0.0225 + 0.0125 * np.sin(a)], axis=1)
    shape.add(tube(path, 0.0028, 12), "#2f6fc1", 0.25)
    shape.collide(prism(0.0178, 0, 0.006, 14, 0.0196), prism(0.0198, 0.0428, 0.043, 14))
    shape.collide(cuboid((0.0170, -0.0028, 0.0090), (0.0335, 0.0028, 0.0360)))
    return shape


def soda_can() -> Shape:
    shape = Shape()
    shape.add(
        lathe([(0.0135, 0), (0.0145, 0.0004), (0.0178, 0.005), (0.0178, 0.054), (0.0150, 0.0605)], 36),
        "#1fa04b",
        0.25,
        0.2,
    )
    shape.add(
        lathe(
            [(0.0150, 0.0600), (0.0152, 0.0612), (0.0148, 0.0620), (0.0140, 0.0616), (0.0136, 0.0598), (0.001, 0.0598)],
            36,
        ),
        STEEL,
        0.3,
        0.3,
    )
    for z, colour in ((0.018, "#f6e04a"), (0.0405, "#f6e04a")):
        shape.add(
            lathe([(0.01785, z), (0.0181, z + 0.0003), (0.0181, z + 0.0037), (0.01785, z + 0.004)], 36), colour, 0.3
        )
    for k in range(8):
        dot = rotate(ellipsoid((0.0006, 0.0048, 0.0048), (0.0178, 0, 0.0312), 14), "z", 45 * k)
        shape.add(dot, WHITE if k % 2 else "#f6e04a", 0.3)
    tab = stretch(cylinder(0.0055, 0.0010, sections=20), (1, 0.65, 1))
    shape.add(move(tab, (0.004, 0, 0.0606)), "#8f959c", 0.4, 0.2)
    shape.add(cylinder(0.0042, 0.0004, (-0.0075, 0, 0.0599), sections=18, bevel=0.0001), "#3a3d42", 0.5)
    shape.collide(
        prism(0.0140, 0, 0.005, 12, 0.0178), prism(0.0178, 0.050, 0.054, 12), prism(0.0150, 0.0600, 0.0618, 12)
    )
    return shape


def ketchup_bottle() -> Shape:
    shape = Shape()
    x = np.array([-0.050, -0.0485, -0.046, -0.030, 0.000, 0.012, 0.020, 0.027, 0.031, 0.034])
    radius = np.array([0.0150, 0.0164, 0.0170, 0.0165, 0.0165, 0.0170, 0.0160, 0.0136, 0.0118, 0.0105])
    level = 0.0170
    rings = [
        ring + [0, 0, level - r] for ring, r in zip(lying(list(zip(x, radius, strict=True)), 32), radius, strict=True)
    ]
    shape.add(loft(rings), "#c01a1c", 0.25)
    label = [(-0.036, 0.0160), (-0.0355, 0.0169), (0.0015, 0.0169), (0.002, 0.0160)]
    shape.add(
        loft([ring + [0, 0, level - r] for ring, (_, r) in zip(lying(label, 32), label, strict=True)]), WHITE, 0.5
    )
    band = [(-0.0335, 0.0165), (-0.033, 0.01705), (-0.029, 0.01705), (-0.0285, 0.0165)]
    for shift in (0.0, 0.028):
        moved = [(at + shift, r) for at, r in band]
        shape.add(
            loft([ring + [0, 0, level - r] for ring, (_, r) in zip(lying(moved, 32), moved, strict=True)]),
            "#2c8a3c",
            0.5,
        )
    shape.add(ellipsoid((0.0075, 0.0075, 0.0012), (-0.017, 0, 2 * level - 0.0002), 18), "#d8281e", 0.4)
    shape.add(ellipsoid((0.0022, 0.0022, 0.0008), (-0.0135, 0, 2 * level + 0.0008), 10), "#2f7d2c")
    shape.add(cylinder(0.0112, 0.010, (0.0385, 0, level), "x", 24, 0.001), WHITE, 0.4)
    tip = rotate(lathe([(0.0060, 0), (0.0050, 0.004), (0.0022, 0.014), (0.0018, 0.0148)], 16), "y", 90)
    shape.add(move(tip, (0.043, 0, level)), WHITE, 0.4)
    points = lying_hull([(-0.050, 0.0158), (-0.047, 0.0170), (0.012, 0.0170)], 10)
    neck = circle(0.0112 / np.cos(np.pi / 10), 10)
    ends = [np.stack([np.full(10, at), neck[:, 0], neck[:, 1] + level], 1) for at in (0.034, 0.0435)]
    shape.collide(points, *ends)
    return shape


def sponge() -> Shape:
    shape = Shape()
    shape.add(box((0.075, 0.040, 0.0190), (0, 0, 0.0095), 0.0030), "#f7d64a", 0.95)
    shape.add(box((0.0752, 0.0402, 0.0075), (0, 0, 0.0222), 0.0015), "#2f8f4e", 0.98)
    draw = rng("sponge")
    for _ in range(70):
        x, z = draw.uniform(-0.034, 0.034), draw.uniform(0.003, 0.0165)
        side = draw.choice([-1, 1])
        size = draw.uniform(0.0007, 0.0016)
        shape.add(ellipsoid((size, 0.0004, size * 0.8), (x, side * 0.0200, z), 6), "#b8922a", 1.0)
    shape.collide(cuboid((-0.0375, -0.020, 0), (0.0375, 0.020, 0.026)))
    return shape


def screwdriver() -> Shape:
    shape = Shape()
    level = 0.0120
    handle = [
        (-0.060, 0.0060),
        (-0.058, 0.0100),
        (-0.052, 0.0120),
        (-0.020, 0.0120),
        (-0.010, 0.0095),
        (-0.003, 0.0095),
        (0.001, 0.0075),
    ]
    rings = [ring + [0, 0, level - r] for ring, (_, r) in zip(lying(handle, 36), handle, strict=True)]
    shape.add(loft(rings), "#f2b01e", 0.3)
    for k in range(6):
        a = np.deg2rad(60 * k + 30)
        groove = tube(
            [(x, 0.0116 * np.cos(a), level + 0.0116 * np.sin(a)) for x in (-0.050, -0.040, -0.030, -0.021)], 0.0015, 8
        )
        shape.add(groove, BLACK, 0.8)
    shape.add(cylinder(0.0032, 0.050, (0.025, 0, level), "x", 16), STEEL, 0.25, 0.3)
    shape.add(box((0.012, 0.0075, 0.0016), (0.052, 0, level), 0.0004), "#8f959c", 0.3, 0.3)
    shape.add(cylinder(0.0080, 0.003, (0.001, 0, level), "x", 20), "#33363b", 0.5)
    wide = lying_hull([(-0.060, 0.0090), (-0.055, 0.0120), (-0.018, 0.0120)], 6)
    wide[:6, 2] += 0.0030
    shape.collide(wide, cuboid((-0.003, -0.0080, level - 0.0080), (0.001, 0.0080, level + 0.0080)))
    shape.collide(cuboid((0.000, -0.0034, level - 0.0034), (0.058, 0.0034, level + 0.0034)))
    return shape


def milk_carton() -> Shape:
    shape = Shape()
    half = 0.0175
    shape.add(box((2 * half, 2 * half, 0.044), (0, 0, 0.022), 0.0008), WHITE, 0.5)
    shape.add(box((2 * half + 0.0004, 2 * half + 0.0004, 0.016), (0, 0, 0.010), 0.0004), "#2d7dd2", 0.5)
    wave = [
        np.column_stack([rounded_rectangle(2 * half + 0.0005, 2 * half + 0.0005, 0.0008, 0)[:, :2], z])
        for z in (np.full(16, 0.0165), 0.0195 + 0.0022 * np.sin(np.arange(16) * 0.9))
    ]
    shape.add(loft(wave), "#7fb8ee", 0.5)
    gable = loft(
        [
            np.array([(half, -half, 0.044), (half, half, 0.044), (-half, half, 0.044), (-half, -half, 0.044)]),
            np.array([(half, -0.0012, 0.059), (half, 0.0012, 0.059), (-half, 0.0012, 0.059), (-half, -0.0012, 0.059)]),
        ]
    )
    shape.add(gable, "#2d7dd2", 0.5)
    shape.add(box((2 * half, 0.0026, 0.008), (0, 0, 0.0625), 0.0005), WHITE, 0.5)
    for side in (-1, 1):
        spot = ellipsoid((0.0060, 0.0006, 0.0075), (0, side * (half + 0.0002), 0.0315), 16)
        shape.add(spot, "#20242c", 0.5)
        shape.add(ellipsoid((0.0006, 0.0060, 0.0045), (side * (half + 0.0002), 0.003, 0.0330), 14), "#20242c", 0.5)
    cap = rotate(cylinder(0.0058, 0.004, sections=20), "x", -42)
    shape.add(move(cap, (0, 0.0105, 0.0530)), "#d8232a", 0.4)
    shape.collide(
        cuboid((-half, -half, 0), (half, half, 0.044)), cuboid((-half, -0.0014, 0.0600), (half, 0.0014, 0.0665))
    )
    return shape


def hammer() -> Shape:
    shape = Shape()
    level = 0.0095
    stations = [(-0.075, 0.0085), (-0.071, 0.0095), (-0.020, 0.0088), (0.020, 0.0080), (0.044, 0.0080)]
    rings = [ring * [1, 0.9, 1] + [0, 0, level - r] for ring, (_, r) in zip(lying(stations, 20), stations, strict=True)]
    shape.add(loft(rings), "#c98d4b", 0.7)
    grip = [(-0.0755, 0.0080), (-0.074, 0.0094), (-0.070, 0.0100), (-0.030, 0.0095), (-0.029, 0.0088)]
    shape.add(
        loft(
            [
                ring * [1, 0.92, 1] + [0, 0, level - r + 0.0003]
                for ring, (_, r) in zip(lying(grip, 20), grip, strict=True)
            ]
        ),
        "#c4262e",
        0.8,
    )
    shape.add(box((0.020, 0.026, 0.0186), (0.043, 0.003, level), 0.0025), "#5b6169", 0.35, 0.3)
    shape.add(cylinder(0.0080, 0.008, (0.043, 0.0185, level), "y", 24, 0.001), "#5b6169", 0.35, 0.3)
    shape.add(cylinder(0.0094, 0.009, (0.043, 0.0255, level), "y", 24, 0.0012), "#868d96", 0.25, 0.3)
    claw = [
        np.array([(0.043 + sx * w, y, level + sz * h) for sx, sz in ((-1, -1), (-1, 1), (1, 1), (1, -1))])
        for w, h, y in ((0.0098, 0.0090, -0.0095), (0.0092, 0.0065, -0.0180), (0.0088, 0.0025, -0.0290))
    ]
    shape.add(loft([ring[::-1] for ring in claw[::-1]]), "#5b6169", 0.35, 0.3)
    shape.collide(
        cuboid((0.033, -0.0120, 0), (0.053, 0.0300, 0.0190)),
        cuboid((0.034, -0.0290, level - 0.002), (0.052, -0.0285, level + 0.002)),
    )
    shape.collide(
        cuboid((-0.0755, -0.0086, 0), (-0.0754, 0.0086, 0.0190)), cuboid((0.0325, -0.0074, 0), (0.033, 0.0074, 0.0175))
    )
    return shape


def teapot() -> Shape:
    shape = Shape()
    shape.add(
        lathe(
            [
                (0.0120, 0),
                (0.0130, 0.0010),
                (0.0165, 0.006),
                (0.0192, 0.014),
                (0.0190, 0.022),
                (0.0160, 0.030),
                (0.0115, 0.0335),
                (0.0100, 0.0345),
            ],
            36,
        ),
        "#e9e4d4",
        0.25,
        crease=60.0,
    )
    shape.add(lathe([(0.0193, 0.0145), (0.0198, 0.0150), (0.0199, 0.0195), (0.0194, 0.0200)], 36), "#2a7f8a", 0.3)
    shape.add(lathe([(0.0112, 0.0342), (0.0110, 0.0355), (0.0075, 0.0380), (0.001, 0.0388)], 28), "#2a7f8a", 0.3)
    shape.add(ellipsoid((0.0034, 0.0034, 0.0032), (0, 0, 0.0412), 14), "#d9a441", 0.3)
    shape.add(
        tube(
            [(0.0150, 0, 0.0110), (0.0225, 0, 0.0150), (0.0270, 0, 0.0220), (0.0310, 0, 0.0300)],
            [0.0056, 0.0046, 0.0034, 0.0030],
            14,
        ),
        "#e9e4d4",
        0.25,
    )
    a = np.deg2rad(np.linspace(75, 285, 17))
    path = np.stack([-0.0165 + 0.0125 * np.cos(a), 0 * a, 0.0195 + 0.0115 * np.sin(a)], axis=1)
    shape.add(tube(path, 0.0023, 12), "#2a7f8a", 0.3)
    shape.collide(
        prism(0.0128, 0, 0.0135, 12, 0.0190),
        prism(0.0190, 0.0220, 0.0225, 12),
        prism(0.0112, 0.0340, 0.0385, 10, 0.006),
    )
    return shape
