"""Weights spread over several processes (FSDP2), and put together again.

Accelerate starts the processes and wraps models for plain data parallelism. Sharding is PyTorch's own ``fully_shard``,
called here, because Accelerate's way to it exists on GPUs only, and what trains there is to be tested here.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from vlagen.baselines.openvla.vision import Block


def shard(model: nn.Module, device: torch.device) -> None:
    """Spreads a model's weights over all processes, in place; each layer is put together while it computes.

    Args:
        model: holds layers of Llama and of vision transformers; is called as a whole.
        device: of this process.
    """
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    for module in [*model.modules()]:
        if isinstance(module, LlamaDecoderLayer | Block):
            fully_shard(module, mesh=mesh)
    fully_shard(model, mesh=mesh)


def whole(tensor: Tensor) -> Tensor:
    """A tensor that may be spread over processes, in one piece; all of them must call this."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def spread_like(example: Tensor, tensor: Tensor) -> Tensor:
    """A tensor in one piece, spread over processes as another one is."""
    if not isinstance(example, DTensor):
        return tensor
    return distribute_tensor(tensor.to(example.device), example.device_mesh, example.placements)
