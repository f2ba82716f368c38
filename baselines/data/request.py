"""What can be asked of a collection. The attributes' texts are the help of ``vlagen-collect``."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from pathlib import Path

from vlagen.assets.errors import VlagenError, unknown
from vlagen.baselines.data.codecs import QUALITY
from vlagen.baselines.data.demonstration import TAIL
from vlagen.baselines.data.disturbance import Disturbance
from vlagen.baselines.data.recording import FILTERS
from vlagen.benchmark.loading.arguments import split_pairs
from vlagen.benchmark.request import Request
from vlagen.tasks.interface import IMAGE_HEIGHT, IMAGE_WIDTH
from vlagen.tasks.restriction import Pools

CODECS = ("h264", "png")
SMALL_ACTIONS = ("drop", "keep")


class BadCollection(VlagenError, ValueError):
    """An argument that nothing can be collected with."""


@dataclass(frozen=True, kw_only=True)
class CollectRequest:
    """What to collect, and how."""

    out: Path
    """The data set's folder."""

    policy: str = "expert"
    """Who demonstrates: a policy as vlagen-eval takes it."""

    policy_args: tuple[str, ...] = ()
    """Arguments of the policy, name=value."""

    rows: tuple[str, ...] = ("train",)
    """Rows as vlagen-eval takes them; the data set takes turns among them."""

    episodes: int = 100
    """Successful episodes a row. A larger number continues a collection that is there."""

    protocol: str = "vlagen-v1"
    """vlagen-v1 or rl4vla."""

    assets: str = "builtin"
    """Asset pack: builtin or rl4vla."""

    seed: int = 0
    """Which training episodes are drawn; also seeds the policy and the noise. None is one that evaluations play."""

    objects: tuple[int, ...] = ()
    """Only these objects of the rows' pools, e.g. 0; by default all."""

    receptacles: tuple[int, ...] = ()
    """Only these receptacles."""

    tables: tuple[int, ...] = ()
    """Only these tables."""

    templates: tuple[int, ...] = ()
    """Only these instruction templates."""

    image_size: str = "224x224"
    """HEIGHTxWIDTH of the recorded pictures, at most 480x640; smaller ones are made from the policies' 480x640."""

    image_filter: str = "bicubic"
    """How pictures are made smaller: bicubic is what OpenVLA sees at evaluation; lanczos, bilinear, area."""

    codec: str = "h264"
    """h264 (video), or png: about eight times larger, and nothing is lost."""

    quality: int = QUALITY
    """H.264's constant rate factor: 0 to 51, less is better."""

    small_actions: str = "drop"
    """drop leaves out frames whose action moves at most 1 cm, turns at most 0.06 rad and leaves the gripper alone, as
    the study does; keep."""

    tail: int = TAIL
    """A demonstration ends after so many control steps in a row with the object on the receptacle."""

    noise_position: float = 0.0
    """Standard deviation [m] of noise on the executed translation, each axis; labels stay clean."""

    noise_rotation: float = 0.0
    """The same for the rotation [rad]."""

    push_chance: float = 0.0
    """At each control step, the probability that a push begins: for some steps the gripper goes elsewhere, whatever the
    policy wants. Labels stay clean, and show how to come back."""

    push_steps: int = Disturbance.push_steps
    """How many control steps a push lasts."""

    push_speed: float = Disturbance.push_speed
    """How far a push moves the gripper in a control step [m], in any direction."""

    push_turn: float = Disturbance.push_turn
    """How far it turns the gripper about the vertical axis in a control step, at most [rad]."""

    workers: int = 1
    """Processes that simulate; the data set does not depend on their number."""

    backend: str = "auto"
    """in-process, replicas, batched or auto, as for vlagen-eval."""

    timeout: float = 600.0
    """Seconds that one call of the policy or the simulator may take; 0 for no limit."""

    @property
    def pools(self) -> Pools:
        """The part of the rows' pools to draw from."""
        values = {name: getattr(self, name) for name in ("objects", "receptacles", "tables", "templates")}
        return Pools(**{name: ids for name, ids in values.items() if ids})

    @property
    def disturbance(self) -> Disturbance:
        """What happens to actions before they are executed.

        Raises:
            BadDisturbance: a value is out of its range.
        """
        return Disturbance(**{field.name: getattr(self, field.name) for field in fields(Disturbance)})

    @property
    def picture_size(self) -> tuple[int, int]:
        """Height and width of the recorded pictures.

        Raises:
            BadCollection: the text is no size that can be recorded.
        """
        match = re.fullmatch(r"(\d+)x(\d+)", self.image_size)
        height, width = (int(match[1]), int(match[2])) if match else (0, 0)
        if not (16 <= height <= IMAGE_HEIGHT and 16 <= width <= IMAGE_WIDTH):
            raise BadCollection(
                f"--image-size {self.image_size}; allowed: HEIGHTxWIDTH from 16x16 to {IMAGE_HEIGHT}x{IMAGE_WIDTH}, "
                "e.g. 224x224"
            )
        if self.codec == "h264" and (height % 2 or width % 2):
            raise BadCollection(f"--image-size {self.image_size}: H.264 needs even numbers; take those, or --codec png")
        return height, width

    def evaluation_request(self) -> Request:
        """The rows, backend and workers as the harness has them."""
        return Request(
            policy=self.policy,
            policy_args=self.policy_args,
            rows=self.rows,
            episodes=1,
            protocol=self.protocol,
            assets=self.assets,
            seed=self.seed,
            workers=self.workers,
            backend=self.backend,
            timeout=self.timeout,
        )

    def check(self) -> None:
        """Checks what can be checked without looking anything up.

        Raises:
            BadCollection: the first bad value, what is allowed, and the nearest allowed one.
            BadDisturbance: the same for noise and pushes.
            BadRequest: the same for what is the harness's.
        """
        choices = (
            ("codec", self.codec, CODECS),
            ("image-filter", self.image_filter, FILTERS),
            ("small-actions", self.small_actions, SMALL_ACTIONS),
        )
        for option, value, allowed in choices:
            if value not in allowed:
                raise BadCollection(unknown(option, value, allowed))
        if self.backend == "gpu":
            raise BadCollection("--backend gpu: physics on the GPU cannot be repeated; allowed: auto, in-process, ...")
        for option, value in (("episodes", self.episodes), ("tail", self.tail)):
            if value < 1:
                raise BadCollection(f"--{option} {value}; allowed: 1 or more")
        if not 0 <= self.quality <= 51:
            raise BadCollection(f"--quality {self.quality}; allowed: 0 to 51")
        _ = self.disturbance, self.picture_size
        split_pairs(self.policy_args)
        self.evaluation_request().check()
