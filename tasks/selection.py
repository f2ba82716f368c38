"""Which episodes a reset runs: named ones, upstream ids, or seeded draws."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from vlagen.assets.errors import VlagenError, unknown

from .episodes import Episode, decode
from .rows import DerivedRow, find_row, index_at, row_size
from .upstream import OBJECT_SETS, upstream_variant
from .variants import Variant, variant

OPTIONS = ("episodes", "episode_id", "obj_set", "reconfigure", "env_idx", "reset_to_env_states")


class BadResetOption(VlagenError, ValueError):
    """A reset option that cannot be carried out."""


class EpisodeSource:
    """Chooses episodes for resets of one environment id."""

    def __init__(self, variant_id: str, protocol: str, upstream: str | None):
        self._upstream = upstream
        self._row = upstream_variant(upstream) if upstream is not None else find_row(variant_id, protocol)
        self._generators: list[np.random.Generator] = []

    def choose(self, count: int, seed: int | Sequence[int] | None, options: dict[str, Any]) -> tuple[Episode, ...]:
        """One episode per environment. Raises ``BadResetOption`` for unknown options and wrong counts."""
        for option in options:
            if option not in OPTIONS:
                raise BadResetOption(unknown("reset option", option, OPTIONS))
        if "episodes" in options:
            return self._given(count, options["episodes"])
        row = self._row_of(options)
        self._seed(count, seed)
        if options.get("episode_id") is not None:
            ids = np.asarray(options["episode_id"], dtype=np.int64).reshape(-1)
            self._check_count(count, len(ids), "episode_id")
            return tuple(decode(row, int(i)) for i in ids)
        return tuple(decode(row, index_at(row, int(g.integers(row_size(row))))) for g in self._generators)

    def model_keys(self, episodes: Iterable[Episode]) -> list[tuple[str, int]]:
        """Every model that this source's draws or the given episodes may use, for scenes that cannot grow."""
        rows = [upstream_variant(self._upstream, s) for s in OBJECT_SETS] if self._upstream else [self._row]
        keys = [key for episode in episodes for key in episode.models]
        for row in rows:
            if isinstance(row, DerivedRow) and row.is_control:
                row = variant("train", row.protocol)
            keys += [("object", i) for i in row.objects] + [("receptacle", i) for i in row.receptacles]
            if row.distractor is not None:
                keys += [(row.distractor.kind, i) for i in row.distractor.pool]
        return sorted(set(keys))

    def _seed(self, count: int, seed: int | Sequence[int] | None) -> None:
        """Seeded resets restart each environment's own generator; the first unseeded one takes fresh entropy."""
        if seed is None and len(self._generators) == count:
            return
        if np.iterable(seed):
            self._check_count(count, len(seed), "seed")
            self._generators = [np.random.default_rng(s) for s in seed]
        else:
            self._generators = np.random.default_rng(seed).spawn(count) if count > 1 else [np.random.default_rng(seed)]

    def _given(self, count: int, episodes: Sequence[Episode]) -> tuple[Episode, ...]:
        if isinstance(episodes, Episode):
            raise BadResetOption("options['episodes'] is one Episode; give a list with one per parallel environment")
        self._check_count(count, len(episodes), "episodes")
        for episode in episodes:
            if not isinstance(episode, Episode):
                raise BadResetOption(
                    f"options['episodes'] holds a {type(episode).__name__}; make episodes with "
                    "vlagen.tasks.episodes.decode(variant(row_id), index)"
                )
        return tuple(episodes)

    def _row_of(self, options: dict[str, Any]) -> Variant:
        if "obj_set" not in options:
            return self._row
        if self._upstream is None:
            raise BadResetOption("obj_set belongs to upstream's environment ids; here the row's id says it all")
        return upstream_variant(self._upstream, options["obj_set"])

    def _check_count(self, count: int, given: int, option: str) -> None:
        if given != count:
            raise BadResetOption(f"{option} has {given} entries for {count} parallel environment(s)")
