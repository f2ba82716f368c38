"""Vision transformers under timm's parameter names, computed as far as OpenVLA needs them.

OpenVLA takes the output of the last block but one, without a norm and without class and register tokens. The last
block, the final norm and the pooling head are in every checkpoint all the same: they are built, so that a checkpoint
survives loading and saving, and never run.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from vlagen.baselines.openvla.architectures import VisionArchitecture


class Mlp(nn.Module):
    """Two linear layers with an activation between them."""

    def __init__(self, width: int, hidden: int, activation: str = "gelu") -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)
        self.activation = activation

    def forward(self, features: Tensor) -> Tensor:
        """Maps (…, D) to (…, D)."""
        hidden = self.fc1(features)
        # The erf form: the tanh approximation moves logits by more than 0.01.
        hidden = functional.gelu(hidden) if self.activation == "gelu" else hidden * torch.sigmoid(1.702 * hidden)
        return self.fc2(hidden)


class Attention(nn.Module):
    """Self-attention with one projection for queries, keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, features: Tensor) -> Tensor:
        """Maps (B, N, D) to (B, N, D)."""
        joint = self.qkv(features).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (3, B, heads, N, d)
        mixed = functional.scaled_dot_product_attention(*joint)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class LayerScale(nn.Module):
    """A learned factor per feature."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale_factor = nn.Parameter(torch.ones(width))

    def forward(self, features: Tensor) -> Tensor:
        """Maps (…, D) to (…, D)."""
        return features * self.scale_factor


class Block(nn.Module):
    """Attention and MLP, each after a norm and beside a residual."""

    def __init__(self, shape: VisionArchitecture) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(shape.width, eps=shape.norm_eps)
        self.attn = Attention(shape.width, shape.heads)
        self.ls1 = LayerScale(shape.width) if shape.layer_scale else nn.Identity()
        self.norm2 = nn.LayerNorm(shape.width, eps=shape.norm_eps)
        self.mlp = Mlp(shape.width, shape.mlp_width, shape.activation)
        self.ls2 = LayerScale(shape.width) if shape.layer_scale else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        """Maps (B, N, D) to (B, N, D)."""
        features = features + self.ls1(self.attn(self.norm1(features)))
        return features + self.ls2(self.mlp(self.norm2(features)))


class PatchEmbedding(nn.Module):
    """Cuts an image into patches and maps each to a feature vector."""

    def __init__(self, shape: VisionArchitecture) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, shape.width, shape.patch_size, shape.patch_size, bias=not shape.pre_norm)

    def forward(self, image: Tensor) -> Tensor:
        """Maps (B, 3, S, S) to (B, P, D), row by row."""
        return self.proj(image).flatten(2).transpose(1, 2)


class AttentionPool(nn.Module):
    """The parameters of SigLIP's pooling head; nothing computes it."""

    def __init__(self, shape: VisionArchitecture) -> None:
        super().__init__()
        self.latent = nn.Parameter(torch.zeros(1, 1, shape.width))
        self.q = nn.Linear(shape.width, shape.width)
        self.kv = nn.Linear(shape.width, 2 * shape.width)
        self.proj = nn.Linear(shape.width, shape.width)
        self.norm = nn.LayerNorm(shape.width, eps=shape.norm_eps)
        self.mlp = Mlp(shape.width, shape.mlp_width, shape.activation)


class VisionTransformer(nn.Module):
    """One backbone: an image in, the features of its patches out."""

    def __init__(self, shape: VisionArchitecture) -> None:
        super().__init__()
        self.shape = shape
        self.patch_embed = PatchEmbedding(shape)
        positions = shape.patches + (shape.prefix_tokens if shape.position_of_prefix else 0)
        self.pos_embed = nn.Parameter(torch.zeros(1, positions, shape.width))
        if shape.class_token:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, shape.width))
        if shape.register_tokens:
            self.reg_token = nn.Parameter(torch.zeros(1, shape.register_tokens, shape.width))
        if shape.pre_norm:
            self.norm_pre = nn.LayerNorm(shape.width, eps=shape.norm_eps)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.depth))
        self.norm = nn.LayerNorm(shape.width, eps=shape.norm_eps)
        if shape.attention_pool:
            self.attn_pool = AttentionPool(shape)

    @property
    def computed_blocks(self) -> nn.ModuleList:
        """The blocks that features depend on: all but the last."""
        return self.blocks[:-1]

    def forward(self, image: Tensor) -> Tensor:
        """Maps normalised images (B, 3, S, S) to patch features (B, P, D)."""
        features = self.patch_embed(image)
        prefix = [self.cls_token] if self.shape.class_token else []
        prefix += [self.reg_token] if self.shape.register_tokens else []
        prefix = [token.expand(len(image), -1, -1) for token in prefix]
        if self.shape.position_of_prefix:
            features = torch.cat([*prefix, features], dim=1) + self.pos_embed
        else:
            features = torch.cat([*prefix, features + self.pos_embed], dim=1)
        if self.shape.pre_norm:
            features = self.norm_pre(features)
        for block in self.computed_blocks:
            features = block(features)
        return features[:, self.shape.prefix_tokens :]


class VisionBackbone(nn.Module):
    """One vision transformer, or two whose features are joined patch by patch."""

    def __init__(self, shapes: tuple[VisionArchitecture, ...]) -> None:
        super().__init__()
        self.featurizer = VisionTransformer(shapes[0])
        if len(shapes) == 2:
            self.fused_featurizer = VisionTransformer(shapes[1])

    @property
    def transformers(self) -> tuple[VisionTransformer, ...]:
        """The one or two backbones, in the order of their channels."""
        return tuple(self.children())

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Maps (B, C, S, S), three channels per backbone, to (B, P, D)."""
        images = pixel_values.split(3, dim=1)
        pairs = zip(self.transformers, images, strict=True)
        return torch.cat([transformer(image) for transformer, image in pairs], dim=-1)
