import builtins

import pytest
import torch

from tests.baselines.openvla.toys import CONFIG, toy_batch, toy_model
from vlagen.baselines.openvla.checkpoints import load_model, save_model
from vlagen.baselines.openvla.errors import BadAdapter, BadCheckpoint, MissingLibrary
from vlagen.baselines.openvla.lora import add_lora, lora_parameters, merge_lora, save_lora
from vlagen.baselines.openvla.quantization import quantize_model

PRECISIONS = ("int8", "int4")


def logits(model):
    with torch.no_grad():
        return model(toy_batch()["input_ids"], toy_batch()["pixel_values"].to(model.dtype))


def test_without_the_library_the_message_names_it(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "bitsandbytes":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingLibrary, match="pip install bitsandbytes"):
        quantize_model(toy_model(), "int8")


def test_another_precision_is_turned_down():
    with pytest.raises(BadCheckpoint, match="'int2'; allowed: int8, int4"):
        quantize_model(toy_model(), "int2")


@pytest.fixture
def library():
    return pytest.importorskip("bitsandbytes")


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("precision", PRECISIONS)
def test_layers_of_the_language_model_alone_are_quantized(precision):
    model, plain = toy_model().to(torch.bfloat16), toy_model().to(torch.bfloat16)
    quantize_model(model, precision)
    held = {name: weight for name, weight in model.named_parameters() if weight.dtype in (torch.int8, torch.uint8)}
    assert {name.rpartition(".layers.")[0] for name in held} == {"language_model.model"}
    assert len(held) == 7 * CONFIG.text["num_hidden_layers"]
    others = [name for name, _ in plain.named_parameters() if name not in held]
    assert all(torch.equal(model.get_parameter(name), plain.get_parameter(name)) for name in others)


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(("precision", "error"), [("int8", 0.03), ("int4", 0.3)])
def test_a_quantized_layer_computes_nearly_the_same(precision, error):
    model, plain = toy_model().to(torch.bfloat16), toy_model().to(torch.bfloat16)
    quantize_model(model, precision)
    features = torch.randn(5, CONFIG.width, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    with torch.no_grad():
        given = model.language_model.model.layers[0].self_attn.q_proj(features)
        expected = plain.language_model.model.layers[0].self_attn.q_proj(features)
    assert 0 < (given - expected).abs().max() < error * expected.abs().max()


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_checkpoint_is_loaded_quantized_with_an_adapter_merged_or_beside(tmp_path, precision):
    save_model(toy_model(), tmp_path / "base")
    model = toy_model()
    add_lora(model, rank=2)
    save_lora(model, tmp_path / "adapter")
    alone = load_model(tmp_path / "base", quantize=precision)
    for merge in (True, False):
        both = load_model(tmp_path / "base", quantize=precision, adapter=tmp_path / "adapter", merge=merge)
        # The adapter is new, so it changes nothing.
        torch.testing.assert_close(logits(both), logits(alone))
    assert all(weight.is_floating_point() for weight in lora_parameters(both).values())
    assert logits(alone).isfinite().all()
    with pytest.raises(BadAdapter, match="merge first, then quantize"):
        merge_lora(both)
    with pytest.raises(BadCheckpoint, match="quantized model cannot be saved"):
        save_model(alone, tmp_path / "saved")


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("precision", PRECISIONS)
def test_adapters_are_trained_over_quantized_layers(precision):
    model = toy_model().to(torch.bfloat16)
    quantize_model(model, precision)
    add_lora(model, rank=2)
    model(toy_batch()["input_ids"], toy_batch()["pixel_values"].to(torch.bfloat16)).square().mean().backward()
    outer = {name: weight for name, weight in lora_parameters(model).items() if ".lora_B." in name}
    assert all(weight.grad.abs().sum() > 0 for weight in outer.values())
