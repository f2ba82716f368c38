"""What a model reads: the sentence around an instruction, its token ids, and batches of them.

Ids are put together from parts (prompt, lone blank, action ids, end of text), never by tokenising a text that has them
all: upstream does that, and has to repair what the tokenizer makes of the seams.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer

from vlagen.assets.errors import VlagenError, unknown
from vlagen.baselines.openvla.configuration import OpenVLAConfig
from vlagen.baselines.openvla.errors import BadCheckpoint
from vlagen.baselines.openvla.sources import read_json

PROMPTS = {
    "openvla": "In: What action should the robot take to {instruction}?\nOut:",
    "v01": (
        "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
        "detailed, and polite answers to the user's questions. USER: What action should the robot take to "
        "{instruction}? ASSISTANT:"
    ),
}
"""What stands around an instruction, by style: of OpenVLA, and of its first release on Vicuna (``openvla-v01-7b``)."""

IGNORED = -100
"""The label of positions that the loss leaves out."""

WORD_START = "\u2581"
"""How the vocabularies of Llama write a blank; alone, it is the token between the prompt and the actions."""

_SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}


class BadInstruction(VlagenError, ValueError):
    """An instruction that says nothing, or more than the model can read."""


def prompt(instruction: str, style: str = "openvla") -> str:
    """Words what the model is asked.

    Args:
        instruction: the task in words; it is written in lower case, as in training.
        style: one of ``PROMPTS``.

    Raises:
        BadInstruction: it is empty.
    """
    if style not in PROMPTS:
        raise BadInstruction(unknown("prompt style", style, PROMPTS))
    if not instruction.strip():
        raise BadInstruction(f"instruction {instruction!r} says nothing; allowed: a task in words")
    return PROMPTS[style].format(instruction=instruction.lower())


@dataclass(frozen=True)
class PromptBatch:
    """Prompts of B episodes, which all end in the last column, where the first action token is predicted.

    Attributes:
        input_ids: (B, L) int64: begin of text in the first column, then padding, then the rest. The patches of the
            picture go behind the first column, so that every row has them at the same place.
        attention_mask: (B, L) int64, 1 where there is text.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor

    def to(self, device: torch.device | str) -> PromptBatch:
        """The same on another device."""
        return PromptBatch(self.input_ids.to(device), self.attention_mask.to(device))


@dataclass(frozen=True)
class SupervisedBatch:
    """Prompts with their answers, for training; padding is on the right.

    Attributes:
        input_ids: (B, L) int64: prompt, action tokens, end of text, padding.
        attention_mask: (B, L) bool, True where there is text.
        labels: (B, L) int64: action tokens and end of text where they stand in ``input_ids``, ``IGNORED`` elsewhere.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    labels: torch.Tensor

    def to(self, device: torch.device | str) -> SupervisedBatch:
        """The same on another device."""
        return SupervisedBatch(*(tensor.to(device) for tensor in vars(self).values()))


class PromptEncoder:
    """Turns instructions into token ids; an instruction that was seen before is not tokenised again.

    Args:
        tokenizer: of the checkpoint.
        pad_id: fills up rows that are shorter than others.
        style: one of ``PROMPTS``.
        special: which tokens begin and end a text, as ``tokenizer_config.json`` names them.
        longest: tokens that a prompt may have, the final blank included.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        pad_id: int,
        style: str = "openvla",
        special: Mapping[str, Any] | None = None,
        longest: int = 2048,
    ) -> None:
        self._tokenizer = tokenizer
        self._style = style
        self._longest = longest
        self._known: dict[str, tuple[int, ...]] = {}
        named = {name: _content((special or {}).get(name)) or token for name, token in _SPECIAL.items()}
        self.pad_id = pad_id
        self.begin_id = _id_of(tokenizer, named["bos_token"])
        self.end_id = _id_of(tokenizer, named["eos_token"])
        self.blank_id = _id_of(tokenizer, WORD_START)

    @classmethod
    def from_checkpoint(cls, folder: str | Path, config: OpenVLAConfig, style: str | None = None) -> PromptEncoder:
        """Reads the ``tokenizer.json`` of a checkpoint; nothing is downloaded and no code of it is run.

        Args:
            folder: of the checkpoint.
            config: of its model.
            style: by default what the language model was trained with: ``v01`` for Vicuna.

        Raises:
            BadCheckpoint: there is no tokenizer, or none of Llama's kind.
        """
        folder = Path(folder)
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise BadCheckpoint(
                f"{path} is missing; copy it from the checkpoint that this one was trained from (a tokenizer.model "
                "alone is converted by transformers.AutoTokenizer.from_pretrained(folder).save_pretrained(folder))"
            )
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises nothing more special
            raise BadCheckpoint(f"{path} cannot be read as a tokenizer: {error}") from error
        settings = folder / "tokenizer_config.json"
        special = read_json(settings) if settings.is_file() else {}
        style = style or ("v01" if "vicuna" in f"{config.llm_backbone_id} {config.hf_llm_id}".lower() else "openvla")
        return cls(tokenizer, config.pad_token_id, style, special, config.llm_max_length - config.patches)

    def ids(self, instruction: str) -> tuple[int, ...]:
        """Returns the ids of an instruction's prompt: from the begin of text to the lone blank.

        Raises:
            BadInstruction: it is empty, or longer than the model can read.
        """
        if instruction not in self._known:
            encoded = self._tokenizer.encode(prompt(instruction, self._style), add_special_tokens=False).ids
            ids = (self.begin_id, *encoded)
            # In Llama's vocabulary nothing but the text's end can make a lone blank of it.
            ids = ids if ids[-1] == self.blank_id else (*ids, self.blank_id)
            if len(ids) > self._longest:
                raise BadInstruction(
                    f"instruction {instruction[:40]!r}... makes a prompt of {len(ids)} tokens; "
                    f"allowed: {self._longest} with what surrounds it; shorten it"
                )
            self._known[instruction] = ids
        return self._known[instruction]

    def __call__(self, instructions: Sequence[str]) -> PromptBatch:
        """Makes the prompts of B instructions, padded on the left behind the begin of text."""
        return left_padded([self.ids(instruction) for instruction in instructions], self.pad_id)

    def supervised(self, instructions: Sequence[str], action_ids: np.ndarray) -> SupervisedBatch:
        """Makes prompts with answers for training.

        Args:
            instructions: B texts.
            action_ids: (B, A) token ids of the actions.
        """
        prompts = [self.ids(instruction) for instruction in instructions]
        return supervised_batch(prompts, action_ids, end_id=self.end_id, pad_id=self.pad_id)


