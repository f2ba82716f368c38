"""Which episodes of a row a collection plays, and which of them the data set takes: the first N that succeed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice

from vlagen.assets.errors import VlagenError
from vlagen.benchmark.records import EpisodeKey, EpisodeRecord
from vlagen.tasks.draws import training_indices
from vlagen.tasks.episodes import Episode, decode
from vlagen.tasks.restriction import Pools
from vlagen.tasks.variants import Variant


class TooFewEpisodes(VlagenError):
    """A row whose training episodes do not hold as many successes as are wanted."""


class Candidates:
    """The training draws of one row, in their one order.

    Which of them are taken depends on their results alone, not on when these become known: the first ``wanted`` that
    succeed. So a collection has the same episodes however many workers play, and however often it was stopped.

    Args:
        row: whose episodes.
        seed: of the draws.
        pools: the part of the row's pools to draw from.
        wanted: successes.
        usable: tells of a successful episode whether its demonstration is there.

    Attributes:
        taken: keys of the first successes, as far as no result before them is missing.
    """

    def __init__(
        self, row: Variant, seed: int, pools: Pools, wanted: int, usable: Callable[[EpisodeKey], bool]
    ) -> None:
        self.row = row
        self.taken: list[EpisodeKey] = []
        self._wanted = wanted
        self._usable = usable
        self._indices = training_indices(row, seed, pools)
        self._drawn: list[int] = []
        self._settled = 0

    @property
    def drawn(self) -> list[int]:
        """Indices of all candidates that have been looked at, in their order."""
        return list(self._drawn)

    def episodes(self) -> list[Episode]:
        """The candidates that have been looked at, as episodes."""
        return [decode(self.row, index) for index in self._drawn]

    def advance(self, records: Mapping[EpisodeKey, EpisodeRecord]) -> None:
        """Takes what is known now."""
        while len(self.taken) < self._wanted:
            key = self._key(self._settled)
            if key not in records:
                return
            if self._is_taken(records[key]):
                self.taken.append(key)
            self._settled += 1

    def missing(self, records: Mapping[EpisodeKey, EpisodeRecord]) -> list[Episode]:
        """The episodes that have to be played in any case: so many that all wanted are there if they all succeed.

        Raises:
            TooFewEpisodes: there are none left.
        """
        hopeful, place, missing = len(self.taken), self._settled, []
        while hopeful < self._wanted:
            key = self._key(place)
            if key not in records:
                missing.append(decode(self.row, key[1]))
            hopeful += key not in records or self._is_taken(records[key])
            place += 1
        return missing

    def _is_taken(self, record: EpisodeRecord) -> bool:
        return record.outcome == "success" and self._usable(record.key)

    def _key(self, place: int) -> EpisodeKey:
        self._drawn.extend(islice(self._indices, max(0, place + 1 - len(self._drawn))))
        if place >= len(self._drawn):
            raise TooFewEpisodes(
                f"row {self.row.id}: only {len(self.taken)} of {len(self._drawn)} training episodes of these pools "
                f"succeeded, and {self._wanted} were asked for; ask for fewer, or for larger pools"
            )
        return self.row.id, self._drawn[place]
