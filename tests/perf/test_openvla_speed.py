"""Decoding actions against transformers' own `generate` with a dynamic cache, on the same weights in the same run.

Both see the same images and prompts and make the same tokens; what is compared is everything from pixels to tokens.
The floor of batch 1 is one pass over the prompt, which nothing can leave out: what remains of the time is overhead and
the decoding of the other tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import DynamicCache

from tests.perf.timing import take_turns
from vlagen.baselines.openvla.architectures import ARCHITECTURES
from vlagen.baselines.openvla.configuration import OpenVLAConfig
from vlagen.baselines.openvla.generation import ActionDecoder
from vlagen.baselines.openvla.model import OpenVLA
from vlagen.baselines.openvla.prompts import PromptBatch, left_padded
from vlagen.baselines.openvla.stepping import Acceleration
from vlagen.baselines.openvla.tiny import tiny_config, tiny_model

pytestmark = pytest.mark.perf

TOKENS = 7
TEXT_LENGTHS = (22, 24, 24, 27)
"""Of "put carrot on plate" and its like, the sentence around it included."""

MID = {
    "image_size": 224,
    "vision_width": 256,
    "vision_depth": 6,
    "width": 768,
    "depth": 12,
    "heads": 12,
    "hidden": 2048,
    "vocabulary_size": 32000,
}
"""A model of a hundred million parameters with the sequence of the real one: 256 patches."""


@dataclass(frozen=True)
class Batch:
    """What B episodes show and ask."""

    pixel_values: torch.Tensor
    prompts: PromptBatch


def batch(model: OpenVLA, rows: int) -> Batch:
    config = model.config
    size = (rows, config.channels, config.image_size, config.image_size)
    pixel_values = torch.randn(size, generator=torch.Generator().manual_seed(0)).to(model.device, model.dtype)
    lengths = [TEXT_LENGTHS[row % len(TEXT_LENGTHS)] for row in range(rows)]
    prompts = left_padded([[1, *range(10, 9 + length)] for length in lengths], config.pad_token_id)
    return Batch(pixel_values, prompts)


@torch.no_grad()
def plain(model: OpenVLA, given: Batch) -> torch.Tensor:
    """What a straightforward port would do: embeddings into `generate`."""
    prompts = given.prompts.to(model.device)
    embeddings = model.embed(prompts.input_ids, model.project(given.pixel_values))
    return model.language_model.generate(
        inputs_embeds=embeddings,
        attention_mask=model.widen(prompts.attention_mask),
        past_key_values=DynamicCache(config=model.language_model.config),
        max_new_tokens=TOKENS,
        min_new_tokens=TOKENS,
        do_sample=False,
    )


def peak_memory(action: Callable[[], object], device: torch.device) -> int:
    """Most bytes held at once during a call, on top of what was there before."""
    action()
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        action()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        action()
    held = peak = 0
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def floor(action: Callable[[], object], model: OpenVLA) -> float:
    """Milliseconds that a call's matrix products would take at the speed of one large product on this machine."""
    with FlopCounterMode(display=False) as counter:
        action()
    side = 8192 if model.device.type == "cuda" else 1024
    square = torch.randn(side, side, dtype=model.dtype, device=model.device)
    milliseconds = take_turns({"product": lambda: finished(lambda: square @ square)}, rounds=5, repeats=2)["product"]
    return counter.get_total_flops() / (2 * side**3) * milliseconds


def finished(action: Callable[[], object]) -> object:
    """Calls it, and waits for the device to be done."""
    result = action()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return result


def actions_of(model: OpenVLA, rows: int, *accelerations: Acceleration) -> dict[str, Callable[[], object]]:
    """Ways to decode the same batch, checked to make the same tokens."""
    given = batch(model, rows)
    ways = {"generate": lambda: finished(lambda: plain(model, given))}
    for acceleration in accelerations:
        decoder = ActionDecoder(model, TOKENS, acceleration=acceleration)

        def ours(decoder=decoder, restrict=True):
            return finished(lambda: decoder(given.pixel_values, given.prompts, restrict=restrict).tokens)

        if model.dtype == torch.float32:
            assert torch.equal(ours(restrict=False), plain(model, given))
        ways[acceleration] = ours
    reader = ActionDecoder(model, 1)
    ways["prompt alone"] = lambda: finished(lambda: reader(given.pixel_values, given.prompts))
    return ways


def report(title: str, times: dict[str, float], rows: int, lowest: float) -> None:
    rates = {name: f"{milliseconds:.2f} ms, {1e3 * rows / milliseconds:.1f}/s" for name, milliseconds in times.items()}
    print(f"\n{title}, batch {rows}: {rates}; floor of the matrix products {lowest:.2f} ms")


