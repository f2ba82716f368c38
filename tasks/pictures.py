"""The pictures of the running episodes: their table and texture images, and compositing them with what is rendered."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import torch

from vlagen.assets.packs import Pack, require

from .compositing import Patch, composite
from .episodes import Episode


@lru_cache(maxsize=64)
def _image(path: Path, width: int, height: int) -> torch.Tensor:
    """A picture as (height, width, 3) uint8 RGB; alpha is dropped. Raises ``OSError`` when it cannot be read."""
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise OSError(f"{path} is not a readable picture; `vlagen-assets verify` checks the packs")
    if picture.shape[:2] != (height, width):
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR)
    return torch.from_numpy(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))


class Pictures:
    """Turns rendered patches into observations for one batch of episodes at a time.

    Raises ``MissingAsset`` when a table or texture of an episode is not there.
    """

    def __init__(self, pack: Pack, episodes: Sequence[Episode], width: int, height: int, device: torch.device):
        self._episodes = episodes
        self._tables = [_image(require(pack, pack.tables[e.table].image), width, height).to(device) for e in episodes]
        self._textures: list[torch.Tensor | None] = []
        self._alphas: list[float] = []
        for episode in episodes:
            picture = pack.textures[episode.texture] if episode.overlay else None
            scale = 2 if episode.overlay == "whole" else 1  # the blended window moves within a doubled picture
            self._textures.append(
                _image(require(pack, picture.image), scale * width, scale * height).to(device) if picture else None
            )
            self._alphas.append(picture.mix * episode.strength if picture else 0.0)

    def observe(self, patches: Sequence[Patch]) -> torch.Tensor:
        """Patches, one per episode, to what the policies see, (B, H, W, 3) uint8."""
        rows = zip(patches, self._tables, self._episodes, self._textures, self._alphas, strict=True)
        return torch.stack([composite(p, table, e.overlay, texture, alpha) for p, table, e, texture, alpha in rows])
