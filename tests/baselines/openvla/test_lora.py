import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.baselines.openvla.golden import SHARED, each_golden
from tests.baselines.openvla.toys import CONFIG, SINGLE, toy_batch, toy_model
from vlagen.baselines.openvla.checkpoints import load_model, save_model
from vlagen.baselines.openvla.configuration import OpenVLAConfig
from vlagen.baselines.openvla.errors import BadAdapter
from vlagen.baselines.openvla.lora import (
    LORA_TARGETS,
    add_lora,
    load_lora,
    lora_layers,
    lora_parameters,
    merge_lora,
    save_lora,
)
from vlagen.baselines.openvla.model import OpenVLA


def adapted_model(dtype=torch.float32, seed=1, **options):
    """A toy with adapters that matter."""
    model = toy_model().to(dtype)
    add_lora(model, rank=2, **options)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in lora_parameters(model).values():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.3)
    return model


def logits(model):
    with torch.no_grad():
        return model(**toy_batch(model.config))


@each_golden("lora_adapter", array="lora_s0_lse")
@pytest.mark.parametrize("merge", [False, True], ids=["beside", "merged"])
def test_logits_with_the_golden_adapter_equal_upstreams(golden, merge):
    model = load_model(golden.folder, dtype=torch.float32, adapter=golden.folder / "lora_adapter", merge=merge)
    assert bool(lora_layers(model)) is not merge
    with torch.no_grad():
        given = model(torch.from_numpy(golden.prompt_ids(0))[None], torch.from_numpy(golden.pixel_values(0))[None])[0]
    for array, part in (
        ("lora_s0_lse", given.logsumexp(-1)),
        ("lora_s0_probe_logits", given[:, golden.inputs["probe_ids"]]),
        ("lora_s0_logits_last_from_31000", given[-1, 31000:]),
    ):
        torch.testing.assert_close(part, torch.from_numpy(golden.outputs[array]), atol=1e-3, rtol=0)


@each_golden("lora_adapter")
def test_a_golden_adapter_survives_a_round_trip(golden, tmp_path):
    model = load_model(golden.folder, adapter=golden.folder / "lora_adapter", merge=False)
    save_lora(model, tmp_path)
    before = load_file(golden.folder / "lora_adapter/adapter_model.safetensors")
    before = {name: weight for name, weight in before.items() if ".base_layer." not in name}
    after = load_file(tmp_path / "adapter_model.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    old, new = (
        golden.json("lora_adapter/adapter_config.json"),
        json.loads((tmp_path / "adapter_config.json").read_text()),
    )
    assert set(new) <= set(old)  # an older peft stops at a key that it does not know
    assert sorted(old["target_modules"]) == new["target_modules"] == sorted(LORA_TARGETS)
    assert (old["r"], old["lora_alpha"]) == (new["r"], new["lora_alpha"])


@pytest.mark.golden
@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no {SHARED}")
def test_adapters_of_the_published_model_are_as_many_as_upstreams():
    config = OpenVLAConfig.from_json({"model_type": "openvla", "vision_backbone_id": "dinosiglip-vit-so-224px"})
    with torch.device("meta"):
        model = OpenVLA(config)
        whole = sum(weight.numel() for weight in model.parameters())
        add_lora(model, rank=32, skip_unused=False)
    assert len(lora_layers(model)) == 439
    assert sum(weight.numel() for weight in lora_parameters(model).values()) == 110_828_288
    assert whole + 110_828_288 == 7_652_065_472


def test_new_adapters_change_nothing_and_alone_are_trained():
    model = toy_model()
    before = logits(model)
    add_lora(model, rank=2)
    assert torch.equal(logits(model), before)
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert trained == set(lora_parameters(model))


def test_all_adapters_of_layers_in_use_get_gradients():
    model = adapted_model()
    model(**toy_batch()).square().mean().backward()
    assert all(weight.grad is not None for weight in lora_parameters(model).values())
    assert not [name for name in lora_layers(model) if model.is_unused(name)]


def test_gradients_of_adapters_are_the_same_with_checkpointing():
    found = []
    for on in (False, True):
        model = adapted_model()
        model.set_checkpointing(on)
        model(**toy_batch()).square().mean().backward()
        found.append([weight.grad for weight in lora_parameters(model).values()])
    assert all(torch.equal(kept, again) for kept, again in zip(*found, strict=True))


