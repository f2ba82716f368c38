"""Tiny models that emit chunks of actions, in the layout of OpenVLA-OFT but for the pickles.

``python -m vlagen.baselines.openvla.tiny_chunked /tmp/tiny-oft`` writes one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import tyro
from torch import nn

from vlagen.baselines.openvla.chunking import CHUNK_KEY, STATE_SIZE
from vlagen.baselines.openvla.oft import ProprioceptionProjector, RegressionHead, save_part
from vlagen.baselines.openvla.processing import OPEN_ABOVE
from vlagen.baselines.openvla.tiny import BRIDGE_STATISTICS, make_tiny, tiny_config

_JOINTS = {"proprio": {"q01": [-3.0] * 6 + [0.0] * 2, "q99": [3.0] * 6 + [0.04] * 2}}


def make_tiny_chunked(
    folder: str | Path,
    seed: int = 0,
    *,
    chunk: int = 4,
    continuous: bool = True,
    proprioception: bool = True,
    **sizes: Any,
) -> Path:
    """Writes a checkpoint with random weights whose model emits chunks.

    Args:
        folder: to be made.
        seed: of the weights.
        chunk: actions of a chunk.
        continuous: give it a regression head; otherwise its actions are tokens.
        proprioception: have it read proprioception.
        sizes: see ``tiny.tiny_config``.

    Returns:
        The folder.

    Raises:
        BadCheckpoint: the folder is there.
    """
    statistics = {name: {**entry, **_JOINTS} for name, entry in BRIDGE_STATISTICS.items()}
    folder = make_tiny(folder, seed, norm_stats=statistics, rest={CHUNK_KEY: chunk}, **sizes)
    width = tiny_config(**sizes).width
    actions = len(BRIDGE_STATISTICS["bridge_orig"]["action"]["q01"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if continuous:
            head = RegressionHead(width, actions)
            # An untrained head hardly looks at its inputs; at least the hand is not closed to begin with.
            nn.init.constant_(head.model.fc2.bias[-1:], 2 * OPEN_ABOVE)
            save_part(head, folder / "action_head--0_checkpoint.safetensors")
        if proprioception:
            projector = ProprioceptionProjector(STATE_SIZE, width)
            save_part(projector, folder / "proprio_projector--0_checkpoint.safetensors")
    return folder


def main(folder: Path, /, seed: int = 0, chunk: int = 4, continuous: bool = True, proprioception: bool = True) -> None:
    """Writes a tiny checkpoint with random weights whose model emits chunks.

    Args:
        folder: to be made.
        seed: of the weights.
        chunk: actions of a chunk.
        continuous: give it a regression head; otherwise its actions are tokens.
        proprioception: have it read proprioception.
    """
    make_tiny_chunked(folder, seed, chunk=chunk, continuous=continuous, proprioception=proprioception)


if __name__ == "__main__":
    tyro.cli(main)
