"""From a figure to files: an Axes of the right size and projection, then PNG and SVG, without a display."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from . import axes, learning, radar, rows, scaling, severity, taxonomy, workspace

FIGURES: dict[str, ModuleType] = {
    "rows": rows,
    "axes": axes,
    "radar": radar,
    "learning": learning,
    "scaling": scaling,
    "severity": severity,
    "taxonomy": taxonomy,
    "workspace": workspace,
}
"""The figures by name; each module has ``plot(frame, ax, **options)`` and ``size(frame, entries)``."""

_DOTS_PER_INCH = 200
# The same frame gives the same file: no date, no random ids.
_SETTINGS = {"svg.hashsalt": "vlagen", "hatch.linewidth": 0.7}


def save(name: str, frame: pd.DataFrame, stem: Path, **options: Any) -> tuple[Path, Path]:
    """Draws a figure and writes it as ``<stem>.png`` and ``<stem>.svg``.

    Args:
        name: one of ``FIGURES``.
        frame: what the figure's ``plot`` takes.
        stem: path without a suffix; its folder exists.
        options: of ``plot``; ``entries`` also decides the size.

    Returns:
        Both paths.

    Raises:
        UndrawableFrame: see the figure.
    """
    with rc_context(_SETTINGS):
        figure = draw(name, frame, **options)
        paths = stem.with_name(f"{stem.name}.png"), stem.with_name(f"{stem.name}.svg")
        figure.savefig(paths[0], dpi=_DOTS_PER_INCH)
        figure.savefig(paths[1], metadata={"Date": None})
    return paths


def draw(name: str, frame: pd.DataFrame, **options: Any) -> Figure:
    """Draws a figure, for ``save`` or for a notebook; see there."""
    module = FIGURES[name]
    figure = Figure(figsize=module.size(frame, options.get("entries")), layout="constrained")
    FigureCanvasAgg(figure)
    panels = getattr(module, "PANELS", ({},))
    projection = getattr(module, "PROJECTION", None)
    for place, panel in enumerate(panels, start=1):
        module.plot(frame, figure.add_subplot(1, len(panels), place, projection=projection), **{**panel, **options})
    return figure
