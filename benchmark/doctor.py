"""``vlagen-doctor``: says whether evaluation with pictures works on this machine, and how to mend what does not."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from vlagen.assets import integrity
from vlagen.assets.errors import VlagenError
from vlagen.assets.packs import PACKS, load_pack
from vlagen.benchmark.probes import TORCH, ProbeResult, finish, run_probes, start
from vlagen.tasks.rendering import (
    MINIMUM_MESA,
    find_software_vulkan,
    mesa_is_new_enough,
    mesa_version,
    nvidia_gpu_present,
)

_TIMEOUT_S = 60.0
_REINSTALL = 'make setup   (outside a checkout: pip install "vlagen[sim]")'
_TRY_AGAIN = "vlagen-doctor --timeout 300, or again when the machine is less busy"
_SUPPORTED_PYTHONS = ((3, 10), (3, 11), (3, 12))
_LOW_DISK_GIB = 2.0
_LOW_MEMORY_GIB = 4.0  # one worker takes about one; torch, the policy and the page cache share the rest


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        name: what was looked at.
        status: ``"FAIL"`` means that evaluation with pictures will not work.
        value: what was found.
        fix: the command or the step that mends it; empty where nothing needs mending.
    """

    name: str
    status: Literal["ok", "warning", "FAIL"]
    value: str
    fix: str = ""


@dataclass(frozen=True)
class Arguments:
    """Says whether evaluation with pictures works on this machine; exits with 0 if it does and 1 otherwise."""

    json: bool = False
    """Print the findings as JSON."""

    timeout: float = _TIMEOUT_S
    """Seconds that a probe may take; on a busy machine importing alone may take a minute."""


def main() -> int:
    """Runs the command line; returns the exit code."""
    arguments = tyro.cli(Arguments, prog="vlagen-doctor")
    findings = examine(arguments.timeout)
    healthy = is_healthy(findings)
    if arguments.json:
        print(json.dumps({"healthy": healthy, "findings": [dataclasses.asdict(item) for item in findings]}, indent=2))
    else:
        print(report(findings))
        print("\nEvaluation with pictures works here." if healthy else "\nEvaluation with pictures will NOT work here.")
    return 0 if healthy else 1


def examine(timeout_s: float = _TIMEOUT_S) -> list[Finding]:
    """Examines the machine; takes a few seconds.

    Args:
        timeout_s: [s] how long a probe may take before it counts as failed.
    """
    probes = run_probes(timeout_s)
    torch_probe = torch_from(probes["mani_skill"], timeout_s)
    return [
        check_python(sys.version_info[:2]),
        check_package("torch", torch_probe),
        check_package("mani_skill", probes["mani_skill"]),
        check_physics(probes["physics"]),
        check_rendering(probes["rendering"]),
        check_mesa(mesa_version(), gpu=nvidia_gpu_present()),
        check_gpu(torch_probe, driver=nvidia_gpu_present()),
        *(check_pack(name) for name in PACKS),
        check_room("disk", shutil.disk_usage(Path.cwd()).free, _LOW_DISK_GIB, f"free some space near {Path.cwd()}"),
        check_room("memory", available_memory_bytes(), _LOW_MEMORY_GIB, "use fewer workers: --workers 1"),
    ]


def torch_from(probe: ProbeResult, timeout_s: float) -> ProbeResult:
    """Returns what is known of torch: importing mani_skill imports it, so it is tried alone only if that failed."""
    if probe.problem is not None:
        return finish(start(TORCH), timeout_s)
    return ProbeResult({"version": probe.values["torch"], "cuda_gpu": probe.values["cuda_gpu"]}, None)


def is_healthy(findings: list[Finding]) -> bool:
    """Tells whether evaluation with pictures will work."""
    return all(finding.status != "FAIL" for finding in findings)


def report(findings: list[Finding]) -> str:
    """Returns the findings as one aligned line each, with the fix below the line it belongs to."""
    width = max(len(finding.name) for finding in findings)
    lines = []
    for finding in findings:
        lines.append(f"{finding.status:<7}  {finding.name:<{width}}  {finding.value}")
        if finding.fix:
            lines.append(f"{'':7}  {'':{width}}  fix: {finding.fix}")
    return "\n".join(lines)


def check_python(version: tuple[int, int]) -> Finding:
    """Checks the interpreter's version."""
    if version in _SUPPORTED_PYTHONS:
        return Finding("python", "ok", f"{platform.python_version()} ({sys.executable})")
    allowed = ", ".join(f"{major}.{minor}" for major, minor in _SUPPORTED_PYTHONS)
    found = f"{version[0]}.{version[1]}, needs one of {allowed}"
    return Finding("python", "FAIL", found, "make setup PYTHON=python3.11")


def check_package(name: str, probe: ProbeResult) -> Finding:
    """Checks that a package can be imported."""
    if probe.problem is None:
        return Finding(name, "ok", probe.values["version"])
    return _failed(name, probe, _REINSTALL)


