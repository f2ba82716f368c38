"""Good policies pass, and each kind of bad one fails the check that is meant for it, and no other."""

from __future__ import annotations

import importlib
import json
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from vlagen.benchmark.actions.formats import NOOP, ActionFormat, Bounds
from vlagen.benchmark.conformance import cli as check_cli
from vlagen.benchmark.conformance import trials
from vlagen.benchmark.conformance.check import Options, check_policy, try_out
from vlagen.benchmark.conformance.specimens import batch, synthetic
from vlagen.benchmark.conformance.trials import TRIALS, replay
from vlagen.benchmark.loading.source import PolicySource
from vlagen.benchmark.loading.template import write_template
from vlagen.benchmark.policy import ImageFormat, PolicySpec
from vlagen.benchmark.simulator import NoRenderer, StepResult
from vlagen.tasks.interface import Observation


@pytest.fixture(autouse=True)
def _few_timed_calls(monkeypatch):
    """How long the toys take is of no interest."""
    monkeypatch.setattr(trials, "TIMED_CALLS", 2)


# Policies


class Good:
    """Moves by what its generators draw and what it sees; the gripper is open."""

    spec = PolicySpec(image=ImageFormat(8, 8))
    chunk = 0

    def reset(self, episodes):
        self.generators = [np.random.default_rng(episode.seed) for episode in episodes]

    def act(self, observation):
        brightness = observation.rgb.mean(axis=(1, 2, 3)) / 1e5
        actions = np.tile(NOOP, (len(self.generators), max(1, self.chunk), 1))
        for position, generator in enumerate(self.generators):
            actions[position, :, :3] = generator.uniform(-0.01, 0.01, 3) + brightness[position]
        return actions if self.chunk else actions[:, 0]


class GoodChunks(Good):
    chunk = 4


class GoodBlind(Good):
    spec = PolicySpec(needs_images=False)

    def act(self, observation):
        return np.tile(NOOP, (len(self.generators), 1))


class WrongShape(Good):
    def act(self, observation):
        return super().act(observation)[0]


class LonelyShape(Good):
    """Forgets the batch."""

    def act(self, observation):
        return super().act(observation)[:1]


class Millimetres(Good):
    def act(self, observation):
        return super().act(observation) * np.float32([1000, 1000, 1000, 1, 1, 1, 1])


class NotANumber(Good):
    def act(self, observation):
        return super().act(observation) * np.float32(np.nan if observation.step else 1)


class Unseeded(Good):
    def reset(self, episodes):
        self.generators = [np.random.default_rng() for _ in episodes]


class Shared(Good):
    """One generator for the batch."""

    def reset(self, episodes):
        self.generators = [np.random.default_rng(episodes[0].seed)] * len(episodes)


class Trembling(GoodBlind):
    """As a kernel for another batch size does."""

    size = 1e-6

    def act(self, observation):
        actions = super().act(observation)
        return actions + np.float32(self.size * len(actions) if observation.step else 0)


class Shaking(Trembling):
    size = 1e-2


class Forgetless(GoodBlind):
    """Goes on from where the last episode ended."""

    turn = 0.0

    def act(self, observation):
        self.turn = (self.turn + 0.1) % 3
        actions = super().act(observation)
        actions[:, 3] = self.turn
        return actions


class Meddling(Good):
    spec = PolicySpec()

    def act(self, observation):
        actions = super().act(observation)
        observation.rgb[:] = 0
        return actions


class Closing(GoodBlind):
    """Emits 0 for open, as declared nowhere."""

    spec = PolicySpec(needs_images=False, emits=ActionFormat(gripper_open=1.0, gripper_closed=0.0))

    def act(self, observation):
        return super().act(observation) * np.float32([1, 1, 1, 1, 1, 1, 0])


class Uneven(Good):
    """Its chunks are longer for larger batches."""

    def act(self, observation):
        self.chunk = 2 + len(self.generators)
        return super().act(observation)


class Raising(Good):
    def act(self, observation):
        raise ZeroDivisionError("mine")


class Undeclared:
    def reset(self, episodes): ...

    def act(self, observation): ...


def tried(policy, **options):
    """Returns the report by the names of the checks."""
    return try_out(PolicySource(f"{__name__}:{policy.__name__}"), Options(**options))


def failed(report):
    return [check.name for check in report.failures]


