"""The configuration of an OpenVLA model: what its `config.json` says, as values.

No torch here: a server that only wants to know the image size reads this without it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vlagen.assets.errors import unknown
from vlagen.baselines.openvla.architectures import (
    ARCHITECTURES,
    BACKBONES,
    VisionArchitecture,
    read_architecture,
    write_architecture,
)
from vlagen.baselines.openvla.errors import BadConfiguration

RESIZE_STRATEGIES = ("resize-naive", "resize-crop", "letterbox")

# Keys of the file that become fields under the same name.
_SAME_NAME = (
    "pad_to_multiple_of",
    "pad_token_id",
    "image_resize_strategy",
    "llm_max_length",
    "vision_backbone_id",
    "llm_backbone_id",
    "hf_llm_id",
    "arch_specifier",
)
# Upstream's values for what a file leaves out, where they differ from ours (which are openvla-7b's).
_LEFT_OUT = {
    "vision_backbone_id": "siglip-vit-so400m",
    "llm_backbone_id": "vicuna-v15-7b",
    "hf_llm_id": "lmsys/vicuna-7b-v1.5",
    "arch_specifier": "no-align+gelu-mlp",
    "image_resize_strategy": "letterbox",
}
_ELSEWHERE = {
    "model_type",
    "architectures",
    "text_config",
    "norm_stats",
    "n_action_bins",
    "timm_model_ids",
    "timm_override_act_layers",
    "image_sizes",
    "use_fused_vision_backbone",
    "vision_arch",
    "torch_dtype",
    "dtype",
}


@dataclass(frozen=True, kw_only=True)
class OpenVLAConfig:
    """Everything of an official `config.json` that matters here.

    Attributes:
        vision: one backbone, or two whose features are joined.
        text: what the file says about the language model; all else is `LlamaConfig`'s default.
        pad_to_multiple_of: rows that pad the vocabulary; the action ids end before them.
        pad_token_id: fills up text that is shorter than its batch.
        action_bins: how many values an action token can take.
        norm_stats: statistics of the training data by data set, for un-normalising actions.
        image_resize_strategy: ``"resize-naive"``, ``"resize-crop"`` or ``"letterbox"``.
        llm_max_length: longest text in tokens.
        vision_backbone_id, llm_backbone_id, hf_llm_id, arch_specifier: names that upstream's code goes by.
        dtype: of the weights in the checkpoint, e.g. ``"bfloat16"``.
        rest: what else the file says; kept for writing it again.
    """

    vision: tuple[VisionArchitecture, ...]
    text: dict[str, Any]
    pad_to_multiple_of: int = 64
    pad_token_id: int = 32000
    action_bins: int = 256
    norm_stats: dict[str, Any] = field(default_factory=dict)
    image_resize_strategy: str = "resize-naive"
    llm_max_length: int = 2048
    vision_backbone_id: str = "dinosiglip-vit-so-224px"
    llm_backbone_id: str = "llama2-7b-pure"
    hf_llm_id: str = "meta-llama/Llama-2-7b-hf"
    arch_specifier: str = "no-align+fused-gelu-mlp"
    dtype: str = "bfloat16"
    rest: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Checks that the backbones go together."""
        if len(self.vision) not in (1, 2):
            raise BadConfiguration(f"a model has one vision backbone or two, not {len(self.vision)}")
        if len({(each.image_size, each.patches) for each in self.vision}) != 1:
            sizes = ", ".join(f"{each.timm_id}: {each.image_size} px, {each.patches} patches" for each in self.vision)
            raise BadConfiguration(f"both vision backbones must cut the same image into as many patches: {sizes}")

    @property
    def fused(self) -> bool:
        """Whether there are two vision backbones."""
        return len(self.vision) == 2

    @property
    def image_size(self) -> int:
        """Side of the square image that each backbone sees [px]."""
        return self.vision[0].image_size

    @property
    def channels(self) -> int:
        """Channels of `pixel_values`: three per backbone."""
        return 3 * len(self.vision)

    @property
    def patches(self) -> int:
        """How many positions of the sequence are image (P)."""
        return self.vision[0].patches

    @property
    def vision_width(self) -> int:
        """Features per patch, of all backbones together (D)."""
        return sum(each.width for each in self.vision)

    @property
    def width(self) -> int:
        """Width of the language model (H)."""
        return self.text.get("hidden_size", 4096)

    @property
    def head_rows(self) -> int:
        """Rows of the head and of the embedding table (V), padding included."""
        return self.text.get("vocab_size", 32064)

    @property
    def vocabulary_size(self) -> int:
        """Rows that stand for tokens; the last `action_bins` of them are the actions."""
        return self.head_rows - self.pad_to_multiple_of

    @property
    def action_token_ids(self) -> range:
        """The ids of action tokens, in increasing order (so the first stands for the largest value)."""
        return range(self.vocabulary_size - self.action_bins, self.vocabulary_size)

    def with_norm_stats(self, norm_stats: Mapping[str, Any]) -> OpenVLAConfig:
        """Returns this with statistics merged in; those given win over those of the same name."""
        return dataclasses.replace(self, norm_stats={**self.norm_stats, **norm_stats})

    def architecture(self) -> OpenVLAConfig:
        """Returns this without statistics: two models of equal architecture can share weights."""
        return dataclasses.replace(self, norm_stats={}, rest={})

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> OpenVLAConfig:
        """Reads the content of an official `config.json`, as written by transformers 4 or 5.

        Raises:
            BadConfiguration: it is of another model, or asks for what is not built in.
        """
        kind = content.get("model_type")
        if kind != "openvla":
            raise BadConfiguration(f"model_type is {kind!r}, so this is no OpenVLA model (model_type 'openvla')")
        fields = {key: content.get(key, _LEFT_OUT.get(key)) for key in _SAME_NAME if key in content or key in _LEFT_OUT}
        if fields["image_resize_strategy"] not in RESIZE_STRATEGIES:
            raise BadConfiguration(unknown("image_resize_strategy", fields["image_resize_strategy"], RESIZE_STRATEGIES))
        return cls(
            vision=_read_vision(content, fields["vision_backbone_id"]),
            text=_read_text(content.get("text_config") or {}),
            action_bins=content.get("n_action_bins", 256),
            norm_stats=dict(content.get("norm_stats") or {}),
            dtype=_dtype(content, "bfloat16"),
            rest={key: value for key, value in content.items() if key not in _ELSEWHERE and key not in _SAME_NAME},
            **fields,
        )

    def to_json(self) -> dict[str, Any]:
        """Returns the content of a `config.json` in the layout that upstream's own code reads (transformers 4.40)."""
        content = {
            **self.rest,
            **{key: getattr(self, key) for key in _SAME_NAME},
            "model_type": "openvla",
            "architectures": ["OpenVLAForActionPrediction"],
            "use_fused_vision_backbone": self.fused,
            "timm_model_ids": [each.timm_id for each in self.vision],
            "timm_override_act_layers": [
                None if each.activation == "gelu" else each.activation for each in self.vision
            ],
            "image_sizes": [each.image_size for each in self.vision],
            "text_config": {"model_type": "llama", **_plain_rope(self.text), "torch_dtype": self.dtype},
            "n_action_bins": self.action_bins,
            "norm_stats": self.norm_stats,
            "torch_dtype": self.dtype,
        }
        if not all(is_known(each) for each in self.vision):
            content["vision_arch"] = [write_architecture(each) for each in self.vision]
        return dict(sorted(content.items()))


