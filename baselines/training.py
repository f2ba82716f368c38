"""What every trainer needs around its algorithm: a run's folder, exact checkpoints, and what is logged.

A run's folder holds::

    run.json             the settings, so that a run is not continued with others by mistake
    metrics.jsonl        one line of numbers at a time, each with its step
    checkpoints/0000500  all that training needs to go on as if it had never stopped

A checkpoint is a folder that appears only when it is complete. Nothing in it is pickled: tensors are safetensors, the
rest is JSON.
"""

from __future__ import annotations

import json
import math
import random
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vlagen.assets.errors import VlagenError
from vlagen.baselines.sharding import spread_like, whole
from vlagen.benchmark.atomic import write_atomically
from vlagen.benchmark.records import RunConflict, differences, lock

MAY_CHANGE = frozenset({"evaluate_every", "save_every", "keep", "workers", "tensorboard", "wandb"})
"""Settings that do not move what is trained, so a run may go on with others."""


class BrokenCheckpoint(VlagenError):
    """A checkpoint that cannot be read, or belongs to another model."""


class TrainingRun:
    """The folder of one training run, locked for one process until ``close``.

    Args:
        folder: created if need be.
        settings: JSON values; a folder that was begun with other settings is refused, but for ``MAY_CHANGE``.
        keep: how many checkpoints are kept.
        may_change: further settings that do not move what has been trained so far, e.g. for how long.

    Raises:
        RunConflict: another process holds the folder, or other settings began it.
        UnwritableRun: the folder cannot be written.
    """

    def __init__(
        self, folder: Path, settings: Mapping[str, Any], keep: int = 2, may_change: Iterable[str] = ()
    ) -> None:
        self.folder = folder
        self._keep = keep
        self._may_change = MAY_CHANGE.union(may_change)
        self._lock = lock(folder, "run.out")
        try:
            (folder / "checkpoints").mkdir(exist_ok=True)
            self._adopt(dict(settings))
        except BaseException:
            self._lock.close()
            raise

    def __enter__(self) -> TrainingRun:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Releases the folder."""
        self._lock.close()

    @property
    def latest(self) -> Path | None:
        """The newest complete checkpoint."""
        return latest_checkpoint(self.folder)

    @contextmanager
    def checkpoint(self, step: int) -> Iterator[Path]:
        """Gives a folder to write a checkpoint into; it counts once the block ends without an error."""
        place = self.folder / "checkpoints" / f"{step:07d}"
        draft = place.with_name(f".{place.name}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        yield draft
        shutil.rmtree(place, ignore_errors=True)
        draft.rename(place)
        for surplus in _checkpoints(self.folder)[: -self._keep]:
            shutil.rmtree(surplus)

    def export(self, step: int, save: Callable[[Path], None]) -> Path:
        """Writes a model that ``vlagen-eval`` can load to ``models/<step>``, unless it is there.

        Args:
            step: after which it is what it is.
            save: writes into the folder that it is given.
        """
        place = self.folder / "models" / f"{step:06d}"
        if not place.exists():
            draft = place.with_name(f".{place.name}.draft")
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(parents=True)
            save(draft)
            draft.rename(place)
        return place

    def _adopt(self, settings: dict[str, Any]) -> None:
        file = self.folder / "run.json"
        if file.exists():
            there = json.loads(file.read_text(encoding="utf-8"))["settings"]
            found = differences(
                {name: value for name, value in there.items() if name not in self._may_change},
                {name: value for name, value in settings.items() if name not in self._may_change},
            )
            if found:
                raise RunConflict(f"{self.folder} holds another run: {'; '.join(found)}. Choose another run.out")
        write_atomically(file, json.dumps({"settings": settings}, indent=1).encode() + b"\n")


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint of a run; None if it has none."""
    found = _checkpoints(folder)
    return found[-1] if found else None


def _checkpoints(folder: Path) -> list[Path]:
    """All complete checkpoints, oldest first."""
    place = folder / "checkpoints"
    return sorted(path for path in place.iterdir() if path.name.isdigit()) if place.is_dir() else []


