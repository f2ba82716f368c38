"""Files of the pack: GLB and OBJ models, PNG pictures, the manifest with its checksums."""

from __future__ import annotations

import hashlib
import io
import json
import struct
from pathlib import Path

import numpy as np
from PIL import Image

from vlagen.assets.generate.shapes import Mesh, Part, Shape, convex_hull


def rng(name: str) -> np.random.Generator:
    """Random generator that depends on the item's name only."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little"))


def linear(colour: str) -> list[float]:
    """Linear RGB (glTF's convention) of an sRGB "#rrggbb"."""
    value = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    value = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return [round(float(v), 5) for v in value]


def shade(mesh: Mesh, crease: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices, normals and faces where edges sharper than `crease` [deg] are split."""
    corners = np.round(mesh.vertices, 7)[mesh.faces]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(cross, axis=1)
    keep = area > 1e-13
    corners, cross, area = corners[keep], cross[keep], area[keep]
    flat = cross / area[:, None]
    points, owner = np.unique(corners.reshape(-1, 3), axis=0, return_inverse=True)
    owner = owner.reshape(-1, 3)
    around: list[list[int]] = [[] for _ in points]
    for face, triple in enumerate(owner):
        for vertex in triple:
            around[vertex].append(face)
    limit = np.cos(np.deg2rad(crease))
    normals = np.empty_like(corners)
    for face, triple in enumerate(owner):
        for corner, vertex in enumerate(triple):
            near = np.array(around[vertex])
            near = near[flat[near] @ flat[face] >= limit]
            total = cross[near].sum(axis=0)
            normals[face, corner] = total / np.linalg.norm(total)
    table = np.round(np.concatenate([corners.reshape(-1, 3), normals.reshape(-1, 3)], axis=1), 6)
    unique, index = np.unique(table, axis=0, return_inverse=True)
    return unique[:, :3], unique[:, 3:], index.reshape(-1, 3)


def _png(picture: np.ndarray, colours: int = 64) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).quantize(colours, dither=Image.Dither.NONE).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def merged(parts: list[Part]) -> list[Part]:
    """Parts of equal plain material and crease joined into one, in order of first appearance."""
    groups: dict[tuple, list[Part]] = {}
    for number, part in enumerate(parts):
        printed = part.material.picture is not None
        groups.setdefault((number,) if printed else (part.material, part.crease), []).append(part)
    result = []
    for group in groups.values():
        start = np.cumsum([0] + [len(p.mesh.vertices) for p in group[:-1]])
        vertices = np.concatenate([p.mesh.vertices for p in group])
        faces = np.concatenate([p.mesh.faces + offset for p, offset in zip(group, start, strict=True)])
        result.append(Part(Mesh(vertices, faces), group[0].material, group[0].crease))
    return result


def glb(parts: list[Part]) -> bytes:
    """Binary glTF with one primitive per part; coordinates are written as they are (z up)."""
    blob = bytearray()
    views: list[dict] = []
    accessors: list[dict] = []
    document: dict = {"asset": {"version": "2.0", "generator": "vlagen"}, "scene": 0, "scenes": [{"nodes": [0]}]}
    materials, primitives, images, textures = [], [], [], []

    def view(data: bytes, target: int | None = None) -> int:
        blob.extend(b"\0" * (-len(blob) % 4))
        entry = {"buffer": 0, "byteOffset": len(blob), "byteLength": len(data)}
        views.append(entry if target is None else {**entry, "target": target})
        blob.extend(data)
        return len(views) - 1

    def accessor(array: np.ndarray, kind: str, component: int, target: int, bounds: bool = False) -> int:
        entry = {"bufferView": view(array.tobytes(), target), "componentType": component}
        entry |= {"count": len(array), "type": kind}
        if bounds:
            entry |= {"min": array.min(axis=0).tolist(), "max": array.max(axis=0).tolist()}
        accessors.append(entry)
        return len(accessors) - 1

    for part in merged(parts):
        vertices, normals, faces = shade(part.mesh, part.crease)
        attributes = {
            "POSITION": accessor(vertices.astype("<f4"), "VEC3", 5126, 34962, bounds=True),
            "NORMAL": accessor(normals.astype("<f4"), "VEC3", 5126, 34962),
        }
        material = part.material
        surface = {
            "baseColorFactor": [*linear(material.colour), 1.0],
            "metallicFactor": material.metallic,
            "roughnessFactor": material.roughness,
        }
        if material.picture is not None:
            low, high = vertices[:, :2].min(axis=0), vertices[:, :2].max(axis=0)
            uv = (vertices[:, :2] - low) / (high - low)
            uv[:, 1] = 1 - uv[:, 1]
            attributes["TEXCOORD_0"] = accessor(uv.astype("<f4"), "VEC2", 5126, 34962)
            images.append({"bufferView": view(_png(material.picture)), "mimeType": "image/png"})
            textures.append({"source": len(images) - 1})
            surface["baseColorTexture"] = {"index": len(textures) - 1}
        indices = accessor(faces.reshape(-1).astype("<u2"), "SCALAR", 5123, 34963)
        primitives.append({"attributes": attributes, "indices": indices, "material": len(materials)})
        materials.append({"pbrMetallicRoughness": surface})
    blob.extend(b"\0" * (-len(blob) % 4))
    document |= {"nodes": [{"mesh": 0}], "meshes": [{"primitives": primitives}], "materials": materials}
    document |= {"accessors": accessors, "bufferViews": views, "buffers": [{"byteLength": len(blob)}]}
    if images:
        document |= {"images": images, "textures": textures}
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    size = 12 + 8 + len(text) + 8 + len(blob)
    return b"".join(
        [struct.pack("<4sII", b"glTF", 2, size), struct.pack("<I4s", len(text), b"JSON"), text]
        + [struct.pack("<I4s", len(blob), b"BIN\0"), bytes(blob)]
    )


def obj(hulls: list[np.ndarray]) -> str:
    """Wavefront text with one connected component per convex body."""
    lines, start = [], 1
    for number, points in enumerate(hulls):
        mesh = convex_hull(points)
        lines.append(f"o hull_{number}")
        lines += ["v " + " ".join(f"{value + 0.0:.6f}" for value in vertex) for vertex in mesh.vertices]
        lines += ["f " + " ".join(str(index + start) for index in face) for face in mesh.faces]
        start += len(mesh.vertices)
    return "\n".join(lines) + "\n"


def centred(shape: Shape, keep_bottom: bool = False) -> Shape:
    """The shape moved so that the centre of its collision box is the origin.

    Args:
      shape: parts and hulls in any common frame.
      keep_bottom: put z = 0 at the lowest collision point instead of the middle.
    """
    points = np.concatenate(shape.hulls)
    low, high = points.min(axis=0), points.max(axis=0)
    centre = (low + high) / 2
    if keep_bottom:
        centre[2] = low[2]
    parts = [Part(Mesh(p.mesh.vertices - centre, p.mesh.faces), p.material, p.crease) for p in shape.parts]
    return Shape(parts, [hull - centre for hull in shape.hulls])


def save_model(shape: Shape, folder: Path) -> list[list[float]]:
    """Write collision.obj and visual.glb; returns the collision box [[min], [max]] in metres."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "collision.obj").write_text(obj(shape.hulls))
    (folder / "visual.glb").write_bytes(glb(shape.parts))
    points = np.round(np.concatenate(shape.hulls), 6)
    return [[round(float(v) + 0.0, 6) for v in edge] for edge in (points.min(axis=0), points.max(axis=0))]


def save_picture(picture: np.ndarray, path: Path) -> None:
    """Write an (H, W, 3) picture with values in [0, 1] as a palette PNG.

    256 colours without dithering compress several times better than true colour. They are chosen to cover
    every colour present (largest error about 6 of 255), not by how often it occurs, so that shadows do not band.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.clip(np.round(picture * 255), 0, 255).astype(np.uint8)
    image = Image.fromarray(pixels).quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=3, dither=Image.Dither.NONE)
    image.save(path, "PNG", optimize=True)


def checksums(root: Path) -> dict[str, dict]:
    """SHA-256 and size of every file below `root` except the manifest, by relative path."""
    table = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_file() and name != "manifest.json":
            data = path.read_bytes()
            table[name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    return table


def save_manifest(manifest: dict, root: Path) -> None:
    """Write manifest.json with the checksums of everything beside it."""
    text = json.dumps({**manifest, "files": checksums(root)}, indent=1)
    (root / "manifest.json").write_text(text + "\n")
