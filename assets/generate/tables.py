"""The 21 table pictures: 16 for training, 5 clearly different ones held out."""

from __future__ import annotations

from vlagen.assets.generate.scenery import Block, Scenery
from vlagen.assets.generate.surfaces import (
    brushed,
    dots,
    gingham,
    granite,
    herringbone,
    marble,
    plain,
    planks,
    slabs,
    soft,
    stripes,
    terrazzo,
    tiles,
    tufted,
)

TRAIN_TABLES = 16

GREY_PAVING = tiles("paving", ["#8d867d", "#a59c90", "#7c766f"], (0.30, 0.20), "#55504a", 0.008, 0.5, 0.16)
GRASS = soft("grass", ["#2c3d17", "#47602a", "#667f3a", "#93a358"], 20, 1.5)
OAK_FLOOR = planks("oakfloor", "#c49a66", "#83572e", 0.14, 1.4, 0.15, 0.002, 40)
DARK_FLOOR = planks("darkfloor", "#6b4a33", "#38251a", 0.12, 1.2, 0.0, 0.002, 45)
BEIGE_CARPET = soft("beige", ["#a3937a", "#b9a98f", "#cdbfa8"], 60, 0.9)
BLUE_CARPET = soft("bluecarpet", ["#2d4258", "#3b546e", "#4b6783"], 55, 0.9)
TERRACOTTA = tiles("terracotta", ["#a5512f", "#bb6238", "#8f4428"], (0.28, 0.28), "#c9b49a", 0.006, 0.0, 0.10)
WHITE_TILES = tiles("whitetiles", ["#d5d6d2", "#e2e3df"], (0.33, 0.33), "#9b9b97", 0.005, 0.0, 0.03)
CHECKER = tiles("checker", ["#2a2c2f", "#e1ddd3"], (0.30, 0.30), "#77746e", 0.003, 0.0, 0.04, checker=True)
BRICK = tiles("brick", ["#8c4130", "#a3533c", "#74352a", "#b0654c"], (0.21, 0.07), "#a79c8d", 0.006, 0.5, 0.15)
CONCRETE = plain("concretefloor", "#8f8f8b", 0.10, 0.03)
WALL = plain("wall", "#cfc8ba", 0.02, 0.01)
GREEN_WALL = plain("greenwall", "#8aa394", 0.02, 0.01)
CABINET = planks("cabinet", "#d9b27a", "#a97b45", 0.30, 1.6, 0.0, 0.004, 30)
PALE_EDGE = plain("paleedge", "#d2b588", 0.05)
DARK_WOOD = planks("darkwood", "#7a4a2b", "#3c2212", 0.2, 2.0, 0.0, 0.0, 60)


def wall(surface, x: float = -2.6) -> Block:
    """A wall behind the table at the given x of the room's frame [m]."""
    return Block((x - 0.1, -4.0, 0.0), (x, 4.0, 2.6), surface)


