"""What LeRobotDatasets say of each feature: minimum, maximum, mean, deviation and count, of episodes and of all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlagen.baselines.data.codecs import decode
from vlagen.baselines.data.demonstration import Demonstration
from vlagen.baselines.data.layout import CAMERA, VECTORS

_PICTURES = 8
"""So many pictures of an episode stand for all of them."""


@dataclass(frozen=True)
class EpisodeStatistics:
    """Statistics of one episode: feature -> statistic -> numbers."""

    values: Mapping[str, Mapping[str, np.ndarray]]

    def columns(self) -> dict[str, Any]:
        """As columns of an episode table, ``stats/<feature>/<statistic>``."""
        return {f"stats/{key}/{name}": v.tolist() for key, of in self.values.items() for name, v in of.items()}


def describe(demonstration: Demonstration) -> EpisodeStatistics:
    """The statistics of a demonstration. Pictures count per channel in [0, 1], shape (3, 1, 1)."""
    values = {key: _of(getattr(demonstration, attribute)) for key, (attribute, _) in VECTORS.items()}
    values["next.reward"] = _of(demonstration.rewards[:, None])
    images = decode(demonstration.pictures)
    images = images[np.unique(np.linspace(0, len(images) - 1, _PICTURES).astype(int))] / 255.0
    pictures = _of(images.reshape(-1, 3))
    values[CAMERA] = {name: v if name == "count" else v.reshape(3, 1, 1) for name, v in pictures.items()}
    values[CAMERA]["count"] = np.array([len(images)])
    return EpisodeStatistics(values)


def _of(values: np.ndarray) -> dict[str, np.ndarray]:
    values = values.astype(np.float64)
    return {
        "min": values.min(axis=0),
        "max": values.max(axis=0),
        "mean": values.mean(axis=0),
        "std": values.std(axis=0),
        "count": np.array([len(values)]),
    }


def aggregate(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Joins episodes' statistics into those of the data set.

    Args:
        rows: ``EpisodeStatistics.columns`` of each.

    Returns:
        Feature -> statistic -> numbers as lists, the form of ``stats.json``.
    """
    rows = list(rows)
    result: dict[str, dict[str, Any]] = {}
    for key in sorted({name.split("/")[1] for name in rows[0]}):

        def column(statistic: str, key: str = key) -> np.ndarray:
            return np.array([row[f"stats/{key}/{statistic}"] for row in rows], dtype=np.float64)

        means, deviations, counts = column("mean"), column("std"), column("count")
        weights = counts.reshape(-1, *[1] * (means.ndim - 1)) / counts.sum()
        mean = (weights * means).sum(axis=0)
        variance = (weights * (deviations**2 + (means - mean) ** 2)).sum(axis=0)
        result[key] = {
            "min": column("min").min(axis=0).tolist(),
            "max": column("max").max(axis=0).tolist(),
            "mean": mean.tolist(),
            "std": np.sqrt(variance).tolist(),
            "count": [int(counts.sum())],
        }
    return result
