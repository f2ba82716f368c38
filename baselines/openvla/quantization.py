"""Weights in 8 or 4 bits, through bitsandbytes, which upstream uses as well. CUDA and CPU.

Only the language model's layers are quantized: nearly all weights are there. The vision backbones, the projector, the
head and adapters keep their precision.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from vlagen.baselines.openvla.errors import BadCheckpoint, MissingLibrary
from vlagen.baselines.openvla.model import OpenVLA

Precision = Literal["int8", "int4"]
# Activations beyond this are multiplied in 16 bits (LLM.int8(), arXiv 2208.07339).
_OUTLIER_THRESHOLD = 6.0


def quantize_model(model: OpenVLA, precision: Precision, device: torch.device | str | None = None) -> None:
    """Replaces the linear layers of the language model by quantized ones, in place and one at a time.

    Args:
        model: with or without adapters; adapters stay as they are, around quantized layers.
        precision: ``"int8"`` (LLM.int8(): rows in 8 bits, outliers of the input in 16) or ``"int4"`` (blocks of 64
            normal floats).
        device: where the quantized layers go, if not where the layers are: so a model can be quantized from main
            memory onto a device that would not hold all of it.

    Raises:
        BadCheckpoint: there is no such precision.
        MissingLibrary: bitsandbytes is not installed.
    """
    check_precision(precision)
    layers = model.language_model.model.layers
    # Names, not layers: a list of layers would keep all weights in memory to the end.
    names = [name for name, layer in layers.named_modules() if type(layer) is nn.Linear and ".lora_" not in name]
    for name in names:
        parent, _, child = name.rpartition(".")
        layer = layers.get_submodule(name)
        quantized = _quantized(layer, precision).to(layer.weight.device if device is None else device)
        setattr(layers.get_submodule(parent), child, quantized)


def check_precision(precision: Precision) -> None:
    """Raises what `quantize_model` raises, before the work of loading a model is done."""
    if precision not in ("int8", "int4"):
        raise BadCheckpoint(f"quantize {precision!r}; allowed: int8, int4")
    try:
        import bitsandbytes  # noqa: F401 - only whether it is there
    except ImportError as error:
        raise MissingLibrary(f"quantize={precision!r} needs bitsandbytes: pip install bitsandbytes") from error


def _quantized(layer: nn.Linear, precision: Precision) -> nn.Linear:
    """Returns a layer that quantizes its weight when it is moved to a device."""
    import bitsandbytes

    weight = layer.weight.detach()
    shape = {"bias": False, "device": "meta"}
    if precision == "int8":
        new = bitsandbytes.nn.Linear8bitLt(
            layer.in_features, layer.out_features, has_fp16_weights=False, threshold=_OUTLIER_THRESHOLD, **shape
        )
        new.weight = bitsandbytes.nn.Int8Params(weight, requires_grad=False, has_fp16_weights=False)
    else:
        new = bitsandbytes.nn.Linear4bit(
            layer.in_features, layer.out_features, compute_dtype=weight.dtype, quant_type="nf4", **shape
        )
        new.weight = bitsandbytes.nn.Params4bit(weight, requires_grad=False, quant_type="nf4")
    return new
