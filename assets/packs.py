"""Asset packs: which objects, receptacles, pictures and robot there are, and where their files lie.

A pack is a manifest (facts and checksums, shipped with vlagen) and a root folder (the files). Both packs share one
schema, so nothing above this layer knows which pack it runs with. This module needs the standard library only: the
leaderboard and the doctor read packs on machines without a simulator.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlagen.assets.errors import BrokenManifest, MissingAsset, UnknownPack, unknown

_HERE = Path(__file__).resolve().parent

# Upstream looks for an object's visual mesh under these names, in this order; the order decides what is drawn when a
# stand-in `textured.obj` lies beside the real mesh.
_VISUAL_NAMES = ("textured.obj", "textured.dae", "textured.glb")

Corner = tuple[float, float, float]


@dataclass(frozen=True)
class Model:
    """An object or a receptacle.

    Attributes:
        index: position in the pack's list; an episode names models by it.
        name: unique within the list, e.g. ``001_carrot_simpler``.
        text: what an instruction calls it, verbatim.
        split: ``"train"`` or ``"held-out"``.
        density: [kg/m^3].
        bbox: lower and upper corner in the model's own frame [m].
        collision: absolute path of the collision mesh.
        visual: absolute path of the mesh that is drawn.
    """

    index: int
    name: str
    text: str
    split: str
    density: float
    bbox: tuple[Corner, Corner]
    collision: Path
    visual: Path


@dataclass(frozen=True)
class Picture:
    """A table background or an overlay texture.

    Attributes:
        index: position in the pack's list.
        name: unique within the list.
        image: absolute path.
        split: ``"train"`` or ``"held-out"``; None for textures, whose split the variant table decides.
        mix: weight of a texture in [0, 1]; 1 for tables, which replace the background outright.
    """

    index: int
    name: str
    image: Path
    split: str | None
    mix: float


@dataclass(frozen=True)
class PackFile:
    """One file of a pack: its path relative to the root, and its checksum and size [bytes] where they are known."""

    path: str
    sha256: str | None
    size: int | None


@dataclass(frozen=True)
class Pack:
    """One asset pack. ``digest`` changes when any file or any fact of the manifest changes."""

    name: str
    version: str
    root: Path
    objects: tuple[Model, ...]
    receptacles: tuple[Model, ...]
    tables: tuple[Picture, ...]
    textures: tuple[Picture, ...]
    robot_urdf: Path
    digest: str
    files: tuple[PackFile, ...]
    stand_ins: tuple[str, ...]
    """Models drawn with another mesh than the manifest names, because that one is missing: pictures differ."""

    def model(self, kind: str, index: int) -> Model:
        """Returns the model at this index of the pack's objects (kind ``"object"``) or receptacles."""
        return (self.objects if kind == "object" else self.receptacles)[index]


def maniskill_data() -> Path:
    """Returns ManiSkill's asset directory, by ManiSkill's own rule but without the seconds that importing it takes."""
    return Path(os.environ.get("MS_ASSET_DIR", "~/.maniskill")).expanduser().absolute() / "data"


_ROOTS: dict[str, Callable[[], Path]] = {
    "builtin": lambda: _HERE / "builtin",
    "rl4vla": maniskill_data,
}
PACKS = tuple(_ROOTS)


def manifest_path(name: str) -> Path:
    """Returns where the manifest of a pack lies.

    Raises:
        UnknownPack: no pack is called so.
    """
    if name not in _ROOTS:
        raise UnknownPack(unknown("asset pack", name, PACKS))
    return _HERE / name / "manifest.json"


def load_manifest(name: str) -> dict[str, Any]:
    """Reads a pack's manifest as it is on disk.

    Raises:
        UnknownPack: no pack is called so.
        BrokenManifest: the file is absent or is not a JSON object.
    """
    path = manifest_path(name)
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BrokenManifest(f"asset pack {name!r} has no manifest at {path}; {_repair('builtin')}") from None
    except ValueError as error:
        raise BrokenManifest(f"{path} is not JSON ({error}); {_repair('builtin')}") from None
    if not isinstance(manifest, dict):
        raise BrokenManifest(f"{path} holds a {type(manifest).__name__}, not an object; {_repair('builtin')}")
    return manifest


