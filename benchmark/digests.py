"""Hashes of files, by which runs and policies are told apart."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable
from pathlib import Path

from vlagen.assets.integrity import file_sha256


def hash_files(files: Iterable[tuple[str, Path]]) -> str:
    """Hashes names and contents of files; neither their order nor where they lie plays a part.

    Args:
        files: what each is called, and where it is.
    """
    lines = sorted({f"{name}\0{file_sha256(path)}\n" for name, path in files})
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@functools.cache
def hash_folder(folder: Path) -> str | None:
    """Hashes names and contents of all files in a folder, once a process; None where there is no such folder."""
    if not folder.is_dir():
        return None
    root = folder.resolve()
    paths = (path for path in root.rglob("*") if path.is_file())
    return hash_files((path.relative_to(root).as_posix(), path) for path in paths)
