"""Supervised fine-tuning, on pictures whose brightness says how far to go."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from tests.baselines.data.toys import demonstration
from tests.baselines.openvla.toys import CONFIG, toy_model
from tests.baselines.toys import LampSimulator
from vlagen.baselines import sft
from vlagen.baselines.agents import NotFinite
from vlagen.baselines.augmentation import Augmentation
from vlagen.baselines.data.codecs import encode
from vlagen.baselines.data.demonstration import BadDemonstrations
from vlagen.baselines.data.feature_statistics import describe
from vlagen.baselines.data.lerobot import Shards
from vlagen.baselines.openvla.policy import OpenVLAPolicy
from vlagen.baselines.openvla.prompts import supervised_batch
from vlagen.baselines.openvla.tiny import make_tiny
from vlagen.baselines.sections import ModelSettings, RunSettings
from vlagen.baselines.settings import BadSetting
from vlagen.baselines.sft_settings import Config, Optimizer, learning_rate
from vlagen.baselines.supervised import Prediction, SupervisedModel, measure
from vlagen.baselines.training import BrokenCheckpoint, read_metrics
from vlagen.benchmark.policy import PolicyEpisode
from vlagen.benchmark.records import RunConflict
from vlagen.tasks.interface import Observation

LEVELS = (20, 90, 160, 230)
"""Grey levels; the action's first number is 0.01 times each one's place, and the rest follows from it."""


def lesson(index: int):
    """An episode of eight frames, each of one grey."""
    levels = np.random.default_rng(index).integers(0, len(LEVELS), 8)
    pictures = np.stack([np.full((32, 48, 3), LEVELS[level], dtype=np.uint8) for level in levels])
    actions = np.zeros((8, 7), dtype=np.float32)
    actions[:, 0] = 0.01 * levels
    actions[:, 1] = -0.02 * levels
    actions[:, 6] = np.where(levels % 2, 1, -1)
    shown = {"pictures": encode(pictures, "png"), "actions": actions}
    return replace(demonstration(index, 8), **shown)


@pytest.fixture(scope="module")
def lessons(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "lessons"
    demonstrations = [lesson(index) for index in range(12)]
    Shards(root, {}).add(demonstrations, [describe(one) for one in demonstrations])
    return root


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    sizes = {"image_size": 28, "vision_width": 16, "vision_depth": 2, "vision_heads": 2, "fused": False}
    return make_tiny(tmp_path_factory.mktemp("tiny") / "tiny", width=32, depth=2, heads=2, hidden=64, **sizes)


@pytest.fixture
def config(tmp_path, lessons, tiny):
    return Config(
        model=ModelSettings(source=str(tiny), lora_rank=0, dtype="float32", device="cpu"),
        adamw=Optimizer(learning_rate=5e-3, batch=16, max_gradient_norm=1.0),
        run=RunSettings(out=tmp_path / "run", updates=6, evaluate_every=0, checkpoint_every=3),
        augmentation=Augmentation(brightness=0.02),
        data=(lessons,),
        held_out=2,
        validate_every=3,
        precision="no",
    )


def weights(run: Path, update: int):
    return load_file(run / f"models/{update:06d}/model/model.safetensors")


def same(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def longer(config, updates, **changes):
    return replace(config, run=replace(config.run, updates=updates, **changes))


def test_the_loss_is_that_of_the_whole_sequence():
    model = toy_model()
    prompts, actions = [[1, 5, 6, 7], [1, 8, 7]], np.array([[115, 120, 127], [112, 112, 126]])
    batch = supervised_batch(prompts, actions, end_id=2, pad_id=CONFIG.pad_token_id)
    pixels = torch.randn(2, 6, 28, 28, generator=torch.Generator().manual_seed(0))
    logits = model(batch.input_ids, pixels, batch.attention_mask)
    patches = CONFIG.patches
    labels = torch.full(logits.shape[:2], -100)
    labels[:, patches:] = batch.labels
    expected = functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    prediction = SupervisedModel(model)(pixels, batch)
    assert float(prediction.loss) == pytest.approx(float(expected), abs=1e-6)
    assert prediction.labels.tolist() == [115, 120, 127, 2, 112, 112, 126, 2]


def test_accuracy_counts_action_tokens_only():
    labels, predicted = torch.tensor([112, 115, 2]), torch.tensor([112, 113, 2])
    centres = torch.linspace(1, -1, 16)  # the first id has the largest value
    prediction = Prediction(torch.tensor(0.0), labels, predicted)
    found = measure(prediction, range(112, 128), centres)
    assert (found.tokens, found.right) == (2, 1)
    assert found.distance == pytest.approx(2 * 2 / 15)
    assert (found + found).values() == {"token_accuracy": 0.5, "action_l1": pytest.approx(2 / 15)}


def test_the_learning_rate_rises_then_falls_along_a_cosine():
    optimizer = Optimizer(learning_rate=1.0, warm_up=4, schedule="cosine")
    rates = [learning_rate(done, optimizer, 12) for done in (0, 1, 3, 4, 8, 12)]
    assert rates == pytest.approx([0.25, 0.5, 1.0, 1.0, 0.5, 0.0])
    assert learning_rate(10**6, Optimizer(learning_rate=0.3), 12) == 0.3


def test_it_learns_what_the_pictures_say_and_the_policy_does_it(config):
    out = sft.main(longer(replace(config, augmentation=Augmentation()), 120, checkpoint_every=0))
    last = read_metrics(out)[-1]
    assert last["held_out/token_accuracy"] > 0.95
    policy = OpenVLAPolicy(str(out / "models/000120/model"), temperature=0.0, dtype="float32", device="cpu")
    policy.reset([PolicyEpisode("put thing 1 on plate", 0)] * len(LEVELS))
    shown = Observation(
        rgb=np.stack([np.full((480, 640, 3), level, dtype=np.uint8) for level in LEVELS]),
        instruction=("put thing 1 on plate",) * len(LEVELS),
        proprioception=np.zeros((len(LEVELS), 8), dtype=np.float32),
        gripper_pose=np.zeros((len(LEVELS), 7), dtype=np.float32),
        step=0,
    )
    actions = np.asarray(policy.act(shown)).reshape(len(LEVELS), 7)
    assert actions[:, 0] == pytest.approx([0, 0.01, 0.02, 0.03], abs=2e-3)
    assert actions[:, 1] == pytest.approx([0, -0.02, -0.04, -0.06], abs=4e-3)


@pytest.mark.parametrize("rank", [0, 2])
def test_a_run_that_was_stopped_ends_with_the_same_weights(config, rank):
    config = replace(config, model=replace(config.model, lora_rank=rank))
    straight = sft.main(config)
    there = replace(config, run=replace(config.run, out=config.run.out.with_name("other")))
    sft.main(longer(there, 3))
    interrupted = sft.main(there)
    assert same(weights(straight, 6), weights(interrupted, 6))
    assert not same(weights(straight, 3), weights(straight, 6))
    lines = [[line[name] for name in ("step", "loss", "gradient_norm")] for line in read_metrics(straight)]
    assert lines == [[line[name] for name in ("step", "loss", "gradient_norm")] for line in read_metrics(interrupted)]


def test_the_saved_model_has_the_statistics_of_the_data(config, lessons):
    out = sft.main(longer(config, 1))
    statistics = json.loads((out / "models/000001/model/dataset_statistics.json").read_text())
    assert list(statistics) == ["sft"]
    kept = np.concatenate([lesson(index).actions for index in range(10)])
    assert statistics["sft"]["action"]["q99"] == pytest.approx(np.quantile(kept, 0.99, axis=0).tolist())
    assert statistics["sft"]["num_trajectories"] == 10


def test_the_models_own_statistics_are_kept_where_asked_for(config):
    out = sft.main(longer(replace(config, statistics="model"), 1))
    assert list(json.loads((out / "models/000001/model/dataset_statistics.json").read_text())) == ["bridge_orig"]


def test_micro_batches_add_up_to_the_batch(config):
    one = sft.main(longer(replace(config, augmentation=Augmentation()), 1))
    optimizer = replace(config.adamw, batch=4, accumulate=4)
    run = replace(config.run, out=config.run.out.with_name("other"), updates=1)
    four = sft.main(replace(config, augmentation=Augmentation(), adamw=optimizer, run=run))
    assert read_metrics(one)[0]["gradient_norm"] == pytest.approx(read_metrics(four)[0]["gradient_norm"], rel=1e-4)
    assert read_metrics(one)[0]["loss"] == pytest.approx(read_metrics(four)[0]["loss"], rel=1e-5)


def test_gradient_checkpointing_changes_nothing(config):
    plain = sft.main(config)
    run = replace(config.run, out=config.run.out.with_name("other"))
    again = sft.main(replace(config, run=run, model=replace(config.model, gradient_checkpointing=True)))
    for name, weight in weights(plain, 6).items():
        assert torch.allclose(weight, weights(again, 6)[name], atol=1e-6), name


def test_episodes_are_played_and_make_a_learning_curve(config, tmp_path):
    run = replace(config.run, evaluate_every=3, evaluate_episodes=8, evaluate_rows=("train",))
    out = sft.main(replace(config, run=run), LampSimulator)
    curve = (out / "learning.csv").read_text().splitlines()
    assert curve[0] == "entry,seed,environment_steps,split,success"
    assert [line.split(",")[:4] for line in curve[1:]] == [
        ["sft", "0", str(float(steps)), "in-distribution"] for steps in (0, 3 * 16, 6 * 16)
    ]


def test_other_settings_in_the_same_folder_are_refused(config):
    sft.main(longer(config, 1))
    with pytest.raises(RunConflict, match=r"adamw.learning_rate is 0.005 there and 0.1 here"):
        sft.main(replace(config, adamw=replace(config.adamw, learning_rate=0.1)))
    cosine = replace(config, adamw=replace(config.adamw, schedule="cosine"))
    sft.main(longer(cosine, 1, out=config.run.out.with_name("cosine")))
    with pytest.raises(RunConflict, match=r"run.updates is 1 there and 6 here"):
        sft.main(longer(cosine, 6, out=config.run.out.with_name("cosine")))


def test_a_checkpoint_of_another_model_or_cut_off_is_refused(config, tiny):
    out = sft.main(longer(config, 3))
    state = out / "checkpoints/0000003/state.safetensors"
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(BrokenCheckpoint, match="delete it to go on from the one before"):
        sft.main(config)


def test_a_loss_that_is_not_a_number_stops_and_keeps_the_batch(config, tiny, tmp_path):
    broken = make_tiny(tmp_path / "broken", image_size=28, fused=False, width=32, depth=1, heads=2)
    path = broken / "model.safetensors"
    from safetensors.torch import save_file

    state = load_file(path)
    state["language_model.model.norm.weight"].fill_(float("nan"))
    save_file(state, path, metadata={"format": "pt"})
    model = replace(config.model, source=str(broken))
    with pytest.raises(NotFinite, match="its batch is kept in"):
        sft.main(replace(config, model=model))
    (kept,) = (config.run.out / "broken").iterdir()
    assert load_file(kept)["pixel_values"].shape == (16, 3, 28, 28)


def test_bad_input_is_refused_before_anything_is_trained(config, tmp_path):
    with pytest.raises(BadSetting, match="data is empty"):
        sft.main(replace(config, data=()))
    with pytest.raises(BadDemonstrations, match="holds no LeRobotDataset"):
        sft.main(longer(replace(config, data=(tmp_path,)), 1, out=tmp_path / "a"))
    with pytest.raises(BadDemonstrations, match="12 held-out episodes of 12"):
        sft.main(longer(replace(config, held_out=12), 1, out=tmp_path / "b"))
    with pytest.raises(BadSetting, match="needs several processes"):
        sft.main(longer(replace(config, sharding="fsdp"), 1, out=tmp_path / "c"))
    with pytest.raises(BadSetting, match="cannot play episodes"):
        sft.main(longer(replace(config, sharding="fsdp"), 1, out=tmp_path / "d", evaluate_every=1))


@pytest.mark.slow
@pytest.mark.parametrize(("sharding", "rank"), [("none", 0), ("fsdp", 0), ("fsdp", 2)])
def test_two_processes_train_as_one_with_twice_the_batch(config, tmp_path, sharding, rank):
    config = replace(config, augmentation=Augmentation(), model=replace(config.model, lora_rank=rank))
    alone = sft.main(config)
    optimizer = replace(config.adamw, batch=8)
    together = replace(config, adamw=optimizer, sharding=sharding, run=replace(config.run, out=tmp_path / "two"))
    launch(longer(together, 3), tmp_path)
    launch(together, tmp_path)
    before, left, right = weights(alone, 3), weights(alone, 6), weights(tmp_path / "two", 6)
    assert left.keys() == right.keys()
    for name in left:
        # Against the way gone: Adam takes a whole step where a gradient is but rounding, so single weights may differ.
        assert (left[name] - right[name]).norm() <= 0.01 * (left[name] - before[name]).norm(), name
    names = ("step", "loss", "token_accuracy")
    for one, two in zip(read_metrics(alone), read_metrics(tmp_path / "two"), strict=True):
        assert [one[name] for name in names] == pytest.approx([two[name] for name in names], rel=1e-3)


def launch(config, folder):
    """Trains in two processes of torchrun."""
    script = folder / "train.py"
    script.write_text(
        "import json, sys\n"
        "from vlagen.baselines import sft\n"
        "from vlagen.baselines.settings import build\n"
        "from vlagen.baselines.sft_settings import Config\n"
        "sft.main(build(Config, json.loads(sys.argv[1])))\n",
        encoding="utf-8",
    )
    values = json.dumps(dataclasses.asdict(config), default=str)
    start = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"]
    done = subprocess.run([*start, str(script), values], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
