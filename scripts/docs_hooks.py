"""What ``mkdocs build`` puts into pages: the help of each command, as the installed command prints it.

A page says where with a line such as ``<!-- help: vlagen-eval -->`` or ``<!-- help: vlagen-leaderboard build -->``.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import metadata

_MARK = re.compile(r"^<!-- help: (?P<command>[a-z -]+) -->$", re.MULTILINE)
_COLUMNS = "80"


def command_help(command: str) -> str:
    """Returns what a command prints for ``--help``.

    Args:
        command: a console script of vlagen, with its subcommand if it has any.

    Raises:
        LookupError: there is no such script.
        RuntimeError: it failed.
    """
    name, *subcommand = command.split()
    scripts = {entry.name: entry for entry in metadata.distribution("vlagen").entry_points}
    if name not in scripts:
        raise LookupError(f"vlagen has no command {name!r}; it has {', '.join(scripts)}")
    entry = scripts[name]
    code = f"import sys; sys.argv[0] = {name!r}; from {entry.module} import {entry.attr}; sys.exit({entry.attr}())"
    answer = subprocess.run(
        [sys.executable, "-c", code, *subcommand, "--help"],
        env={**os.environ, "COLUMNS": _COLUMNS, "TERM": "dumb", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if answer.returncode != 0:
        raise RuntimeError(f"{command} --help ended with {answer.returncode}: {answer.stderr}")
    return answer.stdout.strip()


def on_page_markdown(markdown: str, **_: object) -> str:
    """Replaces the marks; MkDocs calls this for every page."""
    return _MARK.sub(lambda mark: f"```text\n{command_help(mark['command'])}\n```", markdown)
