"""From one format of demonstrations to another, by what lies in a folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from vlagen.assets.errors import unknown
from vlagen.baselines.data.codecs import decode, encode
from vlagen.baselines.data.dataset import Dataset
from vlagen.baselines.data.demonstration import BadDemonstrations, Demonstration
from vlagen.baselines.data.lerobot import write_dataset
from vlagen.baselines.data.lerobot_v21 import V21, export_v21, import_v21
from vlagen.baselines.data.maniskill import export_maniskill, import_maniskill
from vlagen.baselines.data.rlds import export_rlds, import_rlds

FORMATS = ("lerobot", "lerobot-v2.1", "rlds", "maniskill")
PICTURES = ("png", "jpeg")


def export(source: Path, target: Path, kind: str, pictures: str = "png") -> Path:
    """Writes a LeRobotDataset in another format.

    Args:
        source: the data set.
        target: a new folder, or for ``maniskill`` a ``.h5`` file.
        kind: one of ``FORMATS`` but the first.
        pictures: what RLDS's are encoded as.

    Returns:
        Where the result is.

    Raises:
        BadDemonstrations: no such format, the target exists, or the data set is damaged.
    """
    if kind not in FORMATS[1:]:
        raise BadDemonstrations(unknown("format", kind, FORMATS[1:]))
    if pictures not in PICTURES:
        raise BadDemonstrations(unknown("encoding", pictures, PICTURES))
    dataset = Dataset(source)
    if kind == "rlds":
        return export_rlds(dataset, target, pictures)
    return export_maniskill(dataset, target) if kind == "maniskill" else export_v21(dataset, target)


def import_(source: Path, target: Path) -> int:
    """Makes a LeRobotDataset v3.0 of demonstrations in another format, which is recognized.

    Args:
        source: a folder with RLDS or a LeRobotDataset v2.1, or a ``.h5`` file.
        target: a new folder.

    Returns:
        How many demonstrations there were.

    Raises:
        BadDemonstrations: the source is none of these or damaged, or the target exists.
    """
    return write_dataset(target, map(_storable, demonstrations_in(source)), {"imported_from": str(source)})


def demonstrations_in(source: Path) -> Iterator[Demonstration]:
    """The demonstrations in any of ``FORMATS``.

    Raises:
        BadDemonstrations: nothing of the kind lies there.
    """
    if source.suffix == ".h5":
        return import_maniskill(source)
    if (source / "dataset_info.json").exists():
        return import_rlds(source)
    found = sorted(source.glob("*/*/dataset_info.json"))
    if found:
        return import_rlds(found[0].parent)
    info = source / "meta/info.json"
    if info.exists() and json.loads(info.read_text()).get("codebase_version") == V21:
        return import_v21(source)
    if info.exists():
        return Dataset(source).demonstrations()
    raise BadDemonstrations(
        f"{source} holds no demonstrations in a known format; allowed: a LeRobotDataset v3.0 or v2.1, a folder with "
        "RLDS's dataset_info.json, or ManiSkill's .h5 file"
    )


def _storable(demonstration: Demonstration) -> Demonstration:
    """With pictures that a LeRobotDataset can hold: what JPEG has lost is lost, and nothing more."""
    if demonstration.pictures.codec != "jpeg":
        return demonstration
    return replace(demonstration, pictures=encode(decode(demonstration.pictures), "png"))
