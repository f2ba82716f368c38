"""Ways to fail: worked by hand on short episodes, and played by an expert who was told to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
import pytest

from tests.tasks.environments import make_environment, needs_pack
from vlagen.benchmark.adapters.expert import ExpertPolicy, Phase
from vlagen.benchmark.policy import PolicyEpisode
from vlagen.benchmark.taxonomy import DESCRIPTIONS, DISPLACED, FAILURES, REACHED, classify
from vlagen.tasks.interface import HORIZON, Observation, StepFacts
from vlagen.tasks.sampling import evaluation_episodes
from vlagen.tasks.variants import variant

NOTHING = {
    "success": "....",
    "holding": "....",
    "holding_distractor": "....",
    "on_distractor": "....",
    "reach_distance": (0.3, 0.3, 0.3, 0.3),
    "distractor_displacement": (np.nan,) * 4,
}
NEAR = (0.3, 0.01, 0.02, 0.3)


def column(value):
    """``..x.`` or numbers to one episode's course, (T, 1)."""
    values = [mark == "x" for mark in value] if isinstance(value, str) else list(value)
    return np.array(values)[:, None]


def course(**changes):
    return {name: column(value) for name, value in (NOTHING | changes).items()}


def category(**changes):
    (found,) = classify(**course(**changes))
    return found


def test_the_order_of_precedence():
    assert FAILURES == (
        "placed-then-lost",
        "wrong-receptacle",
        "timeout-while-carrying",
        "dropped",
        "wrong-object",
        "reached-not-grasped",
        "never-reached",
    )
    assert tuple(DESCRIPTIONS) == FAILURES
    assert len(set(DESCRIPTIONS.values())) == 7


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "never-reached"),
        ({"reach_distance": NEAR}, "reached-not-grasped"),
        ({"holding_distractor": ".x.."}, "wrong-object"),
        ({"distractor_displacement": (0.0, 0.01, 0.04, 0.02)}, "wrong-object"),
        ({"distractor_displacement": (0.0, 0.01, 0.02, 0.02)}, "never-reached"),
        ({"holding": ".xx.", "reach_distance": NEAR}, "dropped"),
        ({"holding": ".xxx", "reach_distance": NEAR}, "timeout-while-carrying"),
        ({"on_distractor": "...x", "holding": "xx..", "reach_distance": NEAR}, "wrong-receptacle"),
        ({"on_distractor": "..x.", "holding": "xx..", "reach_distance": NEAR}, "dropped"),
        ({"success": "..x.", "holding": "xx..", "reach_distance": NEAR}, "placed-then-lost"),
    ],
)
def test_each_category_by_hand(changes, expected):
    assert category(**changes) == expected


def test_a_success_at_the_end_is_no_failure_whatever_came_before():
    everything = {"holding": "xxxx", "holding_distractor": "xxxx", "on_distractor": "xxxx", "reach_distance": NEAR}
    assert category(success=".x.x", **everything) is None
    assert category(success="...x") is None


# From the last category to the first, each of these makes its own apply while all before still do.
SIGNS = (
    ("reached-not-grasped", {"reach_distance": NEAR}),
    ("wrong-object", {"holding_distractor": "x..."}),
    ("dropped", {"holding": ".x.."}),
    ("timeout-while-carrying", {"holding": ".x.x"}),
    ("wrong-receptacle", {"on_distractor": "...x"}),
    ("placed-then-lost", {"success": ".x.."}),
)


def test_the_earlier_category_wins_where_several_fit():
    signs = {}
    assert [name for name, _ in SIGNS] == list(FAILURES[-2::-1])
    for name, sign in SIGNS:
        signs |= sign
        assert category(**signs) == name


def test_moving_the_other_object_matters_only_while_the_right_one_was_never_held():
    assert category(holding=".x..", distractor_displacement=(0.1,) * 4) == "dropped"


def test_the_thresholds_are_fifteen_and_thirty_millimetres():
    assert category(reach_distance=(0.3, 0.3, 0.0149, 0.3)) == "reached-not-grasped"
    assert category(reach_distance=(0.3, 0.3, 0.0151, 0.3)) == "never-reached"
    assert category(distractor_displacement=(0.0, 0.0, 0.0301, 0.0)) == "wrong-object"
    assert category(distractor_displacement=(0.0, 0.0, 0.0299, 0.0)) == "never-reached"
    assert (REACHED, DISPLACED) == (0.015, 0.03)


def test_every_episode_of_a_batch_is_judged_by_its_own_course():
    courses = [
        course(success="...x"),
        course(holding="x...", reach_distance=NEAR),
        course(),
        course(success="x...", on_distractor="...x"),
        course(distractor_displacement=(0.0, 0.5, 0.5, 0.5)),
    ]
    batch = {name: np.concatenate([one[name] for one in courses], axis=1) for name in NOTHING}
    assert classify(**batch) == (None, "dropped", "never-reached", "placed-then-lost", "wrong-object")


