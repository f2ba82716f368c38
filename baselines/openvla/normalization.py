"""Between actions in physical units and numbers from -1 to 1, by statistics of the data a model was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlagen.assets.errors import VlagenError, unknown

_SMALLEST_RANGE = 1e-8  # upstream's guard against dividing by zero; on the training side only, as there


class UnknownStatistics(VlagenError, ValueError):
    """A data set that a checkpoint has no statistics of."""


class BadStatistics(VlagenError, ValueError):
    """Statistics that lack numbers, or have more or fewer of them than an action."""


@dataclass(frozen=True)
class ActionNormalizer:
    """Normalises actions of A numbers by their 1st and 99th percentile.

    Attributes:
        q01: what -1 stands for, float64 (A,).
        q99: what +1 stands for, float64 (A,).
        mask: which numbers are normalised, bool (A,); others pass as they are, as grippers usually do.
        constant: which numbers never changed in the data, bool (A,); they are normalised to 0.
    """

    q01: np.ndarray
    q99: np.ndarray
    mask: np.ndarray
    constant: np.ndarray

    @classmethod
    def from_statistics(cls, statistics: Mapping[str, Any]) -> ActionNormalizer:
        """Reads the statistics of one data set, as OpenVLA's ``norm_stats`` have them under its name.

        Raises:
            BadStatistics: numbers are missing, or are not as many everywhere.
        """
        action = statistics.get("action", {})
        missing = [name for name in ("q01", "q99") if name not in action]
        if missing:
            raise BadStatistics(
                f"statistics of actions lack {' and '.join(missing)}; they have {', '.join(action) or 'nothing'}"
            )
        q01, q99 = (np.asarray(action[name], dtype=np.float64) for name in ("q01", "q99"))
        mask = np.asarray(action.get("mask", np.ones(q01.shape)), dtype=bool)
        low, high = (np.asarray(action.get(name, other)) for name, other in (("min", q01), ("max", q99)))
        shapes = {each.shape for each in (q01, q99, mask, low, high)}
        if len(shapes) != 1 or q01.ndim != 1:
            raise BadStatistics(
                f"statistics of actions have shapes {sorted(shapes)}; allowed: one number per dimension"
            )
        return cls(q01, q99, mask, low == high)

    @property
    def size(self) -> int:
        """How many numbers an action has."""
        return len(self.q01)

    def unnormalize(self, numbers: np.ndarray) -> np.ndarray:
        """Turns numbers from -1 to 1 (..., A) into actions, float64."""
        return np.where(self.mask, 0.5 * (numbers + 1) * (self.q99 - self.q01) + self.q01, numbers)

    def normalize(self, actions: np.ndarray) -> np.ndarray:
        """Turns actions (..., A) into numbers from -1 to 1, float64; what lies beyond the percentiles is clipped."""
        numbers = 2 * (actions - self.q01) / (self.q99 - self.q01 + _SMALLEST_RANGE) - 1
        numbers = np.where(self.mask, np.clip(numbers, -1, 1), actions)
        return np.where(self.constant, 0.0, numbers)


@dataclass(frozen=True)
class StateNormalizer:
    """Normalises proprioception of n numbers by their 1st and 99th percentile, as OpenVLA-OFT does.

    Attributes:
        q01: what -1 stands for, float64 (n,).
        q99: what +1 stands for, float64 (n,).
        mask: which numbers are normalised, bool (n,).
    """

    q01: np.ndarray
    q99: np.ndarray
    mask: np.ndarray

    @classmethod
    def from_statistics(cls, statistics: Mapping[str, Any], size: int) -> StateNormalizer:
        """Reads the statistics of one data set, which have proprioception's under ``proprio``.

        Raises:
            BadStatistics: they have none, or not of ``size`` numbers.
        """
        state = statistics.get("proprio") or {}
        missing = [name for name in ("q01", "q99") if name not in state]
        if missing:
            raise BadStatistics(
                f"the model reads proprioception, and its statistics lack proprio's {' and '.join(missing)}; put the "
                "dataset_statistics.json of its training beside its config.json"
            )
        q01, q99 = (np.asarray(state[name], dtype=np.float64) for name in ("q01", "q99"))
        mask = np.asarray(state.get("mask", np.ones(q01.shape)), dtype=bool)
        shapes = {each.shape for each in (q01, q99, mask)}
        if shapes != {(size,)}:
            raise BadStatistics(f"statistics of proprioception have shapes {sorted(shapes)}; allowed: ({size},)")
        return cls(q01, q99, mask)

    def normalize(self, state: np.ndarray) -> np.ndarray:
        """Turns proprioception (..., n) into numbers from -1 to 1, float64; what lies beyond is clipped."""
        scaled = 2 * (state - self.q01) / (self.q99 - self.q01 + _SMALLEST_RANGE) - 1
        return np.clip(np.where(self.mask, scaled, state), -1, 1)


def choose_statistics(norm_stats: Mapping[str, Any], key: str | None) -> tuple[str, Mapping[str, Any]]:
    """Chooses the statistics of one data set.

    Args:
        norm_stats: a checkpoint's, by data set.
        key: the data set's name; may be left out where there is only one.

    Returns:
        The name and its statistics.

    Raises:
        UnknownStatistics: the checkpoint has none of that name, none at all, or several to choose from.
    """
    if not norm_stats:
        raise UnknownStatistics(
            "the checkpoint has no statistics of actions, so its outputs cannot be turned into metres; put the "
            "dataset_statistics.json of its training beside its config.json"
        )
    if key is None and len(norm_stats) > 1:
        raise UnknownStatistics(
            f"the checkpoint has several statistics; give unnorm_key, one of {', '.join(norm_stats)}"
        )
    key = next(iter(norm_stats)) if key is None else key
    if key not in norm_stats:
        raise UnknownStatistics(unknown("unnorm_key", key, norm_stats))
    return key, norm_stats[key]


def compute_statistics(
    actions: np.ndarray, *, mask: Sequence[bool] | None = None, trajectories: int = 0
) -> dict[str, Any]:
    """Computes statistics of actions in the form that OpenVLA keeps under a data set's name.

    Args:
        actions: of all steps of the data set, (N, A), in the units that the robot takes.
        mask: which numbers are to be normalised; by default all but the last, the gripper's.
        trajectories: how many episodes they come from, for the record.

    Returns:
        JSON values: ``action`` with mean, std, max, min, q01, q99 and mask, and how many steps and episodes there were.

    Raises:
        BadStatistics: there are no actions, or not all are finite numbers.
    """
    actions = np.asarray(actions, dtype=np.float64)
    if actions.ndim != 2 or 0 in actions.shape:
        raise BadStatistics(f"actions of shape {actions.shape}; allowed: (steps, numbers), one step or more")
    if not np.isfinite(actions).all():
        raise BadStatistics(f"actions of step {int(np.argmin(np.isfinite(actions).all(axis=1)))} are not finite")
    mask = [True] * (actions.shape[1] - 1) + [False] if mask is None else [bool(flag) for flag in mask]
    if len(mask) != actions.shape[1]:
        raise BadStatistics(f"a mask of {len(mask)} for actions of {actions.shape[1]} numbers; give as many")
    return {
        "action": {
            "mean": actions.mean(axis=0).tolist(),
            "std": actions.std(axis=0).tolist(),
            "max": actions.max(axis=0).tolist(),
            "min": actions.min(axis=0).tolist(),
            "q01": np.quantile(actions, 0.01, axis=0).tolist(),
            "q99": np.quantile(actions, 0.99, axis=0).tolist(),
            "mask": mask,
        },
        "num_transitions": len(actions),
        "num_trajectories": trajectories,
    }
