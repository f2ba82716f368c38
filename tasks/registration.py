"""Every row as a gymnasium and ManiSkill environment, under our id and under upstream's; import to register.

Ours: ``vlagen/train-v1``, ``vlagen/vision-table-v1``, … for the ``vlagen-v1`` protocol and ``vlagen-rl4vla/…-v1`` for
``rl4vla``. Upstream's 13 ids of the study and its training environment ``PutOnPlateInScene25Main-v3`` are aliases that
take ``options={"episode_id": ..., "obj_set": ...}``, so that code written for RL4VLA or RLinf runs unchanged.
"""

# ruff: noqa: E402 - the Vulkan driver has to be chosen before SAPIEN is imported
from __future__ import annotations

from .rendering import prepare_rendering

prepare_rendering()

from mani_skill.utils.registration import REGISTERED_ENVS, register_env

from .interface import HORIZON
from .put_on_plate import PutOnPlate
from .upstream import PREFIX, STUDY_ENVIRONMENTS
from .variants import VARIANTS, Variant

NAMESPACES = {"vlagen-v1": "vlagen", "rl4vla": "vlagen-rl4vla"}


def environment_id(row: Variant) -> str:
    """The gymnasium id of a row."""
    return f"{NAMESPACES[row.protocol]}/{row.id.replace('/', '-')}-v1"


def register() -> tuple[str, ...]:
    """Register what is not registered yet; returns all ids."""
    ids = {environment_id(row): {"variant": row.id, "protocol": row.protocol} for row in VARIANTS}
    ids |= {PREFIX + name: {"upstream": name, "assets": "rl4vla"} for name in STUDY_ENVIRONMENTS}
    for uid, kwargs in ids.items():
        if uid not in REGISTERED_ENVS:
            register_env(uid, max_episode_steps=HORIZON, **kwargs)(PutOnPlate)
    return tuple(ids)


ENVIRONMENT_IDS = register()