TABLES = {
    "oak": Scenery(
        planks("oak", "#d3a569", "#8f5f2f", 0.11, 1.1, 0.10, 0.0010, 60),
        GREY_PAVING,
        (-0.27, 0.6, -0.25, 0.215),
        turn=8,
        side=DARK_WOOD,
        corner=0.015,
        warmth=0.3,
        gloss=0.05,
    ),
    "white_laminate": Scenery(
        plain("laminate", "#dfe0de", 0.012, 0.008),
        OAK_FLOOR,
        (-0.26, 0.6, -0.29, 0.22),
        turn=-14,
        side=PALE_EDGE,
        gloss=0.05,
        blocks=(Block((-1.9, -1.6, 0.0), (-1.35, 0.4, 0.85), CABINET),),
    ),
    "walnut": Scenery(
        planks("walnut", "#87593a", "#3d2416", 0.16, 1.5, 0.06, 0.0010, 50),
        BEIGE_CARPET,
        (-0.32, 0.6, -0.25, 0.235),
        turn=20,
        side=DARK_WOOD,
        corner=0.05,
        gloss=0.07,
        warmth=0.2,
        blocks=(wall(WALL, -2.3),),
    ),
    "pine": Scenery(
        planks("pine", "#eccb90", "#b9813f", 0.09, 0.9, 0.42, 0.0014, 48, 0.8),
        GRASS,
        (-0.25, 0.6, -0.23, 0.26),
        turn=-24,
        side=PALE_EDGE,
        gloss=0.03,
        sun=0.6,
    ),
    "marble": Scenery(
        marble("marble", "#e6e4e0", "#6f7378", 5.0, 0.75),
        DARK_FLOOR,
        (-0.31, 0.33, -0.32, 0.32),
        turn=0,
        corner=0.5,
        side=plain("marbleside", "#d5d3cf"),
        gloss=0.10,
    ),
    "blue_plastic": Scenery(
        plain("blueplastic", "#3f78bb", 0.02, 0.02),
        GREY_PAVING,
        (-0.245, 0.6, -0.235, 0.21),
        turn=12,
        corner=0.06,
        sun=0.6,
        side=plain("blueside", "#376aa6"),
        gloss=0.07,
        blocks=(Block((-1.15, -0.9, 0.0), (-0.80, 0.9, 0.45), plain("bench", "#3a6fae")),),
    ),
    "red_gingham": Scenery(
        gingham("gingham", "#efe9e0", "#bf2c30", 0.046),
        TERRACOTTA,
        (-0.27, 0.6, -0.24, 0.215),
        turn=-8,
        thickness=0.16,
        corner=0.03,
        gloss=0.015,
        warmth=0.3,
    ),
    "granite": Scenery(
        granite("granite", ["#1e2022", "#3b3d40", "#5d5c5a", "#8d857c", "#c7bcae"]),
        WHITE_TILES,
        (-0.32, 0.6, -0.29, 0.3),
        turn=16,
        gloss=0.11,
        corner=0.02,
        side=plain("graniteside", "#3a3b3d"),
    ),
    "birch": Scenery(
        planks("birch", "#efdcb8", "#c9a878", 1.2, 4.0, 0.0, 0.0, 26, 0.7, 0.0),
        BLUE_CARPET,
        (-0.25, 0.6, -0.26, 0.24),
        turn=30,
        side=stripes("ply", "#c79f68", [("#8a6238", 0.5, 0.22)], 0.006),
        corner=0.03,
        gloss=0.04,
        blocks=(wall(GREEN_WALL, -2.2),),
    ),
    "terrazzo": Scenery(
        terrazzo("terrazzo", "#ded8cc", ["#b4553e", "#43586b", "#d39a3d", "#6f8a72", "#3c3a38"]),
        CONCRETE,
        (-0.29, 0.31, -0.3, 0.3),
        turn=-18,
        corner=0.5,
        side=plain("terrazzoside", "#cfc9bd"),
        gloss=0.06,
    ),
    "cherry": Scenery(
        planks("cherry", "#b4683c", "#6f2f18", 0.60, 3.0, 0.0, 0.0, 34, 0.9, 0.04),
        WHITE_TILES,
        (-0.26, 0.6, -0.22, 0.22),
        turn=4,
        corner=0.02,
        side=DARK_WOOD,
        gloss=0.12,
        warmth=0.2,
        rim=(0.035, DARK_WOOD),
    ),
    "steel": Scenery(
        brushed("steel", "#a9afb4"),
        CHECKER,
        (-0.27, 0.6, -0.255, 0.235),
        turn=-30,
        side=plain("steelside", "#8b9196"),
        gloss=0.13,
        thickness=0.04,
        corner=0.02,
    ),
    "picnic": Scenery(
        planks("picnic", "#a79b8b", "#675c50", 0.095, 2.4, 0.30, 0.0035, 55),
        GRASS,
        (-0.29, 0.8, -0.24, 0.235),
        turn=26,
        sun=0.65,
        gloss=0.01,
        thickness=0.035,
        corner=0.006,
        blocks=(
            Block(
                (-0.9, -0.75, 0.38),
                (0.9, -0.50, 0.42),
                planks("picnicbench", "#a79b8b", "#675c50", 0.125, 2.4, 0.3, 0.004),
            ),
        ),
    ),
    "pink_desk": Scenery(
        plain("pinkdesk", "#eeb4bd", 0.012, 0.008),
        OAK_FLOOR,
        (-0.235, 0.6, -0.28, 0.215),
        turn=-4,
        corner=0.04,
        side=plain("pinkside", "#f2e3e1"),
        gloss=0.05,
        blocks=(wall(WALL, -2.0),),
    ),
    "concrete": Scenery(
        plain("concretetop", "#a3a29d", 0.09, 0.035),
        herringbone("parquet", "#c79a62", "#8a5c31", 0.07),
        (-0.3, 0.6, -0.25, 0.25),
        turn=-38,
        side=plain("concreteside", "#94938e", 0.08),
        gloss=0.03,
        thickness=0.05,
    ),
    "striped_cloth": Scenery(
        stripes("linen", "#e9e2d2", [("#2f5d8c", 0.25, 0.10), ("#2f5d8c", 0.44, 0.02), ("#2f5d8c", 0.06, 0.02)], 0.085),
        BRICK,
        (-0.245, 0.6, -0.26, 0.23),
        turn=58,
        thickness=0.14,
        corner=0.03,
        gloss=0.01,
    ),
    "glass": Scenery(
        plain("glass", "#a9cfc4", 0.01, 0.0),
        tufted("rug", ["#7c2b2e", "#d9c39a", "#2c4a63", "#c0793a", "#7c2b2e"], 0.55),
        (-0.27, 0.6, -0.25, 0.235),
        turn=10,
        corner=0.06,
        blend=0.45,
        gloss=0.14,
        thickness=0.012,
        floor_z=0.25,
        side=plain("glassside", "#4f9c86"),
        rim=(0.004, plain("glassrim", "#3f8d78")),
    ),
    "green_felt": Scenery(
        soft("felt", ["#1b6b3f", "#22794a", "#2a8553"], 130, 0.5),
        DARK_FLOOR,
        (-0.3, 0.6, -0.27, 0.245),
        turn=-12,
        corner=0.02,
        gloss=0.0,
        rim=(0.055, planks("rail", "#8c4a2a", "#4d2212", 0.6, 3.0, 0.0, 0.0, 50)),
        side=DARK_WOOD,
        thickness=0.06,
    ),
    "mosaic": Scenery(
        slabs(
            "mosaic", ["#1f5fa8", "#2aa1b3", "#f0ead8", "#e8b53a", "#d9603b", "#1f5fa8"], 34, "#d9d4c8", 0.0022, 0.04
        ),
        BRICK,
        (-0.3, 0.32, -0.31, 0.31),
        turn=22,
        corner=0.5,
        gloss=0.08,
        side=plain("iron", "#2b2b2d"),
        rim=(0.022, plain("ironrim", "#3a3a3c")),
    ),
    "slate": Scenery(
        slabs("slate", ["#5d6468", "#737a78", "#6b6259", "#838a86"], 9, "#3b3d3c", 0.004, 0.22),
        soft("gravel", ["#77706a", "#a29a90", "#c6beb2"], 45, 1.6),
        (-0.27, 0.6, -0.24, 0.26),
        turn=34,
        corner=0.03,
        gloss=0.03,
        thickness=0.07,
        sun=0.6,
    ),
    "yellow_dots": Scenery(
        dots("dots", "#f0c22e", "#f7f3e6", 0.050, 0.0125),
        tiles("teal", ["#2f7f86", "#3b939a", "#286f76"], (0.20, 0.20), "#d5dcd8", 0.005, 0.0, 0.05),
        (-0.26, 0.6, -0.27, 0.225),
        turn=-20,
        corner=0.03,
        thickness=0.15,
        gloss=0.05,
    ),
}
