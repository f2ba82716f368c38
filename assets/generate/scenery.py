"""Ray-cast picture of a table and its surroundings from the benchmark's camera; metres, world frame."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.ndimage import gaussian_filter

from vlagen.assets.generate.noise import fbm
from vlagen.assets.generate.surfaces import Surface

WIDTH, HEIGHT = 640, 480
FOCAL, CENTRE_U, CENTRE_V = 623.588, 319.501, 239.545
TABLE_TOP = 0.869532
# OpenCV world-to-camera extrinsic of the fixed camera.
WORLD_TO_CAMERA = np.array(
    [
        [-0.48393306, 0.875105, 0.0, -0.09338167],
        [0.60255766, 0.33321434, -0.72518444, 0.74075687],
        [-0.63461256, -0.35094073, -0.68855464, 1.0061874],
    ]
)
EYE = -WORLD_TO_CAMERA[:, :3].T @ WORLD_TO_CAMERA[:, 3]
LAYERS = 10
LIGHT_SAMPLES = 40


@dataclass(frozen=True)
class Block:
    """An axis-aligned box in the room's frame: low and high corner [m] and what covers it."""

    low: tuple[float, float, float]
    high: tuple[float, float, float]
    surface: Surface


@dataclass(frozen=True)
class Scenery:
    """A table top with rounded corners (or a round one), the floor below and furniture around it.

    The room's frame is turned by `turn` [deg] about the middle of the workspace (-0.16, 0); extents of
    the table are (min x, max x, min y, max y) in that frame [m]. `blend` is the opacity of the top.
    """

    top: Surface
    floor: Surface
    extents: tuple[float, float, float, float]
    turn: float = 0.0
    side: Surface | None = None
    thickness: float = 0.03
    corner: float = 0.01
    floor_z: float = 0.0
    blocks: tuple[Block, ...] = ()
    gloss: float = 0.06
    sun: float = 0.45
    warmth: float = 0.0
    window: tuple[float, float] = (-0.5, -0.25)
    blend: float = 1.0
    blur: float = 1.1
    rim: tuple[float, Surface] | None = field(default=None)


def rays(oversample: int) -> np.ndarray:
    """World directions (H, W, 3) through the centres of oversampled pixels, unit depth along the optical axis."""
    u = (np.arange(WIDTH * oversample) + 0.5) / oversample - 0.5
    v = (np.arange(HEIGHT * oversample) + 0.5) / oversample - 0.5
    u, v = np.meshgrid((u - CENTRE_U) / FOCAL, (v - CENTRE_V) / FOCAL)
    return np.stack([u, v, np.ones_like(u)], axis=-1) @ WORLD_TO_CAMERA[:, :3]


def outline(scene: Scenery, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Signed distance to the table's outline in the room's frame [m], negative inside."""
    x0, x1, y0, y1 = scene.extents
    radius = min(scene.corner, (x1 - x0) / 2, (y1 - y0) / 2)
    dx = np.abs(x - (x0 + x1) / 2) - (x1 - x0) / 2 + radius
    dy = np.abs(y - (y0 + y1) / 2) - (y1 - y0) / 2 + radius
    return np.hypot(np.maximum(dx, 0), np.maximum(dy, 0)) + np.minimum(np.maximum(dx, dy), 0) - radius


def to_room(scene: Scenery, points: np.ndarray, offset: bool = True) -> np.ndarray:
    """World points or directions (..., 3) in the room's frame."""
    angle = np.deg2rad(scene.turn)
    c, s = np.cos(angle), np.sin(angle)
    moved = points + ([0.16, 0.0, 0.0] if offset else [0.0, 0.0, 0.0])
    return moved @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]).T


def hit_box(origin: np.ndarray, direction: np.ndarray, block: Block) -> tuple[np.ndarray, np.ndarray]:
    """Entry distance along each ray (inf when missed) and the axis of the face that is hit."""
    with np.errstate(divide="ignore", invalid="ignore"):
        first = (np.array(block.low) - origin) / direction
        second = (np.array(block.high) - origin) / direction
    near, far = np.minimum(first, second), np.maximum(first, second)
    enter, leave = near.max(axis=-1), far.min(axis=-1)
    distance = np.where((enter < leave) & (leave > 1e-4) & (enter > 1e-4), enter, np.inf)
    return distance, near.argmax(axis=-1)


