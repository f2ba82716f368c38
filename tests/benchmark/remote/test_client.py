"""Clients: what they make of servers that declare much, little or nonsense, and of servers that go away."""

from __future__ import annotations

import contextlib
import re
import threading
import time

import numpy as np
import pytest
from websockets.sync.server import serve

from tests.benchmark import toys
from tests.benchmark.remote.serving import HERE, WatchfulPolicy, make, observation, play, running
from vlagen.benchmark.actions.formats import ActionFormat, Bounds
from vlagen.benchmark.evaluate import Evaluation
from vlagen.benchmark.loading.source import find_policy
from vlagen.benchmark.policy import PolicyEpisode, PolicyError
from vlagen.benchmark.remote import openpi_codec, vla_eval_codec
from vlagen.benchmark.remote.declarations import UnknownFormat, actions_from_specs
from vlagen.benchmark.remote.link import LostServer, parse_address
from vlagen.benchmark.remote.server import Place
from vlagen.benchmark.remote.settings import BadSetting, Settings, settings_of
from vlagen.benchmark.remote.states import STATES, state_of
from vlagen.benchmark.request import Request
from vlagen.tasks.interface import Observation

EPISODE = PolicyEpisode("go to 0", 7)


@contextlib.contextmanager
def toy_server(handle):
    """A server that is not vlagen's."""
    with serve(handle, HERE, 0, compression=None, max_size=None) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.socket.getsockname()[1]
        server.shutdown()


def openpi_server(answer, metadata=None, seen=None):
    """An openpi server that answers each request with what ``answer`` returns, and keeps what it saw."""

    def handle(connection):
        connection.send(openpi_codec.pack(metadata or {}))
        for data in connection:
            request = openpi_codec.decode(data)
            if seen is not None:
                seen.append(request)
            reply = answer(request)
            connection.send(reply if isinstance(reply, str | bytes) else openpi_codec.pack(reply))

    return toy_server(handle)


def policy_at(address, **arguments):
    return find_policy(address, [(name, str(value)) for name, value in arguments.items()]).make()


def spec(position="delta_xyz", rotation="axis_angle", gripper="binary_close_positive"):
    return {"position": {"format": position}, "rotation": {"format": rotation}, "gripper": {"format": gripper}}


def test_addresses():
    assert str(parse_address("openpi://somewhere")) == "openpi://somewhere:8000"
    assert parse_address("vla-eval://[::1]:9").url(tls=True) == "wss://[::1]:9"
    for wrong in (
        "opnepi://x:1",
        "openpi://",
        "openpi://x:y",
        "openpi://x:99999",
        "openpi://x:1/../etc",
        "openpi://u@x:1",
    ):
        with pytest.raises(PolicyError, match=r"did you mean 'openpi'|protocol://host:port"):
            parse_address(wrong)


@pytest.mark.parametrize(
    ("rotation", "gripper", "expected"),
    [
        ("axis_angle", "binary_close_positive", ("axis_angle", -1, 1, True)),
        ("euler_xyz", "binary_close_negative", ("euler_xyz_extrinsic", 1, -1, True)),
        ("quaternion_xyzw", "continuous_01", ("quaternion_xyzw", 1, 0, False)),
        ("rot6d_interleaved", "binary_close_01", ("rotation_6d_interleaved", 0, 1, True)),
    ],
)
def test_declared_formats_are_honoured(rotation, gripper, expected):
    emits = actions_from_specs(spec(rotation=rotation, gripper=gripper))
    assert (emits.rotation, emits.gripper_open, emits.gripper_closed, emits.gripper_binary) == expected
    assert (emits.frame, emits.length_unit, emits.normalised) == ("base", "m", None)


@pytest.mark.parametrize(
    ("specs", "complaint"),
    [
        (spec(position="absolute_xyz"), "declares its position as 'absolute_xyz'; vlagen understands delta_xyz"),
        (spec(rotation="euler_zyx"), "declares its rotation as 'euler_zyx'"),
        (spec(gripper="raw"), "declares its gripper as 'raw'"),
        ({"actions": {"format": "raw"}}, "declares actions of actions; allowed: position, rotation and gripper"),
        ({"position": 5}, "names no format"),
        ({b"position": {"format": "delta_xyz"}, "x": {"format": "raw"}}, "declares actions of b'position', x"),
    ],
)
def test_formats_that_vlagen_does_not_know_are_refused(specs, complaint):
    with pytest.raises(UnknownFormat, match=re.escape(complaint)):
        actions_from_specs(specs)


