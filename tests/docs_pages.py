"""What the pages of the documentation hold: commands, Python, and what commands print."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
SCRIPTS = {
    entry.name: entry for entry in metadata.distribution("vlagen").entry_points if entry.group == "console_scripts"
}

SHELL = ("bash", "console")
"""Languages of fences that hold commands. An indented block holds some, too: whatever else is shown has a fence."""

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<code>.*?)^ *```$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?<=\n\n)(?: {4}.*\n)+(?:\n(?: {4}.*\n)+)*")

# What stands before one of our commands and does not change what it is told.
_BEFORE = r"(?:\$ |sudo |(?:lerobot|\.venv)/bin/)*"
# What hands the words behind it to one of our commands.
_HANDING_ON = (
    (r"docker run .* vlagen(?::\w+)? (?=vlagen-)", ""),
    (r"sbatch (?:--\S+ )*docs/cluster/slurm\.sbatch ", "vlagen-eval "),
    (r"accelerate launch (?:--\w+ \w+ )*-m vlagen\.baselines\.cli ", "vlagen-train "),
)


@dataclass(frozen=True)
class Block:
    """Code on a page: the language of its fence, ``bash`` where it is only indented, and its text."""

    language: str
    text: str


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[Block]:
    """A page's code, in its order."""
    text = page.read_text(encoding="utf-8")
    found = [
        (match.start(), Block(match["language"], re.sub(f"^{match['indent']}", "", match["code"], flags=re.MULTILINE)))
        for match in _FENCE.finditer(text)
    ]
    # Blanks of the same length keep the places of what is indented.
    without = _FENCE.sub(lambda match: "\n" * len(match[0]), text)
    found += [(match.start(), Block("bash", match[0])) for match in _INDENTED.finditer(without)]
    return [block for _, block in sorted(found, key=lambda pair: pair[0])]


def prose(page: Path) -> str:
    return _INDENTED.sub("", _FENCE.sub("", page.read_text(encoding="utf-8")))


def shell_commands(block: Block) -> list[str]:
    """The commands of a block, continued lines joined, without comments; of a console those behind a prompt."""
    if block.language not in SHELL:
        return []
    lines = [line.strip() for line in re.sub(r"\\\n\s*", "", block.text).splitlines()]
    if block.language == "console":
        lines = [line[2:] for line in lines if line.startswith("$ ")]
    return [command for line in lines if (command := re.sub(r"(^|\s+)#\s.*$", "", line))]


def page_commands(page: Path) -> list[str]:
    return [command for block in blocks(page) for command in shell_commands(block)]


def ours(line: str) -> str:
    """The command of ours that a line holds, in itself or for a container or a scheduler to run; else nothing."""
    command = re.sub(f"^{_BEFORE}", "", line.strip())
    for pattern, replacement in _HANDING_ON:
        command = re.sub(f"^{pattern}", replacement, command)
    return command if command.split(" ")[0] in SCRIPTS or re.match(r"make [a-z-]+($| )", command) else ""


def our_commands(page: Path) -> list[str]:
    """Commands of ours on a page: in its blocks, and between backticks."""
    shown = [line for block in blocks(page) if block.language == "text" for line in block.text.splitlines()]
    inline = [code.replace("\n", " ") for code in re.findall(r"`([^`]+)`", prose(page))]
    prompted = [line for line in shown if line.startswith("$ ")]
    return [command for line in (*page_commands(page), *prompted, *inline) if (command := ours(line))]


def words(command: str) -> list[str]:
    """Splits a command as a shell would, without its comment and what follows a pipe."""
    return shlex.split(re.split(r"\s[|>&]\s", command)[0], comments=True)
