from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.baselines.openvla.golden import each_golden
from vlagen.baselines.openvla.configuration import OpenVLAConfig
from vlagen.baselines.openvla.images import PIPELINE_KEY, PIPELINES, BadImage, BadProcessor, ImageProcessor
from vlagen.baselines.openvla.layout import preprocessor_json
from vlagen.baselines.openvla.tiny import tiny_config

HALF = (0.5, 0.5, 0.5)
UNROUNDED = {"means": ((0.485, 0.456, 0.406), HALF), "stds": ((0.229, 0.224, 0.225), HALF)}
GREY_LEVEL = 2 / 255
"""One grey level, where mean and deviation are 0.5."""


def processor(**changes) -> ImageProcessor:
    return replace(ImageProcessor(size=28, means=(HALF,), stds=(HALF,), pipeline="official"), **changes)


def pictures(height: int, width: int, count: int = 1) -> np.ndarray:
    """Smooth pictures, so that libraries that round at different moments agree to a grey level or two."""
    rows, columns = np.mgrid[:height, :width] / max(height, width)
    waves = [np.sin(6 * rows + 3 * columns + phase + number) for number in range(count) for phase in range(3)]
    return (127 + 100 * np.stack(waves, -1).reshape(height, width, count, 3)).astype(np.uint8).transpose(2, 0, 1, 3)


def close(actual: torch.Tensor, expected: np.ndarray, tolerance: float) -> None:
    np.testing.assert_allclose(actual.numpy(), expected, rtol=0, atol=tolerance)


@each_golden()
def test_official_pixels_are_upstreams_to_the_last_bit(golden):
    official = ImageProcessor.from_checkpoint(golden.folder, "official")
    for sample in golden.samples:
        pixels = official(golden.image(sample)[None])[0, :, ::8, ::8]
        name = f"pixel_values_sub8_{sample}"
        expected = golden.outputs[name if name in golden.outputs else f"s{sample}_pixel_values_sub8"]
        np.testing.assert_array_equal(pixels.numpy(), expected)


@each_golden(array="pixel_values_letterbox_sub8_0")
@pytest.mark.parametrize("strategy", ["letterbox", "resize-crop"])
def test_other_strategies_are_upstreams_to_the_last_bit(golden, strategy):
    official = ImageProcessor.from_checkpoint(golden.folder, "official")
    official = replace(official, strategy=strategy, **UNROUNDED)
    for sample in golden.samples:
        name = f"pixel_values_{strategy}_sub8_{sample}"
        if name in golden.outputs:
            pixels = official(golden.image(sample)[None])[0, :, ::8, ::8]
            np.testing.assert_array_equal(pixels.numpy(), golden.outputs[name])


@each_golden(array="tensor_resize_sub8_0")
def test_tensors_are_resized_as_in_upstreams_roll_outs(golden):
    official = ImageProcessor.from_checkpoint(golden.folder)
    for sample in golden.samples:
        resized = official.tensors(golden.image(sample)[None])[0, :, ::8, ::8]
        close(resized, golden.outputs[f"tensor_resize_sub8_{sample}"], 5e-3)


@each_golden(array="pixel_values_sub8_0")
def test_resized_pictures_are_pils_to_the_last_bit(golden):
    official = ImageProcessor.from_checkpoint(golden.folder, "official")
    for sample in golden.samples:
        if f"resized_u8_{sample}" in golden.inputs:
            resized = official.resize(golden.image(sample)[None])[0]
            np.testing.assert_array_equal(resized.numpy(), golden.inputs[f"resized_u8_{sample}"])


@each_golden()
def test_a_configuration_makes_the_processor_that_its_file_describes(golden):
    config = OpenVLAConfig.from_json(golden.json("config.json"))
    made, read = ImageProcessor.from_config(config), ImageProcessor.from_checkpoint(golden.folder)
    assert (made.size, made.strategy, made.fill) == (read.size, read.strategy, read.fill)
    assert (len(made.means), len(made.stds)) == (len(read.means), len(read.stds))


@pytest.mark.parametrize("pipeline", PIPELINES)
@pytest.mark.parametrize("strategy", ["resize-naive", "resize-crop", "letterbox"])
def test_a_picture_does_not_depend_on_its_batch(pipeline, strategy):
    make = processor(pipeline=pipeline, strategy=strategy)
    batch = pictures(48, 64, count=9)
    together = make(batch)
    assert together.shape == (9, 3, 28, 28)
    assert together.dtype == torch.float32
    for number, picture in enumerate(batch):
        torch.testing.assert_close(make(picture[None])[0], together[number], rtol=0, atol=0)


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_a_plain_grey_stays_what_it_is(pipeline):
    grey = np.full((2, 60, 80, 3), 51, dtype=np.uint8)
    close(processor(pipeline=pipeline)(grey), np.full((2, 3, 28, 28), 2 * 0.2 - 1), 4e-3)  # bfloat16 has 8 bits


@pytest.mark.parametrize("pipeline", ["paper", "canonical", "bridge"])
def test_pipelines_agree_on_smooth_pictures_to_a_few_grey_levels(pipeline):
    seen = pictures(96, 128)
    official = processor()(seen)
    difference = (processor(pipeline=pipeline)(seen) - official).abs().max()
    assert difference < 4 * GREY_LEVEL


