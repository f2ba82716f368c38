"""Which indices of an asset pack are seen in training and which are held out; both packs share the split."""

from __future__ import annotations

Ids = tuple[int, ...]

TRAIN_OBJECTS, HELD_OUT_OBJECTS, ALL_OBJECTS = tuple(range(16)), tuple(range(16, 25)), tuple(range(25))
TRAIN_RECEPTACLES, HELD_OUT_RECEPTACLES, ALL_RECEPTACLES = (0,), tuple(range(1, 17)), tuple(range(17))
TRAIN_TABLES, HELD_OUT_TABLES, ALL_TABLES = tuple(range(16)), tuple(range(16, 21)), tuple(range(21))
TRAIN_TEMPLATES, HELD_OUT_TEMPLATES = (0,), tuple(range(1, 21))
HELD_OUT_TEXTURES = tuple(range(1, 17))
