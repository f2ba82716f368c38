"""From the name of a policy to the policy.

A name is looked up in this order; each kind of name has one meaning or is refused:

1. a policy of vlagen's own (``BUILT_IN``), ``protocol://host:port`` of a policy server (``remote.link.PROTOCOLS``), or
   ``lerobot:<repository or folder>``; these names are reserved;
2. ``file.py`` or ``file.py:attribute``, relative to the working directory;
3. ``module:attribute``, the module being installed or in the working directory;
4. the name of an entry point in the group ``vlagen.policies`` of an installed package;
5. a plain module, installed or in the working directory, such as ``my_adapter``.

A name that means both an entry point and a module in the working directory, two entry points, or a module that lies in
the working directory as well as elsewhere, is refused: scoring another policy than the one meant is the worst outcome.
"""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any

from vlagen.assets.errors import VlagenError, unknown
from vlagen.benchmark.actions.boundary import check_policy_type
from vlagen.benchmark.loading.arguments import all_values, bind
from vlagen.benchmark.loading.importing import (
    MissingModule,
    UnknownPolicy,
    choose_factory,
    explain,
    import_file,
    import_module,
    lies_in,
    modules_in,
)
from vlagen.benchmark.loading.source_files import hash_of
from vlagen.benchmark.policy import Policy, PolicyError, PolicySpec

BUILT_IN = {
    "random": "vlagen.benchmark.adapters.random:RandomPolicy",
    "noop": "vlagen.benchmark.adapters.noop:NoopPolicy",
    "expert": "vlagen.benchmark.adapters.expert:ExpertPolicy",
}
"""Policies that can be named without their module."""

ENTRY_POINTS = "vlagen.policies"
"""The group of entry points in which an installed package gives its policies names."""

LEROBOT = "lerobot:"
"""Begins the names of LeRobot's checkpoints."""

_LONGEST_LABEL = 60

# What was made only to read its declaration is the first to be handed out: weights take minutes to load.
_unused: dict[PolicySource, Policy] = {}
_specs: dict[PolicySource, PolicySpec] = {}


@dataclass(frozen=True)
class PolicySource:
    """Where a policy comes from: enough to make it in another process, wherever that runs.

    Attributes:
        name: see the module's documentation.
        arguments: names and values as texts, see ``arguments``.
        folder: the working directory that the name is meant in.
    """

    name: str
    arguments: tuple[tuple[str, str], ...] = ()
    folder: str = field(default_factory=os.getcwd)

    @property
    def factory(self) -> Callable[..., Policy]:
        """The class or function that makes the policy; imports it.

        Raises:
            UnknownPolicy: there is no such name, file, module or attribute.
            PolicyError: it cannot be imported, or makes no policies.
        """
        return _find(self.name, self.folder).factory

    @property
    def spec(self) -> PolicySpec:
        """What the policy declares: in its class, by its arguments, or once it is made, which is then done here."""
        declared = self._declared(self.factory)
        if declared is not None:
            return declared
        if self not in _specs:
            self._kept()
        return _specs[self]

    def make(self) -> Policy:
        """Makes the policy.

        Raises:
            PolicyError: arguments that it does not take, or its own code raised; the message has the traceback.
        """
        if self in _unused:
            return _unused.pop(self)
        factory = self.factory
        values = bind(factory, self.arguments, self.name)
        try:
            policy = factory(**values)
        except (Exception, SystemExit) as error:  # it may raise anything, and scripts exit
            if isinstance(error, VlagenError):
                raise  # its message says it all; where in our code it was raised helps nobody
            raise PolicyError(f"policy {self.name!r} could not be made: {explain(error)}") from error
        check_policy_type(policy, self.name)
        declared = self._declared(factory)
        if declared is not None and declared != policy.spec:
            raise PolicyError(
                f"policy {self.name!r} declares one spec in its class and another once it is made; "
                "leave the one in the class out"
            )
        _specs[self] = policy.spec
        return policy

    def _declared(self, factory: Callable[..., Policy]) -> PolicySpec | None:
        """What can be told without making the policy: weights take minutes to load, and memory."""
        declare = getattr(factory, "declare", None)
        declared = declare(**bind(factory, self.arguments, self.name)) if callable(declare) else None
        declared = getattr(factory, "spec", None) if declared is None else declared
        return declared if isinstance(declared, PolicySpec) else None

    def _kept(self) -> Policy:
        """The policy that is handed out next; made now if there is none."""
        if self not in _unused:
            _unused[self] = self.make()
        return _unused[self]

    def identity(self) -> dict[str, Any]:
        """Says as JSON values which policy this is: its name, all arguments, defaults included, and its code's hash."""
        target = _find(self.name, self.folder)
        if "://" in self.name:
            # Another process has the weights; it says which they are.
            values = bind(target.factory, self.arguments, self.name)
            return {**target.factory.identity(self._kept(), values), "source": hash_of(target.modules)}
        identity = {
            "name": target.name,
            "arguments": all_values(target.factory, self.arguments, self.name),
            "source": hash_of(target.modules),
        }
        # Two folders of one name may hold different weights: a policy that has weights says which they are.
        contents = getattr(target.factory, "contents", None)
        if callable(contents):
            identity["contents"] = contents(**bind(target.factory, self.arguments, self.name))
        return identity

    @property
    def label(self) -> str:
        """A short name for files and folders; different arguments have different labels."""
        scheme, elsewhere, rest = self.name.partition("://")
        place, colon, attribute = (rest or self.name).rpartition(":")
        place = (place if colon else rest or self.name).rpartition("/")[2].removesuffix(".py")
        place = f"{scheme}-{place}" if elsewhere else place
        parts = [place + (f"-{attribute}" if colon else ""), *(f"{name}={value}" for name, value in self.arguments)]
        given = ",".join(parts)
        label = re.sub(r"[^\w.=,+-]+", "-", given).lstrip(".-")[:_LONGEST_LABEL]
        if not self.arguments or label == given:
            return label
        return f"{label}-{sha256(repr(self.arguments).encode()).hexdigest()[:6]}"


