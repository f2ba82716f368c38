"""What two ends of a wire tell each other about a policy: vla-eval's specs, and vlagen's declaration as JSON values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from vlagen.assets.errors import VlagenError, unknown
from vlagen.benchmark.actions.formats import ActionFormat, BadDeclaration, Bounds
from vlagen.benchmark.policy import ImageFormat, PolicySpec
from vlagen.benchmark.remote.limits import WireError

VLAGEN_VERSION = 1
"""Of what vlagen's servers and clients tell each other beside the protocol they speak."""

VLAGEN_KEY = "vlagen"
"""Where they do."""

VLAGEN_HEADER = "Vlagen-Client"
"""The HTTP header by which a client asks to be told. Servers tell nobody else, as others may take no further keys."""

PRESETS = {
    "vlagen": ActionFormat(),
    "bridge": ActionFormat(gripper_open=1.0, gripper_closed=0.0),
    "libero": ActionFormat(rotation="axis_angle", gripper_open=-1.0, gripper_closed=1.0),
}
"""What ``actions=`` may be: vlagen's own; the same with the gripper of Bridge V2 (1 open, 0 closed); axis-angle with
robosuite's gripper (-1 open, +1 closed), in metres."""

ROTATIONS = {
    "euler_xyz": "euler_xyz_extrinsic",
    "axis_angle": "axis_angle",
    "quaternion_xyzw": "quaternion_xyzw",
    "rot6d_interleaved": "rotation_6d_interleaved",
}
"""vla-eval's rotations and ours; its ``euler_xyz`` is scipy's ``"xyz"``, turns about fixed axes."""

GRIPPERS = {
    "binary_close_positive": (-1.0, 1.0, True),
    "binary_close_negative": (1.0, -1.0, True),
    "continuous_01": (1.0, 0.0, False),
    "binary_close_01": (0.0, 1.0, True),
}
"""vla-eval's grippers: the numbers for open and closed, and whether there is nothing between. ``continuous_01`` does
not say which end is which; its servers and benchmarks (GR00T, DuoBench) open at 1."""

_DEEPEST = 16

_RANGES = {"binary_close_positive": [-1, 1], "binary_close_negative": [-1, 1]}


class UnknownFormat(VlagenError, ValueError):
    """A declaration that cannot be carried out, or none where one is needed."""


@dataclass(frozen=True)
class Declaration:
    """What a server said about its policy.

    Attributes:
        identity: JSON values that tell which model it serves, as far as it said.
        spec: the policy's own declaration, if the server is vlagen's.
        independent: each session goes its own way; None if that is not known.
        actions: what the numbers of its actions mean; None if it did not say.
        problem: why they cannot be understood, if it did say.
        state: which numbers it wants to be told of the robot, see ``states.STATES``; None if it did not say.
        image: (height, width) it wants, if it said.
    """

    identity: Mapping[str, Any] = field(default_factory=dict)
    spec: PolicySpec | None = None
    independent: bool | None = None
    actions: ActionFormat | None = None
    problem: str | None = None
    state: str | None = None
    image: tuple[int, int] | None = None


def spec_to_json(spec: PolicySpec) -> dict[str, Any]:
    """Writes a policy's declaration as JSON values."""
    return asdict(spec)


def spec_from_json(values: Any) -> PolicySpec:
    """Reads what ``spec_to_json`` wrote.

    Raises:
        WireError: it is no declaration.
    """
    try:
        fields = dict(values)
        emits = dict(fields.pop("emits"))
        normalised, image = emits.pop("normalised"), fields.pop("image")
        return PolicySpec(
            **fields,
            emits=ActionFormat(**emits, normalised=None if normalised is None else Bounds(**normalised)),
            image=None if image is None else ImageFormat(**image),
        )
    except (BadDeclaration, TypeError, ValueError, KeyError) as error:
        raise WireError(f"the server's declaration of its policy cannot be read: {error}") from error


