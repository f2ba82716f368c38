"""LoRA adapters, through peft: on which layers, and how they are added, loaded, merged and saved.

Adapters are injected into the model in place: it stays an `OpenVLA` with all its methods, before and after.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from vlagen.baselines.openvla.errors import BadAdapter, MissingLibrary
from vlagen.baselines.openvla.model import OpenVLA
from vlagen.baselines.openvla.sources import adapter_folder, read_json

if TYPE_CHECKING:
    from peft.tuners.lora import LoraLayer

LORA_TARGETS: tuple[str, ...] = (
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "gate_proj",
    "up_proj",
    "down_proj",
    "lm_head",
    "qkv",
    "proj",
    "fc1",
    "fc2",
    "fc3",
    "q",
    "kv",
)
"""Last parts of the names of the layers that upstream adapts. They are what "all-linear" meant to peft 0.11.1, the
patch embeddings included; to later versions it means something else, so it is never used here."""

_NAME = "default"
_PREFIX = "base_model.model."


def add_lora(
    model: OpenVLA,
    rank: int = 32,
    alpha: float = 16,
    dropout: float = 0.0,
    skip_unused: bool = True,
    *,
    dtype: torch.dtype | None = torch.float32,
    seed: int = 0,
) -> None:
    """Freezes a model and lays new adapters around all its linear layers and patch embeddings, in place.

    New adapters change nothing: the outer matrix is zero, the inner one is drawn from N(0, 1 / rank²).

    Args:
        model: one without adapters.
        rank: inner width. Upstream: 32.
        alpha: the adapter's output is scaled by alpha / rank. Upstream: 16; RLinf: the rank.
        dropout: probability of dropping an input, in training mode only.
        skip_unused: leave out layers that no output depends on (the vision backbones' last blocks and pooling heads).
            Upstream adapts them too; their adapters never get a gradient.
        dtype: of the adapters; None takes the model's. Adam needs float32: a bfloat16 weight swallows small steps.
        seed: of the inner matrices.

    Raises:
        BadAdapter: the model has adapters already.
    """
    names = [name for name in _adaptable(model) if name.rpartition(".")[2] in LORA_TARGETS]
    names = [name for name in names if not (skip_unused and model.is_unused(name))]
    _inject(model, names, {"r": rank, "lora_alpha": alpha, "lora_dropout": dropout})
    generator = torch.Generator().manual_seed(seed)
    for layer in lora_layers(model).values():
        inner, outer = layer.lora_A[_NAME].to(dtype), layer.lora_B[_NAME].to(dtype)
        with torch.no_grad():
            inner.weight.copy_(torch.randn(inner.weight.shape, generator=generator) / rank)
            outer.weight.zero_()


def load_lora(model: OpenVLA, source: str | Path, *, trainable: bool = False) -> None:
    """Lays the adapters of a peft folder or hub id around a model's layers, in place.

    Whole base weights in the file, which old versions of peft saved along with adapters of the head, are left aside.

    Args:
        model: the model that the adapters were trained on, without adapters.
        source: folder or hub id.
        trainable: whether gradients will be needed.

    Raises:
        BadAdapter: it is no LoRA adapter, has features that are not built in, or is of another model.
        BadCheckpoint: the hub does not give it.
    """
    folder = adapter_folder(source)
    settings = read_json(folder / "adapter_config.json")
    _check_settings(folder, settings)
    state = _read_adapter(folder)
    names = sorted({name.rsplit(".lora_", 1)[0] for name in state})
    absent = sorted(set(names) - set(_adaptable(model)))
    if absent:
        raise BadAdapter(f"{folder} adapts layers that the model does not have: {_some(absent)}")
    known = ("r", "lora_alpha", "lora_dropout", "use_rslora", "rank_pattern", "alpha_pattern")
    _inject(model, names, {key: settings[key] for key in known if settings.get(key) is not None})
    for name, layer in lora_layers(model).items():
        for kind, part in (("lora_A", layer.lora_A[_NAME]), ("lora_B", layer.lora_B[_NAME])):
            weight = state.get(f"{name}.{kind}.weight")
            if weight is None or weight.shape != part.weight.shape:
                found = "is missing" if weight is None else f"has shape {tuple(weight.shape)}"
                raise BadAdapter(f"{folder}: {name}.{kind} {found}; shape {tuple(part.weight.shape)} is needed")
            # Float32 adapters beside a bfloat16 model keep their precision.
            part.to(torch.promote_types(weight.dtype, part.weight.dtype))
            part.weight.data.copy_(weight)
            part.weight.requires_grad_(trainable)


def merge_lora(model: OpenVLA) -> None:
    """Adds the adapters to the weights that they adapt and takes them away, in place.

    Sums are formed in float32 and rounded to the weight's precision once. All weights can be trained afterwards.

    Raises:
        BadAdapter: the model has no adapters, or its weights are quantized.
    """
    layers = lora_layers(model)
    if not layers:
        raise BadAdapter("the model has no LoRA adapters to merge")
    for name, layer in layers.items():
        base = layer.get_base_layer()
        if type(base) not in (torch.nn.Linear, torch.nn.Conv2d):
            raise BadAdapter(f"adapters cannot be merged into the quantized layer {name}: merge first, then quantize")
    for name, layer in layers.items():
        base = layer.get_base_layer()
        layer.lora_A.float(), layer.lora_B.float()
        with torch.no_grad():
            base.weight.copy_(base.weight.float() + layer.get_delta_weight(_NAME).float())
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, base)
    del model.peft_config
    model.requires_grad_(True)


def save_lora(model: OpenVLA, folder: str | Path, *, base: str | None = None) -> None:
    """Writes a model's adapters in peft's layout: what `load_lora` and `peft.PeftModel.from_pretrained` read.

    Args:
        model: one with adapters.
        folder: is made; files of the same names are replaced.
        base: hub id or folder of the model that was adapted, for the reader; by default where it was loaded from.

    Raises:
        BadAdapter: the model has no adapters.
    """
    layers = lora_layers(model)
    if not layers:
        raise BadAdapter("the model has no LoRA adapters to save; save_model writes whole models")
    state = {}
    for name, layer in layers.items():
        state[f"{_PREFIX}{name}.lora_A.weight"] = layer.lora_A[_NAME].weight.detach().cpu().contiguous()
        state[f"{_PREFIX}{name}.lora_B.weight"] = layer.lora_B[_NAME].weight.detach().cpu().contiguous()
    config = model.peft_config[_NAME]
    # Only keys that peft has had since 0.11: an old version stops at one that it does not know.
    kept = ("r", "lora_alpha", "lora_dropout", "use_rslora", "rank_pattern", "alpha_pattern", "init_lora_weights")
    settings = {
        **{key: getattr(config, key) for key in kept},
        "peft_type": "LORA",
        "bias": "none",
        "inference_mode": True,
        "base_model_name_or_path": base or model.origin,
        # Readers that match by these also adapt layers that the file leaves out, with outer matrices of zeros: that
        # changes nothing.
        "target_modules": sorted({name.rpartition(".")[2] for name in layers}),
    }
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / "adapter_model.safetensors.part"
    save_file(state, part, metadata={"format": "pt"})
    part.replace(folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(settings, indent=2, sort_keys=True), encoding="utf-8")


def lora_layers(model: OpenVLA) -> dict[str, LoraLayer]:
    """Returns the layers that have adapters, by name, in the model's order."""
    return {name: module for name, module in model.named_modules() if hasattr(module, "lora_A")}


def lora_parameters(model: OpenVLA) -> dict[str, torch.nn.Parameter]:
    """Returns the adapters' matrices, by name."""
    return {name: weight for name, weight in model.named_parameters() if ".lora_" in name}


def _adaptable(model: OpenVLA) -> list[str]:
    kinds = (torch.nn.Linear, torch.nn.Conv2d)
    return [name for name, module in model.named_modules() if isinstance(module, kinds)]


def _inject(model: OpenVLA, names: list[str], settings: dict[str, Any]) -> None:
    """Freezes the model and lays adapters around the layers of these full names."""
    try:
        import peft
    except ImportError as error:
        raise MissingLibrary("LoRA adapters need peft: pip install 'vlagen[openvla]'") from error
    if lora_layers(model):
        raise BadAdapter("the model has LoRA adapters already: merge_lora adds them to its weights")
    config = peft.LoraConfig(target_modules=names, init_lora_weights="gaussian", bias="none", **settings)
    # peft draws from the global generator; what it draws is replaced, and the generator stays where it was.
    with torch.random.fork_rng(devices=[]):
        peft.inject_adapter_in_model(config, model, _NAME)
    assert sorted(lora_layers(model)) == sorted(names)


def _check_settings(folder: Path, settings: dict[str, Any]) -> None:
    refused = {
        "peft_type": settings.get("peft_type", "LORA") != "LORA",
        "bias": settings.get("bias", "none") != "none",
        "modules_to_save": bool(settings.get("modules_to_save")),
        "use_dora": bool(settings.get("use_dora")),
        "layer_replication": bool(settings.get("layer_replication")),
    }
    for key, bad in refused.items():
        if bad:
            raise BadAdapter(f"{folder}: {key} {settings[key]!r} is not built in; plain LoRA is. peft can merge it")


def _read_adapter(folder: Path) -> dict[str, torch.Tensor]:
    """Returns the matrices by our names, e.g. ``projector.fc1.lora_A.weight``."""
    path = folder / "adapter_model.safetensors"
    try:
        content = load_file(path)
    except SafetensorError as error:
        raise BadAdapter(f"{path} cannot be read ({error}); fetch it again") from error
    state = {name.removeprefix(_PREFIX): weight for name, weight in content.items() if ".base_layer." not in name}
    odd = [name for name in state if not name.endswith((".lora_A.weight", ".lora_B.weight"))]
    if odd or not state:
        raise BadAdapter(f"{path} holds {_some(odd) if odd else 'nothing'}, which is not plain LoRA")
    return state


def _some(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