@dataclass(frozen=True)
class _Target:
    """What a name turned out to mean.

    Attributes:
        name: the same for all ways to name it, without the folder.
        factory: makes the policy.
        modules: that the name leads to and that defines the factory.
    """

    name: str
    factory: Callable[..., Policy]
    modules: tuple[Any, ...]


def find_policy(name: str, arguments: Iterable[tuple[str, str]] = ()) -> PolicySource:
    """Finds a policy by name and checks its arguments, without making it.

    Args:
        name: see the module's documentation.
        arguments: names and values as texts.

    Raises:
        UnknownPolicy: there is no such name, file, module or attribute; the message has the nearest one.
        PolicyError: it cannot be imported, makes no policies, or does not take the arguments.
    """
    source = PolicySource(name, tuple(arguments))
    bind(source.factory, source.arguments, name)
    return source


def installed_policies() -> tuple[str, ...]:
    """Names of all policies that can be named without their module: vlagen's own, then installed ones."""
    return (*BUILT_IN, *sorted({entry.name for entry in metadata.entry_points(group=ENTRY_POINTS)} - set(BUILT_IN)))


def _find(name: str, folder: str) -> _Target:
    if _is_elsewhere(name):
        return _find_elsewhere(name)
    place, colon, attribute = BUILT_IN.get(name, name).rpartition(":")
    if not colon:
        place, attribute = name, ""
    if place.endswith(".py"):
        module = import_file(Path(folder, Path(place).expanduser()), name)
        short = Path(place).name
    else:
        if not colon:
            place, attribute = _by_plain_name(name, folder)
        if not all(part.isidentifier() for part in place.split(".")):
            raise UnknownPolicy(_no_such_policy(name, folder))
        try:
            module = import_module(place, folder, name)
        except MissingModule:
            if colon:
                raise
            raise UnknownPolicy(_no_such_policy(name, folder)) from None
        short = module.__name__
    chosen, factory = choose_factory(module, attribute, name)
    return _Target(name if name in BUILT_IN else f"{short}:{chosen}", factory, _modules(module, factory))


def _is_elsewhere(name: str) -> bool:
    return "://" in name or name.startswith(LEROBOT)


def _find_elsewhere(name: str) -> _Target:
    """Finds what is not made of a user's code: a policy server, or a checkpoint of LeRobot's."""
    # Imported here because most runs need neither.
    if "://" in name:
        from vlagen.benchmark.remote import client as module

        return _Target(name, module.RemoteFactory(name), (module,))
    from vlagen.benchmark.remote import lerobot as module

    return _Target(name, functools.partial(module.LeRobotPolicy, name.removeprefix(LEROBOT)), (module,))


def _by_plain_name(name: str, folder: str) -> tuple[str, str]:
    """Returns module and attribute (empty: to be found) that a name without a colon stands for."""
    entries = {entry.value for entry in metadata.entry_points(group=ENTRY_POINTS) if entry.name == name}
    here = lies_in(folder, name)
    if len(entries) > 1:
        raise UnknownPolicy(
            f"policy {name!r} is the name of several installed policies; give one of {', '.join(sorted(entries))}"
        )
    if entries and here is not None:
        raise UnknownPolicy(
            f"policy {name!r} is an installed policy ({entries.pop()}) as well as {here.name} in this folder; give the "
            f"one as module:attribute, or the other as {name}.py"
        )
    if entries:
        # An entry point may name extras in brackets, which play no part here.
        module, _, attribute = re.sub(r"\s*\[.*", "", entries.pop()).partition(":")
        return module.strip(), attribute.strip()
    return name, ""


def _no_such_policy(name: str, folder: str) -> str:
    allowed = [*installed_policies(), *modules_in(folder)]
    return f"{unknown('policy', name, allowed)}; or give your own as file.py or module:attribute"


def _modules(module: Any, factory: Callable[..., Policy]) -> tuple[Any, ...]:
    defining = sys.modules.get(getattr(factory, "__module__", None) or "")
    return (module,) if defining in (None, module) else (module, defining)
