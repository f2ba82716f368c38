import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.baselines.openvla.golden import each_golden
from vlagen.baselines.openvla.action_tokens import ActionTokenizer
from vlagen.baselines.openvla.configuration import OpenVLAConfig


@each_golden(array="tok_ids")
def test_tables_are_upstreams_to_the_last_bit(golden):
    tokenizer = ActionTokenizer.from_config(OpenVLAConfig.from_json(golden.json("config.json")))
    outputs = golden.outputs
    np.testing.assert_array_equal(tokenizer.encode(outputs["tok_values"]), outputs["tok_ids"])
    np.testing.assert_array_equal(tokenizer.encode(outputs["tok_values_f32"]), outputs["tok_ids_f32"])
    np.testing.assert_array_equal(tokenizer.decode(outputs["detok_ids"]), outputs["detok_values"])


def test_ends_and_the_spare_id():
    tokenizer = ActionTokenizer()
    assert tokenizer.ids == range(31744, 32000)
    assert tokenizer.encode(np.array([-1.0, -2.0, 0.0, 0.9999, 1.0, 5.0])).tolist() == [
        31999,
        31999,
        31872,
        31745,
        31744,
        31744,
    ]
    top, same = tokenizer.decode(np.array([31744, 31745]))
    assert top == same == pytest.approx(254 / 255)
    assert tokenizer.decode(31999) == pytest.approx(-254 / 255)


def test_ids_of_other_words_count_as_the_nearest_end():
    assert ActionTokenizer().decode(np.array([2, 40000])).tolist() == pytest.approx([254 / 255, -254 / 255])


@given(st.floats(-1, 1), st.integers(2, 300))
def test_a_round_trip_stays_within_half_a_bin(value, bins):
    tokenizer = ActionTokenizer(bins=bins, vocabulary_size=1000)
    number = tokenizer.encode(np.array(value))
    assert number in tokenizer.ids
    assert abs(tokenizer.decode(number) - value) <= 1 / (bins - 1) + 1e-12


@given(st.integers(745, 999))
def test_a_bins_middle_gets_the_bins_own_id(number):
    tokenizer = ActionTokenizer(bins=256, vocabulary_size=1000)
    assert tokenizer.encode(tokenizer.decode(number)) == number
