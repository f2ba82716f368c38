"""The shapes of the vision transformers that Prismatic, the code base under OpenVLA, offers.

Official files name them by timm ids and leave their shapes to timm. We do not use timm, so they are spelled out here. A
`config.json` may bring shapes of its own under `vision_arch`; miniature models do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vlagen.baselines.openvla.errors import BadConfiguration

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True, kw_only=True)
class VisionArchitecture:
    """The shape of one vision transformer.

    Attributes:
        timm_id: the name that the official file uses for it.
        image_size: side of the square input [px].
        patch_size: side of a patch [px].
        width: features per token.
        depth: blocks in the checkpoint. The last one is stored but never computed: features are the output of the one
            before it.
        heads: attention heads.
        mlp_ratio: hidden width of the MLP over `width`; the product is rounded down.
        class_token: whether a class token precedes the patches.
        register_tokens: how many registers follow the class token.
        position_of_prefix: whether class token and registers have position embeddings, too.
        layer_scale: whether each residual branch has a learned scale.
        attention_pool: whether the checkpoint holds a pooling head (never computed).
        pre_norm: whether a norm follows the embedding; such models (CLIP) have no bias in the patch embedding.
        norm_eps: epsilon of the layer norms.
        activation: ``"gelu"`` (exact) or ``"quick_gelu"``.
        mean: what training images were normalised with, per channel.
        std: as `mean`.
    """

    timm_id: str
    image_size: int
    patch_size: int
    width: int
    depth: int
    heads: int
    mlp_ratio: float = 4.0
    class_token: bool = False
    register_tokens: int = 0
    position_of_prefix: bool = True
    layer_scale: bool = False
    attention_pool: bool = False
    pre_norm: bool = False
    norm_eps: float = 1e-6
    activation: str = "gelu"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    @property
    def prefix_tokens(self) -> int:
        """Tokens before the patches: class token and registers."""
        return int(self.class_token) + self.register_tokens

    @property
    def patches(self) -> int:
        """Patches of one image; what is left over at the right and bottom edge is not seen."""
        return (self.image_size // self.patch_size) ** 2

    @property
    def mlp_width(self) -> int:
        """Hidden units of the MLPs."""
        return int(self.width * self.mlp_ratio)


_SIGLIP = {"mean": HALF, "std": HALF, "attention_pool": True, "image_size": 224}
_SO400M = {**_SIGLIP, "patch_size": 14, "width": 1152, "depth": 27, "heads": 16, "mlp_ratio": 3.7362}
_LARGE = {"width": 1024, "depth": 24, "heads": 16, "class_token": True}
_CLIP = {**_LARGE, "patch_size": 14, "pre_norm": True, "norm_eps": 1e-5, "activation": "quick_gelu"}
_CLIP |= {"mean": CLIP_MEAN, "std": CLIP_STD}

ARCHITECTURES: dict[str, VisionArchitecture] = {
    architecture.timm_id: architecture
    for architecture in (
        VisionArchitecture(
            timm_id="vit_large_patch14_reg4_dinov2.lvd142m",
            image_size=224,
            patch_size=14,
            register_tokens=4,
            position_of_prefix=False,
            layer_scale=True,
            **_LARGE,
        ),
        VisionArchitecture(timm_id="vit_so400m_patch14_siglip_224", **_SO400M),
        VisionArchitecture(timm_id="vit_so400m_patch14_siglip_384", **{**_SO400M, "image_size": 384}),
        VisionArchitecture(timm_id="vit_large_patch14_clip_224.openai", image_size=224, **_CLIP),
        VisionArchitecture(timm_id="vit_large_patch14_clip_336.openai", image_size=336, **_CLIP),
        VisionArchitecture(
            timm_id="vit_large_patch16_224.augreg_in21k_ft_in1k",
            image_size=224,
            patch_size=16,
            mean=HALF,
            std=HALF,
            **_LARGE,
        ),
    )
}
"""Prismatic's vision backbones by timm id; the image size of a file wins over the one here."""

_DINO, _SIGLIP_224 = "vit_large_patch14_reg4_dinov2.lvd142m", "vit_so400m_patch14_siglip_224"
_CLIP_336, _SIGLIP_384 = "vit_large_patch14_clip_336.openai", "vit_so400m_patch14_siglip_384"

BACKBONES: dict[str, tuple[int, tuple[str, ...]]] = {
    "clip-vit-l": (224, ("vit_large_patch14_clip_224.openai",)),
    "clip-vit-l-336px": (336, (_CLIP_336,)),
    "dinov2-vit-l": (224, (_DINO,)),
    "in1k-vit-l": (224, ("vit_large_patch16_224.augreg_in21k_ft_in1k",)),
    "siglip-vit-so400m": (224, (_SIGLIP_224,)),
    "siglip-vit-so400m-384px": (384, (_SIGLIP_384,)),
    "dinoclip-vit-l-336px": (336, (_DINO, _CLIP_336)),
    "dinosiglip-vit-so-224px": (224, (_DINO, _SIGLIP_224)),
    "dinosiglip-vit-so-384px": (384, (_DINO, _SIGLIP_384)),
}
"""Image side [px] and timm ids by `vision_backbone_id`, for a file that leaves them out."""

# What `vision_arch` in a file calls our fields.
_FILE_KEYS = {
    "img_size": "image_size",
    "patch_size": "patch_size",
    "embed_dim": "width",
    "depth": "depth",
    "num_heads": "heads",
    "mlp_ratio": "mlp_ratio",
    "class_token": "class_token",
    "reg_tokens": "register_tokens",
    "layer_scale": "layer_scale",
}
_SELDOM = {"pre_norm": "pre_norm", "norm_eps": "norm_eps"}


def read_architecture(timm_id: str, content: Mapping[str, Any]) -> VisionArchitecture:
    """Reads one entry of `vision_arch`.

    Raises:
        BadConfiguration: it lacks a size, or pools in a way that is not built in.
    """
    pool = content.get("global_pool", "token")
    if pool not in ("token", "map", ""):
        raise BadConfiguration(f"vision_arch of {timm_id}: global_pool {pool!r} is not built in; token and map are")
    keys = _FILE_KEYS | _SELDOM
    fields = {ours: content[theirs] for theirs, ours in keys.items() if theirs in content}
    needed = ("img_size", "patch_size", "embed_dim", "depth", "num_heads")
    missing = [theirs for theirs in needed if theirs not in content]
    if missing:
        raise BadConfiguration(f"vision_arch of {timm_id} lacks {', '.join(missing)}")
    pooled = pool == "map"
    normalisation = {"mean": HALF, "std": HALF} if pooled else {}  # only the SigLIP family pools by attention
    return VisionArchitecture(
        timm_id=timm_id,
        attention_pool=pooled,
        position_of_prefix=not content.get("no_embed_class", False),
        **fields,
        **normalisation,
    )


def write_architecture(architecture: VisionArchitecture) -> dict[str, Any]:
    """Returns an entry of `vision_arch`, which `read_architecture` reads."""
    content = {theirs: getattr(architecture, ours) for theirs, ours in _FILE_KEYS.items()}
    for theirs, ours in _SELDOM.items():
        if getattr(architecture, ours) != getattr(VisionArchitecture, ours):
            content[theirs] = getattr(architecture, ours)
    content["global_pool"] = "map" if architecture.attention_pool else "token"
    content["no_embed_class"] = not architecture.position_of_prefix
    return content
