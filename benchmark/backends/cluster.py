"""Episodes on the machines of a Ray cluster, or on this one's processors under Ray.

Every worker is an actor that holds a simulator and a copy of the policy and is handed one episode at a time; with
``simulators``, it holds a copy of the policy alone and acts for as many simulators, actors elsewhere, in one call. The
process that runs the command hands out episodes and writes records; all rules are those of ``pool.Pool``.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import ActorUnschedulableError, RayActorError, RayError, RayTaskError, RuntimeEnvSetupError

from vlagen.assets.errors import VlagenError
from vlagen.benchmark.backends.cluster_actors import (
    ActorSimulators,
    Conditions,
    Lost,
    PlayerActor,
    Refusal,
    conditions,
)
from vlagen.benchmark.backends.cluster_options import ClusterOptions
from vlagen.benchmark.environment import environment_variables
from vlagen.benchmark.player import Job
from vlagen.benchmark.pool import Pool, Worker, WorkLost
from vlagen.benchmark.records import EpisodeRecord
from vlagen.benchmark.simulator import EpisodeLike
from vlagen.tasks.rendering import worker_environment


class ClusterError(VlagenError):
    """A cluster that cannot be used: not there, of another version, or without room."""


LIVES = 5
"""How many workers an episode may cost. More than on one machine: clusters take workers away for their own reasons."""

_KNOCK_SECONDS = 5.0
_LOOK_SECONDS = 2.0

# So little of a custom resource that as many workers as processors fit on any machine that has it.
_MARK = 0.0001


def cluster_pool(
    job: Job, stage: Conditions, check_files: Callable[[], None], count: int, options: ClusterOptions
) -> Pool:
    """Makes a pool of actors.

    Args:
        job: what to play with.
        stage: identity of the stage.
        check_files: raises on a machine that lacks a file which the episodes need.
        count: number of workers; those that the cluster has no room for wait until it has.
        options: which machines, and what of them.

    Raises:
        ClusterError: there is no such cluster, it is of another version, or it has not the room.
    """
    # Videos are written where episodes are played: in the run's folder, which all machines have to see.
    job = replace(job, video_folder=job.video_folder.resolve())
    expected = conditions(job, stage)
    connected = connect(options, count)
    try:
        _check_room(options, count)
        crew = Cluster(_distributed(job, options), stage, expected, check_files, options, connected)
    except BaseException:
        if connected:
            ray.shutdown()
        raise
    return Pool(job, crew, count, lives=LIVES, shard=max(1, options.simulators), steal=True)


def connect(options: ClusterOptions, count: int) -> bool:
    """Connects to the cluster, if this process is not connected already.

    Args:
        options: which one.
        count: how many workers a cluster that is made for this run has to have room for.

    Returns:
        Whether it was connected here.

    Raises:
        ClusterError: it does not answer, or speaks another version.
    """
    if ray.is_initialized():
        if options.copy_folder:
            raise ClusterError(
                "--ray-args copy_folder: this process has joined Ray already, so it is too late to say that"
            )
        return False
    said = os.environ.get("RAY_ADDRESS")
    address = options.address or ("auto" if said else None)
    if address not in (None, "local"):
        _knock(said if said and address == "auto" else address)
    if address is None:
        with contextlib.suppress(ConnectionError):
            return _initialize("auto", options.copy_folder)
    if address in (None, "local"):
        room = max(os.cpu_count() or 1, math.ceil(_processors(options, count)))
        return _initialize("local", options.copy_folder, num_cpus=room, include_dashboard=False)
    try:
        return _initialize(address, options.copy_folder)
    except ConnectionError as error:
        raise ClusterError(
            f"--address {address}: no cluster answers ({_first_line(error)}); start one with `ray start --head`, name "
            "it with --address host:port, or let --address local make one for this run"
        ) from None


def _initialize(address: str, copy_folder: bool, **more: Any) -> bool:
    # Older versions hide the GPUs from actors that take none, and simulators may render with them.
    environment: dict[str, Any] = {"env_vars": {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}}
    if copy_folder:
        environment["working_dir"] = str(Path.cwd())
    # A cluster made here reports to nobody unless its user wants it to.
    quiet = {"RAY_USAGE_STATS_ENABLED": os.environ.get("RAY_USAGE_STATS_ENABLED", "0")}
    try:
        with environment_variables(quiet):
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, runtime_env=environment, **more)
    except RuntimeError as error:
        # What Ray says about other versions of Ray or Python.
        raise ClusterError(f"--address {address}: {str(error).strip()}") from error
    except ValueError as error:
        raise ClusterError(f"--address {address}: Ray refuses: {_first_line(error)}") from error
    return True


def _knock(address: str) -> None:
    """Tries the cluster's port: Ray itself would try for a quarter of an hour."""
    host, colon, port = address.rpartition(":")
    if "://" in address:
        raise ClusterError(
            f"--address {address}: Ray's client is not supported, as records have to stream here; run the command on a "
            "machine of the cluster with --address auto, e.g. with `ray job submit`"
        )
    if not colon or not port.isdigit():
        if address != "auto":
            raise ClusterError(f"--address {address}; allowed: auto, local or host:port")
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(
            f"--address {address}: nobody answers there ({error}); `ray status` on the head node names its address"
        ) from None


def _distributed(job: Job, options: ClusterOptions) -> Job:
    if not options.simulators:
        return job
    simulator_options = {
        "num_cpus": options.num_cpus,
        "resources": _mark(options.simulator_nodes),
        "runtime_env": {"env_vars": worker_environment(2)},
        "max_restarts": 0,
    }
    make = functools.partial(ActorSimulators, job.make_simulator, options.simulators, simulator_options)
    return replace(job, make_simulator=make)


def _mark(resource: str) -> dict[str, float]:
    return {resource: _MARK} if resource else {}


