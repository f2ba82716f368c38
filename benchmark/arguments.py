"""What ``vlagen-eval`` understands."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from vlagen.benchmark.request import Request


@dataclass(frozen=True)
class Arguments:
    """Scores a policy on the training task and its held-out variants.

    The same command continues a run that was stopped. Exit codes: 0 every episode was scored, 1 some ended in errors,
    2 bad input, 130 stopped.
    """

    request: Annotated[Request, tyro.conf.arg(name="")] = field(default_factory=Request)

    quiet: bool = False
    """Print the final table only."""

    json_lines: bool = False
    """Print one JSON object a line (begin, episode, end) instead of anything else."""

    tensorboard: Path | None = None
    """Also log to TensorBoard files in this folder (extra: tracking)."""

    wandb: str | None = None
    """Also log to this Weights & Biases project (extra: tracking)."""

    replay: Path | None = None
    """Run again what a run.json describes and compare the outcome of every episode."""

    new_adapter: Path | None = None
    """Write a commented adapter to start from into this file, and stop."""

    list_all: Annotated[bool, tyro.conf.arg(name="list")] = False
    """Print suites, rows, policies and asset packs, and stop."""


def parse(argv: list[str] | None) -> Arguments:
    """Reads a command line; ends the process with a message when it cannot be understood."""
    return tyro.cli(Arguments, prog="vlagen-eval", args=argv, config=(tyro.conf.FlagCreatePairsOff,))
