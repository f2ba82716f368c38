"""Random crops and colours: what they leave alone, and colours worked out by hand or by the standard library."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
import torch

from vlagen.baselines.augmentation import WARM_UP, Augmentation, crop, grey, stretch, turn_hue


def generators(*seeds):
    return [np.random.default_rng(seed) for seed in seeds]


def pictures(count=3, side=16, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8))


def test_the_default_returns_the_very_pictures():
    images = pictures()
    assert Augmentation()(images, generators(0, 1, 2)) is images


def test_a_sample_is_changed_the_same_whoever_stands_beside_it():
    images = pictures()
    together = WARM_UP(images, generators(5, 6, 7))
    alone = WARM_UP(images[1:2], generators(6))
    assert torch.equal(together[1:2], alone)
    assert together.dtype == torch.uint8
    assert together.shape == images.shape
    assert not torch.equal(together, WARM_UP(images, generators(8, 9, 10)))


def test_brightness_adds_the_same_to_each_channel():
    images = torch.full((1, 4, 4, 3), 100, dtype=torch.uint8)
    draws = np.random.default_rng(3).random(6)
    changed = Augmentation(brightness=0.2)(images, generators(3))
    expected = 100 + 255 * 0.2 * (2 * draws[2] - 1)
    assert (changed.double() - expected).abs().max() <= 0.5


def test_a_crop_of_all_is_the_picture_and_one_in_the_middle_keeps_the_middle():
    images = pictures().permute(0, 3, 1, 2).float() / 255
    places = torch.full((3, 2), 0.5)
    assert torch.allclose(crop(images, 1.0, places), images, atol=1e-6)
    ramp = torch.linspace(0, 1, 101).expand(1, 3, 101, 101).contiguous()
    cut = crop(ramp, 0.81, places[:1])  # a side of 0.9
    assert cut[0, 0, 50, 50] == pytest.approx(0.5, abs=1e-6)
    assert cut[0, 0, 0, -1] - cut[0, 0, 0, 0] == pytest.approx(0.9, abs=1e-5)


def test_a_crop_at_the_left_edge_keeps_the_left_edge():
    ramp = torch.linspace(0, 1, 101).expand(1, 3, 101, 101).contiguous()
    left = crop(ramp, 0.81, torch.tensor([[0.0, 0.5]]))
    right = crop(ramp, 0.81, torch.tensor([[1.0, 0.5]]))
    assert left[0, 0, 0, 0] == pytest.approx(0, abs=1e-3)
    assert right[0, 0, 0, -1] == pytest.approx(1, abs=1e-3)


def test_no_saturation_is_grey():
    images = pictures().permute(0, 3, 1, 2).float() / 255
    without = stretch(images, grey(images), torch.zeros(3))
    assert torch.allclose(without, grey(images).expand_as(images))


@pytest.mark.parametrize("turn", [0.0, 0.05, 1 / 3, -0.4])
def test_hue_turns_as_in_the_standard_library(turn):
    images = pictures(count=2, side=8).permute(0, 3, 1, 2).float() / 255
    images[0, :, 0, 0] = torch.tensor([0.5, 0.5, 0.5])  # grey has no hue and must stay
    turned = turn_hue(images, torch.full((2,), turn))
    colours = torch.stack([images, turned]).permute(1, 3, 4, 0, 2).reshape(-1, 2, 3)
    for before, after in colours:
        hue, saturation, value = colorsys.rgb_to_hsv(*before.tolist())
        assert after.tolist() == pytest.approx(colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value), abs=1e-5)


def test_a_third_of_the_circle_makes_green_of_red():
    red = torch.tensor([1.0, 0.0, 0.0]).reshape(1, 3, 1, 1)
    assert turn_hue(red, torch.tensor([1 / 3])).flatten().tolist() == pytest.approx([0, 1, 0], abs=1e-6)