def own_declaration(values: Mapping[str, Any]) -> Declaration | None:
    """Reads what one of vlagen's servers said; None if the server is another.

    Raises:
        WireError: it says something that this version does not understand.
    """
    said = values.get(VLAGEN_KEY)
    if not isinstance(said, dict):
        return None
    if said.get("version") != VLAGEN_VERSION:
        raise WireError(
            f"the server's vlagen declares version {str(said.get('version'))[:20]} of the exchange, this one has "
            f"{VLAGEN_VERSION}; install the same vlagen on both ends"
        )
    identity = said.get("identity")
    return Declaration(
        identity=as_json(identity) if isinstance(identity, dict) else {},
        spec=spec_from_json(said.get("spec")),
        independent=said.get("independent") is True,
    )


def as_json(value: Any, depth: int = 0) -> Any:
    """What a peer says of itself, as values that can be written to a file; in words where they cannot."""
    if isinstance(value, str | int | None) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if depth < _DEEPEST and isinstance(value, dict):
        return {str(key): as_json(entry, depth + 1) for key, entry in value.items()}
    if depth < _DEEPEST and isinstance(value, list):
        return [as_json(entry, depth + 1) for entry in value]
    if isinstance(value, np.generic):
        return as_json(value.item(), depth)
    if isinstance(value, np.ndarray):
        return f"array {value.shape} {value.dtype}"
    return repr(value) if isinstance(value, float) else type(value).__name__


def actions_from_specs(specs: Mapping[str, Any]) -> ActionFormat:
    """Reads vla-eval's action specs.

    vla-eval does not say whether positions are metres or a controller's units; metres are assumed, and steps that
    cannot be metres are errors once they are executed.

    Raises:
        UnknownFormat: they name something that vlagen's arm does not execute, or that says too little.
    """
    # A name may be anything that msgpack has for a key.
    parts = {str(name): _format_of(name, spec) for name, spec in specs.items()}
    if set(parts) != {"position", "rotation", "gripper"}:
        raise UnknownFormat(
            f"the server declares actions of {', '.join(sorted(parts)) or 'nothing'}; allowed: position, rotation and "
            "gripper. Say what they mean with --policy-args actions=..., or config=..."
        )
    for part, allowed in (("position", ("delta_xyz",)), ("rotation", ROTATIONS), ("gripper", GRIPPERS)):
        if parts[part] not in allowed:
            raise UnknownFormat(
                f"the server declares its {part} as {parts[part]!r}; vlagen understands {', '.join(allowed)}. Say what "
                "its actions mean with --policy-args actions=..., or config=..."
            )
    opened, closed, binary = GRIPPERS[parts["gripper"]]
    return ActionFormat(
        rotation=ROTATIONS[parts["rotation"]], gripper_open=opened, gripper_closed=closed, gripper_binary=binary
    )


def specs_from_actions(rotation: str, gripper: str) -> dict[str, dict[str, Any]]:
    """Writes vla-eval's action specs for one of ``ROTATIONS`` and one of ``GRIPPERS``."""
    sizes = {"quaternion_xyzw": 4, "rot6d_interleaved": 6}
    return {
        "position": {"name": "position", "dims": 3, "format": "delta_xyz", "description": "metres, base frame"},
        "rotation": {"name": "rotation", "dims": sizes.get(rotation, 3), "format": rotation},
        "gripper": {"name": "gripper", "dims": 1, "format": gripper, "range": _RANGES.get(gripper, [0, 1])},
    }


def vla_eval_format(rotation: str, gripper: str) -> ActionFormat:
    """The format that goes with ``specs_from_actions``.

    Raises:
        UnknownFormat: there is no such rotation or gripper.
    """
    for option, value, allowed in (("rotation", rotation, ROTATIONS), ("gripper", gripper, GRIPPERS)):
        if value not in allowed:
            raise UnknownFormat(unknown(option, value, allowed))
    return replace(actions_from_specs(specs_from_actions(rotation, gripper)), gripper_binary=False)


def _format_of(name: str, spec: Any) -> str:
    said = spec.get("format") if isinstance(spec, dict) else None
    if not isinstance(said, str):
        raise UnknownFormat(f"the server's spec of {name!r} names no format; say it with --policy-args actions=...")
    return said[:60]
