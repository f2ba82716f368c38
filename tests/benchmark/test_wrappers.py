"""Wrappers around a policy whose answers can be told from one another by eye."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from vlagen.benchmark.actions.ensembles import average, parse_weighting
from vlagen.benchmark.actions.formats import NOOP, ActionFormat, BadDeclaration, Bounds
from vlagen.benchmark.actions.wrappers import (
    ActionChunks,
    ConvertedActions,
    RecordingPolicy,
    ResizedImages,
    TemporalEnsemble,
    prepare,
    resize,
)
from vlagen.benchmark.policy import ImageFormat, PolicyEpisode, PolicyError, PolicySpec
from vlagen.tasks.interface import Observation

NOTHING = [0, 0, 0, 0, 0, 0, 1]


def observe(batch=1, step=0, **fields):
    return Observation(
        **{
            "rgb": np.full((batch, 48, 64, 3), 100, dtype=np.uint8),
            "instruction": tuple(f"task {position}" for position in range(batch)),
            "proprioception": np.zeros((batch, 8), np.float32),
            "gripper_pose": np.tile(np.float32([0, 0, 0, 1, 0, 0, 0]), (batch, 1)),
            "step": step,
            "privileged": None,
            **fields,
        }
    )


def episodes(batch):
    return [PolicyEpisode(f"task {position}", position) for position in range(batch)]


class Scripted:
    """Returns what a function makes of batch size and step; remembers what it was shown and when it was asked."""

    def __init__(self, answer, **spec):
        self.spec = PolicySpec(**spec)
        self._answer = answer
        self.asked = []
        self.seen = None

    def reset(self, episodes):
        self.batch = len(episodes)
        self.asked = []

    def act(self, observation):
        self.asked.append(observation.step)
        self.seen = observation
        return self._answer(self.batch, observation.step)


def still(batch, step):
    return np.tile(NOOP, (batch, 1))


def counting(chunk):
    """Chunks whose first number says in hundredths for which step it is, the second in thousandths when it was asked,
    and the third in tenths for which episode."""

    def answer(batch, step):
        actions = np.zeros((batch, chunk, 7), dtype=np.float32)
        actions[:, :, 0] = (step + np.arange(chunk)) / 100
        actions[:, :, 1] = step / 1000
        actions[:, :, 2] = np.arange(batch)[:, None] / 10
        return actions

    return answer


def run(policy, steps, batch=1):
    """Resets a policy and returns its actions (T, B, n)."""
    policy.reset(episodes(batch))
    return np.stack([policy.act(observe(batch, step)) for step in range(steps)])


# Pictures


def test_a_picture_of_the_right_size_is_left_alone():
    pictures = np.random.default_rng(0).integers(0, 255, (2, 48, 64, 3), dtype=np.uint8)
    assert np.array_equal(resize(pictures, ImageFormat(48, 64, "crop", "lanczos")), pictures)


@pytest.mark.parametrize("kind", ["bilinear", "lanczos", "area"])
@pytest.mark.parametrize("fit", ["stretch", "pad", "crop"])
def test_plain_pictures_stay_plain(fit, kind):
    resized = resize(observe(2).rgb, ImageFormat(24, 24, fit, kind))
    assert (resized.shape, resized.dtype) == ((2, 24, 24, 3), np.uint8)
    # 48 x 64 fits as 18 x 24, three rows from the top.
    inside = resized[:, 3:21] if fit == "pad" else resized
    assert (inside == 100).all()
    assert fit != "pad" or (not resized[:, :3].any() and not resized[:, 21:].any())


def test_tall_pictures_get_bars_at_the_sides():
    resized = resize(np.full((1, 20, 10, 3), 7, dtype=np.uint8), ImageFormat(10, 10, "pad"))
    assert (resized[0, :, :, 0] == [0, 0, 7, 7, 7, 7, 7, 0, 0, 0]).all()


def test_cropping_keeps_the_middle():
    picture = np.zeros((1, 4, 8, 3), dtype=np.uint8)
    picture[0, :, 2:6] = 200
    assert (resize(picture, ImageFormat(2, 2, "crop", "area")) == 200).all()
    # All eight columns, half of them black: each of the two covers two of either kind.
    assert (resize(picture, ImageFormat(2, 2, "stretch", "area")) == 100).all()


def test_reducing_takes_all_pixels_into_account():
    picture = np.zeros((1, 8, 8, 3), dtype=np.uint8)
    picture[0, ::2] = 200
    for kind in ("bilinear", "area"):
        assert np.abs(resize(picture, ImageFormat(2, 2, "stretch", kind)).astype(int) - 100).max() <= 25


def test_the_policy_sees_its_own_size_and_the_caller_keeps_his():
    inner = Scripted(still, image=ImageFormat(24, 32))
    resized = ResizedImages(inner)
    observation = observe(2)
    resized.reset(episodes(2))
    resized.act(observation)
    assert inner.seen.rgb.shape == (2, 24, 32, 3)
    assert observation.rgb.shape == (2, 48, 64, 3)
    assert resized.spec.image is None


# Chunks


@pytest.mark.parametrize(
    ("horizon", "asked"), [(None, [0, 4, 8]), (4, [0, 4, 8]), (3, [0, 3, 6, 9]), (1, list(range(10)))]
)
def test_the_first_actions_of_a_chunk_are_executed(horizon, asked):
    inner = Scripted(counting(4))
    chunks = ActionChunks(inner, horizon)
    for batch in (3, 1, 2):  # a run may end with a smaller batch
        actions = run(chunks, 10, batch)
        assert inner.asked == asked
        assert actions.shape == (10, batch, 7)
        assert actions[:, 0, 0] == pytest.approx(np.arange(10) / 100)
        assert actions[0, :, 2] == pytest.approx(np.arange(batch) / 10)
    assert chunks.chunk == 4


def test_a_reset_throws_the_rest_of_a_chunk_away():
    inner = Scripted(counting(4))
    chunks = ActionChunks(inner)
    run(chunks, 2)
    assert run(chunks, 1)[0, 0, 0] == 0


def test_single_actions_pass_through():
    chunks = ActionChunks(Scripted(still))
    assert run(chunks, 3, 2)[:, 1].tolist() == [NOTHING] * 3
    assert chunks.chunk == 1
    run(ActionChunks(Scripted(still), 1), 3)


def test_a_policy_may_reuse_its_array():
    array = np.zeros((1, 2, 7), dtype=np.float32)

    def answer(batch, step):
        array[:] = step / 100
        return array

    assert run(ActionChunks(Scripted(answer)), 4)[:, 0, 0] == pytest.approx([0, 0, 0.02, 0.02])
    chunks = ActionChunks(Scripted(answer))
    chunks.reset(episodes(1))
    first = chunks.act(observe())
    second = chunks.act(observe(step=1))
    array[:] = 9
    assert (first == second).all()


@pytest.mark.parametrize(
    ("answer", "horizon", "complaint"),
    [
        (still, 2, "returns single actions, so --execute-horizon 2 has no chunk"),
        (counting(4), 5, "returns chunks of 4 actions; allowed for --execute-horizon: 1 to 4"),
    ],
)
def test_more_actions_than_there_are_cannot_be_executed(answer, horizon, complaint):
    with pytest.raises(PolicyError, match=f"^policy 'mine' at step 0 of row 'train' {complaint}"):
        run_prepared(prepare(Scripted(answer), name="mine", execute_horizon=horizon))


@pytest.mark.parametrize(
    ("spec", "how", "complaint"),
    [
        ({"chunk": 4}, {"execute_horizon": 5}, "policy 'mine': returns chunks of 4 actions"),
        ({"chunk": 1}, {"execute_horizon": 2}, "policy 'mine': returns single actions"),
        ({}, {"execute_horizon": 0}, "--execute-horizon 0; allowed: 1 or more"),
        ({"chunk": 1}, {"ensemble": "mean"}, "single actions, and an ensemble needs chunks"),
        ({}, {"ensemble": "maen"}, "unknown ensemble 'maen'; did you mean 'mean'"),
        ({}, {"ensemble": "mean", "execute_horizon": 3}, "leave --execute-horizon 3 out"),
    ],
)
def test_what_cannot_work_is_refused_before_the_first_episode(spec, how, complaint):
    with pytest.raises(PolicyError, match=complaint):
        prepare(Scripted(still, **spec), name="mine", **how)


# Ensembles


def test_only_the_newest_prediction_counts():
    actions = run(TemporalEnsemble(Scripted(counting(3)), "newest"), 5)
    assert actions[:, 0, 1] == pytest.approx(np.arange(5) / 1000)


def test_all_predictions_for_now_are_averaged():
    ensemble = TemporalEnsemble(Scripted(counting(3)), "mean")
    for batch in (2, 1):
        actions = run(ensemble, 5, batch)
        # Each chunk knows which step it is for ...
        assert actions[:, 0, 0] == pytest.approx(np.arange(5) / 100)
        # ... and they were asked for 0; 0, 1; 0, 1, 2; 1, 2, 3; 2, 3, 4.
        assert actions[:, 0, 1] == pytest.approx(np.array([0, 0.5, 1, 2, 3]) / 1000)
        assert actions[3, :, 2] == pytest.approx(np.arange(batch) / 10)


def test_exponential_weights_favour_the_oldest_as_act_has_them():
    actions = run(TemporalEnsemble(Scripted(counting(3)), f"exponential:{np.log(2)}"), 2)
    # Weights 1 and 1/2 of what was asked at 0 and at 1.
    assert actions[1, 0, 1] == pytest.approx((1 * 0 + 0.5 * 1) / 1.5 / 1000)
    assert parse_weighting("exponential:-1").of(2)[1] > 0.7
    assert parse_weighting("exponential:1000").of(3) == pytest.approx([1, 0, 0])
    assert parse_weighting("exponential:-1000").of(3) == pytest.approx([0, 0, 1])


@pytest.mark.parametrize("text", ["", "exponential", "exponential:", "exponential:nan", "linear:1", "mean:1"])
def test_other_weightings_are_unknown(text):
    with pytest.raises(BadDeclaration, match="unknown ensemble"):
        parse_weighting(text)


def test_quaternions_of_either_sign_are_averaged_as_rotations():
    tilted = np.array([np.cos(0.1), np.sin(0.1), 0, 0])
    predictions = np.array([[[0, 0, 0, *-tilted, 1]], [[0.2, 0, 0, 1, 0, 0, 0, 1]]])
    merged = average(predictions, parse_weighting("mean"), "quaternion_wxyz")
    assert merged[0] == pytest.approx([0.1, 0, 0, np.cos(0.05), np.sin(0.05), 0, 0, 1])


def test_an_ensemble_of_single_actions_is_refused():
    with pytest.raises(PolicyError, match="single actions, and an ensemble needs chunks"):
        run(TemporalEnsemble(Scripted(still), "mean"), 1)


def test_votes_of_a_binary_gripper_are_counted():
    """Two of three chunks say closed: the middle decides once, after they are merged."""

    def answer(batch, step):
        actions = np.zeros((batch, 3, 7))
        actions[..., 6] = 0.0 if step == 1 else 1.0
        return actions

    emits = ActionFormat(gripper_open=0.0, gripper_closed=1.0, gripper_binary=True)
    prepared = prepare(Scripted(answer, emits=emits), name="mine", ensemble="mean")
    # Votes for closed: 1 of 1; 1 of 2, which opens; 2 of 3; 2 of 3 (asked at 1, 2 and 3).
    assert run_prepared(prepared, 4)[:, 0, 6].tolist() == [-1, 1, -1, -1]


# Checks and conversion


def run_prepared(prepared, steps=1, batch=1, **fields):
    prepared.reset(episodes(batch))
    return np.stack([prepared.act(observe(batch, step, **fields), "train") for step in range(steps)])


class Tensor:
    """Has what tells a torch tensor."""

    def detach(self):
        return self


@pytest.mark.parametrize(
    ("returned", "complaint"),
    [
        (np.zeros(7), r"returned shape \(7,\); allowed: .* \(2, 7\) or a chunk \(2, T, 7\): 7 numbers: translation"),
        (np.zeros((1, 7)), r"returned shape \(1, 7\)"),
        (np.zeros((2, 8)), r"returned shape \(2, 8\)"),
        (np.zeros((2, 0, 7)), r"returned shape \(2, 0, 7\)"),
        (np.zeros((2, 2, 2, 7)), r"returned shape \(2, 2, 2, 7\)"),
        (np.zeros((2, 7), dtype=int), "returned dtype int64"),
        (np.zeros((2, 7), dtype=object), "returned dtype object"),
        ([[0.0] * 7] * 2, "returned a list"),
        (None, "returned a NoneType"),
        (Tensor(), r"returned a Tensor; call .cpu\(\).numpy\(\) on it; allowed"),
    ],
)
@pytest.mark.parametrize("how", [{}, {"ensemble": "mean"}, {"execute_horizon": 1}])
def test_what_is_no_batch_of_actions_is_refused_by_name(returned, complaint, how):
    prepared = prepare(Scripted(lambda batch, step: returned), name="mine", **how)
    prepared.reset(episodes(2))
    with pytest.raises(PolicyError, match=f"^policy 'mine' at step 4 of row 'vision/table' {complaint}"):
        prepared.act(observe(2, step=4), "vision/table")


def test_a_declared_chunk_is_held_to():
    with pytest.raises(PolicyError, match=r"returned shape \(1, 3, 7\); allowed: .* \(1, 4, 7\)"):
        run_prepared(prepare(Scripted(counting(3), chunk=4), name="mine"))
    with pytest.raises(PolicyError, match=r"returned shape \(1, 3, 7\); allowed: .* shape \(1, 7\):"):
        run_prepared(prepare(Scripted(counting(3), chunk=1), name="mine"))
    assert prepare(Scripted(counting(3), chunk=3), name="mine", execute_horizon=2).chunk is None


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_canonical_actions_come_out_as_float32_with_every_bit(dtype):
    wanted = np.array([[0.013, -0.02, 0.001, 3.1, -0.2, 0.1, -0.7]], dtype=dtype)
    actions = run_prepared(prepare(Scripted(lambda batch, step: wanted), name="mine"))
    assert actions.dtype == np.float32
    assert actions[0].tobytes() == wanted.astype(np.float32).tobytes()


def test_declared_formats_are_converted():
    bounds = Bounds(low=(-0.02,) * 3 + (-0.1,) * 3, high=(0.02,) * 3 + (0.1,) * 3)
    emits = ActionFormat(gripper_open=0.0, gripper_closed=1.0, normalised=bounds)
    policy = Scripted(lambda batch, step: np.array([[1, -1, 0, 0.5, 0, 0, 1.0]]), emits=emits)
    assert run_prepared(prepare(policy, name="mine"))[0, 0] == pytest.approx([0.02, -0.02, 0, 0.05, 0, 0, -1])


def test_steps_along_the_gripper_mean_the_gripper_as_it_is_when_they_are_executed():
    def answer(batch, step):
        return np.tile(np.array([0.01, 0, 0, 0, 0, 0, 1.0]), (batch, 3, 1))

    prepared = prepare(Scripted(answer, emits=ActionFormat(frame="gripper")), name="mine")
    prepared.reset(episodes(1))
    upright, quarter = [0, 0, 0, 1, 0, 0, 0], [0, 0, 0, np.sqrt(0.5), 0, 0, np.sqrt(0.5)]
    first = prepared.act(observe(gripper_pose=np.float32([upright])), "train")
    second = prepared.act(observe(step=1, gripper_pose=np.float32([quarter])), "train")
    assert first[0, :3] == pytest.approx([0.01, 0, 0], abs=1e-7)
    assert second[0, :3] == pytest.approx([0, 0.01, 0], abs=1e-7)


def failing(at, value, place=6):
    """Holds still, but for the second episode's number at one step."""

    def answer(batch, step):
        actions = np.tile(NOOP, (batch, 1))
        actions[:, 0] = 0.01
        if step == at:
            actions[1, place] = value
        return actions

    return answer


