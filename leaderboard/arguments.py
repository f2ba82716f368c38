"""What ``vlagen-leaderboard`` understands: one dataclass a command."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from vlagen.leaderboard.entry import Card

Paths = Annotated[tuple[Path, ...], tyro.conf.Positional]
Place = Annotated[Path, tyro.conf.Positional]


@dataclass(frozen=True, kw_only=True)
class Build:
    """Reads runs and writes tables, figures and a page."""

    runs: Paths
    """Folders of runs, folders that hold some, submissions (.json) or a folder of these."""

    out: Path
    """Where the files go."""

    published: bool = False
    """Add published results, as rows of their own that no test compares with measured ones."""

    html: bool = False
    """Also write the results as one web page, index.html."""

    no_figures: bool = False
    """Leave the figures out."""

    name: tuple[str, ...] = ()
    """FOLDER=NAME: what the runs in a folder are called; FOLDER may have * and ?. One name makes one entry."""

    names: Path | None = None
    """The same as a JSON file: {"NAME": {"runs": ["FOLDER", ...], "policy": "...", "method": "..."}}."""

    show: tuple[str, ...] = ()
    """Entries for the figures and the table by row; by default the best."""

    top: int = 8
    """How many entries these show when --show names none."""

    split: bool = False
    """Write a table of its own for each protocol, asset pack and set of conditions, in folders below --out."""

    common: bool = False
    """Keep of each row only the episodes that everybody has played."""

    allow_errors: bool = False
    """Take runs in which episodes ended in errors; these stay out of every rate and are counted beside it."""

    curves: Path | None = None
    """CSV of evaluations during training, for learning curves: entry, seed, environment_steps, split, success."""

    scaling: Path | None = None
    """CSV for success over demonstrations: entry, demonstrations, split, success, ci_low, ci_high."""

    processes: int = 2
    """That read and count at once; results do not depend on it."""


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Says whether B is better than A, where, and how sure that is."""

    a: Place
    """A run, a folder with the seeds of one policy, or a submission: the reference."""

    b: Place
    """What is compared with it."""

    name_a: str | None = None
    """What to call A; also takes runs of different policies, e.g. training seeds, for one."""

    name_b: str | None = None
    """The same for B."""

    allow_errors: bool = False
    """Take runs in which episodes ended in errors; such pairs are left out."""

    json: Path | None = None
    """Also write the comparison to this file."""


@dataclass(frozen=True, kw_only=True)
class Submit:
    """Makes a submission of the run, or runs, of one policy."""

    runs: Paths
    """Runs of one policy, e.g. its seeds, with every episode scored."""

    card: Card
    """What people should know about it."""

    name: str | None = None
    """Of the entry; by default the policy's."""

    out: Path = Path("leaderboard/entries")
    """Folder of the submission, or its file."""


@dataclass(frozen=True, kw_only=True)
class Verify:
    """Computes every number of submissions again from their records."""

    entries: Paths
    """Files of submissions."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """Checks a folder of submissions as for a pull request: all of them, their file names, and that none is twice."""

    folder: Place = field(default=Path("leaderboard/entries"))
    """The folder."""


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """Prints a submission as the metadata of a Hugging Face model card (model-index)."""

    entry: Place
    """File of the submission."""


Command = (
    Annotated[Build, tyro.conf.subcommand("build")]
    | Annotated[Compare, tyro.conf.subcommand("compare")]
    | Annotated[Submit, tyro.conf.subcommand("submit")]
    | Annotated[Verify, tyro.conf.subcommand("verify")]
    | Annotated[Check, tyro.conf.subcommand("check")]
    | Annotated[ModelCard, tyro.conf.subcommand("model-card")]
)


def parse(argv: list[str] | None) -> Build | Compare | Submit | Verify | Check | ModelCard:
    """Reads a command line; ends the process with a message when it cannot be understood."""
    return tyro.cli(
        Command,
        prog="vlagen-leaderboard",
        description="Tables, figures and comparisons from the records of runs.",
        args=argv,
        config=(tyro.conf.FlagCreatePairsOff,),
    )
