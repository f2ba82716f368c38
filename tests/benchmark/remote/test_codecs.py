"""What the two serialisations make of good and bad messages."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib

import msgpack
import numpy as np
import pytest
from PIL import Image

from vlagen.benchmark.remote import openpi_codec, vla_eval_codec
from vlagen.benchmark.remote.arrays import as_numbers, as_picture, encode_picture
from vlagen.benchmark.remote.limits import Limits, WireError
from vlagen.benchmark.remote.packing import Packer
from vlagen.benchmark.remote.vla_eval_codec import Frame

ARRAYS = [
    np.arange(6, dtype=np.float32).reshape(2, 3),
    np.array([True, False]),
    np.array(3, dtype=np.int64),
    np.zeros((0, 4), dtype=np.uint8),
    np.arange(4, dtype=">i2"),
    np.arange(12, dtype=np.float64).reshape(3, 4)[:, ::2],
    np.array([np.nan, np.inf, -0.0], dtype=np.float16),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_arrays_come_back_to_the_last_bit(array):
    there = openpi_codec.decode(openpi_codec.pack({"x": array}))["x"]
    again = vla_eval_codec.decode(vla_eval_codec.pack(Frame("action", {"x": array}, 1))).payload["x"]
    for back in (there, again):
        assert back.dtype == array.dtype.newbyteorder("=")
        assert back.shape == array.shape
        np.testing.assert_array_equal(back, array)


def test_openpis_bytes_on_the_wire():
    # As openpi-client 0.1.2 writes it: keys are bytes, the shape is a list.
    message = openpi_codec.pack({"a": np.array([1, 2], dtype=np.uint8), "b": np.float32(0.5)})
    assert msgpack.unpackb(message) == {
        "a": {b"__ndarray__": True, b"data": b"\x01\x02", b"dtype": "|u1", b"shape": [2]},
        "b": {b"__npgeneric__": True, b"data": 0.5, b"dtype": "<f4"},
    }


def test_vla_evals_bytes_on_the_wire():
    picture = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    told = msgpack.unpackb(vla_eval_codec.pack(Frame("observation", {"p": picture, "s": np.float32([1])}, 7)))
    assert set(told) == {"type", "payload", "seq", "timestamp"}
    assert (told["type"], told["seq"]) == ("observation", 7)
    assert told["payload"]["p"] == {
        "__image__": True,
        "format": "raw",
        "data": picture.tobytes(),
        "dtype": "|u1",
        "shape": [2, 2, 3],
    }
    assert told["payload"]["s"] == {"__ndarray__": True, "data": b"\0\0\x80?", "dtype": "<f4", "shape": [1]}


@pytest.mark.parametrize(("kind", "tolerance"), [("raw", 0), ("png", 0), ("jpeg", 12)])
def test_pictures_come_back(kind, tolerance):
    ramp = np.linspace(0, 255, 64).astype(np.uint8)
    picture = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None], np.uint8(100)), axis=-1)
    payload = vla_eval_codec.decode(vla_eval_codec.pack(Frame("observation", {"p": picture}, 1), kind)).payload
    assert payload["p"].shape == (64, 64, 3)
    assert np.abs(payload["p"].astype(int) - picture).max() <= tolerance


def test_a_packers_message_is_right_after_an_error_and_after_a_longer_one():
    packer = Packer()
    for value in (np.zeros(1000), np.arange(3)):
        with packer.pack(value, openpi_codec.describe) as message:
            np.testing.assert_array_equal(openpi_codec.decode(bytes(message)), value)
        with pytest.raises(WireError, match="cannot be sent"), packer.pack([1, object()], openpi_codec.describe):
            pass


def described(**entries):
    """openpi's description of an array, with some entries changed."""
    whole = {"__ndarray__": True, "data": b"\0" * 8, "dtype": "<f4", "shape": [2]} | entries
    return msgpack.packb({key.encode(): value for key, value in whole.items()})


@pytest.mark.parametrize(
    ("entries", "complaint"),
    [
        ({"dtype": "|O"}, "dtype '|O'; allowed: bool"),
        ({"dtype": "<c8"}, "dtype"),
        ({"dtype": "<M8[ns]"}, "dtype"),
        ({"dtype": "<f4,<f4"}, "dtype"),
        ({"dtype": ["<f4"]}, "dtype"),
        ({"dtype": "<f16"}, "dtype"),
        ({"shape": [3]}, r"shape \[3\] and dtype float32 has 8 bytes"),
        ({"shape": [-1]}, "sides from 0"),
        ({"shape": [2**40, 2**40]}, "sides from 0"),
        ({"shape": [0, 2**24, 2**24, 2**24], "data": b""}, "too big|no array|shape"),
        ({"shape": [1] * 9 + [2]}, "up to 8"),
        ({"shape": [True, 2]}, "sides from 0"),
        ({"shape": "2"}, "shape"),
        ({"shape": None}, "shape"),
        ({"data": "text"}, "data are str"),
        ({"data": None}, "data are NoneType"),
    ],
)
def test_descriptions_that_are_no_arrays_are_refused(entries, complaint):
    with pytest.raises(WireError, match=complaint.replace("|O", r"\|O") if "|O" in complaint else complaint):
        openpi_codec.decode(described(**entries))


