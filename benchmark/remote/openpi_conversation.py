"""The server's side of openpi and of RoboArena, which has the same serialisation."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from vlagen.benchmark.remote import openpi_codec, own
from vlagen.benchmark.remote.arrays import as_map, as_numbers, as_picture, as_text
from vlagen.benchmark.remote.conversation import LONGEST_COMPLAINT, Conversation, words
from vlagen.benchmark.remote.declarations import VLAGEN_KEY
from vlagen.benchmark.remote.limits import WireError
from vlagen.tasks.interface import Observation

_INTERNAL_ERROR = 1011


class OpenpiConversation(Conversation):
    """openpi: metadata, then requests that say everything."""

    async def _greet(self) -> None:
        manners = self._manners
        told = {"policy": manners.name, "actions": (manners.actions or manners.emits).describe()}
        if self._is_own:
            told = {VLAGEN_KEY: manners.about}
        await self._connection.send(openpi_codec.pack(told))

    async def _hear(self, data: bytes | str) -> None:
        if isinstance(data, str):
            raise WireError("a text; requests are binary")
        started = time.perf_counter()
        request = as_map(openpi_codec.decode(data, self._manners.limits), "a request")
        del data
        await self._deal_with(request, started)

    async def _deal_with(self, request: dict[str, Any], started: float) -> None:
        observation = self._observation(request)
        try:
            actions = await self._ask(observation)
        except ConnectionError:
            return
        except Exception as error:  # noqa: BLE001 - the policy raises anything; the client is told
            await self._fail(error)
            return
        if not self._is_own:
            actions = self._expressed(actions if actions.ndim == 2 else actions[None])
        await self._connection.send(self._reply(actions, 1e3 * (time.perf_counter() - started)))

    def _observation(self, request: dict[str, Any]) -> Observation:
        manners, told = self._manners, request.get(VLAGEN_KEY)
        instruction = as_text(request.get(manners.prompt_key or "prompt", ""), "the prompt")
        if self._is_own and told is not None:
            told = as_map(told, "what vlagen tells")
            seating = own.seating_of(told.get("episode"))
            if self._play is None or self._play.seating != seating:
                self._begin(seating)
            picture = request.get("observation/image")
            picture = None if picture is None else as_picture(picture, "the picture")
            return own.restore(told.get("observation"), picture, instruction)
        # A prompt that changes is all that tells a new episode from the old one.
        if self._play is None or self._play.seating.episode.instruction != instruction:
            self._begin_foreign(instruction)
        return self._seen(self._picture(request), self._state(request), instruction)

    def _picture(self, request: dict[str, Any]) -> Any:
        return request.get(self._manners.image_key or "observation/image")

    def _state(self, request: dict[str, Any]) -> Any:
        return request.get(self._manners.state_key or "observation/state")

    def _reply(self, actions: np.ndarray, milliseconds: float) -> bytes:
        return openpi_codec.pack({"actions": actions, "server_timing": {"infer_ms": milliseconds}})

    async def _fail(self, error: Exception) -> None:
        await self._complain(words(error))
        await self._connection.close(_INTERNAL_ERROR, "the policy raised; the message before says what")

    async def _complain(self, text: str) -> None:
        await self._connection.send(text[:LONGEST_COMPLAINT])


class RoboArenaConversation(OpenpiConversation):
    """RoboArena: as openpi, but the first message is a configuration and episodes begin with a request for that."""

    async def _greet(self) -> None:
        spec = self._desk.spec
        size = None if spec.image is None else [spec.image.height, spec.image.width]
        told: dict[str, Any] = {
            "image_resolution": size,
            "needs_wrist_camera": False,
            "n_external_cameras": int(spec.needs_images),
            "needs_stereo_camera": False,
            "needs_session_id": False,
            "action_space": "cartesian_step",
        }
        if self._is_own:
            told[VLAGEN_KEY] = self._manners.about
        await self._connection.send(openpi_codec.pack(told))

    async def _deal_with(self, request: dict[str, Any], started: float) -> None:
        if request.get("endpoint") != "reset":
            await super()._deal_with(request, started)
            return
        told = request.get(VLAGEN_KEY)
        if self._is_own and told is not None:
            self._begin(own.seating_of(as_map(told, "what vlagen tells").get("episode")))
        else:
            self._leave()
        await self._connection.send("reset successful")

    def _picture(self, request: dict[str, Any]) -> Any:
        return request.get(self._manners.image_key or "observation/exterior_image_0_left")

    def _state(self, request: dict[str, Any]) -> Any:
        if self._manners.state_key is not None:
            return request.get(self._manners.state_key)
        parts = [request.get(f"observation/{name}_position") for name in ("joint", "gripper")]
        if parts[0] is None:
            return None
        return np.concatenate([as_numbers(part, "the state") for part in parts if part is not None])

    def _reply(self, actions: np.ndarray, milliseconds: float) -> bytes:
        return openpi_codec.pack({"actions": actions} if self._is_own else actions)
