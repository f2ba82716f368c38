"""How numbers are rounded where people read them; ``leaderboard/web/script/data.js`` does the same."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

_DIGITS_BEFORE_NOISE = 3


def rounded(value: float, digits: int) -> Decimal:
    """Rounds a finite number for a table.

    A tie goes away from zero, as on paper: 13 successes of 16 are 81.3%. ``round`` and ``format`` take the even digit
    instead, and only where the tie is one in binary: 76.25 as a mean of four rates may be 76.25000000000001. Here
    nothing counts that is beyond the third digit after the last that is shown. Zero has no sign.
    """
    known = Decimal(f"{value:.{digits + _DIGITS_BEFORE_NOISE}f}")
    return known.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP) + 0


def percent(rate: float) -> Decimal:
    """A finite fraction in percent, with the one digit that tables show."""
    return rounded(100 * rate, 1)


def points(difference: float) -> str:
    """A finite difference of rates in percentage points, with its sign."""
    return f"{percent(difference):+}".replace("-", "−")