def test_every_failure_gets_exactly_one_known_category():
    rng = np.random.default_rng(0)
    shape = (6, 3000)
    found = classify(
        rng.random(shape) < 0.1,
        reach_distance=rng.uniform(0, 0.2, shape),
        holding=rng.random(shape) < 0.05,
        holding_distractor=rng.random(shape) < 0.05,
        distractor_displacement=np.where(rng.random(3000) < 0.5, np.nan, rng.uniform(0, 0.04, shape)),
        on_distractor=rng.random(shape) < 0.05,
    )
    assert len(found) == 3000
    assert set(found) == {None, *FAILURES}


# Real episodes


@pytest.fixture(scope="module")
def env():
    pytest.importorskip("mani_skill", reason="the extra `sim` is not installed")
    environment = make_environment(obs_mode="state_dict", render_backend="none")
    yield environment.unwrapped
    environment.close()


@dataclass
class Misled:
    """An expert who is shown something else, or whose hand is led.

    Attributes:
        sees: turns the observation and the last facts into what the expert is shown.
        does: turns the expert's action (7,) into what is done, knowing its phase and how long that lasts already.
    """

    sees: Callable[[Observation, StepFacts], Observation] = lambda observation, _: observation
    does: Callable[[np.ndarray, Phase, int], np.ndarray] = lambda action, *_: action


def play(env, episode, misled):
    """The category of an episode."""
    expert = ExpertPolicy()
    raw, _ = env.reset(options={"episodes": [episode], "reconfigure": True})
    expert.reset([PolicyEpisode(env.instructions[0], 0)])
    facts, success = [env.facts()], []
    for step in range(HORIZON):
        observation = Observation(
            rgb=None,
            instruction=tuple(env.instructions),
            proprioception=raw["agent"]["qpos"].numpy(),
            gripper_pose=env.gripper_pose(),
            step=step,
            privileged=env.privileged_state(),
        )
        action = expert.act(misled.sees(observation, facts[-1]))[0]
        worker = expert.workers[0]
        action = misled.does(action, worker.phase, worker.since)
        raw, _, _, _, info = env.step(action[None].astype(np.float32))
        facts.append(env.facts())
        success.append(info["success"].numpy())
    steps = {field.name: np.stack([getattr(one, field.name) for one in facts[1:]]) for field in fields(StepFacts)}
    (found,) = classify(np.stack(success), **steps)
    return found


def opened(action):
    return np.array([*action[:6], 1.0])


def at_rest(gripper):
    return np.array([0.0] * 6 + [gripper])


class Afterwards:
    """From some moment of some phase on, the arm only rests with its gripper as told."""

    def __init__(self, phase, since, gripper):
        self.moment, self.gripper, self.resting = (phase, since), gripper, False

    def __call__(self, action, phase, since):
        self.resting |= (phase, since) == self.moment
        return at_rest(self.gripper) if self.resting else action


def other_object(observation, facts):
    """Shows the other object as the target."""
    state = observation.privileged
    ((kind, index),) = state.distractor
    assert kind == "object"
    swapped = replace(
        state,
        object_pose=state.distractor_pose,
        object_index=np.array([index]),
        distractor=(("object", int(state.object_index[0])),),
        distractor_pose=state.object_pose,
        grasped=facts.holding_distractor,
    )
    return replace(observation, privileged=swapped)


def other_receptacle(observation, facts):
    """Shows the other receptacle as the target."""
    state = observation.privileged
    ((kind, index),) = state.distractor
    assert kind == "receptacle"
    swapped = replace(
        state,
        receptacle_pose=state.distractor_pose,
        receptacle_index=np.array([index]),
        distractor=(("receptacle", int(state.receptacle_index[0])),),
        distractor_pose=state.receptacle_pose,
        success=facts.on_distractor,
    )
    return replace(observation, privileged=swapped)


class TakesItBack:
    """Does not let go of the object where it should, but lifts it again after a moment."""

    def __init__(self):
        self.lifts = None

    def __call__(self, action, phase, since):
        if self.lifts is None and (phase, since) == (Phase.RELEASE, 1):
            self.lifts = iter([0.0] * 3 + [0.01] * 8)
        return action if self.lifts is None else np.array([0, 0, next(self.lifts, 0.0), 0, 0, 0, -1.0])


@pytest.mark.sim
@needs_pack("builtin")[0]
@pytest.mark.parametrize(
    ("row_id", "misled", "expected"),
    [
        ("train", Misled(), None),
        ("train", Misled(does=lambda *_: at_rest(1.0)), "never-reached"),
        ("train", Misled(does=lambda action, *_: opened(action)), "reached-not-grasped"),
        ("train", Misled(does=Afterwards(Phase.CARRY, 2, 1.0)), "dropped"),
        ("train", Misled(does=Afterwards(Phase.CARRY, 2, -1.0)), "timeout-while-carrying"),
        ("train", Misled(does=TakesItBack()), "placed-then-lost"),
        ("semantics/two-objects-seen", Misled(sees=other_object), "wrong-object"),
        ("semantics/two-objects-seen", Misled(), None),
        ("semantics/distractor-receptacle", Misled(sees=other_receptacle), "wrong-receptacle"),
        ("semantics/distractor-receptacle", Misled(), None),
    ],
)
def test_an_expert_fails_as_it_was_told(env, row_id, misled, expected):
    assert play(env, evaluation_episodes(variant(row_id), 1)[0], misled) == expected
