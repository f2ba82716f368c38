"""What a server does with clients of all kinds, good, bad and lost."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

import numpy as np
import pytest
import websockets
from websockets.sync.client import connect

from tests.benchmark import toys
from tests.benchmark.remote.serving import (
    HERE,
    BridgePolicy,
    ChunkPolicy,
    EpisodewisePolicy,
    RaisingAlwaysPolicy,
    WatchfulPolicy,
    make,
    observation,
    running,
    served,
)
from vlagen.benchmark.loading.source import find_policy
from vlagen.benchmark.policy import PolicyEpisode, PolicyError, PolicySpec
from vlagen.benchmark.remote import openpi_codec, vla_eval_codec
from vlagen.benchmark.remote.link import API_KEY_VARIABLE, LostServer
from vlagen.benchmark.remote.own import Seating
from vlagen.benchmark.remote.server import Place
from vlagen.benchmark.remote.serving import BadService, Service


@contextlib.contextmanager
def stranger(port, **options):
    """A client that is not vlagen's."""
    with connect(f"ws://{HERE}:{port}", compression=None, proxy=None, **options) as connection:
        yield connection


def ask(connection, **request):
    connection.send(openpi_codec.pack(request))
    answer = connection.recv(timeout=10)
    return answer if isinstance(answer, str) else openpi_codec.decode(answer)


def get(port, path, **headers):
    connection = http.client.HTTPConnection(HERE, port, timeout=5)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def begin(address, *episodes):
    policy = find_policy(address).make()
    policy.reset([PolicyEpisode("go to 0", seed) for seed in (episodes or (0,))])
    return policy


def test_paths_for_those_who_watch():
    with running(make(ChunkPolicy, "openpi")) as port:
        assert get(port, "/healthz") == (200, "OK\n")
        assert json.loads(get(port, "/health")[1]) == {"status": "ok"}
        assert json.loads(get(port, "/config?max_batch_size=1000")[1])["config"]["max_batch_size"] == 16
        with stranger(port) as connection:
            connection.recv()
            ask(connection, prompt="go")
            status, text = get(port, "/metrics")
        values = dict(line.split() for line in text.splitlines() if not line.startswith("#"))
        assert status == 200
        assert values["vlagen_sessions"] == values["vlagen_requests_total"] == values["vlagen_batches_total"] == "1"
        assert get(port, "/etc/passwd")[0] == 426


def test_a_key_opens_all_but_the_health_paths(monkeypatch):
    monkeypatch.delenv(API_KEY_VARIABLE, raising=False)
    with running(make(toys.SlowPolicy, place=Place(port=0, api_key="sesame"))) as port:
        assert get(port, "/healthz")[0] == 200
        for headers in ({}, {"Authorization": "Api-Key simsalabim"}, {"Authorization": "sesame"}):
            assert get(port, "/metrics", **headers)[0] == 401
        assert get(port, "/metrics", Authorization="Api-Key sesame")[0] == 200
        assert get(port, "/metrics", Authorization="Bearer sesame")[0] == 200
        with pytest.raises(LostServer, match=f"HTTP 401; it wants a key: set {API_KEY_VARIABLE}"):
            begin(f"openpi://{HERE}:{port}")
        monkeypatch.setenv(API_KEY_VARIABLE, "sesame")
        assert begin(f"openpi://{HERE}:{port}").act(observation()).shape == (1, 7)


def test_a_page_in_a_browser_is_turned_away():
    with running(make(toys.SlowPolicy)) as port, pytest.raises(websockets.InvalidStatus, match="403"):  # noqa: SIM117
        with stranger(port, origin="https://example.org"):
            pass


def test_a_stranger_is_told_what_the_actions_mean_and_gets_the_policys_own():
    with running(make(BridgePolicy)) as port, stranger(port) as connection:
        told = openpi_codec.decode(connection.recv())
        assert "translation [cm] and quaternion_xyzw" in told["actions"]
        assert set(told) == {"policy", "actions"}
        answer = ask(connection, prompt="go")
    assert answer["actions"].shape == (1, 8)
    np.testing.assert_allclose(answer["actions"][0, :3], [1, -2, 3], rtol=1e-6)
    assert answer["server_timing"]["infer_ms"] > 0


def test_a_stranger_can_be_given_other_actions():
    with running(make(BridgePolicy, actions="libero")) as port, stranger(port) as connection:
        connection.recv()
        actions = ask(connection, prompt="go")["actions"]
    assert actions.shape == (1, 7)
    np.testing.assert_allclose(actions[0, [0, 1, 2, 6]], [0.01, -0.02, 0.03, 1.0], rtol=1e-6)