def test_booleans_are_zero_or_one_whatever_the_bytes():
    array = openpi_codec.decode(described(dtype="|b1", data=b"\x02\x00", shape=[2]))
    assert (array == np.array([True, False])).all()


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xc1",
        b"\x81",
        msgpack.packb(msgpack.ExtType(5, b"x")),
        msgpack.packb(msgpack.Timestamp(0)),
        msgpack.packb({1: 2}),
        msgpack.packb("x") + b"\0",
        b"\xa1\xff",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\x91" * 100_000,
    ],
    ids=repr,
)
def test_what_is_no_message_is_refused(message):
    for decode in (openpi_codec.decode, vla_eval_codec.decode):
        with pytest.raises(WireError):
            decode(message[:200_000])


def lists_of_lists(count):
    """A message of ``count`` bytes and a bit, each of which is an empty list of 56 bytes."""
    inner = msgpack.packb([[]] * 4000)
    return b"\xdc" + struct.pack(">H", count // 4000) + inner * (count // 4000)


def peak_of(decode, message):
    tracemalloc.start()
    try:
        with pytest.raises(WireError) as caught:
            decode(message)
        return tracemalloc.get_traced_memory()[1], str(caught.value)
    finally:
        tracemalloc.stop()


def test_a_message_of_many_lists_costs_little():
    peak, complaint = peak_of(openpi_codec.decode, lists_of_lists(4_000_000))
    assert "more than 16384 entries" in complaint
    assert peak < 8e6


def test_an_announced_length_costs_nothing():
    peak, _ = peak_of(openpi_codec.decode, b"\xdc\xff\xff" * 2000)
    assert peak < 64e6


def test_a_message_that_is_too_long_is_not_decoded():
    with pytest.raises(WireError, match="a message has 11 bytes; allowed: 10"):
        openpi_codec.decode(b"\0" * 11, Limits(message_bytes=10))


def frame(**picture):
    payload = {"p": {"__image__": True, **picture}}
    return msgpack.packb({"type": "observation", "payload": payload, "seq": 1, "timestamp": 0.0})


def png(width, height, rows=b""):
    """A PNG file that announces a size; its rows are whatever is given."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_a_picture_that_would_fill_the_memory_is_not_unpacked():
    bomb = png(4000, 4000, b"\0" * 48_004_000)
    peak, complaint = peak_of(vla_eval_codec.decode, frame(format="png", data=bomb, shape=[4000, 4000, 3]))
    assert "more than 8388608 pixels" in complaint
    assert peak < 2e6


def test_the_pixels_of_all_pictures_count_together():
    data = encode_picture(np.zeros((1000, 1000, 3), dtype=np.uint8), "png")
    pictures = {str(number): {"__image__": True, "format": "png", "data": data} for number in range(9)}
    message = {"type": "observation", "payload": pictures, "seq": 1, "timestamp": 0.0}
    with pytest.raises(WireError, match="pixels"):
        vla_eval_codec.decode(msgpack.packb(message))
    del pictures["8"]
    assert len(vla_eval_codec.decode(msgpack.packb(message)).payload) == 8


def test_a_picture_with_many_scans_is_not_unpacked():
    file = io.BytesIO()
    Image.fromarray(np.zeros((64, 64, 3), dtype=np.uint8)).save(file, format="JPEG", progressive=True)
    data = file.getvalue()
    assert vla_eval_codec.decode(frame(format="jpeg", data=data)).payload["p"].shape == (64, 64, 3)
    scan = data[data.rindex(b"\xff\xda") : -2]
    with pytest.raises(WireError, match="more than 64 scans"):
        vla_eval_codec.decode(frame(format="jpeg", data=data[:-2] + scan * 1000 + data[-2:]))


@pytest.mark.parametrize(
    ("picture", "complaint"),
    [
        ({"format": "gif", "data": b""}, "unknown picture format"),
        ({"format": "png", "data": b"GIF89a"}, "a picture is no png"),
        ({"format": "png", "data": encode_picture(np.zeros((2, 2, 3), dtype=np.uint8), "jpeg")}, "a picture is no png"),
        ({"format": "png", "data": png(8, 8)}, "a picture is no png"),
        ({"format": "png", "data": 5}, "data are int"),
        ({"format": "raw", "data": b"\0" * 12, "dtype": "<f4", "shape": [1, 1, 3]}, "allowed: uint8"),
        ({"format": ["png"], "data": b""}, "unknown picture format"),
    ],
)
def test_pictures_that_are_none_are_refused(picture, complaint):
    with pytest.raises(WireError, match=complaint):
        vla_eval_codec.decode(frame(**picture))


def test_pictures_have_three_channels():
    grey = np.arange(4, dtype=np.uint8).reshape(2, 2)
    assert (as_picture(grey, "p") == grey[..., None]).all()
    assert as_picture(np.zeros((2, 2, 4), dtype=np.uint8), "p").shape == (2, 2, 3)
    for wrong in (np.zeros((2, 2, 3)), np.zeros((2, 2, 5), dtype=np.uint8), np.zeros((0, 2, 3), dtype=np.uint8), "p"):
        with pytest.raises(WireError, match=r"allowed: a picture \(H, W, 3\) uint8"):
            as_picture(wrong, "p")


def test_states_are_vectors():
    assert as_numbers([1, 2.5], "s").tolist() == [1.0, 2.5]
    assert as_numbers(np.float64([[1], [2]]), "s").dtype == np.float32
    for wrong in ([], ["1"], [True], [10**400], np.zeros(5000), None, {"a": 1}):
        with pytest.raises(WireError):
            as_numbers(wrong, "s")
