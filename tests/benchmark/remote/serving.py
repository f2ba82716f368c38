"""Servers on this machine for tests, and policies that only they need."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tests.benchmark import toys
from vlagen.benchmark.actions.formats import ActionFormat, express
from vlagen.benchmark.evaluate import Evaluation
from vlagen.benchmark.loading.source import find_policy
from vlagen.benchmark.policy import ImageFormat, PolicyEpisode, PolicySpec
from vlagen.benchmark.remote.server import Place, PolicyServer, in_background
from vlagen.benchmark.remote.serving import Service, make_server
from vlagen.benchmark.request import Request
from vlagen.tasks.interface import Observation

HERE = "127.0.0.1"


@contextlib.contextmanager
def served(policy: type, protocol: str = "openpi", place: Place | None = None, **service) -> Iterator[str]:
    """Serves a toy policy and yields its address."""
    with running(make(policy, protocol, place, **service)) as port:
        yield f"{protocol}://{HERE}:{port}"


def make(policy: type, protocol: str = "openpi", place: Place | None = None, **service) -> PolicyServer:
    name = f"{policy.__module__}:{policy.__name__}"
    return make_server(find_policy(name), Service(protocol=protocol, **service), place or Place(port=0))


running = in_background


class ShortSimulator(toys.ToySimulator):
    """Ends an episode after so many steps that every policy here has done what is special of it."""

    horizon = 16


def play(policy: type | str, out: Path, simulator: type = ShortSimulator, **request) -> list[str]:
    """Plays a toy evaluation and returns the records' lines, timing aside."""
    name = policy if isinstance(policy, str) else f"{policy.__module__}:{policy.__name__}"
    defaults = {"rows": ("train", "vision/table"), "episodes": 4, "assets": toys.ASSETS}
    with Evaluation(Request(policy=name, out=out, **(defaults | request)), simulator) as evaluation:
        list(evaluation.play())
    return toys.timeless_lines(out)


def observation(count: int = 1, step: int = 0, instruction: str = "go to 0", size: tuple[int, int] = (32, 48)):
    """What a policy may see, other numbers in every element."""
    random = np.random.default_rng(step)
    return Observation(
        rgb=random.integers(0, 256, (count, *size, 3), dtype=np.uint8),
        instruction=(instruction,) * count,
        proprioception=random.normal(size=(count, 8)).astype(np.float32),
        gripper_pose=np.tile(np.float32([0.3, 0, 0.1, 1, 0, 0, 0]), (count, 1)),
        step=step,
    )


class WatchfulPolicy(toys.SlowPolicy):
    """Moves as everything it is shown and told decides, down to the last bit."""

    spec = PolicySpec(needs_proprioception=True, image=ImageFormat(16, 24, filter="lanczos"))

    def reset(self, episodes: Sequence[PolicyEpisode]) -> None:
        self.episodes = tuple(episodes)
        self._generators = [np.random.default_rng(episode.seed) for episode in episodes]

    def act(self, observation: Observation) -> np.ndarray:
        actions = np.zeros((len(self.episodes), 7))
        for row, generator in enumerate(self._generators):
            seen = observation.rgb[row].astype(float).mean() / 255 + observation.proprioception[row].sum()
            told = len(observation.instruction[row]) + observation.step + observation.gripper_pose[row].sum()
            actions[row] = 0.1 * np.sin(seen + told + generator.normal(size=7))
        return actions


class EpisodewisePolicy(WatchfulPolicy):
    """The same, with a memory of each episode of its own."""

    spec = PolicySpec(needs_proprioception=True, image=ImageFormat(16, 24, filter="lanczos"))

    def begin(self, episode: PolicyEpisode) -> list:
        return [np.random.default_rng(episode.seed), 0]

    def act_on(self, observation: Observation, memories: Sequence[list]) -> np.ndarray:
        actions = np.zeros((len(memories), 7))
        for row, memory in enumerate(memories):
            generator, step = memory
            memory[1] += 1
            seen = observation.rgb[row].astype(float).mean() / 255 + observation.proprioception[row].sum()
            told = len(observation.instruction[row]) + step + observation.gripper_pose[row].sum()
            actions[row] = 0.1 * np.sin(seen + told + generator.normal(size=7))
        return actions


class ChunkPolicy(toys.SlowPolicy):
    """Returns chunks of four, which count the steps of its episode in the number that moves."""

    spec = PolicySpec(needs_images=False, chunk=4)

    def reset(self, episodes: Sequence[PolicyEpisode]) -> None:
        super().reset(episodes)
        self._step = 0

    def act(self, observation: Observation) -> np.ndarray:
        chunk = np.zeros((len(self.episodes), 4, 7), dtype=np.float32)
        chunk[:, :, 0] = 1e-3 * (self._step + np.arange(4))
        self._step += 4
        return chunk


class BridgePolicy(toys.SlowPolicy):
    """Emits centimetres, a quaternion and Bridge's gripper."""

    spec = PolicySpec(
        needs_images=False,
        emits=ActionFormat(length_unit="cm", rotation="quaternion_xyzw", gripper_open=1.0, gripper_closed=0.0),
    )
    canonical = np.float32([0.01, -0.02, 0.03, 0.1, -0.2, 0.3, -1.0])

    def act(self, observation: Observation) -> np.ndarray:
        return express(np.tile(self.canonical, (len(self.episodes), 1)), self.spec.emits)


class RaisingAlwaysPolicy(toys.SlowPolicy):
    """Raises whatever it is asked."""

    def act(self, observation: Observation) -> np.ndarray:
        raise ZeroDivisionError("toy trouble")
