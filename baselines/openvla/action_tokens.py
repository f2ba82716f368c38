"""Between numbers and the tokens that stand for them: bins of -1 to 1, written with a vocabulary's last ids.

Upstream names bins by their edges, of which there are as many as tokens. So there is one bin fewer than there are
tokens: the largest value, +1 itself, has a token of its own (the first id), which is read as the bin below it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from vlagen.baselines.openvla.configuration import OpenVLAConfig


@dataclass(frozen=True)
class ActionTokenizer:
    """Writes numbers as token ids and reads them back.

    The last id of the vocabulary stands for -1, ids count downwards from there.

    Attributes:
        bins: how many ids there are for actions, which is the number of edges.
        vocabulary_size: how many ids the vocabulary has; the actions' are its last.
    """

    bins: int = 256
    vocabulary_size: int = 32000

    @classmethod
    def from_config(cls, config: OpenVLAConfig) -> ActionTokenizer:
        """Makes the tokenizer of a model."""
        return cls(config.action_bins, config.vocabulary_size)

    @property
    def ids(self) -> range:
        """The ids of actions, in increasing order, so from the largest value to the smallest."""
        return range(self.vocabulary_size - self.bins, self.vocabulary_size)

    @cached_property
    def edges(self) -> np.ndarray:
        """The edges of the bins, float64 (bins,).

        They have to be numpy's: ``torch.linspace`` differs in the last bit, and values on an edge then get another id.
        """
        return np.linspace(-1, 1, self.bins)

    @cached_property
    def centres(self) -> np.ndarray:
        """The middle of each bin, float64 (bins - 1,)."""
        return (self.edges[:-1] + self.edges[1:]) / 2

    def encode(self, actions: np.ndarray) -> np.ndarray:
        """Writes numbers as token ids.

        Args:
            actions: any shape; beyond -1 to 1 they are clipped.

        Returns:
            int64 ids, same shape.
        """
        return self.vocabulary_size - np.digitize(np.clip(actions, -1, 1), self.edges)

    def decode(self, ids: np.ndarray) -> np.ndarray:
        """Reads token ids as numbers.

        Args:
            ids: integers of any shape; ids that stand for no action count as the nearest that does.

        Returns:
            float64 in -1 to 1, same shape: the middle of each one's bin.
        """
        return self.centres[np.clip(self.vocabulary_size - np.asarray(ids) - 1, 0, self.bins - 2)]
