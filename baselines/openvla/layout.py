"""The files of an official checkpoint folder beside the weights, written from the configuration."""

from __future__ import annotations

from typing import Any

import torch

from vlagen.baselines.openvla.configuration import OpenVLAConfig, is_known

_UPSTREAM = "openvla/openvla-7b--"
_MODEL_CODE = {
    "AutoConfig": f"{_UPSTREAM}configuration_prismatic.OpenVLAConfig",
    "AutoModelForVision2Seq": f"{_UPSTREAM}modeling_prismatic.OpenVLAForActionPrediction",
}
_PROCESSOR_CODE = {
    "AutoImageProcessor": f"{_UPSTREAM}processing_prismatic.PrismaticImageProcessor",
    "AutoProcessor": f"{_UPSTREAM}processing_prismatic.PrismaticProcessor",
}


def config_json(config: OpenVLAConfig) -> dict[str, Any]:
    """Returns `config.json`, with pointers to the code that upstream's loader wants to find (and we never run)."""
    content = config.to_json()
    return {**content, "auto_map": _MODEL_CODE} if _is_official(config) else content


def preprocessor_json(config: OpenVLAConfig) -> dict[str, Any]:
    """Returns `preprocessor_config.json` as upstream's converter writes it.

    The means and deviations in force (`tvf_normalize_params`) are rounded to bfloat16: the converter ran under that
    default, and every official checkpoint was trained and evaluated so.
    """
    side, strategy = config.image_size, config.image_resize_strategy
    fill = [int(255 * mean) for mean in config.vision[-1].mean]  # of the last backbone for both, as upstream
    content = {
        "image_processor_type": "PrismaticImageProcessor",
        "image_resize_strategy": strategy,
        "input_sizes": [[3, side, side] for _ in config.vision],
        "interpolations": ["bicubic" for _ in config.vision],
        "means": [list(each.mean) for each in config.vision],
        "stds": [list(each.std) for each in config.vision],
        "tvf_crop_params": [{"output_size": [side, side]} for _ in config.vision],
        "tvf_do_letterbox": strategy == "letterbox",
        "tvf_letterbox_fill": fill if strategy == "letterbox" else None,
        "tvf_normalize_params": [
            {"inplace": False, "mean": _bfloat16(each.mean), "std": _bfloat16(each.std)} for each in config.vision
        ],
        "tvf_resize_params": [
            {
                "antialias": True,
                "interpolation": 3,  # Pillow's number for bicubic
                "max_size": None,
                "size": [side, side] if strategy == "resize-naive" else side,
            }
            for _ in config.vision
        ],
        "use_fused_vision_backbone": config.fused,
    }
    if _is_official(config):
        content |= {"auto_map": _PROCESSOR_CODE, "processor_class": "PrismaticProcessor"}
    return content


def generation_json(config: OpenVLAConfig) -> dict[str, Any]:
    """Returns `generation_config.json`; begin and end tokens are Llama's unless the configuration says otherwise."""
    return {
        "_from_model_config": True,
        "bos_token_id": config.text.get("bos_token_id", 1),
        "eos_token_id": config.text.get("eos_token_id", 2),
        "pad_token_id": config.pad_token_id,
        "transformers_version": "4.40.1",
    }


def _is_official(config: OpenVLAConfig) -> bool:
    """Whether upstream's code can build the model: it knows the backbones by their names only."""
    return all(is_known(each) for each in config.vision)


def _bfloat16(numbers: tuple[float, ...]) -> list[float]:
    return torch.tensor(numbers, dtype=torch.bfloat16).tolist()
