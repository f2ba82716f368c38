"""Loads and saves checkpoints in the official layout: sharded safetensors, `config.json`, statistics, tokenizer.

Loading builds the model without memory and hands it the tensors of the files, which are mapped, not copied: a bfloat16
checkpoint costs its own size, once. Nothing is unpickled and no code of a checkpoint is run.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import split_torch_state_dict_into_shards
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vlagen.baselines.openvla.configuration import OpenVLAConfig
from vlagen.baselines.openvla.errors import BadCheckpoint
from vlagen.baselines.openvla.layout import config_json, generation_json, preprocessor_json
from vlagen.baselines.openvla.lora import load_lora, lora_layers, merge_lora
from vlagen.baselines.openvla.model import OpenVLA
from vlagen.baselines.openvla.quantization import Precision, check_precision, quantize_model
from vlagen.baselines.openvla.sources import INDEX, TOKENIZER_FILES, checkpoint_folder, read_json, weight_files

_STATISTICS = "dataset_statistics.json"
# Old Llama files store rotary frequencies, which are computed.
_NEEDLESS = re.compile(r"language_model\.model\.(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq")
_FLOATS = {"BF16", "F16", "F32", "F64"}


def load_config(folder: Path) -> OpenVLAConfig:
    """Reads `config.json`, and `dataset_statistics.json` over its statistics: of one data set, the latter's count.

    Raises:
        BadCheckpoint: a file is missing or damaged.
        BadConfiguration: the configuration asks for what is not built in.
    """
    config = OpenVLAConfig.from_json(read_json(folder / "config.json"))
    statistics = folder / _STATISTICS
    return config.with_norm_stats(read_json(statistics)) if statistics.is_file() else config


def load_model(
    source: str | Path,
    *,
    dtype: torch.dtype = torch.bfloat16,
    device: str | torch.device = "cpu",
    adapter: str | Path | None = None,
    merge: bool = True,
    quantize: Precision | None = None,
    attention: str = "sdpa",
) -> OpenVLA:
    """Loads an OpenVLA checkpoint.

    Args:
        source: its folder, or its id on the Hugging Face hub (`@revision` may follow).
        dtype: of the weights in memory.
        device: where they go.
        adapter: folder or hub id of a LoRA adapter to go with it.
        merge: add the adapter to the weights, which costs nothing afterwards; otherwise it stays beside them.
        quantize: hold the language model's layers in 8 or 4 bits (needs bitsandbytes). An adapter is merged before.
        attention: the language model's attention, see `OpenVLA`.

    Returns:
        The model in evaluation mode.

    Raises:
        BadCheckpoint: no checkpoint is there, or its weights are not those of an OpenVLA model.
        BadConfiguration: the configuration asks for what is not built in.
        BadAdapter: the adapter is none, or is of another model.
        MissingLibrary: `quantize` needs a package that is not installed.
    """
    if quantize is not None:
        check_precision(quantize)
    folder = checkpoint_folder(source)
    device = torch.device(device)
    # A quantized model goes to its device layer by layer, so that the device never holds all of it in full.
    first_device = torch.device("cpu") if quantize else device
    with torch.device("meta"):
        model = OpenVLA(load_config(folder), attention)
    files = weight_files(folder)
    shapes = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
    check_weights(folder, _shapes(files), shapes)
    model.load_state_dict(_read_weights(files, dtype, first_device), strict=True, assign=True)
    model.reset_rotary(first_device)
    model.source, model.origin = folder, str(source)
    if adapter is not None:
        load_lora(model, adapter)
        if merge:
            merge_lora(model)
    if quantize is not None:
        quantize_model(model, quantize, device)
    return model.to(device)


def check_weights(folder: Path, given: Mapping[str, tuple[int, ...]], needed: Mapping[str, tuple[int, ...]]) -> None:
    """Raises ``BadCheckpoint`` unless names and shapes are exactly the model's."""
    missing = [name for name in needed if name not in given]
    extra = [name for name in given if name not in needed]
    other = [
        f"{name} is {list(given[name])}, not {list(shape)}"
        for name, shape in needed.items()
        if name in given and given[name] != shape
    ]
    parts = (("missing", missing), ("not of this model", extra), ("of another shape", other))
    problems = [f"{len(names)} weights {kind}: {_some(names)}" for kind, names in parts if names]
    if problems:
        raise BadCheckpoint(f"{folder} does not hold the model that its config.json describes: {'; '.join(problems)}")


