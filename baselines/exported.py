"""Models that a training run has left for ``vlagen-eval``: where they are, how they are played, how one goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from vlagen.assets.errors import VlagenError


class Played(NamedTuple):
    """How a model is played: a policy as ``vlagen-eval`` takes it, and its arguments."""

    policy: str
    arguments: dict[str, Any]

    def start(self) -> dict[str, str]:
        """What ``ModelSettings`` to train this model further differ in; what it does not say stays as it is set."""
        names = {"source": "checkpoint", "adapter": "adapter", "statistics": "unnorm_key", "image_pipeline": "images"}
        told = {setting: str(self.arguments[name]) for setting, name in names.items() if self.arguments.get(name)}
        return {"adapter": "", **told}


def newest_model(run: Path) -> Path:
    """The folder of the model that a training run has left last.

    Raises:
        VlagenError: it has left none.
    """
    found = sorted(path for path in (run / "models").glob("*") if path.name.isdigit())
    if not found:
        raise VlagenError(f"{run}/models holds no model; the run has left none yet")
    return found[-1]


def how_played(model: str | Path) -> Played:
    """Says how a model is played.

    Args:
        model: a folder ``models/<update>`` of a training run, or an OpenVLA checkpoint's folder or hub id.
    """
    folder = Path(model)
    file = folder / "policy.json"
    if not file.is_file():
        return Played("openvla", {"checkpoint": str(model)})
    content = json.loads(file.read_text(encoding="utf-8"))
    # Paths in the file are relative to it; others name a hub id or lie elsewhere.
    arguments = {
        name: str(folder / value) if isinstance(value, str) and value and (folder / value).exists() else value
        for name, value in content["policy_args"].items()
    }
    return Played(content["policy"], arguments)
