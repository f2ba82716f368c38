"""The client's side of vla-eval."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from vlagen.benchmark.policy import PolicyError
from vlagen.benchmark.remote import own, vla_eval_codec
from vlagen.benchmark.remote.declarations import (
    VLAGEN_KEY,
    Declaration,
    UnknownFormat,
    actions_from_specs,
    as_json,
    own_declaration,
)
from vlagen.benchmark.remote.limits import WireError
from vlagen.benchmark.remote.link import Address
from vlagen.benchmark.remote.session import LONGEST_COMPLAINT, Session
from vlagen.benchmark.remote.settings import Settings
from vlagen.benchmark.remote.states import NO_STATE, VLA_EVAL_STATES, state_of
from vlagen.tasks.interface import Observation

_STATE_KEYS = ("states", "state")


class VlaEvalSession(Session):
    """vla-eval: numbered frames; episodes begin and end with messages of their own, which have no answer."""

    def __init__(self, address: Address, settings: Settings) -> None:
        super().__init__(address, settings)
        self._number = 0
        self._began: float | None = None
        self._steps = 0

    def open(self, until: float) -> None:
        self._began = None
        super().open(until)

    def begin(self, seating: own.Seating) -> None:
        if self._began is not None:
            elapsed = time.monotonic() - self._began
            self._send("episode_end", {"metrics": {}, "steps": self._steps, "elapsed_sec": elapsed})
        task = {"name": seating.episode.instruction, "seed": seating.episode.seed}
        self._send("episode_start", {"task": task} | ({VLAGEN_KEY: seating.to_map()} if self._is_own else {}))
        self._began, self._steps = time.monotonic(), 0

    def ask(self, observation: Observation, row: int) -> None:
        settings = self._settings
        payload: dict[str, Any] = {"task_description": observation.instruction[row]}
        if self._is_own:
            if observation.rgb is not None:
                payload["images"] = {"image": observation.rgb[row]}
            payload[VLAGEN_KEY] = own.describe(observation, row)
        else:
            picture = self._picture_of(observation, row)
            payload["images"] = {settings.image_key or "image": picture}
            payload["images"] |= {key: np.zeros_like(picture) for key in settings.blank_keys}
            if settings.prompt_key:
                payload[settings.prompt_key] = payload.pop("task_description")
            state = self._state_name(NO_STATE)
            if state != NO_STATE:
                numbers = state_of(observation, state)[row]
                # Servers read the one or the other name.
                payload |= dict.fromkeys((settings.state_key,) if settings.state_key else _STATE_KEYS, numbers)
        self._steps += 1
        self._send("observation", payload)

    def _greet(self) -> Declaration:
        self._send("hello", {"harness_version": "vlagen", "protocol_version": vla_eval_codec.PROTOCOL_VERSION})
        said = self._receive("hello")
        if said.get("protocol_version") != vla_eval_codec.PROTOCOL_VERSION:
            raise WireError(f"protocol version {said.get('protocol_version')!r}; this is vla-eval's version 1")
        return own_declaration(said) or _vla_eval_declaration(said)

    def _receive_actions(self) -> Any:
        return self._receive("action").get("actions")

    def _send(self, kind: str, payload: dict[str, Any]) -> None:
        self._number += 1
        fields = vla_eval_codec.fields_of(vla_eval_codec.Frame(kind, payload, self._number))
        with self._packer.pack(fields, vla_eval_codec.DESCRIBE[self._settings.encoding]) as message:
            self._link.send(message)

    def _receive(self, kind: str) -> dict[str, Any]:
        while True:
            data = self._link.receive()
            if isinstance(data, str):
                raise WireError("a text frame")
            frame = vla_eval_codec.decode(data)
            if frame.type == "error":
                self.close()
                raise PolicyError(f"{self._address} reports: {str(frame.payload.get('error'))[:LONGEST_COMPLAINT]}")
            if frame.seq == self._number and frame.type == kind:
                return frame.payload
            if frame.seq >= self._number:
                raise WireError(f"a frame {frame.type!r} with number {frame.seq} in answer to number {self._number}")


def _vla_eval_declaration(said: dict[str, Any]) -> Declaration:
    actions = problem = state = None
    specs, seen = said.get("action_spec"), said.get("observation_spec")
    if isinstance(specs, dict) and specs:
        try:
            actions = actions_from_specs(specs)
        except UnknownFormat as error:
            problem = str(error)
    if isinstance(seen, dict) and isinstance(seen.get("state"), dict):
        wanted = str(seen["state"].get("format"))[:60]
        state = VLA_EVAL_STATES.get(wanted, wanted)
    kept = ("model_server", "harness_version", "observation_params", "action_spec", "observation_spec")
    return Declaration(
        identity=as_json({key: said[key] for key in kept if key in said}), actions=actions, problem=problem, state=state
    )
