"""Several processes that train one policy, as ``accelerate launch`` and ``torchrun`` start them.

Reinforcement learning shares its work out and puts the results together again: each process plays some of an update's
episodes, all of them then know all episodes, and each computes its share of every gradient step. So what is learned
is the same for any number of processes, up to the rounding of sums.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed
from torch import Tensor

from vlagen.assets.errors import VlagenError
from vlagen.baselines.sections import ModelSettings
from vlagen.baselines.settings import BadSetting

T = TypeVar("T")

PATIENCE = timedelta(days=2)
"""How long processes wait for each other's episodes. One that dies ends all, as its launcher sees to."""


class OutOfStep(VlagenError):
    """Processes that ought to be alike and are not."""


@dataclass(frozen=True)
class Processes:
    """This process among those that train together; by itself unless ``join`` says otherwise.

    Attributes:
        rank: which it is.
        count: how many there are.
        device: its GPU, empty to leave the choice to the settings.
        talk: the group through which everything but gradients goes, over the CPUs.
    """

    rank: int = 0
    count: int = 1
    device: str = ""
    talk: Any = None

    @property
    def is_main(self) -> bool:
        """Whether this is the one that writes files."""
        return self.rank == 0

    def placed(self, model: ModelSettings) -> ModelSettings:
        """The model's settings with this process's own GPU among several."""
        return replace(model, device=self.device) if self.device else model

    def block(self, items: Sequence[T]) -> Sequence[T]:
        """This process's share: the shares of all, in the order of their ranks, are the whole in its order."""
        first, beyond = (rank * len(items) // self.count for rank in (self.rank, self.rank + 1))
        return items[first:beyond]

    def gathered(self, own: T) -> list[T]:
        """What each process has, in the order of their ranks; all must call this."""
        if self.count == 1:
            return [own]
        found: list[Any] = [None] * self.count
        torch.distributed.all_gather_object(found, own, group=self.talk)
        return found

    def add_gradients(self, weights: Sequence[Tensor]) -> None:
        """Gives each weight the sum of its gradients in all processes; a weight that none has one for gets none."""
        if self.count == 1:
            return
        used = torch.tensor([weight.grad is not None for weight in weights]).int().to(weights[0].device)
        torch.distributed.all_reduce(used)
        moved = [weight for weight, number in zip(weights, used.tolist(), strict=True) if number]
        for kind in dict.fromkeys((weight.dtype, weight.device) for weight in moved):
            alike = [weight for weight in moved if (weight.dtype, weight.device) == kind]
            # One message for all: thousands of small ones take longer.
            pieces = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in alike]
            joined = torch.cat([piece.flatten() for piece in pieces])
            torch.distributed.all_reduce(joined)
            for weight, total in zip(alike, joined.split([weight.numel() for weight in alike]), strict=True):
                weight.grad = total.view_as(weight).clone()

    def check_alike(self, what: str, own: Any) -> None:
        """Checks that all processes have the same.

        Raises:
            OutOfStep: they do not.
        """
        found = self.gathered(own)
        if any(other != found[0] for other in found):
            raise OutOfStep(
                f"the processes differ in {what}: {', '.join(map(str, found))}; they need the same command, the same "
                "code, and a run.out that all of them see"
            )


ALONE = Processes()


def join(device: str) -> Processes:
    """Finds the other processes, if a launcher has started several.

    Args:
        device: what the settings say the model runs on.

    Raises:
        BadSetting: the launcher was told to spread weights over processes.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return ALONE
    spread = (os.environ.get(f"ACCELERATE_USE_{way}", "").lower() for way in ("FSDP", "DEEPSPEED"))
    if any(value in ("1", "true") for value in spread):
        raise BadSetting(
            "reinforcement learning needs the whole model in each process, to act with it; launch without FSDP and "
            "DeepSpeed. What is trained may still be small: model.lora_rank, model.gradient_checkpointing"
        )
    # Imported here because one process alone does without.
    from accelerate import PartialState

    # Told otherwise on a machine without a GPU, Accelerate takes each process for the only one.
    state = PartialState(cpu=device == "cpu" or not torch.cuda.is_available(), timeout=PATIENCE)
    has_gpu = state.device.type != "cpu"
    return Processes(
        rank=state.process_index,
        count=state.num_processes,
        device=str(state.device) if has_gpu else "cpu",
        talk=torch.distributed.new_group(backend="gloo", timeout=PATIENCE) if has_gpu else None,
    )
