"""What can be set for supervised fine-tuning; recipes (``recipes/*.toml``) say which values come from where."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from vlagen.baselines.augmentation import Augmentation
from vlagen.baselines.sections import ModelSettings, RunSettings, SimulationSettings

MAY_CHANGE = frozenset(
    [f"simulation.{name}" for name in SimulationSettings.__dataclass_fields__]
    + [f"run.{name}" for name in RunSettings.__dataclass_fields__ if name not in ("seed", "updates")]
    + ["model.device", "model.export", "validate_every", "prefetch"]
)
"""Settings that a run may go on with others of; the number of updates, too, while the learning rate is constant."""


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """AdamW."""

    learning_rate: float = 5e-4
    """At its highest."""

    schedule: Literal["constant", "cosine"] = "constant"
    """After the warm-up: stay, or fall to zero along a cosine until the last update."""

    warm_up: int = 0
    """Updates in which the rate rises to its highest, linearly."""

    weight_decay: float = 0.01
    """AdamW's."""

    betas: tuple[float, ...] = (0.9, 0.999)
    """AdamW's."""

    max_gradient_norm: float = 0.0
    """Of all gradients together; 0 for any."""

    batch: int = 8
    """Frames that go through the model at once, in each process."""

    accumulate: int = 1
    """Such batches to an update."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """All settings of a run; ``run.updates`` counts optimizer steps."""

    model: ModelSettings = field(default_factory=ModelSettings)
    simulation: SimulationSettings = field(default_factory=SimulationSettings)
    adamw: Optimizer = field(default_factory=Optimizer)
    augmentation: Augmentation = field(default_factory=Augmentation)
    run: RunSettings = field(default_factory=RunSettings)

    data: tuple[Path, ...] = ()
    """Data sets, as vlagen-collect makes them."""

    demonstrations: int = 0
    """Only the first so many episodes are trained on; 0 for all but the held-out ones."""

    held_out: int = 16
    """The last so many episodes are not trained on; how well their actions are predicted is logged."""

    validate_every: int = 200
    """Updates from one look at the held-out episodes to the next; 0 for none."""

    statistics: Literal["data", "model"] = "data"
    """What normalises actions: percentiles of the data, or those that the model has under model.statistics."""

    statistics_key: str = "sft"
    """Under which name statistics of the data go into the model."""

    precision: Literal["bf16", "no"] = "bf16"
    """Matrix products in bfloat16, or everything in the weights' own precision."""

    sharding: Literal["none", "fsdp"] = "none"
    """Several processes each hold all weights, or each a part (FSDP2)."""

    prefetch: int = 4
    """Batches that are prepared ahead."""


def learning_rate(done: int, optimizer: Optimizer, updates: int) -> float:
    """The learning rate of the update after so many.

    Args:
        done: finished updates.
        optimizer: gives the schedule.
        updates: how many there will be.
    """
    if done < optimizer.warm_up:
        return optimizer.learning_rate * (done + 1) / optimizer.warm_up
    if optimizer.schedule == "constant":
        return optimizer.learning_rate
    part = (done - optimizer.warm_up) / max(1, updates - optimizer.warm_up)
    return optimizer.learning_rate * 0.5 * (1 + math.cos(math.pi * min(part, 1.0)))
