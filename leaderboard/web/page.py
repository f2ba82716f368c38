"""The leaderboard as one file of HTML: table, charts, episodes and a comparison; it needs no server and no network.

Everything is inside the file: the data, the script, and the library that draws the charts (``vendor/README.md``). Its
content security policy lets the browser run these scripts only and load nothing from elsewhere.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

from vlagen.leaderboard.frames import Frames

from .payload import payload

HERE = Path(__file__).parent

SCRIPTS = ("data", "statistics", "elements", "table", "charts", "entry", "compare", "main")
"""Files of ``script/``, in the order in which they need each other."""


def write_page(
    frames: Frames, path: Path, *, title: str, note: str = "", tied: Mapping[str, frozenset[str]] | None = None
) -> Path:
    """Writes the page of one table.

    Args:
        frames: see there.
        path: of the file, e.g. ``out/index.html``; its folder is made if need be. Videos are linked, relative to it,
            not copied: a page that is moved keeps them if their runs move along.
        title: of the page; plain text.
        note: a sentence below it, e.g. what was run and when; plain text.
        tied: for each row id, axis and ``held-out`` the entries to set in bold, see ``ties.tied_with_best``.

    Returns:
        The path.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    data = json.dumps(payload(frames, path.parent, tied), allow_nan=False, separators=(",", ":"))
    library = _read("vendor/chart.umd.min.js")
    script = "".join(("'use strict';(() => {\n", *(_read(f"script/{name}.js") for name in SCRIPTS), "})();\n"))
    style = _read("style.css")
    parts = {
        "title": html.escape(title),
        "note": html.escape(note),
        "policy": _policy([library, script], style),
        "style": style,
        "library": library,
        "script": script,
        # "<" could end the script element that holds the data, or begin a comment.
        "data": data.replace("<", "\\u003c"),
    }
    # In one pass: what is put in is not looked through again.
    page = re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _read("template.html"))
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(page, encoding="utf-8", errors="replace")
    temporary.replace(path)
    return path


def _read(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def _policy(scripts: list[str], style: str) -> str:
    """Allows these scripts and this style by their hashes, videos and data pictures, and nothing else."""
    allowed = " ".join(_hash(script) for script in scripts)
    return (
        f"default-src 'none'; script-src {allowed}; style-src {_hash(style)}; img-src data:; "
        "media-src 'self' file:; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
