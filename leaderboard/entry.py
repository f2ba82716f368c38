"""A submission: one self-contained JSON file, from whose records every number in it can be computed again.

    {"format": "vlagen-leaderboard-entry", "schema": 1, "name", "policy", "method", "card": {...},
     "protocol", "assets", "conditions",
     "runs": [{"fingerprint", "conditions", "schema", "identity", "plan", "sessions", "digest", "records"}, ...],
     "results": {"rows": {row: {...}}, "axes": {axis: {...}}},
     "digests": {part: hash, ...}, "digest"}

``digests`` has a hash for every part that can be named, so that an edit shows with where it is. They guard against
mistakes, not against somebody who makes up records and all hashes; what guards against that is that anybody can run
``vlagen-eval --replay`` with the identity and plan that the entry holds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from vlagen.leaderboard.compact import pack
from vlagen.leaderboard.errors import BadEntry
from vlagen.leaderboard.frames import AXIS_NUMBERS, ROW_NUMBERS, Frames
from vlagen.leaderboard.naming import Entry
from vlagen.leaderboard.runs import Run
from vlagen.leaderboard.tables import plain_values

FORMAT = "vlagen-leaderboard-entry"
SCHEMA = 1
LONGEST_TEXT = 4000

# What a session's note says beside this, e.g. the host's name and the command with its paths, is nobody's business.
_SESSION_FIELDS = ("started_at", "backend", "python", "platform", "git_commit")
_RUN_FIELDS = ("schema", "fingerprint", "conditions", "identity", "plan")
# Only complete runs can be submitted, so there are no errors to tell of.
_ROW_FIELDS = ("axis", "seeds", *(name for name in ROW_NUMBERS if name != "errors"))


@dataclass(frozen=True, kw_only=True)
class Card:
    """What people should know about an entry."""

    authors: str
    """Who submits: names, or an organization."""

    description: str
    """What the policy is and how it was trained, in a few sentences."""

    model: str = ""
    """Where the model is: a Hugging Face id such as organization/model, or a link."""

    base_model: str = ""
    """What it was fine-tuned from."""

    training_data: str = ""
    """What it was trained on, and how much; say so if it has seen any held-out factor."""

    license: str = ""
    """Of the model, e.g. mit."""

    citation: str = ""
    """BibTeX, or how else to cite."""

    contact: str = ""
    """Where questions go."""

    def check(self) -> None:
        """Checks that the card can be shown.

        Raises:
            BadEntry: a field is missing, too long, or no text.
        """
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, str) or len(value) > LONGEST_TEXT:
                raise BadEntry(f"card.{field.name} is no text of at most {LONGEST_TEXT} characters")
        for name in ("authors", "description"):
            if not getattr(self, name).strip():
                raise BadEntry(f"card.{name} is empty; say it with --card.{name}")


def make_entry(frames: Frames, entry: Entry, card: Card) -> dict[str, Any]:
    """Makes the JSON value of a submission.

    Args:
        frames: of a table with this entry alone.
        entry: its runs, complete and without errors.
        card: what people should know.
    """
    card.check()
    content = {
        "format": FORMAT,
        "schema": SCHEMA,
        "name": entry.name,
        "policy": entry.policy,
        "method": entry.method,
        "card": asdict(card),
        "protocol": frames.protocol,
        "assets": frames.assets,
        "conditions": frames.conditions,
        "runs": [_run(run) for run in entry.runs],
        "results": results(frames),
    }
    return sealed(content)


def results(frames: Frames) -> dict[str, Any]:
    """The numbers of a table with one entry, as JSON values."""
    return {
        kind: {
            line[label]: plain_values({name: line[name] for name in names})
            for line in getattr(frames, kind).to_dict("records")
        }
        for kind, label, names in (("rows", "row", _ROW_FIELDS), ("axes", "axis", AXIS_NUMBERS))
    }


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Adds the hashes of all parts, and one of these."""
    digests = {name: hash_of(part) for name, part in parts(content).items()}
    return {**content, "digests": digests, "digest": hash_of(digests)}


def parts(content: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of an entry that have a hash of their own, by name."""
    found: dict[str, Any] = {}
    for name, value in content.items():
        if name in ("digests", "digest"):
            continue
        if name == "runs":
            for number, run in enumerate(value):
                for field, inner in run.items():
                    if field == "records":
                        found |= {f"runs.{number}.records.{row}": records for row, records in inner.items()}
                    else:
                        found[f"runs.{number}.{field}"] = inner
        elif name == "results":
            found |= {
                f"results.{kind}.{key}": numbers for kind, group in value.items() for key, numbers in group.items()
            }
        elif name == "card":
            found |= {f"card.{field}": text for field, text in value.items()}
        else:
            found[name] = value
    return found


def hash_of(value: Any) -> str:
    """Hashes a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def to_text(entry: Mapping[str, Any]) -> str:
    """An entry as the text of its file. A list of numbers takes one line, so that a change can be read."""
    return _text(entry, "") + "\n"


def _text(value: Any, indent: str) -> str:
    inner = f"{indent} "
    if isinstance(value, Mapping) and value:
        lines = [f"{inner}{json.dumps(key, ensure_ascii=False)}: {_text(item, inner)}" for key, item in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        return "[\n" + ",\n".join(inner + _text(item, inner) for item in value) + f"\n{indent}]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _run(run: Run) -> dict[str, Any]:
    lines = (run.path / "episodes.jsonl").read_text(encoding="utf-8").splitlines()
    description = {name: run.description[name] for name in _RUN_FIELDS}
    return {
        **description,
        "sessions": [{name: session.get(name) for name in _SESSION_FIELDS} for session in run.description["sessions"]],
        "digest": run.digest,
        "records": pack([json.loads(line) for line in lines], description["plan"]),
    }
