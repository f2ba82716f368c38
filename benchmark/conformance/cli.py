"""``vlagen-check-policy``: tries an adapter out and says what to fix."""

from __future__ import annotations

import dataclasses
import json
import sys
from dataclasses import dataclass
from typing import Annotated

import tyro
from rich.console import Console

from vlagen.assets.errors import VlagenError
from vlagen.benchmark.conformance.check import Check, Report, check_policy
from vlagen.benchmark.loading.arguments import split_pairs
from vlagen.benchmark.loading.source import find_policy


@dataclass(frozen=True)
class Arguments:
    """Tries a policy out: shapes, seeds, batches, resets, chunks, gripper, an expert's episode in its format, latency.

    Exit codes: 0 nothing failed, 1 something did; the lines below it say what to change.
    """

    policy: tyro.conf.Positional[str]
    """As for vlagen-eval: a name, my_adapter, my_adapter.py, file.py:attribute or module:attribute."""

    policy_args: tuple[str, ...] = ()
    """Arguments of the policy, name=value."""

    execute_horizon: int | None = None
    """Actions of a chunk that are executed before the policy is asked again; by default all."""

    ensemble: str | None = None
    """Ask at every step and merge what overlapping chunks say: newest, mean or exponential:<decay>."""

    no_simulator: bool = False
    """Leave the simulator out even where it is installed: faster, but without the expert's episode."""

    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print the report as JSON."""


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    arguments = tyro.cli(Arguments, prog="vlagen-check-policy", args=argv, config=(tyro.conf.FlagCreatePairsOff,))
    try:
        report = _check(arguments)
    except VlagenError as error:
        # Not the policy's fault: the simulator's files are missing, or it cannot start.
        Console(stderr=True, soft_wrap=True).print(f"vlagen-check-policy: {error}", markup=False, highlight=False)
        return 1
    console = Console(soft_wrap=True)
    if arguments.as_json:
        found = {"passed": report.passed, **dataclasses.asdict(report)}
        console.print(json.dumps(found, indent=2), markup=False, highlight=False)
    else:
        console.print(str(report), markup=False, highlight=False)
    return 0 if report.passed else 1


def _check(arguments: Arguments) -> Report:
    try:
        source = find_policy(arguments.policy, split_pairs(arguments.policy_args))
    except VlagenError as error:
        fix = "correct what it says, then run this again"
        return Report(arguments.policy, (Check("loads", "FAIL", str(error), fix),))
    return check_policy(
        source,
        execute_horizon=arguments.execute_horizon,
        ensemble=arguments.ensemble,
        simulate=not arguments.no_simulator,
    )


if __name__ == "__main__":
    sys.exit(main())