def _processors(options: ClusterOptions, count: int) -> float:
    return count * max(1, options.simulators) * options.num_cpus


def _check_room(options: ClusterOptions, count: int) -> None:
    """Checks what no waiting mends: simulators in step need room for all, and all else for the first of them."""
    there = ray.cluster_resources()
    wanted = {"CPU": options.num_cpus if not options.simulators else _processors(options, count)}
    wanted["GPU"] = options.num_gpus
    wanted |= _mark(options.simulator_nodes if options.simulators else "") | _mark(options.policy_nodes)
    for resource, amount in wanted.items():
        if amount > there.get(resource, 0):
            have = ", ".join(f"{value:g} {name}" for name, value in sorted(there.items()) if not _is_bookkeeping(name))
            raise ClusterError(
                f"the workers need {amount:g} {resource}, and the cluster has {have or 'nothing'}; start more, or ask "
                "for less with --workers and --ray-args num_cpus=... num_gpus=... simulators=..."
            )


def _is_bookkeeping(resource: str) -> bool:
    return resource.startswith("node:") or resource in ("memory", "object_store_memory")


class Cluster:
    """Where actors come from.

    Args:
        job: what they play with.
        stage: identity of the stage.
        expected: conditions that they have to find.
        check_files: see ``cluster_pool``.
        options: which machines, and what of them.
        disconnect: leave the cluster when closed.
    """

    noun = "workers"

    def __init__(
        self,
        job: Job,
        stage: Conditions,
        expected: Conditions,
        check_files: Callable[[], None],
        options: ClusterOptions,
        disconnect: bool,
    ) -> None:
        # Shared through the object store, as each actor gets the same.
        self._arguments = [ray.put(part) for part in (job, stage, expected, check_files, options.copy_folder)]
        self._class = ray.remote(PlayerActor).options(**_player_options(options))
        self._patience = options.patience
        self._disconnect = disconnect
        self._began: float | None = None
        self._arrived = False

    def hire(self) -> Worker:
        if self._began is None:
            self._began = time.monotonic()
        return Actor(self._class.remote(*self._arguments))

    def wait(self, workers: Sequence[Actor], seconds: float | None) -> Sequence[Actor]:
        by_reference = {worker.reference: worker for worker in workers if worker.reference is not None}
        until = math.inf if seconds is None else time.monotonic() + seconds
        done: list[Any] = []
        # The clock is read once a round: between two readings the time that is left could become negative.
        while not done and (left := until - time.monotonic()) > 0:
            done, _ = ray.wait(list(by_reference), timeout=min(_LOOK_SECONDS, left))
            if not done and not self._arrived and time.monotonic() > self._began + self._patience:
                raise ClusterError(
                    f"no worker found room within {self._patience:g} s; `ray status` shows what the cluster is busy "
                    "with, and --ray-args patience=... waits longer"
                )
        if done:
            # Whatever else is there by now comes along.
            done, _ = ray.wait(list(by_reference), num_returns=len(by_reference), timeout=0)
            self._arrived = True
        return [by_reference[reference] for reference in done]

    def close(self) -> None:
        if self._disconnect:
            ray.shutdown()


def _player_options(options: ClusterOptions) -> Mapping[str, Any]:
    environment: dict[str, Any] = {}
    if not options.simulators:
        environment["env_vars"] = worker_environment(2)
    return {
        # A policy and the simulators that it acts for never compute at the same time.
        "num_cpus": 0 if options.simulators else options.num_cpus,
        "num_gpus": options.num_gpus,
        "resources": _mark(options.policy_nodes) | ({} if options.simulators else _mark(options.simulator_nodes)),
        "runtime_env": environment,
        "max_restarts": 0,
    }


class Actor:
    """The pool's view of one ``PlayerActor``.

    Attributes:
        ready: it has made its simulator and policy.
        reference: Ray's name of what it will say next, None if nothing.
    """

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self._machine = ""
        self.ready = False
        self.reference = handle.arrive.remote()

    def send(self, episodes: Sequence[EpisodeLike]) -> None:
        self.reference = self._handle.play.remote(tuple(episodes))

    def receive(self) -> Sequence[EpisodeRecord]:
        reference, self.reference = self.reference, None
        answer = self._answer(reference)
        if isinstance(answer, Refusal):
            raise ClusterError(answer.reason)
        if isinstance(answer, Lost):
            raise WorkLost(answer.fate, over=not self.ready)
        if not self._machine:
            self._machine = "{} (process {})".format(*answer)
            self.reference = self._handle.prepare.remote()
            return ()
        self.ready = True
        return answer

    def stop(self) -> None:
        with contextlib.suppress(RayError):
            ray.kill(self._handle)

    def _answer(self, reference: Any) -> Any:
        try:
            return ray.get(reference)
        except (RuntimeEnvSetupError, ActorUnschedulableError) as error:
            raise ClusterError(f"Ray cannot start a worker: {_first_line(error)}") from error
        except RayTaskError as error:
            # Nothing that the player foresees, e.g. vlagen is not installed there.
            raise WorkLost(f"raised {str(error).strip().splitlines()[-1]} on {self._where}") from error
        except RayActorError as error:
            raise WorkLost(f"died, the last on {self._where}, {_cause(error)}") from None
        except RayError as error:
            # Its answer went down with its machine.
            raise WorkLost(f"were lost, the last on {self._where}: {_first_line(error)}") from None

    @property
    def _where(self) -> str:
        return self._machine or "a machine of the cluster"


def _cause(error: RayActorError) -> str:
    """What Ray says about an actor's death, without the list of what it might mean."""
    detail = str(error).partition("Worker exit detail: ")[2] or _first_line(error)
    return detail.partition(" Some common causes")[0].rstrip(".")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
