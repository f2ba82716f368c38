"""Small programs that try one part of the platform each, for ``vlagen-doctor``.

Every probe runs in a process of its own: SAPIEN and the Vulkan drivers are native code, and where they do not fit each
other they may crash or hang instead of raising.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass

# Every program prints one JSON object as its last line.
TORCH = """
import json, torch
gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
print(json.dumps({"version": torch.__version__, "cuda_gpu": gpu}))
"""

PROBES = {
    "mani_skill": """
import json, warnings
warnings.simplefilter("ignore")
import mani_skill.envs, torch
gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
print(json.dumps({"version": mani_skill.__version__, "torch": torch.__version__, "cuda_gpu": gpu}))
""",
    "physics": """
import json, sapien
scene = sapien.Scene([sapien.physx.PhysxCpuSystem()])
builder = scene.create_actor_builder()
builder.add_box_collision(half_size=[0.1, 0.1, 0.1])
box = builder.build("box")
scene.step()
print(json.dumps({"version": sapien.__version__, "fell_m": -float(box.pose.p[2])}))
""",
    "rendering": """
import json
from vlagen.tasks.rendering import nvidia_gpu_present, prepare_rendering
prepare_rendering()
import sapien
device = sapien.Device("cuda" if nvidia_gpu_present() else "cpu")
scene = sapien.Scene([sapien.physx.PhysxCpuSystem(), sapien.render.RenderSystem(device)])
builder = scene.create_actor_builder()
builder.add_box_visual(half_size=[0.1, 0.1, 0.1], material=[1, 0, 0])
builder.build_static("box").set_pose(sapien.Pose([1, 0, 0]))
scene.set_ambient_light([1, 1, 1])
camera = scene.add_camera("camera", 16, 16, 1.0, 0.01, 10)
scene.update_render()
camera.take_picture()
centre = camera.get_picture("Color")[8, 8, :3].tolist()
summary = sapien.render.get_device_summary().splitlines()
names = [line.partition(":")[2].strip() for line in summary if line.startswith("GPU:")]
print(json.dumps({"device": names[0] if names else device.name, "centre": centre}))
""",
}


@dataclass(frozen=True)
class ProbeResult:
    """What a probe said: `values` if it worked, otherwise `problem` in one line."""

    values: dict
    problem: str | None
    timed_out: bool = False


def run_probes(timeout_s: float) -> dict[str, ProbeResult]:
    """Runs all probes at the same time.

    Args:
        timeout_s: [s] a probe that takes longer is stopped and counts as failed.

    Returns:
        The results by the names of ``PROBES``.
    """
    running = {name: start(program) for name, program in PROBES.items()}
    return {name: finish(process, timeout_s) for name, process in running.items()}


def start(program: str) -> subprocess.Popen[str]:
    """Starts a probe with this interpreter, in a process group of its own."""
    # ManiSkill may ask on the terminal whether to download; a doctor must not wait for an answer.
    return subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str], timeout_s: float) -> ProbeResult:
    """Waits for a probe and reads what it printed."""
    try:
        output, errors = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return ProbeResult({}, f"no answer within {timeout_s:g} s", timed_out=True)
    if process.returncode < 0:
        return ProbeResult({}, f"crashed with {signal.Signals(-process.returncode).name}")
    lines = output.strip().splitlines()
    if process.returncode != 0 or not lines:
        words = errors.strip().splitlines()
        return ProbeResult({}, words[-1] if words else f"exit code {process.returncode} without a message")
    try:
        return ProbeResult(json.loads(lines[-1]), None)
    except ValueError:
        return ProbeResult({}, f"unreadable answer: {lines[-1]}")
