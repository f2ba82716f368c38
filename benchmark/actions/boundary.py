"""What is checked where a policy and vlagen meet: the object itself, what it is shown, and what it returns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vlagen.benchmark.policy import Policy, PolicyError, PolicySpec
from vlagen.tasks.interface import Observation


def check_policy_type(policy: object, name: str) -> Policy:
    """Checks that something is a policy.

    Raises:
        PolicyError: it lacks ``reset`` or ``act``, or declares nothing.
    """
    lacking = [method for method in ("reset", "act") if not callable(getattr(policy, method, None))]
    if lacking:
        raise PolicyError(f"policy {name!r} is a {type(policy).__name__}, which lacks {' and '.join(lacking)}")
    spec = getattr(policy, "spec", None)
    if not isinstance(spec, PolicySpec):
        found = "nothing" if spec is None else f"a {type(spec).__name__}"
        raise PolicyError(
            f"policy {name!r} declares {found} as its spec; write e.g. `spec = PolicySpec(needs_images=True)` in the "
            "class (from vlagen.benchmark.policy import PolicySpec)"
        )
    return policy


def check_execute_horizon(execute_horizon: int | None, chunk: int | None) -> None:
    """Checks that so many actions of a chunk can be executed; ``chunk`` None: not known yet.

    Raises:
        PolicyError: they cannot.
    """
    if execute_horizon is None:
        return
    if execute_horizon < 1:
        raise PolicyError(f"--execute-horizon {execute_horizon}; allowed: 1 or more")
    if chunk == 1 and execute_horizon > 1:
        raise PolicyError(f"returns single actions, so --execute-horizon {execute_horizon} has no chunk to execute")
    if chunk is not None and execute_horizon > chunk:
        raise PolicyError(f"returns chunks of {chunk} actions; allowed for --execute-horizon: 1 to {chunk}")


def check_returned(actions: object, batch: int, spec: PolicySpec) -> np.ndarray:
    """Checks what a policy returned as a whole; ``formats.faults`` looks at the numbers.

    Raises:
        PolicyError: not a numpy array, not floating point, or of a shape other than (B, n) or (B, T, n).
    """
    size, chunk = spec.emits.size, spec.chunk
    if not isinstance(actions, np.ndarray):
        how = "; call .cpu().numpy() on it" if hasattr(actions, "detach") else ""
        raise PolicyError(f"returned a {type(actions).__name__}{how}; {_allowed(batch, spec)}")
    fits = actions.ndim in (2, 3) and (actions.shape[0], actions.shape[-1]) == (batch, size)
    length = actions.shape[1] if actions.ndim == 3 else 1
    if not fits or length < 1 or chunk not in (None, length):
        raise PolicyError(f"returned shape {actions.shape}; {_allowed(batch, spec)}")
    if actions.dtype.kind != "f":
        raise PolicyError(f"returned dtype {actions.dtype}; {_allowed(batch, spec)}")
    return actions


def _allowed(batch: int, spec: PolicySpec) -> str:
    """Words what a policy may return."""
    single = f"({batch}, {spec.emits.size})"
    shape = {None: f"{single} or a chunk ({batch}, T, {spec.emits.size})", 1: single}.get(
        spec.chunk, f"({batch}, {spec.chunk}, {spec.emits.size})"
    )
    return f"allowed: a numpy array, floating point, of shape {shape}: {spec.emits.describe()}"


def shown(spec: PolicySpec, observation: Observation) -> Observation:
    """Takes away what a policy did not ask for, so that nothing depends on who else asked for it.

    Raises:
        PolicyError: something it did ask for is not there.
    """
    for needed, field, remedy in (
        (spec.needs_images, "rgb", "this simulator renders no pictures"),
        (spec.needs_proprioception, "proprioception", "this task does not tell the joints"),
        (spec.needs_privileged, "privileged", "this simulator does not tell its state"),
        (spec.emits.frame == "gripper", "gripper_pose", "this task does not tell the gripper's pose"),
    ):
        if needed and getattr(observation, field) is None:
            raise PolicyError(f"needs observation.{field}, which is None: {remedy}")
    if (observation.rgb is None or spec.needs_images) and (observation.privileged is None or spec.needs_privileged):
        return observation
    return replace(
        observation,
        rgb=observation.rgb if spec.needs_images else None,
        privileged=observation.privileged if spec.needs_privileged else None,
    )
