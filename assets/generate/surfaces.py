"""Materials of tables and floors: functions of in-plane coordinates (x, y) [m] to sRGB (..., 3) in [0, 1]."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vlagen.assets.generate.noise import cells, fbm, mix, noise, ramp, random_of_cell, rgb

Surface = Callable[[np.ndarray, np.ndarray], np.ndarray]


def plain(name: str, colour: str, mottle: float = 0.02, grain: float = 0.012) -> Surface:
    """Painted or plastic sheet with a hint of unevenness."""

    def surface(x, y):
        shade = 1 + mottle * fbm(name, x * 6, y * 6, 2) + grain * noise(name + "grain", x * 420, y * 420)
        return rgb(colour) * shade[..., None]

    return surface


def planks(
    name: str,
    light: str,
    dark: str,
    width: float,
    length: float = 0.9,
    knots: float = 0.0,
    seam: float = 0.0012,
    rings: float = 55.0,
    contrast: float = 1.0,
    spread: float = 0.10,
) -> Surface:
    """Boards along x: each is its own cut through a log, with year rings, fibres and knots.

    Args:
      name: seed of the pattern.
      light: colour of early wood.
      dark: colour of late wood and knots.
      width: board width [m].
      length: board length [m]; ends are staggered.
      knots: share of 0.3 m cells of a board that hold a knot.
      seam: width of the gap between boards [m].
      rings: year rings per metre across.
      contrast: weight of the rings.
      spread: brightness difference between boards.
    """

    def surface(x, y):
        y = y + 0.37 * width  # no seam along the middle of the table
        row = np.floor(y / width)
        shifted = x / length + random_of_cell(name + "shift", row, 0 * row)
        board = np.floor(shifted)
        pick = random_of_cell(name + "tint", board, row)
        across = y - (row + 0.5) * width
        lane = 50 * pick + x
        bend = 0.30 * width * fbm(name + "bend", lane * 2.2, across * 3 + 9 * pick, 2)
        cell = np.floor(lane / 0.3)
        chance = random_of_cell(name + "knot", cell, row)
        knot_x = (cell + 0.25 + 0.5 * random_of_cell(name + "kx", cell, row)) * 0.3
        knot_y = (random_of_cell(name + "ky", cell, row) - 0.5) * 0.6 * width
        size = 0.006 + 0.008 * random_of_cell(name + "ks", cell, row)
        reach = np.hypot((lane - knot_x) * 0.75, across - knot_y) / size
        has = chance < knots
        push = np.where(has, np.exp(-((reach / 2.2) ** 2)), 0.0)
        heart = (random_of_cell(name + "heart", board, row) - 0.5) * 1.6 * width
        depth = np.hypot(across - heart + bend, 0.02 + 0.02 * noise(name + "depth", lane * 1.1, 7 * pick))
        phase = rings * depth + 3.0 * push
        wave = 0.5 + 0.5 * np.sin(2 * np.pi * phase)
        fibre = fbm(name + "fibre", lane * 9, y * 420, 3)
        late = np.clip(0.18 + 0.55 * wave**2.2 + 0.28 * fibre, 0, 1) * contrast
        colour = mix(light, dark, late * 0.75)
        colour = colour * (1 + spread * (2 * pick - 1) + 0.035 * fbm(name + "cloud", x * 5, y * 9, 2))[..., None]
        core = np.where(has, np.clip(1.5 - reach, 0, 1), 0.0) * (0.75 + 0.25 * np.sin(7 * reach))
        colour = mix(colour, rgb(dark) * 0.55, core)
        side = np.minimum(width / 2 - np.abs(across), np.abs(shifted - np.round(shifted)) * length)
        return colour * (1 - 0.55 * np.exp(-((side / max(seam, 1e-6)) ** 2)))[..., None] if seam else colour

    return surface


def marble(name: str, base: str, vein: str, scale: float = 5.0, strength: float = 0.8) -> Surface:
    """Polished stone with thin branching veins and soft clouds."""

    def surface(x, y):
        u = x * scale + 0.9 * fbm(name + "u", x * scale, y * scale, 4)
        v = y * scale + 0.9 * fbm(name + "v", x * scale, y * scale, 4)
        thin = np.exp(-np.abs(fbm(name + "a", u + 0.6 * v, v, 4)) * 16)
        broad = np.exp(-np.abs(fbm(name + "b", u * 0.5, v * 0.6 + u * 0.3, 3)) * 6) * 0.5
        cloud = 0.20 * (0.5 + 0.5 * fbm(name + "c", x * scale * 0.8, y * scale * 0.8, 3))
        return mix(base, vein, strength * np.clip(thin * 0.8 + broad * 0.55 + cloud, 0, 1))

    return surface


def terrazzo(name: str, base: str, chips: list[str]) -> Surface:
    """Stone chips of three sizes in a plain binder."""

    def surface(x, y):
        colour = plain(name, base)(x, y)
        palette = np.array([rgb(c) for c in chips])
        for k, (scale, share, size) in enumerate(((150, 0.25, 0.20), (75, 0.30, 0.26), (36, 0.30, 0.30))):
            u = x * scale + 0.35 * noise(f"{name}w{k}", x * scale * 1.7, y * scale * 1.7)
            v = y * scale + 0.35 * noise(f"{name}z{k}", x * scale * 1.7, y * scale * 1.7)
            _, border, owner = cells(f"{name}{k}", u, v)
            inside = (owner < share) * np.clip((border - (0.5 - size) * 0.42) * 14, 0, 1)
            chip = palette[(owner / share * len(chips)).astype(int) % len(chips)]
            colour = mix(colour, chip * (1 + 0.04 * noise(name + "g", x * 300, y * 300))[..., None], inside)
        return colour

    return surface


def granite(name: str, colours: list[str], scale: float = 260.0) -> Surface:
    """Fine-grained speckle between several colours."""

    def surface(x, y):
        value = (
            0.5
            + 0.42 * fbm(name, x * scale, y * scale, 2)
            + 0.25 * fbm(name + "b", x * scale * 0.16, y * scale * 0.16, 2)
        )
        return ramp(colours, np.clip(value, 0, 1))

    return surface


def gingham(name: str, base: str, other: str, pitch: float) -> Surface:
    """Woven check: half-tone where one coloured thread crosses, full where two do."""

    def surface(x, y):
        def band(t):
            phase = (t / pitch) % 1
            return np.clip(0.5 + (0.25 - np.abs(phase - 0.5)) * pitch / 0.0012, 0, 1)

        weave = 1 + 0.05 * np.sin(x * 2800) * np.sin(y * 2800) + 0.03 * fbm(name, x * 7, y * 7, 3)
        return mix(base, other, (band(x) + band(y)) / 2) * weave[..., None]

    return surface


def stripes(name: str, base: str, colours: list[tuple[str, float, float]], pitch: float) -> Surface:
    """Cloth with lengthwise stripes: (colour, centre, half width) in units of the pitch [m]."""

    def surface(x, y):
        phase = (y / pitch) % 1
        colour = np.broadcast_to(rgb(base), (*np.shape(x), 3))
        for tint, centre, half in colours:
            colour = mix(colour, tint, (half - np.abs(phase - centre)) * pitch / 0.0010 + 0.5)
        weave = 1 + 0.05 * noise(name, x * 500, y * 120) + 0.03 * fbm(name + "f", x * 6, y * 6, 3)
        return colour * weave[..., None]

    return surface


def dots(name: str, base: str, colour: str, pitch: float, radius: float) -> Surface:
    """Round dots on a staggered grid (pitch and radius in metres)."""

    def surface(x, y):
        row = np.floor(y / pitch)
        u = (x / pitch + 0.5 * (row % 2)) % 1 - 0.5
        v = (y / pitch) % 1 - 0.5
        inside = (radius - np.hypot(u, v) * pitch) / 0.0010 + 0.5
        return mix(plain(name, base)(x, y), colour, inside)

    return surface


def tiles(
    name: str,
    colours: list[str],
    size: tuple[float, float],
    grout: str,
    gap: float,
    stagger: float = 0.0,
    rough: float = 0.06,
    checker: bool = False,
) -> Surface:
    """Rectangular tiles, bricks or paving stones [m]; `stagger` shifts every other row by that share."""

    def surface(x, y):
        row = np.floor(y / size[1])
        u = x / size[0] + stagger * (row % 2)
        column = np.floor(u)
        pick = (row + column) % 2 / 2 + 0.25 if checker else random_of_cell(name, column, row)
        colour = ramp(colours, pick)
        side = np.minimum(np.abs(u - np.round(u)) * size[0], np.abs(y / size[1] - np.round(y / size[1])) * size[1])
        shade = 1 + rough * fbm(name + "r", x * 22, y * 22, 4) + 0.04 * (random_of_cell(name + "v", column, row) - 0.5)
        return mix(colour * shade[..., None], grout, (gap - side) / (0.6 * gap) + 0.3)

    return surface


def slabs(name: str, colours: list[str], scale: float, grout: str, gap: float, rough: float = 0.12) -> Surface:
    """Irregular stones or mosaic pieces: cells of about 1 / scale [m]."""

    def surface(x, y):
        _, border, owner = cells(name, x * scale, y * scale)
        shade = 1 + rough * fbm(name + "r", x * scale * 5, y * scale * 5, 3)
        return mix(ramp(colours, owner) * shade[..., None], grout, (gap * scale - border) / (0.5 * gap * scale) + 0.2)

    return surface


def herringbone(name: str, light: str, dark: str, width: float) -> Surface:
    """Parquet blocks of 1 x 4 laid at right angles (block width in metres)."""

    def surface(x, y):
        u, v = x / width, y / width
        i, j = np.floor(u), np.floor(v)
        turned = (i - j) % 8 < 4
        start = np.where(turned, i - (i - j) % 8, j - (j - i - 1) % 8)
        pick = np.where(turned, random_of_cell(name + "a", start, j), random_of_cell(name + "b", i, start))
        along, across = np.where(turned, u, v), np.where(turned, v, u)
        ends = np.where(turned, (i - j) % 8 + (u - i), (j - i - 1) % 8 + (v - j))
        grain = fbm(name, along * 0.5 + 40 * pick, across * 9, 3)
        colour = mix(light, dark, 0.45 + 0.45 * (pick - 0.5) * 1.6 + 0.30 * grain)
        side = np.minimum(np.abs(across - np.round(across)), np.minimum(ends, np.abs(4 - ends)))
        return colour * (1 - 0.5 * np.exp(-((side / 0.035) ** 2)))[..., None]

    return surface


def soft(name: str, colours: list[str], scale: float, fine: float = 1.0) -> Surface:
    """Grass, carpet, gravel or felt: a fibrous noise over a colour scale."""

    def surface(x, y):
        value = (
            0.5
            + 0.30 * fbm(name, x * scale, y * scale, 4)
            + 0.22 * fine * noise(name + "f", x * scale * 9, y * scale * 9)
        )
        return ramp(colours, np.clip(value, 0, 1))

    return surface


def brushed(name: str, colour: str) -> Surface:
    """Metal with fine lengthwise scratches."""

    def surface(x, y):
        scratch = fbm(name, x * 5, y * 520, 3) * 0.06 + 0.03 * fbm(name + "c", x * 3, y * 3, 2)
        return rgb(colour) * (1 + scratch)[..., None]

    return surface


def tufted(name: str, colours: list[str], pitch: float) -> Surface:
    """Rug with concentric diamonds (pitch in metres)."""

    def surface(x, y):
        u, v = np.abs((x / pitch) % 2 - 1), np.abs((y / pitch) % 2 - 1)
        band = np.floor((u + v) * 4) / 8
        return ramp(colours, band) * (1 + 0.08 * noise(name, x * 90, y * 90))[..., None]

    return surface