def test_a_strangers_keys_can_be_mapped():
    seen = {"cam": np.zeros((48, 64, 3), dtype=np.uint8), "joints": np.zeros(8, dtype=np.float32), "task": "go"}
    keys = {"image_key": "cam", "state_key": "joints", "prompt_key": "task"}
    server = make(LookingPolicy, **keys)
    with running(server) as port, stranger(port) as connection:
        connection.recv()
        assert ask(connection, **seen)["actions"][0, 0] == pytest.approx(0.16)  # the height it asked for, 16
        assert "needs observation.proprioception" in ask(connection, cam=seen["cam"], task="go")


class LookingPolicy(toys.SlowPolicy):
    """Moves by a hundredth of the height of its picture."""

    spec = WatchfulPolicy.spec

    def act(self, observation):
        actions = super().act(observation)
        actions[:, 0] = observation.rgb.shape[1] / 100
        return actions


def test_a_strangers_episode_begins_with_another_prompt():
    with running(make(ChunkPolicy)) as port, stranger(port) as connection:
        connection.recv()
        firsts = [ask(connection, prompt=prompt)["actions"][0, 0] for prompt in ("a", "a", "b", "b")]
    np.testing.assert_allclose(firsts, [0, 4e-3, 0, 4e-3], atol=1e-7)


def test_roboarena_is_told_its_configuration_and_nothing_else():
    keys = {"image_resolution", "needs_wrist_camera", "n_external_cameras", "needs_stereo_camera", "needs_session_id"}
    with running(make(ChunkPolicy, "roboarena")) as port, stranger(port) as connection:
        assert set(openpi_codec.decode(connection.recv())) == keys | {"action_space"}
        first = ask(connection, endpoint="infer", prompt="go")
        assert isinstance(first, np.ndarray)
        assert first.shape == (4, 7)
        assert ask(connection, endpoint="infer", prompt="go")[0, 0] > 0
        assert ask(connection, endpoint="reset") == "reset successful"
        assert ask(connection, endpoint="infer", prompt="go")[0, 0] == 0


def test_what_the_policy_raises_reaches_the_client_without_the_servers_paths():
    with running(make(RaisingAlwaysPolicy)) as port, stranger(port) as connection:
        connection.recv()
        assert ask(connection, prompt="go") == "ZeroDivisionError: toy trouble"
    with served(RaisingAlwaysPolicy, "vla-eval") as address:
        policy = begin(address)
        with pytest.raises(PolicyError, match="reports: observation_failed: ZeroDivisionError: toy trouble"):
            policy.act(observation())


def read_to_the_end(connection):
    while True:
        connection.recv(timeout=10)


@pytest.mark.parametrize("protocol", ["openpi", "vla-eval", "roboarena"])
@pytest.mark.parametrize("data", [b"\xc1", b"", b"\x91" * 1000, "a text", openpi_codec.pack([1]), b"\0" * 200_000])
def test_nonsense_ends_its_own_session_only(protocol, data):
    server = make(toys.SlowPolicy, protocol, max_message=0.1)
    with running(server) as port:
        with stranger(port) as connection:
            connection.send(data)
            with pytest.raises(websockets.ConnectionClosed) as closed:
                read_to_the_end(connection)
        assert closed.value.rcvd.code in (1007, 1009)
        assert begin(f"{protocol}://{HERE}:{port}").act(observation(size=(8, 8))).shape == (1, 7)


def test_there_is_room_for_so_many_sessions():
    with running(make(toys.SlowPolicy, place=Place(port=0, most_sessions=1), copies=5)) as port:
        with stranger(port) as first:
            first.recv()
            with stranger(port) as second, pytest.raises(websockets.ConnectionClosed, match="1 sessions are taken"):
                second.recv(timeout=10)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:  # the first one's place is free a moment after it has gone
            with contextlib.suppress(websockets.ConnectionClosed), stranger(port) as third:
                third.recv(timeout=10)
                return
        pytest.fail("the place of a session that has gone was not freed")


class CountingPolicy(EpisodewisePolicy):
    """Emits the size of its batch, in hundredths of a metre."""

    def act_on(self, observation, memories: Sequence[list]) -> np.ndarray:
        time.sleep(0.02)
        actions = np.zeros((len(memories), 7))
        actions[:, 0] = len(memories) / 100
        return actions


