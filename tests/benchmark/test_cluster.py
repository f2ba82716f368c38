"""Episodes on a Ray cluster. The cluster is real, on this machine; what is played is the toy world."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from tests.benchmark import toys
from vlagen.benchmark.evaluate import Evaluation
from vlagen.benchmark.records import read_records
from vlagen.benchmark.request import Request

ray = pytest.importorskip("ray", reason="Ray is not installed (the extra `ray`)")

from vlagen.benchmark.backends import cluster  # noqa: E402 - needs Ray
from vlagen.benchmark.backends.cluster_options import ClusterOptions  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def machine():
    """A cluster of this machine alone, with room for four workers."""
    ray.shutdown()
    ray.init("local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


WAYS = {
    "replicas": {"workers": 3},
    "shared policy": {"workers": 1, "ray_args": ("simulators=3",)},
}


def lines(out: Path, policy=toys.SeededPolicy, **how) -> list[str]:
    toys.evaluate(out, policy, **how)
    return toys.timeless_lines(out)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_records_are_those_of_one_process(machine, tmp_path, way):
    assert lines(tmp_path / "here") == lines(tmp_path / "there", backend="ray", **way)


@pytest.mark.slow
@pytest.mark.parametrize("policy", [toys.NanPolicy, toys.RaisingPolicy])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_so_are_errors(machine, tmp_path, way, policy):
    assert lines(tmp_path / "here", policy) == lines(tmp_path / "there", policy, backend="ray", **way)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_policy_that_hangs_costs_its_episodes(machine, tmp_path, way):
    toys.evaluate(tmp_path, toys.HangingPolicy, timeout=4, rows=("train",), backend="ray", **way)
    for record in read_records(tmp_path / "episodes.jsonl")[0]:
        assert record.outcome == ("error" if record.index % 2 else "success")
        if record.index % 2:
            assert "DeadlineExceeded: the policy's act at step 2 of row 'train' took more than 4 s" in record.error


@pytest.mark.slow
def test_a_simulator_that_hangs_elsewhere_costs_its_episode(machine, tmp_path):
    request = Request(policy=toys.named(toys.SlowPolicy), out=tmp_path, rows=("train",), episodes=3, assets=toys.ASSETS,
                      backend="ray", ray_args=("simulators=3",), timeout=4)  # fmt: skip
    with Evaluation(request, toys.StuckSimulator) as evaluation:
        list(evaluation.play())
        for record in evaluation.records:
            assert record.outcome == ("error" if record.index % 2 else "success")
            if record.index % 2:
                assert "DeadlineExceeded: simulating step 2" in record.error


def actor_processes() -> list[int]:
    """The processes that this test's cluster runs actors in."""
    parents, actors = {}, []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            title = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (OSError, ValueError):
            continue
        if title.startswith(("ray::PlayerActor", "ray::SimulatorActor")):
            actors.append(int(folder.name))
    ours = os.getpid()
    return [pid for pid in actors if ours in (parents.get(pid), parents.get(parents.get(pid)))]


def kill_at_random(times: int, records: Path, done: threading.Event, killed: list[int], every: int = 1) -> None:
    """Kills so many processes at random: the first once there is a record, each other once there are ``every`` more.

    By the clock alone, a busy machine would lose one episode so often that it is given up, as it should be.
    """
    moments, due = random.Random(0), 1
    while len(killed) < times and not done.is_set():
        time.sleep(0.05)
        if not records.exists() or records.read_bytes().count(b"\n") < due:
            continue
        time.sleep(moments.uniform(0, 1))
        if alive := actor_processes():
            killed.append(moments.choice(alive))
            os.kill(killed[-1], signal.SIGKILL)
            due += every


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_killing_workers_at_random_changes_nothing(machine, tmp_path, way):
    request = {"episodes": 24, "rows": ("train", "vision/table", "vision/noise-weak")}
    undisturbed = lines(tmp_path / "undisturbed", toys.NappingPolicy, workers=2, backend="replicas", **request)
    done, killed = threading.Event(), []
    disturbed = tmp_path / "disturbed" / "episodes.jsonl"
    killer = threading.Thread(target=kill_at_random, args=(10, disturbed, done, killed, 6))
    killer.start()
    try:
        records = lines(tmp_path / "disturbed", toys.NappingPolicy, backend="ray", **way, **request)
    finally:
        done.set()
        killer.join()
    assert len(killed) == 10, "the run ended before enough was killed"
    assert records == undisturbed


def test_waiting_ends_however_late_the_clock_is_read(monkeypatch):
    readings, waited = iter(range(100)), []

    def wait(references, *, timeout):
        waited.append(timeout)
        return [], references

    monkeypatch.setattr(cluster.time, "monotonic", lambda: 0.6 * next(readings))
    monkeypatch.setattr(cluster.ray, "put", lambda part: part)
    monkeypatch.setattr(cluster.ray, "wait", wait)
    crew = cluster.Cluster(None, None, None, None, ClusterOptions(patience=1000), disconnect=False)
    monkeypatch.setattr(crew, "_arrived", True)
    assert not crew.wait([], 1.0)
    assert waited
    assert min(waited) > 0  # Ray refuses a negative one


