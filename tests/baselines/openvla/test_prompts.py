import importlib.util

import numpy as np
import pytest
import torch

from tests.baselines.openvla.golden import BLANK, SHARED, each_golden
from vlagen.baselines.openvla.errors import BadCheckpoint
from vlagen.baselines.openvla.prompts import (
    IGNORED,
    BadInstruction,
    PromptEncoder,
    left_padded,
    prompt,
    supervised_batch,
)
from vlagen.baselines.openvla.tiny import tiny_config
from vlagen.baselines.openvla.tokenizer import build_tokenizer, write_tokenizer

PAD = 32000


@pytest.fixture(scope="module")
def encoder() -> PromptEncoder:
    return PromptEncoder(build_tokenizer(1024, 256), pad_id=1024)


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> PromptEncoder:
    """A tokenizer with the structure of Llama 2's, which gives the words of the prompt their real ids."""
    script = SHARED / "make_toy_llama_tokenizer.py"
    if not script.is_file():
        pytest.skip(f"no {script}")
    spec = importlib.util.spec_from_file_location("toy_llama", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = tmp_path_factory.mktemp("llama")
    module.write(folder)
    return PromptEncoder.from_checkpoint(folder, tiny_config())


def test_the_sentence():
    assert prompt("Put the CARROT on plate.") == (
        "In: What action should the robot take to put the carrot on plate.?\nOut:"
    )
    assert prompt("go", "v01").endswith("questions. USER: What action should the robot take to go? ASSISTANT:")


@pytest.mark.golden
def test_ids_are_those_of_llama(llama):
    ids = llama.ids("The robot")
    assert ids[:10] == (1, 512, 29901, 1724, 3158, 881, 278, 19964, 2125, 304)
    assert ids[10:] == (278, 19964, 29973, 13, 3744, 29901, BLANK)


@each_golden(array="rl_greedy_tokens")
def test_batches_are_upstreams(golden):
    prompts = [golden.prompt_ids(sample) for sample in golden.samples]
    batch = left_padded(prompts, PAD)
    np.testing.assert_array_equal(batch.input_ids, golden.inputs["rl_input_ids"])
    np.testing.assert_array_equal(batch.attention_mask, golden.inputs["rl_attention_mask"])


@each_golden(array="sft_loss")
def test_training_batches_are_upstreams(golden):
    labels = golden.inputs["sft_labels"]
    prompts, answers = [], []
    for ids, row in zip(golden.inputs["sft_input_ids"], labels, strict=True):
        start = int(np.argmax(row != IGNORED))
        prompts.append(ids[:start])
        answers.append(row[row != IGNORED][:-1])
    batch = supervised_batch(prompts, np.stack(answers), end_id=2, pad_id=PAD)
    np.testing.assert_array_equal(batch.input_ids, golden.inputs["sft_input_ids"])
    np.testing.assert_array_equal(batch.attention_mask, golden.inputs["sft_attention_mask"])
    np.testing.assert_array_equal(batch.labels, labels)


def test_a_prompt_ends_in_one_lone_blank(encoder):
    ids = encoder.ids("put carrot on plate")
    assert ids[0] == encoder.begin_id
    assert ids[-1] == encoder.blank_id
    assert encoder.blank_id not in ids[:-1]


def test_rows_begin_and_end_together(encoder):
    texts = ("put carrot on plate", "lay the watering can down on the plate.")
    batch = encoder(texts)
    assert (batch.input_ids[:, 0] == encoder.begin_id).all()
    assert (batch.input_ids[:, -1] == encoder.blank_id).all()
    for row, text in enumerate(texts):
        there = batch.attention_mask[row].bool()
        assert batch.input_ids[row][there].tolist() == list(encoder.ids(text))
        assert (batch.input_ids[row][~there] == encoder.pad_id).all()
    assert batch.attention_mask.sum(dim=1).tolist() == [len(encoder.ids(text)) for text in texts]


def test_training_rows_learn_the_actions_and_the_end_only(encoder):
    actions = np.array([[650, 651], [652, 653]])
    batch = encoder.supervised(["put carrot on plate", "put the golf ball on plate"], actions)
    assert batch.labels[batch.labels != IGNORED].tolist() == [650, 651, encoder.end_id, 652, 653, encoder.end_id]
    learned = batch.labels != IGNORED
    torch.testing.assert_close(batch.input_ids[learned], batch.labels[learned])
    assert (batch.attention_mask == (batch.input_ids != encoder.pad_id)).all()


def test_an_instruction_in_any_script_is_read(encoder):
    assert len(encoder.ids("поставь морковь 🥕 — so it’s on plate")) > 30


@pytest.mark.parametrize("empty", ["", "  \n"])
def test_an_empty_instruction_is_refused(encoder, empty):
    with pytest.raises(BadInstruction, match="says nothing"):
        encoder([empty])


def test_a_too_long_instruction_is_refused():
    encoder = PromptEncoder(build_tokenizer(700, 256), pad_id=700, longest=40)
    encoder.ids("put carrot on plate")
    with pytest.raises(BadInstruction, match=r"makes a prompt of \d+ tokens; allowed: 40"):
        encoder.ids("put carrot on plate " * 20)


def test_an_unknown_style_is_refused():
    with pytest.raises(BadInstruction, match="unknown prompt style 'openvl'; did you mean 'openvla'"):
        prompt("go", "openvl")


def test_a_folder_without_a_usable_tokenizer_is_refused(tmp_path):
    config = tiny_config()
    with pytest.raises(BadCheckpoint, match="is missing; copy it"):
        PromptEncoder.from_checkpoint(tmp_path, config)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(BadCheckpoint, match="cannot be read as a tokenizer"):
        PromptEncoder.from_checkpoint(tmp_path, config)


def test_a_folder_as_transformers_writes_it_is_read(tmp_path):
    transformers = pytest.importorskip("transformers")
    write_tokenizer(tmp_path, 700, 256)
    theirs = transformers.PreTrainedTokenizerFast.from_pretrained(tmp_path)
    theirs.save_pretrained(tmp_path / "again")
    ours = PromptEncoder.from_checkpoint(tmp_path / "again", tiny_config(vocabulary_size=700))
    text = "move the golf ball to the plate"
    assert [*theirs(prompt(text))["input_ids"], ours.blank_id] == list(ours.ids(text))