def together(address, count, steps=3):
    """Plays with so many sessions that know nothing of each other; the largest batch that any was part of."""
    policies = [begin(address, seed) for seed in range(count)]
    largest = []

    def play(policy):
        largest.extend(round(100 * policy.act(observation(step=step))[0, 0]) for step in range(steps))

    threads = [threading.Thread(target=play, args=(policy,)) for policy in policies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for policy in policies:
        policy.close()
    return max(largest)


def test_sessions_of_their_own_are_asked_together():
    with served(CountingPolicy, max_wait=2000) as address:
        assert together(address, 1) == 1
        assert together(address, 4) == 4
    with served(CountingPolicy, max_batch=2, max_wait=2000) as address:
        assert together(address, 4) == 2


def test_a_session_that_plays_alone_waits_for_nobody():
    with served(EpisodewisePolicy, max_wait=60_000) as address:
        policy = begin(address)
        started = time.monotonic()
        policy.act(observation())
        assert time.monotonic() - started < 30


def test_a_policy_that_remembers_one_batch_serves_one_at_a_time():
    with served(WatchfulPolicy) as address:
        first, second = begin(address), begin(address)
        first.act(observation())
        with pytest.raises(PolicyError, match="all 1 copies of the policy are at work for other sessions"):
            second.act(observation())
        first.close()
        deadline = time.monotonic() + 10
        while True:  # its copy is free a moment after it has gone
            second.reset([PolicyEpisode("go to 0", 0)])
            try:
                assert second.act(observation()).shape == (1, 7)
                break
            except PolicyError:
                assert time.monotonic() < deadline


def test_copies_and_statelessness_let_sessions_play_at_once():
    for options in ({"copies": 2}, {"stateless": True}):
        with served(WatchfulPolicy, **options) as address:
            first, second = begin(address, 1), begin(address, 2)
            alone = first.act(observation())
            assert not np.array_equal(alone, second.act(observation()))


def test_who_leaves_a_batch_does_not_leave_the_others_waiting():
    with served(WatchfulPolicy) as address:
        policy = begin(address, 0, 1)
        policy.act(observation(2))
        one, other = policy._sessions
        one.ask(observation(2, 1), 0)
        time.sleep(0.1)
        other.close()
        with pytest.raises(PolicyError, match="another session of this batch"):
            one.answer()
        again = begin(address, 0, 1)
        assert again.act(observation(2)).shape == (2, 7)


def test_sessions_that_claim_the_same_place_are_refused():
    with served(WatchfulPolicy, "vla-eval") as address:
        policy = begin(address, 0, 1)
        twice = Seating(PolicyEpisode("go", 0), "party", 2, 0)
        policy._seatings = [twice, twice]
        policy._begin()
        with pytest.raises(PolicyError, match="name the same place"):
            policy.act(observation(2))


def test_vla_eval_without_an_episode_is_an_error_and_not_the_end():
    frame = vla_eval_codec.Frame("observation", {"images": {}, "task_description": "go"}, 1)
    with running(make(WatchfulPolicy, "vla-eval")) as port, stranger(port) as connection:
        for number in (1, 2):
            connection.send(vla_eval_codec.pack(vla_eval_codec.Frame("observation", frame.payload, number)))
            answer = vla_eval_codec.decode(connection.recv(timeout=10))
            assert (answer.type, answer.seq) == ("error", number)


def test_options_that_make_no_server_are_refused():
    for options, complaint in (
        ({"protocol": "opnepi"}, "unknown protocol 'opnepi'; did you mean 'openpi'"),
        ({"actions": "bridges"}, "did you mean 'bridge'"),
        ({"max_batch": 0}, "--max-batch 0; allowed: 1 or more"),
        ({"max_message": 0}, "--max-message 0"),
    ):
        with pytest.raises(BadService, match=re.escape(complaint)):
            Service(**options)


def test_the_command_serves_and_needs_neither_torch_nor_a_simulator(tmp_path):
    spy = tmp_path / "spy.py"
    spy.write_text(
        "import sys, atexit\n"
        "import vlagen.benchmark.remote.cli as cli\n"
        "heavy = {'torch', 'gymnasium', 'sapien', 'mani_skill', 'pandas', 'matplotlib', 'transformers'}\n"
        "atexit.register(lambda: sys.stdout.write(f'heavy: {sorted(heavy & set(sys.modules))}\\n'))\n"
        "sys.exit(cli.main(sys.argv[1:]))\n"
    )
    command = [sys.executable, str(spy), "--policy", "random", "--protocol", "vla-eval", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        address = re.search(r"vla-eval://\S+", line)[0]
        assert begin(address).act(observation()).shape == (1, 7)
    finally:
        process.terminate()
        rest, complaints = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "heavy: []" in rest
    assert complaints == ""


def test_the_command_says_what_is_wrong(capfd):
    from vlagen.benchmark.remote.cli import main

    assert main(["--policy", "randon"]) == 2
    assert "did you mean 'random'" in capfd.readouterr().err
    with running(make(toys.SlowPolicy)) as port:
        assert main(["--policy", "random", "--port", str(port)]) == 2
    assert f"cannot listen on 127.0.0.1:{port}" in capfd.readouterr().err
    assert main(["--policy", "random", "--port", "65536"]) == 2
    assert "port must be 0-65535" in capfd.readouterr().err
    assert main(["--policy", "random", "--protocol", "opnpi"]) == 2
    assert "vlagen-serve: unknown protocol 'opnpi'; did you mean 'openpi'" in capfd.readouterr().err


def test_a_policy_spec_crosses_the_wire_unchanged():
    with served(WatchfulPolicy) as address:
        spec = begin(address).spec
    assert spec == WatchfulPolicy.spec
    assert isinstance(spec, PolicySpec)
