import json

import numpy as np
import pytest
import torch
from torch.nn import functional

from vlagen.baselines.openvla.checkpoints import load_config, load_model
from vlagen.baselines.openvla.errors import BadCheckpoint
from vlagen.baselines.openvla.processing import Processing
from vlagen.baselines.openvla.prompts import IGNORED
from vlagen.baselines.openvla.tiny import make_tiny, tiny_config, tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tiny(tmp_path_factory.mktemp("checkpoints") / "tiny")


@pytest.fixture(scope="module")
def processing(folder) -> Processing:
    return Processing.from_checkpoint(folder, load_config(folder))


def test_the_folder_has_the_official_files(folder):
    names = {path.name for path in folder.iterdir()}
    assert names >= {"config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json"}
    content = json.loads((folder / "config.json").read_text())
    assert content["model_type"] == "openvla"
    assert content["text_config"]["vocab_size"] - content["pad_to_multiple_of"] == 1024


def test_it_is_small_and_sizes_can_be_chosen(folder):
    weights = sum(weight.numel() for weight in load_model(folder, dtype=torch.float32).parameters())
    assert 300_000 < weights < 3_000_000
    smaller = tiny_model(tiny_config(width=32, heads=2, hidden=64, depth=1, vision_width=32, fused=False))
    assert sum(weight.numel() for weight in smaller.parameters()) < weights / 4
    assert smaller.config.channels == 3
    assert tiny_config(image_size=112, patch_size=14).patches == 64


def test_weights_come_from_the_seed_alone():
    config = tiny_config(depth=1)
    state = torch.random.get_rng_state()
    first = tiny_model(config, 3)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(99)
    for mine, theirs in zip(first.parameters(), tiny_model(config, 3).parameters(), strict=True):
        assert torch.equal(mine, theirs)
    other = tiny_model(config, 4)
    assert not torch.equal(first.projector.fc1.weight, other.projector.fc1.weight)


def test_it_runs_from_picture_and_text_to_logits(folder, processing):
    model = load_model(folder, dtype=torch.float32)
    camera = np.random.default_rng(0).integers(0, 256, (2, 480, 640, 3), dtype=np.uint8)
    batch = processing.supervised(["put carrot on plate", "set the red apple on plate"], np.zeros((2, 7)))
    with torch.no_grad():
        logits = model(batch.input_ids, processing.images(camera), batch.attention_mask)
    assert logits.shape == (2, 36 + batch.input_ids.shape[1], 1088)
    assert logits.isfinite().all()


def test_it_learns_a_few_pictures_by_heart(folder, processing):
    model = load_model(folder, dtype=torch.float32)
    generator = np.random.default_rng(0)
    camera = generator.integers(0, 256, (4, 12, 16, 3), dtype=np.uint8).repeat(8, axis=1).repeat(8, axis=2)
    actions = generator.uniform(processing.normalizer.q01, processing.normalizer.q99, (4, 7))
    batch = processing.supervised(["put carrot on plate"] * 4, actions)  # one text, so the pictures have to tell
    pixels, learned = processing.images(camera), batch.labels[:, 1:] != IGNORED
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(60):
        logits = model(batch.input_ids, pixels, batch.attention_mask)[:, model.config.patches : -1][learned]
        loss = functional.cross_entropy(logits, batch.labels[:, 1:][learned])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.5  # it begins near ln(1088) = 7
    tokens = logits.argmax(dim=-1).reshape(4, 8)
    assert (tokens == batch.labels[:, 1:][learned].reshape(4, 8)).all()


def test_a_folder_that_is_there_is_replaced_only_if_asked_for(tmp_path):
    folder = make_tiny(tmp_path / "twice", depth=1)
    with pytest.raises(BadCheckpoint, match="exists; choose another folder"):
        make_tiny(folder, depth=1)
    make_tiny(folder, depth=1, vocabulary_size=1100, overwrite=True)
    assert load_config(folder).vocabulary_size == 1100