@pytest.mark.parametrize("value", [np.nan, np.inf, 7.0])
def test_an_episode_at_fault_is_given_up_and_the_others_go_on(value):
    prepared = prepare(Scripted(failing(2, value)), name="mine")
    actions = run_prepared(prepared, 4, batch=3)
    assert list(prepared.faults) == [1]
    assert prepared.faults[1].startswith("policy 'mine' at step 2 of row 'train' returned [")
    assert actions[:2, 1, 0] == pytest.approx(0.01)
    assert actions[2:, 1].tolist() == [NOTHING] * 2
    assert actions[:, [0, 2], 0] == pytest.approx(0.01)
    assert np.isfinite(actions).all()
    run_prepared(prepared, 2, batch=3)
    assert prepared.faults == {}


def test_the_first_fault_of_an_episode_is_kept():
    def answer(batch, step):
        return np.full((batch, 7), np.nan if step == 1 else 5.0 * step)

    prepared = prepare(Scripted(answer), name="mine")
    run_prepared(prepared, 4)
    assert "at step 1 " in prepared.faults[0]


def test_a_fault_in_a_chunk_counts_only_when_it_is_executed():
    def answer(batch, step):
        chunk = np.tile(NOOP, (batch, 3, 1))
        chunk[:, 2, 0] = np.nan
        return chunk

    cut = prepare(Scripted(answer), name="mine", execute_horizon=2)
    run_prepared(cut, 6)
    assert cut.faults == {}
    whole = prepare(Scripted(answer), name="mine")
    run_prepared(whole, 6)
    assert "at step 2 " in whole.faults[0]


