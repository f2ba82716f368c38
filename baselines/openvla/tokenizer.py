"""A small tokenizer of Llama's kind for tiny models: made on the spot, nothing to download, no licence to accept.

Its structure is that of Llama 2's, so that the code around it takes the same path: byte-pair encoding that falls back
to bytes, blanks written as marks at the start of words, the action tokens last, a padding token behind them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from vlagen.assets.packs import PACKS, load_pack
from vlagen.baselines.openvla.errors import BadConfiguration
from vlagen.baselines.openvla.prompts import PROMPTS, WORD_START
from vlagen.tasks.instructions import TEMPLATES, render

UNKNOWN, BEGIN, END, PAD = "<unk>", "<s>", "</s>", "<PAD>"
_SPECIAL = (UNKNOWN, BEGIN, END)
_BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,:?'-"
_FIRST_ACTION = 0xE000  # characters for private use, which nobody types


def build_tokenizer(vocabulary_size: int = 1024, action_bins: int = 256) -> Tokenizer:
    """Makes a tokenizer that knows the benchmark's instructions word by word, and everything else byte by byte.

    Args:
        vocabulary_size: how many tokens there are, ``<PAD>`` not counted, whose id is this number.
        action_bins: how many of them, the last, stand for actions.

    Raises:
        BadConfiguration: so few do not even hold the letters.
    """
    fixed = len(_SPECIAL) + len(_BYTES) + action_bins
    pieces, merges = _learned(vocabulary_size - fixed)
    least = fixed + len(pieces)
    if least > vocabulary_size:
        raise BadConfiguration(
            f"vocabulary_size {vocabulary_size} with {action_bins} action tokens; allowed: {least} or more"
        )
    fillers = [f"<filler_{number}>" for number in range(vocabulary_size - least)]
    actions = [chr(_FIRST_ACTION + number) for number in range(action_bins)]
    tokens = [*_SPECIAL, *_BYTES, *pieces, *fillers, *actions]
    tokenizer = Tokenizer(
        models.BPE(
            vocab={token: number for number, token in enumerate(tokens)},
            merges=merges,
            unk_token=UNKNOWN,
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(WORD_START), normalizers.Replace(" ", WORD_START)])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(WORD_START, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", pair=f"{BEGIN} $A {BEGIN} $B", special_tokens=[(BEGIN, 1)]
    )
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in (*_SPECIAL, PAD)])
    return tokenizer


def write_tokenizer(folder: str | Path, vocabulary_size: int = 1024, action_bins: int = 256) -> None:
    """Writes such a tokenizer into a checkpoint's folder, in the files that transformers reads, too."""
    folder = Path(folder)
    build_tokenizer(vocabulary_size, action_bins).save(str(folder / "tokenizer.json"))
    settings = {
        "add_bos_token": True,
        "add_eos_token": False,
        "bos_token": BEGIN,
        "eos_token": END,
        "unk_token": UNKNOWN,
        "pad_token": PAD,
        "padding_side": "right",
        "clean_up_tokenization_spaces": False,
        "tokenizer_class": "LlamaTokenizer",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def _learned(size: int) -> tuple[list[str], list[tuple[str, str]]]:
    """Learns up to ``size`` pieces of words from the benchmark's instructions; returns them and their merges."""
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(
        vocab_size=max(size, 0), initial_alphabet=[*_LETTERS, WORD_START], show_progress=False, min_frequency=1
    )
    learner.train_from_iterator(_words(), trainer)
    model = json.loads(learner.to_str())["model"]
    # Older releases write a merge as one text.
    merges = [tuple(merge.split(" ") if isinstance(merge, str) else merge) for merge in model["merges"]]
    return sorted(model["vocab"], key=model["vocab"].get), merges


def _words() -> Iterator[str]:
    """Yields what instructions are made of, with marks at the start of words and blanks between what never merges."""
    texts = {line for style in PROMPTS.values() for line in style.format(instruction="").split("\n")}
    for pack in map(load_pack, PACKS):
        for model in (*pack.objects, *pack.receptacles):
            texts |= {render(number, model.text, model.text).lower() for number in range(len(TEMPLATES))}
    for text in sorted(texts):
        # Only "Out:" of the prompt begins a line; everything else follows a blank.
        marked = text if text.startswith("Out") else f" {text}"
        yield " ".join(re.findall(rf"{WORD_START}?\w+|[^\w\s]", marked.replace(" ", WORD_START)))
