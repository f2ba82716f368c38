"""``vlagen-leaderboard``: from records to tables, figures, a verdict, or a submission."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from vlagen.assets.errors import VlagenError
from vlagen.leaderboard.arguments import Build, Check, Compare, ModelCard, Submit, Verify, parse

if TYPE_CHECKING:
    from vlagen.leaderboard.submissions import Finding

SOUND, PROBLEMS, BAD_INPUT = 0, 1, 2
"""Exit codes: all is well; a submission is not what it should be; nothing could be made of the input."""


def main(argv: list[str] | None = None) -> int:
    """Runs the command line.

    Args:
        argv: arguments without the program's name; by default those of this process.

    Returns:
        The exit code.
    """
    command = parse(argv)
    console = Console(soft_wrap=True, highlight=False)
    handlers = {
        Build: _build,
        Compare: _compare,
        Submit: _submit,
        Verify: _verify,
        Check: _check,
        ModelCard: _model_card,
    }
    try:
        return handlers[type(command)](command, console)
    except VlagenError as error:
        # Unwrapped, because a long path in pieces cannot be copied.
        Console(stderr=True, soft_wrap=True).print(f"vlagen-leaderboard: {error}", markup=False, highlight=False)
        return BAD_INPUT


def _build(command: Build, console: Console) -> int:
    # Each command imports what it needs: a process that reads runs starts this module anew.
    from vlagen.leaderboard.build import build

    for folder, files in build(command):
        console.print(f"Written to {escape(str(folder))}: {escape(', '.join(files))}")
    return SOUND


def _compare(command: Compare, console: Console) -> int:
    from vlagen.leaderboard.build import pair
    from vlagen.leaderboard.compare import compare
    from vlagen.leaderboard.tables import to_json_text
    from vlagen.leaderboard.verdict import tables, verdict

    frames, a, b = pair(command)
    comparison = compare(frames, a, b)
    console.print(f"A: {escape(a)}\nB: {escape(b)}\n")
    for table in tables(comparison):
        console.print(table)
        console.print()
    console.print(escape(verdict(comparison)))
    if command.json is not None:
        command.json.write_text(to_json_text({**asdict(comparison), "verdict": verdict(comparison)}), encoding="utf-8")
    return SOUND


def _submit(command: Submit, console: Console) -> int:
    from vlagen.leaderboard.build import submit

    path = submit(command)
    console.print(
        f"Written: {escape(str(path))}. It has been verified; open a pull request that adds it to leaderboard/entries."
    )
    return SOUND


def _verify(command: Verify, console: Console) -> int:
    from vlagen.leaderboard.submissions import verify_files

    return _report(verify_files(command.entries), console)


def _check(command: Check, console: Console) -> int:
    from vlagen.leaderboard.submissions import check_folder

    return _report(check_folder(command.folder), console)


def _report(findings: Sequence[Finding], console: Console) -> int:
    for finding in findings:
        if finding.problem is None:
            console.print(f"sound: {escape(str(finding.path))}, {escape(finding.name)}")
        elif os.environ.get("GITHUB_ACTIONS") == "true":
            # GitHub shows this beside the file.
            print(f"::error file={_github(str(finding.path), ':,')}::{_github(finding.problem)}")
        else:
            console.print(f"[red]refused:[/red] {escape(finding.problem)}")
    problems = sum(finding.problem is not None for finding in findings)
    console.print(f"{len(findings)} submissions, {problems} refused")
    return PROBLEMS if problems else SOUND


def _model_card(command: ModelCard, console: Console) -> int:
    from vlagen.leaderboard.model_card import model_card
    from vlagen.leaderboard.verification import read_entry, verify

    entry = read_entry(command.entry)
    verify(entry, str(command.entry))
    # Not to be wrapped or coloured: it is to be put into a file.
    console.file.write(model_card(entry))
    return SOUND


def _github(text: str, further: str = "") -> str:
    """Escapes what would end a command of GitHub's workflows, or begin another."""
    return "".join(f"%{ord(sign):02X}" if sign in f"%\r\n{further}" else sign for sign in text)


if __name__ == "__main__":
    sys.exit(main())
