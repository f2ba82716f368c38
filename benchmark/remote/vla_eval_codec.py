"""vla-eval's frames: msgpack maps with a type, a payload, a number and a time; arrays and pictures have text keys.

Written from the wire (vla-eval 0.8, protocol version 1): ``{"__ndarray__": true, "data", "dtype", "shape"}`` and
``{"__image__": true, "format": "png" | "jpeg" | "raw", "data", "shape"}``, the latter with ``dtype`` where it is raw.
"""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlagen.assets.errors import unknown
from vlagen.benchmark.remote import packing
from vlagen.benchmark.remote.arrays import PICTURE_FORMATS, array_of, as_map, decode_picture, encode_picture
from vlagen.benchmark.remote.limits import DEFAULT_LIMITS, Budget, Limits, WireError, unpack

PROTOCOL_VERSION = 1

TYPES = ("hello", "observation", "action", "episode_start", "episode_end", "error")

_ARRAY, _PICTURE = "__ndarray__", "__image__"
_FIELDS = ("type", "payload", "seq", "timestamp")
_LARGEST_NUMBER = 2**63


@dataclass(frozen=True)
class Frame:
    """One message.

    Attributes:
        type: one of ``TYPES``.
        payload: what it says.
        seq: counts a client's messages; a reply has the number of what it replies to.
    """

    type: str
    payload: dict[str, Any]
    seq: int


def pack(frame: Frame, pictures: str = "raw") -> bytes:
    """Encodes a frame.

    Args:
        frame: its arrays (H, W, 3) uint8 are sent as pictures.
        pictures: ``raw``, or one of ``arrays.PICTURE_FORMATS``.

    Raises:
        WireError: something is in it that the wire does not know.
    """
    return packing.pack(fields_of(frame), DESCRIBE[pictures])


def fields_of(frame: Frame) -> dict[str, Any]:
    """What is encoded of a frame."""
    return {"type": frame.type, "payload": frame.payload, "seq": frame.seq, "timestamp": time.time()}


def decode(data: bytes, limits: Limits = DEFAULT_LIMITS) -> Frame:
    """Decodes a frame.

    Raises:
        WireError: it is none.
    """
    fields = as_map(unpack(data, limits, _revive), "a message")
    missing = [name for name in _FIELDS if name not in fields]
    if missing:
        raise WireError(f"a message lacks {', '.join(missing)}")
    if fields["type"] not in TYPES:
        raise WireError(unknown("type of message", str(fields["type"])[:60], TYPES))
    number = fields["seq"]
    if type(number) is not int or not 0 <= number < _LARGEST_NUMBER:
        raise WireError(f"a message has seq {str(number)[:60]}; allowed: a whole number")
    return Frame(fields["type"], as_map(fields["payload"], "a message's payload"), number)


def _describe(pictures: str, value: Any) -> Any:
    if isinstance(value, np.bool_ | np.integer | np.floating):
        return value.item()
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf":
        what = f"an array of {value.dtype}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
        raise WireError(f"{what} cannot be sent; allowed: arrays of booleans, integers and floats")
    is_picture = value.ndim == 3 and value.dtype == np.uint8 and value.shape[-1] == 3
    if is_picture and pictures != "raw":
        return {_PICTURE: True, "format": pictures, "data": encode_picture(value, pictures), "shape": list(value.shape)}
    data = np.ascontiguousarray(value).data if value.size else b""
    described = {"data": data, "dtype": value.dtype.str, "shape": list(value.shape)}
    return {_PICTURE: True, "format": "raw", **described} if is_picture else {_ARRAY: True, **described}


DESCRIBE = {pictures: functools.partial(_describe, pictures) for pictures in ("raw", *PICTURE_FORMATS)}
"""Turns numpy's arrays and scalars into maps, by how pictures are sent; for ``packing``."""


def _revive(entries: dict, budget: Budget) -> Any:
    if _PICTURE in entries:
        return _picture(entries, budget)
    if _ARRAY in entries:
        return array_of(entries.get("data"), entries.get("dtype"), entries.get("shape"))
    return entries


def _picture(entries: dict, budget: Budget) -> np.ndarray:
    if entries.get("format") != "raw":
        return decode_picture(entries.get("data"), entries.get("format"), budget)
    picture = array_of(entries.get("data"), entries.get("dtype"), entries.get("shape"))
    if picture.dtype != np.uint8:
        raise WireError(f"a raw picture has dtype {picture.dtype}; allowed: uint8")
    return picture
