"""Batches that gave NaN, kept so that somebody can find out why."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file


def keep_broken(out: Path, update: int, rank: int, batch: Mapping[str, Any]) -> Path:
    """Saves a batch as ``broken/000012-0.safetensors`` in a run's folder.

    Args:
        out: the folder.
        update: how many updates were done before.
        rank: of this process.
        batch: tensors, or numbers that can be made one.

    Returns:
        The file.
    """
    path = out / "broken" / f"{update:06d}-{rank}.safetensors"
    path.parent.mkdir(exist_ok=True)
    # Copied, as tensors that share their memory cannot be saved.
    tensors = {name: torch.as_tensor(value).detach().cpu().contiguous().clone() for name, value in batch.items()}
    save_file(tensors, path)
    return path
