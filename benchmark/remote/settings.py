"""What can be said about a policy server: ``--policy-args`` of a remote policy, or a TOML file with the same names."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlagen.assets.errors import VlagenError, unknown
from vlagen.benchmark.actions.formats import ActionFormat, Bounds
from vlagen.benchmark.policy import ImageFormat
from vlagen.benchmark.remote.arrays import PICTURE_FORMATS
from vlagen.benchmark.remote.declarations import PRESETS, UnknownFormat
from vlagen.benchmark.toml_files import read_toml

OPERATIONAL = ("config", "timeout", "patience", "tls")
"""Settings that can move no number, so that a run may go on with others."""


class BadSetting(VlagenError, ValueError):
    """A setting of a remote policy that is not allowed."""


@dataclass(frozen=True)
class Settings:
    """How to talk to a server that does not say it itself. None: what it says, or what is usual for its protocol.

    Attributes:
        config: a TOML file with any of the others; what is given beside it counts more.
        image: size of the pictures that are sent, ``height x width`` as in ``224x224``, or ``camera`` for the camera's
            own; by default what the server asks for, else 224x224 for openpi.
        fit: how pictures get there: ``stretch``, ``pad`` or ``crop``; by default ``pad``, as openpi's own clients do.
        filter: ``bilinear``, ``lanczos`` or ``area``.
        encoding: of pictures for vla-eval: ``raw``, ``png`` or ``jpeg``.
        image_key: where the picture goes: openpi's key, or vla-eval's camera.
        state_key: where the robot's state goes.
        prompt_key: where the instruction goes.
        state: which state, one of ``states.STATES``, or ``none``.
        blank: keys for which a black picture of the same size is sent, e.g. a wrist camera; separated by commas.
        actions: what the numbers of an action mean, one of ``declarations.PRESETS``; the nine below change single
            fields of it, see ``ActionFormat``.
        rotation: how rotations are written, see ``rotations.ROTATION_SIZES``.
        length_unit: of translations: ``m``, ``cm`` or ``mm``.
        angle_unit: ``rad`` or ``deg``.
        frame: whose axes translations and rotations have: ``base`` or ``gripper``.
        gripper_open: the number that means open.
        gripper_closed: the number that means closed.
        gripper_binary: there is nothing between open and closed.
        low: what -1 stands for in the pose numbers of a normalised action.
        high: what +1 stands for.
        timeout: seconds that an answer may take.
        patience: seconds to wait for a server that is not there (yet, or any more).
        tls: wss:// instead of ws://.
    """

    config: str = ""
    image: str | None = None
    fit: str | None = None
    filter: str | None = None
    encoding: str = "raw"
    image_key: str | None = None
    state_key: str | None = None
    prompt_key: str | None = None
    state: str | None = None
    blank: str = ""
    actions: str | None = None
    rotation: str | None = None
    length_unit: str | None = None
    angle_unit: str | None = None
    frame: str | None = None
    gripper_open: float | None = None
    gripper_closed: float | None = None
    gripper_binary: bool | None = None
    low: list | None = None
    high: list | None = None
    timeout: float = 120.0
    patience: float = 30.0
    tls: bool = False

    def __post_init__(self) -> None:
        if self.encoding not in ("raw", *PICTURE_FORMATS):
            raise BadSetting(unknown("encoding", self.encoding, ("raw", *PICTURE_FORMATS)))
        for name in ("timeout", "patience"):
            seconds = getattr(self, name)
            if type(seconds) not in (int, float) or not 0 < seconds < 1e6:
                raise BadSetting(f"{name}={seconds!r}; allowed: seconds, more than 0")

    @property
    def telling(self) -> dict[str, Any]:
        """What was set that says something about the server or changes what it is shown."""
        values = {f.name: (getattr(self, f.name), f.default) for f in dataclasses.fields(self)}
        return {name: value for name, (value, usual) in values.items() if name not in OPERATIONAL and value != usual}

    @property
    def blank_keys(self) -> tuple[str, ...]:
        """``blank`` split into keys."""
        return tuple(key.strip() for key in self.blank.split(",") if key.strip())

    def action_format(self, declared: ActionFormat | None) -> ActionFormat | None:
        """What the numbers of an action mean.

        Args:
            declared: what the server said.

        Returns:
            The given preset, else what was declared, with the given fields changed; None if neither is there.

        Raises:
            BadDeclaration: the fields go together to no format.
            UnknownFormat: there is no such preset.
        """
        if self.actions is not None and self.actions not in PRESETS:
            raise UnknownFormat(unknown("actions", self.actions, PRESETS))
        base = PRESETS[self.actions] if self.actions is not None else declared
        names = [f.name for f in dataclasses.fields(ActionFormat) if f.name != "normalised"]
        changes: dict[str, Any] = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        if (self.low is None) != (self.high is None):
            raise BadSetting("low and high belong together: what -1 and what +1 of each pose number stand for")
        if self.low is not None:
            changes["normalised"] = Bounds(tuple(self.low), tuple(self.high))
        if not changes:
            return base
        return dataclasses.replace(base or ActionFormat(), **changes)

    def image_format(self, asked: tuple[int, int] | None) -> ImageFormat | None:
        """The pictures that are sent.

        Args:
            asked: (height, width) that the server asks for, or that is usual.

        Returns:
            None for the camera's own size.

        Raises:
            BadSetting: ``image`` is no size.
            BadDeclaration: ``fit`` or ``filter`` is none.
        """
        size = asked
        if self.image == "camera":
            size = None
        elif self.image is not None:
            match = re.fullmatch(r"(\d{1,4})x(\d{1,4})", self.image)
            if match is None:
                raise BadSetting(f"image={self.image!r}; allowed: height x width as in 224x224, or camera")
            size = (int(match[1]), int(match[2]))
        return None if size is None else ImageFormat(*size, fit=self.fit or "pad", filter=self.filter or "bilinear")


def settings_of(values: dict[str, Any]) -> Settings:
    """Makes settings of what was given, and of the file that it names.

    Raises:
        BadSetting: the file cannot be read, or has a name or a value in it that is not allowed.
    """
    if not values.get("config"):
        return Settings(**values)
    return Settings(**{**_from_file(Path(values["config"])), **values})


def _from_file(path: Path) -> dict[str, Any]:
    try:
        found = read_toml(path.expanduser())
    except (OSError, ValueError) as error:
        raise BadSetting(f"config={path}: {error}") from error
    defaults = {f.name: f for f in dataclasses.fields(Settings) if f.name != "config"}
    for name, value in found.items():
        if name not in defaults:
            raise BadSetting(f"config={path}: {unknown('setting', name, defaults)}")
        if not isinstance(value, _types(defaults[name].type)) or (
            isinstance(value, bool) and "bool" not in str(defaults[name].type)
        ):
            raise BadSetting(f"config={path}: {name} = {value!r}; allowed: {defaults[name].type}")
    return found


def _types(annotation: Any) -> tuple[type, ...]:
    kinds = {"str": (str,), "float": (int, float), "bool": (bool,), "list": (list,), "None": ()}
    return tuple(kind for part in str(annotation).split(" | ") for kind in kinds[part])
