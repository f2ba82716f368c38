import dataclasses

import numpy as np
import pytest

from vlagen.benchmark.actions.formats import ActionFormat, BadDeclaration, faults
from vlagen.benchmark.adapters.random import ROTATION_RANGE, TRANSLATION_RANGE
from vlagen.benchmark.loading.source import BUILT_IN, PolicySource
from vlagen.benchmark.policy import ImageFormat, Policy, PolicyEpisode, PolicySpec, policy_seed
from vlagen.tasks.interface import Observation

OBSERVATION = Observation(
    rgb=None,
    instruction=("a", "b"),
    proprioception=np.zeros((2, 8), np.float32),
    gripper_pose=np.tile(np.float32([0, 0, 0, 1, 0, 0, 0]), (2, 1)),
    step=0,
)


def test_a_policy_sees_pictures_and_emits_vlagens_own_actions_unless_it_says_otherwise():
    spec = PolicySpec()
    assert spec.needs_images
    assert (spec.needs_proprioception, spec.needs_privileged, spec.light) == (False, False, False)
    assert (spec.image, spec.chunk, spec.emits) == (None, None, ActionFormat())


def test_only_a_policy_that_sees_the_simulators_state_is_an_oracle():
    assert PolicySpec(needs_privileged=True).is_oracle
    assert not PolicySpec(needs_proprioception=True).is_oracle


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: ImageFormat(0, 224), "image height 0"),
        (lambda: ImageFormat(224, 224.0), "image width 224.0"),
        (lambda: ImageFormat(224, 224, fit="padd"), "unknown image fit 'padd'; did you mean 'pad'"),
        (lambda: ImageFormat(224, 224, filter="lanczos3"), "unknown image filter 'lanczos3'; did you mean 'lanczos'"),
        (lambda: PolicySpec(image=(224, 224)), "image is a tuple; allowed: ImageFormat"),
        (lambda: PolicySpec(emits="canonical"), "emits is a str; allowed: ActionFormat"),
        (lambda: PolicySpec(needs_images=False, image=ImageFormat(8, 8)), "image is given although needs_images"),
        (lambda: PolicySpec(chunk=0), "chunk 0; allowed: 1 or more"),
    ],
)
def test_declarations_that_contradict_themselves_are_refused(make, complaint):
    with pytest.raises(BadDeclaration, match=complaint):
        make()


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_policies_are_cheap_policies_of_vlagens_own_actions(name):
    policy = PolicySource(name).make()
    assert isinstance(policy, Policy)
    assert policy.spec.light
    assert not policy.spec.needs_images
    assert policy.spec.emits == ActionFormat()
    assert policy.spec.is_oracle == (name == "expert")


@pytest.mark.parametrize("name", ["random", "noop"])
def test_built_in_policies_keep_the_protocol(name):
    policy = PolicySource(name).make()
    for batch in (2, 1, 2):
        policy.reset([PolicyEpisode("a", seed) for seed in range(batch)])
        for _ in range(3):
            actions = policy.act(dataclasses.replace(OBSERVATION, instruction=("a",) * batch))
            assert (actions.shape, actions.dtype) == ((batch, 7), np.float32)
            assert not faults(actions, policy.spec.emits)


def test_random_depends_on_its_seed_alone():
    policy = PolicySource("random").make()
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
    policy = PolicySource("noop").make()
    policy.reset([PolicyEpisode("a", 1)])
    assert policy.act(OBSERVATION).tolist() == [[0, 0, 0, 0, 0, 0, 1]]


def test_seeds_are_fixed_distinct_and_small():
    # printf 0:vlagen-v1:train:5 | sha256sum | cut -c1-8
    assert policy_seed(0, "vlagen-v1", "train", 5) == int.from_bytes(bytes.fromhex("3a480a81"), "little")
    seeds = {policy_seed(s, p, "train", i) for s in range(3) for p in ("vlagen-v1", "rl4vla") for i in range(50)}
    assert len(seeds) == 300
    assert max(seeds) < 2**32
