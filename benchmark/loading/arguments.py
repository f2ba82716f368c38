"""Arguments of policies, given as texts: what they mean, and whether the policy takes them."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable
from typing import Any

from vlagen.assets.errors import unknown
from vlagen.benchmark.policy import PolicyError

_PYTHON_WORDS = {"True": True, "False": False, "None": None}
_TEXT = (str, "str")
_OPTIONAL_TEXT = (str | None, "str | None", "None | str", "Optional[str]")


def parse_value(text: str, annotation: Any = inspect.Parameter.empty) -> Any:
    """Reads a value: JSON where that works (numbers, true, null, lists), Python's True, False and None, else the text.

    Args:
        text: as given.
        annotation: of the parameter; one that wants a text gets it, even if it looks like a number.
    """
    try:
        value = _PYTHON_WORDS[text] if text in _PYTHON_WORDS else json.loads(text, parse_constant=_refuse)
    except ValueError:
        return text
    if annotation in _TEXT and not isinstance(value, str):
        return text
    if annotation in _OPTIONAL_TEXT and not isinstance(value, str | None):
        return text
    return value


def _refuse(constant: str) -> None:
    """``NaN`` and ``Infinity`` are no JSON, though Python reads them."""
    raise ValueError(constant)


def bind(factory: Callable[..., Any], arguments: Iterable[tuple[str, str]], policy: str) -> dict[str, Any]:
    """Reads the arguments of what makes a policy and checks that it takes them.

    Args:
        factory: class or function.
        arguments: names and values as texts.
        policy: name for messages.

    Returns:
        The values by name, defaults left out.

    Raises:
        PolicyError: an argument that it does not take, one given twice, or one missing.
    """
    parameters = _parameters(factory, policy)
    anything = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    named = {name: parameter for name, parameter in parameters.items() if _can_be_named(parameter)}
    values: dict[str, Any] = {}
    for name, text in arguments:
        if name in values:
            raise PolicyError(f"policy {policy!r}: argument {name!r} is given twice; give it once")
        if name not in named and not anything:
            raise PolicyError(f"policy {policy!r}: {unknown('argument', name, named)}")
        values[name] = parse_value(text, named[name].annotation if name in named else inspect.Parameter.empty)
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    missing = [
        name
        for name, parameter in parameters.items()
        if parameter.default is parameter.empty and parameter.kind not in variadic and name not in values
    ]
    if missing:
        example = " ".join(f"{name}=..." for name in missing)
        raise PolicyError(f"policy {policy!r} needs {', '.join(missing)}; give --policy-args {example}")
    return values


def all_values(factory: Callable[..., Any], arguments: Iterable[tuple[str, str]], policy: str) -> dict[str, Any]:
    """Lists the values of all arguments as JSON values, defaults included; see ``bind``."""
    values = bind(factory, arguments, policy)
    defaults = {
        name: parameter.default
        for name, parameter in _parameters(factory, policy).items()
        if parameter.default is not parameter.empty
    }
    return {name: _as_json(value) for name, value in sorted((defaults | values).items())}


def _parameters(factory: Callable[..., Any], policy: str) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(factory).parameters)
    except (TypeError, ValueError) as error:
        raise PolicyError(f"policy {policy!r} does not tell its arguments ({error}); wrap it in a function") from error


def _can_be_named(parameter: inspect.Parameter) -> bool:
    return parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)


def _as_json(value: Any) -> Any:
    """Returns a value as JSON would give it back; in words where it cannot be written."""
    try:
        return json.loads(json.dumps(value, allow_nan=False, sort_keys=True))
    except (TypeError, ValueError):
        words = repr(value)
        # An address differs from process to process.
        return words if " at 0x" not in words else f"{type(value).__module__}.{type(value).__qualname__}"


def split_pairs(texts: Iterable[str], option: str = "--policy-args") -> tuple[tuple[str, str], ...]:
    """Splits ``name=value`` texts, as command lines have them.

    Raises:
        PolicyError: a text without a name or an equals sign, or a name given twice.
    """
    pairs: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name.isidentifier() or not equals:
            raise PolicyError(f"{option} {text!r}; allowed: name=value, e.g. temperature=0.6")
        if name in pairs:
            raise PolicyError(f"{option} gives {name!r} twice; once is allowed")
        pairs[name] = value
    return tuple(pairs.items())
