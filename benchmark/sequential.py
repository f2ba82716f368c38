"""When a row has been played often enough: intervals that may be looked at after every batch, and the rule that stops.

An ordinary 95% interval holds for a number of episodes fixed beforehand. Whoever looks at it again and again and stops
when it pleases gets a wrong one more often. The intervals here are right at all times at once.
``docs/statistics.md`` has the formulas and the price.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from vlagen.assets.errors import VlagenError
from vlagen.benchmark.statistics import UNDEFINED, Interval

BATCH = 16
"""The rule is checked after every so many episodes of a row."""

_PRIOR_TRIALS = 16  # tightest for half-widths of 0.05 to 0.1
_PRIOR_FLOOR = 0.25  # keeps the bet open near rates of 0 and 1, which a single success or failure rules out


class BadHalfWidth(VlagenError, ValueError):
    """A precision that no number of episodes gives, or that needs none."""


def confidence_sequence(successes: int, n: int, alpha: float = 0.05) -> Interval:
    """The interval of a proportion that holds at every number of trials at once.

    It has the rates p against which a bet has not yet won ``1 / alpha`` times its stake. The bet is a mixture of
    binomials whose rates come from Beta(16 p + 1/4, 16 (1 - p) + 1/4). It gains nothing on average if p is true, so the
    probability that it ever wins that much is at most ``alpha`` (Ville 1939; Robbins 1970; Howard, Ramdas, McAuliffe
    and Sekhon 2021).

    Args:
        successes: between 0 and ``n``.
        n: trials so far; NaN bounds if 0.
        alpha: the probability that the interval is ever wrong, at most.

    Raises:
        ValueError: the counts are impossible.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes in {n} trials; allowed: 0 <= successes <= trials")
    if n == 0:
        return UNDEFINED
    rate, stake = successes / n, math.log(1 / alpha)
    low = 0.0 if successes == 0 else _boundary(successes, n, stake, outside=0.0, inside=rate)
    return Interval(low, 1.0 if successes == n else _boundary(successes, n, stake, outside=1.0, inside=rate))


def needed(outcomes: Sequence[bool | None], half_width: float, batch: int = BATCH, limit: int = 1024) -> int:
    """How many of a row's episodes should be played, given how the first ones went.

    A pure function of outcomes in the row's fixed order: whoever plays what it asks for and asks again ends with the
    same episodes, whatever the number of workers, the order in which they finish, or how often the run was killed.

    Args:
        outcomes: of the row's first episodes in their fixed order, up to the first that is still to be played. None
            for an episode that ended in an error, which counts as played but tells nothing.
        half_width: stop as soon as half the width of ``confidence_sequence`` is at most this.
        batch: the rule is checked at multiples of this.
        limit: play no more, whatever the width.

    Returns:
        A multiple of ``batch``, or ``limit``. More than ``len(outcomes)``: play up to there and ask again; else enough
        has been played.

    Raises:
        BadHalfWidth: it is not in (0, 0.5).
    """
    if not 0 < half_width < 0.5:
        raise BadHalfWidth(f"a half-width of {half_width}; allowed: above 0 and below 0.5, e.g. 0.05")
    for played in range(batch, limit, batch):
        if len(outcomes) < played or is_precise(outcomes[:played], half_width):
            return played
    return limit


def is_precise(outcomes: Sequence[bool | None], half_width: float) -> bool:
    """Whether these outcomes pin a row's rate down to within ``half_width``; see ``needed``."""
    scored = [outcome for outcome in outcomes if outcome is not None]
    low, high = confidence_sequence(sum(scored), len(scored))
    return high - low <= 2 * half_width  # False for NaN


def _boundary(successes: int, n: int, stake: float, *, outside: float, inside: float) -> float:
    """Bisects for the rate at which the bet has won; it is convex in the rate, so there is one on either side."""
    for _ in range(60):
        rate = (outside + inside) / 2
        if _log_capital(rate, successes, n) < stake:
            inside = rate
        else:
            outside = rate
    return outside


def _log_capital(rate: float, successes: int, n: int) -> float:
    """Logarithm of what the bet against ``rate`` in (0, 1) has made of a stake of 1."""
    failures = n - successes
    yes, no = _PRIOR_TRIALS * rate + _PRIOR_FLOOR, _PRIOR_TRIALS * (1 - rate) + _PRIOR_FLOOR
    mixture = _log_beta(yes + successes, no + failures) - _log_beta(yes, no)
    return mixture - successes * math.log(rate) - failures * math.log1p(-rate)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