def test_a_server_that_says_nothing_needs_a_word_from_the_user():
    with openpi_server(lambda _: {"actions": np.zeros((1, 7))}) as port:
        address = f"openpi://{HERE}:{port}"
        with pytest.raises(UnknownFormat, match=r"does not say what the numbers of its actions mean.*actions=bridge"):
            policy_at(address)
        assert policy_at(address, actions="vlagen").spec.emits == ActionFormat()
        emits = policy_at(
            address, actions="bridge", rotation="axis_angle", low="[0,0,0,0,0,0]", high="[1,1,1,1,1,1]"
        ).spec.emits
        assert emits == ActionFormat(rotation="axis_angle", gripper_closed=0.0, normalised=Bounds((0,) * 6, (1,) * 6))
        with pytest.raises(UnknownFormat, match="did you mean 'bridge'"):
            policy_at(address, actions="bridges")


def test_roboarenas_joint_actions_are_refused_until_explained():
    metadata = {"image_resolution": [180, 320], "needs_session_id": True, "action_space": "joint_position"}
    seen = []

    def answer(request):
        return "reset successful" if request["endpoint"] == "reset" else np.zeros((2, 7), dtype=np.float32)

    with openpi_server(answer, metadata, seen) as port:
        address = f"roboarena://{HERE}:{port}"
        with pytest.raises(UnknownFormat, match="action space is 'joint_position'"):
            policy_at(address)
        policy = policy_at(address, actions="vlagen")
        assert (policy.spec.image.height, policy.spec.image.width) == (180, 320)
        policy.reset([EPISODE])
        assert policy.act(observation(size=(180, 320))).shape == (1, 2, 7)
    assert seen[-2] == {"endpoint": "reset"}
    keys = {"observation/exterior_image_0_left", "observation/joint_position", "observation/gripper_position"}
    assert set(seen[-1]) == keys | {"endpoint", "prompt", "session_id"}
    assert seen[-1]["observation/joint_position"].shape == (6,)


def test_keys_sizes_and_states_are_mapped_by_flags():
    seen = []
    with openpi_server(lambda _: {"actions": np.zeros((1, 7))}, seen=seen) as port:
        arguments = {"actions": "vlagen", "image": "32x48", "fit": "crop", "image_key": "cam", "state_key": "s"}
        more = {"prompt_key": "task", "state": "pose_euler", "blank": "wrist,left"}
        policy = policy_at(f"openpi://{HERE}:{port}", **arguments, **more)
        assert (policy.spec.image.height, policy.spec.image.width, policy.spec.image.fit) == (32, 48, "crop")
        policy.reset([EPISODE])
        shown = observation()
        policy.act(shown)
        assert policy_at(f"openpi://{HERE}:{port}", actions="vlagen", image="camera").spec.image is None
    (request,) = seen
    assert set(request) == {"cam", "s", "task", "wrist", "left"}
    np.testing.assert_array_equal(request["cam"], shown.rgb[0])
    assert request["wrist"].shape == (32, 48, 3)
    assert request["wrist"].max() == 0
    assert (request["s"].shape, request["task"]) == ((7,), "go to 0")


def test_a_file_holds_settings_and_flags_count_more(tmp_path):
    file = tmp_path / "server.toml"
    file.write_text('actions = "bridge"\nimage = "256x256"\ngripper_closed = -2\nlow = [0, 0, 0, 0, 0, 0]\n')
    settings = settings_of({"config": str(file), "image": "64x64"})
    assert (settings.actions, settings.image, settings.gripper_closed) == ("bridge", "64x64", -2)
    for text, complaint in (
        ('action = "bridge"', "unknown setting 'action'; did you mean 'actions'"),
        ("image = 256", "image = 256; allowed: str"),
        ("gripper_open = true", "gripper_open = True"),
        ("image = ", "config="),
    ):
        file.write_text(text)
        with pytest.raises(BadSetting, match=re.escape(complaint)):
            settings_of({"config": str(file)})
    with pytest.raises(BadSetting, match="No such file"):
        settings_of({"config": str(tmp_path / "absent.toml")})


