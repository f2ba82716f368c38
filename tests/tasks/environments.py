"""Environments for tests, and the reasons to skip when this machine cannot have them."""

from __future__ import annotations

import pytest

from vlagen.assets.packs import load_pack


def needs_pack(name: str) -> list[pytest.MarkDecorator]:
    """Skip when files of a pack are missing."""
    pack = load_pack(name)
    models, pictures = pack.objects + pack.receptacles, pack.tables + pack.textures
    files = [pack.robot_urdf, *(p.image for p in pictures), *(f for m in models for f in (m.collision, m.visual))]
    lacking = [file for file in files if not file.exists()]
    return [pytest.mark.skipif(bool(lacking), reason=f"asset pack {name} lacks {len(lacking)} files (vlagen-assets)")]


def make_environment(assets: str = "builtin", env_id: str = "vlagen/train-v1", **kwargs):
    """A CPU environment."""
    import gymnasium

    import vlagen.tasks.registration  # noqa: F401

    return gymnasium.make(env_id, assets=assets, sim_backend="physx_cpu", **kwargs)
