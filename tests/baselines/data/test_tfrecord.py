"""TFRecord framing, checksums and messages against published values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlagen.baselines.data.tfrecord import crc32c, read_example, read_records, write_example, write_records


@pytest.mark.parametrize(
    ("data", "checksum"),
    [
        # RFC 3720, appendix B.4, and the check value of the CRC catalogue.
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (b"123456789", 0xE3069283),
        (b"", 0),
    ],
)
def test_checksums_are_the_published_ones(data, checksum):
    assert crc32c(data) == checksum


def bit_by_bit(data: bytes) -> int:
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


@pytest.mark.parametrize("size", [4095, 4096, 4097, 5000, 8192])
def test_long_data_in_pieces_have_the_checksum_of_the_whole(size):
    data = np.random.default_rng(size).bytes(size)
    assert crc32c(data) == bit_by_bit(data)


def test_an_example_is_the_message_that_tensorflow_writes():
    # What TensorFlow 2.21 makes of an int64_list of 1 and 300 and a bytes_list of one text.
    expected = bytes.fromhex("0a1a0a0c0a016112071a050a0301ac020a0a0a016212050a030a0178")
    assert write_example({"b": [b"x"], "a": np.array([1, 300])}) == expected


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.binary(max_size=300), max_size=4),
    st.lists(st.floats(width=32, allow_nan=False), max_size=4),
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4),
)
def test_examples_come_back(texts, floats, numbers):
    values = {"texts": texts, "floats": np.array(floats, np.float32), "numbers": np.array(numbers, np.int64)}
    found = read_example(write_example(values))
    assert found["texts"] == texts
    assert found["floats"].tobytes() == values["floats"].tobytes()
    assert found["numbers"].tolist() == numbers


def test_records_come_back(tmp_path):
    records = [b"", b"abc", bytes(10_000)]
    assert write_records(tmp_path / "file", records) == [0, 3, 10_000]
    assert list(read_records(tmp_path / "file")) == records
