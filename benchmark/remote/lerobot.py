"""Any of LeRobot's policies as one of vlagen's: ``lerobot:<repository or folder>``.

LeRobot's pins exclude the simulator's, so this runs in LeRobot's own environment, behind ``vlagen-serve``. Written for
LeRobot 0.4: a checkpoint's configuration, safetensors and saved pre- and post-processors.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import numpy as np

from vlagen.assets.errors import unknown
from vlagen.benchmark.policy import ImageFormat, PolicyEpisode, PolicyError, PolicySpec
from vlagen.benchmark.remote.declarations import PRESETS, UnknownFormat
from vlagen.benchmark.remote.settings import Settings
from vlagen.benchmark.remote.states import NO_STATE, check_state, state_of
from vlagen.tasks.interface import Observation

_STATE, _ACTION, _TASK = "observation.state", "action", "task"


class LeRobotPolicy:
    """Loads a ``PreTrainedPolicy`` and asks it for chunks.

    A policy that looks at one observation returns its chunk. One that looks back (diffusion), or merges its own chunks,
    is asked at every step by its ``select_action`` and keeps its queues for the whole batch.

    What a policy samples it draws from torch's one generator, which is seeded by the episodes' seeds and the step: the
    same batch has the same actions again, but an episode alone has others than in a batch.

    Args:
        source: a folder with a checkpoint, or the name of a repository on the Hugging Face Hub.
        device: of torch; ``auto`` takes CUDA where there is one.
        actions: what the numbers of an action mean, which checkpoints do not say: one of ``declarations.PRESETS``; the
            next six change single fields of it, see ``actions.formats.ActionFormat``.
        rotation: how rotations are written, see ``rotations.ROTATION_SIZES``.
        length_unit: of translations: ``m``, ``cm`` or ``mm``.
        angle_unit: ``rad`` or ``deg``.
        gripper_open: the number that means open.
        gripper_closed: the number that means closed.
        gripper_binary: there is nothing between open and closed.
        camera: which of the policy's picture features gets the camera's picture; needed where it has several.
        blank: show a black picture to the others.
        fit: how pictures are brought to the size of that feature.
        state: which numbers ``observation.state`` are, see ``states.STATES``.

    Raises:
        PolicyError: LeRobot is not installed, or the checkpoint needs something that vlagen does not show.
        UnknownFormat: nobody said what the numbers of an action mean.
    """

    def __init__(
        self,
        source: str,
        *,
        device: str = "auto",
        actions: str | None = None,
        rotation: str | None = None,
        length_unit: str | None = None,
        angle_unit: str | None = None,
        gripper_open: float | None = None,
        gripper_closed: float | None = None,
        gripper_binary: bool | None = None,
        camera: str | None = None,
        blank: bool = False,
        fit: str = "stretch",
        state: str | None = None,
    ) -> None:
        emits = Settings(
            actions=actions,
            rotation=rotation,
            length_unit=length_unit,
            angle_unit=angle_unit,
            gripper_open=gripper_open,
            gripper_closed=gripper_closed,
            gripper_binary=gripper_binary,
        ).action_format(None)
        if emits is None:
            raise UnknownFormat(
                "a LeRobot checkpoint does not say what the numbers of its actions mean; say it with --policy-args "
                f"actions=<{' or '.join(PRESETS)}>, or single fields such as rotation=axis_angle"
            )
        self._load(source, device)
        inputs, outputs = self._policy.config.input_features, self._policy.config.output_features
        size = outputs[_ACTION].shape[0]
        if size != emits.size:
            raise UnknownFormat(f"the checkpoint's actions have {size} numbers, and declared are {emits.describe()}")
        self._pictures = {name: f.shape for name, f in inputs.items() if f.type.name == "VISUAL"}
        self._camera = self._choose_camera(camera, blank)
        self._state_size = inputs[_STATE].shape[0] if _STATE in inputs else 0
        self._state = check_state(state or "joints") if self._state_size else NO_STATE
        config = self._policy.config
        self._looks_back = config.n_obs_steps > 1 or getattr(config, "temporal_ensemble_coeff", None) is not None
        self._steps = 1 if self._looks_back else (getattr(config, "n_action_steps", None) or None)
        height, width = self._pictures[self._camera][1:] if self._camera else (1, 1)
        self.spec = PolicySpec(
            needs_images=self._camera is not None,
            image=ImageFormat(int(height), int(width), fit=fit) if self._camera else None,
            needs_proprioception=self._state != NO_STATE,
            emits=emits,
            chunk=self._steps,
        )
        self._episodes: tuple[PolicyEpisode, ...] = ()

    def reset(self, episodes: Sequence[PolicyEpisode]) -> None:
        self._episodes = tuple(episodes)
        self._policy.reset()

    def act(self, observation: Observation) -> np.ndarray:
        torch = self._torch
        torch.manual_seed(_seed([episode.seed for episode in self._episodes], observation.step))
        frame = self._preprocess(self._frame(observation))
        with torch.inference_mode():
            if self._looks_back:
                actions = self._policy.select_action(frame)
            else:
                actions = self._policy.predict_action_chunk(frame)[:, : self._steps]
            actions = self._postprocess(actions)
        return actions.to("cpu", torch.float32).numpy()

    def _load(self, source: str, device: str) -> None:
        try:
            import torch
            from lerobot.configs.policies import PreTrainedConfig
            from lerobot.policies.factory import get_policy_class, make_pre_post_processors
        except ImportError as error:
            raise PolicyError(
                f"LeRobot cannot be imported here ({error}); run vlagen-serve in LeRobot's own environment, where "
                "`pip install vlagen` adds little, and point vlagen-eval --policy openpi://... at it"
            ) from error
        self._torch = torch
        self._device = device if device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
        config = PreTrainedConfig.from_pretrained(source)
        config.device = self._device
        self._policy = get_policy_class(config.type).from_pretrained(source, config=config)
        self._policy.to(self._device).eval()
        self._preprocess, self._postprocess = make_pre_post_processors(
            self._policy.config, source, preprocessor_overrides={"device_processor": {"device": self._device}}
        )

    def _choose_camera(self, camera: str | None, blank: bool) -> str | None:
        names = tuple(self._pictures)
        if camera is None and len(names) <= 1:
            return names[0] if names else None
        if camera is None:
            raise PolicyError(f"the checkpoint has pictures {', '.join(names)}; choose one with camera=<name>")
        wanted = camera if camera in names else f"observation.images.{camera}"
        if wanted not in names:
            raise PolicyError(unknown("camera", camera, names))
        if len(names) > 1 and not blank:
            others = ", ".join(name for name in names if name != wanted)
            raise PolicyError(f"vlagen has one camera and nothing for {others}; show black pictures with blank=true")
        return wanted

    def _frame(self, observation: Observation) -> dict[str, Any]:
        """What LeRobot's processors take: pictures (B, C, H, W) float32 from 0 to 1, state (B, n), B texts."""
        torch = self._torch
        frame: dict[str, Any] = {_TASK: list(observation.instruction)}
        for name, (channels, height, width) in self._pictures.items():
            frame[name] = torch.zeros(len(self._episodes), channels, height, width)
        if self._camera is not None:
            # Copied: the array may belong to a message, which nobody may write to.
            pictures = torch.from_numpy(observation.rgb.copy())
            frame[self._camera] = pictures.permute(0, 3, 1, 2).to(torch.float32) / 255
        if self._state != NO_STATE:
            numbers = state_of(observation, self._state)
            if numbers.shape[1] != self._state_size:
                raise PolicyError(
                    f"the checkpoint's state has {self._state_size} numbers, and state={self._state} has "
                    f"{numbers.shape[1]}; choose another with --policy-args state=..."
                )
            frame[_STATE] = torch.from_numpy(numbers.copy())
        return frame


def _seed(seeds: Sequence[int], step: int) -> int:
    """Seeds torch for one step of a batch."""
    return int.from_bytes(sha256(f"{list(seeds)}:{step}".encode()).digest()[:8], "little") >> 1
