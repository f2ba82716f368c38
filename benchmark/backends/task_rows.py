"""Other people's tasks as rows: ManiSkill's environments, their episodes, and the four of SimplerEnv's WidowX set.

Light: the environments themselves are made by ``maniskill_task``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from vlagen.assets.errors import MissingAsset, VlagenError
from vlagen.assets.packs import maniskill_data

# Seeds are what tells such episodes apart, and numpy's and ManiSkill's take 31 bits.
_SEEDS = 2**31


class BadSuite(VlagenError, ValueError):
    """A name that no suite has, or an argument that a suite does not take."""


@dataclass(frozen=True)
class TaskEpisode:
    """One episode of a foreign task.

    Attributes:
        protocol: which rules its index is read by.
        variant: id of its row.
        index: a seed, or upstream's own number of the episode, as the row's ``numbering`` says.
    """

    protocol: str
    variant: str
    index: int


@dataclass(frozen=True)
class AssetFolder:
    """Files that ManiSkill's own downloader brings.

    Attributes:
        uid: what the downloader calls them.
        path: where they lie, below ``maniskill_data()``.
    """

    uid: str
    path: str


@dataclass(frozen=True, kw_only=True)
class TaskRow:
    """A task that ManiSkill registers, as a row.

    Attributes:
        id: ``axis/name``.
        title: the task in a few words.
        protocol: the suite's.
        environment: ManiSkill's id.
        numbering: an episode's index is the ``seed`` of its reset, or upstream's ``episode_id``.
        size: how many episodes there are: indices 0 to size - 1, in this order.
        horizon: control steps an episode takes; None for what the task registers.
        control_mode: None for the one that comes closest to vlagen's actions.
        camera: whose picture the policy sees; None for ``base_camera``, else the first one.
        image: height and width of the picture; None for the camera's own.
        shader: ManiSkill's shader pack.
        instruction: what the policy is told; None for the task's own words, else those in ``INSTRUCTIONS``.
        folders: files it needs, where they are known beforehand.
    """

    id: str
    title: str
    protocol: str
    environment: str
    numbering: Literal["seed", "episode_id"] = "seed"
    size: int = _SEEDS
    horizon: int | None = None
    control_mode: str | None = None
    camera: str | None = None
    image: tuple[int, int] | None = None
    shader: str = "minimal"
    instruction: str | None = None
    folders: tuple[AssetFolder, ...] = ()

    @property
    def axis(self) -> str:
        """The id's prefix."""
        return self.id.split("/")[0]

    def listing(self, count: int) -> tuple[TaskEpisode, ...]:
        """The first ``count`` episodes of the evaluation order, so lists are nested.

        Raises:
            BadSuite: there are fewer, or fewer than one was asked for.
        """
        if not 1 <= count <= self.size:
            raise BadSuite(f"--episodes {count}; allowed: 1 to {self.size}, which is all that {self.id} has")
        return tuple(TaskEpisode(self.protocol, self.id, index) for index in range(count))


SIMPLER_FOLDERS = (
    AssetFolder("bridge_v2_real2sim", "tasks/bridge_v2_real2sim_dataset"),
    AssetFolder("widowx250s", "robots/widowx"),
)


def _simpler(name: str, title: str, environment: str, horizon: int, size: int) -> TaskRow:
    """One SimplerEnv task, with the camera, controller and shader of upstream's own evaluation script."""
    return TaskRow(
        id=f"simpler/{name}",
        title=title,
        protocol="simpler-widowx",
        environment=environment,
        numbering="episode_id",
        size=size,
        horizon=horizon,
        control_mode="arm_pd_ee_target_delta_pose_align2_gripper_pd_joint_pos",
        camera="3rd_view_camera",
        shader="default",
        folders=SIMPLER_FOLDERS,
    )


SIMPLER_TASKS = (
    _simpler("carrot-on-plate", "carrot on plate", "PutCarrotOnPlateInScene-v1", 60, 24),
    _simpler("spoon-on-towel", "spoon on towel", "PutSpoonOnTableClothInScene-v1", 60, 24),
    _simpler("stack-cube", "green on yellow cube", "StackGreenCubeOnYellowCubeBakedTexInScene-v1", 60, 24),
    # Eight places by eight orientations; the published evaluations run the first 24, so that is the default here too.
    _simpler("eggplant-in-basket", "eggplant in basket", "PutEggplantInBasketScene-v1", 120, 64),
)

INSTRUCTIONS = {
    "DrawTriangle-v1": "trace the outline of the triangle on the canvas",
    "LiftPegUpright-v1": "stand the peg upright on the table",
    "PegInsertionSide-v1": "insert the orange end of the peg into the hole in the box",
    "PickCube-v1": "pick up the red cube and move it to the goal",
    "PlaceSphere-v1": "place the blue sphere in the bin",
    "PlugCharger-v1": "plug the charger into the receptacle",
    "PokeCube-v1": "push the red cube onto the target with the peg",
    "PullCube-v1": "pull the blue cube onto the target",
    "PullCubeTool-v1": "pull the blue cube closer with the L-shaped tool",
    "PushCube-v1": "push the blue cube onto the target",
    "PushT-v1": "push the T-shaped block onto the T-shaped target",
    "RollBall-v1": "roll the blue ball onto the target",
    "StackCube-v1": "stack the red cube on the green cube",
    "StackPyramid-v1": "put the red cube next to the green cube and stack the blue cube on both",
}
"""Words for ManiSkill tasks that need no download and bring none of their own."""


def require_folders(tasks: Sequence[TaskRow]) -> None:
    """Checks that the files are there which rows are known to need, without importing ManiSkill.

    Raises:
        MissingAsset: which folder is missing, and the command that brings it.
    """
    for folder in dict.fromkeys(folder for task in tasks for folder in task.folders):
        path = maniskill_data() / folder.path
        if not path.is_dir():
            raise MissingAsset(
                f"{path} is missing; fetch it with `python -m mani_skill.utils.download_asset {folder.uid} -y` "
                "(MS_ASSET_DIR says where to)"
            )
