"""Recipes: all settings of a training run in one TOML file that says where each value comes from.

A recipe serves every method. Its sections (``model``, ``rollouts``, …) hold for all of them, and the table of a method
(``ppo``, …) has the method's own settings and whatever sections it changes. What else is in it is for the study as a
whole (``study_settings``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from vlagen.assets.errors import VlagenError, unknown
from vlagen.benchmark.toml_files import loads, read_toml

C = TypeVar("C")

FOLDER = Path(__file__).parent / "recipes"
SHARED = ("model", "simulation", "rollouts", "optimizer", "run")
METHODS = ("sft", "ppo", "grpo", "dpo")
TABLES = (*SHARED, *METHODS, "study", "demonstrations", "warmup", "evaluation", "description")
"""What a recipe may hold."""


class BadSetting(VlagenError, ValueError):
    """A setting that does not exist, or a value that it does not take."""


def recipe_names() -> tuple[str, ...]:
    """The recipes that come with vlagen."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def read_recipe(recipe: str | Path) -> dict[str, Any]:
    """Reads a recipe by its name or by the path of its file.

    Raises:
        BadSetting: no such recipe, or the file is not TOML.
    """
    path = Path(recipe) if str(recipe).endswith(".toml") else FOLDER / f"{recipe}.toml"
    try:
        return read_toml(path)
    except FileNotFoundError:
        allowed = [*recipe_names(), "my_recipe.toml"]
        raise BadSetting(unknown("recipe", str(recipe), allowed)) from None
    except (OSError, ValueError) as error:
        raise BadSetting(f"{path} cannot be read as a recipe: {error}") from error


def configure(kind: type[C], method: str, recipe: str | Path | None = None, overrides: Sequence[str] = ()) -> C:
    """Makes the configuration of a method from a recipe and what is given beside it.

    Args:
        kind: the method's ``Config``.
        method: one of ``METHODS``.
        recipe: name or file; None for the defaults.
        overrides: ``name=value`` or ``section.name=value``; the value as in TOML, quotes may be left out.

    Raises:
        BadSetting: no such recipe or setting, or a value that the setting does not take.
    """
    content = checked(read_recipe(recipe) if recipe is not None else {}, str(recipe))
    values: dict[str, Any] = {}
    for override in overrides:
        values = merged(values, parsed(override))
    return compose(kind, content, (method,), values)


def checked(content: dict[str, Any], place: str) -> dict[str, Any]:
    """A recipe's content, if all of its tables are known.

    Raises:
        BadSetting: one is not.
    """
    for name in content:
        if name not in TABLES:
            raise BadSetting(f"{place}: {unknown('section', name, sorted(TABLES))}")
    return content


def compose(kind: type[C], content: Mapping[str, Any], tables: Sequence[str], values: Mapping[str, Any]) -> C:
    """Makes a configuration of a recipe's shared sections, what some of its tables change, and further values.

    Raises:
        BadSetting: see ``build``.
    """
    own = {field.name for field in fields(kind)}
    given: dict[str, Any] = {name: content[name] for name in SHARED if name in content and name in own}
    for above in (*(content.get(table, {}) for table in tables), values):
        given = merged(given, above)
    return build(kind, given)


def build(kind: type[C], values: Mapping[str, Any], place: str = "") -> C:
    """Makes a settings dataclass of plain values, strictly: every name must exist and every value be of its type.

    Raises:
        BadSetting: see there.
    """
    types = get_type_hints(kind)
    given = {}
    for name, value in values.items():
        if name not in types:
            kind_of = f"setting of {place.rstrip('.')}" if place else "setting"
            raise BadSetting(unknown(kind_of, name, types))
        given[name] = _typed(types[name], value, f"{place}{name}")
    return kind(**given)


def plain(settings: Any) -> dict[str, Any]:
    """Writes settings as JSON values, nested as they are."""
    return {field.name: _plain(getattr(settings, field.name)) for field in fields(settings)}


def flat(settings: Any) -> dict[str, Any]:
    """Writes settings as JSON values under dotted names."""
    return _flattened(plain(settings))


def as_recipe(method: str, settings: Any) -> str:
    """Writes a method's settings as a recipe that has nothing else."""
    lines = [f"{name} = {_as_toml(value)}" for name, value in flat(settings).items()]
    return "\n".join([f"[{method}]", *lines, ""])


def _as_toml(value: Any) -> str:
    # What is a number, truth value, text or list of them in JSON is the same in TOML, which has no null.
    return json.dumps("none" if value is None else value, ensure_ascii=False)


def _flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in values.items():
        nested = isinstance(value, Mapping)
        result |= _flattened(value, f"{prefix}{name}.") if nested else {f"{prefix}{name}": value}
    return result


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return plain(value)
    if isinstance(value, Path):
        return str(value)
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Nested values, with what is above instead of what is below where both have it."""
    result = dict(below)
    for name, value in above.items():
        both = isinstance(value, Mapping) and isinstance(result.get(name), Mapping)
        result[name] = merged(result[name], value) if both else value
    return result


def parsed(override: str) -> dict[str, Any]:
    """``a.b=c`` as nested values."""
    name, equals, text = override.partition("=")
    if not equals or not name:
        raise BadSetting(f"--set {override!r}; allowed: name=value, e.g. --set optimizer.learning_rate=1e-5")
    try:
        value = loads(f"value = {text}")["value"]
    except ValueError:
        value = text
    for part in reversed(name.split(".")):
        value = {part: value}
    return value


def _typed(wanted: Any, value: Any, name: str) -> Any:
    """Checks a value against a type; whole numbers are taken where fractions are wanted, and texts where paths are."""
    if is_dataclass(wanted):
        if not isinstance(value, Mapping):
            raise BadSetting(f"{name} is a section; allowed: {name}.<setting>, e.g. {name}.{fields(wanted)[0].name}")
        return build(wanted, value, f"{name}.")
    origin = get_origin(wanted)
    if origin is Literal:
        if value not in get_args(wanted):
            raise BadSetting(unknown(f"value of {name}", value, map(str, get_args(wanted))))
        return value
    if origin in (Union, UnionType):
        chosen = next(kind for kind in get_args(wanted) if kind is not type(None))
        return None if value == "none" else _typed(chosen, value, name)
    if origin is tuple:
        items = value if isinstance(value, list | tuple) else [value]
        return tuple(_typed(get_args(wanted)[0], item, name) for item in items)
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if wanted is Path and isinstance(value, str):
        return Path(value)
    if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
        raise BadSetting(f"{name} = {value!r} is a {type(value).__name__}; allowed: {wanted.__name__}")
    return value
