"""A scripted controller that sees the simulator's truth but acts like any policy: the ceiling, and a demonstrator.

Every episode is a small state machine: reach over the object, descend, close, lift, carry, lower, release, retreat.
Each step compares measured poses with wanted ones, so an object that moves is followed and a lost one picked up again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

import numpy as np

from vlagen.assets.errors import VlagenError
from vlagen.assets.packs import load_pack, require
from vlagen.benchmark.adapters.expert_view import FINGERS_REACH, View, look
from vlagen.benchmark.adapters.grasps import HALF_OPENING, TIP, Grasp, Shape, load_shape, plan_grasps
from vlagen.benchmark.adapters.motion import (
    action,
    angle_between,
    pointing_down,
    rotation_matrix,
    step_towards,
    transform,
    within_reach,
)
from vlagen.benchmark.policy import PolicyEpisode, PolicySpec
from vlagen.tasks.interface import ACTION_SIZE, HORIZON, TABLE_TOP, Observation

HOVER = 0.025  # [m] between finger tips and object while reaching over it
CARRY_CLEARANCE = 0.03  # [m] between object and receptacle while carrying
PLACE_GAP = 0.001  # [m] between object and receptacle at which it is let go
FAR = 0.03  # [m] beside a goal at which the way there still crosses what else stands on the table
LEASH = 0.07  # [m] the controller's target may lead the measured pose by so much
OPENED = 0.033  # [m] finger joint position that counts as open; 0.037 is the limit
RELEASED = 0.0355  # [m] finger joint position at which nothing is touched any more
JUMP = 0.05  # [m] per control step that only a teleport explains
SHORTEST_ATTEMPT = 20  # control steps below which trying again would only disturb
LEAD_STEPS = 1.8  # control steps by which the arm follows late


class Phase(Enum):
    """What an episode's gripper is about."""

    REACH = auto()
    CLOSE = auto()
    LIFT = auto()
    CARRY = auto()
    LOWER = auto()
    RELEASE = auto()
    RETREAT = auto()
    REST = auto()


