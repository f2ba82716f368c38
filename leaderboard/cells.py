"""How numbers and names are written into cells; undefined is a dash, and nothing in a name can act as markup."""

from __future__ import annotations

import hashlib
import html
import math
import re

from vlagen.benchmark import rounding

DASH = "–"

# Of Markdown's signs those that mean something within a line; brackets undo links and pictures by themselves.
_MARKDOWN = re.compile(r"([\\`*_{}\[\]|~$])")
_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    # After the end of a line these would be read as part of it.
    "[": "{[}",
    "*": "{*}",
    "–": "--",
    "…": r"\ldots{}",
    "−": r"\textminus{}",
}


def percent(value: float) -> str:
    """A fraction in percent with one digit; a dash for NaN."""
    return DASH if math.isnan(value) else str(rounding.percent(value)).replace("-", "−")


def interval(low: float, high: float) -> str:
    """Bounds in percent; a dash for NaN."""
    return DASH if math.isnan(low) or math.isnan(high) else f"{percent(low)} to {percent(high)}"


def markdown(text: str) -> str:
    """A text that Markdown, and HTML in it, shows as it is, also in a cell of a table."""
    return _MARKDOWN.sub(r"\\\1", html.escape(_one_line(text), quote=False))


def latex(text: str) -> str:
    """A text that LaTeX shows as it is."""
    return "".join(_LATEX.get(character, character) for character in _one_line(text))


def file_name(text: str) -> str:
    """A name for a file that stays in its folder on every system; different texts have different names."""
    plain = re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-").lower()[:60].rstrip("-")
    return plain if plain and plain == text else f"{plain or 'entry'}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _one_line(text: str) -> str:
    return " ".join(text.split())
