"""The critic's head: what a state is worth, read off the policy's hidden states.

Shape, names and inputs are those of RL4VLA (arXiv 2505.19789, section 4.2), so that its heads load. Two things differ.
It computes in float32, as values are sums of rewards and bfloat16 resolves them to 1 in 256. And its weights start as
that code means them to; there, loading the policy afterwards overwrites them with N(0, 0.02), which is a switch here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from vlagen.assets.errors import VlagenError, unknown

ValueInput = Literal["first", "last", "all"]
"""Of which action tokens the head reads the hidden states that predict them (RL4VLA: ``a0``, ``a6``, ``a``)."""

Initialization = Literal["kaiming", "normal"]

FILE = "value_head.safetensors"
HIDDEN = (512, 128)


class BadValueHead(VlagenError, ValueError):
    """A value head that cannot be built, or a file that does not hold one that fits."""


class ValueHead(nn.Module):
    """Three linear layers with GELUs between; the last has no bias.

    Args:
        width: of the language model (H).
        tokens: how many action tokens there are (A).
        reads: ``"first"`` reads the state at the end of the prompt, so a value needs no action; ``"last"`` the state
            that predicts the last action token; ``"all"`` all A of them, side by side.
        initialization: ``"kaiming"`` (fan out), the last layer aside, or ``"normal"``: N(0, 0.02) everywhere.
    """

    def __init__(
        self, width: int, tokens: int, reads: ValueInput = "first", initialization: Initialization = "kaiming"
    ) -> None:
        super().__init__()
        if reads not in ("first", "last", "all"):
            raise BadValueHead(unknown("value head input", reads, ("first", "last", "all")))
        if initialization not in ("kaiming", "normal"):
            raise BadValueHead(unknown("initialization", initialization, ("kaiming", "normal")))
        self.reads: ValueInput = reads
        self.head_l1 = nn.Linear(width * tokens if reads == "all" else width, HIDDEN[0])
        self.head_l2 = nn.Linear(*HIDDEN)
        self.head_l3 = nn.Linear(HIDDEN[1], 1, bias=False)
        self.initialize(initialization)

    def initialize(self, initialization: Initialization) -> None:
        """Draws new weights from torch's global generator."""
        for layer in (self.head_l1, self.head_l2):
            nn.init.zeros_(layer.bias)
            if initialization == "kaiming":
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            else:
                nn.init.normal_(layer.weight, std=0.02)
        nn.init.normal_(self.head_l3.weight, std=0.02)

    def forward(self, hidden: Tensor) -> Tensor:
        """Maps hidden states that predict A action tokens (B, A, H) to float32 values (B,)."""
        taken = {"first": hidden[:, 0], "last": hidden[:, -1], "all": hidden.flatten(1)}[self.reads]
        features = functional.gelu(self.head_l1(taken.float()))
        return self.head_l3(functional.gelu(self.head_l2(features)))[:, 0]

    def save(self, folder: str | Path) -> Path:
        """Writes it beside a checkpoint; returns the file."""
        path = Path(folder) / FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        save_file(state, path, metadata={"format": "pt", "reads": self.reads})
        return path

    @classmethod
    def load(cls, source: str | Path, width: int, tokens: int, *, device: torch.device | str = "cpu") -> ValueHead:
        """Reads a head from its file, or from the folder that holds it.

        Args:
            source: file or folder.
            width: of the language model.
            tokens: how many action tokens there are.
            device: where it goes.

        Raises:
            BadValueHead: it is not there, or of another shape.
        """
        path = Path(source)
        path = path / FILE if path.is_dir() else path
        if not path.is_file():
            raise BadValueHead(f"no value head at {path}; start with a new one, or say where it is")
        with safe_open(path, "pt", device=str(device)) as tensors:
            state = {name: tensors.get_tensor(name).float() for name in tensors.keys()}  # noqa: SIM118 - no dictionary
            reads = (tensors.metadata() or {}).get("reads")
        given = {name: tuple(tensor.shape) for name, tensor in state.items()}
        # RL4VLA's files do not say what they read; only "all" can be told by its shape.
        inputs = given.get("head_l1.weight", (0, 0))[-1]
        reads = reads or ("all" if tokens > 1 and inputs == width * tokens else "first")
        head = cls(width, tokens, reads).to(device)
        needed = {name: tuple(tensor.shape) for name, tensor in head.state_dict().items()}
        if given != needed:
            raise BadValueHead(f"{path} holds {given}; needed for width {width} and {tokens} action tokens: {needed}")
        head.load_state_dict(state)
        return head
