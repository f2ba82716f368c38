"""TFRecord files and ``tf.train.Example`` messages, as far as data sets need them; no TensorFlow.

A record is its length (8 bytes, little endian), a checksum of these, its bytes, and a checksum of those. Checksums are
masked CRC-32C. An example maps names to lists of bytes, of float32 or of int64.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

import numpy as np

from vlagen.baselines.data.demonstration import BadDemonstrations

Feature = list[bytes] | np.ndarray
"""Bytes, or an array of float32 or int64 of one dimension."""

_POLYNOMIAL = 0x82F63B78
_LANES = 1024


@cache
def _table() -> np.ndarray:
    values = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        values = np.where(values & 1, (values >> 1) ^ np.uint32(_POLYNOMIAL), values >> 1)
    return values


def _advance(register: np.ndarray, data: np.ndarray) -> np.ndarray:
    """Feeds each of L registers (L,) its bytes (L, M)."""
    table = _table()
    for column in data.T:
        register = table[(register ^ column) & 0xFF] ^ (register >> np.uint32(8))
    return register


@cache
def _skip(length: int) -> list[list[int]]:
    """What ``length`` zero bytes make of a register, as a table for each of its four bytes."""
    basis = _advance(np.uint32(1) << np.arange(32, dtype=np.uint32), np.zeros((32, length), dtype=np.uint8))
    bytes_ = np.arange(256, dtype=np.uint32)
    tables = []
    for byte in range(4):
        bits = [np.where((bytes_ >> np.uint32(bit)) & 1, basis[8 * byte + bit], np.uint32(0)) for bit in range(8)]
        tables.append(np.bitwise_xor.reduce(bits).tolist())
    return tables


def crc32c(data: bytes) -> int:
    """The CRC-32C of some bytes: of many pieces at once, joined by what zeros behind a piece make of its register."""
    padded = np.frombuffer(data, dtype=np.uint8).copy()
    if len(padded) < 4 * _LANES:
        return int(_advance(np.array([0xFFFFFFFF], dtype=np.uint32), padded[None])[0]) ^ 0xFFFFFFFF
    # Beginning with ones is the same as flipping the first four bytes; and then zeros in front change nothing.
    padded[:4] ^= 0xFF
    length = -(-len(padded) // _LANES)
    padded = np.concatenate([np.zeros(length * _LANES - len(padded), dtype=np.uint8), padded])
    registers = _advance(np.zeros(_LANES, dtype=np.uint32), padded.reshape(_LANES, length))
    first, second, third, fourth = _skip(length)
    total = 0
    for register in registers.tolist():
        total = first[total & 255] ^ second[total >> 8 & 255] ^ third[total >> 16 & 255] ^ fourth[total >> 24]
        total ^= register
    return total ^ 0xFFFFFFFF


def _masked(data: bytes) -> bytes:
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def write_records(path: Path, records: Iterable[bytes]) -> list[int]:
    """Writes a TFRecord file; returns the records' lengths."""
    lengths = []
    with path.open("wb") as file:
        for record in records:
            length = struct.pack("<Q", len(record))
            file.write(length + _masked(length) + record + _masked(record))
            lengths.append(len(record))
    return lengths


def read_records(path: Path) -> Iterator[bytes]:
    """Yields the records of a TFRecord file.

    Raises:
        BadDemonstrations: it is truncated, or a checksum is wrong.
    """
    with path.open("rb") as file:
        while head := file.read(12):
            (length,) = struct.unpack("<Q", head[:8].ljust(8, b"\0"))
            if len(head) < 12 or head[8:] != _masked(head[:8]):
                raise BadDemonstrations(f"{path} is damaged: a record's length is wrong")
            record, check = file.read(length), file.read(4)
            if len(record) < length or check != _masked(record):
                raise BadDemonstrations(f"{path} is truncated or damaged: a record's checksum is wrong")
            yield record


def write_example(features: Mapping[str, Feature]) -> bytes:
    """Serializes a ``tf.train.Example``; names in alphabetical order, so equal contents have equal bytes."""
    entries = [_field(1, name.encode()) + _field(2, _list(features[name])) for name in sorted(features)]
    return _field(1, b"".join(_field(1, entry) for entry in entries))


def read_example(data: bytes) -> dict[str, Feature]:
    """Reads what ``write_example`` wrote.

    Raises:
        BadDemonstrations: it is no such message.
    """
    try:
        ((_, features),) = _fields(data)
        entries = [dict(_fields(entry)) for _, entry in _fields(features)]
        return {entry[1].decode(): _from_list(entry[2]) for entry in entries}
    except (ValueError, KeyError, IndexError, struct.error) as error:
        raise BadDemonstrations(f"a record is no tf.train.Example ({error!r})") from None


def _list(values: Feature) -> bytes:
    if isinstance(values, list):
        return _field(1, b"".join(_field(1, value) for value in values))
    if values.dtype == np.float32:
        return _field(2, _field(1, values.astype("<f4").tobytes()))
    return _field(3, _field(1, b"".join(_varint(int(value) & (1 << 64) - 1) for value in values)))


def _from_list(data: bytes) -> Feature:
    ((kind, content),) = _fields(data)
    parts = [part for _, part in _fields(content)]
    if kind == 1:
        return parts
    packed = b"".join(parts)
    if kind == 2:
        return np.frombuffer(packed, dtype="<f4")
    numbers, place = [], 0
    while place < len(packed):
        number, place = _read_varint(packed, place)
        numbers.append(number - (1 << 64) if number >> 63 else number)
    return np.array(numbers, dtype=np.int64)


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited field."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    place = 0
    while place < len(data):
        tag, place = _read_varint(data, place)
        if tag & 7 != 2:
            raise ValueError(f"a field of wire type {tag & 7}")
        length, place = _read_varint(data, place)
        if place + length > len(data):
            raise ValueError("a field that ends behind its message")
        yield tag >> 3, data[place : place + length]
        place += length


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def _read_varint(data: bytes, place: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[place]
        number |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return number, place
