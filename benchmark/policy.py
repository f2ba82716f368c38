"""What a policy is to vlagen: two methods, batch first, and a declaration of what it needs to see."""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from vlagen.assets.errors import VlagenError, unknown
from vlagen.tasks.interface import ACTION_SIZE, Observation

BUILT_IN = {
    "random": "vlagen.benchmark.adapters.random:RandomPolicy",
    "noop": "vlagen.benchmark.adapters.noop:NoopPolicy",
    "expert": "vlagen.benchmark.adapters.expert:ExpertPolicy",
}
"""Policies that can be named without their module."""


class UnknownPolicy(VlagenError, ValueError):
    """A name under which no policy can be found."""


class PolicyError(VlagenError):
    """A policy that broke the protocol, e.g. by returning actions of the wrong shape."""


@dataclass(frozen=True)
class PolicySpec:
    """What a policy needs to be shown; what nobody needs is neither rendered nor computed.

    Attributes:
        needs_images: ``observation.rgb`` must be there.
        needs_privileged: ``observation.privileged`` must be there. Such a policy is an oracle, not a competitor.
    """

    needs_images: bool = True
    needs_privileged: bool = False


@dataclass(frozen=True)
class PolicyEpisode:
    """What a policy is told when an episode starts.

    Attributes:
        instruction: the task in words.
        seed: for whatever the policy samples; 32 bits, so that every library's generator takes it.
    """

    instruction: str
    seed: int


@runtime_checkable
class Policy(Protocol):
    """A controller for a batch of B episodes that run in step."""

    spec: PolicySpec

    def reset(self, episodes: Sequence[PolicyEpisode]) -> None:
        """Begins B new episodes and forgets the ones before."""
        ...

    def act(self, observation: Observation) -> np.ndarray:
        """Chooses the next action of every episode.

        Args:
            observation: what is seen now, batch first.

        Returns:
            Actions, (B, 7) floating point: metres, radians and gripper as ``tasks.interface.ACTION_SIZE`` says.
        """
        ...


PolicyFactory = Callable[[], Policy]


def find_policy(name: str) -> PolicyFactory:
    """Imports what makes a policy, without making one.

    Args:
        name: one of ``BUILT_IN``, or ``module:attribute`` where the module may lie in the working directory and the
            attribute is a class, or another callable without arguments, that carries its ``PolicySpec`` as ``spec``.

    Raises:
        UnknownPolicy: there is no such name, module or attribute.
        PolicyError: the attribute does not declare a ``PolicySpec`` or cannot be called.
    """
    module_name, _, attribute = BUILT_IN.get(name, name).partition(":")
    if not attribute:
        raise UnknownPolicy(f"{unknown('policy', name, BUILT_IN)}; or give your own as module:attribute")
    # Console scripts do not look into the working directory; last place, so that its folders shadow nothing.
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise UnknownPolicy(
            f"policy {name!r}: module {error.name!r} was not found; run from the folder that holds it or install it"
        ) from error
    if not hasattr(module, attribute):
        public = [key for key in vars(module) if not key.startswith("_")]
        raise UnknownPolicy(f"policy {name!r}: {unknown('attribute', attribute, public)}")
    factory = getattr(module, attribute)
    if not callable(factory) or not isinstance(getattr(factory, "spec", None), PolicySpec):
        raise PolicyError(
            f"policy {name!r} must be a class or function without arguments that declares what it needs, e.g. "
            "`spec = PolicySpec(needs_images=True)` in the class (from vlagen.benchmark.policy import PolicySpec)"
        )
    return factory


def load_policy(name: str) -> Policy:
    """Makes the policy with this name; see ``find_policy`` for names and errors."""
    policy = find_policy(name)()
    if not isinstance(policy, Policy):
        raise PolicyError(f"policy {name!r} made a {type(policy).__name__}, which lacks spec, reset or act")
    return policy


def policy_seed(seed: int, protocol: str, row: str, index: int) -> int:
    """Derives the 32-bit seed that a policy receives for one episode.

    A pure function of its arguments, so results depend neither on the order of episodes nor on the worker count.
    """
    return int.from_bytes(hashlib.sha256(f"{seed}:{protocol}:{row}:{index}".encode()).digest()[:4], "little")


def check_actions(actions: object, batch: int, *, policy: str, row: str, step: int) -> np.ndarray:
    """Checks what a policy returned before it reaches a controller.

    Args:
        actions: what ``act`` returned.
        batch: the number of episodes B.
        policy: name for the message.
        row: name for the message.
        step: control steps executed before this action, for the message.

    Returns:
        The actions, (B, 7) float32.

    Raises:
        PolicyError: not a numpy array, or not (B, 7), or not floating point, or not finite.
    """
    where = f"policy {policy!r} at step {step} of row {row!r}"
    allowed = f"allowed: a numpy array of shape ({batch}, {ACTION_SIZE}), floating point and finite"
    if not isinstance(actions, np.ndarray):
        raise PolicyError(f"{where} returned a {type(actions).__name__}; {allowed}")
    if actions.shape != (batch, ACTION_SIZE):
        raise PolicyError(f"{where} returned shape {actions.shape}; {allowed}")
    if not np.issubdtype(actions.dtype, np.floating):
        raise PolicyError(f"{where} returned dtype {actions.dtype}; {allowed}")
    with np.errstate(over="ignore"):
        checked = actions.astype(np.float32)
    if not np.isfinite(checked).all():
        raise PolicyError(f"{where} returned {actions[~np.isfinite(checked).all(axis=1)][0].tolist()}; {allowed}")
    return checked
