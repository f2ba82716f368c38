"""The 21 overlay pictures: a plain one that is never blended, then 20 strong patterns (480, 640, 3) in [0, 1]."""

from __future__ import annotations

import numpy as np

from vlagen.assets.generate.noise import cells, fbm, mix, noise, ramp, random_of_cell, rgb
from vlagen.assets.generate.write import rng

WIDTH, HEIGHT = 640, 480


def grid() -> tuple[np.ndarray, np.ndarray]:
    """Pixel coordinates x (right) and y (down), each (480, 640), in picture heights."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH] / HEIGHT
    return x, y


def canvas(colour: str) -> np.ndarray:
    """A plain picture."""
    return np.broadcast_to(rgb(colour), (HEIGHT, WIDTH, 3)).copy()


def edge(value: np.ndarray, width: float = 0.003) -> np.ndarray:
    """Anti-aliased step: 0 below zero, 1 above, over `width` in the unit of `value`."""
    return np.clip(value / width + 0.5, 0, 1)


def plain() -> np.ndarray:
    return canvas("#808080")


def camouflage() -> np.ndarray:
    x, y = grid()
    picture = canvas("#6b7040")
    for name, colour, level in (("c1", "#3c4a2a", 0.10), ("c2", "#9a8b5c", 0.22), ("c3", "#23261a", 0.34)):
        picture = mix(picture, colour, edge(fbm(name, x * 4, y * 6, 3) - level, 0.02))
    return picture


def marble_swirl() -> np.ndarray:
    x, y = grid()
    warp = fbm("swirl", x * 3, y * 3, 4)
    value = 0.5 + 0.5 * np.sin(9 * x + 6 * y + 7 * warp)
    return ramp(["#16243f", "#2f6f8f", "#f2e9d8", "#d9843b", "#5b1e2d"], value)


def voronoi() -> np.ndarray:
    x, y = grid()
    near, border, owner = cells("voronoi", x * 7, y * 7)
    picture = ramp(["#d7263d", "#f46036", "#ffd23f", "#1b998b", "#2e294e"], owner) * (1.05 - 0.35 * near)[..., None]
    return mix("#101014", picture, edge(border - 0.03, 0.02))


def plasma() -> np.ndarray:
    x, y = grid()
    value = np.sin(8 * x) + np.sin(7 * y + 1.3) + np.sin(6 * (x + y)) + np.sin(14 * np.hypot(x - 0.7, y - 0.4))
    return ramp(["#1b0a5a", "#c2185b", "#ff9800", "#fff176", "#26c6da", "#1b0a5a"], (value + 4) / 8)


def brick() -> np.ndarray:
    x, y = grid()
    row = np.floor(y * 11)
    u = x * 5 + 0.5 * (row % 2)
    pick = random_of_cell("brick", np.floor(u), row)
    tone = 1 + 0.15 * fbm("brickface", x * 30, y * 30, 3)
    side = np.minimum(np.abs(u - np.round(u)) / 5, np.abs(y * 11 - np.round(y * 11)) / 11)
    return mix("#cfc6b8", ramp(["#7a2f22", "#b5523a", "#94402d"], pick) * tone[..., None], edge(side - 0.006))


def zebra() -> np.ndarray:
    x, y = grid()
    value = np.sin(26 * x + 9 * fbm("zebra", x * 2.2, y * 2.2, 3) + 8 * y)
    return mix("#f6f3ea", "#15130f", edge(value, 0.25))


def leaves() -> np.ndarray:
    x, y = grid()
    picture = canvas("#12301c")
    draw = rng("leaves")
    tones = ["#1f5a2c", "#2f7d35", "#4f9c3a", "#86b84a", "#c9b53f"]
    for k in range(190):
        cx, cy, turn, size = (
            draw.uniform(-0.05, 1.4),
            draw.uniform(-0.05, 1.05),
            draw.uniform(0, 2 * np.pi),
            draw.uniform(0.06, 0.13),
        )
        u = ((x - cx) * np.cos(turn) + (y - cy) * np.sin(turn)) / size
        v = (-(x - cx) * np.sin(turn) + (y - cy) * np.cos(turn)) / size
        body = np.where(np.abs(u) < 1, 0.36 * (1 - u * u) - np.abs(v), -1.0)
        vein = np.minimum(np.abs(v), np.abs(((u + 0.8 * np.abs(v)) * 4) % 1 - 0.5) * 0.3)
        tone = rgb(tones[k % 5]) * (0.75 + 0.5 * k / 190)
        leaf = tone * (1 - 0.28 * edge(0.025 - vein, 0.03))[..., None] * (1 + 0.15 * np.sign(v))[..., None]
        picture = mix(picture, leaf, edge(body, 0.04))
    return picture


def bokeh() -> np.ndarray:
    x, y = grid()
    picture = ramp(["#0b1030", "#241a4a", "#3a1a3a"], y)
    draw = rng("bokeh")
    for k in range(70):
        radius = draw.uniform(0.02, 0.10)
        distance = np.hypot(x - draw.uniform(0, 4 / 3), y - draw.uniform(0, 1))
        colour = rgb(["#ffb84d", "#ff6f91", "#6fe3ff", "#c6ff6f", "#ffffff"][k % 5])
        disc = edge(radius - distance, 0.010) * (0.30 + 0.35 * (distance / radius) ** 4)
        picture = 1 - (1 - picture) * (1 - colour * np.clip(disc, 0, 1)[..., None])
    return picture


def diagonal_stripes() -> np.ndarray:
    x, y = grid()
    picture = canvas("#f4c20d")
    phase = ((x + y) * 7) % 1
    return mix(picture, "#17171a", edge(0.25 - np.abs(phase - 0.5), 0.02))


def checkerboard() -> np.ndarray:
    x, y = grid()
    wave = np.sin(x * 9 * np.pi) * np.sin(y * 9 * np.pi)
    return mix("#f5efe6", "#b3132b", edge(wave, 0.06))


def waves() -> np.ndarray:
    x, y = grid()
    row = y * 9
    near = np.full(x.shape, 9.0)
    for k in range(2):
        level = np.floor(row) + k
        shift = 0.5 * (level % 2)
        near = np.minimum(
            near,
            np.where(
                row - level < 0.6, np.hypot(((x * 9 + shift) % 1 - 0.5) * 1.0, (row - level) - 0.5 + 0.6 * k), near
            ),
        )
    return ramp(["#f4efe2", "#1d4e89", "#f4efe2", "#1d4e89", "#f4efe2", "#1d4e89"], np.clip(near * 1.7, 0, 1))


def circuit() -> np.ndarray:
    x, y = grid()
    picture = canvas("#0d4a3a") * (1 + 0.05 * noise("board", x * 40, y * 40))[..., None]
    draw = rng("circuit")
    for _ in range(60):
        cx, cy = draw.integers(0, 44) / 33, draw.integers(0, 33) / 33
        length, run = draw.integers(2, 9) / 33, draw.integers(-6, 7) / 33
        first = np.maximum(np.abs(x - cx - length / 2) - length / 2, np.abs(y - cy))
        second = np.maximum(np.abs(y - cy - run / 2) - abs(run) / 2, np.abs(x - cx - length))
        picture = mix(picture, "#c9a227", edge(0.0035 - np.minimum(first, second)))
        for px, py in ((cx, cy), (cx + length, cy + run)):
            ring = np.abs(np.hypot(x - px, y - py) - 0.009)
            picture = mix(picture, "#e8d48a", edge(0.004 - ring))
    for _ in range(9):
        cx, cy, w, h = draw.uniform(0, 1.3), draw.uniform(0, 1), draw.uniform(0.03, 0.08), draw.uniform(0.02, 0.06)
        picture = mix(picture, "#17191c", edge(-np.maximum(np.abs(x - cx) - w, np.abs(y - cy) - h)))
    return picture


def giraffe() -> np.ndarray:
    x, y = grid()
    u, v = x + 0.02 * noise("gx", x * 9, y * 9), y + 0.02 * noise("gy", x * 9, y * 9)
    _, border, owner = cells("giraffe", u * 6, v * 6)
    return mix("#f0dcae", ramp(["#8a4b1f", "#b86d2c"], owner), edge(border - 0.06, 0.03))


def rainbow_rings() -> np.ndarray:
    x, y = grid()
    radius = np.hypot(x - 0.62, y - 0.46) * 7
    colours = ["#e4002b", "#ff8a00", "#ffd800", "#1ea64b", "#0a6ed1", "#5b2a9d"]
    band = np.floor(radius) % 6
    return (
        np.array([rgb(c) for c in colours])[band.astype(int)] * (0.88 + 0.12 * np.sin(np.pi * (radius % 1)))[..., None]
    )


def water() -> np.ndarray:
    x, y = grid()
    u, v = x + 0.05 * fbm("wu", x * 4, y * 4, 3), y + 0.05 * fbm("wv", x * 4, y * 4, 3)
    first, border, _ = cells("water", u * 6, v * 8)
    line = np.exp(-((border / 0.10) ** 2))
    return ramp(["#0b4f7d", "#1b86b8", "#5cc4dd", "#e9fbff"], np.clip(0.15 + 0.35 * first + 0.55 * line, 0, 1))


def lava() -> np.ndarray:
    x, y = grid()
    u, v = x + 0.04 * fbm("lu", x * 5, y * 5, 3), y + 0.04 * fbm("lv", x * 5, y * 5, 3)
    _, border, _ = cells("lava", u * 6, v * 6)
    glow = np.exp(-border / 0.07) * (0.8 + 0.3 * fbm("heat", x * 4, y * 4, 2))
    return ramp(["#140b0a", "#3a120a", "#a8230a", "#ff7a12", "#ffe066"], np.clip(glow, 0, 1))


def mosaic_triangles() -> np.ndarray:
    x, y = grid()
    v = y * 8
    u = x * 8 * 0.9 + 0.5 * v
    upper = ((u % 1) + (v % 1) > 1).astype(float)
    pick = random_of_cell("triangles", np.floor(u) * 2 + upper, np.floor(v))
    return ramp(["#2d1e5f", "#7b2d8b", "#d8437f", "#f7a072", "#fde8c9", "#3fb8af"], pick)


def polka() -> np.ndarray:
    x, y = grid()
    row = np.floor(y * 8)
    u = (x * 8 + 0.5 * (row % 2)) % 1 - 0.5
    pick = random_of_cell("polka", np.floor(x * 8 + 0.5 * (row % 2)), row)
    dot = np.array([rgb(c) for c in ("#ff5a5f", "#ffd166", "#06d6a0", "#118ab2")])[(pick * 4).astype(int)]
    return mix("#fdf6ec", dot, edge(0.33 - np.hypot(u, (y * 8) % 1 - 0.5), 0.03))


def tartan() -> np.ndarray:
    x, y = grid()

    def sett(t):
        phase = (t * 3.2) % 1
        colour = np.broadcast_to(rgb("#8c1c24"), (*t.shape, 3))
        for centre, half, tint in (
            (0.30, 0.13, "#123a2a"),
            (0.70, 0.10, "#14264d"),
            (0.30, 0.015, "#e8c547"),
            (0.70, 0.012, "#f2ede0"),
            (0.98, 0.02, "#0e0e10"),
        ):
            colour = mix(colour, tint, edge(half - np.abs(phase - centre), 0.006))
        return colour

    over = ((np.floor(x * 240) + np.floor(y * 240)) % 4 < 2)[..., None]
    return np.where(over, sett(x), sett(y))


def graffiti() -> np.ndarray:
    x, y = grid()
    picture = canvas("#d9d2c5") * (1 + 0.06 * fbm("plaster", x * 12, y * 12, 3))[..., None]
    draw = rng("graffiti")
    t = np.linspace(0, 1, 60)
    for k in range(16):
        start, sweep = draw.uniform((0, 0), (1.3, 1)), draw.uniform(-0.8, 0.8, 2)
        bend, turns = draw.uniform(0.05, 0.22), draw.uniform(1, 3)
        px = start[0] + sweep[0] * t + bend * np.sin(2 * np.pi * turns * t)
        py = start[1] + sweep[1] * t + bend * np.cos(2 * np.pi * turns * t)
        near = np.full(x.shape, 9.0)
        for a, b, dx, dy in zip(px[:-1], py[:-1], np.diff(px), np.diff(py), strict=True):
            share = np.clip(((x - a) * dx + (y - b) * dy) / (dx * dx + dy * dy), 0, 1)
            near = np.minimum(near, np.hypot(x - a - share * dx, y - b - share * dy))
        width = draw.uniform(0.015, 0.04)
        picture = mix(picture, "#141414", edge(width + 0.007 - near, 0.008))
        picture = mix(
            picture,
            ("#ff2e63", "#08d9d6", "#f9ed69", "#6a2c70", "#21bf73", "#ff7a00")[k % 6],
            edge(width - near, 0.008),
        )
    return picture


TEXTURES = {
    build.__name__: build
    for build in (
        plain,
        camouflage,
        marble_swirl,
        voronoi,
        plasma,
        brick,
        zebra,
        leaves,
        bokeh,
        diagonal_stripes,
        checkerboard,
        waves,
        circuit,
        giraffe,
        rainbow_rings,
        water,
        lava,
        mosaic_triangles,
        polka,
        tartan,
        graffiti,
    )
}
