"""In which order a training run sees frames, and reading them ahead of it."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from vlagen.baselines.data.demonstration import BadDemonstrations

T = TypeVar("T")


class ShuffledBatches:
    """An endless sequence of batches of frame numbers: epoch by epoch, each in an order of its own.

    Batch ``k`` is a pure function of the arguments and ``k``; so a run that continues asks for the batch after its last
    one, and nothing else has to be stored.

    Args:
        frames: (N,) numbers of the frames to train on.
        batch_size: frames a batch, of one process.
        seed: of the orders.
        rank: which of the processes this is; together they see each frame once an epoch.
        processes: that train together.

    Raises:
        BadDemonstrations: there are fewer frames than one batch of all processes takes.
    """

    def __init__(
        self, frames: Sequence[int] | np.ndarray, batch_size: int, seed: int, *, rank: int = 0, processes: int = 1
    ) -> None:
        self._frames = np.asarray(frames, dtype=np.int64)
        self._size, self._seed, self._rank = batch_size, seed, rank
        self._together = batch_size * processes
        if batch_size < 1 or len(self._frames) < self._together:
            raise BadDemonstrations(
                f"{len(self._frames)} frames for batches of {batch_size} in {processes} processes; allowed: a batch "
                f"size from 1 to {len(self._frames) // processes}"
            )
        self._epoch = -1
        self._order = self._frames

    @property
    def per_epoch(self) -> int:
        """Batches an epoch; the frames that fill no further batch are left out of it, others in each."""
        return len(self._frames) // self._together

    def __getitem__(self, number: int) -> np.ndarray:
        epoch, place = divmod(number, self.per_epoch)
        if epoch != self._epoch:
            key = np.random.SeedSequence((self._seed, epoch)).generate_state(2, np.uint64)
            # By raw draws, which numpy keeps the same for ever; its permutations may change with a version.
            draws = np.random.Philox(key=key).random_raw(len(self._frames))
            self._order = self._frames[np.argsort(draws, kind="stable")]
            self._epoch = epoch
        start = place * self._together + self._rank * self._size
        return self._order[start : start + self._size]


@dataclass
class Waiting:
    """How long a consumer waited for what it got.

    Attributes:
        seconds: in all.
        count: how often it asked.
    """

    seconds: float = 0.0
    count: int = 0


class Prefetched(Generic[T]):
    """Computes ``load(start)``, ``load(start + 1)``, ... in a thread ahead of whoever iterates.

    Args:
        load: e.g. ``lambda k: frames.batch(batches[k])``; numpy copies and decoding let other threads run.
        start: the first number.
        depth: how many results wait at most.

    Attributes:
        waiting: how long the iteration has waited so far: the share of a training step that loading costs.
    """

    def __init__(self, load: Callable[[int], T], start: int = 0, depth: int = 2) -> None:
        self.waiting = Waiting()
        self._results: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(maxsize=depth)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(load, start), daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._stopped.is_set():
            raise StopIteration
        asked = time.perf_counter()
        result, error = self._results.get()
        self.waiting.seconds += time.perf_counter() - asked
        self.waiting.count += 1
        if error is not None:
            self._stopped.set()
            raise error
        return result

    def close(self) -> None:
        """Ends the thread."""
        self._stopped.set()
        self._thread.join()

    def _run(self, load: Callable[[int], T], number: int) -> None:
        while not self._stopped.is_set():
            try:
                item: tuple[T | None, BaseException | None] = (load(number), None)
            except BaseException as error:  # noqa: BLE001 - raised again where it is asked for
                item = (None, error)
            while not self._stopped.is_set():
                try:
                    self._results.put(item, timeout=0.1)
                    break
                except queue.Full:
                    continue
            if item[1] is not None:
                return
            number += 1
