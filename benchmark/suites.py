"""Suites: what an evaluation runs when nothing else is said, under one name.

``smoke``, ``rl4vla`` and ``vlagen-v1`` are sets of rows of vlagen's own task. ``simpler-widowx`` and
``maniskill:<EnvId>`` are other people's tasks, executed as ManiSkill ships them; their rows are ``TaskRow`` values, and
an episode is the number that upstream starts it by. Nothing here imports a simulator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from vlagen.assets.errors import unknown
from vlagen.benchmark.backends.task_rows import SIMPLER_TASKS, BadSuite, TaskRow
from vlagen.tasks.interface import HORIZON

MANISKILL = "maniskill:"
"""Prefix of the suite of one ManiSkill3 task."""

SHADERS = ("minimal", "default", "rt", "rt-fast", "rt-med")


@dataclass(frozen=True, kw_only=True)
class Suite:
    """What to run.

    Attributes:
        name: for ``--suite``.
        description: one line for ``--list``.
        simulator: ``put-on-plate`` is vlagen's own environment, ``maniskill-task`` executes ``tasks``.
        protocol: whose rows and rules.
        assets: the asset pack; for foreign tasks what records call their files, which are no pack.
        rows: ids, axes or ``all``.
        episodes: the first so many of each row.
        horizon: control steps an episode takes; None where it depends on the row.
        tasks: all rows of a foreign suite.
    """

    name: str
    description: str
    simulator: Literal["put-on-plate", "maniskill-task"]
    protocol: str
    assets: str
    rows: tuple[str, ...] = ("all",)
    episodes: int
    horizon: int | None = HORIZON
    tasks: tuple[TaskRow, ...] = ()

    @property
    def chosen_tasks(self) -> tuple[TaskRow, ...]:
        """The rows of a foreign suite that ``rows`` names, in the order of the suite and each once.

        Raises:
            BadSuite: a name is no id, no axis and not ``all``.
        """
        groups = {"all": set(self.tasks)}
        for task in self.tasks:
            groups.setdefault(task.axis, set()).add(task)
            groups[task.id] = {task}
        for name in self.rows:
            if name not in groups:
                raise BadSuite(unknown(f"row of {self.name}", name, groups))
        chosen = set().union(*(groups[name] for name in self.rows))
        return tuple(task for task in self.tasks if task in chosen)


@dataclass(frozen=True)
class Overrides:
    """What the command line says beside the suite; None, or nothing, leaves the suite's value."""

    rows: tuple[str, ...] = ()
    episodes: int | None = None
    protocol: str | None = None
    assets: str | None = None


SUITES = (
    Suite(
        name="vlagen-v1",
        description="all rows with the built-in assets, 64 episodes each; --episodes 192 for a publication",
        simulator="put-on-plate",
        protocol="vlagen-v1",
        assets="builtin",
        episodes=64,
    ),
    Suite(
        name="smoke",
        description="all rows with the built-in assets, 2 episodes each: whether everything works, not how well",
        simulator="put-on-plate",
        protocol="vlagen-v1",
        assets="builtin",
        episodes=2,
    ),
    Suite(
        name="rl4vla",
        description="the original study: its episodes with their quirks, its objects, 192 episodes a row",
        simulator="put-on-plate",
        protocol="rl4vla",
        assets="rl4vla",
        episodes=192,
    ),
    Suite(
        name="simpler-widowx",
        description="SimplerEnv's four WidowX tasks as ManiSkill3 ships them, 24 episodes each",
        simulator="maniskill-task",
        protocol="simpler-widowx",
        assets="bridge_v2_real2sim",
        episodes=24,
        horizon=None,
        tasks=SIMPLER_TASKS,
    ),
)
"""The suites that have a name, the default first; ``find_suite`` also makes those of ``maniskill:<EnvId>``."""

ARGUMENTS = ("camera", "control_mode", "height", "horizon", "instruction", "shader", "width")
"""What a ``maniskill:<EnvId>`` suite takes; see ``TaskRow``."""


def find_suite(name: str, arguments: Sequence[tuple[str, str]] = ()) -> Suite:
    """Finds a suite by name.

    Args:
        name: of one of ``SUITES``, or ``maniskill:<EnvId>`` for a task that ManiSkill registers. Whether it does is
            checked by who imports ManiSkill.
        arguments: names out of ``ARGUMENTS`` and values, for ``maniskill:<EnvId>`` only.

    Raises:
        BadSuite: no such suite or argument.
    """
    prefix, _, environment = name.partition(":")
    if f"{prefix}:" == MANISKILL and environment:
        return _task_suite(environment, arguments)
    for suite in SUITES:
        if suite.name == name:
            if arguments:
                raise BadSuite(
                    f"suite {name!r} takes no --suite-args, and {arguments[0][0]!r} was given; leave them out"
                )
            return suite
    # The user's own environment makes the misspelt prefix of 'manskill:PickCube-v1' findable.
    raise BadSuite(
        unknown("suite", name, [*(suite.name for suite in SUITES), f"{MANISKILL}{environment or '<EnvId>'}"])
    )


def _task_suite(environment: str, arguments: Sequence[tuple[str, str]]) -> Suite:
    given: dict[str, str] = {}
    for key, value in arguments:
        if key not in ARGUMENTS:
            raise BadSuite(unknown("suite argument", key, ARGUMENTS))
        given[key] = value
    numbers = {key: _number(key, given.pop(key)) for key in ("height", "width", "horizon") if key in given}
    if ("height" in numbers) != ("width" in numbers):
        raise BadSuite("suite arguments height and width belong together; give both or neither")
    if given.get("shader", "minimal") not in SHADERS:
        raise BadSuite(unknown("shader", given["shader"], SHADERS))
    # Every environment has rules of its own, and default folders are named after protocols.
    protocol = f"maniskill-{environment.replace('/', '-')}"
    row = TaskRow(
        id=f"maniskill/{environment}",
        title=environment,
        protocol=protocol,
        environment=environment,
        horizon=numbers.get("horizon"),
        image=(numbers["height"], numbers["width"]) if "height" in numbers else None,
        **given,
    )
    return Suite(
        name=f"{MANISKILL}{environment}",
        description=f"ManiSkill3's {environment}, one row, seeds 0 to 63",
        simulator="maniskill-task",
        protocol=protocol,
        assets="maniskill",
        episodes=64,
        horizon=row.horizon,
        tasks=(row,),
    )


def _number(key: str, text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise BadSuite(f"suite argument {key} {text!r}; allowed: a whole number from 1 on")
    return int(text)


def resolve(suite: Suite, overrides: Overrides) -> Suite:
    """Puts what the command line says explicitly over what the suite says.

    Rows of vlagen's own task are not checked here: they may be compositions. Those of a foreign suite, and their
    number of episodes, are.

    Raises:
        BadSuite: a foreign suite was given a protocol or assets, or a row or number of episodes that it does not have.
    """
    rows, episodes = overrides.rows or suite.rows, suite.episodes if overrides.episodes is None else overrides.episodes
    if suite.simulator == "put-on-plate":
        protocol, assets = overrides.protocol or suite.protocol, overrides.assets or suite.assets
        return replace(suite, rows=rows, episodes=episodes, protocol=protocol, assets=assets)
    for option, given in (("protocol", overrides.protocol), ("assets", overrides.assets)):
        if given is not None:
            raise BadSuite(f"--{option} {given}: suite {suite.name!r} has its own; leave the option out")
    resolved = replace(suite, rows=rows, episodes=episodes)
    for task in resolved.chosen_tasks:
        task.listing(episodes)
    return resolved
