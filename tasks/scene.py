"""Building the scene: the table, the models of an asset pack and the lights (``protocol.md`` section 1)."""

from __future__ import annotations

import sapien
from mani_skill.envs.scene import ManiSkillScene
from mani_skill.utils.structs import Actor
from sapien.physx import PhysxMaterial

from vlagen.assets.packs import Model, Pack, require

from .episodes import Episode
from .interface import TABLE_TOP

Key = tuple[str, int]
"""One model: ``("object" | "receptacle", index in the pack)``."""

TABLE_NAME = "arena"
TABLE_CENTER = (-0.25, 0.0)  # [m] world xy
# From the floor up, as in the set-up that made the golden records: the box's own size enters the last bits of the
# contact arithmetic, and rolling objects end centimetres elsewhere with another thickness.
TABLE_HALF_SIZE = (0.75, 1.0, TABLE_TOP / 2)  # [m]
TABLE_COLOR = (0.8, 0.8, 0.8, 1.0)

MODEL_FRICTION = 1.0  # static and dynamic, of objects and receptacles; everything else has ManiSkill's default 0.3

LIGHTS = (((0, 0, -1), 2.2), ((-1, -0.5, -1), 0.7), ((1, 1, -1), 0.7))  # direction, grey colour
AMBIENT = 0.3


def build_table(scene: ManiSkillScene) -> Actor:
    """A box whose top stands in for the original stage; compositing replaces its look, so only its shape matters."""
    builder = scene.create_actor_builder()
    builder.add_box_collision(half_size=TABLE_HALF_SIZE)
    if scene.can_render():
        builder.add_box_visual(half_size=TABLE_HALF_SIZE, material=sapien.render.RenderMaterial(base_color=TABLE_COLOR))
    builder.initial_pose = sapien.Pose([*TABLE_CENTER, TABLE_TOP - TABLE_HALF_SIZE[2]])
    return builder.build_static(name=TABLE_NAME)


def build_model(scene: ManiSkillScene, pack: Pack, model: Model, pose: sapien.Pose) -> Actor:
    """An object or receptacle: each connected part of its collision mesh is one convex hull of uniform density.

    Raises ``MissingAsset`` when a file of the model is not there.
    """
    builder = scene.create_actor_builder()
    builder.add_multiple_convex_collisions_from_file(
        filename=str(require(pack, model.collision)),
        material=PhysxMaterial(static_friction=MODEL_FRICTION, dynamic_friction=MODEL_FRICTION, restitution=0.0),
        density=model.density,
    )
    if scene.can_render():
        builder.add_visual_from_file(filename=str(require(pack, model.visual)))
    builder.initial_pose = pose
    return builder.build(name=model.name)


def add_lights(scene: ManiSkillScene) -> None:
    """Ambient light and three directional lights without shadows."""
    scene.set_ambient_light([AMBIENT] * 3)
    for direction, grey in LIGHTS:
        scene.add_directional_light(direction, [grey] * 3)


def parking(key: Key) -> sapien.Pose:
    """Where a model waits that an episode does not use: behind the camera, each at its own place."""
    return sapien.Pose([1.0 if key[0] == "object" else 2.0, 0.3 * key[1], 1.0], [0, 0, 0, 1])


def start_pose(episode: Episode, key: Key) -> list[float]:
    """The pose (7,) from which an episode drops a model, or its parking place if the episode does not use it."""
    turned = episode.yaw_quaternion if key[0] == "object" else (1.0, 0.0, 0.0, 0.0)
    if key == ("object", episode.object):
        return [*episode.object_position, *turned]
    if key == ("receptacle", episode.receptacle):
        return [*episode.receptacle_position, *turned]
    if key == (episode.distractor, episode.distractor_index):
        return [*episode.distractor_position, *turned]
    waiting = parking(key)
    return [*waiting.p.tolist(), *waiting.q.tolist()]


def detach(scene: ManiSkillScene, actor: Actor) -> None:
    """Take an actor out of a CPU scene, physics and picture, but keep it for a later episode."""
    for entity in actor._objs:
        entity.remove_from_scene()
    scene.actors.pop(actor.name)
    scene.remove_from_state_dict_registry(actor)


def attach(scene: ManiSkillScene, actor: Actor) -> None:
    """Undo ``detach``."""
    for entity in actor._objs:
        scene.sub_scenes[0].add_entity(entity)
    scene.actors[actor.name] = actor
    scene.add_to_state_dict_registry(actor)
