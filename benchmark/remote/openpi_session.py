"""The client's side of openpi and of RoboArena, which has the same serialisation."""

from __future__ import annotations

from typing import Any

import numpy as np

from vlagen.benchmark.policy import PolicyError
from vlagen.benchmark.remote import openpi_codec, own
from vlagen.benchmark.remote.arrays import as_map
from vlagen.benchmark.remote.declarations import VLAGEN_KEY, Declaration, as_json, own_declaration
from vlagen.benchmark.remote.session import LONGEST_COMPLAINT, Session
from vlagen.benchmark.remote.states import NO_STATE, state_of
from vlagen.tasks.interface import Observation


class OpenpiSession(Session):
    """openpi: the server speaks first; then requests that say everything, each with an answer."""

    self_contained = True

    def begin(self, seating: own.Seating) -> None:
        self._seating = seating

    def ask(self, observation: Observation, row: int) -> None:
        self._say(self._request(observation, row))

    def _say(self, request: dict[str, Any]) -> None:
        with self._packer.pack(request, openpi_codec.describe) as message:
            self._link.send(message)

    def _request(self, observation: Observation, row: int) -> dict[str, Any]:
        settings = self._settings
        request: dict[str, Any] = {settings.prompt_key or "prompt": observation.instruction[row]}
        if self._is_own:
            if observation.rgb is not None:
                request["observation/image"] = observation.rgb[row]
            # Said with every request: the server compares, and an episode begins with the first that names another.
            request[VLAGEN_KEY] = {"episode": self._seating.to_map(), "observation": own.describe(observation, row)}
            return request
        picture = self._picture_of(observation, row)
        request[settings.image_key or "observation/image"] = picture
        request |= {key: np.zeros_like(picture) for key in settings.blank_keys}
        state = self._state_name("joints")
        if state != NO_STATE:
            request[settings.state_key or "observation/state"] = state_of(observation, state)[row]
        return request

    def _greet(self) -> Declaration:
        said = as_map(self._receive(), "the server's metadata")
        own_one = own_declaration(said)
        self.self_contained = own_one is None
        return own_one or Declaration(identity=as_json(said))

    def _receive_actions(self) -> Any:
        answer = self._receive()
        if isinstance(answer, np.ndarray):  # as RoboArena has it
            return answer
        answer = as_map(answer, "the server's answer")
        return answer.get("actions", answer.get("action"))

    def _receive(self) -> Any:
        data = self._link.receive()
        if isinstance(data, str):
            self.close()
            raise PolicyError(f"{self._address} reports: {data.strip()[-LONGEST_COMPLAINT:]}")
        return openpi_codec.decode(data)


class RoboArenaSession(OpenpiSession):
    """RoboArena: as openpi, but each request names its endpoint, and a reset is answered by a text."""

    self_contained = False

    def begin(self, seating: own.Seating) -> None:
        super().begin(seating)
        request: dict[str, Any] = {"endpoint": "reset"}
        if self._is_own:
            request[VLAGEN_KEY] = {"episode": seating.to_map()}
        self._say(request)
        answer = self._link.receive()
        if not isinstance(answer, str) or "success" not in answer:
            self.close()
            said = answer.strip()[-LONGEST_COMPLAINT:] if isinstance(answer, str) else "something else"
            raise PolicyError(f"{self._address} should answer a reset by 'reset successful', and says: {said}")

    def _request(self, observation: Observation, row: int) -> dict[str, Any]:
        request = super()._request(observation, row)
        if not self._is_own:
            if self._settings.image_key is None:
                request["observation/exterior_image_0_left"] = request.pop("observation/image")
            if self._settings.state_key is None and "observation/state" in request:
                state = request.pop("observation/state")
                request |= {"observation/joint_position": state[:-2], "observation/gripper_position": state[-1:]}
            if self.declaration.identity.get("needs_session_id"):
                request["session_id"] = self._seating.party
        return {"endpoint": "infer", **request}

    def _greet(self) -> Declaration:
        said = super()._greet()
        self.self_contained = False
        if said.spec is not None:
            return said
        space, size = said.identity.get("action_space"), said.identity.get("image_resolution")
        is_size = isinstance(size, list) and len(size) == 2 and all(type(side) is int and side > 0 for side in size)
        return Declaration(
            identity=said.identity,
            problem=f"the server's action space is {space!r}, and vlagen's arm takes steps of its gripper. If its "
            "numbers are such steps, say what they mean with --policy-args actions=..., or config=...",
            image=(size[0], size[1]) if is_size else None,
        )