def test_settings_for_a_server_that_says_everything_itself_are_refused():
    with running(make(WatchfulPolicy)) as port:
        with pytest.raises(BadSetting, match="says everything itself; leave out state, actions"):
            policy_at(f"openpi://{HERE}:{port}", actions="bridge", state="joints", timeout=5)
        assert policy_at(f"openpi://{HERE}:{port}", timeout=5).spec == WatchfulPolicy.spec


def test_settings_that_mean_nothing_are_refused():
    for values, complaint in (
        ({"encoding": "gif"}, "unknown encoding 'gif'"),
        ({"timeout": 0}, "timeout=0; allowed: seconds"),
    ):
        with pytest.raises(BadSetting, match=complaint):
            Settings(**values)
    with pytest.raises(BadSetting, match="image='big'"):
        Settings(image="big").image_format(None)
    with pytest.raises(BadSetting, match="low and high belong together"):
        Settings(low=[0.0]).action_format(None)


def test_states_by_hand():
    seen = Observation(
        rgb=None,
        instruction=("go",),
        proprioception=np.float32([[0, 1, 2, 3, 4, 5, 0.026, 0.026]]),
        gripper_pose=np.float32([[0.1, 0.2, 0.3, np.sqrt(0.5), 0, 0, np.sqrt(0.5)]]),  # a quarter turn about z
        step=0,
    )
    quarter = np.pi / 2
    expected = {
        "joints": [0, 1, 2, 3, 4, 5, 0.026, 0.026],
        "pose_quaternion_wxyz": [0.1, 0.2, 0.3, np.sqrt(0.5), 0, 0, np.sqrt(0.5), 0.5],
        "pose_quaternion_xyzw": [0.1, 0.2, 0.3, 0, 0, np.sqrt(0.5), np.sqrt(0.5), 0.5],
        "pose_euler": [0.1, 0.2, 0.3, 0, 0, quarter, 0.5],
        "pose_axis_angle": [0.1, 0.2, 0.3, 0, 0, quarter, 0.5],
        "pose_euler_fingers": [0.1, 0.2, 0.3, 0, 0, quarter, 0.026, 0.026],
        "pose_axis_angle_fingers": [0.1, 0.2, 0.3, 0, 0, quarter, 0.026, 0.026],
    }
    assert set(expected) == set(STATES)
    for name, numbers in expected.items():
        np.testing.assert_allclose(state_of(seen, name)[0], numbers, atol=1e-6)


@pytest.mark.parametrize(
    "reply",
    [
        b"\xc1",
        {"actions": "none"},
        {},
        [1],
        {"actions": np.zeros((0, 7))},
        {"actions": np.zeros((1, 1, 7))},
        "Traceback: no",
    ],
    ids=repr,
)
def test_answers_that_are_no_actions_are_errors(reply):
    with openpi_server(lambda _: reply) as port:
        policy = policy_at(f"openpi://{HERE}:{port}", actions="vlagen")
        policy.reset([EPISODE])
        with pytest.raises(PolicyError, match=r"does not speak openpi|reports: Traceback: no"):
            policy.act(observation())


def test_an_answer_to_another_question_is_an_error():
    def handle(connection):
        for data in connection:
            frame = vla_eval_codec.decode(data)
            if frame.type == "hello":
                payload = {"protocol_version": 1, "action_spec": spec()}
                connection.send(vla_eval_codec.pack(vla_eval_codec.Frame("hello", payload, frame.seq)))
            elif frame.type == "observation":
                late = vla_eval_codec.Frame("action", {"actions": np.ones(7, dtype=np.float32)}, frame.seq - 1)
                right = vla_eval_codec.Frame("action", {"actions": np.zeros(7, dtype=np.float32)}, frame.seq)
                connection.send(vla_eval_codec.pack(late))
                connection.send(vla_eval_codec.pack(right))
                connection.send(vla_eval_codec.pack(vla_eval_codec.Frame("action", {}, frame.seq + 9)))

    with toy_server(handle) as port:
        policy = policy_at(f"vla-eval://{HERE}:{port}")
        policy.reset([EPISODE])
        assert (policy.act(observation()) == 0).all()  # the late one is dropped
        with pytest.raises(PolicyError, match="in answer to number"):
            policy.act(observation(step=1))


