"""The policy's options as users give them: each is checked before the gigabytes of a checkpoint are read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from vlagen.assets.errors import unknown
from vlagen.baselines.openvla.errors import BadOption

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


def check_choice(name: str, value: object, allowed: Sequence[object]) -> None:
    """Raises ``BadOption`` unless a value is one of those allowed."""
    if value not in allowed:
        raise BadOption(unknown(name, value, map(str, allowed)))


def check_flags(**flags: object) -> None:
    """Raises ``BadOption`` unless all values are true or false: any text would count as true."""
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise BadOption(f"{name}={value!r}; allowed: true or false")


def check_numbers(**numbers: object) -> None:
    """Raises ``BadOption`` unless all values are finite numbers."""
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
            raise BadOption(f"{name}={value!r}; allowed: a finite number")


def check_count(name: str, value: object) -> None:
    """Raises ``BadOption`` unless a value is a whole number from 1 on."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise BadOption(f"{name}={value!r}; allowed: a whole number from 1 on")


def choose_dtype(name: str, stored: str) -> torch.dtype:
    """Returns the dtype of a name; ``auto`` is the checkpoint's own, or bfloat16 if that is none to compute in.

    Raises:
        BadOption: there is no such dtype.
    """
    check_choice("dtype", name, ("auto", *DTYPES))
    return DTYPES.get(stored, torch.bfloat16) if name == "auto" else DTYPES[name]


def choose_device(name: str) -> torch.device:
    """Returns the device of a name; ``auto`` is a GPU if there is one.

    Raises:
        BadOption: there is no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise BadOption(unknown("device", name, ("auto", "cpu", "cuda", "cuda:0"))) from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise BadOption(f"device {name!r}: this machine has no GPU that torch can use; allowed: auto, cpu")
    return device
