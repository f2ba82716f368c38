"""Where golden records lie, and how tests ask for them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
PROTOCOL = Path(os.environ.get("VLAGEN_GOLDEN_PROTOCOL", PROJECT.parent / "shared/data/protocol/public"))

needs_golden = [
    pytest.mark.golden,
    pytest.mark.skipif(not PROTOCOL.is_dir(), reason=f"no golden records at {PROTOCOL} (VLAGEN_GOLDEN_PROTOCOL)"),
]


def load(relative: str) -> dict | list:
    """A golden JSON file."""
    return json.loads((PROTOCOL / relative).read_text())


def row_files() -> list[Path]:
    """The record files of the 16 rows that this golden directory holds."""
    return sorted(PROTOCOL.glob("row*.json"))
