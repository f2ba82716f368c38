"""What ``vlagen-collect`` understands: collecting itself, and what can be done with what was collected."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from vlagen.baselines.data.request import CollectRequest

Place = Annotated[Path, tyro.conf.Positional]


@dataclass(frozen=True)
class Collect:
    """Collects demonstrations: episodes of the training distribution in which a policy succeeds.

    The same command continues a collection that was stopped, and one with more --episodes lets it grow. The result is a
    LeRobotDataset v3.0 with statistics and a contact sheet. Exit codes: 0 complete, 1 some episodes ended in errors
    and others were taken instead, 2 bad input or a full disk, 130 stopped.

    Other commands: `vlagen-collect export`, `vlagen-collect import`, `vlagen-collect check`; each has its --help.
    """

    request: Annotated[CollectRequest, tyro.conf.arg(name="")]

    quiet: bool = False
    """Print the result only."""


@dataclass(frozen=True, kw_only=True)
class Export:
    """Writes a data set in another format."""

    source: Place
    """The LeRobotDataset v3.0."""

    target: Place
    """A new folder; a .h5 file for maniskill."""

    to: str
    """rlds (TensorFlow Datasets, what OpenVLA's own fine-tuning reads), maniskill (HDF5) or lerobot-v2.1."""

    pictures: str = "png"
    """What RLDS's pictures are encoded as: png, or jpeg as in the study, which loses a little."""


@dataclass(frozen=True, kw_only=True)
class Import:
    """Makes a LeRobotDataset v3.0 of demonstrations that vlagen wrote in another format."""

    source: Place
    """A folder with RLDS or a LeRobotDataset v2.1, or ManiSkill's .h5 file."""

    target: Place
    """A new folder."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """Reads data sets, pictures and all, and says what is in them or what is wrong with them."""

    folders: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """LeRobotDatasets v3.0 to be trained on together."""


COMMANDS = {"export": Export, "import": Import, "check": Check}

Command = Collect | Export | Import | Check


def parse(argv: list[str] | None) -> Command:
    """Reads a command line; ends the process with a message when it cannot be understood."""
    arguments = sys.argv[1:] if argv is None else argv
    name = arguments[0] if arguments else ""
    if name in COMMANDS:
        return tyro.cli(COMMANDS[name], prog=f"vlagen-collect {name}", args=arguments[1:])
    return tyro.cli(Collect, prog="vlagen-collect", args=arguments, config=(tyro.conf.FlagCreatePairsOff,))