def test_converted_actions_takes_chunks_too():
    converted = ConvertedActions(Scripted(counting(2), emits=ActionFormat(length_unit="cm")))
    converted.reset(episodes(2))
    actions = converted.act(observe(2, step=3))
    assert (actions.shape, actions.dtype) == ((2, 2, 7), np.float32)
    assert actions[0, :, 0] == pytest.approx([0.0003, 0.0004])
    assert converted.spec.emits == ActionFormat()


# What a policy is shown


@pytest.mark.parametrize(
    ("spec", "missing", "complaint"),
    [
        ({}, "rgb", "needs observation.rgb, which is None: this simulator renders no pictures"),
        ({"image": ImageFormat(8, 8)}, "rgb", "needs observation.rgb"),
        ({"needs_privileged": True}, "privileged", "needs observation.privileged"),
        ({"needs_proprioception": True}, "proprioception", "needs observation.proprioception"),
        ({"emits": ActionFormat(frame="gripper")}, "gripper_pose", "needs observation.gripper_pose"),
    ],
)
def test_what_a_policy_needs_must_be_there(spec, missing, complaint):
    prepared = prepare(Scripted(still, **spec), name="mine")
    with pytest.raises(PolicyError, match=f"^policy 'mine' at step 0 of row 'train' {complaint}"):
        run_prepared(prepared, **{missing: None})


