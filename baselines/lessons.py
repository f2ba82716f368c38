"""Demonstrations as supervised training takes them: batches of pixel values, prompts and answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vlagen.baselines.augmentation import Augmentation
from vlagen.baselines.data.frames import Frames
from vlagen.baselines.openvla.normalization import compute_statistics
from vlagen.baselines.openvla.processing import Processing
from vlagen.baselines.openvla.prompts import SupervisedBatch
from vlagen.baselines.settings import BadSetting


class Lessons:
    """The frames of data sets, split into those to train on and those of held-out episodes.

    Args:
        roots: folders of the data sets.
        size: side of the square pictures that the model takes [pixels].
        held_out: the last so many episodes are not trained on.
        augmentation: how pictures to train on are changed.
        seed: of these changes.
        rank: which of the processes this is.
        first: only the first so many episodes are trained on; 0 for all but the held-out ones.

    Attributes:
        training: numbers of the frames to train on.
        held_out: numbers of the others.

    Raises:
        BadSetting: no data set is named, or it has fewer episodes.
        BadDemonstrations: one of them is damaged.
    """

    def __init__(
        self,
        roots: Sequence[Path],
        size: int,
        held_out: int,
        augmentation: Augmentation,
        seed: int,
        rank: int = 0,
        first: int = 0,
    ) -> None:
        if not roots:
            raise BadSetting("data is empty; allowed: folders that vlagen-collect has made, e.g. --set data=demos")
        self._frames = Frames(roots, (size, size))
        self.training, self.held_out = self._frames.split(held_out)
        self._episodes = len(self._frames.episode_lengths) - held_out
        if not 0 <= first <= self._episodes:
            raise BadSetting(
                f"demonstrations = {first}; allowed: 1 to {self._episodes}, all but the {held_out} held out"
            )
        if first:
            self._episodes = first
            self.training = self.training[self._frames.episode_index[self.training] < first]
        self._augmentation, self._seed, self._rank = augmentation, seed, rank

    def statistics(self) -> dict[str, Any]:
        """What normalises the actions that are trained on, in OpenVLA's form."""
        return compute_statistics(self._frames.actions[self.training], trajectories=self._episodes)

    def prepare(
        self, processing: Processing, places: np.ndarray, number: int | None = None
    ) -> tuple[Tensor, SupervisedBatch]:
        """Reads frames and makes of them what a model takes.

        Args:
            processing: of the model.
            places: (B,) numbers of frames.
            number: of the batch in the run, which the changes of its pictures follow from; None changes nothing.

        Returns:
            Pixel values (B, C, S, S), and prompts with their answers.
        """
        frames = self._frames.batch(places)
        images = torch.from_numpy(frames.images)
        if number is not None and self._augmentation.changes:
            images = self._augmentation(images, [self._generator(number, place) for place in range(len(places))])
        return processing.images.normalise(images), processing.supervised(frames.instructions, frames.actions)

    def _generator(self, number: int, place: int) -> np.random.Generator:
        """What a picture is changed by: a counter-based generator, so nothing of it has to be stored."""
        bits = np.random.Philox(key=[self._seed, number], counter=[0, 0, self._rank, place])
        return np.random.Generator(bits)
