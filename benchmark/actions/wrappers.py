"""Policies around policies: resizing, chunks, ensembles, conversion, recording; and ``prepare``, which joins them.

From the inside out: the policy sees resized pictures (``ResizedImages``), its chunks are executed action by action
(``ActionChunks`` or ``TemporalEnsemble``), and each action that is executed is checked and made canonical
(``ConvertedActions``). Conversion comes last because actions in the gripper's frame mean the gripper as it is when they
are executed, not as it was when a chunk was asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from vlagen.benchmark.actions.boundary import check_execute_horizon, check_policy_type, check_returned, shown
from vlagen.benchmark.actions.ensembles import Weighting, average, parse_weighting
from vlagen.benchmark.actions.formats import NOOP, ActionFormat, BadDeclaration, convert, faults
from vlagen.benchmark.policy import ImageFormat, Policy, PolicyEpisode, PolicyError, PolicySpec
from vlagen.tasks.interface import Observation

_RESAMPLING = {
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
    "area": Image.Resampling.BOX,
}


def resize(pictures: np.ndarray, wanted: ImageFormat) -> np.ndarray:
    """Brings pictures (B, H, W, 3) uint8 to a size, (B, height, width, 3) uint8."""
    height, width = pictures.shape[1:3]
    if (height, width) == (wanted.height, wanted.width):
        return pictures
    scale = (wanted.height / height, wanted.width / width)
    inside, box = (wanted.height, wanted.width), (0.0, 0.0, float(width), float(height))
    if wanted.fit == "pad":
        inside = tuple(max(1, round(side * min(scale))) for side in (height, width))
    elif wanted.fit == "crop":
        kept = (wanted.height / max(scale), wanted.width / max(scale))
        top, left = (height - kept[0]) / 2, (width - kept[1]) / 2
        box = (left, top, left + kept[1], top + kept[0])
    resized = np.zeros((len(pictures), wanted.height, wanted.width, 3), dtype=np.uint8)
    top, left = (wanted.height - inside[0]) // 2, (wanted.width - inside[1]) // 2
    for picture, place in zip(pictures, resized, strict=True):
        small = Image.fromarray(picture).resize(inside[::-1], _RESAMPLING[wanted.filter], box=box)
        place[top : top + inside[0], left : left + inside[1]] = small
    return resized


class ResizedImages:
    """Shows a policy pictures of the size it declares."""

    def __init__(self, policy: Policy) -> None:
        if policy.spec.image is None:
            raise BadDeclaration("the policy declares no image size; give spec.image or leave ResizedImages out")
        self._policy = policy
        self._wanted = policy.spec.image
        self.spec = replace(policy.spec, image=None)

    def reset(self, episodes: Sequence[PolicyEpisode]) -> None:
        self._policy.reset(episodes)

    def act(self, observation: Observation) -> np.ndarray:
        return self._policy.act(replace(observation, rgb=resize(observation.rgb, self._wanted)))


class ActionChunks:
    """Executes the first k actions of each chunk, then asks the policy again.

    Args:
        policy: returns chunks (B, T, n), or single actions (B, n), which are passed on.
        execute_horizon: k; None for T.

    Attributes:
        chunk: T of the last chunk, 1 for single actions; None before the first call.
    """

    def __init__(self, policy: Policy, execute_horizon: int | None = None) -> None:
        check_execute_horizon(execute_horizon, policy.spec.chunk)
        self._policy = policy
        self._horizon = execute_horizon
        self._pending: list[np.ndarray] = []
        self._batch = 0
        self.chunk: int | None = None
        self.spec = replace(policy.spec, chunk=1)

    def reset(self, episodes: Sequence[PolicyEpisode]) -> None:
        self._pending, self._batch = [], len(episodes)
        self._policy.reset(episodes)

    def act(self, observation: Observation) -> np.ndarray:
        if not self._pending:
            actions = check_returned(self._policy.act(observation), self._batch, self._policy.spec)
            self.chunk = 1 if actions.ndim == 2 else actions.shape[1]
            check_execute_horizon(self._horizon, self.chunk)
            if actions.ndim == 2:
                return actions
            # Copied: the policy may reuse its array for the next chunk.
            self._pending = list(np.moveaxis(actions[:, : self._horizon].copy(), 1, 0))
        return self._pending.pop(0)


class TemporalEnsemble:
    """Asks at every step and merges what the last chunks say about this one.

    Args:
        policy: returns chunks (B, T, n).
        weighting: see ``ensembles.parse_weighting``.

    Attributes:
        chunk: T of the last chunk; None before the first call.
    """

    def __init__(self, policy: Policy, weighting: str) -> None:
        self._weighting: Weighting = parse_weighting(weighting)
        if policy.spec.chunk == 1:
            raise PolicyError(_NO_CHUNK)
        self._policy = policy
        self._chunks: list[np.ndarray] = []
        self._batch = 0
        self.chunk: int | None = None
        self.spec = replace(policy.spec, chunk=1)

    def reset(self, episodes: Sequence[PolicyEpisode]) -> None:
        self._chunks, self._batch = [], len(episodes)
        self._policy.reset(episodes)

    def act(self, observation: Observation) -> np.ndarray:
        actions = check_returned(self._policy.act(observation), self._batch, self._policy.spec)
        if actions.ndim == 2:
            raise PolicyError(_NO_CHUNK)
        self.chunk = actions.shape[1]
        # Every chunk starts with what it says about the present step; those that say nothing about it are dropped.
        self._chunks = [chunk[:, 1:] for chunk in self._chunks if chunk.shape[1] > 1] + [actions.copy()]
        present = np.stack([chunk[:, 0] for chunk in self._chunks])
        return average(present, self._weighting, self.spec.emits.rotation)


_NO_CHUNK = "returned single actions, and an ensemble needs chunks (B, T, n); leave --ensemble out"


class ConvertedActions:
    """Checks a policy's actions and makes them canonical.

    An episode whose action is not one is given up: it gets the canonical no-op from then on, and the others go on.

    Attributes:
        faults: what was wrong, by position in the batch, since the last reset.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._batch = 0
        self.faults: dict[int, str] = {}
        self.spec = replace(policy.spec, emits=ActionFormat())

    def reset(self, episodes: Sequence[PolicyEpisode]) -> None:
        self.faults, self._batch = {}, len(episodes)
        self._policy.reset(episodes)

    def act(self, observation: Observation) -> np.ndarray:
        spec = self._policy.spec
        actions = check_returned(self._policy.act(observation), self._batch, spec)
        for position, fault in faults(actions, spec.emits).items():
            self.faults.setdefault(position, fault)
        canonical = convert(actions, spec.emits, observation.gripper_pose)
        if self.faults:
            canonical[list(self.faults)] = NOOP
        return canonical