def test_what_a_policy_did_not_ask_for_it_does_not_see():
    blind, seeing = Scripted(still, needs_images=False), Scripted(still, needs_privileged=True)
    state = object()
    for policy in (blind, seeing):
        run_prepared(prepare(policy, name="mine"), privileged=state)
    assert blind.seen.rgb is None
    assert blind.seen.privileged is None
    assert seeing.seen.rgb is not None
    assert seeing.seen.privileged is state


@pytest.mark.parametrize(
    ("policy", "complaint"),
    [
        (object(), "is a object, which lacks reset and act"),
        (dataclasses.make_dataclass("Half", [], namespace={"reset": print})(), "is a Half, which lacks act"),
        (
            dataclasses.make_dataclass("Silent", [], namespace={"reset": print, "act": print})(),
            "declares nothing as its spec; write e.g. `spec = PolicySpec",
        ),
        (
            dataclasses.make_dataclass("Odd", [], namespace={"reset": print, "act": print, "spec": {}})(),
            "declares a dict as its spec",
        ),
    ],
)
def test_what_is_no_policy_is_not_prepared(policy, complaint):
    with pytest.raises(PolicyError, match=f"^policy 'mine' {complaint}"):
        prepare(policy, name="mine")


def test_errors_of_the_policys_own_pass_through():
    def answer(batch, step):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        run_prepared(prepare(Scripted(answer), name="mine"))


# Recording


def test_a_recording_keeps_what_was_seen_and_done():
    emits = ActionFormat(length_unit="cm")
    recording = RecordingPolicy(prepare(Scripted(counting(2), emits=emits), name="mine"))
    for batch in (2, 3):
        actions = run_prepared(recording, 3, batch)
        assert [observation.step for observation in recording.observations] == [0, 1, 2]
        assert recording.observations[0].rgb.shape == (batch, 48, 64, 3)
        assert np.array_equal(recording.actions, actions)
        assert actions[1, 0, 0] == pytest.approx(0.0001)
        assert recording.episodes == tuple(episodes(batch))
    assert recording.faults == {}


def test_a_recording_passes_faults_on_and_goes_around_plain_policies():
    recording = RecordingPolicy(prepare(Scripted(failing(0, np.nan)), name="mine"))
    run_prepared(recording, 1, batch=2)
    assert list(recording.faults) == [1]
    plain = RecordingPolicy(Scripted(still))
    run(plain, 2)
    assert len(plain.actions) == 2
