"""Names and paths in narrow cells of terminal tables: broken between words, not within them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.text import Text

_LEAST_WIDTH = 12
_ENDS = ("/ ", "+,", "-_")


class BreakableName:
    """A name such as ``semantics/two-objects-seen``, on one line where there is room.

    Where there is not, a line ends after a slash; where that is not enough, between what a composed row consists of or
    a part is restricted to; then after a hyphen; and a word that is longer than a line is folded.

    Args:
        name: any text; nothing in it acts as markup.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def lines(self, width: int) -> list[str]:
        """The lines of a cell of a width."""
        pieces = [self._name]
        for ends in _ENDS:
            pieces = [part for piece in pieces for part in _split(piece, ends, width)]
        return _packed(pieces, width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text("\n".join(self.lines(options.max_width)), overflow="fold")

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        words = re.findall(r"[^-_,+/ ]*[-_,+/ ]?", self._name)
        least = min(_LEAST_WIDTH, max(map(len, words)))
        return Measurement(least, max(least, len(self._name))).with_maximum(options.max_width)


def _split(text: str, ends: str, width: int) -> list[str]:
    """Splits after each of some signs what is too wide for a line."""
    return [text] if len(text) <= width else re.findall(rf"[^{re.escape(ends)}]*[{re.escape(ends)}]|.+", text)


def _packed(pieces: Sequence[str], width: int) -> list[str]:
    """Puts as many pieces on each line as fit."""
    lines = [""]
    for piece in pieces:
        if lines[-1] and len(lines[-1]) + len(piece.rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return lines
