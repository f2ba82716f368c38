"""What can move a number, and where a number came from."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from vlagen.assets.packs import Pack
from vlagen.benchmark.digests import hash_files
from vlagen.benchmark.player import Job
from vlagen.tasks.rendering import mesa_version

_PROJECT = Path(__file__).resolve().parent.parent

# Read from the installed packages' metadata, which does not import them.
_PACKAGES = ("vlagen", "mani_skill", "sapien", "torch", "gymnasium", "numpy")

# The code that decides what happens in an episode; reports and command lines may change under a half-finished run.
_DECIDING_CODE = (
    "tasks/*.py",
    "benchmark/actions/*.py",
    "benchmark/backends/*.py",
    "benchmark/policy.py",
    "benchmark/rollout.py",
    "benchmark/simulator.py",
    "benchmark/taxonomy.py",
)


def identity(job: Job, stage: Mapping[str, Any], backend: str) -> dict[str, Any]:
    """Collects what can move a number, apart from the list of episodes, as JSON values.

    The number of workers and the kind of process are left out: all backends on the CPU give the same records.

    Args:
        job: what plays.
        stage: what is played and seen there.
        backend: see ``request.BACKENDS``.
    """
    spec = job.policy.spec
    return {
        "policy": {
            **job.policy.identity(),
            "oracle": spec.is_oracle,
            "emits": spec.emits.describe(),
            "image": asdict(spec.image) if spec.image is not None else None,
            "execute_horizon": job.execute_horizon,
            "ensemble": job.ensemble,
        },
        "seed": job.seed,
        **stage,
        "physics": "physx_cuda" if backend == "gpu" else "physx_cpu",
        "code": hash_files(
            (path.relative_to(_PROJECT).as_posix(), path)
            for pattern in _DECIDING_CODE
            for path in _PROJECT.glob(pattern)
        ),
        "versions": {name: _version(name) for name in _PACKAGES},
    }


def assets_identity(pack: Pack) -> dict[str, Any]:
    """Says which files an asset pack stands for."""
    return {"name": pack.name, "version": pack.version, "digest": pack.digest, "stand_ins": list(pack.stand_ins)}


def renderer_identity(backend: str, shader: str) -> dict[str, str | None]:
    """Says what makes the pictures that a policy sees.

    Args:
        backend: ``"cpu"``, ``"gpu"``, or ``"none"`` where it sees none.
        shader: ManiSkill's name of the shader pack.
    """
    if backend == "none":
        return {"backend": "none"}
    driver = mesa_version() if backend == "cpu" else _nvidia_driver_version()
    return {"backend": backend, "shader": shader, "driver": driver}


def session(request: Mapping[str, Any], backend: str) -> dict[str, Any]:
    """Describes this process: when, where and how it was started. ``request`` must be JSON values."""
    return {
        "started_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "request": dict(request),
        "backend": backend,
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": platform.node(),
        "git_commit": _git_commit(),
    }


def _nvidia_driver_version() -> str | None:
    """Reads the version that the kernel's driver gives of itself, e.g. ``580.65.06``."""
    try:
        text = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8")
    except OSError:
        return None
    match = re.search(r"\d+\.\d+(\.\d+)?", text)
    return match[0] if match else None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


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