def test_a_server_that_does_not_answer_is_given_up_after_its_time():
    with openpi_server(lambda _: time.sleep(1) or {"actions": np.zeros((1, 7))}) as port:
        policy = policy_at(f"openpi://{HERE}:{port}", actions="vlagen", timeout=0.2, patience=0.1)
        policy.reset([EPISODE])
        with pytest.raises(LostServer, match=r"did not answer within 0\.2 s"):
            policy.act(observation())


def test_a_server_that_is_not_there_is_waited_for():
    started = time.monotonic()
    with pytest.raises(LostServer, match=r"no policy server answers at openpi://127\.0\.0\.1:1 .*patience"):
        policy_at(f"openpi://{HERE}:1", patience=0.6)
    assert 0.2 < time.monotonic() - started < 10


def test_a_lost_connection_before_the_first_answer_costs_nothing():
    server = make(WatchfulPolicy)
    with running(server) as port:
        policy = policy_at(f"openpi://{HERE}:{port}")
        policy.reset([EPISODE])
        expected = policy.act(observation())
        policy.reset([EPISODE])
    with running(make(WatchfulPolicy, place=Place(port=port))):
        np.testing.assert_array_equal(policy.act(observation()), expected)


def test_requests_that_say_everything_are_sent_again():
    counts = []

    def handle(connection):
        connection.send(openpi_codec.pack({}))
        for _ in connection:
            counts.append(1)
            if len(counts) == 2:
                connection.close()
                return
            connection.send(openpi_codec.pack({"actions": np.full((1, 7), 1e-3)}))

    with toy_server(handle) as port:
        policy = policy_at(f"openpi://{HERE}:{port}", actions="vlagen")
        policy.reset([EPISODE])
        for step in range(3):
            assert policy.act(observation(step=step)).shape == (1, 1, 7)
    assert len(counts) == 4


class StoppingSimulator(toys.ToySimulator):
    """Tells at step 40 of the second episode that it is time to stop the server."""

    started = 0
    stop = None

    def start(self, episodes):
        type(self).started += 1
        return super().start(episodes)

    def step(self, actions):
        if type(self).started == 2 and self._step == 40:
            type(self).stop()
        return super().step(actions)


@pytest.mark.parametrize("protocol", ["openpi", "vla-eval"])
def test_a_server_that_goes_and_comes_back_costs_nothing_but_time(tmp_path, protocol, monkeypatch):
    here = play(WatchfulPolicy, tmp_path / "here", toys.ToySimulator)
    stack = contextlib.ExitStack()
    port = stack.enter_context(running(make(WatchfulPolicy, protocol)))

    def restart():
        stack.close()
        stack.enter_context(running(make(WatchfulPolicy, protocol, place=Place(port=port))))

    monkeypatch.setattr(StoppingSimulator, "started", 0)
    monkeypatch.setattr(StoppingSimulator, "stop", restart)
    request = Request(
        policy=f"{protocol}://{HERE}:{port}",
        rows=("train", "vision/table"),
        episodes=4,
        assets=toys.ASSETS,
        out=tmp_path / "there",
    )
    with stack, Evaluation(request, StoppingSimulator) as evaluation:
        records = list(evaluation.play())
    # The episode that it was lost in has begun anew.
    assert [record.timing["attempts"] for record in records] == [1, 2, *[1] * 6]
    assert toys.timeless_lines(tmp_path / "there") == here


def test_a_server_that_stays_away_makes_errors_and_no_failures(tmp_path, monkeypatch):
    stack = contextlib.ExitStack()
    port = stack.enter_context(running(make(toys.SlowPolicy)))
    monkeypatch.setattr(StoppingSimulator, "started", 0)
    monkeypatch.setattr(StoppingSimulator, "stop", stack.close)
    request = {"policy": f"openpi://{HERE}:{port}", "policy_args": ("patience=0.2",), "rows": ("train",), "episodes": 4}
    whole = {**request, "assets": toys.ASSETS, "out": tmp_path}
    with Evaluation(Request(**whole), StoppingSimulator) as evaluation:
        records = list(evaluation.play())
    assert [record.outcome for record in records] == ["success", "error", "error", "error"]
    assert "LostServer" in records[1].error
    with running(make(toys.SlowPolicy)) as other:
        again = {**whole, "policy": f"openpi://{HERE}:{other}", "retry_errors": True}
        with Evaluation(Request(**again), toys.ToySimulator) as evaluation:
            list(evaluation.play())
            assert {record.outcome for record in evaluation.records} == {"success"}