@pytest.mark.parametrize("policy", [Good, GoodChunks, GoodBlind])
def test_good_policies_pass(policy):
    report = tried(policy)
    assert report.passed, report
    status = {check.name: check.status for check in report.checks}
    skipped = {"observations", "expert episode"} | (set() if policy.chunk else {"chunks"})
    assert {name for name, value in status.items() if value == "skip"} == skipped
    assert status.keys() == {"loads", "declaration", "observations", "expert episode", *TRIALS}
    assert not any(check.fix for check in report.checks)


@pytest.mark.parametrize(
    ("policy", "fails", "says"),
    [
        (WrongShape, ["shapes"], r"returned shape \(7,\); allowed"),
        (LonelyShape, ["shapes"], r"returned shape \(1, 7\); allowed: .* \(3, 7\)"),
        (Millimetres, ["values"], "more than 0.25 m in one control step; is the unit really m"),
        (NotANumber, ["values"], "allowed are finite numbers"),
        (
            Unseeded,
            ["same seed", "batches", "resets"],
            r"the same actions for the same seeds, but number \d at step \d was",
        ),
        (Shared, ["batches"], "the same actions alone and in a batch"),
        (Shaking, ["batches"], "number 0 at step 1 was"),
        (Forgetless, ["same seed", "batches", "resets"], "number 3 at step 0 was"),
        (Meddling, ["observation"], "act changes observation.rgb in place"),
        (Closing, ["gripper"], "every one of 8 episodes begins by closing"),
        (Uneven, ["batches", "chunks"], "expected the same actions alone and in a batch"),
        (Raising, ["shapes"], r"(?s)the policy raised ZeroDivisionError: mine\n.*in act"),
        (Undeclared, ["loads"], "declares nothing as its spec"),
    ],
)
def test_bad_policies_fail_where_they_are_bad(policy, fails, says):
    report = tried(policy)
    assert failed(report) == fails, report
    assert not report.passed
    first = report.failures[0]
    assert re.search(says, first.detail), first.detail
    assert all(check.fix for check in report.failures)


def test_without_actions_of_the_right_shape_the_other_checks_say_nothing():
    report = tried(WrongShape)
    rest = [check.status for check in report.checks if check.name in TRIALS and check.name != "shapes"]
    assert set(rest) == {"skip"}


def test_the_report_says_whether_actions_were_equal_or_near():
    details = {check.name: check.detail for check in tried(Trembling).checks}
    assert "to the last bit" in details["same seed"]
    assert "to within 2e-06 (allowed: 0.001)" in details["batches"]
    assert tried(Trembling).passed


def test_the_report_says_what_reaches_the_policy():
    def attention(policy):
        return next(check.detail for check in tried(policy).checks if check.name == "attention")

    assert "another picture changes the action: yes" in attention(Good)
    assert "another instruction changes the action: no" in attention(Good)
    assert "picture" not in attention(GoodBlind)


def test_chunks_are_tried_as_they_will_be_executed():
    report = tried(GoodChunks, execute_horizon=2)
    assert report.passed
    detail = next(check.detail for check in report.checks if check.name == "chunks")
    assert "of 4, 2 executed at a time; with chunk=4 in the spec" in detail
    assert tried(GoodChunks, ensemble="mean").passed
    assert failed(tried(GoodChunks, execute_horizon=5)) == ["shapes"]
    assert failed(tried(Good, execute_horizon=2)) == ["shapes"]
    assert failed(tried(Good, execute_horizon=0)) == ["declaration"]


def test_a_policy_that_is_not_there_fails_to_load():
    report = check_policy("no_such_policy")
    assert failed(report) == ["loads"]
    assert "unknown policy 'no_such_policy'" in str(report)


def test_an_oracle_is_told_from_a_competitor_and_needs_the_simulator():
    report = check_policy("expert", simulate=False)
    assert report.passed
    assert "an oracle, no competitor" in str(report)
    assert [check.name for check in report.checks if check.status == "skip"] == [
        "observations",
        "behaviour",
        "expert episode",
    ]


@pytest.mark.parametrize("name", ["random", "noop"])
def test_built_in_policies_pass(name):
    report = check_policy(name, simulate=False)
    assert report.passed, report


