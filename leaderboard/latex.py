"""Tables in LaTeX with booktabs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from vlagen.leaderboard.cells import latex
from vlagen.leaderboard.grids import Cell, Grid

_PREAMBLE = r"""% Needs \usepackage{booktabs}, \usepackage{graphicx} and \usepackage[T1]{fontenc}; names in other than
% Latin letters need XeLaTeX or LuaLaTeX.

"""

# Characters after which a heading, or what stands at the left of a line, goes on below.
_LONGEST_HEADING, _LONGEST_LABEL = 18, 32

# A table that is wider than the text is shrunk to it, and no other is enlarged.
_FIT = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"


def document(grids: Iterable[Grid]) -> str:
    """Writes tables below each other, for a document with the preamble that the first lines name."""
    return _PREAMBLE + "\n".join(map(_table, grids))


def _table(grid: Grid) -> str:
    sides = ["l" if place in grid.left else "r" for place in range(len(grid.header))]
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{latex(grid.title)}.{''.join(f' {latex(note)}' for note in grid.notes)}}}",
        _FIT,
        rf"\begin{{tabular}}{{{''.join(sides)}}}",
        r"\toprule",
        _line(_text(text, _LONGEST_HEADING, f"[b]{side}") for text, side in zip(grid.header, sides, strict=True)),
    ]
    for part in grid.parts:
        lines.append(r"\midrule")
        for line in part:
            cells = (_cell(cell, side) for cell, side in zip(line.cells, sides[1:], strict=True))
            lines.append(_line([_text(line.label, _LONGEST_LABEL, "[t]l"), *cells]))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}}", r"\end{table}", ""])


def _cell(cell: Cell, side: str) -> str:
    value = _text(cell.value, _LONGEST_LABEL, f"[t]{side}")
    value = rf"\textbf{{{value}}}" if cell.bold else value
    return _stack([value, rf"{{\scriptsize ({latex(cell.interval)})}}"], f"[t]{side}") if cell.interval else value


def _text(text: str, longest: int, how: str) -> str:
    return _stack([latex(line) for line in textwrap.wrap(text, longest, break_on_hyphens=False)] or [""], how)


def _stack(lines: Sequence[str], how: str) -> str:
    """Puts lines above each other.

    Args:
        lines: at least one.
        how: which of them is level with the neighbours, ``[t]`` or ``[b]``, and the side they are flush with.
    """
    if len(lines) == 1:
        return lines[0]
    stacked = r" \\ ".join(lines)
    return rf"\begin{{tabular}}{how[:3]}{{@{{}}{how[3:]}@{{}}}}{stacked}\end{{tabular}}"


def _line(cells: Iterable[str]) -> str:
    return f"{' & '.join(cells)} \\\\"
