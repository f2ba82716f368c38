"""200 runs of 16 rows with 192 episodes each, 614 400 records, in the time and memory that were promised."""

from __future__ import annotations

import resource
import subprocess
import sys
import time

import pytest

from tests.leaderboard.synthetic import write_random_runs

SECONDS, BYTES = 20.0, 1_000_000_000


@pytest.mark.perf
def test_two_hundred_runs_build_in_time(tmp_path, capsys):
    write_random_runs(tmp_path / "runs", policies=200, episodes=192)
    command = [sys.executable, "-m", "vlagen.leaderboard.cli", "build", str(tmp_path / "runs")]
    began = time.perf_counter()
    subprocess.run([*command, "--out", str(tmp_path / "out"), "--html"], check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    # The largest of the processes, in KiB on Linux; three of them at most run at once.
    largest = used.ru_maxrss * 1024
    measured = f"{seconds:.1f} s, {used.ru_utime + used.ru_stime:.1f} s of CPU, {largest / 1e6:.0f} MB"
    with capsys.disabled():
        sys.stdout.write(f"\n614 400 records: {measured}\n")
    assert (tmp_path / "out" / "index.html").stat().st_size > 0
    assert seconds < SECONDS
    assert largest < BYTES