def left_padded(prompts: Sequence[Sequence[int]], pad_id: int) -> PromptBatch:
    """Lays prompts of various lengths out as ``PromptBatch`` says.

    Args:
        prompts: the ids of each, begin of text first.
        pad_id: fills the gaps.
    """
    longest = max(map(len, prompts))
    input_ids = torch.full((len(prompts), longest), pad_id, dtype=torch.int64)
    attention_mask = torch.zeros_like(input_ids)
    for row, ids in enumerate(prompts):
        input_ids[row, 0], attention_mask[row, 0] = ids[0], 1
        rest = len(ids) - 1
        input_ids[row, longest - rest :] = torch.tensor(ids[1:], dtype=torch.int64)
        attention_mask[row, longest - rest :] = 1
    return PromptBatch(input_ids, attention_mask)


def supervised_batch(
    prompts: Sequence[Sequence[int]], action_ids: np.ndarray, *, end_id: int, pad_id: int
) -> SupervisedBatch:
    """Appends answers to prompts and lays them out as ``SupervisedBatch`` says.

    Args:
        prompts: B prompts' ids, from the begin of text to the lone blank.
        action_ids: (B, A).
        end_id: of the end of text, which follows the actions and is learned as well.
        pad_id: fills the gaps.
    """
    answers = torch.as_tensor(np.asarray(action_ids), dtype=torch.int64)
    longest = max(map(len, prompts)) + answers.shape[1] + 1
    input_ids = torch.full((len(prompts), longest), pad_id, dtype=torch.int64)
    labels = torch.full_like(input_ids, IGNORED)
    attention_mask = torch.zeros_like(input_ids, dtype=torch.bool)
    for row, (ids, answer) in enumerate(zip(prompts, answers, strict=True)):
        end = len(ids) + len(answer) + 1
        input_ids[row, : len(ids)] = torch.tensor(ids, dtype=torch.int64)
        input_ids[row, len(ids) : end] = torch.cat([answer, answer.new_tensor([end_id])])
        labels[row, len(ids) : end] = input_ids[row, len(ids) : end]
        attention_mask[row, :end] = True
    return SupervisedBatch(input_ids, attention_mask, labels)


def _id_of(tokenizer: Tokenizer, token: str) -> int:
    number = tokenizer.token_to_id(token)
    if number is None:
        raise BadCheckpoint(f"the tokenizer has no token {token!r}; allowed: one of Llama's kind, as OpenVLA's are")
    return number


def _content(token: Any) -> str | None:
    """What a token reads as: files have it as a text or as a table with its properties."""
    return token.get("content") if isinstance(token, Mapping) else token