def legs(scene: Scenery) -> list[Block]:
    """Four square legs under a table with corners; a round one stands on a foot nobody sees."""
    x0, x1, y0, y1 = scene.extents
    if scene.corner > 0.2 or scene.blend < 1:
        return []
    half, inset = 0.022, 0.035 + 0.3 * scene.corner
    feet = [(x, y) for x in (x0 + inset, x1 - inset) for y in (y0 + inset, y1 - inset)]
    surface = scene.side or scene.top
    top = TABLE_TOP - scene.thickness
    return [Block((x - half, y - half, scene.floor_z), (x + half, y + half, top), surface) for x, y in feet]


def surroundings(scene: Scenery) -> np.ndarray:
    """Floor and furniture (H, W, 3) with the table's soft shadow, slightly out of focus."""
    origin = to_room(scene, EYE)
    direction = to_room(scene, rays(1), offset=False)
    nearest = (scene.floor_z - origin[2]) / direction[..., 2]
    owner = np.full(nearest.shape, -1)
    face = np.full(nearest.shape, 2)
    blocks = (*scene.blocks, *legs(scene))
    for number, block in enumerate(blocks):
        distance, axis = hit_box(origin, direction, block)
        closer = distance < nearest
        nearest, owner, face = (
            np.where(closer, distance, nearest),
            np.where(closer, number, owner),
            np.where(closer, axis, face),
        )
    point = origin + nearest[..., None] * direction
    x, y, z = np.moveaxis(point, -1, 0)
    along = np.where(face == 0, y, x)
    up = np.where(face == 2, y, z)
    colour = scene.floor(along, up)
    for number, block in enumerate(blocks):
        colour = np.where((owner == number)[..., None], block.surface(along, up), colour)
    facing = np.choose(face, [0.70, 0.80, 1.0])
    light = (1 - scene.sun) * facing + scene.sun * facing * sunlight(scene, point)
    light *= 1 - 0.35 * np.exp(-np.maximum(outline(scene, x, y), 0) / 0.25) * (face == 2)
    for block in scene.blocks:
        gap = np.maximum(np.array(block.low)[:2] - point[..., :2], point[..., :2] - np.array(block.high)[:2])
        away = np.hypot(np.maximum(gap[..., 0], 0), np.maximum(gap[..., 1], 0))
        light *= 1 - 0.30 * np.exp(-away / 0.10) * (owner == -1)
    picture = np.clip(colour * light[..., None], 0, 1)
    return np.stack([gaussian_filter(picture[..., k], scene.blur) for k in range(3)], axis=-1)


def sunlight(scene: Scenery, point: np.ndarray) -> np.ndarray:
    """Share of a large light high on the left that reaches each point of the picture (H, W, 3), in [0, 1]."""
    coarse = point[::2, ::2]  # half shadows are wide, so every other pixel will do
    total = np.zeros(coarse.shape[:-1])
    turn = 2.39996 * np.arange(LIGHT_SAMPLES)
    spread = 0.16 * np.sqrt((np.arange(LIGHT_SAMPLES) + 0.5) / LIGHT_SAMPLES)
    x0, x1, y0, y1 = scene.extents
    table = Block((x0, y0, TABLE_TOP - scene.thickness), (x1, y1, TABLE_TOP), scene.top)
    for r, a in zip(spread, turn, strict=True):
        towards = np.array([0.45 + r * np.cos(a), -0.35 + r * np.sin(a), 1.0])
        blocked = np.zeros(total.shape, bool)
        for block in (*scene.blocks, table):
            # The start is lifted off so that a block does not shadow its own surface.
            blocked |= np.isfinite(hit_box(coarse + 1e-3 * towards, np.broadcast_to(towards, coarse.shape), block)[0])
        total += ~blocked
    full = np.repeat(np.repeat(total / LIGHT_SAMPLES, 2, axis=0), 2, axis=1)
    return gaussian_filter(full, 5.0)


