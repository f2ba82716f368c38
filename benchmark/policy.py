"""What a policy is to vlagen: two methods, batch first, and a declaration of what it needs to see and what it emits."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from vlagen.assets.errors import VlagenError, unknown
from vlagen.benchmark.actions.formats import ActionFormat, BadDeclaration
from vlagen.tasks.interface import Observation

FITS = ("stretch", "pad", "crop")
FILTERS = ("bilinear", "lanczos", "area")


class PolicyError(VlagenError):
    """A policy that broke the protocol, e.g. by returning actions of the wrong shape."""


@dataclass(frozen=True)
class ImageFormat:
    """The picture that a policy wants instead of the camera's 480 x 640.

    Attributes:
        height: in pixels.
        width: in pixels.
        fit: what happens to another aspect ratio: ``stretch`` changes it, ``pad`` adds black bars, ``crop`` keeps the
            largest middle part that fits.
        filter: ``bilinear`` and ``lanczos`` (three lobes) widen with the reduction, so nothing aliases; ``area`` takes
            the mean of the pixels covered.
    """

    height: int
    width: int
    fit: Literal["stretch", "pad", "crop"] = "stretch"
    filter: Literal["bilinear", "lanczos", "area"] = "bilinear"

    def __post_init__(self) -> None:
        for name in ("height", "width"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise BadDeclaration(f"image {name} {value!r}; allowed: a whole number of pixels from 1 on")
        if self.fit not in FITS:
            raise BadDeclaration(unknown("image fit", self.fit, FITS))
        if self.filter not in FILTERS:
            raise BadDeclaration(unknown("image filter", self.filter, FILTERS))


@dataclass(frozen=True)
class PolicySpec:
    """What a policy needs to be shown and what it emits.

    Pictures and privileged state that it does not ask for it is not shown, even where others made them necessary.

    Attributes:
        needs_images: ``observation.rgb`` must be there.
        image: the size that pictures are brought to; None leaves them as the camera makes them.
        needs_proprioception: ``observation.proprioception`` is read.
        needs_privileged: ``observation.privileged`` must be there. Such a policy is an oracle, not a competitor.
        emits: what the numbers of an action mean.
        light: cheap enough to have a copy in every worker process, in memory and in time; False for large weights.
        chunk: how many actions a call returns for each episode, if that never changes; None leaves it open, so that a
            mismatch shows at the first call only.
    """

    needs_images: bool = True
    image: ImageFormat | None = None
    needs_proprioception: bool = False
    needs_privileged: bool = False
    emits: ActionFormat = field(default_factory=ActionFormat)
    light: bool = False
    chunk: int | None = None

    def __post_init__(self) -> None:
        for name, wanted in (("image", ImageFormat | None), ("emits", ActionFormat), ("chunk", int | None)):
            value = getattr(self, name)
            if not isinstance(value, wanted):
                allowed = getattr(wanted, "__name__", str(wanted).replace(f"{__name__}.", ""))
                raise BadDeclaration(f"{name} is a {type(value).__name__}; allowed: {allowed}")
        if self.image is not None and not self.needs_images:
            raise BadDeclaration("image is given although needs_images is False; drop the one or the other")
        if self.chunk is not None and self.chunk < 1:
            raise BadDeclaration(f"chunk {self.chunk}; allowed: 1 or more")

    @property
    def is_oracle(self) -> bool:
        """Tells whether the policy sees what no camera shows; its results are marked wherever they are shown."""
        return self.needs_privileged


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
        """Begins B new episodes and forgets the ones before; B may differ from the last time."""
        ...

    def act(self, observation: Observation) -> np.ndarray:
        """Chooses the next action, or the next few, of every episode.

        Args:
            observation: what is seen now, batch first; not to be changed.

        Returns:
            Actions (B, n), or chunks of T actions (B, T, n), floating point; n and the meaning of the numbers are those
            of ``spec.emits``.
        """
        ...


def policy_seed(seed: int, protocol: str, row: str, index: int) -> int:
    """Derives the 32-bit seed that a policy receives for one episode.

    A pure function of its arguments, so results depend neither on the order of episodes nor on the worker count.
    """
    return int.from_bytes(hashlib.sha256(f"{seed}:{protocol}:{row}:{index}".encode()).digest()[:4], "little")
