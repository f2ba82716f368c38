"""Supervised fine-tuning of a vision-language-action model on demonstrations, as in arXiv 2505.19789 (appendix B).

Next-token cross-entropy on the seven action tokens and the end of text. One process trains by itself; started by
``accelerate launch`` several do, each with the whole model or, with ``sharding=fsdp``, with a part of it. A run that
was stopped goes on with the same command and ends with the same weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from vlagen.baselines.agents import NotFinite
from vlagen.baselines.broken import keep_broken
from vlagen.baselines.data.batches import Prefetched, ShuffledBatches
from vlagen.baselines.evaluation import Examiner, write_curve
from vlagen.baselines.lessons import Lessons
from vlagen.baselines.openvla.prompts import SupervisedBatch
from vlagen.baselines.openvla_agent import OpenVLAAgent, make_actor
from vlagen.baselines.sections import ModelSettings
from vlagen.baselines.settings import BadSetting, flat
from vlagen.baselines.sft_settings import MAY_CHANGE, Config, learning_rate
from vlagen.baselines.sharding import shard, whole
from vlagen.baselines.simulation import open_stage
from vlagen.baselines.supervised import Accuracy, SupervisedModel, freeze_unused, measure
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


def main(config: Config, make_simulator: Callable[[], Simulator] | None = None) -> Path:
    """Trains, or goes on training, and returns the run's folder.

    Args:
        config: all settings.
        make_simulator: another simulator than ManiSkill's, for evaluations.
    """
    trainer = Trainer(config, make_simulator)
    try:
        trainer.train()
    finally:
        trainer.close()
    return trainer.out


class Trainer:
    """One run, new or to be continued.

    Raises:
        VlagenError: a bad setting, a damaged data set or checkpoint, or a folder that holds another run.
    """

    def __init__(self, config: Config, make_simulator: Callable[[], Simulator] | None = None) -> None:
        self._config = config
        self._accelerator = accelerator = _accelerator(config)
        self.out = config.run.out if config.run.out != Path() else Path("runs") / f"sft-{config.run.seed}"
        may_change = MAY_CHANGE | ({"run.updates"} if config.adamw.schedule == "constant" else set())
        self._is_main = accelerator.is_main_process
        self._folder = (
            TrainingRun(self.out, {"method": "sft", **flat(config)}, may_change=may_change) if self._is_main else None
        )
        torch.manual_seed(config.run.seed)
        self._agent = make_actor(_placed(config.model, accelerator), config.run.seed)
        self._lessons = self._open_lessons()
        if config.statistics == "data":
            self._agent.use_statistics(config.statistics_key, self._lessons.statistics())
        model = self._agent.module.model
        freeze_unused(model)
        model.set_checkpointing(config.model.gradient_checkpointing)
        model.train()
        self._model = SupervisedModel(model)
        if config.sharding == "fsdp":
            shard(self._model, accelerator.device)
        else:
            self._model = accelerator.prepare(self._model)
        self._optimizer = torch.optim.AdamW(
            trained(model).values(),
            lr=config.adamw.learning_rate,
            betas=config.adamw.betas,
            weight_decay=config.adamw.weight_decay,
        )
        latest = latest_checkpoint(self.out)
        counters = load_state(latest, self._plain, {"adamw": self._optimizer}) if latest else {"updates": 0}
        self._done: int = counters["updates"]
        self._metrics = self._open_metrics()
        self._examiner = self._make_examiner(make_simulator)
        self._clock = Clock()

    def close(self) -> None:
        """Ends files and simulators."""
        if self._examiner is not None:
            self._simulators.discard()
        if self._is_main:
            self._metrics.close()
            self._folder.close()
        self._accelerator.end_training()

    def train(self) -> None:
        """Takes the steps that are missing; evaluates before, between and after them."""
        config, accumulate = self._config, self._config.adamw.accumulate
        batches = ShuffledBatches(
            self._lessons.training,
            config.adamw.batch,
            config.run.seed,
            rank=self._accelerator.process_index,
            processes=self._accelerator.num_processes,
        )
        prepared = Prefetched(
            lambda number: self._lessons.prepare(self._agent.processing, batches[number], number),
            self._done * accumulate,
            depth=config.prefetch,
        )
        try:
            self._evaluate()
            while self._done < config.run.updates:
                numbers = self._update(prepared)
                self._done += 1
                self._finish(numbers)
        finally:
            prepared.close()

    def _update(self, prepared: Prefetched[tuple[Tensor, SupervisedBatch]]) -> dict[str, float]:
        """Takes one optimizer step, and returns what is to be logged about it."""
        optimizer, device = self._config.adamw, self._accelerator.device
        rate = learning_rate(self._done, optimizer, self._config.run.updates)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        losses, accuracy = [], Accuracy()
        for part in range(optimizer.accumulate):
            with self._clock("load"):
                pixels, batch = next(prepared)
            with self._clock("learn"), self._gradients(last=part == optimizer.accumulate - 1):
                with self._accelerator.autocast():
                    prediction = self._model(pixels.to(device), batch.to(device))
                losses.append(float(prediction.loss.detach()))
                if not math.isfinite(losses[-1]):
                    self._keep_broken(pixels, batch)
                self._accelerator.backward(prediction.loss / optimizer.accumulate)
                accuracy += self._measure(prediction)
        with self._clock("learn"):
            limit = optimizer.max_gradient_norm or math.inf
            norm = whole(torch.nn.utils.clip_grad_norm_(trained(self._model).values(), limit))
            self._optimizer.step()
            self._optimizer.zero_grad(set_to_none=True)
        loss, accuracy = self._of_all(sum(losses) / len(losses), accuracy)
        return {"loss": loss, **accuracy.values(), "learning_rate": rate, "gradient_norm": float(norm)}

    def _of_all(self, loss: float, accuracy: Accuracy) -> tuple[float, Accuracy]:
        """The mean loss and the joint accuracy of all processes."""
        mine = [loss, accuracy.tokens, accuracy.right, accuracy.distance]
        numbers = torch.tensor(mine, dtype=torch.float64, device=self._accelerator.device)
        loss, tokens, right, distance = self._accelerator.reduce(numbers).tolist()
        return loss / self._accelerator.num_processes, Accuracy(int(tokens), int(right), distance)

    def _gradients(self, *, last: bool) -> Any:
        """Where gradients only add up, processes need not exchange them."""
        return self._accelerator.no_sync(self._model) if not last else torch.enable_grad()

    def _finish(self, numbers: dict[str, float]) -> None:
        run, done = self._config.run, self._done
        if self._config.validate_every and done % self._config.validate_every == 0:
            with self._clock("validate"):
                numbers |= {f"held_out/{name}": value for name, value in self._validate().items()}
        seconds = self._clock.take()
        if self._is_main:
            self._metrics.add(done, {**numbers, **seconds})
        if done == run.updates or (run.checkpoint_every and done % run.checkpoint_every == 0):
            self._save()
        self._evaluate()

    @torch.no_grad()
    def _validate(self) -> dict[str, float]:
        """How well the actions of held-out episodes are predicted, in this process's model."""
        config, sizes, losses, accuracy = self._config, [], [], Accuracy()
        self._plain.model.eval()
        for places in np.array_split(self._lessons.held_out, max(1, len(self._lessons.held_out) // config.adamw.batch)):
            pixels, batch = self._lessons.prepare(self._agent.processing, places)
            prediction = self._model(pixels.to(self._accelerator.device), batch.to(self._accelerator.device))
            losses.append(float(prediction.loss))
            sizes.append(len(places))
            accuracy += self._measure(prediction)
        self._plain.model.train()
        return {"loss": float(np.average(losses, weights=sizes)), **accuracy.values()}

    def _measure(self, prediction: Any) -> Accuracy:
        tokens = self._agent.processing.action_tokens
        centres = torch.from_numpy(tokens.decode(np.arange(tokens.ids.start, tokens.ids.stop)))
        return measure(prediction, tokens.ids, centres.to(prediction.labels.device))

    @property
    def _plain(self) -> SupervisedModel:
        """The model out of what distributes it."""
        return self._accelerator.unwrap_model(self._model)

    def _save(self) -> None:
        """Keeps the state to go on from, and a model for ``vlagen-eval``; all processes take part."""
        optimizers, counters = {"adamw": self._optimizer}, {"updates": self._done}
        if self._is_main:
            with self._folder.checkpoint(self._done) as folder:
                save_state(folder, self._plain, optimizers, counters)
        else:
            save_state(None, self._plain, optimizers, counters)
        agent = self._agent if self._config.sharding == "none" else self._gathered()
        if self._is_main:
            self._folder.export(self._done, agent.save)
        self._accelerator.wait_for_everyone()

    def _gathered(self) -> OpenVLAAgent | None:
        """An agent in one piece in the main process's memory, of weights that are spread over all."""
        weights = {name: whole(value.detach()).cpu() for name, value in self._plain.model.state_dict().items()}
        if not self._is_main:
            return None
        agent = make_actor(replace(self._config.model, device="cpu"), self._config.run.seed)
        key = self._agent.processing.unnorm_key
        agent.use_statistics(key, self._agent.module.model.config.norm_stats[key])
        agent.module.model.load_state_dict(weights)
        return agent

    def _evaluate(self) -> None:
        """Plays episodes if it is time to and this was not done before the run was stopped."""
        run, done = self._config.run, self._done
        if self._examiner is not None and (done % run.evaluate_every == 0 or done == run.updates):
            metrics = read_metrics(self.out)
            if not any(line["step"] == done and "evaluation/errors" in line for line in metrics):
                model = self._plain.model
                model.eval()
                with self._clock("evaluate"):
                    rates = self._examiner.examine()
                model.train()
                frames = done * self._config.adamw.batch * self._config.adamw.accumulate
                frames *= self._accelerator.num_processes
                self._metrics.add(done, {**rates, "environment_steps": float(frames)})
                write_curve(self.out / "learning.csv", read_metrics(self.out), entry=run.entry or "sft", seed=run.seed)
        self._accelerator.wait_for_everyone()

    def _open_lessons(self) -> Lessons:
        """Opens the data; one process decodes its pictures, then the others find them there."""
        config, size = self._config, self._agent.processing.images.size
        with self._accelerator.main_process_first():
            return Lessons(
                config.data,
                size,
                config.held_out,
                config.augmentation,
                config.run.seed,
                self._accelerator.process_index,
                config.demonstrations,
            )

    def _open_metrics(self) -> Metrics | None:
        run = self._config.run
        if not self._is_main:
            return None
        board = self.out / "tensorboard" if run.tensorboard else None
        return Metrics(self.out, board, run.wandb or None, from_step=self._done)

    def _make_examiner(self, make_simulator: Callable[[], Simulator] | None) -> Examiner | None:
        config, run = self._config, self._config.run
        if not run.evaluate_every or not self._is_main:
            return None
        stage, self._simulators = open_stage(config.simulation, run, self._agent.spec, make_simulator)
        return Examiner(
            self._agent,
            self._simulators,
            stage.rows,
            seed=run.seed,
            episodes=run.evaluate_episodes,
            temperature=run.evaluate_temperature,
            assets=stage.assets,
            timeout=config.simulation.timeout or None,
        )

    def _keep_broken(self, pixels: Tensor, batch: SupervisedBatch) -> None:
        """Keeps a batch that gave NaN, and stops.

        Raises:
            NotFinite: always.
        """
        rank = self._accelerator.process_index
        path = keep_broken(self.out, self._done, rank, {"pixel_values": pixels, **vars(batch)})
        raise NotFinite(
            f"the loss of update {self._done} is not a finite number; its batch is kept in {path}. The same command "
            "goes on from the last checkpoint: give it a lower learning rate, e.g. --set adamw.learning_rate=1e-4 "
            "in a new folder, or gradient clipping"
        )


def _accelerator(config: Config) -> Accelerator:
    if config.sharding == "fsdp" and config.run.evaluate_every:
        raise BadSetting(
            "sharding = fsdp cannot play episodes, as no process has the whole model; say --set run.evaluate_every=0 "
            "and evaluate the models it leaves with vlagen-eval"
        )
    accelerator = Accelerator(
        mixed_precision=config.precision, cpu=config.model.device == "cpu" or not torch.cuda.is_available()
    )
    if config.sharding == "fsdp" and accelerator.num_processes == 1:
        raise BadSetting("sharding = fsdp needs several processes; start them with accelerate launch or torchrun")
    return accelerator


def _placed(model: ModelSettings, accelerator: Accelerator) -> ModelSettings:
    """The model's settings with the GPU that this process has among several."""
    several = accelerator.num_processes > 1 and accelerator.device.type != "cpu"
    return replace(model, device=str(accelerator.device)) if several else model