class RecordingPolicy:
    """Keeps what a policy saw and did since the last reset.

    Args:
        policy: usually a ``PreparedPolicy``, so that actions are kept as they were executed; may be used in its place.

    Attributes:
        episodes: what the policy was told.
        observations: one for each step, (B, ...) each.
        actions: one for each step, (B, 7) each.
    """

    def __init__(self, policy: Policy | PreparedPolicy) -> None:
        self._policy = policy
        self.spec = policy.spec
        self.episodes: tuple[PolicyEpisode, ...] = ()
        self.observations: list[Observation] = []
        self.actions: list[np.ndarray] = []

    @property
    def faults(self) -> dict[int, str]:
        """Those of the policy, see ``ConvertedActions``."""
        return getattr(self._policy, "faults", {})

    def reset(self, episodes: Sequence[PolicyEpisode]) -> None:
        self.episodes, self.observations, self.actions = tuple(episodes), [], []
        self._policy.reset(episodes)

    def act(self, observation: Observation, *row: str) -> np.ndarray:
        actions = self._policy.act(observation, *row)
        self.observations.append(observation)
        self.actions.append(actions.copy())
        return actions


class PreparedPolicy:
    """A policy as the roll-out plays it: whatever it declares, canonical actions (B, 7) float32 come out.

    Made by ``prepare``.

    Attributes:
        name: for messages.
        spec: the policy's own declaration.
        faults: which episodes of the batch were given up since the last reset, by position, and why.
    """

    def __init__(self, name: str, spec: PolicySpec, chunks: ActionChunks | TemporalEnsemble) -> None:
        self.name = name
        self.spec = spec
        self.faults: dict[int, str] = {}
        self._chunks = chunks
        self._actions = ConvertedActions(chunks)

    @property
    def chunk(self) -> int | None:
        """How many actions the last call of the policy returned for each episode; None before the first."""
        return self._chunks.chunk

    def reset(self, episodes: Sequence[PolicyEpisode]) -> None:
        """Begins B new episodes."""
        self.faults = {}
        self._actions.reset(episodes)

    def act(self, observation: Observation, row: str) -> np.ndarray:
        """Chooses the next action of every episode.

        Args:
            observation: what is seen now.
            row: which row is being played, for messages.

        Returns:
            Canonical actions (B, 7) float32; the no-op for the episodes in ``faults``.

        Raises:
            PolicyError: the policy is not shown what it declares to need, or what it returned cannot be told apart by
                episode. Whatever it raises itself passes through.
        """
        try:
            actions = self._actions.act(shown(self.spec, observation))
        except (PolicyError, BadDeclaration) as error:
            raise PolicyError(f"{self._where(observation, row)} {error}") from error
        for position, fault in self._actions.faults.items():
            if position not in self.faults:
                self.faults[position] = f"{self._where(observation, row)} {fault}"
        return actions

    def _where(self, observation: Observation, row: str) -> str:
        return f"policy {self.name!r} at step {observation.step} of row {row!r}"


def prepare(
    policy: Policy, *, name: str, execute_horizon: int | None = None, ensemble: str | None = None
) -> PreparedPolicy:
    """Makes a policy ready for the roll-out: pictures resized, chunks executed, actions checked and canonical.

    Args:
        policy: any policy.
        name: for messages.
        execute_horizon: how many actions of a chunk are executed before the policy is asked again; None for all.
        ensemble: merge overlapping chunks instead, see ``ensembles.parse_weighting``.

    Raises:
        PolicyError: the policy is none, or cannot be run like that.
    """
    check_policy_type(policy, name)
    spec = policy.spec
    try:
        if ensemble is not None and execute_horizon not in (None, 1):
            raise PolicyError(f"--ensemble asks at every step; leave --execute-horizon {execute_horizon} out")
        inner = ResizedImages(policy) if spec.image is not None else policy
        chunks = TemporalEnsemble(inner, ensemble) if ensemble is not None else ActionChunks(inner, execute_horizon)
    except (PolicyError, BadDeclaration) as error:
        raise PolicyError(f"policy {name!r}: {error}") from error
    return PreparedPolicy(name, spec, chunks)
