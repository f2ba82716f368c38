"""A reader of TOML for every Python: 3.10 has none of its own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    from tomllib import loads
else:
    from tomli import loads

__all__ = ["loads", "read_toml"]


def read_toml(path: Path) -> dict[str, Any]:
    """Reads a file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no TOML.
    """
    return loads(path.read_text(encoding="utf-8"))
