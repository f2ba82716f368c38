"""Whether two policies differ on the same episodes: exact p-values, their adjustment, and what could be noticed at all.

``docs/statistics.md`` has the formulas.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple


class McNemar(NamedTuple):
    """Exact p-values of paired outcomes, from the episodes that only one side solved.

    Attributes:
        two_sided: for A and B differing in either direction.
        drop: one-sided, for B being worse than A.
        gain: one-sided, for B being better than A.
    """

    two_sided: float
    drop: float
    gain: float


def mcnemar(only_a: int, only_b: int) -> McNemar:
    """The exact test of McNemar (1947): under no difference, either side is equally likely to be the one that solved.

    Args:
        only_a: episodes that A solved and B did not.
        only_b: the reverse.
    """
    drop, gain = _upper_tail(only_a, only_a + only_b), _upper_tail(only_b, only_a + only_b)
    return McNemar(min(1.0, 2 * min(drop, gain)), drop, gain)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Adjusts p-values so that all of them at once are wrong with at most the stated probability (Holm 1979).

    Args:
        p_values: of one family; those that are NaN stay so and are not part of it.
    """
    known = sorted((p, place) for place, p in enumerate(p_values) if not math.isnan(p))
    adjusted, largest = [math.nan] * len(p_values), 0.0
    for rank, (p, place) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        adjusted[place] = largest
    return tuple(adjusted)


def detectable_difference(
    pairs: int, discordant: int, alpha: float = 0.05, power: float = 0.8, sides: int = 2
) -> float:
    """The smallest true difference that the exact McNemar test would have noticed with at least this power.

    Miettinen's (1968) sample size for McNemar's test with a continuity correction, solved for the difference; the share
    of discordant pairs is the one observed, or the difference itself where that is larger.

    Args:
        pairs: episodes compared.
        discordant: of these, solved by one side only.
        alpha: level of the test. To stay detectable after Holm among R rows it takes ``alpha / R``.
        power: probability to notice.
        sides: 2, or 1 for a test against a drop alone.

    Returns:
        A difference of rates in (0, 1]; NaN where not even a difference in every pair would be significant.
    """
    if pairs == 0 or sides * 0.5**pairs > alpha:
        return math.nan
    z_alpha, z_power = NormalDist().inv_cdf(1 - alpha / sides), NormalDist().inv_cdf(power)
    low, high = 0.0, 1.0
    for _ in range(50):
        difference = (low + high) / 2
        share = max(discordant / pairs, difference)
        needed = z_alpha * math.sqrt(share) + z_power * math.sqrt(share - difference**2)
        if difference * math.sqrt(pairs) - 1 / math.sqrt(pairs) < needed:
            low = difference
        else:
            high = difference
    return high


def _upper_tail(least: int, trials: int) -> float:
    """The probability of at least so many heads in tosses of a fair coin, exact up to the last rounding."""
    if least > trials / 2:
        ways, total = 1, 0
        for heads in range(trials, least - 1, -1):
            total += ways
            ways = ways * heads // (trials - heads + 1)
        return total / 2**trials
    # The shorter tail is summed: as many tails as heads are missing are as likely as that many heads.
    return 1.0 - _upper_tail(trials - least + 1, trials)
