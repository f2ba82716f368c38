"""The shape of the code: who may import whom, how long a file may be, and that the package lists every folder."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("assets", "tasks", "benchmark", "baselines", "leaderboard")

# Which of our parts each part may import, itself aside.
ALLOWED_PARTS = {
    "assets": set(),
    "tasks": {"assets"},
    "benchmark": {"assets", "tasks"},
    "baselines": {"assets", "tasks", "benchmark"},
}
# The leaderboard must work without torch and SAPIEN, so it may import these modules only.
LEADERBOARD_MODULES = {
    "vlagen.assets.errors",
    "vlagen.benchmark.paired",
    "vlagen.benchmark.records",
    "vlagen.benchmark.rounding",
    "vlagen.benchmark.significance",
    "vlagen.benchmark.statistics",
    "vlagen.benchmark.taxonomy",
    "vlagen.tasks.rows",
    "vlagen.tasks.sampling",
    "vlagen.tasks.variants",
}
LONGEST_FILE = 350
LONGEST_FUNCTION = 60

FILES = sorted(path for part in PARTS for path in (ROOT / part).rglob("*.py"))
BESIDE = sorted(path for folder in ("scripts", "tests") for path in (ROOT / folder).rglob("*.py"))


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> set[str]:
    """Returns the dotted names of our own modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = ("vlagen", *path.parent.relative_to(ROOT).parts)
            base = package[: len(package) + 1 - node.level] if node.level else ()
            module = ".".join((*base, *filter(None, [node.module])))
            # `from vlagen.assets import packs` names a module, `from vlagen.assets.packs import Pack` a member of one:
            # both begin with what may or may not be imported.
            found |= {f"{module}.{alias.name}" for alias in node.names}
    return {module for module in found if module.split(".")[0] == "vlagen"}


@functools.cache
def top_level_names(path: Path) -> set[str]:
    """Returns what a module makes importable: its functions, classes, variables and what it imports itself."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        else:
            parts = list(ast.walk(node))
            found |= {part.id for part in parts if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)}
            found |= {part.asname or part.name for part in parts if isinstance(part, ast.alias)}
    return found


def docstring_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Documentation does not make a function long."""
    first = function.body[0]
    return first.end_lineno - first.lineno + 1 if ast.get_docstring(function) is not None else 0


@pytest.mark.parametrize("path", [path for path in FILES if path.parts[len(ROOT.parts)] != "leaderboard"], ids=name)
def test_imports_point_to_lower_layers_only(path):
    part = path.relative_to(ROOT).parts[0]
    for module in imports(path):
        other = module.split(".")[1]
        assert other == part or other in ALLOWED_PARTS[part], f"{name(path)} imports {module}"


@pytest.mark.parametrize("path", [path for path in FILES if path.parts[len(ROOT.parts)] == "leaderboard"], ids=name)
def test_the_leaderboard_reads_records_statistics_and_variants_only(path):
    for module in imports(path):
        inside = module.split(".")[1] == "leaderboard"
        assert inside or any(f"{module}.".startswith(f"{allowed}.") for allowed in LEADERBOARD_MODULES), (
            f"{name(path)} imports {module}"
        )


@pytest.mark.parametrize("path", FILES, ids=name)
def test_files_and_functions_are_short(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LONGEST_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = node.end_lineno - node.lineno + 1 - docstring_lines(node)
            assert length <= LONGEST_FUNCTION, f"{name(path)}:{node.lineno}: {node.name} has {length} lines"


@pytest.mark.parametrize("path", [*FILES, *BESIDE], ids=name)
def test_what_is_imported_from_our_own_modules_is_there(path):
    # Slow tests and scripts import inside functions, which nothing quick runs.
    for member in imports(path):
        place = ROOT.joinpath(*member.split(".")[1:])
        if not (place.is_dir() or place.with_suffix(".py").is_file()):
            module = place.parent.with_suffix(".py")
            assert module.is_file(), f"{name(path)} imports {member}"
            assert place.name in top_level_names(module), f"{name(path)} imports {member}"


@pytest.mark.parametrize("path", [path for path in FILES if path.name == "__init__.py"], ids=name)
def test_package_files_hold_no_code(path):
    body = ast.parse(path.read_text(encoding="utf-8")).body
    assert all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in body)


def test_no_module_is_a_heap_of_helpers():
    assert not [name(path) for path in FILES if path.stem in {"utils", "util", "common", "helpers", "misc"}]


def test_every_folder_with_code_is_a_package_that_gets_installed():
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no TOML reader; 3.11 and 3.12 check this")
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    folders = {f"vlagen.{'.'.join(path.parent.relative_to(ROOT).parts)}" for path in FILES}
    assert sorted(listed) == sorted(folders)
    without_init = [folder for folder in folders if not (ROOT / Path(*folder.split(".")[1:]) / "__init__.py").is_file()]
    assert not without_init


def test_no_file_of_ours_names_a_package_registry():
    ours = [
        "pyproject.toml",
        "constraints.txt",
        "Makefile",
        ".ci/run",
        "scripts/setup.sh",
        "scripts/backports_source.py",
    ]
    for file in ours:
        text = (ROOT / file).read_text(encoding="utf-8")
        assert "://" not in text, f"{file} names a host: machines behind a mirror would not reach it"
