"""A pack small enough to read: one object, one receptacle, one picture, one robot, and one mesh of unknown checksum."""

from __future__ import annotations

import hashlib
from pathlib import Path

from vlagen.assets.packs import Pack, build_pack

CONTENT = {
    "things/a cup/collision.obj": b"v 0 0 0\n" * 40_000,
    "things/plate/collision.obj": b"plate",
    "things/plate/textured.glb": b"glTF plate",
    "things/table.png": b"\x89PNG table",
    "robot/arm.urdf": b"<robot/>",
    "robot/meshes/link.stl": b"link",
}
UNKNOWN = "things/a cup/textured.glb"
UNKNOWN_CONTENT = b"glTF cup"


def manifest() -> dict:
    box = [[-1, -1, 0], [1, 1, 2]]
    files = {
        path: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        for path, content in CONTENT.items()
    }
    cup = {"name": "a cup", "text": "cup", "split": "train", "density": 500, "bbox": box}
    plate = {"name": "plate", "text": "plate", "split": "train", "density": 700, "bbox": box}
    return {
        "name": "toy",
        "version": "1",
        "objects": [{**cup, "collision": "things/a cup/collision.obj", "visual": UNKNOWN}],
        "receptacles": [
            {**plate, "collision": "things/plate/collision.obj", "visual": "things/plate/textured.glb"},
        ],
        "tables": [{"name": "table", "split": "held-out", "image": "things/table.png"}],
        "textures": [{"name": "table", "image": "things/table.png", "mix": 0.5}],
        "robot": {"urdf": "robot/arm.urdf"},
        "files": {**files, UNKNOWN: {"sha256": None, "bytes": None}},
    }


def toy_pack(root: Path) -> Pack:
    return build_pack(manifest(), root)


def write(root: Path, content: dict[str, bytes]) -> None:
    for path, data in content.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