@dataclass
class Worker:
    """One episode's state machine.

    Attributes:
        gain: see ``ExpertPolicy``.
    """

    gain: float | None = None
    phase: Phase = Phase.REACH
    since: int = 0  # steps in this phase
    grasp: Grasp | None = None
    planned_at: np.ndarray | None = None  # object pose (7,) for which the grasp was planned
    trail: list[np.ndarray] = field(default_factory=list)  # the object's last positions (3,), the present one last
    hold: np.ndarray | None = None  # object in the gripper's frame when it was grasped, (3,)
    yaw: float = 0.0
    lost: int = 0
    failed: list[Grasp] = field(default_factory=list)
    anchor: np.ndarray | None = None  # of the finger tips when this phase began, (3,)

    def act(self, view: View) -> np.ndarray:
        """Chooses one action (7,)."""
        self._track(view.object_pose[:3])
        handlers: dict[Phase, Callable[[View], np.ndarray]] = {
            Phase.REACH: self._reach,
            Phase.CLOSE: self._close,
            Phase.LIFT: self._lift,
            Phase.CARRY: self._carry,
            Phase.LOWER: self._lower,
            Phase.RELEASE: self._release,
            Phase.RETREAT: self._retreat,
            Phase.REST: self._rest,
        }
        self.since += 1
        return handlers[self.phase](view)

    def _track(self, position: np.ndarray) -> None:
        """Remembers where the object was; not what came before it was teleported."""
        if self.trail and np.linalg.norm(position - self.trail[-1]) > JUMP:
            self.trail.clear()
        self.trail = [*self.trail[-3:], position]

    @property
    def velocity(self) -> np.ndarray:
        """The object's horizontal way per control step (3,) [m], free of the rocking that round objects show."""
        if len(self.trail) < 4:
            return np.zeros(3) if len(self.trail) < 2 else (self.trail[-1] - self.trail[-2]) * [1, 1, 0]
        return (self.trail[3] + self.trail[2] - self.trail[1] - self.trail[0]) / 4 * [1, 1, 0]

    @property
    def place(self) -> np.ndarray:
        """Where the object is (3,), free of rocking."""
        if len(self.trail) < 4:
            return self.trail[-1]
        return (self.trail[3] + self.trail[2]) / 2 + self.velocity / 2

    def _go(self, phase: Phase, view: View) -> None:
        self.phase, self.since, self.anchor = phase, 0, view.tip

    def _move(self, view: View, tip: np.ndarray, *, opened: bool, speed: float = 1.0) -> np.ndarray:
        """Moves the finger tips towards a point, with the gripper pointing down at this worker's yaw."""
        rotation = pointing_down(self.yaw)
        wanted = within_reach(tip - TIP * rotation[:, 0], view.base_pose)
        # An unreachable target would run away from an arm that no longer follows it.
        lead = wanted - view.gripper_pose[:3]
        wanted = view.gripper_pose[:3] + lead * min(1.0, LEASH / max(1e-9, float(np.linalg.norm(lead))))
        start, gain = (view.gripper_target, 1.0) if self.gain is None else (view.gripper_pose, self.gain)
        arm = step_towards(wanted, rotation, start, view.base_pose, speed=speed, gain=gain)
        return action(arm, opened=opened)

    # Getting hold of the object

    def _plan(self, view: View) -> None:
        pose = view.object_pose
        points, center = transform(pose, view.shape.points), transform(pose, view.shape.center[None])[0]
        normals = view.shape.normals @ rotation_matrix(pose[3:]).T
        obstacles = np.concatenate([transform(view.receptacle_pose, view.receptacle.points), view.distractor])
        grasps = plan_grasps(
            points,
            normals,
            center,
            floor=TABLE_TOP,
            obstacles=obstacles,
            yaw=view.yaw,
            avoid=self.failed,
            prefer=self.grasp,
        )
        self.planned_at = pose.copy()
        self.grasp = grasps[0] if grasps else None

    def _reach(self, view: View) -> np.ndarray:
        pose = view.object_pose
        if (
            self.planned_at is None
            or np.linalg.norm(self.place - self.planned_at[:3]) > 0.005
            or angle_between(rotation_matrix(pose[3:]), rotation_matrix(self.planned_at[3:])) > 0.2
        ):
            self._plan(view)
        if self.grasp is None:
            return self._move(view, np.array([*pose[:2], pose[2] + 0.1]), opened=True)
        self.yaw = self.grasp.yaw
        goal = self.grasp.tip + (self.place - self.planned_at[:3]) * [1, 1, 0]
        tip = view.tip
        aside = float(np.linalg.norm((tip - goal)[:2]))
        turn = angle_between(rotation_matrix(view.gripper_pose[3:]), pointing_down(self.yaw))
        over = max(0.0, self.grasp.top - goal[2]) + HOVER
        slack = float(np.clip(0.6 * (HALF_OPENING - self.grasp.width / 2), 0.003, 0.008))
        share = float(np.clip(max((aside - slack) / 0.012, (turn - 0.05) / 0.2), 0.0, 1.0))
        # What rolls is caged before the fingers are all the way down, and they go on down while they close.
        depth = 0.0025 + 0.006 * min(1.0, float(np.linalg.norm(self.velocity)) / 0.006)
        if aside < slack + 0.002 and turn < 0.08 and tip[2] - goal[2] < depth and view.finger > OPENED:
            self._go(Phase.CLOSE, view)
            return self._close(view)
        way = goal + self.velocity * LEAD_STEPS + [0, 0, over * share]
        if aside > FAR:
            way[2] = max(way[2], view.highest_between(tip, goal, FINGERS_REACH) + 0.01)
        return self._move(view, way, opened=True)

    def _close(self, view: View) -> np.ndarray:
        if self.since >= 2 and view.grasped:
            self._go(Phase.LIFT, view)
            self.hold = view.held
            self.lost = 0
            return self._lift(view)
        if self.since > 5:
            return self._try_again(view)
        goal = self.grasp.tip * [0, 0, 1] + view.tip * [1, 1, 0] + self.velocity * LEAD_STEPS
        return self._move(view, goal, opened=False)

    def _try_again(self, view: View) -> np.ndarray:
        if self.grasp is not None:
            self.failed.append(self.grasp)
        self._go(Phase.REACH, view)
        self.planned_at = None
        return self._move(view, view.tip + [0, 0, 0.03], opened=True)

    # Bringing it to the receptacle

    def _is_lost(self, view: View) -> bool:
        slipped = float(np.linalg.norm(view.held - self.hold)) > 0.03
        self.lost = 0 if view.grasped else self.lost + 1
        return slipped or self.lost >= 3

    def _lift(self, view: View) -> np.ndarray:
        if self._is_lost(view):
            return self._try_again(view)
        if view.tip[2] - self.anchor[2] > 0.02:
            self._go(Phase.CARRY, view)
            return self._carry(view)
        return self._move(view, self.anchor + [0, 0, 0.06], opened=False)

    def _carry(self, view: View) -> np.ndarray:
        if self._is_lost(view):
            return self._try_again(view)
        error = view.place_error
        away = float(np.linalg.norm(error))
        if away < 0.008:
            self._go(Phase.LOWER, view)
            return self._lower(view)
        share = float(np.clip((away - 0.005) / 0.02, 0.0, 1.0))
        ground = view.receptacle_top + CARRY_CLEARANCE * share
        if away > FAR:
            ground = max(ground, view.highest_between(view.tip, view.tip + error, view.reach_aside) + 0.01)
        rise = ground + PLACE_GAP - view.bottom
        return self._move(view, view.tip + error + [0, 0, rise], opened=False)

    def _lower(self, view: View) -> np.ndarray:
        if self._is_lost(view) and not view.success:
            return self._try_again(view)
        gap = view.bottom - view.receptacle_top
        if gap < PLACE_GAP or self.since > 9:
            self._go(Phase.RELEASE, view)
            return self._release(view)
        # Aiming a little below makes the last, slowest part of the way short.
        return self._move(view, view.tip + view.place_error - [0, 0, gap + PLACE_GAP], opened=False)

    # Leaving it there

    def _release(self, view: View) -> np.ndarray:
        if (self.since > 1 and view.finger > RELEASED) or self.since > 6:
            self._go(Phase.RETREAT, view)
            return self._retreat(view)
        return self._move(view, self.anchor, opened=True)

    def _retreat(self, view: View) -> np.ndarray:
        risen = view.tip[2] - self.anchor[2]
        if risen > 0.06:
            self._go(Phase.REST, view)
        # Slowly at first: a fast arm swings aside by millimetres, and the object is still between the fingers.
        return self._move(view, self.anchor + [0, 0, 0.08], opened=True, speed=0.5 if risen < 0.02 else 1.0)

    def _rest(self, view: View) -> np.ndarray:
        if not view.success and self.since > 2 and view.step < HORIZON - SHORTEST_ATTEMPT:
            self.failed.clear()
            self.planned_at = None
            self._go(Phase.REACH, view)
            return self._reach(view)
        return self._move(view, self.anchor, opened=True)


