"""The control arm: every episode's unperturbed twin, which says how much of a row's failures the perturbation explains.

A twin keeps its episode's index, and each digit of the index means in the training pools what it means, modulo their
size, in the row's own: a held-out object becomes a training object, a held-out table a training table. Hence nothing
differs between the two but what the row changes:

- object, receptacle, table and template come from the training pools;
- a place on the ring becomes one on the training grid, and its yaw a training yaw; a layout of triples stays, as it
  only makes room for a third body, and so do the object's and the receptacle's places on it;
- the robot starts at home; there is no overlay, no distractor, and nothing is moved midway.

Where upstream's quirk makes the target its own distractor (Q2), the twin's object stays at the third place, too.
"""

from __future__ import annotations

from dataclasses import replace

from . import layouts
from .episodes import Episode, digits
from .variants import Variant, variant


def twin(row: Variant, episode: Episode) -> Episode:
    """The unperturbed twin of an episode of a row; ``variant`` stays the episode's."""
    training = variant("train", row.protocol)
    obj, _, _, template, _, receptacle, _, table, place, yaw = digits(row, episode.index)
    calm = replace(
        episode,
        object=training.objects[obj % len(training.objects)],
        receptacle=training.receptacles[receptacle % len(training.receptacles)],
        table=training.tables[table % len(training.tables)],
        template=training.templates[template % len(training.templates)],
        yaw=layouts.YAWS[training.yaws][yaw % len(layouts.YAWS[training.yaws])],
        robot_offset=(0.0,) * len(episode.robot_offset),
        overlay=None,
        texture=None,
        strength=0.0,
        distractor=None,
        distractor_index=None,
        distractor_position=None,
        reposition_at_step=None,
        reposition_to=None,
    )
    if row.layout in layouts.TRIPLE_HEIGHTS:
        return calm
    places = layouts.places(training.layout)
    object_position, receptacle_position = (tuple(position) for position in places[place % len(places)].tolist())
    return replace(calm, object_position=object_position, receptacle_position=receptacle_position)
