"""How the commands of a page are run: in a folder of their own, in their order, and smaller than they are written."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from fnmatch import fnmatch
from pathlib import Path

from tests.docs_pages import PAGES, ROOT, blocks, name, shell_commands

RUN = (
    "vlagen-*",
    ".venv/bin/vlagen-*",
    "make eval",
    "make help",
    "python -m vlagen.*",
    "python scripts/*",
)
"""Commands that are run, unless they are exempt. Nothing else ever is: a page may tell an administrator what to do."""

EXEMPT = {
    "make setup": "what every other target of the Makefile begins with",
    "make test": "runs tests, as this does",
    "make check": "for who changes the code, whose state it judges",
    "pip install *": "changes the environment that the tests run in",
    "python -m venv lerobot && *": "downloads LeRobot and its torch; tests/benchmark/remote/test_lerobot.py runs there",
    "lerobot/bin/vlagen-serve *": "needs that environment",
    "vla-eval run *": "needs vla-eval; tests/benchmark/integrations runs it where it is installed",
    "docker *": "needs Docker, see tests/test_container.py",
    "mkdir -p runs": "for the container",
    "apt-get install podman debootstrap": "changes the machine",
    "debootstrap *": "downloads a Debian",
    "tar -C base *": "makes an image of it",
    "podman *": "needs podman, see tests/test_container.py",
    "sbatch *": "needs SLURM, see tests/test_deployment.py",
    "vlagen-eval *--address auto*": "needs a cluster that runs already; tests/benchmark/test_cluster.py makes one",
    "accelerate launch *": "four processes with a model each; tests/baselines/test_processes.py has two",
    "vlagen-assets download rl4vla": "downloads",
    "python -m mani_skill.utils.download_asset *": "downloads",
    "vlagen-eval *--suite rl4vla*": "needs the pack that is downloaded",
    "python scripts/measure_expert.py --assets rl4vla": "needs the pack that is downloaded",
    "vlagen-eval *checkpoint=gen-robot/*": "needs 15 GB of weights and a GPU",
    "vlagen-train sft --recipe rl4vla-warmup *": "needs 15 GB of weights and a GPU",
    "vlagen-train study *": "trains for hours; tests/baselines/test_study.py does it in the toy world",
}
"""Commands that are not run here, and why; that they parse is tested."""

SMALLER = (
    (r"--episodes \d+", "--episodes 1"),
    (r"--workers \d+", "--workers 1"),
    (r"held_out=\d+", "held_out=0"),
    (r"batch_size=\d+", "batch_size=4"),
    (r"\bmodels/\d{6}\b", "models/000002"),
    # Nothing outside of the page's folder is written to, and other tests may serve at the same time.
    (r"(?<=[ =])/(?=\w)", ""),
    (r"://host:", "://localhost:"),
    (r"\b8000\b", "{port}"),
    (r"^(\.venv/bin/)", ""),
    (r"\bpython (scripts|tests)/", rf"python {ROOT}/\1/"),
)
"""What is written otherwise before it is run, in commands and in Python."""

TWO = "train execution/position"
ADDED = (
    # Lines of the Makefile begin with the folder of the commands, and keep all rows.
    (r"^vlagen-eval --policy (openvla|openpi:|vla-eval:)(?!.*--rows)", " --rows train"),
    (r"^vlagen-eval (?!--policy (openvla|openpi:|vla-eval:))(?!.*--(rows|replay|list|new-adapter))", f" --rows {TWO}"),
    (r"^vlagen-eval (?!.*--(episodes|replay|list|new-adapter))", " --episodes 1"),
    (r"^vlagen-train sft ", " held_out=0 adamw.batch=4 run.updates=2"),
    (r"^vlagen-train ppo ", " rollouts.episodes=1 simulation.workers=1 run.updates=1 run.evaluate_every=0"),
    (r"^python scripts/measure_expert.py ", " --rows train --train-count 1"),
)
"""What is added to a command as it is written; the examples of vlagen-train end with their settings."""


def move(old: str, new: str) -> str:
    return f"mkdir -p {Path(new).parent} && mv {old} {new}"


MAKE_ADAPTER = "vlagen-eval --new-adapter my_adapter.py"
COLLECT = "vlagen-collect --out demonstrations --episodes 1 --workers 1"
MAKE_TINY = "python -m vlagen.baselines.openvla.tiny /tmp/tiny"
RUN_A, RUN_B = "vlagen-eval --policy noop --out runs/a", "vlagen-eval --policy random --out runs/b"
BEFORE = {
    "README.md": (RUN_A, RUN_B),
    "docs/commands.md": (MAKE_ADAPTER, RUN_A, RUN_B),
    "docs/demonstrations.md": (COLLECT, move("demonstrations", "data/more")),
    "docs/leaderboard.md": (RUN_A, RUN_B, move("runs/a", "runs/sft"), move("runs/b", "runs/ppo")),
    "docs/openvla.md": (MAKE_TINY, move("tmp/tiny", "data/my-run/merged")),
    "docs/reproduce.md": (RUN_B, move("runs/b", "runs/mine")),
    "docs/servers.md": (MAKE_ADAPTER, "echo 'actions = \"bridge\"' > my_server.toml"),
    "docs/training.md": (MAKE_TINY, move("tmp/tiny", "runs/warm-up/models/000002/model")),
}
"""What pages speak of without saying how it came to be, as commands."""

ELSEWHERE = (
    ("vla-eval://host:", "vlagen-serve --policy my_adapter --protocol vla-eval --port 8000"),
    ("openpi://host:", "python tests/docs_openpi_server.py 8000"),
    ("lerobot:user/repository", "vlagen-serve --policy my_adapter --protocol openpi --port 8000"),
)
"""Servers that run already where a page speaks of these, or stand in for what is not run."""

NAMES = {
    "README.md": "",
    "docs/leaderboard.md": "",
    "docs/demonstrations.md": "k0 = 0",
    "docs/openvla.md": (
        "import numpy as np\n"
        "folder, camera = 'data/my-run/merged', np.zeros((2, 480, 640, 3), np.uint8)\n"
        "instructions, actions = ['put carrot on plate'] * 2, np.zeros((2, 7))"
    ),
    "docs/servers.md": "import numpy as np",
    "docs/variants.md": "from vlagen.tasks import pools\nfrom vlagen.tasks.variants import Variant",
}
"""Pages whose Python is run, and what it supposes to be there."""

# Programs whose outcome is the same wherever they run, so that one run serves all pages that ask for it.
_SHARED = ("vlagen-eval", "vlagen-check-policy", "vlagen-collect", "vlagen-doctor", "python -m vlagen.")
_PATIENCE = 1200.0  # seconds; the machine may be busy with other things


def exempt(command: str) -> str:
    """Why a command is not run; empty if it is."""
    return next((reason for pattern, reason in EXEMPT.items() if fnmatch(command, pattern)), "")


def is_run(command: str) -> bool:
    """Whether a command as it is written is run: one of ours alone, that is not exempt."""
    alone = re.search(r"[;&`]|\$\(", command) is None
    return alone and not exempt(command) and any(fnmatch(command, pattern) for pattern in RUN)


def run_here(page: Path) -> bool:
    """Whether there is something on a page that is run."""
    return name(page) in NAMES or any(is_run(command) for block in blocks(page) for command in shell_commands(block))


def smaller(command: str, port: int) -> str:
    """A command as it is run."""
    added = "".join(words for pattern, words in ADDED if re.search(pattern, command))
    for pattern, replacement in SMALLER:
        command = re.sub(pattern, replacement.replace("{port}", str(port)), command)
    return command + added


class Bench:
    """Runs pages, each in a folder of its own below ``root``; several threads may."""

    def __init__(self, root: Path) -> None:
        self.ended = False
        """Whether to begin no command any more."""
        self._root = root
        self._lock = threading.Lock()
        self._shared: dict[str, tuple[threading.Lock, Path]] = {}

    def play(self, page: Path) -> Played:
        """Runs a page from its beginning to its end.

        Raises:
            AssertionError: a command failed; with what it printed.
        """
        folder = self._root / name(page).replace("/", "-")
        folder.mkdir()
        played = Played(self, folder)
        try:
            for command in BEFORE.get(name(page), ()):
                played.prepare(command)
            for count, block in enumerate(blocks(page)):
                for command in shell_commands(block):
                    played.run(command)
                if block.language == "python" and name(page) in NAMES:
                    played.run_python(f"block_{count}.py", NAMES[name(page)], block.text)
                if block.language == "text" and block.text.startswith("$ "):
                    played.refuse(block.text)
        finally:
            played.stop()
        return played

    def shared(self, command: str, adapter: Path) -> tuple[str, Path]:
        """Runs a command in a folder of its own, unless that was done; returns what it printed and the folder."""
        with self._lock:
            lock, folder = self._shared.setdefault(
                command, (threading.Lock(), self._root / f"shared-{len(self._shared)}")
            )
        with lock:
            output = folder / ".printed"
            if not output.is_file():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                lent = folder / adapter.name
                if adapter.is_file():
                    shutil.copy(adapter, lent)
                printed = call(command, folder)
                if adapter.is_file():
                    lent.unlink()
                output.write_text(printed, encoding="utf-8")
            return output.read_text(encoding="utf-8"), folder


class Played:
    """A page's folder while its commands run, and what they printed."""

    def __init__(self, bench: Bench, folder: Path) -> None:
        self.folder = folder
        self.printed = ""
        self._bench = bench
        self._port = free_port()
        self._server: subprocess.Popen | None = None
        self._served = ""

    def run(self, command: str) -> None:
        """Runs one command if it is one of those; a server stays until another one comes or the page ends."""
        for address, server in ELSEWHERE:
            if address in command:
                self._serve(smaller(server, self._port))
        if is_run(command):
            self.prepare(command)

    def prepare(self, command: str) -> None:
        """Runs one command in any case, in the page's folder."""
        assert not self._bench.ended, "stopped"
        if command == "make help":
            self.printed += call(command, ROOT)
            return
        if command.startswith("make "):
            command = self._of_the_makefile(command)
        command = smaller(command, self._port)
        if command.startswith("vlagen-serve "):
            self._serve(command)
        elif self._depends_on_nothing(command):
            output, made = self._bench.shared(command, self.folder / "my_adapter.py")
            shutil.copytree(made, self.folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".printed"))
            self.printed += output
        else:
            self.printed += call(command, self.folder)

    def run_python(self, file: str, names: str, code: str) -> None:
        """Runs Python of the page; a policy in it is checked as well."""
        code = smaller(code, self._port)
        (self.folder / file).write_text(f"{names}\n\n{code}", encoding="utf-8")
        self.printed += call(f"python {file}", self.folder)
        if "spec = PolicySpec(" in code:
            self.printed += call(f"vlagen-check-policy {file}", self.folder)

    def refuse(self, shown: str) -> None:
        """Runs what the page shows to be refused, and compares the message up to where the page breaks it off."""
        prompt, *lines = shown.splitlines()
        output = call(prompt.removeprefix("$ "), self.folder, code=2)
        for line in lines:
            assert line.rstrip("… ") in output, output

    def stop(self) -> None:
        """Ends the server, if there is one."""
        if self._server is not None:
            self._server.terminate()
            self._server.wait()
            self._server = None

    def _of_the_makefile(self, command: str) -> str:
        """What a target does, to be done in the page's folder instead of the repository."""
        lines = call(command.replace("make", "make -n", 1), ROOT).splitlines()
        (line,) = [line for line in lines if line.startswith(".venv/bin/vlagen-")]
        return line

    def _serve(self, command: str) -> None:
        if command == self._served:
            return
        self.stop()
        self._served = command
        with (self.folder / "server.txt").open("wb") as log:
            self._server = subprocess.Popen(
                ["bash", "-c", f"exec {command}"], cwd=self.folder, env=environment(), stdout=log, stderr=log
            )
        address = f"http://127.0.0.1:{self._port}/health"
        end = time.monotonic() + _PATIENCE
        while not answers(address):
            log = (self.folder / "server.txt").read_text(encoding="utf-8")
            assert self._server.poll() is None, f"{command} ended: {log}"
            assert time.monotonic() < end, f"{command} does not answer: {log}"
            time.sleep(0.2)

    def _depends_on_nothing(self, command: str) -> bool:
        """Whether neither a server, nor what the page has made so far but for the adapter, can matter to a command."""
        parts = re.split(r"[\s=]+", command)
        return (
            command.startswith(_SHARED) and "://" not in command and not any((self.folder / p).exists() for p in parts)
        )


def call(command: str, folder: Path, code: int = 0) -> str:
    """Runs a shell command and returns what it printed, its exit code checked."""
    answer = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=_PATIENCE,
        check=False,
    )
    assert answer.returncode == code, f"{command}\nended with {answer.returncode}:\n{answer.stdout}"
    return answer.stdout


def environment() -> dict[str, str]:
    """This process's, with its Python's commands first, without a network, and without keys and colours."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    kept = {key: value for key, value in os.environ.items() if key not in ("VLAGEN_API_KEY", "FORCE_COLOR")}
    return kept | {"PATH": path, "HF_HUB_OFFLINE": "1", "NO_COLOR": "1"}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


PLAYED_PAGES = tuple(page for page in PAGES if run_here(page))