class BadGain(VlagenError, ValueError):
    """A share that is none."""


class ExpertPolicy:
    """Plays episodes from privileged state; an oracle, so not a competitor.

    Args:
        assets: the pack that the episodes' objects come from; None asks the privileged state. Collision meshes are read
            on first use.
        gain: by default a step goes from the pose that the controller aims at, which no picture shows, all the way that
            the limits allow. With a gain, it is this share of what the measured pose lacks: slower, and something that
            whoever sees one picture and has no memory can imitate. The arm follows about two steps late, so a large
            gain is to be expected to overshoot; 0.3 and 0.4 were tried.

    Raises:
        BadGain: it is not above 0 and at most 1.
    """

    spec = PolicySpec(needs_images=False, needs_proprioception=True, needs_privileged=True, light=True, chunk=1)

    def __init__(self, assets: str | None = None, gain: float | None = None) -> None:
        if gain is not None and not 0 < gain <= 1:
            raise BadGain(f"gain {gain}; allowed: above 0 and at most 1, e.g. 0.3")
        self._assets = assets
        self._gain = gain
        self._shapes: dict[tuple[str, str, int], Shape] = {}
        self.workers: list[Worker] = []

    def reset(self, episodes: Sequence[PolicyEpisode]) -> None:
        self.workers = [Worker(self._gain) for _ in episodes]

    def act(self, observation: Observation) -> np.ndarray:
        actions = np.empty((len(self.workers), ACTION_SIZE), dtype=np.float32)
        for i, worker in enumerate(self.workers):
            actions[i] = worker.act(look(observation, i, self._shape))
        return actions

    def _shape(self, assets: str, kind: str, index: int) -> Shape:
        key = (self._assets or assets, kind, index)
        if key not in self._shapes:
            pack = load_pack(key[0])
            self._shapes[key] = load_shape(require(pack, pack.model(kind, index).collision))
        return self._shapes[key]