def _failed(name: str, probe: ProbeResult, fix: str) -> Finding:
    return Finding(name, "FAIL", probe.problem, _TRY_AGAIN if probe.timed_out else fix)


def check_physics(probe: ProbeResult) -> Finding:
    """Checks that SAPIEN can be imported and that a box falls when physics steps."""
    if probe.problem is not None:
        return _failed("sapien", probe, _REINSTALL)
    if not probe.values["fell_m"] > 0:
        return Finding("sapien", "FAIL", f"{probe.values['version']}, but a box does not fall", _REINSTALL)
    return Finding("sapien", "ok", f"{probe.values['version']}, physics steps")


def check_rendering(probe: ProbeResult) -> Finding:
    """Checks that a red box really shows up as red."""
    if probe.problem is not None:
        absent = probe.problem.startswith("ModuleNotFoundError")
        return _failed("vulkan", probe, _REINSTALL if absent else rendering_fix())
    red, green, blue = probe.values["centre"]
    if not red > max(green, blue) + 0.5:
        seen = f"({red:.2f}, {green:.2f}, {blue:.2f})"
        return Finding("vulkan", "FAIL", f"{probe.values['device']} draws a red box as {seen}", rendering_fix())
    return Finding("vulkan", "ok", f"{probe.values['device']}, renders")


def rendering_fix() -> str:
    """Returns the step that most likely brings rendering to this machine."""
    chosen = os.environ.get("VK_ICD_FILENAMES") or os.environ.get("VK_DRIVER_FILES")
    if chosen and not all(Path(path).is_file() for path in chosen.split(os.pathsep)):
        return f"unset VK_ICD_FILENAMES VK_DRIVER_FILES   (they name {chosen}, which is not there)"
    if nvidia_gpu_present():
        software = find_software_vulkan()
        fallback = f", or render on the processor: export VK_ICD_FILENAMES={software}" if software else ""
        return f"install the NVIDIA driver's Vulkan part (in a container: NVIDIA_DRIVER_CAPABILITIES=all){fallback}"
    return "scripts/setup.sh --retry-vulkan   (installs Mesa >= {}.{} with lavapipe)".format(*MINIMUM_MESA)


def check_mesa(version: str | None, *, gpu: bool) -> Finding:
    """Checks the version of the software driver; the trial rendering decides, so this one only warns."""
    if version is None:
        if gpu:
            return Finding("mesa", "ok", "not needed: there is an NVIDIA GPU")
        return Finding("mesa", "warning", "version unknown: not installed as a system package")
    if mesa_is_new_enough(version) or gpu:
        return Finding("mesa", "ok", version)
    return Finding("mesa", "warning", f"{version}, SAPIEN needs {MINIMUM_MESA[0]}.{MINIMUM_MESA[1]}", rendering_fix())


def check_gpu(torch_probe: ProbeResult, *, driver: bool) -> Finding:
    """Reports the GPU; evaluation works without one."""
    name = torch_probe.values.get("cuda_gpu")
    if name:
        return Finding("gpu", "ok", name)
    if driver and torch_probe.problem is None:
        version = torch_probe.values["version"]
        fix = "pip install --force-reinstall a torch that was built with CUDA for this driver"
        return Finding("gpu", "warning", f"torch {version} does not see the NVIDIA GPU", fix)
    return Finding("gpu", "ok", "none: physics and rendering run on the processor")


def check_pack(name: str) -> Finding:
    """Checks that an asset pack's files are there; only the built-in one is needed."""
    label = f"assets {name}"
    severity: Literal["warning", "FAIL"] = "FAIL" if name == "builtin" else "warning"
    try:
        pack = load_pack(name)
    except VlagenError as error:
        return Finding(label, severity, str(error), "make setup")
    missing = integrity.missing(pack)
    if missing:
        fix = "git checkout -- assets/builtin" if name == "builtin" else f"vlagen-assets download {name}"
        return Finding(label, severity, f"{len(missing)} of {len(pack.files)} files missing under {pack.root}", fix)
    plainer = f", {len(pack.stand_ins)} models drawn by stand-ins" if pack.stand_ins else ""
    return Finding(label, "ok", f"{len(pack.files)} files, version {pack.version}{plainer}")


def check_room(name: str, free_bytes: int | None, low_gib: float, fix: str) -> Finding:
    """Checks an amount of free space."""
    if free_bytes is None:
        return Finding(name, "ok", "unknown")
    free_gib = free_bytes / 2**30
    if free_gib < low_gib:
        return Finding(name, "warning", f"{free_gib:.1f} GiB free, {low_gib:g} GiB recommended", fix)
    return Finding(name, "ok", f"{free_gib:.1f} GiB free")


def available_memory_bytes() -> int | None:
    """Returns how much memory new processes can have, or None where the system does not say."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        return None
    return None


if __name__ == "__main__":
    sys.exit(main())
