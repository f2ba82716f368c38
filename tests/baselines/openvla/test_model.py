import ast
import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import DynamicCache

from tests.baselines.openvla.golden import SHARED, each_golden
from tests.baselines.openvla.toys import CONFIG, SINGLE, toy_batch, toy_model
from vlagen import baselines
from vlagen.baselines.openvla.checkpoints import load_model
from vlagen.baselines.openvla.configuration import OpenVLAConfig
from vlagen.baselines.openvla.errors import BadInput
from vlagen.baselines.openvla.model import OpenVLA

SHAPES = SHARED / "openvla7b_shapes.json"
LOGITS = {"atol": 1e-3, "rtol": 0}


def golden_logits(model, golden, sample):
    with torch.no_grad():
        return model(
            torch.from_numpy(golden.prompt_ids(sample))[None], torch.from_numpy(golden.pixel_values(sample))[None]
        )[0]


def close(given, expected):
    torch.testing.assert_close(given, torch.from_numpy(expected), **LOGITS)


@each_golden()
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_logits_equal_upstreams(golden, attention):
    model = load_model(golden.folder, dtype=torch.float32, attention=attention)
    for sample in golden.samples:
        logits = golden_logits(model, golden, sample)
        close(logits.logsumexp(-1), golden.outputs[f"s{sample}_lse"])
        close(logits[:, golden.inputs["probe_ids"]], golden.outputs[f"s{sample}_probe_logits"])
        if f"s{sample}_logits_last" in golden.outputs:
            close(logits[-1], golden.outputs[f"s{sample}_logits_last"])


@each_golden(array="s0_last_hidden")
def test_hidden_states_equal_upstreams(golden):
    model = load_model(golden.folder, dtype=torch.float32)
    with torch.no_grad():
        patches = model.project(torch.from_numpy(golden.pixel_values(0))[None])
        hidden = model.hidden(model.embed(torch.from_numpy(golden.prompt_ids(0))[None], patches))
    close(hidden[0], golden.outputs["s0_last_hidden"])


def supervised_loss(model, golden):
    """The mean cross entropy of the labelled tokens of the golden training batch, and the share that is guessed."""
    inputs = {
        name: torch.from_numpy(golden.inputs[f"sft_{name}"]) for name in ("input_ids", "attention_mask", "labels")
    }
    rows = len(inputs["labels"])
    pixel_values = torch.from_numpy(np.stack([golden.pixel_values(sample) for sample in range(rows)]))
    logits = model(inputs["input_ids"], pixel_values, inputs["attention_mask"])
    # Text behind the first token lies behind the patches; the position before a token predicts it.
    predicted, labels = logits[:, model.config.patches : -1], inputs["labels"][:, 1:]
    loss = functional.cross_entropy(predicted.flatten(0, 1), labels.flatten(), ignore_index=-100)
    actions = labels >= model.config.action_token_ids.start
    return loss, (predicted.argmax(-1) == labels)[actions].float().mean()


@each_golden("sft_grad_norms.json", array="sft_loss")
@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "checkpointed"])
def test_the_supervised_loss_and_all_its_gradients_equal_upstreams(golden, checkpointing):
    model = load_model(golden.folder, dtype=torch.float32)
    model.set_checkpointing(checkpointing)
    loss, accuracy = supervised_loss(model, golden)
    assert loss.item() == pytest.approx(float(golden.outputs["sft_loss"]), abs=1e-4)
    assert accuracy.item() == pytest.approx(float(golden.outputs["sft_token_accuracy"]), abs=1e-6)
    loss.backward()
    expected = golden.json("sft_grad_norms.json")
    given = {
        name: None if weight.grad is None else weight.grad.norm().item() for name, weight in model.named_parameters()
    }
    assert {name for name, norm in given.items() if norm is None} == {
        name for name, norm in expected.items() if norm is None
    }
    assert {name for name, norm in given.items() if norm is None} == {name for name in given if model.is_unused(name)}
    numbers = {name: norm for name, norm in expected.items() if norm is not None}
    assert {name: given[name] for name in numbers} == pytest.approx(numbers, rel=1e-3)


@pytest.mark.golden
@pytest.mark.skipif(not SHAPES.is_file(), reason=f"no {SHAPES}")
def test_names_and_shapes_are_those_of_the_published_model():
    expected = json.loads(SHAPES.read_text(encoding="utf-8"))
    with torch.device("meta"):
        model = OpenVLA(
            OpenVLAConfig.from_json(
                {
                    "model_type": "openvla",
                    "vision_backbone_id": "dinosiglip-vit-so-224px",
                    "text_config": {"model_type": "llama", "vocab_size": 32064, "pad_token_id": 32000},
                }
            )
        )
    given = {name: list(weight.shape) for name, weight in model.state_dict().items()}
    assert given == expected
    assert sum(weight.numel() for weight in model.parameters()) == 7_541_237_184
    language = model.language_model.config
    assert (language.rms_norm_eps, language.num_hidden_layers, language.hidden_size) == (1e-6, 32, 4096)


