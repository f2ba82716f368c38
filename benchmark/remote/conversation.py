"""The server's side of a connection, whatever it speaks."""

from __future__ import annotations

import asyncio
import uuid
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from websockets.asyncio.server import ServerConnection

from vlagen.benchmark.actions.formats import ActionFormat, convert, express
from vlagen.benchmark.policy import PolicyEpisode, policy_seed
from vlagen.benchmark.remote import own
from vlagen.benchmark.remote.arrays import as_numbers, as_picture
from vlagen.benchmark.remote.declarations import VLAGEN_HEADER
from vlagen.benchmark.remote.desk import Desk, fit
from vlagen.benchmark.remote.limits import DEFAULT_LIMITS, Limits, WireError
from vlagen.benchmark.remote.metrics import Metrics
from vlagen.benchmark.remote.strategies import Play
from vlagen.tasks.interface import Observation

LONGEST_COMPLAINT = 1000
"""Characters of an error that a client is told."""

_INVALID_DATA = 1007


@dataclass(frozen=True, kw_only=True)
class Manners:
    """How a server talks to clients that are not vlagen's, and what it tells of itself.

    Attributes:
        name: of the policy.
        about: vlagen's own declaration; told to vlagen's clients.
        image_key: where the picture is; for vla-eval the camera, None for the only one.
        state_key: where the robot's state is.
        prompt_key: where the instruction is.
        emits: what the policy's numbers mean.
        actions: what they are turned into; None leaves them.
        rotation: vla-eval's name for the rotation in ``actions``.
        gripper: vla-eval's name for the gripper in ``actions``.
        execute_horizon: actions of a chunk that a vla-eval client is given, one by one; None for all.
        seed: from which episodes get theirs.
        limits: of a message.
    """

    name: str
    about: dict[str, Any]
    image_key: str | None = None
    state_key: str | None = None
    prompt_key: str | None = None
    emits: ActionFormat = field(default_factory=ActionFormat)
    actions: ActionFormat | None = None
    rotation: str = "axis_angle"
    gripper: str = "binary_close_positive"
    execute_horizon: int | None = None
    seed: int = 0
    limits: Limits = DEFAULT_LIMITS


class Conversation(ABC):
    """One connection.

    Args:
        connection: the client's.
        desk: where the policy is asked.
        manners: how to talk.
        metrics: is told of messages that cannot be understood.
    """

    def __init__(self, connection: ServerConnection, desk: Desk, manners: Manners, metrics: Metrics) -> None:
        self._connection = connection
        self._desk = desk
        self._manners = manners
        self._metrics = metrics
        self._is_own = VLAGEN_HEADER in connection.request.headers
        self._play: Play | None = None
        self._episodes = 0
        self._step = 0
        self._gone = asyncio.ensure_future(connection.wait_closed())

    async def run(self) -> None:
        """Talks until the client says something that cannot be understood.

        Raises:
            ConnectionClosed: the client has hung up.
        """
        try:
            await self._greet()
            while True:
                # Not kept in a variable: while the policy is asked, the message is needed no more.
                await self._hear(await self._connection.recv())
        except WireError as error:
            self._metrics.refused()
            await self._complain(f"{type(error).__name__}: {error}")
            await self._connection.close(_INVALID_DATA, "not understood; the message before says why")
        finally:
            self._leave()
            self._gone.cancel()

    @abstractmethod
    async def _greet(self) -> None:
        """Says what comes first."""

    @abstractmethod
    async def _hear(self, data: bytes | str) -> None:
        """Deals with a message; the memory of ``data`` is given back as soon as it has been decoded."""

    @abstractmethod
    async def _complain(self, text: str) -> None:
        """Reports an error."""

    def _begin(self, seating: own.Seating) -> None:
        """Begins an episode and leaves the one before."""
        self._leave()
        self._play = Play(seating)
        self._step = 0
        self._episodes += 1

    def _begin_foreign(self, instruction: str, told: str = "") -> None:
        """Begins an episode of which the client says no more than its instruction."""
        number = self._episodes
        seed = policy_seed(self._manners.seed, "served", f"{told}:{instruction}", number)
        self._begin(own.Seating(PolicyEpisode(instruction, seed), uuid.uuid4().hex, 1, 0))

    def _leave(self) -> None:
        if self._play is not None:
            self._desk.leave(self._play)
            self._play = None

    async def _ask(self, observation: Observation) -> np.ndarray:
        """Asks the policy, as long as there is somebody to answer to.

        Raises:
            ConnectionError: there is not.
            Exception: whatever the policy raises.
        """
        answer = asyncio.wrap_future(self._desk.ask(self._play, fit(observation, self._desk.spec)))
        await asyncio.wait({answer, self._gone}, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            answer.cancel()
            raise ConnectionError("the client has gone")
        self._step += 1
        return answer.result()

    def _seen(self, picture: Any, state: Any, instruction: str) -> Observation:
        """What a client that is not vlagen's shows."""
        return Observation(
            rgb=None if picture is None else as_picture(picture, "the picture")[None],
            instruction=(instruction,),
            proprioception=None if state is None else as_numbers(state, "the state")[None],
            gripper_pose=None,
            step=self._step,
        )

    def _expressed(self, actions: np.ndarray) -> np.ndarray:
        """Turns actions (..., n) of the policy into what was promised to the client, float32."""
        wanted = self._manners.actions
        if wanted is None:
            return actions.astype(np.float32)
        return express(convert(actions[None], self._manners.emits), wanted)[0].astype(np.float32)


def words(error: Exception) -> str:
    """What a client is told of an error; where it was raised is nobody's business but the server's log's."""
    return f"{type(error).__name__}: {error}"