def test_the_report_ends_with_a_verdict():
    assert str(tried(GoodBlind)).endswith(f"{__name__}:GoodBlind: all 11 checks passed, 3 skipped")
    text = str(tried(Closing))
    assert text.endswith("1 checks failed, 3 skipped")
    assert "fix: probably gripper_open=1 and gripper_closed=0 are swapped" in text


# Made-up observations


def test_made_up_observations_are_the_same_every_time_and_differ_between_episodes():
    first, again = synthetic(3, pictures=True), synthetic(3, pictures=True)
    for one, other in zip(first, again, strict=True):
        assert np.array_equal(one.rgb, other.rgb)
        assert (one.rgb.shape, one.rgb.dtype) == ((1, 480, 640, 3), np.uint8)
    assert not np.array_equal(first[0].rgb, first[1].rgb)
    assert synthetic(1, pictures=False)[0].rgb is None


def test_batches_join_episodes_and_pictures_move():
    specimens = synthetic(2, pictures=True)
    joined = batch(specimens, 3)
    assert joined.rgb.shape == (2, 480, 640, 3)
    assert joined.proprioception.shape == (2, 8)
    assert len(joined.instruction) == 2
    assert joined.step == 3
    assert np.array_equal(joined.rgb[1, :, 3:], specimens[1].rgb[0, :, :-3])


# The expert's episode, in a world of one number: the gripper has to be 0.25 m to the left at the end, and open.


class World:
    horizon = 10
    capacity = 1
    closed = 0

    def start(self, episodes):
        assert len(episodes) == 1
        self.place, self.steps = 0.0, 0
        return self.observe()

    def step(self, actions):
        self.place += float(actions[0, 1])
        self.steps += 1
        success = np.array([abs(self.place - 0.25) < 0.01 and actions[0, 6] > 0.5])
        return StepResult(self.observe(), np.zeros(1), success, None, None)

    def observe(self):
        turned = np.float32([[0, self.place, 0, np.cos(0.4), 0, 0, np.sin(0.4)]])
        return Observation(
            rgb=np.zeros((1, 480, 640, 3), np.uint8),
            instruction=("go left",),
            proprioception=np.zeros((1, 8), np.float32),
            gripper_pose=turned,
            step=self.steps,
            privileged=None,
        )

    def close(self):
        type(self).closed += 1


class WorldExpert:
    """Needs nine of the ten steps, with the gripper closed on the way."""

    spec = PolicySpec(needs_images=False)
    pace = 0.03

    def reset(self, episodes):
        self.place = 0.0

    def act(self, observation):
        step = min(self.pace, 0.25 - self.place)
        self.place += step
        return np.float32([[0, step, 0, 0.1, -0.2, 0.05, 1 if self.place > 0.249 else -1]])


class LateExpert(WorldExpert):
    pace = 0.02


EPISODE = SimpleNamespace(protocol="toy", variant="toy", index=0)


@pytest.mark.parametrize(
    "emits",
    [
        ActionFormat(),
        ActionFormat(frame="gripper", rotation="quaternion_xyzw", length_unit="mm"),
        ActionFormat(
            rotation="axis_angle", angle_unit="deg", gripper_open=0.0, gripper_closed=1.0, gripper_binary=True
        ),
        ActionFormat(normalised=Bounds((-0.03,) * 3 + (-0.2,) * 3, (0.03,) * 3 + (0.2,) * 3)),
    ],
)
def test_an_expert_succeeds_in_every_format_that_can_say_what_it_does(emits):
    status, detail, _ = replay(World(), WorldExpert, EPISODE, emits)
    assert status == "pass", detail


def test_a_format_that_cannot_say_it_is_found_out():
    narrow = ActionFormat(normalised=Bounds((-0.02,) * 3 + (-0.2,) * 3, (0.02,) * 3 + (0.2,) * 3))
    status, detail, fix = replay(World(), WorldExpert, EPISODE, narrow)
    assert status == "FAIL"
    assert "off by up to 0.01" in detail
    assert "widen the bounds" in fix


def test_an_expert_that_fails_anyway_proves_nothing():
    narrow = ActionFormat(normalised=Bounds((-0.01,) * 6, (0.01,) * 6))
    assert replay(World(), LateExpert, EPISODE, narrow)[0] == "skip"


def test_with_a_simulator_its_observations_are_used_and_the_expert_plays():
    World.closed = 0
    report = tried(Good, make_simulator=lambda pictures: World(), make_expert=WorldExpert)
    assert report.passed, report
    status = {check.name: check.status for check in report.checks}
    assert status["observations"] == status["expert episode"] == "pass"
    assert World.closed == 1


