"""What runs on a cluster's machines: actors that play episodes, and simulators that are actors themselves."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray.exceptions import RayActorError

from vlagen.assets.errors import VlagenError
from vlagen.assets.packs import load_pack
from vlagen.benchmark import provenance
from vlagen.benchmark.player import Job, Player
from vlagen.benchmark.records import EpisodeRecord, differences
from vlagen.benchmark.simulator import EpisodeLike, Simulator, StepResult, concatenate
from vlagen.tasks.interface import Observation

Conditions = Mapping[str, Any]


class SimulatorLost(BaseException):
    """A simulator's process or machine is gone.

    No ``Exception``, because the player takes those for something that the episode or the policy has done.
    """


@dataclass(frozen=True)
class Refusal:
    """Why an actor cannot play: the user's to mend, so a text instead of an exception that Ray would wrap."""

    reason: str


@dataclass(frozen=True)
class Lost:
    """Why an actor has no records of the episodes that it was given, although it lives."""

    fate: str


def conditions(job: Job, stage: Conditions) -> dict[str, Any]:
    """Collects what can move a number on the machine that this runs on; it has to be alike on all of them.

    Args:
        job: what is played.
        stage: the identity of the stage, as found on the machine that records.
    """
    here = dict(stage)
    if "assets" in here:
        here["assets"] = provenance.assets_identity(load_pack(job.assets))
    if isinstance(here.get("renderer"), Mapping):
        renderer = here["renderer"]
        here["renderer"] = provenance.renderer_identity(renderer["backend"], renderer.get("shader", ""))
    return provenance.identity(job, here, "ray")


class PlayerActor:
    """A ``Player`` on some machine.

    Args:
        job: what to play with.
        stage: identity of the stage.
        expected: ``conditions`` on the machine that records.
        check_files: raises if an episode needs a file that this machine does not have.
        own_folder: this machine has its own copy of the folder in which the policy is looked for.
    """

    def __init__(
        self, job: Job, stage: Conditions, expected: Conditions, check_files: Callable[[], None], own_folder: bool
    ) -> None:
        self._job = replace(job, policy=replace(job.policy, folder=str(Path.cwd()))) if own_folder else job
        self._stage = stage
        self._expected = expected
        self._check_files = check_files
        self._player: Player | None = None

    def arrive(self) -> tuple[str, int]:
        """Names the machine and the process."""
        return platform.node(), os.getpid()

    def prepare(self) -> Refusal | Lost | tuple[()]:
        """Makes simulator and policy, if this machine is like the one that records."""
        try:
            self._compare()
            self._check_files()
            self._player = Player(self._job, watched=True)
        except VlagenError as error:
            return Refusal(f"{platform.node()}: {error}")
        except SimulatorLost as loss:
            return Lost(str(loss))
        return ()

    def play(self, episodes: Sequence[EpisodeLike]) -> tuple[EpisodeRecord, ...] | Lost:
        """Plays episodes; what goes wrong in them is in their records."""
        assert self._player is not None, "prepare comes first"
        try:
            return tuple(self._player.play(episodes))
        except SimulatorLost as loss:
            return Lost(str(loss))

    def _compare(self) -> None:
        unlike = differences(dict(self._expected), conditions(self._job, self._stage))
        if unlike:
            raise VlagenError(
                f"this machine would give other numbers than the one that records: {'; '.join(unlike)}. Make the two "
                "alike, or keep this one out with --ray-args simulator_nodes=... policy_nodes=..."
            )


class SimulatorActor:
    """A simulator with room for one episode, on some machine."""

    def __init__(self, make_simulator: Callable[[], Simulator]) -> None:
        self._make_simulator = make_simulator
        self._simulator: Simulator | None = None

    def prepare(self) -> Refusal | None:
        """Makes the simulator."""
        try:
            self._simulator = self._make_simulator()
        except VlagenError as error:
            return Refusal(f"{platform.node()}: {error}")
        return None

    def start(self, episode: EpisodeLike) -> tuple[Observation, tuple[int, float]]:
        """Starts an episode; returns what is seen, and the simulator's horizon and control frequency [Hz]."""
        assert self._simulator is not None, "prepare comes first"
        observation = self._simulator.start([episode])
        return observation, (self._simulator.horizon, self._simulator.control_frequency)

    def step(self, action: np.ndarray) -> StepResult:
        """Executes an action (1, 7)."""
        assert self._simulator is not None, "prepare comes first"
        return self._simulator.step(action)


class ActorSimulators:
    """Plays up to ``count`` episodes in as many ``SimulatorActor``, in step.

    Args:
        make_simulator: makes a simulator with room for one episode.
        count: number of actors.
        options: Ray's, for each of them.

    Attributes:
        horizon: that of the episodes started last.
        control_frequency: theirs [Hz].

    Raises:
        VlagenError: a simulator cannot be made.
        SimulatorLost: from ``start`` and ``step``, when an actor is gone; ``start`` replaces it the next time.
    """

    def __init__(self, make_simulator: Callable[[], Simulator], count: int, options: Mapping[str, Any]) -> None:
        self.capacity = count
        self.horizon, self.control_frequency = 0, 0.0
        self._make_simulator = make_simulator
        self._class = ray.remote(SimulatorActor).options(**options)
        self._actors: list[Any] = [None] * count
        self._active = 0
        # Now, as starting them all takes longer than an episode may.
        self._fill()

    def start(self, episodes: Sequence[EpisodeLike]) -> Observation:
        self._active = len(episodes)
        self._fill()
        started = self._collect([self._actors[place].start.remote(e) for place, e in enumerate(episodes)])
        ((self.horizon, self.control_frequency),) = {pace for _, pace in started}
        return concatenate([observation for observation, _ in started])

    def step(self, actions: np.ndarray) -> StepResult:
        asked = [self._actors[place].step.remote(actions[place : place + 1]) for place in range(self._active)]
        return concatenate(self._collect(asked))

    def close(self) -> None:
        for actor in self._actors:
            if actor is not None:
                ray.kill(actor)
        self._actors = [None] * self.capacity

    def _fill(self) -> None:
        """Starts what is not there."""
        places = [place for place, actor in enumerate(self._actors) if actor is None]
        for place in places:
            self._actors[place] = self._class.remote(self._make_simulator)
        for answer in self._collect([self._actors[place].prepare.remote() for place in places], places):
            if answer is not None:
                self.close()
                raise VlagenError(answer.reason)

    def _collect(self, references: Sequence[Any], places: Sequence[int] | None = None) -> list[Any]:
        """Waits for all answers, those of the first actors unless other ``places`` are given."""
        asked = zip(range(self._active) if places is None else places, references, strict=True)
        answers = [self._fetch(place, reference) for place, reference in asked]
        lost = [answer for answer in answers if isinstance(answer, RayActorError)]
        if lost:
            raise SimulatorLost(f"lost {len(lost)} of {len(references)} simulators")
        return answers

    def _fetch(self, place: int, reference: Any) -> Any:
        try:
            return ray.get(reference)
        except RayActorError as error:
            self._actors[place] = None
            return error
        except SystemError as error:
            # Ray's core wraps what a signal's handler raises in it, such as ``DeadlineExceeded``.
            raise error.__cause__ or error from None
