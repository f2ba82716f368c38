"""The WidowX-250S as ManiSkill's SimplerEnv tasks tune it, with the geometry of an asset pack."""

from __future__ import annotations

from functools import cache

import numpy as np
import sapien
from mani_skill.envs.tasks.digital_twins.bridge_dataset_eval.base_env import WidowX250SBridgeDatasetFlatTable

from vlagen.assets.packs import Pack, require

BUILD_POSE = sapien.Pose([0.127, 0.060, 0.85], [0, 0, 0, 1])
BASE_POSE = sapien.Pose([0.147, 0.028, 0.870], [0, 0, 0, 1])
SAFE_POSE = sapien.Pose([0.147, 0.028, 1.870], [0, 0, 0, 1])  # out of the way while objects fall and settle
HOME_QPOS = np.array([-0.01840777, 0.0398835, 0.22242722, -0.00460194, 1.36524296, 0.00153398, 0.037, 0.037])
"""Six arm joints [rad] and two finger joints [m] (``protocol.md`` section 1.2)."""

FINGER_LENGTH = 0.0432
"""How far the fingers reach beyond the origins of their links, along the links' x axes [m]."""


class WidowX250S(WidowX250SBridgeDatasetFlatTable):
    """ManiSkill's own gains, limits, controller and camera; only the fingers' coupling is said, not assumed."""

    uid = "widowx250s"

    @property
    def _controller_configs(self) -> dict:
        configs = super()._controller_configs
        for config in configs.values():
            config["gripper"].mimic = {"left_finger": {"joint": "right_finger"}}
        return configs


@cache
def robot_class(pack: Pack) -> type[WidowX250S]:
    """The agent class that loads the pack's URDF. Raises ``MissingAsset`` when the pack's robot is not there."""
    return type(f"WidowX250S_{pack.name}", (WidowX250S,), {"urdf_path": str(require(pack, pack.robot_urdf))})