def test_upstreams_choice_of_layers_holds_the_unused_ones_too():
    model, other = toy_model(), toy_model()
    add_lora(model, skip_unused=False)
    add_lora(other)
    more = set(lora_layers(model)) - set(lora_layers(other))
    assert more == {name for name in lora_layers(model) if model.is_unused(name)}
    kinds = {name.removeprefix("vision_backbone.") for name in more}
    assert {"featurizer.blocks.2.attn.qkv", "fused_featurizer.attn_pool.kv", "fused_featurizer.attn_pool.q"} <= kinds
    last_parts = {name.rpartition(".")[2] for name in lora_layers(model)}
    assert last_parts == set(LORA_TARGETS)
    assert "vision_backbone.featurizer.patch_embed.proj" in lora_layers(model)


def test_the_outer_matrix_is_scaled_by_alpha_over_rank():
    # One layer by hand: x = (1, 2), A = (1, 1), B = (10, 0), alpha / rank = 3.
    model = toy_model()
    add_lora(model, rank=1, alpha=3)
    layer = model.language_model.lm_head
    with torch.no_grad():
        layer.base_layer.weight.zero_()
        layer.lora_A["default"].weight.zero_()[0, :2] = 1.0
        layer.lora_B["default"].weight.zero_()[0] = 10.0
        hidden = torch.zeros(CONFIG.width)
        hidden[:2] = torch.tensor([1.0, 2.0])
        assert model.logits(hidden)[:2].tolist() == [90.0, 0.0]
        assert model.logits(hidden, slice(0, 2)).tolist() == [90.0, 0.0]


def test_some_rows_of_an_adapted_head_give_the_same_logits():
    model = adapted_model()
    hidden = torch.randn(3, CONFIG.width, generator=torch.Generator().manual_seed(0))
    rows = slice(CONFIG.action_token_ids.start, CONFIG.action_token_ids.stop)
    torch.testing.assert_close(model.logits(hidden, rows), model.logits(hidden)[..., rows], atol=1e-6, rtol=0)


def test_the_same_seed_gives_the_same_adapters_and_leaves_the_global_generator_alone():
    models = [toy_model(), toy_model(), toy_model()]
    state = torch.get_rng_state()
    for model, seed in zip(models, (5, 5, 6), strict=True):
        add_lora(model, rank=4, seed=seed)
    first, again, other = ([*lora_parameters(model).values()] for model in models)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])


def test_inner_matrices_spread_by_one_over_the_rank():
    model = toy_model()
    add_lora(model, rank=8)
    drawn = torch.cat([weight.flatten() for name, weight in lora_parameters(model).items() if ".lora_A." in name])
    assert drawn.std().item() == pytest.approx(1 / 8, rel=0.03)


def test_merging_changes_no_logit_and_makes_the_model_plain_again():
    model = adapted_model()
    before = logits(model)
    assert not torch.allclose(before, logits(toy_model()), atol=0.1)
    merge_lora(model)
    torch.testing.assert_close(logits(model), before, atol=1e-5, rtol=1e-5)
    assert model.state_dict().keys() == toy_model().state_dict().keys()
    assert all(weight.requires_grad for weight in model.parameters())
    add_lora(model, rank=2)  # and can be adapted again
    assert lora_layers(model)


def test_merging_into_bfloat16_rounds_once():
    model = adapted_model(torch.bfloat16)
    layer = model.projector.fc1
    inner, outer = layer.lora_A["default"].weight.double(), layer.lora_B["default"].weight.double()
    exact = layer.base_layer.weight.double() + outer @ inner * 8  # alpha 16 over rank 2
    merge_lora(model)
    assert torch.equal(model.projector.fc1.weight, exact.to(torch.bfloat16))


def test_adapters_of_a_bfloat16_model_are_float32_unless_asked_otherwise():
    kinds = []
    for dtype in (torch.float32, None):
        model = toy_model().to(torch.bfloat16)
        add_lora(model, rank=2, dtype=dtype)
        kinds += [{weight.dtype for weight in lora_parameters(model).values()}]
        with torch.no_grad():
            assert model(toy_batch()["input_ids"], toy_batch()["pixel_values"].bfloat16()).dtype == torch.float32
    assert kinds == [{torch.float32}, {torch.bfloat16}]


@pytest.mark.parametrize("skip_unused", [True, False])
def test_saved_adapters_come_back_exactly(tmp_path, skip_unused):
    model = adapted_model(skip_unused=skip_unused)
    save_lora(model, tmp_path / "adapter")
    again = toy_model()
    load_lora(again, tmp_path / "adapter")
    assert torch.equal(logits(again), logits(model))
    assert lora_parameters(again).keys() == lora_parameters(model).keys()
    assert not any(weight.requires_grad for weight in again.parameters())
    trainable = toy_model()
    load_lora(trainable, tmp_path / "adapter", trainable=True)
    assert {name for name, weight in trainable.named_parameters() if weight.requires_grad} == set(
        lora_parameters(again)
    )


