"""What vlagen's clients and servers tell each other about an episode and an observation, whatever protocol they speak.

It is what a policy in the same process would have been shown, to the last bit, so that its records are the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from vlagen.benchmark.policy import PolicyEpisode
from vlagen.benchmark.remote.arrays import as_map, as_text
from vlagen.benchmark.remote.limits import WireError
from vlagen.tasks.interface import Observation, PrivilegedState

_LARGEST_BATCH = 4096
_MOST_STEPS = 2**31
_PRIVILEGED_ARRAYS = tuple(f.name for f in fields(PrivilegedState) if f.name not in ("assets", "distractor"))


@dataclass(frozen=True)
class Seating:
    """An episode and its place in a batch that is played in step.

    Attributes:
        episode: what the policy is told.
        party: names the batch, the same for all its sessions and for no other batch.
        size: B.
        place: from 0 to B - 1.
    """

    episode: PolicyEpisode
    party: str
    size: int
    place: int

    def to_map(self) -> dict[str, Any]:
        """Writes it as what ``seating_of`` reads."""
        return {
            "instruction": self.episode.instruction,
            "seed": self.episode.seed,
            "party": self.party,
            "size": self.size,
            "place": self.place,
        }


def seating_of(value: Any) -> Seating:
    """Reads a seating.

    Raises:
        WireError: it is none.
    """
    entries = as_map(value, "an episode")
    size = _whole(entries.get("size"), "an episode's size", 1, _LARGEST_BATCH)
    return Seating(
        PolicyEpisode(
            as_text(entries.get("instruction"), "an episode's instruction"),
            _whole(entries.get("seed"), "an episode's seed", 0, 2**32 - 1),
        ),
        as_text(entries.get("party"), "an episode's party")[:64],
        size,
        _whole(entries.get("place"), "an episode's place", 0, size - 1),
    )


def describe(observation: Observation, row: int) -> dict[str, Any]:
    """Writes what one episode of a batch sees, its picture and instruction aside, as what ``restore`` reads."""
    told: dict[str, Any] = {"step": observation.step}
    for name in ("proprioception", "gripper_pose"):
        if getattr(observation, name) is not None:
            told[name] = getattr(observation, name)[row]
    state = observation.privileged
    if state is not None:
        told["privileged"] = {name: getattr(state, name)[row : row + 1] for name in _PRIVILEGED_ARRAYS}
        told["privileged"] |= {"assets": state.assets, "distractor": state.distractor[row]}
    return told


def restore(value: Any, picture: np.ndarray | None, instruction: str) -> Observation:
    """Makes the observation (B = 1) of what ``describe`` wrote.

    Raises:
        WireError: it is something else.
    """
    entries = as_map(value, "an observation")
    privileged = entries.get("privileged")
    return Observation(
        rgb=None if picture is None else picture[None],
        instruction=(instruction,),
        proprioception=_row(entries, "proprioception"),
        gripper_pose=_row(entries, "gripper_pose"),
        step=_whole(entries.get("step"), "an observation's step", 0, _MOST_STEPS),
        privileged=None if privileged is None else _privileged(as_map(privileged, "an observation's privileged state")),
    )


def stack(observations: Sequence[Observation]) -> Observation:
    """Makes one observation of B episodes of B observations of one each, which must have ``same_shapes``.

    ``step`` is -1 where they are not at the same one.
    """
    if len(observations) == 1:
        return observations[0]
    first = observations[0]
    steps = {observation.step for observation in observations}
    return Observation(
        rgb=_stacked([observation.rgb for observation in observations]),
        instruction=tuple(observation.instruction[0] for observation in observations),
        proprioception=_stacked([observation.proprioception for observation in observations]),
        gripper_pose=_stacked([observation.gripper_pose for observation in observations]),
        step=first.step if len(steps) == 1 else -1,
        privileged=_joined([observation.privileged for observation in observations]),
    )


def shapes(observation: Observation) -> tuple[Any, ...]:
    """What must be equal for observations to be stacked."""
    arrays = [observation.rgb, observation.proprioception, observation.gripper_pose]
    known = observation.privileged
    return (
        *((a.shape, a.dtype.str) if a is not None else None for a in arrays),
        None if known is None else known.assets,
    )


def _stacked(arrays: Sequence[np.ndarray | None]) -> np.ndarray | None:
    return None if arrays[0] is None else np.concatenate(arrays)


def _joined(states: Sequence[PrivilegedState | None]) -> PrivilegedState | None:
    if states[0] is None:
        return None
    return PrivilegedState(
        assets=states[0].assets,
        distractor=tuple(state.distractor[0] for state in states),
        **{name: np.concatenate([getattr(state, name) for state in states]) for name in _PRIVILEGED_ARRAYS},
    )


def _privileged(entries: Mapping[str, Any]) -> PrivilegedState:
    arrays = {}
    for name in _PRIVILEGED_ARRAYS:
        array, width = entries.get(name), 7 if name.endswith(("_pose", "_target")) else None
        shape = (1, 7) if width else (1,)
        if not isinstance(array, np.ndarray) or array.shape != shape:
            raise WireError(f"privileged {name} is not an array of shape {shape}")
        arrays[name] = array
    distractor = entries.get("distractor")
    if distractor is not None:
        ok = isinstance(distractor, list) and [type(part) for part in distractor] == [str, int]
        if not ok or distractor[0] not in ("object", "receptacle"):
            raise WireError("privileged distractor is not a kind and an index")
        distractor = (distractor[0], distractor[1])
    assets = as_text(entries.get("assets"), "privileged assets")
    return PrivilegedState(assets=assets, distractor=(distractor,), **arrays)


def _row(entries: Mapping[str, Any], name: str) -> np.ndarray | None:
    array = entries.get(name)
    if array is None:
        return None
    if not isinstance(array, np.ndarray) or array.ndim != 1 or array.dtype.kind != "f" or not 1 <= array.size <= 1024:
        raise WireError(f"an observation's {name} is not a vector of floats")
    return array[None]


def _whole(value: Any, what: str, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise WireError(f"{what} is {str(value)[:40]}; allowed: a whole number from {least} to {most}")
    return value
