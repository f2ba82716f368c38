"""The evaluation lists: nested, without repeats, and the same for everybody for ever."""

from __future__ import annotations

import hashlib
from collections import Counter
from itertools import combinations

import pytest

from vlagen.tasks.episodes import decode, total
from vlagen.tasks.rows import find_row
from vlagen.tasks.sampling import episode_indices, evaluation_episodes
from vlagen.tasks.variants import VARIANTS, Variant, variant

TINY = Variant("tiny", "one object on one table", objects=(0,), tables=(0,))  # 784 places times 4 yaws


def name(row):
    return f"{row.protocol}:{row.id}"


@pytest.mark.parametrize("row", VARIANTS, ids=name)
def test_lists_are_nested_in_range_and_without_repeats(row):
    longest = episode_indices(row, 512)
    for count in (0, 1, 8, 64, 192, 512):
        assert episode_indices(row, count) == longest[:count]
    assert len(set(longest)) == 512
    assert 0 <= min(longest) < max(longest) < total(row)


def test_every_row_of_every_protocol_has_its_own_list():
    lists = [set(episode_indices(row, 64)) for row in VARIANTS]
    assert max(len(a & b) for a, b in combinations(lists, 2)) <= 2


def test_episodes_are_the_decoded_indices():
    row = variant("vision/table")
    assert evaluation_episodes(row, 3) == tuple(decode(row, index) for index in episode_indices(row, 3))


def test_the_lists_never_change():
    """A changed digest means that results measured before and after cannot be compared: a new protocol, not a fix."""
    lists = hashlib.sha256()
    for row in VARIANTS:
        lists.update(f"{row.protocol} {row.id} {episode_indices(row, 512)}\n".encode())
    assert episode_indices(variant("train"), 3) == (401906, 655648, 293422)
    assert lists.hexdigest() == "19fa5b7b95a78a5da666a39b6381998e796a82704a9ddd93696656f8f998ad55"


def test_the_lists_of_compositions_never_change_either():
    for protocol, first in (("vlagen-v1", (85194, 297221, 543010)), ("rl4vla", (410783, 561154, 414743))):
        for spelling in ("vision/table+execution/moved-midway", "execution/moved-midway@60+vision/table~control"):
            assert episode_indices(find_row(spelling, protocol), 3) == first


def test_a_list_can_hold_the_whole_row_and_no_more():
    assert sorted(episode_indices(TINY, 3136)) == list(range(3136))
    with pytest.raises(ValueError, match=r"tiny \(vlagen-v1\) has 3136 episodes; 3137 were asked for"):
        episode_indices(TINY, 3137)


def test_a_negative_count_is_refused():
    with pytest.raises(ValueError, match="-1 were asked for"):
        episode_indices(TINY, -1)


def test_draws_are_roughly_uniform():
    episodes = evaluation_episodes(variant("train"), 512)
    for factor in ("object", "table"):
        counts = Counter(getattr(episode, factor) for episode in episodes)
        assert len(counts) == 16
        # 32 expected, standard deviation 5.5.
        assert 16 <= min(counts.values()) <= max(counts.values()) <= 48
    halves = sum(index < 802_816 // 2 for index in episode_indices(variant("train"), 512))
    assert 200 <= halves <= 312  # 256 expected, standard deviation 11
