"""What can move a number, and where a number came from."""

from __future__ import annotations

import hashlib
import inspect
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from vlagen.assets.packs import load_pack
from vlagen.benchmark.policy import PolicyFactory
from vlagen.tasks.episodes import Episode
from vlagen.tasks.interface import HORIZON
from vlagen.tasks.rendering import mesa_version

_PROJECT = Path(__file__).resolve().parent.parent

# Read from the installed packages' metadata, which does not import them.
_PACKAGES = ("vlagen", "mani_skill", "sapien", "torch", "gymnasium", "numpy")

# The code that decides what happens in an episode; reports and command lines may change under a half-finished run.
_DECIDING_CODE = ("tasks/*.py", "benchmark/policy.py", "benchmark/simulator.py", "benchmark/rollout.py")


def identity(
    *, policy: str, factory: PolicyFactory, episodes: Sequence[Episode], assets: str, seed: int, renderer: str
) -> dict[str, Any]:
    """Collects what can move a number, as JSON values.

    Args:
        policy: name as given.
        factory: what makes the policy; the content of its source file is part of the identity.
        episodes: the plan.
        assets: name of the asset pack.
        seed: of the run.
        renderer: the device that makes the pictures which the policy sees, ``"none"`` if it sees none.
    """
    rows: dict[str, list[int]] = {}
    for episode in episodes:
        rows.setdefault(episode.variant, []).append(episode.index)
    pack = load_pack(assets)
    source = getattr(inspect.getmodule(factory), "__file__", None)
    return {
        "policy": {"name": policy, "source": _hash_files([Path(source)]) if source else None},
        "protocol": episodes[0].protocol,
        "rows": rows,
        "assets": {
            "name": pack.name,
            "version": pack.version,
            "digest": pack.digest,
            "stand_ins": list(pack.stand_ins),
        },
        "seed": seed,
        "horizon": HORIZON,
        "success": "the object is on the receptacle after the last step",
        "renderer": renderer,
        "code": _hash_files(sorted(path for pattern in _DECIDING_CODE for path in _PROJECT.glob(pattern))),
        "versions": {name: _version(name) for name in _PACKAGES},
    }


def session(arguments: dict[str, Any]) -> dict[str, Any]:
    """Describes this process: when, where and how it was started. ``arguments`` must be JSON values."""
    return {
        "started_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "arguments": arguments,
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": platform.node(),
        "mesa": mesa_version(),
        "git_commit": _git_commit(),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _hash_files(paths: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.name}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def _git_commit() -> str | None:
    """Returns the commit of the checkout vlagen runs from, marked if it has changes; None outside of one."""
    # An installed vlagen may lie inside somebody else's repository (their .venv), whose commit says nothing about it.
    if not (_PROJECT / ".git").exists():
        return None
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=_PROJECT,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip()
