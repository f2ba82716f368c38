"""What the policy is told: 21 ways to say it; template 0 is the training one (``protocol.md`` section 3.2)."""

from __future__ import annotations

TEMPLATES = (
    "put {object} on {receptacle}",
    "Place the {object} on the {receptacle}",
    "set {object} on {receptacle}",
    "move the {object} to the {receptacle}",
    "Take the {object} and put it on the {receptacle}",
    "pick up {object} and set it down on {receptacle}",
    "please put the {object} on the {receptacle}",
    "Put {object} onto {receptacle}.",
    "place the {object} onto the {receptacle} surface",
    "Make sure {object} is on {receptacle}.",
    "on the {receptacle}, put the {object}",
    "put the {object} where the {receptacle} is",
    "Move the {object} from the table to the {receptacle}",
    "Move {object} so it’s on {receptacle}.",
    "Can you put {object} on {receptacle}?",
    "{object} on the {receptacle}, please.",
    "the {object} should be placed on the {receptacle}.",
    "Lay the {object} down on the {receptacle}.",
    "could you place {object} over {receptacle}",
    "position the {object} atop the {receptacle}",
    "Arrange for the {object} to be resting on {receptacle}.",
)


def render(template: int, object_text: str, receptacle_text: str) -> str:
    """The instruction of a template index in [0, 20], texts used verbatim."""
    return TEMPLATES[template].format(object=object_text, receptacle=receptacle_text)
