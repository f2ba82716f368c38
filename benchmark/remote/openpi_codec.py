"""openpi's and RoboArena's serialisation: msgpack, with arrays and scalars as maps that have bytes as keys.

Written from the wire: ``{b"__ndarray__": True, b"data", b"dtype", b"shape"}`` and ``{b"__npgeneric__": True, b"data",
b"dtype"}`` (openpi-client 0.1, ``msgpack_numpy.py``). openpi-client itself pins numpy below 2.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vlagen.benchmark.remote import packing
from vlagen.benchmark.remote.arrays import array_of, parse_dtype
from vlagen.benchmark.remote.limits import DEFAULT_LIMITS, Budget, Limits, WireError, unpack

_ARRAY, _SCALAR = b"__ndarray__", b"__npgeneric__"


def pack(value: Any) -> bytes:
    """Encodes maps, lists, texts, numbers and numpy's arrays and scalars.

    Raises:
        WireError: something else is in it.
    """
    return packing.pack(value, describe)


def decode(data: bytes, limits: Limits = DEFAULT_LIMITS) -> Any:
    """Decodes what ``pack`` makes, and what openpi's own code does.

    Raises:
        WireError: it is no such thing.
    """
    return unpack(data, limits, _revive)


def describe(value: Any) -> Any:
    """Turns numpy's arrays and scalars into maps; for ``packing``."""
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind not in "biuf":
        raise WireError(f"an array has dtype {value.dtype}; allowed: booleans, integers and floats")
    if isinstance(value, np.ndarray):
        # The array's own memory where it is in one piece: a picture is copied once, into the message.
        data = np.ascontiguousarray(value).data if value.size else b""
        return {_ARRAY: True, b"data": data, b"dtype": value.dtype.str, b"shape": value.shape}
    if isinstance(value, np.generic):
        return {_SCALAR: True, b"data": value.item(), b"dtype": value.dtype.str}
    raise WireError(f"a {type(value).__name__} cannot be sent")


def _revive(entries: dict, _budget: Budget) -> Any:
    if _ARRAY in entries:
        return array_of(entries.get(b"data"), _name(entries), _list(entries.get(b"shape")))
    if _SCALAR in entries:
        return _scalar(entries)
    return entries


def _name(entries: dict) -> Any:
    name = entries.get(b"dtype")
    return name.decode("ascii", "replace") if isinstance(name, bytes) else name


def _list(shape: Any) -> Any:
    return list(shape) if isinstance(shape, tuple) else shape


def _scalar(entries: dict) -> Any:
    value, name = entries.get(b"data"), _name(entries)
    if isinstance(value, str) and isinstance(name, str) and name[1:2] == "U":
        return value  # numpy's texts are texts
    kind = parse_dtype(name)
    if type(value) not in (bool, int, float):
        raise WireError(f"a number's data are {type(value).__name__}; allowed: a number")
    try:
        return kind.type(value)
    except (ValueError, OverflowError) as error:
        raise WireError(f"{value!r} is no {kind}") from error
