"""Procedural noise and colours for pictures; everything depends on names and coordinates only."""

from __future__ import annotations

import numpy as np

from vlagen.assets.generate.write import rng

LATTICE = 128
_lattices: dict[str, np.ndarray] = {}


def rgb(colour: str) -> np.ndarray:
    """Colour "#rrggbb" (sRGB) as (3,) in [0, 1]."""
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255


def noise(name: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Smooth noise of unit cell size and range about [-1, 1] at coordinates of any equal shape."""
    if name not in _lattices:
        _lattices[name] = rng("noise:" + name).uniform(-1, 1, (LATTICE, LATTICE))
    cell_x, cell_y = np.floor(x), np.floor(y)
    fx, fy = x - cell_x, y - cell_y
    fx, fy = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy)
    table = _lattices[name]
    i, j = cell_x.astype(int) % LATTICE, cell_y.astype(int) % LATTICE
    i1, j1 = (i + 1) % LATTICE, (j + 1) % LATTICE
    low = table[i, j] * (1 - fx) + table[i1, j] * fx
    high = table[i, j1] * (1 - fx) + table[i1, j1] * fx
    return low * (1 - fy) + high * fy


def fbm(name: str, x: np.ndarray, y: np.ndarray, octaves: int = 4, gain: float = 0.5) -> np.ndarray:
    """Sum of octaves of `noise`, range about [-1, 1]."""
    total, weight, norm = 0.0, 1.0, 0.0
    for k in range(octaves):
        total = total + weight * noise(name, x * 2**k + 17.3 * k, y * 2**k - 9.7 * k)
        norm += weight
        weight *= gain
    return total / norm * 1.5


def random_of_cell(name: str, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """A fixed uniform number in [0, 1) for every integer cell."""
    if name not in _lattices:
        _lattices[name] = rng("cell:" + name).uniform(0, 1, (LATTICE, LATTICE))
    return _lattices[name][np.asarray(i).astype(int) % LATTICE, np.asarray(j).astype(int) % LATTICE]


def cells(name: str, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Voronoi diagram of one jittered seed per unit cell.

    Returns:
      Distance to the nearest seed, distance to the cell border (half the gap to the second seed),
      and a uniform number per Voronoi cell.
    """
    first = np.full(np.shape(x), 9.0)
    second = first.copy()
    owner = np.zeros(np.shape(x))
    base_x, base_y = np.floor(x), np.floor(y)
    for dx in (-1, 0, 1):
        for dy in (-1, 0, 1):
            i, j = base_x + dx, base_y + dy
            seed_x = i + random_of_cell(name + "x", i, j)
            seed_y = j + random_of_cell(name + "y", i, j)
            distance = np.hypot(x - seed_x, y - seed_y)
            closer = distance < first
            second = np.where(closer, first, np.minimum(second, distance))
            owner = np.where(closer, random_of_cell(name + "id", i, j), owner)
            first = np.where(closer, distance, first)
    return first, (second - first) / 2, owner


def mix(first, second, weight: np.ndarray) -> np.ndarray:
    """Blend two colours (hex or (..., 3)) by a (...) weight clipped to [0, 1]."""
    first = rgb(first) if isinstance(first, str) else first
    second = rgb(second) if isinstance(second, str) else second
    weight = np.clip(weight, 0, 1)[..., None]
    return first * (1 - weight) + second * weight


def ramp(colours: list[str], value: np.ndarray) -> np.ndarray:
    """Piecewise-linear colour scale over value in [0, 1]."""
    table = np.array([rgb(c) for c in colours])
    stops = np.linspace(0, 1, len(colours))
    return np.stack([np.interp(value, stops, table[:, k]) for k in range(3)], axis=-1)
