"""The root of vlagen's errors, and the wording for a name that is not in a list.

It lives in the lowest layer so that every other layer can raise it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class VlagenError(Exception):
    """Something the user can act on: the message says what was given, what is allowed and what to do next."""


class UnknownPack(VlagenError, ValueError):
    """A name that no asset pack has."""


class BrokenManifest(VlagenError):
    """A manifest that is absent, is not JSON, or lacks a field."""


class MissingAsset(VlagenError, FileNotFoundError):
    """A file that its pack's manifest promises and the disk does not have."""


class FetchError(VlagenError):
    """An asset file that could not be downloaded or copied."""


class FetchStopped(FetchError):
    """A failure that every further file would meet as well: no network, no room on the disk, no permission."""


def unknown(kind: str, given: object, allowed: Iterable[str]) -> str:
    """Words the message for a name that is not in a list.

    Args:
        kind: what the name should have been, e.g. ``"row"``.
        given: what the user wrote.
        allowed: the names that exist, in the order to show them.

    Returns:
        One sentence such as ``unknown row 'visoin/table'; did you mean 'vision/table'? allowed: train, vision/table``.
    """
    names = list(allowed)
    # Case is folded for the comparison only: 'Builtin' should find 'builtin'.
    by_folded_name = {name.casefold(): name for name in names}
    close = difflib.get_close_matches(str(given).casefold(), by_folded_name, n=1)
    guess = f"; did you mean {by_folded_name[close[0]]!r}?" if close else ";"
    return f"unknown {kind} {given!r}{guess} allowed: {', '.join(names) or '(none)'}"
