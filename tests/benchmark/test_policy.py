import sys

import numpy as np
import pytest

from tests.benchmark import toys
from vlagen.benchmark.adapters.random import ROTATION_RANGE, TRANSLATION_RANGE
from vlagen.benchmark.policy import (
    BUILT_IN,
    Policy,
    PolicyEpisode,
    PolicyError,
    UnknownPolicy,
    check_actions,
    find_policy,
    load_policy,
    policy_seed,
)
from vlagen.tasks.interface import Observation

OBSERVATION = Observation(rgb=None, instruction=("a", "b"), proprioception=np.zeros((2, 8), np.float32), step=0)
WHERE = {"policy": "mine", "row": "vision/table", "step": 4}


def test_good_actions_become_float32():
    checked = check_actions(np.ones((2, 7)), 2, **WHERE)
    assert checked.dtype == np.float32
    assert checked.shape == (2, 7)


@pytest.mark.parametrize(
    ("actions", "complaint"),
    [
        (np.zeros(7), r"returned shape \(7,\); allowed: .* \(2, 7\)"),
        (np.zeros((1, 7)), r"returned shape \(1, 7\)"),
        (np.zeros((2, 7), dtype=int), "returned dtype int64"),
        (np.zeros((2, 7), dtype=object), "returned dtype object"),
        ([[0.0] * 7] * 2, "returned a list"),
        (None, "returned a NoneType"),
        (np.full((2, 7), np.nan), "returned .nan"),
        (np.full((2, 7), 1e300), r"returned \[1e\+300"),  # finite, but not as float32
    ],
)
def test_bad_actions_are_refused_by_name(actions, complaint):
    with pytest.raises(PolicyError, match=f"^policy 'mine' at step 4 of row 'vision/table' {complaint}"):
        check_actions(actions, 2, **WHERE)


@pytest.mark.parametrize("name", ["random", "noop"])
def test_built_in_policies_keep_the_protocol(name):
    policy = load_policy(name)
    assert isinstance(policy, Policy)
    assert not policy.spec.needs_images
    for _ in range(2):
        policy.reset([PolicyEpisode("a", 1), PolicyEpisode("b", 2)])
        for _ in range(3):
            check_actions(policy.act(OBSERVATION), 2, policy=name, row="train", step=0)


def test_random_depends_on_its_seed_alone():
    policy = load_policy("random")
    policy.reset([PolicyEpisode("a", 1), PolicyEpisode("b", 2)])
    together = [policy.act(OBSERVATION) for _ in range(50)]
    policy.reset([PolicyEpisode("b", 2)])
    alone = [policy.act(OBSERVATION) for _ in range(50)]
    np.testing.assert_array_equal(np.stack(together)[:, 1], np.stack(alone)[:, 0])
    assert not np.array_equal(together[0][0], together[0][1])
    assert np.abs(np.stack(together)[..., :3]).max() <= TRANSLATION_RANGE
    assert np.abs(np.stack(together)[..., 3:6]).max() <= ROTATION_RANGE
    assert set(np.stack(together)[..., 6].ravel()) == {-1.0, 1.0}


def test_noop_holds_still_with_the_gripper_open():
    policy = load_policy("noop")
    policy.reset([PolicyEpisode("a", 1)])
    assert policy.act(OBSERVATION).tolist() == [[0, 0, 0, 0, 0, 0, 1]]


def test_policies_are_found_by_module_and_attribute():
    assert find_policy(toys.named(toys.SlowPolicy)) is toys.SlowPolicy


def test_policies_are_found_in_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "toy_adapter_in_cwd.py").write_text("from tests.benchmark.toys import SlowPolicy as Mine\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert find_policy("toy_adapter_in_cwd:Mine") is toys.SlowPolicy


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("randon", "did you mean 'random'.*module:attribute"),
        ("no_such_module:Policy", "module 'no_such_module' was not found"),
        ("tests.benchmark.toys:SlowPolicies", "did you mean 'SlowPolicy'"),
    ],
)
def test_unknown_policies_name_the_nearest(name, complaint):
    with pytest.raises(UnknownPolicy, match=complaint):
        find_policy(name)


@pytest.mark.parametrize("name", ["json:dumps", "math:pi"])
def test_what_declares_nothing_is_no_policy(name):
    with pytest.raises(PolicyError, match="spec = PolicySpec"):
        find_policy(name)


def test_every_built_in_policy_is_listed_as_module_and_attribute():
    assert set(BUILT_IN) == {"random", "noop", "expert"}
    assert all(target.count(":") == 1 for target in BUILT_IN.values())


def test_seeds_are_fixed_distinct_and_small():
    # printf 0:vlagen-v1:train:5 | sha256sum | cut -c1-8
    assert policy_seed(0, "vlagen-v1", "train", 5) == int.from_bytes(bytes.fromhex("3a480a81"), "little")
    seeds = {policy_seed(s, p, "train", i) for s in range(3) for p in ("vlagen-v1", "rl4vla") for i in range(50)}
    assert len(seeds) == 300
    assert max(seeds) < 2**32