def load_pack(name: str) -> Pack:
    """Loads a pack; a second call with the same asset directory returns the same object.

    The files need not be there: ask ``require`` before opening one.

    Raises:
        UnknownPack: no pack is called so.
        BrokenManifest: the manifest is absent, is not JSON or lacks a field.
    """
    manifest_path(name)
    return _load_pack(name, _ROOTS[name]())


def forget_loaded_packs() -> None:
    """Empties the cache: which mesh is drawn depends on the files on disk, so a download must call this."""
    _load_pack.cache_clear()


def require(pack: Pack, path: Path | str) -> Path:
    """Returns the absolute path of a file of a pack.

    Args:
        pack: the pack the file belongs to.
        path: absolute, or relative to the pack's root.

    Raises:
        MissingAsset: there is no such file; the message says which command brings it.
    """
    absolute = pack.root / path
    if not absolute.is_file():
        raise MissingAsset(f"asset pack {pack.name!r} lacks {absolute}; {_repair(pack.name)}")
    return absolute


def build_pack(manifest: Mapping[str, Any], root: Path) -> Pack:
    """Builds a pack from the content of a manifest and the folder that its paths are relative to."""
    files = tuple(PackFile(path, fact["sha256"], fact.get("bytes")) for path, fact in sorted(manifest["files"].items()))
    objects = _models(manifest["objects"], root)
    receptacles = _models(manifest["receptacles"], root)
    named_visuals = [root / entry["visual"] for entry in (*manifest["objects"], *manifest["receptacles"])]
    return Pack(
        name=manifest["name"],
        version=manifest["version"],
        root=root,
        objects=objects,
        receptacles=receptacles,
        tables=_pictures(manifest["tables"], root),
        textures=_pictures(manifest["textures"], root),
        robot_urdf=root / manifest["robot"]["urdf"],
        digest=_digest(manifest, files),
        files=files,
        stand_ins=tuple(
            model.name
            for model, named in zip((*objects, *receptacles), named_visuals, strict=True)
            if model.visual != named
        ),
    )


def _repair(name: str) -> str:
    if name == "builtin":
        return "vlagen's own files are incomplete: reinstall it (`make setup` in a checkout)"
    return f"fetch it with `vlagen-assets download {name}`"


@functools.cache
def _load_pack(name: str, root: Path) -> Pack:
    manifest = load_manifest(name)
    try:
        return build_pack(manifest, root)
    except (KeyError, TypeError, ValueError) as error:
        raise BrokenManifest(f"{manifest_path(name)}: bad or missing field ({error!r}); {_repair('builtin')}") from None


def _models(entries: list[dict[str, Any]], root: Path) -> tuple[Model, ...]:
    return tuple(
        Model(
            index=index,
            name=entry["name"],
            text=entry["text"],
            split=entry["split"],
            density=float(entry["density"]),
            bbox=(_corner(entry["bbox"][0]), _corner(entry["bbox"][1])),
            collision=root / entry["collision"],
            visual=_existing_visual(root / entry["visual"]),
        )
        for index, entry in enumerate(entries)
    )


def _corner(values: list[float]) -> Corner:
    x, y, z = map(float, values)
    return x, y, z


def _existing_visual(named: Path) -> Path:
    """Returns the mesh upstream's search order finds beside `named`, or `named` where there is none."""
    if named.name not in _VISUAL_NAMES:
        return named
    beside = (named.with_name(name) for name in _VISUAL_NAMES)
    return next((path for path in beside if path.is_file()), named)


def _pictures(entries: list[dict[str, Any]], root: Path) -> tuple[Picture, ...]:
    return tuple(
        Picture(index, entry["name"], root / entry["image"], entry.get("split"), float(entry.get("mix", 1.0)))
        for index, entry in enumerate(entries)
    )


def _digest(manifest: Mapping[str, Any], files: tuple[PackFile, ...]) -> str:
    """Hashes the file list and the facts that steer an episode, e.g. densities, which no file's checksum covers."""
    facts = {key: manifest[key] for key in ("objects", "receptacles", "tables", "textures", "robot")}
    content = {"files": [[file.path, file.sha256] for file in files], "facts": facts}
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
