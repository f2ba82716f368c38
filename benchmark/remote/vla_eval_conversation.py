"""The server's side of vla-eval."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np

from vlagen.benchmark.policy import PolicyError
from vlagen.benchmark.remote import own, vla_eval_codec
from vlagen.benchmark.remote.arrays import as_map, as_picture, as_text
from vlagen.benchmark.remote.conversation import LONGEST_COMPLAINT, Conversation, words
from vlagen.benchmark.remote.declarations import VLAGEN_KEY, specs_from_actions
from vlagen.benchmark.remote.limits import WireError


class VlaEvalConversation(Conversation):
    """vla-eval: frames with types; an action for each observation."""

    async def _greet(self) -> None:
        self._number = 0
        self._task = ""
        self._chunk: list[np.ndarray] = []

    async def _hear(self, data: bytes | str) -> None:
        if isinstance(data, str):
            raise WireError("a text; frames are binary")
        # Pictures may be compressed, and unpacking them takes long enough to be done beside.
        frame = await asyncio.to_thread(vla_eval_codec.decode, data, self._manners.limits)
        del data
        self._number = frame.seq
        if frame.type == "hello":
            await self._say("hello", self._hello())
        elif frame.type == "episode_start":
            self._start(frame.payload)
        elif frame.type == "observation":
            await self._act(frame.payload)
        elif frame.type == "episode_end":
            self._leave()

    def _hello(self) -> dict[str, Any]:
        manners, spec = self._manners, self._desk.spec
        told: dict[str, Any] = {
            "harness_version": "vlagen",
            "protocol_version": vla_eval_codec.PROTOCOL_VERSION,
            "model_server": manners.name,
            "capabilities": {},
            "action_spec": specs_from_actions(manners.rotation, manners.gripper),
            "observation_spec": {"language": {"name": "language", "dims": 0, "format": "language"}},
        }
        if spec.needs_images:
            told["observation_spec"]["image"] = {"name": "image", "dims": 0, "format": "rgb_hwc_uint8"}
        if spec.needs_proprioception:
            told["observation_spec"]["state"] = {"name": "state", "dims": 0, "format": "joint_positions"}
        if self._is_own:
            told[VLAGEN_KEY] = manners.about
        return told

    def _start(self, payload: dict[str, Any]) -> None:
        self._chunk = []
        told = payload.get(VLAGEN_KEY)
        if self._is_own and told is not None:
            self._begin(own.seating_of(told))
        else:
            # The instruction comes with the first observation; the task says which episode it is.
            self._leave()
            task = as_map(payload.get("task", {}), "a task")
            self._task = repr(sorted(task.items()))[:LONGEST_COMPLAINT]

    async def _act(self, payload: dict[str, Any]) -> None:
        try:
            await self._say("action", {"actions": await self._next(payload)})
        except ConnectionError:
            return
        except WireError:
            raise
        except Exception as error:  # noqa: BLE001 - the policy raises anything; the client is told
            await self._complain(f"observation_failed: {words(error)}")

    async def _next(self, payload: dict[str, Any]) -> np.ndarray:
        manners, told = self._manners, payload.get(VLAGEN_KEY)
        instruction = as_text(payload.get(manners.prompt_key or "task_description", ""), "the task description")
        if self._is_own and told is not None:
            if self._play is None:
                raise PolicyError("an observation came before episode_start")
            pictures = as_map(payload.get("images", {}), "images")
            picture = as_picture(pictures["image"], "the picture") if "image" in pictures else None
            return await self._ask(own.restore(told, picture, instruction))
        if self._chunk:
            return self._chunk.pop(0)
        if self._play is None:
            self._begin_foreign(instruction, self._task)
        keys = (manners.state_key,) if manners.state_key else ("states", "state")
        state = next((payload[key] for key in keys if payload.get(key) is not None), None)
        actions = await self._ask(self._seen(self._picture(payload), state, instruction))
        chunk = self._expressed(actions if actions.ndim == 2 else actions[None])
        self._chunk = list(chunk[: manners.execute_horizon])
        return self._chunk.pop(0)

    def _picture(self, payload: dict[str, Any]) -> Any:
        if not self._desk.spec.needs_images:
            return None
        pictures = as_map(payload.get("images", {}), "images")
        wanted = self._manners.image_key
        if wanted is None and len(pictures) == 1:
            (wanted,) = pictures
        if wanted not in pictures:
            raise PolicyError(
                f"the observation has the cameras {', '.join(sorted(pictures))[:200] or '(none)'}; start vlagen-serve "
                "with --image-key <camera> to choose one"
            )
        return pictures[wanted]

    async def _say(self, kind: str, payload: dict[str, Any]) -> None:
        await self._connection.send(vla_eval_codec.pack(vla_eval_codec.Frame(kind, payload, self._number)))

    async def _complain(self, text: str) -> None:
        await self._say("error", {"error": text[:LONGEST_COMPLAINT]})