def test_what_is_stored_for_training_is_what_a_roll_out_shows():
    make = processor(pipeline="canonical")
    camera = pictures(48, 64, count=3)
    stored = make.resize(camera)
    assert stored.dtype == torch.uint8
    torch.testing.assert_close(make.normalise(stored), make(camera), rtol=0, atol=0)
    torch.testing.assert_close(make.resize(torch.from_numpy(camera)), stored, rtol=0, atol=0)


def test_overshooting_edges_are_clamped_in_canonical_and_not_in_paper():
    edge = np.zeros((1, 56, 56, 3), dtype=np.uint8)
    edge[:, :, 28:] = 255
    assert processor(pipeline="paper")(edge).max() > 1.01
    assert processor(pipeline="canonical")(edge).max() == 1.0


def test_paper_is_in_bfloat16_throughout():
    pixels = processor(pipeline="paper")(pictures(48, 64))
    torch.testing.assert_close(pixels, pixels.bfloat16().float(), rtol=0, atol=0)


def test_letterbox_bars_have_the_last_backbones_mean():
    make = ImageProcessor(size=28, means=((0.1, 0.2, 0.3), (0.5, 0.6, 0.7)), stds=(HALF, HALF), strategy="letterbox")
    white = np.full((1, 28, 56, 3), 255, dtype=np.uint8)
    bar = make.with_pipeline("official").resize(white)[0, 0, 0]
    assert bar.tolist() == [127, 153, 178]
    pixels = make.with_pipeline("official")(white)[0, :, 0, 0]
    levels, means = np.array([127, 153, 178] * 2), np.array([0.1, 0.2, 0.3, 0.5, 0.6, 0.7])
    close(pixels, (levels / 255 - means) / 0.5, 1e-6)


@pytest.mark.parametrize("pipeline", ["official", "canonical"])
def test_resize_crop_keeps_the_middle(pipeline):
    striped = np.zeros((1, 28, 84, 3), dtype=np.uint8)
    striped[:, :, 28:56] = 200
    middle = processor(pipeline=pipeline, strategy="resize-crop").resize(striped)
    assert (middle == 200).all()


def test_bridge_crop_shows_the_middle_nine_tenths():
    # A ramp of one grey level a pixel: the corners of the crop lie (1 - sqrt(0.9)) / 2 of the way in.
    ramp = np.broadcast_to(np.arange(201, dtype=np.uint8)[None, :, None], (201, 201, 3))[None]
    make = processor(size=201, pipeline="bridge-crop")
    seen = make.resize(ramp)[0, 100, :, 0].numpy().astype(float)
    inset = 200 * (1 - np.sqrt(0.9)) / 2
    np.testing.assert_allclose(seen[[0, 100, 200]], [inset, 100, 200 - inset], atol=1.5)


def test_pictures_of_several_sizes_can_be_given_as_a_list():
    make = processor()
    mixed = [pictures(48, 64)[0], pictures(30, 30)[0]]
    torch.testing.assert_close(make(mixed)[1], make(mixed[1][None])[0], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros((1, 48, 64, 3), dtype=np.float32), "type float32; allowed: uint8"),
        (np.zeros((48, 64, 3), dtype=np.uint8), r"shape \(48, 64, 3\); allowed: \(B, height, width, 3\)"),
        (np.zeros((1, 3, 48, 64), dtype=np.uint8), r"shape \(1, 3, 48, 64\)"),
        (np.zeros((1, 0, 64, 3), dtype=np.uint8), r"shape \(1, 0, 64, 3\)"),
    ],
)
def test_what_is_no_picture_is_refused(wrong, message):
    with pytest.raises(BadImage, match=message):
        processor()(wrong)


def test_a_processor_that_cannot_be_is_refused(tmp_path):
    with pytest.raises(BadProcessor, match="did you mean 'canonical'"):
        processor(pipeline="cannonical")
    with pytest.raises(BadProcessor, match="unknown image resize strategy 'squash'"):
        processor(strategy="squash")
    with pytest.raises(BadProcessor, match="is missing; copy it"):
        ImageProcessor.from_checkpoint(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text("{}")
    with pytest.raises(BadProcessor, match="does not describe OpenVLA's image processor"):
        ImageProcessor.from_checkpoint(tmp_path)
    with pytest.raises(BadProcessor, match="no whole grey levels; take canonical"):
        processor(pipeline="paper").resize(pictures(48, 64))
    with pytest.raises(BadImage, match=r"shape \(1, 48, 64, 3\); allowed: \(B, 28, 28, 3\)"):
        processor().normalise(pictures(48, 64))


def test_a_checkpoint_names_its_pipeline_and_a_caller_overrules_it():
    entries = preprocessor_json(tiny_config())
    assert ImageProcessor.from_json(entries).pipeline == "paper"
    entries[PIPELINE_KEY] = "canonical"
    assert ImageProcessor.from_json(entries).pipeline == "canonical"
    assert ImageProcessor.from_json(entries, "official").pipeline == "official"
