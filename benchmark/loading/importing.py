"""Imports the modules that policies live in, and says what is wrong with those that cannot be imported."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from types import ModuleType

from vlagen.assets.errors import VlagenError, unknown
from vlagen.benchmark.policy import Policy, PolicyError

MAKER, CLASS = "make_policy", "Policy"
"""What a module calls the function or class that is meant when it has several and none is named."""


_LOADING = str(Path(__file__).with_name("source.py"))


class UnknownPolicy(VlagenError, ValueError):
    """A name under which no policy can be found."""


class MissingModule(UnknownPolicy):
    """A module that nobody has."""


def import_module(module: str, folder: str, policy: str) -> ModuleType:
    """Imports a module that is installed or lies in a folder.

    Args:
        module: dotted name.
        folder: is looked into last, so that what lies there shadows nothing.
        policy: name for messages.

    Raises:
        MissingModule: there is none.
        UnknownPolicy: there is one in the folder and another elsewhere.
        PolicyError: its code raised; the message has the traceback.
    """
    if folder not in sys.path:
        sys.path.append(folder)
    importlib.invalidate_caches()
    top = module.partition(".")[0]
    here, found = lies_in(folder, top), _found_at(top)
    if here is not None and found is not None and found.resolve() != here.resolve():
        raise UnknownPolicy(
            f"policy {policy!r}: {top} is {here.name} in this folder as well as {found}; rename yours, or give it as "
            "file.py"
        )
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and (module == error.name or module.startswith(f"{error.name}.")):
            raise MissingModule(
                f"policy {policy!r}: module {error.name!r} was not found; install it, or run from the folder it is in"
            ) from error
        raise PolicyError(
            f"policy {policy!r} needs {error.name!r}, which is not installed: {explain(error)}"
        ) from error
    except (Exception, SystemExit) as error:  # it may raise anything, and scripts exit
        raise PolicyError(f"policy {policy!r} cannot be imported: {explain(error)}") from error


def import_file(path: Path, policy: str) -> ModuleType:
    """Imports a file under a name of its own, so that ``random.py`` replaces nobody's ``random``.

    What it imports from its own folder is found there.

    Raises:
        UnknownPolicy: there is no such file.
        PolicyError: its code raised; the message has the traceback.
    """
    path = path.resolve()
    if not path.is_file():
        nearest = unknown("file", path.name, sorted(other.name for other in path.parent.glob("*.py")))
        raise UnknownPolicy(f"policy {policy!r}: there is no {path}; {nearest}")
    name = f"vlagen_policy_{sha256(str(path).encode()).hexdigest()[:8]}_{path.stem}"
    if name in sys.modules:
        return sys.modules[name]
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # it may raise anything, and scripts exit
        del sys.modules[name]
        raise PolicyError(f"policy {policy!r} cannot be imported: {explain(error)}") from error
    return module


def lies_in(folder: str, module: str) -> Path | None:
    """Returns the file or package folder that a module without dots would be in a folder; None if there is neither."""
    if not module.isidentifier():
        return None
    if Path(folder, f"{module}.py").is_file():
        return Path(folder, f"{module}.py")
    return Path(folder, module) if Path(folder, module, "__init__.py").is_file() else None


def modules_in(folder: str) -> list[str]:
    """Lists the modules in a folder that may hold policies."""
    return sorted(path.stem for path in Path(folder).glob("*.py") if path.stem.isidentifier())


def _found_at(module: str) -> Path | None:
    """Returns where Python finds a module without dots, None if it does not."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin in (None, "built-in", "frozen"):
        return None
    return Path(spec.origin).parent if spec.submodule_search_locations else Path(spec.origin)


def choose_factory(module: ModuleType, attribute: str, policy: str) -> tuple[str, Callable[..., Policy]]:
    """Finds what makes the policy.

    Args:
        module: where to look.
        attribute: its name; empty for ``make_policy``, else ``Policy``, else the only policy class defined there.
        policy: name for messages.

    Returns:
        Its name and itself.

    Raises:
        UnknownPolicy: the module has no such attribute, no policy or several.
        PolicyError: it makes no policies.
    """
    attribute = attribute or _only_policy(module, policy)
    factory = module
    for part in attribute.split("."):
        if not hasattr(factory, part):
            makers = [
                key for key, value in vars(factory).items() if _is_ours(value, module) and not key.startswith("_")
            ]
            raise UnknownPolicy(f"policy {policy!r}: {unknown('attribute', part, makers)}")
        factory = getattr(factory, part)
    if not callable(factory):
        raise PolicyError(
            f"policy {policy!r} is a {type(factory).__name__}; allowed: a class, or a function that makes it"
        )
    lacking = [name for name in ("reset", "act") if inspect.isclass(factory) and not hasattr(factory, name)]
    if lacking:
        raise PolicyError(f"policy {policy!r} is a class that lacks {' and '.join(lacking)}")
    return attribute, factory


def _only_policy(module: ModuleType, policy: str) -> str:
    ours = {name: value for name, value in vars(module).items() if not name.startswith("_") and _is_ours(value, module)}
    if inspect.isfunction(ours.get(MAKER)):
        return MAKER
    classes = [name for name, value in ours.items() if inspect.isclass(value)]
    policies = [name for name in classes if all(callable(getattr(ours[name], m, None)) for m in ("reset", "act"))]
    if CLASS in policies:
        return CLASS
    if len(policies) > 1:
        raise UnknownPolicy(
            f"policy {policy!r} defines several policies: {', '.join(policies)}; name one, e.g. {policy}:{policies[0]}"
        )
    if not policies:
        others = f" (it defines {', '.join(classes)})" if classes else ""
        raise UnknownPolicy(
            f"policy {policy!r} defines no class with reset and act, and no function {MAKER}{others}; "
            "vlagen-eval --new-adapter my_adapter.py writes one to start from"
        )
    return policies[0]


def _is_ours(value: object, module: ModuleType) -> bool:
    """Tells whether a class or function was defined in a module; a package may collect what its modules define."""
    home = getattr(value, "__module__", None) or ""
    return home == module.__name__ or (hasattr(module, "__path__") and home.startswith(f"{module.__name__}."))


def explain(error: BaseException) -> str:
    """Words an error of somebody else's code: what it says, and on the lines below, where in that code it happened."""
    said = "".join(traceback.format_exception_only(type(error), error)).strip()
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_machinery(frame.filename)]
    return "\n".join([said, *(line.rstrip() for line in traceback.format_list(frames))])


def _is_machinery(file: str) -> bool:
    """Tells whether a frame belongs to what imports and calls, and not to what is imported and called."""
    return file in (__file__, importlib.__file__, _LOADING) or file.startswith("<frozen ")
