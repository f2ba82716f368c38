"""What can be set for training, in sections that the methods share; a method's own file adds what only it has.

Each attribute's text is its documentation; recipes (``recipes/*.toml``) say which values come from where.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """What is trained."""

    source: str = ""
    """Folder or hub id of an OpenVLA checkpoint, or "tiny": a small random one, made on the spot."""

    adapter: str = ""
    """Folder or hub id of LoRA adapters to start from, e.g. of the warm-up; empty for none."""

    merge_adapter: bool = False
    """Add the adapters to the weights and train new ones; else train them further, as the study does."""

    statistics: str = ""
    """Key of the action statistics; may stay empty where the checkpoint has one set only."""

    lora_rank: int = 32
    """Inner width of new adapters; 0 trains all weights."""

    lora_alpha: float = 16.0
    """New adapters are scaled by alpha / rank."""

    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Of the weights that are not trained; adapters are float32."""

    device: str = "auto"
    """Such as cuda:0 or cpu; auto takes a CUDA device if there is one."""

    image_pipeline: str = ""
    """How pictures are brought to the model's size; empty for what the checkpoint says."""

    gradient_checkpointing: bool = False
    """Compute activations twice rather than keep them."""

    value_input: Literal["first", "last", "all"] = "first"
    """Which action tokens' hidden states the critic reads: where the first is predicted, the last, or all, joined."""

    separate_critic: bool = False
    """Give the critic a model of its own, as the study's ablation does, rather than share the policy's."""

    upstream_value_head: bool = False
    """Begin the value head from N(0, 0.02), as upstream's loading order does by accident."""

    export: Literal["merged", "adapter"] = "merged"
    """Models for ``vlagen-eval`` are whole (15 GB for 7B) with adapters merged in, or adapters alone (0.4 GB)."""


@dataclass(frozen=True, kw_only=True)
class SimulationSettings:
    """Where episodes are played, to learn from and to measure."""

    suite: str = "vlagen-v1"
    """Gives protocol and assets, see ``vlagen-eval --list``."""

    assets: str = ""
    """Another asset pack than the suite's."""

    workers: int = 1
    """Processes that simulate, or episodes in step on the GPU; what is learned does not depend on their number."""

    backend: Literal["auto", "in-process", "batched", "gpu", "ray"] = "auto"
    """As of ``vlagen-eval``; auto is batched for more than one worker. With ray, each worker is an actor that simulates
    somewhere on the cluster, and the model stays here."""

    address: str = ""
    """Of a Ray cluster; empty for the one that this machine belongs to, or else one made for this run."""

    timeout: float = 600.0
    """Seconds that one call of model or simulator may take; 0 for no limit."""


@dataclass(frozen=True, kw_only=True)
class RolloutSettings:
    """Which episodes are played to learn from."""

    row: str = "train"
    """Whose episodes."""

    episodes: int = 64
    """Played for each update."""

    temperature: float = 1.0
    """Of sampling."""


@dataclass(frozen=True, kw_only=True)
class OptimizerSettings:
    """AdamW at constant learning rates."""

    learning_rate: float = 1e-4
    """Of the policy."""

    critic_learning_rate: float = 3e-3
    """Of what belongs to the critic alone."""

    weight_decay: float = 0.01
    """AdamW's."""

    betas: tuple[float, ...] = (0.9, 0.999)
    """AdamW's."""

    max_gradient_norm: float = 10.0
    """Of all gradients together."""

    micro_batch: int = 8
    """Control steps that go through the model at once."""

    accumulate: int = 20
    """Micro-batches to an optimizer step."""

    epochs: int = 1
    """How often an update goes through its data."""


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """How long, where to, and what is measured meanwhile."""

    out: Path = Path()
    """The run's folder; by default runs/<method>-<seed>."""

    entry: str = ""
    """What the run is called in learning curves; empty for the method's name."""

    seed: int = 0
    """Of everything that is drawn."""

    updates: int = 390
    """Roll-outs and the learning that follows each."""

    evaluate_every: int = 10
    """Updates from one evaluation to the next; 0 for none."""

    evaluate_rows: tuple[str, ...] = ("all",)
    """Rows, axes, or all; those of the suite's protocol."""

    evaluate_episodes: int = 64
    """The first so many of each row's fixed list."""

    evaluate_temperature: float = 0.6
    """Of sampling in evaluations; 0 for greedy."""

    checkpoint_every: int = 40
    """Updates from one checkpoint for ``vlagen-eval`` to the next; the last update always leaves one."""

    on_no_signal: Literal["stop", "continue"] = "stop"
    """What to do when ``patience`` updates in a row had nothing to learn from, as all episodes earned the same."""

    patience: int = 5
    """See ``on_no_signal``."""

    tensorboard: bool = False
    """Also log to TensorBoard files in the run's folder."""

    wandb: str = ""
    """Also log to this Weights & Biases project."""


@dataclass(frozen=True, kw_only=True)
class ReinforcementSettings:
    """What every method has that learns from its own episodes."""

    model: ModelSettings = field(default_factory=ModelSettings)
    simulation: SimulationSettings = field(default_factory=SimulationSettings)
    rollouts: RolloutSettings = field(default_factory=RolloutSettings)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    run: RunSettings = field(default_factory=RunSettings)
