"""What ``vlagen-eval --list`` prints: suites, rows, policies and asset packs."""

from __future__ import annotations

from dataclasses import fields

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vlagen.assets.errors import BrokenManifest
from vlagen.assets.packs import PACKS, load_pack
from vlagen.benchmark.loading.source import installed_policies
from vlagen.benchmark.suites import SUITES
from vlagen.tasks.episodes import total
from vlagen.tasks.rows import KNOBS
from vlagen.tasks.variants import Variant, variants


def print_list(console: Console, protocol: str) -> None:
    """Prints the suites, the rows of a protocol, the policies that have a name and the asset packs."""
    console.print("Suites, for --suite; maniskill:<EnvId> runs any ManiSkill3 task\n")
    suites = Table(box=None, pad_edge=False, show_header=False)
    for suite in SUITES:
        suites.add_row(suite.name, suite.description)
    console.print(suites)

    rows = Table(box=None, pad_edge=False)
    rows.add_column("row", no_wrap=True)
    rows.add_column("episodes", justify="right", no_wrap=True)
    rows.add_column("differs from training in")
    axis = None
    for row in variants(protocol):
        if row.axis != axis:
            axis = row.axis
            rows.add_row(f"[bold]{axis}[/bold]")
        rows.add_row(row.id, f"{total(row):.2g}" if total(row) >= 1e6 else str(total(row)), describe(row))
    console.print(
        f"\nRows of {protocol}, by axis; --rows takes rows, axes, row+row for both changes at once, and "
        f"{escape('train[objects=0-3,tables=0]')}\nfor a part of a row\n"
    )
    console.print(rows)
    console.print(f"\nRows with a continuous knob, for --severity: {', '.join(KNOBS)}", soft_wrap=True)
    console.print(
        f"\nPolicies: {', '.join(installed_policies())}; or a module, file.py or module:attribute of your own"
    )
    for name in PACKS:
        console.print(_describe_pack(name), soft_wrap=True)


def describe(row: Variant) -> str:
    """Words what a row changes, e.g. ``tables: 16-20``; derived from the row, so that it cannot be out of date."""
    changes = []
    for field in fields(row):
        value = getattr(row, field.name)
        if field.name in ("id", "title", "protocol") or value == field.default:
            continue
        name = field.name.replace("_", " ")
        if isinstance(value, tuple):
            changes.append(f"{name}: {value[0]}-{value[-1]}" if len(value) > 1 else f"{name}: {value[0]}")
        elif field.name == "overlay":
            changes.append(f"{name}: {value.kind} {value.strength}")
        elif field.name == "distractor":
            changes.append(f"{name}: {value.kind} {value.pool[0]}-{value.pool[-1]}")
        else:
            changes.append(f"{name}: {value}")
    return "; ".join(changes) or "nothing"


def _describe_pack(name: str) -> str:
    try:
        pack = load_pack(name)
    except BrokenManifest as error:
        return escape(f"Asset pack {name}: {error}")
    absent = sum(not (pack.root / file.path).is_file() for file in pack.files) - len(pack.stand_ins)
    return (
        f"Asset pack {pack.name} {pack.version}: {len(pack.objects)} objects, {len(pack.receptacles)} receptacles, "
        f"{len(pack.tables)} tables, {len(pack.textures)} textures; "
        + (f"{absent} of {len(pack.files)} files are missing" if absent else "ready")
        + (f", {len(pack.stand_ins)} models drawn by stand-ins" if pack.stand_ins else "")
    )
