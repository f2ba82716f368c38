"""Rows by id, those of the table and those made of them.

======================================  ===============================================================================
``vision/table``                        a row of the table
``vision/table+execution/position``     a composition: both rows' changes at once (``composition.py``)
``vision/texture-weak@0.35``            a severity: the row with its knob at a value (``severity.py``)
``train[objects=0-3,6,tables=0]``       a part: the row's episodes with these of its pools only (``restriction.py``)
``vision/table~control``                a control arm: the unperturbed twins of the row's episodes (``control.py``)
======================================  ===============================================================================

They combine, written in this order: the rows of a composition may have severities, what stands in brackets cuts the
pools of all that is before it, and anything but ``train`` has a control arm. Ids have one canonical form: rows in the
order of the table, numbers without superfluous digits, pools as in ``restriction.py``.

All but compositions have the indices of the row they are made of. Severities and control arms also have its evaluation
order and, but for what is turned or taken back, its episodes; so results are paired by index. A part has an order of
its own, of episodes that are never drawn for training in the same part of the pools (``draws.py``).
"""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass
from typing import Any

from . import composition, control
from .episodes import total
from .restriction import WHOLE, BadPools, Pools, narrowed, nearest, parse, restricted, span, whole_index
from .severity import KNOBS, severities
from .variants import ROW_IDS, UnknownVariant, Variant, variant

CONTROL = "~control"

KINDS = {"~": "control", "[": "part", "+": "composition", "@": "severity"}
"""Sign in the id of a derived row -> the kind that such rows are of; the first one counts."""


@dataclass(frozen=True, kw_only=True)
class DerivedRow(Variant):
    """A row made of rows of the table; its fields are the merged ones, as the index is read by them.

    Attributes:
        parts: ids of the table's rows, in its order.
        settings: part -> value of its knob, for parts that have one set.
        pools: to which the row's pools are cut down; the fields above stay whole.
        is_control: episodes are the unperturbed twins.
    """

    parts: tuple[str, ...]
    settings: tuple[tuple[str, float], ...] = ()
    pools: Pools = WHOLE
    is_control: bool = False

    @property
    def axis(self) -> str:
        """Which kind of derived row it is: no axis of the table, so its means leave it out."""
        return row_axis(self.id)

    def finish(self, episode: Any) -> Any:
        """Turns the knobs, and makes a control arm's twin."""
        for part, value in self.settings:
            episode = KNOBS[part].turn(episode, value)
        return control.twin(self, episode) if self.is_control else episode


Part = tuple[Variant, str]
"""A row of the table and the canonical setting of its knob, empty where it is not turned."""


def find_row(row_id: str, protocol: str = "vlagen-v1") -> Variant:
    """The row with this id, which need not be in canonical form.

    Raises:
        UnknownVariant: no such row, knob value or protocol, or parts that do not go together; names the nearest id.
    """
    base, tilde, arm = row_id.partition("~")
    if tilde and arm != "control":
        rest = row_id.replace(CONTROL, "") if CONTROL in row_id else base
        raise UnknownVariant(
            f"row {row_id!r}: what follows ~ is 'control', at the end; did you mean '{rest}{CONTROL}'?"
        )
    names, bracket, inside = _split(base, row_id)
    parts = sorted((_part(text, row_id, protocol) for text in names.split("+")), key=lambda p: ROW_IDS.index(p[0].id))
    is_plain = len(parts) == 1 and not parts[0][1] and not tilde
    if not is_plain:
        _check_names([row.id for row, _ in parts], row_id, base.removeprefix(names))
    elif not bracket:
        return parts[0][0]
    merged = composition.merge([row for row, _ in parts])
    whole_id = "+".join(f"{row.id}@{setting}" if setting else row.id for row, setting in parts)
    title = " and ".join(map(_title, parts))
    pools = WHOLE
    if bracket:
        pools = _pools(inside, Variant(whole_id, title, protocol=protocol, **merged), row_id)
        if is_plain and not pools.chosen():
            return parts[0][0]
    return DerivedRow(
        id=_with_pools(whole_id, pools) + tilde + arm,
        title=title + (f", {pools} only" if pools.chosen() else "") + (", control" if tilde else ""),
        protocol=protocol,
        parts=tuple(row.id for row, _ in parts),
        settings=tuple((row.id, float(setting)) for row, setting in parts if setting),
        pools=pools,
        is_control=bool(tilde),
        **merged,
    )


def control_of(row: Variant) -> Variant:
    """The control arm of a row. Raises ``UnknownVariant`` for ``train`` and for control arms."""
    return find_row(row.id + CONTROL, row.protocol)


def sweep(row_id: str, text: str, protocol: str = "vlagen-v1") -> tuple[Variant, ...]:
    """The severities ``from:to:count`` of a row with a knob, each once; see ``severity.severities``.

    Raises:
        BadSweep: the text says no severities.
        UnknownVariant: the row has no knob, or a value is out of its range.
    """
    values = severities(text)
    knob = KNOBS.get(row_id)
    if knob is None:
        raise UnknownVariant(_no_knob(row_id))
    return tuple(find_row(f"{row_id}@{setting}", protocol) for setting in dict.fromkeys(map(knob.setting, values)))


def order_id(row: Variant) -> str:
    """The id that a row's evaluation order follows: its own without ``@``, ``[]`` and ``~``."""
    return "+".join(row.parts) if isinstance(row, DerivedRow) else row.id