def table_layer(scene: Scenery, oversample: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Colour (H, W, 3), premultiplied, and coverage (H, W) of the table in output pixels."""
    origin = to_room(scene, EYE)
    direction = to_room(scene, rays(oversample), offset=False)
    colour = np.zeros((*direction.shape[:2], 3))
    cover = np.zeros(direction.shape[:2])
    before = np.full(cover.shape, np.inf)
    for layer in range(LAYERS):
        height = TABLE_TOP - scene.thickness * layer / (LAYERS - 1)
        point = origin + ((height - origin[2]) / direction[..., 2])[..., None] * direction
        distance = outline(scene, point[..., 0], point[..., 1])
        fresh = (distance < 0) & (cover == 0)
        if fresh.any():
            if layer == 0:
                part = shaded_top(scene, point[fresh, 0], point[fresh, 1], distance[fresh], direction[fresh])
            else:
                # The ray entered between two layers: where, follows from the two distances.
                back = distance[fresh] / (distance[fresh] - before[fresh])
                z = height + back * scene.thickness / (LAYERS - 1)
                place = origin + ((z - origin[2]) / direction[fresh][:, 2])[:, None] * direction[fresh]
                part = shaded_side(scene, place)
            colour[fresh] = part
            cover[fresh] = 1.0
        before = distance
    shape = (HEIGHT, oversample, WIDTH, oversample)
    return colour.reshape(*shape, 3).mean(axis=(1, 3)), cover.reshape(shape).mean(axis=(1, 3))


def shaded_side(scene: Scenery, point: np.ndarray) -> np.ndarray:
    """Colours (N, 3) of points (N, 3) on the table's side or hanging cloth, darker towards the floor."""
    x0, x1, _, _ = scene.extents
    end = np.minimum(np.abs(point[:, 0] - x0), np.abs(point[:, 0] - x1)) < 1e-3
    along = np.where(end, point[:, 1], point[:, 0])
    depth = (TABLE_TOP - point[:, 2]) / scene.thickness
    surface = scene.side or scene.top
    return surface(along, point[:, 2]) * (0.66 - 0.16 * depth)[:, None]


def shaded_top(scene: Scenery, x, y, distance, direction) -> np.ndarray:
    """Colours (N, 3) of points on the table top: pattern, rim, bevel light, sheen of a window."""
    colour = scene.top(x, y)
    if scene.rim is not None:
        width, surface = scene.rim
        inside = np.clip((distance + width) / 0.0012 + 0.5, 0, 1)[..., None]
        groove = np.exp(-(((distance + width) / 0.0018) ** 2))[..., None]
        colour = (colour * (1 - inside) + surface(x, y) * inside) * (1 - 0.45 * groove)
    unit = direction / np.linalg.norm(direction, axis=-1, keepdims=True)
    slope = -unit[:, 2]
    mirror = unit[:, :2] / slope[:, None] - np.array(scene.window)
    ripple = 0.05 * fbm("ripple", x * 4, y * 4, 2)
    sheen = np.exp(-((mirror[:, 0] + ripple) ** 2 + (mirror[:, 1] - ripple) ** 2) / 0.16)
    fresnel = 0.25 + 0.75 * (1 - slope) ** 2
    light = 0.96 - 0.10 * (x * 0.8 - y * 0.5)
    bevel = 0.16 * np.exp(-((distance / 0.0025) ** 2))
    return colour * (light + bevel)[:, None] + (scene.gloss * 4 * sheen * fresnel)[:, None] * np.array([1.0, 1.0, 0.97])


def render(scene: Scenery) -> np.ndarray:
    """The picture (480, 640, 3) in [0, 1]."""
    back = surroundings(scene)
    layer, cover = table_layer(scene)
    cover = cover * scene.blend
    picture = layer * scene.blend + back * (1 - cover[..., None])
    v, u = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    vignette = 1 - 0.10 * (u * u + v * v) ** 1.2 * 0.5
    tint = np.array([1 + 0.04 * scene.warmth, 1.0, 1 - 0.05 * scene.warmth])
    return np.clip(picture * vignette[..., None] * tint, 0, 1)
