"""Arrays and compressed pictures, as peers describe them: checked before any memory is set aside for them."""

from __future__ import annotations

import io
import math
import re

import numpy as np
from PIL import Image

from vlagen.assets.errors import unknown
from vlagen.benchmark.remote.limits import Budget, WireError

_DTYPE = re.compile(r"(?:[<>|=]?)(?:b1|[iu][1248]|f[248])", re.ASCII)
_MOST_DIMENSIONS = 8
_LONGEST_SIDE = 2**24

PICTURE_FORMATS = {"png": "PNG", "jpeg": "JPEG"}
"""Names on the wire and Pillow's."""

# A baseline JPEG has one scan and a progressive one about ten; each costs as much as decoding the whole picture.
_MOST_SCANS = 64
_START_OF_SCAN = b"\xff\xda"
_MODES = ("L", "RGB", "RGBA")


def parse_dtype(text: object) -> np.dtype:
    """Reads the name of a boolean, integer or float type; nothing else exists on these wires.

    Raises:
        WireError: it names something else, e.g. objects.
    """
    if not isinstance(text, str) or _DTYPE.fullmatch(text) is None:
        raise WireError(f"an array has dtype {_short(text)}; allowed: bool, int8..64, uint8..64, float16..64")
    return np.dtype(text)


def parse_shape(shape: object) -> tuple[int, ...]:
    """Reads a shape.

    Raises:
        WireError: it is no list of a few whole numbers.
    """
    if not isinstance(shape, list | tuple) or len(shape) > _MOST_DIMENSIONS:
        raise WireError(f"an array has shape {_short(shape)}; allowed: up to {_MOST_DIMENSIONS} whole numbers")
    if not all(type(side) is int and 0 <= side <= _LONGEST_SIDE for side in shape):
        raise WireError(f"an array has shape {_short(shape)}; allowed are sides from 0 to {_LONGEST_SIDE}")
    return tuple(shape)


def array_of(data: object, dtype: object, shape: object) -> np.ndarray:
    """Makes an array of its bytes; a view of them, not to be written to, wherever that is possible.

    Raises:
        WireError: the description is not one, or does not fit the bytes.
    """
    kind, sides = parse_dtype(dtype), parse_shape(shape)
    if not isinstance(data, bytes):
        raise WireError(f"an array's data are {type(data).__name__}; allowed: bytes")
    if math.prod(sides) * kind.itemsize != len(data):
        raise WireError(f"an array of shape {list(sides)} and dtype {kind} has {len(data)} bytes of data")
    array = np.frombuffer(data, dtype=kind).reshape(sides)
    if kind.kind == "b":
        # Other bytes than 0 and 1 would make booleans that are neither equal to True nor to False.
        return np.frombuffer(data, dtype=np.uint8).reshape(sides) != 0
    return array if kind.isnative else array.astype(kind.newbyteorder("="))


def decode_picture(data: object, kind: object, budget: Budget) -> np.ndarray:
    """Unpacks a compressed picture.

    Args:
        data: the file's bytes.
        kind: one of ``PICTURE_FORMATS``; the bytes are read as that and nothing else.
        budget: pays for the pixels, before they are unpacked.

    Returns:
        (H, W) or (H, W, C) uint8.

    Raises:
        WireError: it is no such picture, or too large.
    """
    if not isinstance(kind, str) or kind not in PICTURE_FORMATS:
        raise WireError(unknown("picture format", _short(kind), (*PICTURE_FORMATS, "raw")))
    if not isinstance(data, bytes):
        raise WireError(f"a picture's data are {type(data).__name__}; allowed: bytes")
    if kind == "jpeg" and data.count(_START_OF_SCAN) > _MOST_SCANS:
        raise WireError(f"a JPEG picture has more than {_MOST_SCANS} scans; save it as a baseline JPEG")
    try:
        with Image.open(io.BytesIO(data), formats=(PICTURE_FORMATS[kind],)) as picture:
            budget.spend_pixels(picture.width * picture.height)
            if picture.mode not in _MODES:
                raise WireError(f"a picture has mode {picture.mode}; allowed: {', '.join(_MODES)}, 8 bits each")
            return np.asarray(picture)
    except WireError:
        raise
    except Exception as error:
        raise WireError(f"a picture is no {kind}: {type(error).__name__}: {str(error)[:200]}") from error


def encode_picture(picture: np.ndarray, kind: str) -> bytes:
    """Compresses a picture (H, W, 3) uint8: ``png`` loses nothing, ``jpeg`` is saved at quality 95."""
    file = io.BytesIO()
    options = {"quality": 95} if kind == "jpeg" else {"compress_level": 1}
    Image.fromarray(picture).save(file, format=PICTURE_FORMATS[kind], **options)
    return file.getvalue()


def as_picture(value: object, what: str) -> np.ndarray:
    """Checks that something is a picture.

    Args:
        value: what a peer sent.
        what: its name, for the message.

    Returns:
        (H, W, 3) uint8; grey is spread over three channels, and transparency is dropped.

    Raises:
        WireError: it is none.
    """
    if not isinstance(value, np.ndarray) or value.dtype != np.uint8 or value.ndim not in (2, 3) or 0 in value.shape:
        raise WireError(f"{what} is {_kind(value)}; allowed: a picture (H, W, 3) uint8")
    picture = value[..., None] if value.ndim == 2 else value
    if picture.shape[-1] not in (1, 3, 4):
        raise WireError(f"{what} is {_kind(value)}; allowed: a picture (H, W, 3) uint8")
    return np.ascontiguousarray(picture[..., :3] if picture.shape[-1] != 1 else picture.repeat(3, axis=-1))


def as_numbers(value: object, what: str, most: int = 1024) -> np.ndarray:
    """Checks that something is a vector of finitely many numbers, and makes it (n,) float32.

    Raises:
        WireError: it is not.
    """
    if isinstance(value, list) and all(type(number) in (int, float) for number in value):
        try:
            value = np.asarray(value, dtype=np.float64)
        except OverflowError as error:
            raise WireError(f"{what} has numbers that are too large") from error
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf" or not 1 <= value.size <= most:
        raise WireError(f"{what} is {_kind(value)}; allowed: a vector of 1 to {most} numbers")
    with np.errstate(over="ignore"):
        return value.reshape(-1).astype(np.float32)


def as_text(value: object, what: str) -> str:
    """Checks that something is a text.

    Raises:
        WireError: it is not.
    """
    if not isinstance(value, str):
        raise WireError(f"{what} is {_kind(value)}; allowed: a text")
    return value


def as_map(value: object, what: str) -> dict:
    """Checks that something is a map whose keys are texts.

    Raises:
        WireError: it is not.
    """
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise WireError(f"{what} is {_kind(value)}; allowed: a map with texts as keys")
    return value


def _kind(value: object) -> str:
    return f"an array {value.shape} {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__


def _short(value: object) -> str:
    return repr(value)[:60]
