"""Whatever the bytes: the decoders return a value or raise ``WireError``, soon, and without much memory."""

from __future__ import annotations

import contextlib
import functools
import resource
from random import Random

import msgpack
import numpy as np
import pytest
import websockets
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.sync.client import connect

from tests.benchmark.remote.serving import HERE, WatchfulPolicy, make, observation, running
from vlagen.benchmark.loading.source import find_policy
from vlagen.benchmark.policy import PolicyEpisode
from vlagen.benchmark.remote import openpi_codec, own, vla_eval_codec
from vlagen.benchmark.remote.arrays import as_numbers, as_picture, encode_picture
from vlagen.benchmark.remote.declarations import (
    VLAGEN_HEADER,
    UnknownFormat,
    actions_from_specs,
    own_declaration,
    spec_from_json,
)
from vlagen.benchmark.remote.limits import WireError
from vlagen.benchmark.remote.link import PROTOCOLS

QUICK, MANY, ON_THE_WIRE = 1_000, 100_000, 60
_PICTURE = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)

NAMES = (
    ["__ndarray__", "__image__", "__npgeneric__", "data", "dtype", "shape", "format", "type", "payload", "seq"]
    + ["timestamp", "vlagen", "episode", "observation", "images", "step", "size", "place", "party", "seed", "spec"]
    + ["instruction", "version", "emits", "image", "normalised", "position", "rotation", "gripper"]
)
LEAVES = (
    [
        None,
        True,
        False,
        0,
        1,
        2,
        7,
        -1,
        2**63,
        2**64 - 1,
        -(2**63),
        0.5,
        float("nan"),
        float("inf"),
        "",
        "go",
        b"",
        b"ab",
    ]
    + ["<f4", "|u1", "|b1", "<i8", "|O", ">f8", "<U3", "png", "jpeg", "raw", *vla_eval_codec.TYPES]
    + [b"\0" * 8, b"\0" * 56, [2], [1, 7], [1, 1, 3], [2**24, 0], encode_picture(_PICTURE, "png")]
    + [encode_picture(_PICTURE, "jpeg"), _PICTURE.tobytes(), [16, 24, 3]]
)


def tree(chance: Random, depth: int = 0):
    """Something that msgpack can write, made mostly of what the protocols know."""
    kind = chance.random()
    if depth > 4 or kind < 0.4:
        return chance.choice(LEAVES)
    if kind < 0.5:
        return [tree(chance, depth + 1) for _ in range(chance.randrange(6))]
    names = chance.sample(NAMES, chance.randrange(8))
    as_bytes = chance.random() < 0.4
    return {name.encode() if as_bytes else name: tree(chance, depth + 1) for name in names}


@functools.cache
def good_messages() -> list[bytes]:
    """One of each kind, to be damaged."""
    seating = own.Seating(PolicyEpisode("go", 5), "party", 1, 0).to_map()
    told = {"episode": seating, "observation": {"step": 0, "proprioception": np.zeros(8, dtype=np.float32)}}
    request = {"observation/image": _PICTURE, "prompt": "go", "vlagen": told, "n": np.float64(2)}
    frame = vla_eval_codec.Frame("observation", {"images": {"image": _PICTURE}, "task_description": "go"}, 3)
    return [openpi_codec.pack(request), *(vla_eval_codec.pack(frame, kind) for kind in ("raw", "png", "jpeg"))]


def damaged(chance: Random) -> bytes:
    """A good message with a few bytes changed, cut out or put in, most of them where descriptions are."""
    message = bytearray(chance.choice(good_messages()))
    for _ in range(chance.randint(1, 6)):
        place = chance.randrange(min(len(message), chance.choice([200, len(message)])))
        kind = chance.randrange(3)
        if kind == 0:
            message[place] = chance.randrange(256)
        elif kind == 1:
            del message[place : place + chance.randint(1, 9)]
        else:
            message[place:place] = chance.randbytes(chance.randint(1, 6))
    return bytes(message)


SOURCES = {
    "random": lambda chance: chance.randbytes(chance.randrange(300)),
    "damaged": damaged,
    "trees": lambda chance: msgpack.packb(tree(chance)),
}
"""How an input is made of a generator of random numbers; hypothesis chooses its seed."""


def decode_openpi(data: bytes) -> None:
    value = openpi_codec.decode(data)
    if isinstance(value, dict):
        for entry in value.values():
            look(entry)


def decode_vla_eval(data: bytes) -> None:
    frame = vla_eval_codec.decode(data)
    assert frame.type in vla_eval_codec.TYPES
    look(frame.payload)


def look(value) -> None:
    """Does everything that is done with what a peer sent."""
    for reader in (
        lambda: as_picture(value, "it"),
        lambda: as_numbers(value, "it"),
        lambda: own.seating_of(value),
        lambda: own.restore(value, None, "go"),
        lambda: own_declaration(value) if isinstance(value, dict) else None,
        lambda: actions_from_specs(value) if isinstance(value, dict) else None,
        lambda: spec_from_json(value),
    ):
        with contextlib.suppress(WireError, UnknownFormat):
            reader()


def survive(source: str, seed: int) -> None:
    data = SOURCES[source](Random(seed))
    for reader in (decode_openpi, decode_vla_eval):
        with contextlib.suppress(WireError):
            reader(data)


SEEDS = st.integers(0, 2**64 - 1)


@pytest.mark.parametrize("source", SOURCES)
@settings(max_examples=QUICK, deadline=2000, derandomize=True, database=None)
@given(seed=SEEDS)
def test_decoders_survive(source, seed):
    survive(source, seed)


@settings(max_examples=QUICK, deadline=2000, derandomize=True, database=None)
@given(seed=SEEDS)
def test_readers_survive(seed):
    look(tree(Random(seed)))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_server_survives(protocol):
    """The same inputs over the wire, from clients that say that they are vlagen's and from others."""
    with running(make(WatchfulPolicy, protocol)) as port:
        for seed in range(ON_THE_WIRE):
            data = SOURCES[("damaged", "trees")[seed % 2]](Random(seed))
            headers = {VLAGEN_HEADER: "1"} if seed % 3 else {}
            with (
                connect(f"ws://{HERE}:{port}", additional_headers=headers, proxy=None) as connection,
                contextlib.suppress(websockets.ConnectionClosed, TimeoutError),
            ):
                connection.send(data)
                while True:
                    connection.recv(timeout=0.02)
        policy = find_policy(f"{protocol}://{HERE}:{port}").make()
        policy.reset([PolicyEpisode("go", 0)])
        assert policy.act(observation(size=(16, 24))).shape == (1, 7)


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES)
def test_decoders_survive_a_hundred_thousand(source):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    @settings(max_examples=MANY, deadline=2000, database=None, suppress_health_check=list(HealthCheck))
    @given(seed=SEEDS)
    def run(seed):
        survive(source, seed)

    run()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # KiB, hypothesis' own included
