"""Prints an apt source for Debian's backports, with the mirror and the key that this machine's own sources use.

    python scripts/backports_source.py bookworm

Nothing but the suite is ours: a machine behind a company mirror goes on asking that mirror.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class AptSource:
    """One enabled binary source.

    Attributes:
        uri: the mirror.
        suites: e.g. ``("bookworm", "bookworm-updates")``.
        options: deb822 fields that say how to trust and reach it, verbatim, e.g. ``Signed-By: /usr/share/...``.
    """

    uri: str
    suites: tuple[str, ...]
    options: tuple[str, ...]


# One-line options and their deb822 names; the others (arch, lang, ...) do not matter for our one package.
_OPTION_FIELDS = {"signed-by": "Signed-By", "trusted": "Trusted"}


def main() -> int:
    """Prints the source, or says on stderr why there is none; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("codename", help="e.g. bookworm")
    parser.add_argument("--apt", type=Path, default=Path("/etc/apt"), help="where apt's configuration lies")
    arguments = parser.parse_args()
    stanza = backports_stanza(apt_sources(arguments.apt), arguments.codename)
    if stanza is None:
        print(f"no enabled source of {arguments.codename!r} under {arguments.apt}", file=sys.stderr)
        return 1
    print(stanza)
    return 0


def backports_stanza(sources: Iterator[AptSource], codename: str) -> str | None:
    """Returns a deb822 stanza for ``<codename>-backports`` beside the first source of `codename`; None without one."""
    for source in sources:
        if codename in source.suites:
            fields = ("Types: deb", f"URIs: {source.uri}", f"Suites: {codename}-backports", "Components: main")
            return "\n".join((*fields, *source.options))
    return None


def apt_sources(apt: Path) -> Iterator[AptSource]:
    """Yields the enabled binary sources of a machine, in apt's order.

    Args:
        apt: the folder with ``sources.list`` and ``sources.list.d``.
    """
    for path in (apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))):
        if not path.is_file():
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        if path.suffix == ".sources":
            yield from _from_deb822(text)
        elif path.suffix == ".list":
            yield from _from_lines(text)


def _from_lines(text: str) -> Iterator[AptSource]:
    """Reads ``deb [signed-by=...] URI suite component...``."""
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)", line)
        if match is None:
            continue
        pairs = (option.partition("=") for option in (match["options"] or "").split())
        options = tuple(f"{_OPTION_FIELDS[key]}: {value}" for key, _, value in pairs if key in _OPTION_FIELDS)
        yield AptSource(match["uri"], (match["suite"].rstrip("/"),), options)


def _from_deb822(text: str) -> Iterator[AptSource]:
    """Reads stanzas of ``Field: value`` lines; a field goes on in lines that start with a space."""
    without_comments = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n[ \t]*\n", without_comments):
        fields = {
            match["name"].lower(): match["value"]
            for match in re.finditer(r"^(?P<name>[\w-]+):[ \t]*(?P<value>.*(?:\n[ \t].*)*)", stanza, re.MULTILINE)
        }
        uris = fields.get("uris", "").split()
        if not uris or "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").strip() == "no":
            continue
        options = tuple(
            f"{name}: {fields[name.lower()]}".replace(": \n", ":\n")
            for name in _OPTION_FIELDS.values()
            if name.lower() in fields
        )
        yield AptSource(uris[0], tuple(suite.rstrip("/") for suite in fields.get("suites", "").split()), options)


if __name__ == "__main__":
    sys.exit(main())
