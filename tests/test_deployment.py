"""Files for other people's machines: what can be checked of them without SLURM or Kubernetes."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SLURM = ROOT / "docs" / "cluster" / "slurm.sbatch"
KUBERAY = ROOT / "docs" / "cluster" / "kuberay.yaml"


def test_the_slurm_script_is_a_script_and_says_what_it_asks_for():
    subprocess.run(["bash", "-n", str(SLURM)], check=True)
    text = SLURM.read_text(encoding="utf-8")
    assert {"nodes", "cpus-per-task", "time", "output"} <= set(re.findall(r"^#SBATCH --([a-z-]+)=", text, re.MULTILINE))
    assert '--backend ray --address "$address"' in text


def test_the_slurm_script_starts_ray_on_every_node_and_the_command_on_the_first(tmp_path):
    """Run for real, with stand-ins for SLURM's, Ray's and our commands that write down how they were called."""
    calls = tmp_path / "calls"
    commands = {
        "scontrol": 'printf "one\\ntwo\\nthree\\n"',
        "srun": f'echo "srun $*" >> {calls}',
        "ray": "true",
    }
    folder = tmp_path / ".venv" / "bin"
    folder.mkdir(parents=True)
    for command, body in commands.items():
        (folder / command).write_text(f"#!/usr/bin/env bash\n{body}\n")
        (folder / command).chmod(0o755)
    environment = {
        "PATH": "/usr/bin:/bin",
        "SLURM_SUBMIT_DIR": str(tmp_path),
        "SLURM_JOB_ID": "40007",
        "SLURM_JOB_NODELIST": "ignored",
        "SLURM_CPUS_PER_TASK": "16",
    }
    subprocess.run(["bash", str(SLURM), "--policy", "expert"], env=environment, check=True, timeout=60)
    # What the script starts in the background may outlive it by a moment.
    for _ in range(100):
        if len(calls.read_text().splitlines()) == 3:
            break
        time.sleep(0.1)
    head, others, evaluation = sorted(
        calls.read_text().splitlines(), key=lambda line: ("--address" in line, "vlagen" in line)
    )
    assert "-w one ray start --head --port=20007 --num-cpus=16" in head
    assert "--nodes=2" in others
    assert "-w two,three ray start --address=one:20007 --num-cpus=16" in others
    assert evaluation.endswith("vlagen-eval --backend ray --address one:20007 --workers 48 --policy expert")


def test_the_kubernetes_manifest_has_what_kuberay_requires():
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    job, claim = yaml.safe_load_all(KUBERAY.read_text(encoding="utf-8"))
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    spec = job["spec"]
    assert "vlagen-eval" in spec["entrypoint"]
    assert "--backend ray --address auto" in spec["entrypoint"]
    cluster = spec["rayClusterSpec"]
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert f"ray=={cluster['rayVersion']}" in pins
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for group in groups:
        assert isinstance(group["rayStartParams"], dict)
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert container["image"]
        assert container["resources"]["limits"] == container["resources"]["requests"]
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}
    for group in cluster["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    workers = int(re.search(r"--workers (\d+)", spec["entrypoint"])[1])
    (group,) = cluster["workerGroupSpecs"]
    cpus = int(group["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"])
    assert workers == group["replicas"] * cpus
    claimed = cluster["headGroupSpec"]["template"]["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"]
    assert (claim["kind"], claim["metadata"]["name"]) == ("PersistentVolumeClaim", claimed)
