"""Real peers: other people's clients and servers, in an environment of theirs; see ``peers/README.md``."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.benchmark.remote.serving import BridgePolicy, ChunkPolicy, WatchfulPolicy, make, observation, running
from vlagen.benchmark.actions.formats import convert
from vlagen.benchmark.loading.source import find_policy
from vlagen.benchmark.policy import PolicyEpisode, PolicyError
from vlagen.benchmark.remote.states import state_of

PYTHON = os.environ.get("VLAGEN_PEERS_PYTHON", "")
FOLDER = Path(__file__).with_name("peers")


def needs(package: str):
    """Skips where the peers' environment is absent or lacks a package."""
    there = (
        PYTHON and not subprocess.run([PYTHON, "-c", f"import {package}"], capture_output=True, check=False).returncode
    )
    return pytest.mark.skipif(not there, reason=f"VLAGEN_PEERS_PYTHON names no Python that has {package}")


needs_openpi, needs_vla_eval = needs("openpi_client"), needs("vla_eval")


def run(script: str, *arguments: object) -> dict:
    """Runs a peer to its end and returns what it printed."""
    command = [PYTHON, str(FOLDER / script), *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@contextlib.contextmanager
def peer(script: str):
    """Runs a peer that serves, and yields its port."""
    process = subprocess.Popen(
        [PYTHON, str(FOLDER / script)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait()


@needs_openpi
def test_openpi_client_talks_to_our_server():
    with running(make(ChunkPolicy)) as port:
        told = run("openpi_client_peer.py", port, 6)
    # Its broker executes the first two of each chunk of four, and then asks again.
    np.testing.assert_allclose(
        [action[0] for action in told["actions"]], [0, 0.001, 0.004, 0.005, 0.008, 0.009], atol=1e-6
    )
    assert "7 numbers" in told["metadata"]["actions"]


@needs_openpi
def test_openpi_client_is_told_what_was_wrong():
    with running(make(WatchfulPolicy)) as port:
        told = run("openpi_client_peer.py", port, 0)
    assert "the picture is str; allowed: a picture (H, W, 3) uint8" in told["complaint"]


@needs_openpi
def test_our_client_talks_to_a_server_on_openpis_serialisation():
    with peer("openpi_server_peer.py") as port:
        arguments = [("actions", "bridge"), ("blank", "observation/wrist_image")]
        policy = find_policy(f"openpi://127.0.0.1:{port}", arguments).make()
        assert policy.spec.emits.gripper_closed == 0
        assert (policy.spec.image.height, policy.spec.image.fit) == (224, "pad")
        policy.reset([PolicyEpisode("go", 0), PolicyEpisode("stop", 1)])
        for step in range(3):
            seen = observation(2, step, size=(224, 224))
            actions = policy.act(seen)
            assert actions.shape == (2, 2, 7)
            np.testing.assert_allclose(actions[:, 0, 0], 1e-3 * step)
            np.testing.assert_allclose(actions[:, 1, 1], 1e-3 * seen.rgb.mean(axis=(1, 2, 3)) / 255)
            np.testing.assert_allclose(actions[:, 0, 2], 1e-3 * seen.proprioception.sum(axis=1), rtol=1e-5)
        seen = observation(2, 3, "raise", size=(224, 224))
        with pytest.raises(PolicyError, match="reports: Traceback: toy trouble"):
            policy.act(seen)
        policy.close()


@needs_vla_eval
def test_vla_evals_client_talks_to_our_server():
    with running(make(BridgePolicy, "vla-eval")) as port:
        told = run("vla_eval_client_peer.py", port, 3)
    assert told["fits"]
    assert told["info"]["protocol_version"] == 1
    # Quaternion to axis-angle, and closed is +1.
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_euler("XYZ", BridgePolicy.canonical[3:6]).as_rotvec()
    np.testing.assert_allclose(told["actions"], [[0.01, -0.02, 0.03, *turn, 1.0]] * 3, atol=1e-6)


@needs_vla_eval
def test_vla_evals_client_gets_chunks_action_by_action():
    with running(make(ChunkPolicy, "vla-eval", execute_horizon=2)) as port:
        told = run("vla_eval_client_peer.py", port, 5)
    np.testing.assert_allclose([action[0] for action in told["actions"]], [0, 0.001, 0.004, 0.005, 0.008], atol=1e-6)


@needs_vla_eval
def test_vla_evals_client_is_told_what_was_wrong():
    with running(make(WatchfulPolicy, "vla-eval")) as port:
        told = run("vla_eval_client_peer.py", port, 0)
    assert "the observation has the cameras (none)" in told["complaint"]


@needs_vla_eval
def test_our_client_talks_to_vla_evals_server():
    with peer("vla_eval_server_peer.py") as port:
        policy = find_policy(f"vla-eval://127.0.0.1:{port}").make()
        emits = policy.spec.emits
        assert (emits.rotation, emits.gripper_open, emits.gripper_closed) == ("quaternion_xyzw", -1, 1)
        assert policy.spec.needs_proprioception
        for episode in range(2):
            policy.reset([PolicyEpisode("go", episode), PolicyEpisode("stop", 1), PolicyEpisode("on", 2)])
            first = observation(3, episode)
            for step in range(4):
                actions = policy.act(first if step % 2 == 0 else observation(3, 9))
                assert actions.shape == (3, 8)
                # Its chunks are two long, and a new episode begins with a new one.
                np.testing.assert_allclose(actions[:, 2], 1e-3 * (step // 2 * 2), rtol=1e-5)
                expected = 1e-3 * state_of(first, "joints").sum(axis=1)
                np.testing.assert_allclose(actions[:, 1], expected, rtol=1e-4, atol=1e-7)
                assert (convert(actions, emits)[:, 6] == -1).all()
        policy.reset([PolicyEpisode("raise", 0)])
        with pytest.raises(PolicyError, match="observation_failed: ZeroDivisionError: toy trouble"):
            policy.act(observation(1, 0, "raise"))
        policy.close()


@needs_vla_eval
def test_a_server_that_comes_back_is_used_again():
    with peer("vla_eval_server_peer.py") as port:
        policy = find_policy(f"vla-eval://127.0.0.1:{port}", [("patience", "1")]).make()
        policy.reset([PolicyEpisode("go", 0)])
        policy.act(observation(1, 0))
    with pytest.raises(PolicyError, match="went away"):
        policy.act(observation(1, 1))
    with pytest.raises(PolicyError, match=r"no policy server answers at vla-eval://127\.0\.0\.1"):
        policy.reset([PolicyEpisode("go", 1)])