def test_a_cluster_that_is_not_there_is_named(monkeypatch):
    began = time.monotonic()
    for address, complaint in {
        "127.0.0.1:9": "--address 127.0.0.1:9: nobody answers there",
        "somewhere": "--address somewhere; allowed: auto, local or host:port",
        "ray://head:10001": "Ray's client is not supported.*ray job submit",
    }.items():
        with pytest.raises(cluster.ClusterError, match=complaint):
            cluster.connect(ClusterOptions(address=address), 1)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    with pytest.raises(cluster.ClusterError, match=r"--address 127\.0\.0\.1:9: nobody answers there"):
        cluster.connect(ClusterOptions(address="auto"), 1)
    with pytest.raises(cluster.ClusterError, match="nobody answers there"):
        cluster.connect(ClusterOptions(), 1)
    assert time.monotonic() - began < 30


def test_another_version_of_ray_is_named(monkeypatch):
    def refuse(**_):
        raise RuntimeError("Version mismatch: The cluster was started with:\n    Ray: 2.9.0\n    Python: 3.9.1")

    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(cluster.ClusterError, match=r"(?s)--address local: Version mismatch.*Ray: 2\.9\.0"):
        cluster.connect(ClusterOptions(address="local"), 1)


def test_without_ray_the_message_says_how_to_get_it():
    code = (
        "import sys; sys.modules['ray'] = None\n"
        "from tests.benchmark import toys\n"
        "from pathlib import Path\n"
        "toys.evaluate(Path(sys.argv[1]), toys.SlowPolicy, backend='ray')"
    )
    with tempfile.TemporaryDirectory() as folder:
        answer = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=False)
    assert "BadRequest: --backend ray needs Ray" in answer.stderr
    assert "pip install 'vlagen[ray]'" in answer.stderr


@pytest.mark.slow
def test_more_than_the_cluster_has_is_refused_at_once(machine, tmp_path):
    for pairs, complaint in {
        ("num_gpus=1",): "need 1 GPU, and the cluster has",
        ("simulators=9",): "need 9 CPU",
        ("policy_nodes=a100",): "a100",
    }.items():
        with pytest.raises(cluster.ClusterError, match=complaint):
            toys.evaluate(tmp_path, toys.SlowPolicy, backend="ray", ray_args=pairs)


@pytest.mark.slow
def test_a_machine_that_would_give_other_numbers_is_refused(machine, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "conditions", lambda job, stage: {"code": "of another commit"})
    with pytest.raises(cluster.ClusterError, match=r"would give other numbers.*code is 'of another commit' there"):
        toys.evaluate(tmp_path, toys.SlowPolicy, backend="ray")


@pytest.mark.sim
@pytest.mark.slow
def test_a_real_simulator_gives_the_same_records_although_workers_are_killed(machine, tmp_path):
    def play(name, **how):
        request = Request(
            policy="expert", out=tmp_path / name, rows=("train", "execution/moved-midway"), episodes=3, **how
        )
        with Evaluation(request) as evaluation:
            list(evaluation.play())
        return toys.timeless_lines(tmp_path / name)

    done, killed = threading.Event(), []
    disturbed = tmp_path / "disturbed" / "episodes.jsonl"
    killer = threading.Thread(target=kill_at_random, args=(2, disturbed, done, killed))
    killer.start()
    try:
        lines = play("disturbed", backend="ray", workers=2)
    finally:
        done.set()
        killer.join()
    assert killed
    assert lines == play("undisturbed")


COPIED_POLICY = """
from tests.benchmark.toys import SlowPolicy


class CopiedPolicy(SlowPolicy):
    def act(self, observation):
        assert "runtime_resources" in __file__, __file__
        return super().act(observation)
"""


# Last, as these make clusters of their own of which this process is a part.
@pytest.mark.slow
def test_a_policy_that_lies_here_alone_is_sent_along(tmp_path, monkeypatch):
    ray.shutdown()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "copied.py").write_text(COPIED_POLICY)
    request = Request(policy="copied.py", out=tmp_path / "run", rows=("train",), episodes=2, assets=toys.ASSETS,
                      backend="ray", address="local", ray_args=("copy_folder=true",))  # fmt: skip
    with Evaluation(request, toys.ToySimulator) as evaluation:
        assert {record.outcome for record in evaluation.play()} == {"success"}


@pytest.mark.slow
def test_a_machine_that_vanishes_takes_nothing_with_it(tmp_path):
    from ray.cluster_utils import Cluster

    if ray.is_initialized():
        ray.shutdown()
    toys.evaluate(tmp_path / "undisturbed", toys.NappingPolicy)
    machines = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        other = machines.add_node(num_cpus=2)
        ray.init(address=machines.address, log_to_driver=False, logging_level="ERROR")
        request = Request(policy=toys.named(toys.NappingPolicy), out=tmp_path / "run", rows=("train", "vision/table"),
                          episodes=4, assets=toys.ASSETS, backend="ray", workers=3)  # fmt: skip
        with Evaluation(request, toys.ToySimulator) as evaluation:
            playing = evaluation.play()
            next(playing)
            machines.remove_node(other, allow_graceful=False)
            list(playing)
        assert toys.timeless_lines(tmp_path / "run") == toys.timeless_lines(tmp_path / "undisturbed")
    finally:
        ray.shutdown()
        machines.shutdown()
