import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.baselines.openvla.golden import each_golden
from vlagen.baselines.openvla.normalization import (
    ActionNormalizer,
    BadStatistics,
    StateNormalizer,
    UnknownStatistics,
    choose_statistics,
    compute_statistics,
)

TWO_AND_A_GRIPPER = {"action": {"q01": [-1, 0, 0], "q99": [3, 10, 1], "mask": [True, True, False]}}


@each_golden()
def test_actions_are_upstreams(golden):
    keys = golden.inputs.get("unnorm_keys")
    statistics = golden.json("dataset_statistics.json")
    for sample in golden.samples:
        key = None if keys is None else str(keys[sample])
        normalizer = ActionNormalizer.from_statistics(choose_statistics(statistics, key)[1])
        numbers = golden.outputs.get(f"s{sample}_normalized_action")
        if numbers is not None:
            expected = golden.outputs[f"s{sample}_action"]
            np.testing.assert_allclose(normalizer.unnormalize(numbers), expected, rtol=0, atol=1e-9)


def test_by_hand():
    normalizer = ActionNormalizer.from_statistics(TWO_AND_A_GRIPPER)
    assert normalizer.size == 3
    assert normalizer.unnormalize(np.array([0.5, -1, 0.5])).tolist() == [2, 0, 0.5]
    numbers = normalizer.normalize(np.array([[2, 0, 0.5], [99, 5, 7]]))
    np.testing.assert_allclose(numbers, [[0.5, -1, 0.5], [1, 0, 7]], atol=1e-8)


def test_without_a_mask_all_are_normalised():
    normalizer = ActionNormalizer.from_statistics({"action": {"q01": [0, 0], "q99": [2, 4]}})
    assert normalizer.unnormalize(np.array([0, 1])).tolist() == [1, 4]


def test_numbers_that_never_change_become_zero():
    actions = np.column_stack([np.linspace(-1, 1, 50), np.full(50, 0.3), np.ones(50)])
    normalizer = ActionNormalizer.from_statistics(compute_statistics(actions))
    assert normalizer.normalize(actions)[:, 1:].any() == np.False_
    assert normalizer.unnormalize(np.zeros(3))[1] == pytest.approx(0.3)


@given(st.lists(st.floats(-1, 1), min_size=3, max_size=3))
def test_normalising_undoes_unnormalising(numbers):
    normalizer = ActionNormalizer.from_statistics(TWO_AND_A_GRIPPER)
    actions = normalizer.unnormalize(np.array(numbers))
    np.testing.assert_allclose(normalizer.normalize(actions), numbers, atol=1e-7)


def test_statistics_of_data():
    steps = np.arange(101, dtype=np.float32)
    statistics = compute_statistics(np.column_stack([steps, -2 * steps, steps > 50]), trajectories=4)
    assert json.loads(json.dumps(statistics)) == statistics
    action = statistics["action"]
    assert action["q01"][:2] == pytest.approx([1, -198])
    assert action["q99"][:2] == pytest.approx([99, -2])
    assert action["mean"] == pytest.approx([50, -100, 50 / 101])
    assert action["min"] == [0, -200, 0]
    assert action["max"] == [100, 0, 1]
    assert action["std"][0] == pytest.approx(np.sqrt((101**2 - 1) / 12))
    assert action["mask"] == [True, True, False]
    assert (statistics["num_transitions"], statistics["num_trajectories"]) == (101, 4)


def test_the_name_may_be_left_out_where_there_is_one():
    assert choose_statistics({"sft": TWO_AND_A_GRIPPER}, None) == ("sft", TWO_AND_A_GRIPPER)


@pytest.mark.parametrize(
    ("norm_stats", "key", "message"),
    [
        ({"bridge_orig": {}, "sft": {}}, None, "several statistics; give unnorm_key, one of bridge_orig, sft"),
        ({"bridge_orig": {}}, "bridge", "unknown unnorm_key 'bridge'; did you mean 'bridge_orig'"),
        ({}, "bridge_orig", "has no statistics of actions"),
    ],
)
def test_a_missing_name_lists_what_there_is(norm_stats, key, message):
    with pytest.raises(UnknownStatistics, match=message):
        choose_statistics(norm_stats, key)


def test_broken_statistics_are_refused():
    with pytest.raises(BadStatistics, match="lack q99; they have q01"):
        ActionNormalizer.from_statistics({"action": {"q01": [0]}})
    with pytest.raises(BadStatistics, match="one number per dimension"):
        ActionNormalizer.from_statistics({"action": {"q01": [0, 1], "q99": [1]}})
    with pytest.raises(BadStatistics, match="step 1 are not finite"):
        compute_statistics(np.array([[0.0, 1.0], [np.nan, 1.0]]))
    with pytest.raises(BadStatistics, match=r"shape \(0, 7\)"):
        compute_statistics(np.zeros((0, 7)))
    with pytest.raises(BadStatistics, match="a mask of 1 for actions of 2 numbers"):
        compute_statistics(np.zeros((3, 2)), mask=[True])


def test_proprioception_is_normalised_and_clipped():
    statistics = {"proprio": {"q01": [-2, 0, 0], "q99": [2, 10, 1], "mask": [True, True, False]}}
    normalizer = StateNormalizer.from_statistics(statistics, 3)
    given = normalizer.normalize(np.array([[1.0, 2.5, 0.25], [-9.0, 11.0, 7.0]]))
    np.testing.assert_allclose(given, [[0.5, -0.5, 0.25], [-1, 1, 1]], atol=1e-8)
    with pytest.raises(BadStatistics, match=r"shapes \[\(3,\)\]; allowed: \(8,\)"):
        StateNormalizer.from_statistics(statistics, 8)
    with pytest.raises(BadStatistics, match="lack proprio's q99"):
        StateNormalizer.from_statistics({"proprio": {"q01": [0]}}, 1)