def test_no_whole_weights_are_saved_along(tmp_path):
    model = adapted_model()
    save_lora(model, tmp_path)
    names = load_file(tmp_path / "adapter_model.safetensors")
    assert len(names) == 2 * len(lora_layers(model))
    assert all(name.startswith("base_model.model.") and ".lora_" in name for name in names)


def test_peft_itself_reads_what_is_saved(tmp_path):
    import peft

    model = adapted_model(skip_unused=False)  # peft warns of layers that it adapts and the file leaves out
    save_lora(model, tmp_path, base="someone/model")
    again = toy_model()
    wrapped = peft.PeftModel.from_pretrained(again, str(tmp_path))
    with torch.no_grad():
        torch.testing.assert_close(wrapped(**toy_batch()), logits(model), atol=1e-6, rtol=1e-6)
    assert wrapped.peft_config["default"].base_model_name_or_path == "someone/model"


def test_whole_base_weights_in_an_adapter_are_left_aside(tmp_path):
    model = adapted_model()
    save_lora(model, tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    whole = torch.full((CONFIG.head_rows, CONFIG.width), 9.0)
    save_file({**load_file(path), "base_model.model.language_model.lm_head.base_layer.weight": whole}, path)
    again = toy_model()
    load_lora(again, tmp_path)
    assert torch.equal(logits(again), logits(model))


def test_a_checkpoint_is_loaded_with_its_adapter_beside_or_merged(tmp_path):
    model = adapted_model()
    save_lora(model, tmp_path / "adapter")
    save_model(toy_model(), tmp_path / "base")
    options = {"dtype": torch.float32, "adapter": tmp_path / "adapter"}
    beside, merged = load_model(tmp_path / "base", merge=False, **options), load_model(tmp_path / "base", **options)
    assert torch.equal(logits(beside), logits(model))
    torch.testing.assert_close(logits(merged), logits(model), atol=1e-5, rtol=1e-5)
    assert not lora_layers(merged)


def edited(folder, change):
    path = folder / "adapter_model.safetensors"
    state = load_file(path)
    change(state)
    save_file(state, path)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"peft_type": "IA3"}, "peft_type 'IA3' is not built in"),
        ({"use_dora": True}, "use_dora True is not built in"),
        ({"bias": "all"}, "bias 'all' is not built in"),
        ({"modules_to_save": ["lm_head"]}, r"modules_to_save \['lm_head'\] is not built in"),
        ({"r": 3}, r"shape \(2, 12\); shape \(3, 12\) is needed|has shape"),
    ],
)
def test_other_kinds_of_adapters_are_turned_down(tmp_path, settings, words):
    save_lora(adapted_model(), tmp_path)
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))
    with pytest.raises(BadAdapter, match=words):
        load_lora(toy_model(), tmp_path)


def test_an_adapter_of_another_model_names_the_layers(tmp_path):
    save_lora(adapted_model(), tmp_path)
    with pytest.raises(BadAdapter, match=r"layers that the model does not have: projector\.fc3"):
        load_lora(toy_model(SINGLE), tmp_path)


def test_damaged_adapters_say_what_is_wrong(tmp_path):
    save_lora(adapted_model(), tmp_path)
    name = "base_model.model.projector.fc2.lora_B.weight"
    edited(tmp_path, lambda state: state.pop(name))
    with pytest.raises(BadAdapter, match=r"projector\.fc2\.lora_B is missing"):
        load_lora(toy_model(), tmp_path)
    edited(tmp_path, lambda state: state.update({"base_model.model.projector.fc2.weight": torch.zeros(1)}))
    with pytest.raises(BadAdapter, match=r"projector\.fc2\.weight, which is not plain LoRA"):
        load_lora(toy_model(), tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(BadAdapter, match="cannot be read"):
        load_lora(toy_model(), tmp_path)
    path.rename(tmp_path / "adapter_model.bin")
    with pytest.raises(BadAdapter, match=r"no adapter_model\.safetensors; adapter_model\.bin would run code"):
        load_lora(toy_model(), tmp_path)
    with pytest.raises(BadAdapter, match="no folder"):
        load_lora(toy_model(), tmp_path / "elsewhere")


def test_adapters_do_not_stack_and_what_is_not_there_is_not_merged():
    model = adapted_model()
    with pytest.raises(BadAdapter, match="already"):
        add_lora(model)
    merge_lora(model)
    with pytest.raises(BadAdapter, match="no LoRA adapters to merge"):
        merge_lora(model)
    with pytest.raises(BadAdapter, match="save_model writes whole models"):
        save_lora(model, "nowhere")
