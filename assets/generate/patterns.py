"""Small pictures printed on receptacles: (H, W, 3) uint8."""

from __future__ import annotations

import numpy as np

from vlagen.assets.generate.noise import fbm, rgb


def grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixel-centre coordinates u (right), v (down) in [-1, 1], each (size, size)."""
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    return np.meshgrid(axis, axis)


def paint(base: str, size: int) -> np.ndarray:
    """A plain (size, size, 3) canvas in [0, 1]."""
    return np.broadcast_to(rgb(base), (size, size, 3)).copy()


def finish(canvas: np.ndarray) -> np.ndarray:
    """Canvas in [0, 1] as uint8."""
    return np.clip(np.round(canvas * 255), 0, 255).astype(np.uint8)


def chess(size: int = 144) -> np.ndarray:
    u, v = grid(size)
    dark = (np.floor(u * 4.4) + np.floor(v * 4.4)) % 2 == 0
    canvas = np.where(dark[..., None], rgb("#5a3419"), rgb("#eed5a4"))
    border = np.maximum(abs(u), abs(v)) > 4 / 4.4
    canvas[border] = rgb("#3a2110")
    return finish(canvas)


def record(size: int = 192) -> np.ndarray:
    u, v = grid(size)
    r = np.hypot(u, v)
    canvas = paint("#17171a", size) + (0.035 * np.sin(r * 150))[..., None]
    canvas += (0.16 * np.exp(-((np.sin(np.arctan2(v, u) * 1.0 + 0.6) / 0.16) ** 2)))[..., None]
    canvas[r < 0.36] = rgb("#e8b021")
    canvas[(r < 0.33) & (r > 0.31)] = rgb("#b8231f")
    canvas[(r < 0.28) & (v < -0.06)] = rgb("#b8231f")
    canvas[(abs(v - 0.12) < 0.018) & (abs(u) < 0.17)] = rgb("#3b2a12")
    canvas[(abs(v - 0.19) < 0.018) & (abs(u) < 0.11)] = rgb("#3b2a12")
    canvas[r < 0.04] = rgb("#101012")
    return finish(canvas)


def wood(name: str, light: str, dark: str, size: int = 160) -> np.ndarray:
    u, v = grid(size)
    ring = v * 1.6 + 0.45 * fbm(name, u * 0.8 + 3, v * 2.5, 3)
    stripe = 0.5 + 0.5 * np.sin(22 * ring) * (0.7 + 0.3 * fbm(name + "fade", u * 2, v * 9, 2))
    return finish(rgb(light) * (1 - stripe[..., None] * 0.6) + rgb(dark) * stripe[..., None] * 0.6)


def gingham(base: str, other: str, count: int = 7, size: int = 128) -> np.ndarray:
    u, v = grid(size)
    a = (np.floor((u + 1) * count / 2 * 2) % 2)[..., None]
    b = (np.floor((v + 1) * count / 2 * 2) % 2)[..., None]
    return finish(rgb(base) * (1 - (a + b) / 2) + rgb(other) * (a + b) / 2)


def bamboo(size: int = 160) -> np.ndarray:
    u, v = grid(size)
    slat = (v + 1) * 11
    shade = 0.72 + 0.28 * np.sin(np.pi * (slat % 1)) ** 0.6
    tint = 0.90 + 0.10 * np.sin(np.floor(slat) * 12.9898) + 0.03 * fbm("bamboo", u * 6, v * 30, 3)
    canvas = rgb("#d9c07a") * (shade * tint)[..., None]
    canvas[abs(abs(u) - 0.62) < 0.025] = rgb("#6c7d35")
    canvas[abs(u) < 0.025] = rgb("#6c7d35")
    return finish(canvas)


def tile(size: int = 160) -> np.ndarray:
    u, v = grid(size)
    canvas = paint("#f3efe4", size)
    r, a = np.hypot(u, v), np.arctan2(v, u)
    blue, gold = rgb("#1f4f9e"), rgb("#e0a32c")
    canvas[r < 0.50 + 0.22 * np.cos(8 * a)] = blue
    canvas[r < 0.40 + 0.20 * np.cos(8 * a)] = rgb("#f3efe4")
    canvas[r < 0.22 + 0.06 * np.cos(8 * a)] = gold
    canvas[r < 0.09] = blue
    corner = np.hypot(1 - abs(u), 1 - abs(v))
    canvas[corner < 0.52] = blue
    canvas[corner < 0.42] = gold
    canvas[corner < 0.32] = rgb("#f3efe4")
    canvas[corner < 0.20] = blue
    return finish(canvas)


def rug(size: int = 160) -> np.ndarray:
    u, v = grid(size)
    canvas = paint("#8e2430", size)
    edge = np.maximum(abs(u), abs(v))
    canvas[(edge > 0.80) & (edge < 0.92)] = rgb("#1f3a5a")
    canvas[(edge > 0.83) & (edge < 0.89) & ((np.floor((u + v) * 14) % 2) == 0)] = rgb("#e5c98c")
    diamond = abs(u) + abs(v)
    for limit, colour in (
        (0.72, "#e5c98c"),
        (0.66, "#1f3a5a"),
        (0.48, "#d8893b"),
        (0.40, "#8e2430"),
        (0.24, "#e5c98c"),
        (0.14, "#1f3a5a"),
    ):
        canvas[diamond < limit] = rgb(colour)
    for su in (-1, 1):
        for sv in (-1, 1):
            canvas[abs(u - 0.56 * su) + abs(v - 0.56 * sv) < 0.15] = rgb("#d8893b")
    return finish(canvas * (0.95 + 0.07 * np.sin(v * 160))[..., None])


def book(size: int = 160) -> np.ndarray:
    u, v = grid(size)
    canvas = paint("#1d5c52", size)
    frame = (np.maximum(abs(u) / 0.86, abs(v) / 0.86) < 1) & (np.maximum(abs(u) / 0.82, abs(v) / 0.82) > 1)
    gold = rgb("#e3bd5a")
    canvas[frame] = gold
    r, a = np.hypot(u, v - 0.22), np.arctan2(v - 0.22, u)
    canvas[r < 0.24 + 0.10 * np.cos(5 * a + np.pi / 2)] = gold
    canvas[(abs(v + 0.42) < 0.05) & (abs(u) < 0.55)] = gold
    canvas[(abs(v + 0.58) < 0.05) & (abs(u) < 0.40)] = gold
    canvas[u < -0.93] = rgb("#143f39")
    return finish(canvas)


def tablet(size: int = 160) -> np.ndarray:
    u, v = grid(size)
    blend = (0.5 + 0.5 * np.sin(1.6 * u + 1.3 * v))[..., None]
    canvas = rgb("#2b57c8") * (1 - blend) + rgb("#a04fc4") * blend
    colours = ("#f4f4f4", "#3cc46a", "#f5a623", "#e8433f", "#35c3e8", "#ffd84d")
    for i in range(4):
        for j in range(4):
            near = np.maximum(abs(u + 0.63 - 0.42 * i), abs(v + 0.60 - 0.40 * j)) < 0.115
            canvas[near] = rgb(colours[(i * 5 + j * 3) % 6])
    canvas[np.maximum(abs(u) / 0.92, abs(v) / 0.90) > 1] = rgb("#101114")
    return finish(canvas)


def pancake(size: int = 128) -> np.ndarray:
    u, v = grid(size)
    r = np.hypot(u, v)
    spot = np.clip(0.5 + 1.1 * fbm("pancake", u * 3, v * 3, 4), 0, 1)
    brown = (np.clip(1.25 - r, 0, 1) ** 0.5 * (0.45 + 0.55 * spot))[..., None]
    return finish(rgb("#f3d48c") * (1 - brown) + rgb("#a8622a") * brown)


def slate(size: int = 128) -> np.ndarray:
    u, v = grid(size)
    return finish(rgb("#474f58") * (1 + 0.35 * fbm("slate", u * 2, v * 5, 5))[..., None])


def cork(size: int = 128) -> np.ndarray:
    u, v = grid(size)
    grain = fbm("cork", u * 14, v * 14, 3)
    canvas = rgb("#c99a62") * (1 + 0.22 * grain)[..., None]
    canvas[grain < -0.42] = rgb("#7d5530")
    r = np.hypot(u, v)
    canvas[(r > 0.80) & (r < 0.86)] = rgb("#8c5f35")
    return finish(canvas)
