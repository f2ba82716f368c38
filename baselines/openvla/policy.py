"""OpenVLA as a policy of vlagen: ``vlagen-eval --policy openvla --policy-args checkpoint=<folder or hub id>``."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vlagen.baselines.openvla.checkpoints import load_config, load_model
from vlagen.baselines.openvla.chunking import ChunkPlayer, choose_chunk, find_parts
from vlagen.baselines.openvla.errors import BadCheckpoint
from vlagen.baselines.openvla.generation import ActionDecoder
from vlagen.baselines.openvla.options import (
    check_choice,
    check_count,
    check_flags,
    check_numbers,
    choose_device,
    choose_dtype,
)
from vlagen.baselines.openvla.processing import OPEN_ABOVE, Processing, decided
from vlagen.baselines.openvla.prompts import PROMPTS
from vlagen.baselines.openvla.sampling import check_temperature, episode_generator
from vlagen.baselines.openvla.sources import COMPANION_FILES, adapter_folder, checkpoint_folder, weight_files
from vlagen.benchmark.digests import hash_files
from vlagen.benchmark.policy import PolicyEpisode, PolicySpec
from vlagen.tasks.interface import ACTION_SIZE, Observation

ROWS = 8
"""Episodes that are decoded at a time. Results do not depend on their batch only if this never changes."""

LIGHT = 64_000_000
"""Up to so many bytes of weights a model on a CPU is copied to every worker rather than shared by them."""

DECODINGS = ("auto", "sequential", "parallel")
_LIBRARIES = ("transformers", "peft", "tokenizers", "pillow", "bitsandbytes")


class OpenVLAPolicy:
    """Plays episodes with an OpenVLA checkpoint.

    The defaults are those of the evaluation in arXiv 2505.19789: sampling at temperature 0.6 among the action tokens,
    one action at a time, the gripper open above 0.5 and closed below, pictures by the pipeline ``paper`` unless the
    checkpoint names another. Upstream draws from one global stream; here every episode has its own, so that its actions
    depend neither on the other episodes nor on their order. Upstream also leaves out all but the 50 likeliest tokens.

    Args:
        checkpoint: folder, or id on the Hugging Face hub (``@revision`` may follow).
        unnorm_key: whose statistics turn the model's numbers into actions; may be left out if there is one.
        temperature: of sampling; 0 takes the likeliest tokens.
        greedy: the same as temperature 0.
        dtype: of weights and arithmetic; ``auto`` is what the checkpoint says, bfloat16 for official ones.
        device: ``auto`` is a GPU if there is one.
        adapter: folder or hub id of a LoRA adapter to go with the checkpoint.
        merge: add the adapter to the weights; otherwise it is computed beside them, which is slower and, in fewer bits,
            rounds otherwise.
        quantize: ``int8`` or ``int4`` holds the language model in fewer bits.
        images: image pipeline, see ``images.PIPELINES``; by default the checkpoint's, else ``paper``.
        prompt: ``openvla`` or ``v01``; by default what fits the language model.
        gripper_threshold: what the gripper's number must exceed to mean open.
        batching: see ``generation.Batching``; ``invariant`` gives an episode the same actions in any batch.
        rows: episodes that are decoded at a time.
        decoding: ``sequential`` makes one action, token by token; ``parallel`` a chunk of actions in one pass
            (OpenVLA-OFT); ``auto`` is what the checkpoint's files say, see ``chunking``.
        chunk: actions of such a chunk; by default what the checkpoint says.

    Attributes:
        spec: what the policy needs to see, and how many actions it returns at once.
        processing: what surrounds the model.
        decoder: the model, and how tokens are chosen.

    Raises:
        VlagenError: the checkpoint, an option or a file is not what it should be; the message says what.
    """

    def __init__(
        self,
        checkpoint: str,
        unnorm_key: str | None = None,
        temperature: float = 0.6,
        greedy: bool = False,
        dtype: str = "auto",
        device: str = "auto",
        adapter: str | None = None,
        merge: bool = True,
        quantize: str | None = None,
        images: str | None = None,
        prompt: str | None = None,
        gripper_threshold: float = OPEN_ABOVE,
        batching: str = "invariant",
        rows: int = ROWS,
        decoding: str = "auto",
        chunk: int | None = None,
    ) -> None:
        check_choice("quantize", quantize, (None, "int8", "int4"))
        check_choice("prompt", prompt, (None, *PROMPTS))
        check_choice("batching", batching, ("invariant", "auto", "packed", "bucketed"))
        check_flags(greedy=greedy, merge=merge)
        check_numbers(temperature=temperature, gripper_threshold=gripper_threshold)
        check_count("rows", rows)
        self._temperature = 0.0 if greedy else check_temperature(temperature)
        self._threshold = gripper_threshold
        # What is wrong with the small files shows before the gigabytes are read.
        self.spec = self.declare(checkpoint, decoding=decoding, chunk=chunk, device=device)
        folder = checkpoint_folder(checkpoint)
        config = load_config(folder)
        self.processing = Processing.from_checkpoint(
            folder, config, unnorm_key=unnorm_key, pipeline=images, prompt_style=prompt
        )
        size = self.processing.normalizer.size
        if size != ACTION_SIZE:
            raise BadCheckpoint(
                f"the statistics {self.processing.unnorm_key!r} are of actions with {size} numbers; allowed: "
                f"{ACTION_SIZE}, three of translation, three of rotation and the gripper; give another unnorm_key"
            )
        self._device = choose_device(device)
        model = load_model(
            folder,
            dtype=choose_dtype(dtype, config.dtype),
            device=self._device,
            adapter=adapter,
            merge=merge,
            quantize=quantize,
        )
        self._play: ChunkPlayer | None = None
        parts = find_parts(checkpoint, folder, config)
        chunk = choose_chunk(parts, decoding, chunk)
        if chunk is None:
            self.decoder = ActionDecoder(model, size, batching=batching, rows=rows)
        else:
            statistics = config.norm_stats[self.processing.unnorm_key]
            together = 1 if batching == "invariant" else rows
            self._play = ChunkPlayer(model, parts, chunk, self.processing, statistics, together)
            self.decoder = self._play.decoder
        self._generators: list[torch.Generator] = []

    @classmethod
    def declare(
        cls, checkpoint: str, decoding: str = "auto", chunk: int | None = None, device: str = "auto", **_: Any
    ) -> PolicySpec:
        """Says what the policy needs to see and returns, from the checkpoint's small files and the size of its weights.

        Args:
            checkpoint: as given to the policy.
            decoding: as given to the policy.
            chunk: as given to the policy.
            device: as given to the policy.

        Raises:
            VlagenError: the checkpoint or an option is not what it should be; the message says what.
        """
        check_choice("decoding", decoding, DECODINGS)
        folder = checkpoint_folder(checkpoint)
        parts = find_parts(checkpoint, folder, load_config(folder))
        actions = choose_chunk(parts, decoding, chunk)
        reads_joints = actions is not None and parts.proprio_projector is not None
        size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        light = 0 < size <= LIGHT and choose_device(device).type == "cpu"
        return PolicySpec(needs_images=True, needs_proprioception=reads_joints, light=light, chunk=actions or 1)

    @classmethod
    def contents(cls, checkpoint: str, adapter: str | None = None, device: str = "auto", **_: Any) -> dict[str, Any]:
        """Says what decides this policy's actions beside its arguments and code; a run's identity has it, too.

        Args:
            checkpoint: as given to the policy.
            adapter: as given to the policy.
            device: as given to the policy.

        Returns:
            JSON values: hashes of the contents of checkpoint and adapter, the kind of device, versions of libraries.
        """
        return {
            "checkpoint": checkpoint_hash(checkpoint_folder(checkpoint)),
            "adapter": None if adapter is None else _hash_of_all(adapter_folder(adapter)),
            "device": choose_device(device).type,
            "versions": {name: _version(name) for name in _LIBRARIES},
        }

    def reset(self, episodes: Sequence[PolicyEpisode]) -> None:
        """Begins B new episodes, each with its own stream of draws."""
        self._generators = [self.begin(episode) for episode in episodes]

    def act(self, observation: Observation) -> np.ndarray:
        """Chooses the next action of every episode.

        Args:
            observation: ``rgb`` (B, H, W, 3) uint8 and ``instruction``, B texts.

        Returns:
            Canonical actions, float64 (B, 7), or (B, T, 7) if the model makes chunks; the gripper is +1 or -1.
        """
        return self.act_on(observation, self._generators)

    def begin(self, episode: PolicyEpisode) -> torch.Generator:
        """Makes what the policy remembers of an episode, the stream of its draws; a server keeps it."""
        return episode_generator(episode.seed)

    def act_on(self, observation: Observation, memories: Sequence[torch.Generator]) -> np.ndarray:
        """Does what ``act`` does, for any episodes that were begun; a server asks for those that are waiting."""
        pixels = self.processing.images(observation.rgb, self._device)
        prompts = self.processing.prompts(observation.instruction)
        choice = {"temperature": self._temperature, "generators": memories}
        if self._play is not None:
            return decided(self._play(pixels, prompts, observation.proprioception, **choice), self._threshold)
        sample = self.decoder(pixels, prompts, **choice)
        return self.processing.canonical(sample.tokens.cpu().numpy(), self._threshold)


def checkpoint_hash(folder: Path) -> str:
    """Hashes what is loaded of a checkpoint: weights, configuration, statistics, tokenizer, image settings, heads."""
    names = [path for name in ("config.json", *COMPANION_FILES) if (path := folder / name).is_file()]
    parts = find_parts(folder, folder, load_config(folder)).files
    return hash_files((path.name, path) for path in (*names, *weight_files(folder), *parts))


def _hash_of_all(folder: Path) -> str:
    return hash_files((path.name, path) for path in folder.iterdir() if path.is_file())


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