@pytest.fixture
def one_thread():
    """Small matrices gain nothing from more, and a thread that waits for another measures the machine's other work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_one_episode_with_the_tiny_model(one_thread):
    model = tiny_model(tiny_config()).eval()
    ways = actions_of(model, 1, "none", "compile")
    times = take_turns(ways, rounds=40, repeats=3)
    report("tiny model", times, 1, floor(ways["none"], model))
    print(f"{times['generate'] / times['none']:.2f} as it is, {times['generate'] / times['compile']:.2f} compiled")
    assert times["generate"] >= 2 * times["compile"]


def test_many_episodes_with_the_tiny_model(one_thread):
    model = tiny_model(tiny_config()).eval()
    ways = actions_of(model, 64, "none")
    times = take_turns(ways, rounds=7, repeats=1)
    report("tiny model", times, 64, floor(ways["none"], model))
    memory = {name: peak_memory(way, model.device) for name, way in ways.items()}
    print(f"memory [MB]: { {name: round(size / 1e6, 1) for name, size in memory.items()} }")
    assert times["none"] <= times["generate"]
    assert memory["none"] <= 0.6 * memory["generate"]


def test_a_model_of_a_hundred_million_parameters(one_thread):
    """Here the prompt is nearly all there is to compute: no decoding can be twice as fast on a CPU."""
    model = tiny_model(tiny_config(**MID)).eval()
    for rows, rounds in ((1, 5), (8, 2)):
        ways = actions_of(model, rows, "none")
        times = take_turns(ways, rounds=rounds, repeats=1)
        report("100M parameters", times, rows, floor(ways["none"], model))
        memory = {name: peak_memory(way, model.device) for name, way in ways.items()}
        print(f"memory [MB]: { {name: round(size / 1e6, 1) for name, size in memory.items()} }")
        assert times["none"] <= 1.05 * times["generate"]


def test_what_sharing_saves(one_thread):
    model = tiny_model(tiny_config()).eval()
    given = batch(model, 16)
    decoder = ActionDecoder(model, TOKENS)
    image, prompts = given.pixel_values[:1], given.prompts
    same = PromptBatch(prompts.input_ids[[0] * 16], prompts.attention_mask[[0] * 16])
    first = PromptBatch(prompts.input_ids[:1], prompts.attention_mask[:1])
    images = image.expand(16, -1, -1, -1)
    times = take_turns(
        {
            "16 instructions": lambda: decoder(images, prompts),
            "16 instructions on one image": lambda: decoder(image, prompts, frames=[0] * 16),
            "16 samples": lambda: decoder(images, same),
            "16 samples of one state": lambda: decoder(image, first, samples=16),
        },
        rounds=15,
        repeats=1,
    )
    print(f"\nsharing, tiny model [ms]: { {name: round(value, 1) for name, value in times.items()} }")
    assert times["16 instructions on one image"] < 0.8 * times["16 instructions"]
    assert times["16 samples of one state"] < 0.8 * times["16 samples"]


@pytest.fixture(scope="module")
def seven_billion():
    """openvla-7b's shapes with random weights in bfloat16."""
    if not torch.cuda.is_available() or torch.cuda.get_device_properties(0).total_memory < 40e9:
        pytest.skip("needs a CUDA device with 40 GB")
    vision = tuple(
        ARCHITECTURES[name] for name in ("vit_large_patch14_reg4_dinov2.lvd142m", "vit_so400m_patch14_siglip_224")
    )
    with torch.device("meta"):
        model = OpenVLA(OpenVLAConfig(vision=vision, text={"vocab_size": 32064, "pad_token_id": 32000}))
    model = model.to(torch.bfloat16).to_empty(device="cuda")
    model.reset_rotary(torch.device("cuda"))
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(std=0.02)
    return model.eval()


@pytest.mark.gpu
@pytest.mark.parametrize("acceleration", ["graph", "compile"])
def test_one_episode_with_seven_billion_parameters(seven_billion, acceleration):
    ways = actions_of(seven_billion, 1, acceleration)
    times = take_turns(ways, rounds=10, repeats=2)
    report("7B", times, 1, floor(ways["prompt alone"], seven_billion))
    weights = sum(weight.nbytes for weight in seven_billion.language_model.parameters())
    half = torch.empty(weights // 4, dtype=torch.bfloat16, device="cuda")
    copying = take_turns({"copy": lambda: finished(half.clone)}, rounds=5, repeats=2)["copy"]
    step = (times[acceleration] - times["prompt alone"]) / (TOKENS - 1)
    # A copy of half the bytes reads and writes as much as a step reads.
    print(f"a step takes {step:.2f} ms; reading the language model's weights {copying:.2f} ms")
    assert times["generate"] >= 2 * times[acceleration]


@pytest.mark.gpu
def test_many_episodes_with_seven_billion_parameters(seven_billion):
    ways = actions_of(seven_billion, 64, "graph")
    times = take_turns(ways, rounds=5, repeats=1)
    report("7B", times, 64, floor(ways["graph"], seven_billion))
    memory = {name: peak_memory(way, seven_billion.device) for name, way in ways.items()}
    print(f"memory [GB]: { {name: round(size / 1e9, 2) for name, size in memory.items()} }")
    assert times["graph"] <= times["generate"]
    assert memory["graph"] <= 0.6 * memory["generate"]
