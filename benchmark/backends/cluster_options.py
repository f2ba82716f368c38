"""What can be said about the machines that ``--backend ray`` uses. Needs no Ray, so that it can be checked early."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

from vlagen.assets.errors import VlagenError, unknown
from vlagen.benchmark.loading.arguments import parse_value


class BadClusterOption(VlagenError, ValueError):
    """A ``--ray-args`` that no cluster can be asked for."""


@dataclass(frozen=True, kw_only=True)
class ClusterOptions:
    """Which machines play, and what each worker takes of them.

    Attributes:
        address: of a Ray cluster, ``"auto"`` for the one that this machine belongs to, ``"local"`` for one made for
            this run; None for the former if there is one, else the latter.
        num_cpus: processors that a simulator takes.
        num_gpus: GPUs that a copy of the policy takes; fractions share one.
        simulators: how many simulators, each an actor of its own wherever there is room, a copy of the policy acts for
            in one call. 0 lets every worker simulate itself, one episode at a time.
        simulator_nodes: name of a custom resource (``ray start --resources '{"name": 1}'``) of the machines that
            simulate; empty for any.
        policy_nodes: the same for those that hold the policy.
        copy_folder: send the working directory to all machines, for a policy that lies there and nowhere else.
        patience: seconds until a worker that finds no room must have found it [s].
    """

    address: str | None = None
    num_cpus: float = 1.0
    num_gpus: float = 0.0
    simulators: int = 0
    simulator_nodes: str = ""
    policy_nodes: str = ""
    copy_folder: bool = False
    patience: float = 300.0

    def __post_init__(self) -> None:
        for name, kind in (("num_cpus", float), ("num_gpus", float), ("simulators", int), ("patience", float)):
            value = getattr(self, name)
            number = isinstance(value, int if kind is int else (int, float)) and not isinstance(value, bool)
            if not number or value < 0:
                sort = "a whole number" if kind is int else "a number"
                raise BadClusterOption(f"--ray-args {name}={value}; allowed: {sort} from 0 on")
        if not isinstance(self.copy_folder, bool):
            raise BadClusterOption(f"--ray-args copy_folder={self.copy_folder}; allowed: true or false")


def parse_cluster(address: str | None, pairs: Iterable[tuple[str, str]]) -> ClusterOptions:
    """Reads ``--address`` and ``--ray-args``.

    Args:
        address: see ``ClusterOptions``.
        pairs: names and values as texts.

    Raises:
        BadClusterOption: no such option, or a value that it cannot have.
    """
    kinds = {field.name: field.type for field in fields(ClusterOptions) if field.name != "address"}
    values: dict[str, Any] = {}
    for name, text in pairs:
        if name not in kinds:
            raise BadClusterOption(unknown("--ray-args", name, kinds))
        values[name] = parse_value(text, kinds[name])
    return ClusterOptions(address=address, **values)