def save_model(
    model: OpenVLA,
    folder: str | Path,
    *,
    norm_stats: Mapping[str, Any] | None = None,
    shard_bytes: int = 7_000_000_000,
    overwrite: bool = False,
) -> None:
    """Writes a checkpoint in the official layout, which upstream's code and `load_model` read.

    The folder appears when it is complete. The tokenizer and the image settings of the checkpoint that the model was
    loaded from go along.

    Args:
        model: one without adapters and not quantized.
        folder: to be made.
        norm_stats: statistics of the training data by data set; they join the configuration's.
        shard_bytes: largest size of a weight file.
        overwrite: replace a folder that is there.

    Raises:
        BadCheckpoint: the folder is there, or the model has weights that the layout has no place for.
    """
    folder = Path(folder)
    if folder.exists() and not overwrite:
        raise BadCheckpoint(f"{folder} exists; choose another folder or pass overwrite=True")
    if lora_layers(model):
        raise BadCheckpoint(
            "the model has LoRA adapters: save_lora writes them, or merge_lora adds them to its weights"
        )
    state = model.state_dict()
    if any(name.endswith((".SCB", ".absmax")) or not weight.is_floating_point() for name, weight in state.items()):
        raise BadCheckpoint("a quantized model cannot be saved: load the checkpoint without quantize and save that")
    config = dataclasses.replace(model.config, dtype=str(model.dtype).removeprefix("torch."))
    config = config.with_norm_stats(norm_stats or {})
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    _write_weights(state, part, shard_bytes)
    _write_companions(config, part, model.source)
    # A folder cannot replace another in one go, so the old one is kept under another name until the new one is there.
    old = folder.with_name(f"{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    part.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _write_weights(state: Mapping[str, Tensor], folder: Path, shard_bytes: int) -> None:
    plan = split_torch_state_dict_into_shards(
        dict(state), filename_pattern="model{suffix}.safetensors", max_shard_size=shard_bytes
    )
    for name, keys in plan.filename_to_tensors.items():
        save_file({key: state[key].contiguous() for key in keys}, folder / name, metadata={"format": "pt"})
    if plan.is_sharded:
        _write_json(folder / INDEX, {"metadata": plan.metadata, "weight_map": plan.tensor_to_filename})


def _write_companions(config: OpenVLAConfig, folder: Path, source: Path | None) -> None:
    _write_json(folder / "config.json", config_json(config))
    if config.norm_stats:
        # All of them: upstream's evaluation takes this file instead of the configuration's statistics.
        _write_json(folder / _STATISTICS, config.norm_stats)
    for name, content in (
        ("preprocessor_config.json", preprocessor_json(config)),
        ("generation_config.json", generation_json(config)),
    ):
        if source is not None and (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
        else:
            _write_json(folder / name, content)
    for name in TOKENIZER_FILES:
        if source is not None and (source / name).is_file():
            shutil.copyfile(source / name, folder / name)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _our_name(name: str) -> str:
    """Returns a weight's name: files not written through transformers call the layer scales `gamma`."""
    return re.sub(r"\.(ls[12])\.gamma$", r".\1.scale_factor", name)


def _open(path: Path, device: torch.device | None = None) -> safe_open:
    try:
        return safe_open(path, "pt", device=str(device or "cpu"))
    except (SafetensorError, OSError) as error:
        size = path.stat().st_size
        raise BadCheckpoint(f"{path} ({size} bytes) is damaged or incomplete ({error}); fetch it again") from error


def _shapes(files: Iterable[Path]) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the weights in some files by our names, read from their headers."""
    shapes = {}
    for path in files:
        with _open(path) as tensors:
            for name in tensors.keys():  # noqa: SIM118 - it can only be listed this way
                part = tensors.get_slice(name)
                if _NEEDLESS.fullmatch(name):
                    continue
                if part.get_dtype() not in _FLOATS:
                    kind = part.get_dtype()
                    raise BadCheckpoint(f"{path}: {name} is of type {kind}: give the checkpoint before quantization")
                shapes[_our_name(name)] = tuple(part.get_shape())
    return shapes


def _read_weights(files: Iterable[Path], dtype: torch.dtype, device: torch.device) -> dict[str, Tensor]:
    state = {}
    for path in files:
        with _open(path, device) as tensors:
            for name in tensors.keys():  # noqa: SIM118 - it can only be listed this way
                if not _NEEDLESS.fullmatch(name):
                    state[_our_name(name)] = tensors.get_tensor(name).to(dtype)
    return state


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
