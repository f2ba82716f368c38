"""In which way an episode failed, judged from the simulator's truth after every control step.

The categories follow the object from the end backwards: what became of it last decides. Each failure has exactly one.
"""

from __future__ import annotations

import numpy as np

DESCRIPTIONS = {
    "placed-then-lost": "the object lay on the receptacle at some step, but not at the end",
    "wrong-receptacle": "the object lies on the other receptacle at the end",
    "timeout-while-carrying": "the object is still between the fingers when time is up",
    "dropped": "the object was grasped, and is neither held nor in place at the end",
    "wrong-object": "the other object was grasped or moved, and the object never grasped",
    "reached-not-grasped": "the fingers came to the object and never grasped it",
    "never-reached": "the fingers never came to the object",
}

FAILURES = tuple(DESCRIPTIONS)
"""All categories; where several fit, the first one counts."""

REACHED = 0.015
"""The fingers reached the object when the midpoint of their tips was this near to its box [m].

In 42 episodes of both asset packs the scripted expert was inside the box (0) whenever it grasped; an arm that stayed at
home was never nearer than 0.051, and one that moved at random than 0.022.
"""

DISPLACED = 0.03
"""The other object was moved when it is this far from where it was before the fingers came near it [m].

In 24 episodes of both asset packs the scripted expert, after its object, moved the other one by at most 0.005; sent
after that one instead, by at least 0.084.
"""


def classify(
    success: np.ndarray,
    *,
    reach_distance: np.ndarray,
    holding: np.ndarray,
    holding_distractor: np.ndarray,
    distractor_displacement: np.ndarray,
    on_distractor: np.ndarray,
) -> tuple[str | None, ...]:
    """Says how each of B episodes of T control steps failed.

    Args:
        success: (T, B) bool, the object lies on its receptacle after this step.
        reach_distance: (T, B) [m], from the finger tips to the object; this and the others as in ``StepFacts``.
        holding: (T, B) bool, the object is between the fingers.
        holding_distractor: (T, B) bool, the other object is.
        distractor_displacement: (T, B) [m], how far the fingers have moved the other object; NaN where there is none.
        on_distractor: (T, B) bool, the object lies on the other receptacle.

    Returns:
        One of ``FAILURES`` for every episode that is no success at its last step, None for the others.
    """
    failed = ~success[-1]
    # Without another object its displacement is NaN, and no comparison with that holds.
    moved_other = holding_distractor.any(0) | (distractor_displacement > DISPLACED).any(0)
    applies = {
        "placed-then-lost": success.any(0),
        "wrong-receptacle": on_distractor[-1],
        "timeout-while-carrying": holding[-1],
        "dropped": holding.any(0),
        "wrong-object": moved_other,
        "reached-not-grasped": (reach_distance <= REACHED).any(0),
        "never-reached": failed,
    }
    return tuple(
        next(name for name in FAILURES if applies[name][episode]) if failed[episode] else None
        for episode in range(success.shape[1])
    )
