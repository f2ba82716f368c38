"""What can be asked of an evaluation. The attributes' texts are the help of ``vlagen-eval``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vlagen.assets.errors import VlagenError, unknown
from vlagen.benchmark.backends.cluster_options import ClusterOptions, parse_cluster
from vlagen.benchmark.loading.arguments import split_pairs

BACKENDS = ("auto", "in-process", "replicas", "batched", "gpu", "ray")
ON_ERROR = ("continue", "stop")


class BadRequest(VlagenError, ValueError):
    """An argument that no evaluation can be made of."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to evaluate, and how."""

    policy: str = ""
    """A built-in policy (see --list), an installed one's name, my_adapter or my_adapter.py in this folder, or
    module:attribute."""

    policy_args: tuple[str, ...] = ()
    """Arguments of the policy, name=value."""

    suite: str = "vlagen-v1"
    """What to run: vlagen-v1, smoke, rl4vla, simpler-widowx, or maniskill:<EnvId> (see --list). The options below
    override its rows, episodes, protocol and assets."""

    suite_args: tuple[str, ...] = ()
    """Arguments of a maniskill:<EnvId> suite, name=value: camera, control_mode, height, horizon, instruction, shader,
    width."""

    rows: tuple[str, ...] = ()
    """Row ids such as vision/table, axes such as vision, or all; a+b composes two rows' changes;
    train[objects=0-3,tables=0], in quotes, is the part of a row with these of its pools only."""

    episodes: int | None = None
    """Episodes a row: the first so many of the row's fixed list. 64 give a rate to within 12 points, in about half an
    hour for all rows on two cores; 192 (within 7 points) suit a publication, 8 a smoke test."""

    protocol: str | None = None
    """vlagen-v1, or rl4vla for the original study's episodes with their quirks."""

    assets: str | None = None
    """Asset pack: builtin, or rl4vla for the original study's objects (vlagen-assets download rl4vla)."""

    out: Path | None = None
    """The run's folder; by default runs/<policy>-<protocol>-<assets>."""

    seed: int = 0
    """Seed of the policy's own randomness; episodes do not depend on it."""

    workers: int = 1
    """Processes that simulate, or episodes in step on the GPU; results do not depend on their number."""

    backend: str = "auto"
    """in-process, replicas (each worker has a copy of the policy), batched (one policy acts for all workers in one
    call), gpu (GPU physics), ray (workers on the machines of a Ray cluster), or auto: replicas for a policy that calls
    itself light, else batched."""

    address: str | None = None
    """For --backend ray: auto for the cluster that this machine belongs to, host:port, or local to use this machine; by
    default auto if there is one, else local."""

    ray_args: tuple[str, ...] = ()
    """For --backend ray, name=value: num_cpus of each simulator; num_gpus of each copy of the policy; simulators for
    each copy of the policy, anywhere in the cluster, instead of one beside it; simulator_nodes and policy_nodes, custom
    resources; copy_folder; patience."""

    execute_horizon: int | None = None
    """Actions of a chunk that are executed before the policy is asked again; by default all."""

    ensemble: str | None = None
    """Ask at every step and merge what overlapping chunks say: newest, mean or exponential:<decay>."""

    timeout: float = 600.0
    """Seconds that one call of the policy or the simulator may take before its episode is an error; 0 for no limit."""

    on_error: str = "continue"
    """continue, or stop at the first episode that ends in an error twice."""

    until_ci: float | None = None
    """Add episodes to each row until its rate is known to within this much either way, e.g. 0.05, by a rule that stays
    valid although it looks at the results; --episodes is then the most a row may take."""

    control: bool = False
    """Play each episode's unperturbed twin too and report the paired drop."""

    severity: str | None = None
    """from:to:count, e.g. 0:0.7:8: play rows that have a continuous knob at so many settings of it."""

    video: str = "none"
    """Which episodes leave a video: none, failures (errors included), all, or a number for the first of each row."""

    retry_errors: bool = False
    """Play again what ended in an error when this run was made."""

    @property
    def policy_arguments(self) -> tuple[tuple[str, str], ...]:
        """``policy_args`` split into names and values."""
        return split_pairs(self.policy_args)

    @property
    def suite_arguments(self) -> tuple[tuple[str, str], ...]:
        """``suite_args`` split into names and values."""
        return split_pairs(self.suite_args, "--suite-args")

    @property
    def cluster(self) -> ClusterOptions:
        """``address`` and ``ray_args`` read."""
        return parse_cluster(self.address, split_pairs(self.ray_args, "--ray-args"))

    def check(self) -> None:
        """Checks what can be checked without looking anything up.

        Raises:
            BadRequest: the first bad value, what is allowed, and the nearest allowed one.
        """
        if not self.policy:
            raise BadRequest("no policy was given; name one with --policy, e.g. --policy expert; --list shows more")
        for option, value, allowed in (("backend", self.backend, BACKENDS), ("on-error", self.on_error, ON_ERROR)):
            if value not in allowed:
                raise BadRequest(unknown(option, value, allowed))
        for option, value in (("workers", self.workers), ("execute-horizon", self.execute_horizon)):
            if value is not None and value < 1:
                raise BadRequest(f"--{option} {value}; allowed: 1 or more")
        if self.timeout < 0:
            raise BadRequest(f"--timeout {self.timeout:g}; allowed: seconds, or 0 for no limit")
        if self.until_ci is not None and not 0.01 <= self.until_ci < 0.5:
            raise BadRequest(f"--until-ci {self.until_ci:g}; allowed: a half-width from 0.01 to 0.5, e.g. 0.05")
        if self.backend == "in-process" and self.workers > 1:
            raise BadRequest(f"--backend in-process has one worker, not {self.workers}; try replicas or batched")
        if self.cluster != ClusterOptions() and self.backend != "ray":
            raise BadRequest(f"--address and --ray-args are for --backend ray, not {self.backend}")