def save_state(
    folder: Path | None,
    model: nn.Module,
    optimizers: Mapping[str, torch.optim.Optimizer],
    counters: Mapping[str, Any],
) -> None:
    """Writes trained weights, optimizers, counters and the state of the global random generators.

    Where weights are spread over processes, each of them must call this; those that are given no folder help only.

    Args:
        folder: of a checkpoint; None writes nothing.
        model: only its parameters that are trained are written, in the precision they have.
        optimizers: by name.
        counters: JSON values, e.g. how many steps were taken.
    """
    tensors = {f"weights/{name}": tensor for name, tensor in trained(model).items()}
    groups = {}
    for name, optimizer in optimizers.items():
        state = optimizer.state_dict()
        groups[name] = state["param_groups"]
        for number, entries in state["state"].items():
            tensors |= {f"optimizer/{name}/{number}/{key}": torch.as_tensor(value) for key, value in entries.items()}
    tensors["random/torch"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random/cuda"] = torch.cuda.get_rng_state()
    tensors = {name: whole(tensor.detach()).cpu().contiguous() for name, tensor in tensors.items()}
    if folder is None:
        return
    save_file(tensors, folder / "state.safetensors")
    kind, words, *rest = np.random.get_state()  # noqa: NPY002 - libraries may draw from the global generator
    rest = {"python": random.getstate(), "numpy": [kind, words.tolist(), *rest]}
    content = {"counters": dict(counters), "groups": groups, "random": rest}
    write_atomically(folder / "state.json", json.dumps(content).encode())


def load_state(folder: Path, model: nn.Module, optimizers: Mapping[str, torch.optim.Optimizer]) -> dict[str, Any]:
    """Puts back what ``save_state`` wrote.

    Returns:
        The counters.

    Raises:
        BrokenCheckpoint: the files cannot be read, or other parameters are trained here.
    """
    try:
        tensors = load_file(folder / "state.safetensors")
        content = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, SafetensorError) as error:
        raise BrokenCheckpoint(f"{folder} cannot be read ({error}); delete it to go on from the one before") from None
    weights = {name.removeprefix("weights/"): value for name, value in tensors.items() if name.startswith("weights/")}
    here = trained(model)
    if different := sorted(set(weights) ^ set(here)):
        raise BrokenCheckpoint(f"{folder} is of another model: {len(different)} parameters differ, e.g. {different[0]}")
    with torch.no_grad():
        for name, parameter in here.items():
            parameter.copy_(spread_like(parameter, weights[name]))
    for name, optimizer in optimizers.items():
        state = _optimizer_state(tensors, f"optimizer/{name}/", optimizer)
        optimizer.load_state_dict({"state": state, "param_groups": content["groups"][name]})
    torch.set_rng_state(tensors["random/torch"])
    if torch.cuda.is_available() and "random/cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random/cuda"])
    version, words, gauss = content["random"]["python"]
    random.setstate((version, tuple(words), gauss))
    kind, words, *rest = content["random"]["numpy"]
    np.random.set_state((kind, np.array(words, dtype=np.uint32), *rest))  # noqa: NPY002 - see save_state
    return content["counters"]


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that are trained, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def _optimizer_state(
    tensors: Mapping[str, Tensor], prefix: str, optimizer: torch.optim.Optimizer
) -> dict[int, dict[str, Tensor]]:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = defaultdict(dict)
    for name, value in tensors.items():
        if name.startswith(prefix):
            number, key = name.removeprefix(prefix).split("/")
            parameter = parameters[int(number)]
            state[int(number)][key] = spread_like(parameter, value) if value.shape == parameter.shape else value
    return dict(state)


class Metrics:
    """Writes numbers to ``metrics.jsonl``, and to TensorBoard and Weights & Biases where asked for.

    Args:
        folder: of the run.
        tensorboard: a folder for TensorBoard's files.
        wandb: a project there.
        from_step: numbers of later steps, which a run that is continued will take again, are dropped.

    Raises:
        VlagenError: a tracker that is not installed.
    """

    def __init__(
        self, folder: Path, tensorboard: Path | None = None, wandb: str | None = None, from_step: int = 0
    ) -> None:
        self._path = folder / "metrics.jsonl"
        kept = [line for line in read_metrics(folder) if line["step"] <= from_step]
        write_atomically(self._path, b"".join(json.dumps(line).encode() + b"\n" for line in kept))
        self._file = self._path.open("a", encoding="utf-8")
        self._board = _tensorboard(tensorboard) if tensorboard is not None else None
        self._wandb = _wandb(wandb, folder) if wandb is not None else None

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Writes numbers of a step; not-a-numbers are left out."""
        sound = {name: float(value) for name, value in values.items() if math.isfinite(value)}
        self._file.write(json.dumps({"step": step, "time": time.time(), **sound}) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in sound.items():
                self._board.add_scalar(name, value, step)
        if self._wandb is not None:
            self._wandb.log(sound, step=step)

    def close(self) -> None:
        """Ends the files."""
        self._file.close()
        if self._board is not None:
            self._board.close()
        if self._wandb is not None:
            self._wandb.finish()


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Reads ``metrics.jsonl``; a last line that was cut off counts as absent."""
    path = folder / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def _tensorboard(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise VlagenError("TensorBoard is not installed; pip install 'vlagen[tracking]'") from None
    return SummaryWriter(str(folder))


def _wandb(project: str, folder: Path) -> Any:
    try:
        import wandb
    except ImportError:
        raise VlagenError("Weights & Biases is not installed; pip install 'vlagen[tracking]'") from None
    return wandb.init(project=project, dir=str(folder), id=folder.name, resume="allow")


class Clock:
    """Adds up the seconds that named parts of the work take."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Times a block."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[part] += time.perf_counter() - started

    def take(self) -> dict[str, float]:
        """The seconds since the last time, by part, as ``seconds/<part>``."""
        taken = {f"seconds/{part}": seconds for part, seconds in self.seconds.items()}
        self.seconds.clear()
        return taken
