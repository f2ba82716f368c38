"""A submission in the form of a Hugging Face model card: metadata with a ``model-index``, which the Hub reads.

One result is one row or aggregate; its metric is ``success_rate`` with the interval and the number of episodes in
``args``. The text is YAML, of which JSON's strings and numbers are a part, so nothing in a name can break it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from vlagen.leaderboard.summaries import HELD_OUT

TASK = {"type": "robotics", "name": "Put an object on a receptacle as instructed"}


def model_card(entry: Mapping[str, Any]) -> str:
    """The front matter of a model card for a verified submission; the card's text may follow it."""
    card = entry["card"]
    metadata = {
        "pipeline_tag": "robotics",
        "tags": ["robotics", "vla", "vlagen"],
        **{name: card[name] for name in ("license", "base_model") if card[name]},
        "model-index": [{"name": entry["name"], "results": results(entry)}],
    }
    return f"---\n{_yaml(metadata, '')}---\n"


def results(entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The results of a submission as a ``model-index`` has them; undefined numbers are left out."""
    found = []
    for row, numbers in entry["results"]["rows"].items():
        if numbers["success_at_end"] is not None:
            found.append(_result(entry, row, numbers))
    for axis, numbers in entry["results"]["axes"].items():
        # An axis with one row says nothing that the row does not.
        if numbers["success_at_end"] is not None and (numbers["rows"] > 1 or axis == HELD_OUT):
            found.append(_result(entry, f"mean of {axis}", numbers))
    return found


def _result(entry: Mapping[str, Any], name: str, numbers: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "task": dict(TASK),
        "dataset": {
            "type": f"vlagen/{entry['protocol']}",
            "name": f"vlagen {entry['protocol']}, assets {entry['assets']}: {name}",
            "config": name,
            "split": "test",
            "revision": entry["conditions"][:12],
        },
        "metrics": [
            {
                "type": "success_rate",
                "name": "success at the end of the episode",
                "value": numbers["success_at_end"],
                "args": {"episodes": numbers["n"], "ci95_low": numbers["ci_low"], "ci95_high": numbers["ci_high"]},
            }
        ],
    }


def _yaml(value: Any, indent: str) -> str:
    """Writes nested lists and objects in YAML's block style, the rest as JSON."""
    if isinstance(value, Mapping):
        return "".join(f"{indent}{key}:{_nested(item, indent)}" for key, item in value.items())
    return "".join(
        f"{indent}- {_yaml(item, indent + '  ').lstrip(' ')}"
        if isinstance(item, Mapping)
        else f"{indent}- {_scalar(item)}\n"
        for item in value
    )


def _nested(value: Any, indent: str) -> str:
    if isinstance(value, Mapping):
        return f"\n{_yaml(value, indent + '  ')}"
    return f"\n{_yaml(value, indent)}" if isinstance(value, list) else f" {_scalar(value)}\n"


def _scalar(value: Any) -> str:
    return json.dumps(value)
