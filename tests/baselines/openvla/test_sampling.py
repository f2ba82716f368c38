from __future__ import annotations

import math

import pytest
import torch

from vlagen.baselines.openvla.sampling import (
    BadInput,
    check_temperature,
    draw,
    episode_generator,
    invert,
    log_probabilities,
)

THREE = torch.tensor([[0.5, 0.25, 0.25]]).log()


@pytest.mark.parametrize(
    ("uniform", "chosen"), [(0.0, 0), (0.4999, 0), (0.5001, 1), (0.7499, 1), (0.7501, 2), (1 - 2**-53, 2)]
)
def test_a_draw_falls_into_its_share(uniform, chosen):
    assert invert(THREE, torch.tensor([uniform], dtype=torch.float64), 1.0).tolist() == [chosen]


def test_what_has_no_probability_is_never_chosen():
    logits = torch.tensor([[-math.inf, 0.0, -math.inf, 0.0, -math.inf]]).expand(1000, -1)
    uniforms = torch.linspace(0, 1 - 1e-12, 1000, dtype=torch.float64)
    assert set(invert(logits, uniforms, 1.0).tolist()) == {1, 3}


def test_a_low_temperature_prefers_the_most_likely():
    # Shares 1/2, 1/4, 1/4 squared are 2/3, 1/6, 1/6.
    uniforms = torch.tensor([0.66, 0.67, 0.84], dtype=torch.float64)
    assert invert(THREE.expand(3, -1), uniforms, 0.5).tolist() == [0, 1, 2]


def test_frequencies_are_the_probabilities():
    count = 20_000
    uniforms = draw([episode_generator(3)], count)[0]
    chosen = invert(THREE.expand(count, -1), uniforms, 1.0)
    shares = torch.bincount(chosen, minlength=3) / count
    # Four standard deviations of a share of one half.
    torch.testing.assert_close(shares, THREE[0].exp(), atol=4 * math.sqrt(0.25 / count), rtol=0)


def test_an_episode_draws_the_same_in_any_company():
    alone = [draw([episode_generator(5)], 7)]
    generators = [episode_generator(seed) for seed in (4, 5, 6)]
    together = [draw(generators, 7)]
    assert torch.equal(alone[0][0], together[0][1])
    assert not torch.equal(draw(generators, 7)[1], together[0][1]), "a stream goes on"


def test_log_probability_and_entropy_by_hand():
    likelihood, entropy = log_probabilities(THREE, torch.tensor([1]))
    assert likelihood.item() == pytest.approx(math.log(0.25))
    assert entropy.item() == pytest.approx(1.5 * math.log(2))
    likelihood, entropy = log_probabilities(THREE, torch.tensor([0]), temperature=0.5)
    assert likelihood.item() == pytest.approx(math.log(2 / 3))
    assert entropy.item() == pytest.approx(-(2 / 3) * math.log(2 / 3) + (1 / 3) * math.log(6))


@pytest.mark.parametrize("temperature", [-0.1, math.inf, math.nan])
def test_temperatures_that_mean_nothing(temperature):
    with pytest.raises(BadInput, match="0 for greedy"):
        check_temperature(temperature)