def test_without_a_renderer_pictures_are_made_up_and_the_expert_plays_blind():
    asked = []

    def make(pictures):
        asked.append(pictures)
        if pictures:
            raise NoRenderer("no driver")
        return World()

    report = tried(Good, make_simulator=make, make_expert=WorldExpert)
    details = {check.name: (check.status, check.detail) for check in report.checks}
    assert asked == [True, False]
    assert details["observations"] == ("skip", "made up: no driver")
    assert details["expert episode"][0] == "pass"


def test_without_the_simulator_what_needs_it_is_skipped_with_a_line():
    def make(pictures):
        raise ImportError("the simulator is not installed: pip install 'vlagen[sim]'")

    report = tried(Good, make_simulator=make, make_expert=WorldExpert)
    assert report.passed
    assert report.checks[-1].status == "skip"
    assert report.checks[-1].detail == "the simulator is not installed: pip install 'vlagen[sim]'"


# The command line


@pytest.fixture
def adapter(tmp_path, monkeypatch):
    """The template, in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    write_template("checked_adapter.py")
    yield "checked_adapter"
    sys.modules.pop("checked_adapter", None)
    importlib.invalidate_caches()


def test_the_template_passes(adapter, capsys):
    assert check_cli.main([adapter, "--no-simulator"]) == 0
    output = capsys.readouterr().out
    assert "checked_adapter: all 11 checks passed, 3 skipped" in " ".join(output.split())


def test_arguments_are_passed_on_and_reported_as_json(adapter, capsys):
    arguments = ["--policy-args", "checkpoint=x", "temperature=0.5", "--no-simulator", "--json"]
    assert check_cli.main([adapter, *arguments]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["passed"] is True
    assert report["checks"][0]["detail"] == "checked_adapter:MyPolicy(checkpoint='x', temperature=0.5)"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["checked_adaptr"], "did you mean 'checked_adapter'"),
        (["checked_adapter", "--policy-args", "temprature=1"], "did you mean 'temperature'"),
        (["checked_adapter", "--policy-args", "temperature"], "allowed: name=value"),
        (["checked_adapter", "--execute-horizon", "4", "--no-simulator"], "has no chunk to execute"),
    ],
)
def test_what_fails_exits_with_one(adapter, arguments, complaint, capsys):
    assert check_cli.main(arguments) == 1
    assert complaint in capsys.readouterr().out


# The real thing


@pytest.mark.sim
@pytest.mark.slow
@pytest.mark.parametrize("name", ["expert", "noop"])
def test_built_in_policies_pass_with_the_simulator(name):
    report = check_policy(name)
    assert report.passed, report
    assert {check.name for check in report.checks if check.status == "skip"} == {"chunks"}


@pytest.mark.sim
@pytest.mark.slow
def test_the_expert_succeeds_in_a_format_with_nothing_in_common():
    from vlagen.benchmark.adapters.expert import ExpertPolicy
    from vlagen.benchmark.adapters.motion import STEP_LIMITS
    from vlagen.benchmark.backends.put_on_plate import ManiSkillSimulator
    from vlagen.tasks.sampling import evaluation_episodes
    from vlagen.tasks.variants import variant

    reach = float(np.abs(STEP_LIMITS[:, :3]).max() * 100 * np.sqrt(3))
    emits = ActionFormat(
        frame="gripper",
        length_unit="cm",
        rotation="rotation_6d_interleaved",
        gripper_open=0.0,
        gripper_closed=1.0,
        gripper_binary=True,
        normalised=Bounds((-reach,) * 3 + (-1.0,) * 6, (reach,) * 3 + (1.0,) * 6),
    )
    simulator = ManiSkillSimulator("builtin", "none", privileged=True)
    (episode,) = evaluation_episodes(variant("train"), 1)
    assert replay(simulator, ExpertPolicy, episode, emits)[0] == "pass"

    class Confused(ExpertPolicy):
        def act(self, observation):
            return super().act(observation)[:, [1, 0, 2, 3, 4, 5, 6]]

    # Passing means something: steps along other axes do not get there, whatever the format.
    assert replay(simulator, Confused, episode, ActionFormat())[0] == "skip"
    simulator.close()
