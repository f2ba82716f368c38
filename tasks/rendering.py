"""What this machine can render with, and the environment variables that rendering and worker processes need.

SAPIEN renders through Vulkan. Without an NVIDIA GPU that is Mesa's software driver, lavapipe, which SAPIEN accepts from
Mesa 24.3 on. The Vulkan loader reads its variables when SAPIEN is imported, so they have to be set before that.
"""

from __future__ import annotations

import functools
import os
import platform
import re
import subprocess
from collections.abc import MutableMapping
from pathlib import Path

MINIMUM_MESA = (24, 3)

_ICD_FOLDERS = ("etc/vulkan/icd.d", "usr/local/share/vulkan/icd.d", "usr/share/vulkan/icd.d")
# The loader's own names for "use these drivers": the first is the older one, and both are in use.
_DRIVER_VARIABLES = ("VK_ICD_FILENAMES", "VK_DRIVER_FILES")
_QUERIES = (
    ("dpkg-query", "--show", "--showformat=${Version}", "mesa-vulkan-drivers"),
    ("rpm", "--query", "--queryformat=%{VERSION}\n", "mesa-vulkan-drivers"),
)


def nvidia_gpu_present(root: Path = Path("/")) -> bool:
    """Tells whether an NVIDIA GPU can be opened here; `root` is where the file system starts.

    Device files are asked, not ``/proc/driver/nvidia``: a container without a GPU shows its host's.
    """
    return any(re.fullmatch(r"nvidia\d+", path.name) for path in (root / "dev").glob("nvidia*"))


def find_software_vulkan(root: Path = Path("/")) -> Path | None:
    """Returns the description file of lavapipe for this processor, or None; `root` is where the file system starts."""
    folders = [root / folder for folder in _ICD_FOLDERS]
    if "CONDA_PREFIX" in os.environ and root == Path("/"):
        folders.insert(0, Path(os.environ["CONDA_PREFIX"]) / "share/vulkan/icd.d")
    # Distributions name it lvp_icd.json or lvp_icd.x86_64.json; a 32-bit one may lie beside it.
    names = ("lvp_icd.json", f"lvp_icd.{platform.machine()}.json")
    return next((folder / name for folder in folders for name in names if (folder / name).is_file()), None)


def prepare_rendering(environ: MutableMapping[str, str] = os.environ) -> None:
    """Points the Vulkan loader at lavapipe where there is no GPU; call it before SAPIEN is imported.

    What the user has set stays, and with an NVIDIA GPU nothing is set: the loader finds its driver.

    Args:
        environ: the variables to look at and to change.
    """
    if any(environ.get(variable) for variable in _DRIVER_VARIABLES) or nvidia_gpu_present():
        return
    driver = find_software_vulkan()
    if driver is not None:
        environ["VK_ICD_FILENAMES"] = str(driver)


@functools.cache
def mesa_version() -> str | None:
    """Returns the version of the installed Mesa Vulkan drivers, e.g. ``25.0.7-2~bpo12+1``; None if nobody knows it.

    The package manager is asked once a process.
    """
    for query in _QUERIES:
        try:
            answer = subprocess.run(query, capture_output=True, text=True, timeout=10, check=False)
        except (OSError, subprocess.TimeoutExpired):
            continue
        if answer.returncode == 0 and answer.stdout.strip():
            return answer.stdout.split()[0]
    return None


def mesa_is_new_enough(version: str) -> bool:
    """Tells whether SAPIEN works with this version of Mesa.

    Raises:
        ValueError: the text does not start with a version such as ``24.3``.
    """
    match = re.match(r"(\d+)\.(\d+)", version)
    if match is None:
        raise ValueError(f"{version!r} is no Mesa version; expected something like '25.0.7-2'")
    return (int(match[1]), int(match[2])) >= MINIMUM_MESA


def worker_environment(workers: int) -> dict[str, str]:
    """Returns the variables for each of several worker processes.

    lavapipe and torch start one thread per core in each process; several such processes only hinder each other.
    One thread each made two workers 1.5 times as fast as one; with default threads they gained nothing.

    Args:
        workers: number of worker processes that run at the same time.

    Raises:
        ValueError: fewer than one worker.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, not {workers}")
    return {"LP_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"} if workers > 1 else {}
