import pytest

from vlagen.assets.packs import load_pack
from vlagen.baselines.openvla.errors import BadConfiguration
from vlagen.baselines.openvla.prompts import PROMPTS, WORD_START, PromptEncoder, prompt
from vlagen.baselines.openvla.tokenizer import PAD, build_tokenizer
from vlagen.tasks.instructions import TEMPLATES, render


def test_the_vocabulary_has_the_structure_of_llamas():
    tokenizer = build_tokenizer(1024, 256)
    vocabulary = tokenizer.get_vocab()
    assert sorted(vocabulary.values()) == list(range(1025))
    assert [tokenizer.id_to_token(number) for number in (0, 1, 2, 3, 258)] == [
        "<unk>",
        "<s>",
        "</s>",
        "<0x00>",
        "<0xFF>",
    ]
    assert vocabulary[PAD] == 1024
    actions = [tokenizer.id_to_token(number) for number in range(768, 1024)]
    assert all(len(token) == 1 and 0xE000 <= ord(token) < 0xE100 for token in actions)
    assert tokenizer.encode("Out: ").ids[-1] == vocabulary[WORD_START]
    assert tokenizer.encode("Out:").ids[-1] == vocabulary[":"]


@pytest.mark.parametrize("text", ["put carrot on plate", "Ünïcode — 漢字 🥕!", "a  b\n\tc"])
def test_any_text_survives_a_round_trip(text):
    tokenizer = build_tokenizer(1024, 256)
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_the_benchmarks_own_sentences_take_few_tokens_and_no_bytes():
    encoder = PromptEncoder(build_tokenizer(), 1024)
    tokenizer = build_tokenizer()
    pack = load_pack("builtin")
    for template in range(len(TEMPLATES)):
        for model in pack.objects:
            text = render(template, model.text, pack.receptacles[0].text).replace("’", "'")
            tokens = tokenizer.encode(prompt(text)).tokens
            assert [token for token in tokens if token.startswith("<0x")] == ["<0x0A>"], tokens
            assert len(encoder.ids(text)) < 48


@pytest.mark.parametrize("style", PROMPTS)
def test_no_prompt_has_an_action_token(style):
    encoder = PromptEncoder(build_tokenizer(), 1024, style)
    assert max(encoder.ids("put carrot on plate")) < 768


def test_a_vocabulary_without_room_for_letters_is_refused():
    with pytest.raises(BadConfiguration, match=r"vocabulary_size 500 with 256 action tokens; allowed: \d+ or more"):
        build_tokenizer(500, 256)
