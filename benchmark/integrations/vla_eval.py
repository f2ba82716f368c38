"""vlagen's rows as a benchmark of vla-eval (tested with 0.8.0).

Its runner counts every episode for itself and knows no third outcome: an episode whose action cannot be meant, or whose
simulator raises, is one of its errors, which it counts as failures and lists beside the rate.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
from vla_eval.benchmarks.base import StepBenchmark, StepResult
from vla_eval.specs import DimSpec

from vlagen.assets.errors import VlagenError
from vlagen.benchmark.actions.formats import NOOP, convert, express, faults
from vlagen.benchmark.actions.wrappers import resize
from vlagen.benchmark.policy import ImageFormat, PolicyError, PolicySpec
from vlagen.benchmark.remote.declarations import specs_from_actions, vla_eval_format
from vlagen.benchmark.remote.states import NO_STATE, VLA_EVAL_STATES, check_state, state_of
from vlagen.benchmark.request import Request
from vlagen.benchmark.rollout import Tally
from vlagen.benchmark.simulator import Simulator, choose_render_backend
from vlagen.benchmark.stage import Stage, find_stage
from vlagen.tasks.interface import Observation
from vlagen.tasks.rendering import prepare_rendering

_LONGEST_EPISODE = 10_000


class OtherRenderer(VlagenError):
    """A renderer that this machine does not use."""


class VlagenBenchmark(StepBenchmark):
    """Rows of a vlagen suite: one task a row, and the row's own list of episodes in its fixed order.

    Episode 7 of a row is the episode that ``vlagen-eval`` plays as the row's eighth, so both count the same thing.

    Args:
        suite: as ``vlagen-eval --suite``.
        rows: as ``--rows``; by default all.
        protocol: as ``--protocol``.
        assets: as ``--assets``.
        control: also play every row's unperturbed twin.
        rotation: what the server means by it, one of ``declarations.ROTATIONS``; vla-eval does not tell the benchmark,
            but warns if the server declares another. The default is what most of its servers emit.
        gripper: likewise, one of ``declarations.GRIPPERS``.
        state: what servers are told of the robot as ``states``, one of ``states.STATES``, or ``none``.
        camera: name of the picture.
        image_size: (height, width) that pictures are brought to; None leaves them at 480 x 640.
    """

    render_backends = frozenset({"gpu", "cpu"})
    _ALL_RECORD_FIELDS: ClassVar[frozenset[str]] = frozenset({"reward", "success"})

    def __init__(
        self,
        suite: str = "vlagen-v1",
        rows: Sequence[str] = (),
        protocol: str | None = None,
        assets: str | None = None,
        control: bool = False,
        rotation: str = "axis_angle",
        gripper: str = "binary_close_positive",
        state: str = "joints",
        camera: str = "primary",
        image_size: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        request = Request(
            policy="vla-eval",
            suite=suite,
            rows=(rows,) if isinstance(rows, str) else tuple(rows),
            # Any number that every row has; how many are played is vla-eval's to say.
            episodes=1,
            protocol=protocol,
            assets=assets,
            control=control,
        )
        self._stage = self._find_stage(request)
        self._rows = {row.id: row for row in self._stage.rows}
        self._words = (rotation, gripper)
        self._format = vla_eval_format(rotation, gripper)
        self._state = check_state(state)
        self._camera = camera
        self._image = ImageFormat(*image_size) if image_size is not None else None
        self._simulator: Simulator | None = None
        self._observation: Observation | None = None
        self._tally: Tally | None = None

    @classmethod
    def configure_render(cls, mode: str) -> dict[str, str]:
        """Prepares the renderer that this machine has.

        Raises:
            OtherRenderer: the other one was asked for.
            NoRenderer: it has none.
        """
        found = choose_render_backend()
        if mode != found:
            raise OtherRenderer(f"vlagen renders with the {found} on this machine; run vla-eval with --render {found}")
        variables: dict[str, str] = {}
        if mode == "cpu":
            prepare_rendering()
            prepare_rendering(variables)
        return variables

    def get_tasks(self) -> list[dict[str, Any]]:
        return [{"name": row.id, "suite": row.axis, "protocol": row.protocol} for row in self._stage.rows]

    def reset(self, task: dict[str, Any]) -> Observation:
        row, place = self._rows[task["name"]], int(task.get("episode_idx", 0))
        if not 0 <= place < row.size:
            raise PolicyError(f"{row.id} has {row.size} episodes, and number {place} was asked for")
        with self._in_simulator() as simulator:
            self._observation = simulator.start([row.listing(place + 1)[place]])
        self._tally = Tally(simulator.horizon, 1)
        self._recorder.record_video(self._picture)
        return self._observation

    def step(self, action: dict[str, Any]) -> StepResult:
        assert self._tally is not None, "reset comes first"
        executed = self._canonical(action)
        with self._in_simulator() as simulator:
            result = simulator.step(executed)
        self._observation = result.observation
        self._tally.add(result.observation.step - 1, result)
        reward, success = float(result.reward[0]), bool(result.success[0])
        self._recorder.record_video(self._picture)
        self._recorder.record_step(reward=reward, success=success)
        return StepResult(
            obs=result.observation,
            reward=reward,
            done=result.observation.step >= simulator.horizon,
            info={"success": success},
        )

    def make_obs(self, raw_obs: Observation, task: dict[str, Any]) -> dict[str, Any]:
        pictures = raw_obs.rgb if self._image is None else resize(raw_obs.rgb, self._image)
        seen: dict[str, Any] = {"images": {self._camera: pictures[0]}, "task_description": raw_obs.instruction[0]}
        if self._state != NO_STATE:
            seen["states"] = state_of(raw_obs, self._state)[0]
        return seen

    def get_step_result(self, step_result: StepResult) -> dict[str, Any]:
        """Says how the episode went, as its line in ``episodes.jsonl`` would: success is judged at its last step."""
        if not step_result.done:
            # vla-eval's `max_steps` cut it short: it never came to the step at which success is judged.
            return {"success": False}
        results = self._tally.results(0)
        kept = ("success_once", "grasped", "consecutive_grasp", "episode_return", "failure", "trajectory")
        return {"success": results["success_at_end"], **{name: results[name] for name in kept if name in results}}

    def get_action_spec(self) -> dict[str, DimSpec]:
        return {name: DimSpec.from_dict(spec) for name, spec in specs_from_actions(*self._words).items()}

    def get_observation_spec(self) -> dict[str, DimSpec]:
        spec = {
            self._camera: DimSpec(self._camera, 0, "rgb_hwc_uint8"),
            "language": DimSpec("language", 0, "language"),
        }
        if self._state != NO_STATE:
            theirs = {ours: name for name, ours in VLA_EVAL_STATES.items()}
            spec["state"] = DimSpec("state", 0, theirs.get(self._state, self._state))
        return spec

    def get_metric_keys(self) -> dict[str, str]:
        return {"success": "mean", "success_once": "mean", "grasped": "mean", "episode_return": "mean"}

    def get_metadata(self) -> dict[str, Any]:
        return {
            # No row's episodes are longer, and each ends by itself.
            "max_steps": int(self._stage.identity.get("horizon", _LONGEST_EPISODE)),
            "max_episodes_per_task": min(row.size for row in self._stage.rows),
            "protocol": self._stage.protocol,
            "assets": self._stage.assets,
            "conditions": dict(self._stage.identity),
        }

    def get_hold_action(self, last_action: dict[str, Any] | None) -> dict[str, Any]:
        """Stays where it is and leaves the gripper as it was told last, or open."""
        held = NOOP.copy()
        if last_action is not None:
            held[6] = self._canonical(last_action)[0, 6]
        return {"actions": express(held[None], self._format)[0].astype(np.float32)}

    def cleanup(self) -> None:
        simulator, self._simulator = self._simulator, None
        if simulator is not None:
            simulator.close()

    def render(self) -> np.ndarray | None:
        return self._picture

    @property
    def _picture(self) -> np.ndarray | None:
        seen = self._observation
        return None if seen is None or seen.rgb is None else seen.rgb[0]

    def _find_stage(self, request: Request) -> Stage:
        spec = PolicySpec(needs_images=True, needs_proprioception=True)
        return find_stage(request, spec)

    @contextlib.contextmanager
    def _in_simulator(self) -> Iterator[Simulator]:
        """Makes the simulator if need be, and throws it away when something goes wrong in it: its state is unknown."""
        if self._simulator is None:
            self._simulator = self._stage.make_simulator()
        try:
            yield self._simulator
        except BaseException:
            with contextlib.suppress(Exception):
                self.cleanup()
            raise

    def _canonical(self, action: dict[str, Any]) -> np.ndarray:
        """Reads an action of the server, (1, 7).

        Raises:
            PolicyError: it is none.
        """
        given = action.get("actions", action.get("action"))
        numbers = np.asarray(given, dtype=np.float64)
        if numbers.shape != (self._format.size,):
            raise PolicyError(
                f"the server sent actions of shape {numbers.shape}; allowed: ({self._format.size},), which is "
                f"{self._format.describe()}. A server that sends chunks has to buffer them (chunk_size)"
            )
        faulty = faults(numbers[None], self._format)
        if faulty:
            raise PolicyError(faulty[0])
        return convert(numbers[None], self._format, self._observation.gripper_pose)
