"""One demonstration as a value, and how a played episode is cut down to it. Neither files nor a simulator."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from vlagen.assets.errors import VlagenError
from vlagen.tasks.episodes import Episode
from vlagen.tasks.rows import file_name

Codec = Literal["h264", "png", "jpeg"]

SMALL_TRANSLATION = 0.01
"""[m]: an action that moves less, turns less than ``SMALL_ROTATION`` and leaves the gripper alone is small (RL4VLA)."""

SMALL_ROTATION = 0.06
"""[rad], the norm of the three Euler angles."""

TAIL = 6
"""Control steps in a row that end with the object on the receptacle, after which a demonstration ends (RL4VLA)."""


class BadDemonstrations(VlagenError, ValueError):
    """Demonstrations that are damaged, do not go together, or cannot be written or read in a format."""


@dataclass(frozen=True)
class Pictures:
    """The pictures of T frames, encoded.

    Attributes:
        codec: of the parts.
        parts: one mp4 file of all frames for ``h264``, else one file a frame.
        count: T.
        height: in pixels.
        width: in pixels.
    """

    codec: Codec
    parts: tuple[bytes, ...]
    count: int
    height: int
    width: int


@dataclass(frozen=True)
class Demonstration:
    """What a policy saw and did in the T frames of an episode that succeeded.

    Attributes:
        episode: what was decided before the simulation started; None if nobody knows.
        assets: name of the asset pack.
        instruction: what the policy was told.
        pictures: what it saw before each action.
        states: (T, 8) float32: six joints [rad] and two fingers [m], before each action.
        gripper_poses: (T, 7) float32: the gripper in the robot's base frame, xyz [m] and quaternion wxyz.
        actions: (T, 7) float32: the labels, canonical (``tasks.interface.ACTION_SIZE``).
        executed_actions: (T, 7) float32: what the robot was told; differs from ``actions`` by the noise.
        rewards: (T,) float32, summed up to the next frame.
        successes: (T,) bool, the object is on the receptacle when the next frame begins.
        steps: (T,) int64: control steps before each frame; has gaps where small actions were left out.
        replay: (S, 7) float32: every action that was executed since the episode's start, also those that no frame has;
            in the same episode they lead to the same states.
    """

    episode: Episode | None
    assets: str
    instruction: str
    pictures: Pictures
    states: np.ndarray
    gripper_poses: np.ndarray
    actions: np.ndarray
    executed_actions: np.ndarray
    rewards: np.ndarray
    successes: np.ndarray
    steps: np.ndarray
    replay: np.ndarray

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def key(self) -> str:
        """Names the episode in files and messages."""
        return "an unnamed episode" if self.episode is None else episode_name(self.episode.variant, self.episode.index)

    def check(self) -> None:
        """Checks that the arrays belong together and hold numbers.

        Raises:
            BadDemonstrations: what is wrong, and where.
        """
        if len(self) == 0:
            raise BadDemonstrations(f"{self.key} has no frames; at least one is needed")
        shapes = {"states": (8,), "gripper_poses": (7,), "actions": (7,), "executed_actions": (7,)}
        for name in (*shapes, "rewards", "successes", "steps"):
            values = getattr(self, name)
            wanted = (len(self), *shapes.get(name, ()))
            if values.shape != wanted:
                raise BadDemonstrations(f"{self.key}: {name} has shape {values.shape}; expected {wanted}")
            if not np.isfinite(values).all():
                frame = int(np.argwhere(~np.isfinite(values))[0][0])
                raise BadDemonstrations(
                    f"{self.key}: {name} of frame {frame} is not finite ({values[frame].tolist()}); collect it again"
                )
        if self.pictures.count != len(self):
            raise BadDemonstrations(f"{self.key} has {self.pictures.count} pictures for {len(self)} frames")


def episode_name(row: str, index: int) -> str:
    """A name for files, e.g. ``vision-table-17``."""
    return f"{file_name(row)}-{index}"


def episode_to_json(episode: Episode | None) -> str:
    """Writes an episode; an empty text stands for None."""
    return "" if episode is None else json.dumps(asdict(episode), sort_keys=True)


def episode_from_json(text: str) -> Episode | None:
    """Reads what ``episode_to_json`` wrote.

    Raises:
        BadDemonstrations: the text is no episode of this version.
    """
    if not text:
        return None
    try:
        values: Mapping[str, Any] = json.loads(text)
        return Episode(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})
    except (ValueError, TypeError) as error:
        raise BadDemonstrations(f"{text[:80]!r} is not an episode of this version of vlagen ({error})") from None


def is_small(action: np.ndarray, before: np.ndarray | None) -> bool:
    """Tells whether an action does next to nothing, as the study's filter has it.

    Args:
        action: (7,).
        before: the action of the step before, None in the first step.
    """
    moves = np.linalg.norm(action[:3]) > SMALL_TRANSLATION or np.linalg.norm(action[3:6]) > SMALL_ROTATION
    return not moves and (before is None or action[6] == before[6])
