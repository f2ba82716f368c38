"""What can be wrong with the records that a leaderboard is asked to show."""

from __future__ import annotations

from vlagen.assets.errors import VlagenError


class BadRun(VlagenError, ValueError):
    """A run that no table may show: damaged, incomplete, or not what its ``run.json`` says."""


class NotOneTable(VlagenError, ValueError):
    """Runs that are sound each for itself and whose numbers must not stand in one table."""


class BadEntry(VlagenError, ValueError):
    """A submission that is damaged, or whose numbers are not those of its records."""