@pytest.mark.parametrize("config", [CONFIG, SINGLE], ids=["fused", "single"])
def test_shapes_of_what_goes_in_and_out(config):
    model, batch = toy_model(config), toy_batch(config)
    with torch.no_grad():
        patches = model.project(batch["pixel_values"])
        embeddings = model.embed(batch["input_ids"], patches)
        logits = model(**batch)
    assert patches.shape == (2, config.patches, config.width)
    assert embeddings.shape == (2, config.patches + 6, config.width)
    assert logits.shape == (2, config.patches + 6, config.head_rows)
    assert logits.dtype == torch.float32


@pytest.mark.parametrize("shape", [(2, 3, 28, 28), (2, 6, 28, 30), (6, 28, 28)])
def test_images_of_another_shape_are_refused(shape):
    with pytest.raises(BadInput, match=r"shape \(.*\); this model takes \(B, 6, 28, 28\)"):
        toy_model().project(torch.zeros(shape))


def test_patches_lie_between_the_first_token_and_the_rest():
    model, batch = toy_model(), toy_batch()
    patches = torch.full((2, CONFIG.patches, CONFIG.width), 7.0)
    embeddings = model.embed(batch["input_ids"], patches)
    text = model.language_model.model.embed_tokens(batch["input_ids"])
    assert torch.equal(embeddings[:, 1 : 1 + CONFIG.patches], patches)
    assert torch.equal(torch.cat([embeddings[:, :1], embeddings[:, 1 + CONFIG.patches :]], dim=1), text)


def test_logits_are_float32_and_depend_on_the_image_in_bfloat16_too():
    model, batch = toy_model().to(torch.bfloat16), toy_batch()
    pixel_values = batch["pixel_values"].to(torch.bfloat16)
    with torch.no_grad():
        logits = model(batch["input_ids"], pixel_values)
        other = model(batch["input_ids"], -pixel_values)
    assert logits.dtype == torch.float32
    assert not torch.equal(logits, other)


def test_padding_on_the_right_changes_no_logit_before_it():
    model, batch = toy_model(), toy_batch(rows=1)
    padded = functional.pad(batch["input_ids"], (0, 3), value=CONFIG.pad_token_id)
    with torch.no_grad():
        alone = model(**batch)
        with_padding = model(padded, batch["pixel_values"], padded != CONFIG.pad_token_id)
    torch.testing.assert_close(with_padding[:, :-3], alone, atol=1e-5, rtol=1e-5)


def test_some_rows_of_the_head_give_the_same_logits_as_all_of_them():
    model = toy_model()
    hidden = torch.randn(2, 3, CONFIG.width, generator=torch.Generator().manual_seed(0))
    rows = slice(CONFIG.action_token_ids.start, CONFIG.action_token_ids.stop)
    torch.testing.assert_close(model.logits(hidden, rows), model.logits(hidden)[..., rows], atol=1e-6, rtol=0)


def test_a_cache_continues_where_it_ended():
    model, batch = toy_model(), toy_batch()
    cache = DynamicCache()
    with torch.no_grad():
        embeddings = model.embed(batch["input_ids"], model.project(batch["pixel_values"]))
        whole = model.hidden(embeddings)
        parts = [model.hidden(part, cache=cache) for part in embeddings.split([7, 1, 2], dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=1e-5, rtol=1e-5)
    assert cache.get_seq_length() == embeddings.shape[1]


@pytest.mark.parametrize("training", [False, True], ids=["evaluation mode", "training mode"])
def test_checkpointing_recomputes_layers_without_changing_gradients(training):
    calls = []

    def gradients(on):
        model = toy_model().train(training)
        model.set_checkpointing(on)
        for layer in (model.language_model.model.layers[0].self_attn, model.vision_backbone.featurizer.blocks[0].attn):
            layer.register_forward_hook(lambda *_: calls.append(on))
        model(**toy_batch()).square().mean().backward()
        return {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}

    kept, computed_again = gradients(False), gradients(True)
    assert (calls.count(False), calls.count(True)) == (2, 4)
    assert kept.keys() == computed_again.keys()
    assert all(torch.equal(kept[name], computed_again[name]) for name in kept)


def test_checkpointing_can_be_switched_off_again_and_leaves_caches_alone():
    model = toy_model()
    model.set_checkpointing(True)
    model.set_checkpointing(True)
    cache = DynamicCache()
    embeddings = model.embed(toy_batch()["input_ids"], model.project(toy_batch()["pixel_values"]))
    model.hidden(embeddings, cache=cache).sum().backward()
    assert cache.get_seq_length() == embeddings.shape[1]
    model.set_checkpointing(False)
    assert not [layer for layer in model.modules() if "forward" in vars(layer)]


def test_a_copied_model_that_checkpoints_uses_its_own_weights():
    model = toy_model()
    model.set_checkpointing(True)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for weight in twin.parameters():
            weight.zero_()
    assert twin(**toy_batch()).abs().max() == 0


def test_rotary_frequencies_stay_in_float32_when_the_model_is_cast():
    model = toy_model()
    before = model.language_model.model.rotary_emb.inv_freq.clone()
    model.to(torch.bfloat16)
    after = model.language_model.model.rotary_emb.inv_freq
    assert after.dtype == torch.float32
    assert torch.equal(after, before)
    assert model.dtype == torch.bfloat16


def test_neither_timm_nor_torchvision_is_imported():
    # Either would bring a second torch with its CUDA packages.
    for path in sorted(Path(baselines.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {"timm", "torchvision"} & {name.split(".")[0] for name in names}, path