def row_axis(row_id: str) -> str:
    """The axis of a row of the table, or which kind of derived row it is: control, part, composition or severity."""
    return next((kind for sign, kind in KINDS.items() if sign in row_id), "") or variant(row_id).axis


def file_name(row_id: str) -> str:
    """A row's name in those of files and folders: ``vision-table``, ``train.objects-0-3,6.tables-0``.

    Different rows have different names, and none has a sign that patterns of file names or some file system reserve.
    """
    return re.sub(r"\[|,(?=[a-z])", ".", row_id).translate(str.maketrans("/=", "--", "]"))


def pools_of(row: Variant, pools: Pools = WHOLE) -> Pools:
    """The canonical form of a part of a row's pools, within the one that the row itself may be.

    Raises:
        BadPools: see ``restriction.narrowed``.
    """
    own = row.pools if isinstance(row, DerivedRow) else WHOLE
    chosen = narrowed(restricted(row, own), pools).chosen()
    return narrowed(row, Pools(**{**own.chosen(), **chosen}))


def row_size(row: Variant) -> int:
    """How many episodes a row has; a part has fewer than its indices reach."""
    return total(restricted(row, pools_of(row)))


def index_at(row: Variant, number: int) -> int:
    """The index of one of a row's ``row_size`` episodes: its number, but for parts."""
    return whole_index(row, restricted(row, pools_of(row)), number)


def _split(base: str, row_id: str) -> tuple[str, str, str]:
    """Takes what stands in brackets off an id without its arm: what is before, ``[`` or nothing, and what is within."""
    match = re.fullmatch(r"([^\[\]]*)(?:(\[)([^\[\]]+)\])?", base)
    if match:
        return match[1], match[2] or "", match[3] or ""
    names = re.sub(r"\[[^\[\]]*\]?|\]", "", base)
    inside = ",".join(filter(None, re.findall(r"\[([^\[\]]*)", base)))
    guess = (f"{names}[{inside}]" if inside else names) + row_id.removeprefix(base)
    raise UnknownVariant(
        f"row {row_id!r}: pools stand once, in [] behind the rows, e.g. train[objects=0-3,tables=0]; "
        f"did you mean {guess!r}?"
    )


def _pools(text: str, whole: Variant, row_id: str) -> Pools:
    """The canonical pools that ``[text]`` leaves of a row without them."""
    try:
        asked = parse(text)
    except BadPools as error:
        raise UnknownVariant(f"row {row_id!r}: {error}") from None
    near = nearest(whole, asked).chosen()
    for name, ids in asked.chosen().items():
        if near[name] != ids:
            guess = _with_pools(whole.id, narrowed(whole, Pools(**near))) + (CONTROL if CONTROL in row_id else "")
            raise UnknownVariant(
                f"row {row_id!r}: {whole.id} ({whole.protocol}) has {name} {span(getattr(whole, name))}, each once; "
                f"did you mean {guess!r}?"
            )
    return narrowed(whole, asked)


def _with_pools(row_id: str, pools: Pools) -> str:
    return f"{row_id}[{pools}]" if pools.chosen() else row_id


def _part(text: str, row_id: str, protocol: str) -> Part:
    """One part of an id, which is the whole ``row_id`` if that has no ``+``."""
    name, at, number = text.partition("@")
    if name not in ROW_IDS:
        close = difflib.get_close_matches(name.casefold(), ROW_IDS, n=1)
        guess = f"; did you mean {row_id.replace(text, close[0] + at + number, 1)!r}?" if close else ";"
        of = "" if text == row_id else f" in {row_id!r}"
        raise UnknownVariant(f"unknown row {name!r}{of}{guess} allowed: {', '.join(ROW_IDS)}")
    return variant(name, protocol), _setting(name, number) if at else ""


def _setting(name: str, number: str) -> str:
    """The canonical setting of a row's knob from what stands behind ``@``."""
    if name not in KNOBS:
        raise UnknownVariant(_no_knob(name))
    knob = KNOBS[name]
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not knob.low <= value <= knob.high or (knob.whole and value != round(value)):
        raise UnknownVariant(
            f"row '{name}@{number}': {knob.name} is {number!r}; allowed: {knob.range}; "
            f"did you mean '{name}@{knob.nearest(value)}'?"
        )
    return knob.setting(value)


def _no_knob(row_id: str) -> str:
    close = difflib.get_close_matches(row_id, KNOBS, n=1)
    guess = f"; did you mean {close[0]!r}?" if close else ";"
    return f"row {row_id!r} has no continuous knob{guess} allowed: {', '.join(KNOBS)}"


def _check_names(names: list[str], row_id: str, pools: str) -> None:
    """Refuses rows twice, and training as one of several or as what is perturbed."""
    unique = [name for name in dict.fromkeys(names) if name != "train"]
    if len(unique) < len(set(names)):
        reason = "train is what other rows change, so it adds nothing and is its own control arm"
    elif len(unique) < len(names):
        reason = "a part is there twice"
    else:
        return
    raise UnknownVariant(f"row {row_id!r}: {reason}; try {('+'.join(unique) or 'train') + pools!r}")


def _title(part: Part) -> str:
    row, setting = part
    if not setting:
        return row.title
    knob = KNOBS[row.id]
    return f"{row.title}, {knob.name} {setting}{' ' + knob.unit if knob.unit else ''}"
