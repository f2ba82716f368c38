"""Tables in GitHub's Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vlagen.leaderboard.cells import markdown
from vlagen.leaderboard.grids import Cell, Grid


def document(grids: Iterable[Grid]) -> str:
    """Writes tables below each other, each with its title and notes."""
    return "# Leaderboard\n\n" + "\n".join(_table(grid) for grid in grids)


def _table(grid: Grid) -> str:
    lines = [f"## {markdown(grid.title)}", "", _line([markdown(heading) for heading in grid.header])]
    lines.append(_line(["---" if place in grid.left else "---:" for place in range(len(grid.header))]))
    for part in grid.parts:
        lines += [_line([markdown(line.label), *map(_cell, line.cells)]) for line in part]
    lines += [""] + [f"{markdown(note)}\n" for note in grid.notes]
    return "\n".join(lines)


def _cell(cell: Cell) -> str:
    value = f"**{cell.value}**" if cell.bold else markdown(cell.value)
    return f"{value} ({cell.interval})" if cell.interval else value


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
