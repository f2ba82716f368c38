"""Which files a policy's code is made of, found by reading its import statements, and their common hash."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

from vlagen.benchmark.digests import hash_files

# What lies here is installed, not written for the policy; provenance has versions for that.
_INSTALLED = {"site-packages", "dist-packages"}


def hash_of(modules: Iterable[ModuleType]) -> str | None:
    """Hashes the files of modules and what these import from beside them; None if no module has a file.

    Names count relative to the module's own root, so that moving everything elsewhere changes nothing. Weights and
    other data are not read.
    """
    files = [file for module in modules for file in _named_files(module)]
    return hash_files(files) if files else None


def _named_files(module: ModuleType) -> Iterator[tuple[str, Path]]:
    """Yields each file's name below the module's root, and where it is."""
    for path in files_of(module):
        yield path.relative_to(_root(module)[0]).as_posix(), path


def files_of(module: ModuleType) -> tuple[Path, ...]:
    """Lists the source files of a module: all of a package's, else its own and those that it imports from its root.

    The root is the folder of the outermost package around the module, or the module's own folder where it is in none.
    """
    if getattr(module, "__file__", None) is None:
        return ()
    start = Path(module.__file__).resolve()
    if hasattr(module, "__path__"):
        return tuple(sorted(start.parent.rglob("*.py")))
    root, prefix = _root(module)
    if root.name in _INSTALLED:
        return (start,)
    found, waiting = {start}, [(start, module.__package__ or "")]
    while waiting:
        path, package = waiting.pop()
        for name in _imported_names(path, package):
            imported = _file_of(name, root, prefix)
            if imported is not None and imported not in found:
                found.add(imported)
                inside = name if imported.name == "__init__.py" else name.rpartition(".")[0]
                waiting.append((imported, inside))
    return tuple(sorted(found))


def _root(module: ModuleType) -> tuple[Path, str]:
    """Returns the root's folder and the dotted name that it is imported under, empty for a module in no package."""
    root, prefix = Path(module.__file__).resolve().parent, ""
    parent = module.__name__ if hasattr(module, "__path__") else module.__name__.rpartition(".")[0]
    while parent and getattr(sys.modules.get(parent), "__file__", None):
        root, prefix = Path(sys.modules[parent].__file__).resolve().parent, parent
        parent = parent.rpartition(".")[0]
    return root, prefix


def _imported_names(path: Path, package: str) -> Iterator[str]:
    """Yields the dotted names that a file imports anywhere in it, members of modules among them."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".") if package else []
            base = parents[: len(parents) + 1 - node.level] if node.level else []
            module = ".".join((*base, *filter(None, [node.module])))
            yield module
            yield from (f"{module}.{alias.name}" if module else alias.name for alias in node.names)


def _file_of(name: str, root: Path, prefix: str) -> Path | None:
    """Finds the file of a dotted name beneath the root; None where it is elsewhere or is no module."""
    if prefix:
        if not name.startswith(f"{prefix}."):
            return None
        name = name[len(prefix) + 1 :]
    place = root.joinpath(*name.split(".")) if name else root
    for path in (place.with_suffix(".py"), place / "__init__.py"):
        if path.is_file():
            return path
    return None
