"""A simulator that writes down what happens in it: how a played episode becomes a demonstration.

It wraps the simulator inside the roll-out, wherever that runs, so pictures never cross between processes: they are
brought to their size, encoded and written where they were taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from vlagen.assets.errors import VlagenError
from vlagen.baselines.data.codecs import encode
from vlagen.baselines.data.demonstration import Codec, Demonstration, is_small
from vlagen.baselines.data.disturbance import Disturbance, Disturber
from vlagen.baselines.data.staging import staged_path, write_staged
from vlagen.benchmark.policy import policy_seed
from vlagen.benchmark.simulator import Simulator, SimulatorWrapper, StepResult
from vlagen.tasks.episodes import Episode
from vlagen.tasks.interface import Observation

Filter = Literal["bicubic", "lanczos", "bilinear", "area"]

FILTERS: dict[str, Image.Resampling] = {
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "bilinear": Image.Resampling.BILINEAR,
    "area": Image.Resampling.BOX,
}
"""Ways to make pictures smaller; all widen with the reduction, so that nothing aliases."""


class StorageTrouble(VlagenError):
    """A demonstration that could not be written: nothing is wrong with its episode."""


@dataclass(frozen=True, kw_only=True)
class Recording:
    """How episodes become demonstrations; wraps simulators, see ``player.Job.wrap``. Pickled for worker processes.

    Attributes:
        folder: where successful episodes are staged.
        assets: name of the asset pack.
        height: of the recorded pictures.
        width: of the recorded pictures.
        filter: how they are made smaller.
        codec: see ``codecs``.
        quality: of H.264.
        tail: successes in a row after which a demonstration ends.
        drop_small: leave out frames with small actions.
        disturbance: of the actions that are executed.
        seed: of the disturbance.
        blind: nobody but the recording looks at the pictures, so none are taken once they are not recorded any more.
    """

    folder: Path
    assets: str
    height: int
    width: int
    filter: Filter
    codec: Codec
    quality: int
    tail: int
    drop_small: bool
    disturbance: Disturbance
    seed: int
    blind: bool

    def __call__(self, simulator: Simulator) -> RecordingSimulator:
        return RecordingSimulator(simulator, self)


class RecordingSimulator(SimulatorWrapper):
    """Behaves like the simulator it wraps, but for the disturbance, and stages each successful episode when it ends.

    Args:
        simulator: is played in; must take pictures.
        recording: how.
    """

    def __init__(self, simulator: Simulator, recording: Recording) -> None:
        super().__init__(simulator)
        self._recording = recording
        self._takes: list[Take] = []
        self._seen: Observation | None = None

    def start(self, episodes: Sequence[Episode]) -> Observation:
        self._seen = self.simulator.start(episodes)
        self._takes = [
            Take(episode, words, self._recording)
            for episode, words in zip(episodes, self._seen.instruction, strict=True)
        ]
        return self._seen

    def step(self, actions: np.ndarray) -> StepResult:
        """Executes and records a control step.

        Raises:
            StorageTrouble: an episode has ended and cannot be written.
        """
        executed = np.stack([take.disturbed(action) for take, action in zip(self._takes, actions, strict=True)])
        result = self.simulator.step(executed)
        for place, take in enumerate(self._takes):
            take.add(self._seen, place, actions[place], executed[place], result)
        self._seen = result.observation
        if self._recording.blind and all(take.ended for take in self._takes):
            stop = getattr(self.simulator, "stop_pictures", None)
            if stop is not None:
                stop()
        if self._takes[0].step == self.horizon:
            for take in self._takes:
                take.stage()
        return result


class Take:
    """One episode as it is being recorded.

    Attributes:
        disturbed: what is executed instead of an action (7,).
        step: control steps so far.
        ended: the demonstration is over, though the episode goes on.
    """

    def __init__(self, episode: Episode, instruction: str, recording: Recording) -> None:
        self._episode = episode
        self._instruction = instruction
        self._recording = recording
        noise, pushes = (
            policy_seed(recording.seed, f"{kind}:{episode.protocol}", episode.variant, episode.index)
            for kind in ("noise", "pushes")
        )
        self.disturbed = Disturber(recording.disturbance, (noise, pushes))
        self._before: np.ndarray | None = None
        self._streak = 0
        self._succeeds = False
        self._images: list[np.ndarray] = []
        self._frames: list[tuple[np.ndarray, ...]] = []
        self._rewards: list[float] = []
        self._successes: list[bool] = []
        self._early_reward = 0.0
        self._replay: list[np.ndarray] = []
        self.step = 0
        self.ended = False

    def add(self, seen: Observation, place: int, action: np.ndarray, executed: np.ndarray, result: StepResult) -> None:
        """Takes down a control step of the episode at a place of the batch."""
        action = np.array(action, dtype=np.float32)
        self._replay.append(np.array(executed, dtype=np.float32))
        self._succeeds = bool(result.success[place])
        if not self.ended:
            if not (self._recording.drop_small and is_small(action, self._before)):
                self._images.append(self._resized(seen.rgb[place]))
                self._frames.append(
                    (seen.proprioception[place], seen.gripper_pose[place], action, self._replay[-1], self.step)
                )
                self._rewards.append(self._early_reward)
                self._successes.append(self._succeeds)
                self._early_reward = 0.0
            # What a frame that was left out earned belongs to the frame before it, or to the first one.
            if self._rewards:
                self._rewards[-1] += float(result.reward[place])
                self._successes[-1] = self._succeeds
            else:
                self._early_reward += float(result.reward[place])
            self._streak = self._streak + 1 if self._succeeds else 0
            self.ended = self._streak == self._recording.tail
        self._before = action
        self.step += 1

    def stage(self) -> None:
        """Writes the demonstration if the episode succeeded and any frame was kept.

        Raises:
            StorageTrouble: the disk is full, or the folder cannot be written.
        """
        if not self._succeeds or not self._images:
            return
        recording = self._recording
        states, poses, actions, executed, steps = (np.stack(column) for column in zip(*self._frames, strict=True))
        demonstration = Demonstration(
            episode=self._episode,
            assets=recording.assets,
            instruction=self._instruction,
            pictures=encode(self._images, recording.codec, recording.quality),
            states=states.astype(np.float32),
            gripper_poses=poses.astype(np.float32),
            actions=actions,
            executed_actions=executed,
            rewards=np.array(self._rewards, dtype=np.float32),
            successes=np.array(self._successes),
            steps=steps.astype(np.int64),
            replay=np.stack(self._replay),
        )
        demonstration.check()
        path = staged_path(recording.folder, self._episode.variant, self._episode.index)
        try:
            write_staged(path, demonstration)
        except OSError as error:
            raise StorageTrouble(f"{path} cannot be written: {error.strerror or error}") from error

    def _resized(self, picture: np.ndarray) -> np.ndarray:
        size = (self._recording.width, self._recording.height)
        if picture.shape[1::-1] == size:
            return np.array(picture)
        return np.asarray(Image.fromarray(picture).resize(size, FILTERS[self._recording.filter]))
