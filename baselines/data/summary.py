"""What a data set holds, in numbers and in one picture."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vlagen.baselines.data.codecs import decode
from vlagen.baselines.data.dataset import Dataset
from vlagen.baselines.data.layout import ACTION
from vlagen.baselines.openvla.normalization import compute_statistics
from vlagen.benchmark.atomic import write_atomically
from vlagen.benchmark.records import EpisodeRecord

FILES = ("statistics.json", "dataset_statistics.json", "contact_sheet.png")
_BINS = 32
_EPISODES, _MOMENTS, _WIDTH, _CAPTION = 12, 5, 160, 16


def write_summary(dataset: Dataset, records: Sequence[EpisodeRecord], name: str) -> tuple[str, ...]:
    """Writes ``FILES`` into the data set's folder: statistics, those of OpenVLA's form, and a contact sheet.

    Args:
        dataset: what to describe.
        records: of all episodes that were played for it; none if nobody knows.
        name: of the data set in ``dataset_statistics.json``, a checkpoint's ``unnorm_key``.

    Returns:
        The files' names.
    """
    norm = {name: compute_statistics(dataset.actions, trajectories=len(dataset.episodes))}
    sheet = dataset.root / FILES[2]
    write_atomically(dataset.root / FILES[0], _json(statistics(dataset, records)))
    write_atomically(dataset.root / FILES[1], _json(norm))
    draft = sheet.with_name(f".{sheet.name}.tmp")
    contact_sheet(dataset).save(draft, "PNG")
    draft.replace(sheet)
    return FILES


def statistics(dataset: Dataset, records: Sequence[EpisodeRecord]) -> dict[str, Any]:
    """Lengths, actions, instructions and outcomes as JSON values.

    Histograms have ``counts`` between ``edges``, one more than counts.
    """
    lengths = np.array([span.length for span in dataset.episodes])
    instructions = Counter(span.instruction for span in dataset.episodes)
    by_row: dict[str, Counter[str]] = {}
    for record in records:
        by_row.setdefault(record.row, Counter())[record.outcome] += 1
    return {
        "episodes": len(lengths),
        "frames": len(dataset),
        "assets": dataset.assets,
        "picture_size": list(dataset.picture_size),
        "episode_length": _described(lengths) | {"histogram": _histogram(lengths)},
        "actions": {
            axis: _described(dataset.actions[:, place]) | {"histogram": _histogram(dataset.actions[:, place])}
            for place, axis in enumerate(ACTION)
        },
        "instructions": dict(instructions.most_common()),
        "episodes_played": {row: dict(sorted(counts.items())) for row, counts in by_row.items()},
    }


def contact_sheet(dataset: Dataset) -> Image.Image:
    """A picture of up to twelve episodes, a line each: five moments from the first frame to the last."""
    height, width = dataset.picture_size
    tall = round(_WIDTH * height / width)
    count = len(dataset.episodes)
    chosen = set(np.unique(np.linspace(0, count - 1, min(_EPISODES, count)).astype(int)).tolist())
    sheet = Image.new("RGB", (_MOMENTS * _WIDTH, len(chosen) * (tall + _CAPTION)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=11)
    top = 0
    for number, demonstration in enumerate(dataset.demonstrations()):
        if number not in chosen:
            continue
        moments = np.linspace(0, len(demonstration) - 1, _MOMENTS).round().astype(int)
        images = decode(demonstration.pictures)[moments]
        words = f"{number}: {demonstration.instruction} ({demonstration.key}, {len(demonstration)} frames)"
        draw.text((3, top + 1), words, fill="black", font=font)
        for place, image in enumerate(images):
            small = Image.fromarray(image).resize((_WIDTH, tall), Image.Resampling.BILINEAR)
            sheet.paste(small, (place * _WIDTH, top + _CAPTION))
        top += tall + _CAPTION
    return sheet


def _described(values: np.ndarray) -> dict[str, float]:
    values = values.astype(np.float64)
    quantiles = dict(zip(("q01", "median", "q99"), np.quantile(values, [0.01, 0.5, 0.99]).tolist(), strict=True))
    return {"min": values.min().item(), "max": values.max().item(), "mean": values.mean().item()} | quantiles


def _histogram(values: np.ndarray) -> dict[str, list]:
    counts, edges = np.histogram(values.astype(np.float64), bins=_BINS)
    return {"counts": counts.tolist(), "edges": edges.tolist()}


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n"
