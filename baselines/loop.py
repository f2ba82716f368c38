"""What happens around the roll-outs and gradient steps of reinforcement learning, whichever the method.

Beside what every trainer leaves in its run's folder (``training``), there are::

    learning.csv         the learning curve, for ``vlagen-leaderboard --curves``
    broken/              batches that gave NaN

Several processes may train together (``processes``): all of them go through the same steps, the first one writes.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vlagen.assets.errors import VlagenError
from vlagen.baselines.agents import Agent
from vlagen.baselines.broken import keep_broken
from vlagen.baselines.evaluation import Examiner, write_curve
from vlagen.baselines.learning import Learner
from vlagen.baselines.processes import join
from vlagen.baselines.rollouts import Collector, Rollouts
from vlagen.baselines.sections import ModelSettings, ReinforcementSettings, RunSettings
from vlagen.baselines.settings import flat
from vlagen.baselines.simulation import open_stage
from vlagen.baselines.training import (
    Clock,
    Metrics,
    TrainingRun,
    latest_checkpoint,
    load_state,
    read_metrics,
    save_state,
    trained,
)
from vlagen.benchmark.simulator import Simulator
from vlagen.tasks.rows import find_row

MAY_CHANGE = frozenset(
    [f"model.{name}" for name in ("device", "gradient_checkpointing", "export")]
    + [f"simulation.{name}" for name in ("workers", "backend", "address", "timeout")]
    + [f"optimizer.{name}" for name in ("learning_rate", "critic_learning_rate", "max_gradient_norm")]
    + [f"run.{name}" for name in RunSettings.__dataclass_fields__ if name != "seed"]
)
"""Settings that a run may go on with others of."""

MakeAgent = Callable[[ModelSettings, int], Agent]
"""Makes what is trained from the model's settings and the run's seed."""


class NoSignal(VlagenError):
    """Roll-outs that teach nothing, several times in a row."""


@dataclass
class Progress:
    """How far a run has come.

    Attributes:
        updates: finished ones.
        environment_steps: control steps that were learned from, those of all episodes together.
        idle: the last so many updates had nothing to learn from.
    """

    updates: int = 0
    environment_steps: int = 0
    idle: int = 0


class Loop:
    """One run of a method, new or to be continued; also a context manager.

    Args:
        method: which method trains; for names.
        config: its settings.
        make_agent: makes what is trained.
        make_simulator: another simulator than ManiSkill's, see ``stage.find_stage``.

    Attributes:
        agent: what is trained.
        learner: trains it.
        progress: how far the run has come.
        out: the run's folder.
        processes: that train together.

    Raises:
        VlagenError: a bad setting, missing files, no renderer, or a folder that cannot be written or holds another run.
    """

    def __init__(
        self,
        method: str,
        config: ReinforcementSettings,
        make_agent: MakeAgent,
        make_simulator: Callable[[], Simulator] | None = None,
    ) -> None:
        self._config, self._settings = config, config.run
        self._entry = config.run.entry or method
        self.out = config.run.out if config.run.out != Path() else Path("runs") / f"{method}-{config.run.seed}"
        self.processes = join(config.model.device)
        self._folder = self._metrics = None
        if self.processes.is_main:
            self._folder = TrainingRun(self.out, {"method": method, **flat(config)}, keep=1, may_change=MAY_CHANGE)
        try:
            # What is not drawn by a counter, e.g. the value head's first weights, follows from the seed like all else.
            torch.manual_seed(config.run.seed)
            self.agent = make_agent(self.processes.placed(config.model), config.run.seed)
            self._stage, self._simulators = open_stage(config.simulation, config.run, self.agent.spec, make_simulator)
            self._examiner = self._make_examiner()
            self.learner = Learner(self.agent, config.optimizer, self._keep_broken, self.processes)
            self.progress = self._resume()
            if self._folder is not None:
                self._metrics = self._open_metrics()
        except BaseException:
            self._close()
            raise
        self._clock = Clock()

    def __enter__(self) -> Loop:
        return self

    def __exit__(self, *_: object) -> None:
        self._simulators.discard()
        self._close()

    def collector(self, *, group_size: int = 1, same_start: bool = True) -> Collector:
        """Makes what plays the episodes of each update, in groups as ``slots.draw_slots`` describes them.

        Raises:
            BadGroups: the episodes do not fill groups of this size.
        """
        rollouts, simulation = self._config.rollouts, self._config.simulation
        return Collector(
            self.agent,
            self._simulators,
            find_row(rollouts.row, self._stage.protocol),
            assets=self._stage.assets,
            seed=self._settings.seed,
            episodes=rollouts.episodes,
            group_size=group_size,
            same_start=same_start,
            temperature=rollouts.temperature,
            timeout=simulation.timeout or None,
            processes=self.processes,
        )

    def updates(self) -> Iterator[int]:
        """Numbers of the updates still to be made, from 0 in a new run; evaluates before, between and after them."""
        self._evaluate()
        while self.progress.updates < self._settings.updates:
            yield self.progress.updates
            self._evaluate()
        self._export()

    @contextmanager
    def clock(self, part: str) -> Iterator[None]:
        """Times a part of an update, ``rollout`` or ``learn``, until the GPU is done with it too."""
        with self._clock(part):
            yield
            if torch.cuda.is_available():
                torch.cuda.synchronize()

    def finish(self, rollouts: Rollouts, numbers: Mapping[str, float], *, samples: int, signal: bool) -> None:
        """Ends an update: counts, logs, and keeps the state.

        Args:
            rollouts: what was played for it.
            numbers: what is to be logged beside how that went.
            samples: control steps that went through gradient steps, counted each time.
            signal: there was something to learn from.

        Raises:
            NoSignal: there was not, for the last so many updates.
        """
        progress, settings = self.progress, self._settings
        progress.updates += 1
        progress.environment_steps += rollouts.rewards.numel()
        progress.idle = 0 if signal else progress.idle + 1
        seconds = self._clock.take()
        rates = {
            "environment_steps": float(progress.environment_steps),
            "environment_steps_per_second": rollouts.rewards.numel() / seconds["seconds/rollout"],
            "tokens_per_second": rollouts.tokens.numel() / seconds["seconds/rollout"],
            "samples_per_second": samples / seconds["seconds/learn"],
        }
        if self._folder is not None:
            with self._folder.checkpoint(progress.updates) as folder:
                save_state(folder, self.agent.module, {"adamw": self.learner.optimizer}, vars(progress))
            self._metrics.add(progress.updates, {**rollouts.summary(), **numbers, **rates, **seconds, **_memory()})
        if settings.checkpoint_every and progress.updates % settings.checkpoint_every == 0:
            self._export()
        if progress.idle >= settings.patience and settings.on_no_signal == "stop":
            self._export()
            raise NoSignal(
                f"{progress.idle} updates in a row had nothing to learn from, because all episodes that are compared "
                "earned the same; warm the policy up until it succeeds sometimes, play more episodes an update, or go "
                "on with --set run.on_no_signal=continue"
            )

    def _make_examiner(self) -> Examiner | None:
        settings = self._settings
        if not settings.evaluate_every:
            return None
        return Examiner(
            self.agent,
            self._simulators,
            self._stage.rows,
            seed=settings.seed,
            episodes=settings.evaluate_episodes,
            temperature=settings.evaluate_temperature,
            assets=self._stage.assets,
            timeout=self._config.simulation.timeout or None,
            trained_on=find_row(self._config.rollouts.row, self._stage.protocol).id,
            processes=self.processes,
        )

    def _resume(self) -> Progress:
        latest, progress = latest_checkpoint(self.out), Progress()
        if latest is not None:
            progress = Progress(**load_state(latest, self.agent.module, {"adamw": self.learner.optimizer}))
            self.learner.keep_rates()
        weights = trained(self.agent.module).values()
        self.processes.check_alike("finished updates", progress.updates)
        self.processes.check_alike("weights", sum(float(weight.detach().double().sum()) for weight in weights))
        return progress

    def _open_metrics(self) -> Metrics:
        settings = self._settings
        board = self.out / "tensorboard" if settings.tensorboard else None
        return Metrics(self.out, board, settings.wandb or None, from_step=self.progress.updates)

    def _export(self) -> None:
        """Leaves a model for ``vlagen-eval``."""
        if self._folder is not None:
            self._folder.export(self.progress.updates, self.agent.save)

    def _close(self) -> None:
        for file in (self._metrics, self._folder):
            if file is not None:
                file.close()

    def _evaluate(self) -> None:
        """Measures the agent if it is time to, and this was not done before the run was stopped."""
        done, settings = self.progress.updates, self._settings
        if self._examiner is None or (done % settings.evaluate_every and done != settings.updates):
            return
        known = any(line["step"] == done and "evaluation/errors" in line for line in read_metrics(self.out))
        if self.processes.gathered(known)[0]:  # the others may read while the first one writes
            return
        with self._clock("evaluate"):
            rates = self._examiner.examine()
        rates["environment_steps"] = float(self.progress.environment_steps)
        if self._metrics is None:
            return
        self._metrics.add(done, rates)
        write_curve(self.out / "learning.csv", read_metrics(self.out), entry=self._entry, seed=settings.seed)

    def _keep_broken(self, batch: Mapping[str, Any]) -> str:
        return str(keep_broken(self.out, self.progress.updates, self.processes.rank, batch))


def _memory() -> dict[str, float]:
    """The most memory that was in use so far [GB]: by the process, and on its GPU since the last call."""
    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    used = {"memory/host_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9}
    if torch.cuda.is_available():
        used["memory/gpu_gb"] = torch.cuda.max_memory_allocated() / 1e9
        torch.cuda.reset_peak_memory_stats()
    return used