def _dtype(content: Mapping[str, Any], default: str) -> str:
    """Returns the name of the dtype: transformers 5 writes `dtype`, 4 wrote `torch_dtype`."""
    return str(content.get("dtype") or content.get("torch_dtype") or default).removeprefix("torch.")


def _read_text(content: Mapping[str, Any]) -> dict[str, Any]:
    kind = content.get("model_type", "llama")
    if kind != "llama":
        raise BadConfiguration(f"the language model is of type {kind!r}; only llama is built in")
    text = {key: value for key, value in content.items() if key not in ("model_type", "dtype", "torch_dtype")}
    return {"vocab_size": 32064, "pad_token_id": 32000, **text}


def _plain_rope(text: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the language model's settings with the rotary ones as transformers 4 names them."""
    plain = {key: value for key, value in text.items() if key != "rope_parameters"}
    rope = dict(text.get("rope_parameters") or {})
    if "rope_theta" in rope:
        plain["rope_theta"] = rope.pop("rope_theta")
    if rope.get("rope_type", "default") != "default":
        plain["rope_scaling"] = rope
    return plain


def is_known(architecture: VisionArchitecture) -> bool:
    """Whether upstream's code knows a backbone by its name, image size and activation aside."""
    named = ARCHITECTURES.get(architecture.timm_id)
    if named is None:
        return False
    return (
        dataclasses.replace(named, image_size=architecture.image_size, activation=architecture.activation)
        == architecture
    )


def _read_vision(content: Mapping[str, Any], backbone_id: str) -> tuple[VisionArchitecture, ...]:
    side, ids = BACKBONES.get(backbone_id, (None, None))
    ids = content.get("timm_model_ids") or ids
    if ids is None:
        raise BadConfiguration(unknown("vision_backbone_id", backbone_id, BACKBONES))
    fused = content.get("use_fused_vision_backbone")
    if fused is not None and fused != (len(ids) == 2):
        raise BadConfiguration(f"use_fused_vision_backbone is {fused}, but timm_model_ids names {list(ids)}")
    sizes = content.get("image_sizes") or ([side] * len(ids) if side else None)
    spelled_out = content.get("vision_arch") or [None] * len(ids)
    activations = content.get("timm_override_act_layers")
    if sizes is None or not len(ids) == len(sizes) == len(spelled_out) == len(activations or ids):
        lists = "image_sizes, vision_arch and timm_override_act_layers"
        raise BadConfiguration(f"{lists} must have an entry for each of {list(ids)}, where they are given")
    found = []
    for number, (timm_id, size, entry) in enumerate(zip(ids, sizes, spelled_out, strict=True)):
        architecture = ARCHITECTURES.get(timm_id) if entry is None else read_architecture(timm_id, entry)
        if architecture is None:
            raise BadConfiguration(
                f"{unknown('vision backbone', timm_id, ARCHITECTURES)}; spell its shape out under 'vision_arch'"
            )
        # Null in the list means timm's default, which is the exact form; no list leaves it to the backbone's name.
        activation = (activations[number] or "gelu") if activations else architecture.activation
        if activation not in ("gelu", "quick_gelu"):
            raise BadConfiguration(unknown("activation", activation, ("gelu", "quick_gelu")))
        found.append(dataclasses.replace(architecture, image_size=size, activation=activation))
    return tuple(found)
