"""Demonstrations of the real expert in the real simulator."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from vlagen.baselines.data.collect import Collection
from vlagen.baselines.data.dataset import Dataset
from vlagen.baselines.data.demonstration import is_small
from vlagen.baselines.data.request import CollectRequest
from vlagen.benchmark.policy import PolicySpec
from vlagen.benchmark.simulator import NoRenderer, choose_render_backend
from vlagen.benchmark.stage import find_stage

pytest.importorskip("mani_skill")
pytestmark = [pytest.mark.sim, pytest.mark.slow]


@pytest.fixture(scope="module")
def demonstration(tmp_path_factory):
    try:
        choose_render_backend()
    except NoRenderer as error:
        pytest.skip(str(error))
    request = CollectRequest(
        out=tmp_path_factory.mktemp("set"), episodes=1, noise_position=0.003, noise_rotation=0.02, image_size="96x96"
    )
    with Collection(request) as collection:
        list(collection.play())
    return next(Dataset(request.out).demonstrations()), request


def test_the_executed_actions_lead_to_the_same_states_to_the_last_bit(demonstration):
    recorded, request = demonstration
    stage = find_stage(request.evaluation_request(), PolicySpec(needs_images=False))
    simulator = stage.make_simulator()
    observation = simulator.start([recorded.episode])
    states = [observation.proprioception[0]]
    for action in recorded.replay:
        result = simulator.step(action[None])
        states.append(result.observation.proprioception[0])
    simulator.close()
    assert result.success[0]
    assert np.array_equal(np.stack(states)[recorded.steps], recorded.states)


def test_frames_are_those_with_an_effect_and_end_in_success(demonstration):
    recorded, _ = demonstration
    assert 10 <= len(recorded) < 60
    assert recorded.successes[-1]
    consecutive = np.flatnonzero(np.diff(recorded.steps) == 1) + 1
    assert not any(is_small(recorded.actions[place], recorded.actions[place - 1]) for place in islice(consecutive, 50))
    assert np.isclose(recorded.rewards.sum(), 1.2, atol=1e-5)
