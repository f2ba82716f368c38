"""Whether the files of a pack are there and are what the manifest says."""

from __future__ import annotations

import hashlib
from pathlib import Path

from vlagen.assets.packs import Pack, PackFile

# Files whose checksum nobody could take are at least looked at: a web page or a Git LFS pointer is no mesh.
_MAGIC = {".glb": b"glTF", ".png": b"\x89PNG"}
_BLOCK_BYTES = 1 << 20


def file_sha256(path: Path) -> str:
    """Returns the SHA-256 of a file's content in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def fault(path: Path, file: PackFile) -> str | None:
    """Compares one file on disk with its line of the manifest.

    Args:
        path: where the content lies; it need not be the file's final place.
        file: what it should be.

    Returns:
        What is wrong, in words, or None if nothing is.
    """
    if not path.is_file():
        return "missing"
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        return f"{size} bytes, expected {file.size}"
    if file.sha256 is None:
        return _magic_fault(path, Path(file.path).suffix)
    actual = file_sha256(path)
    if actual != file.sha256:
        return f"sha256 {actual[:12]}…, expected {file.sha256[:12]}…"
    return None


def _magic_fault(path: Path, suffix: str) -> str | None:
    magic = _MAGIC.get(suffix, b"")
    with path.open("rb") as stream:
        start = stream.read(len(magic))
    return None if start == magic else f"not a {suffix} file (it starts with {start!r})"


def stand_in(root: Path, file: PackFile) -> Path | None:
    """Returns the mesh that replaces a missing one whose checksum is unknown, or None if there is none.

    Args:
        root: the pack's root, or another folder with the same layout.
        file: the mesh the manifest names.
    """
    replacement = (root / file.path).with_suffix(".obj")
    if file.sha256 is None and not (root / file.path).is_file() and replacement.is_file():
        return replacement
    return None


def missing(pack: Pack) -> list[str]:
    """Returns the paths, relative to the root, of files that are absent and have no stand-in. Reads no content."""
    return [
        file.path for file in pack.files if not (pack.root / file.path).is_file() and stand_in(pack.root, file) is None
    ]


def verify(pack: Pack) -> dict[str, str]:
    """Hashes every file of a pack.

    Returns:
        What is wrong with each bad file, by its path relative to the root; empty if all is well.
    """
    faults = {file.path: fault(pack.root / file.path, file) for file in pack.files if stand_in(pack.root, file) is None}
    return {path: reason for path, reason in faults.items() if reason is not None}
