"""An adapter between a policy and vlagen. It runs as it is, and does nothing; put your model where it says MODEL.

Check it, then score it, from the folder that holds it:

    vlagen-check-policy my_adapter
    vlagen-eval --policy my_adapter --rows train --episodes 8
    vlagen-eval --policy my_adapter --policy-args checkpoint=/path/to/weights temperature=0.0
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vlagen.benchmark.actions.formats import ActionFormat
from vlagen.benchmark.policy import ImageFormat, PolicyEpisode, PolicySpec
from vlagen.tasks.interface import Observation


class MyPolicy:
    """Holds still with the gripper open, until there is a model in it.

    Args:
        checkpoint: where the weights are. Whatever ``__init__`` takes can be given with ``--policy-args``, and all of
            it, defaults included, is written into the run's ``run.json``.
        temperature: of sampling; 0 takes the likeliest action.
    """

    spec = PolicySpec(
        # The camera makes 480 x 640 pictures; say what the model was trained on. `fit` is "stretch", "pad" (black bars)
        # or "crop"; `filter` is "bilinear", "lanczos" or "area". Leave `image` out to get them as they are.
        needs_images=True,
        image=ImageFormat(height=224, width=224, fit="stretch", filter="lanczos"),
        # True if the model reads observation.proprioception: (B, 8), six arm joints [rad] and two finger joints [m].
        needs_proprioception=False,
        # What the numbers that `act` returns mean; vlagen converts them. These are its own, so they may be left out:
        # steps in the robot's base frame, in metres and radians, gripper +1 open. Others, for example:
        # - gripper_open=0.0, gripper_closed=1.0: the model closes on 1
        # - gripper_binary=True: fully open or closed, by the side of the middle
        # - rotation="axis_angle", or quaternion_wxyz, quaternion_xyzw, rotation_6d, ...
        # - length_unit="cm", angle_unit="deg"
        # - frame="gripper": steps along the gripper's own axes
        # - normalised=Bounds(low=q01, high=q99): -1..1 instead of units, with the six numbers that -1 and 1 stand for
        # Absolute targets and joint angles are no steps: turn them into steps before you return them.
        emits=ActionFormat(gripper_open=1.0, gripper_closed=-1.0),
        # True only if a copy in every worker process costs nothing; a model with weights stays False and is asked once
        # for all episodes that run side by side.
        light=False,
    )

    def __init__(self, checkpoint: str = "", temperature: float = 0.0) -> None:
        self._checkpoint = checkpoint
        self._temperature = temperature
        self._generators: list[np.random.Generator] = []
        # MODEL: load the weights here.

    def reset(self, episodes: Sequence[PolicyEpisode]) -> None:
        """Begins B new episodes and forgets the ones before; B may differ from the last time."""
        # Each episode has its own seed, and what is drawn for it must depend on nothing else: then it has the same
        # result alone, in a batch, and on another machine.
        self._generators = [np.random.default_rng(episode.seed) for episode in episodes]

    def act(self, observation: Observation) -> np.ndarray:
        """Chooses the next action of every episode.

        Args:
            observation: has ``rgb`` (B, height, width, 3) uint8, ``instruction`` (B texts), ``proprioception`` and
                ``step``, the control steps taken so far. Do not change it in place.

        Returns:
            (B, 7) floating point, or (B, T, 7) for a chunk of the next T actions; ``--execute-horizon k`` then executes
            the first k of them before asking again.
        """
        # MODEL: actions = self._model(observation.rgb, observation.instruction, self._temperature), as numpy.
        actions = np.zeros((len(observation.instruction), 7), dtype=np.float32)
        actions[:, 6] = 1.0
        return actions
