"""From the name of a policy to a server of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from vlagen.assets.errors import VlagenError, unknown
from vlagen.benchmark.loading.source import PolicySource
from vlagen.benchmark.policy import Policy
from vlagen.benchmark.remote.conversation import Manners
from vlagen.benchmark.remote.declarations import PRESETS, VLAGEN_VERSION, spec_to_json, vla_eval_format
from vlagen.benchmark.remote.desk import Desk
from vlagen.benchmark.remote.limits import Limits
from vlagen.benchmark.remote.link import PROTOCOLS
from vlagen.benchmark.remote.metrics import Metrics
from vlagen.benchmark.remote.server import Place, PolicyServer
from vlagen.benchmark.remote.strategies import EpisodewisePolicy, Independent, InStep, Stateless, Strategy

NATIVE = "native"
_LIGHT_COPIES = 64


class BadService(VlagenError, ValueError):
    """An option of ``vlagen-serve`` that no server can be made of."""


@dataclass(frozen=True, kw_only=True)
class Service:
    """How a policy is served; its fields are options of ``vlagen-serve``."""

    protocol: str = "openpi"
    """openpi, vla-eval or roboarena."""

    max_batch: int = 16
    """Sessions that are answered in one call, for policies that can be asked for any set of sessions."""

    max_wait: float = 5.0
    """Milliseconds that the first of them waits for others, or, where one client plays in step, each for the next;
    nobody waits once all sessions have asked."""

    max_message: float = 16.0
    """MiB that a message may have; longer ones end their connection."""

    copies: int | None = None
    """Copies of a policy that remembers one batch at a time; by default 1, for a light policy 64."""

    stateless: bool = False
    """The policy remembers nothing between steps but the instruction and the seed, so sessions may share it freely."""

    image_key: str | None = None
    """Where other clients put the picture; observation/image, for vla-eval the only camera."""

    state_key: str | None = None
    """Where other clients put the joints; observation/state, for vla-eval states or state."""

    prompt_key: str | None = None
    """Where other clients put the instruction; prompt, for vla-eval task_description."""

    actions: str = NATIVE
    """What other openpi and RoboArena clients are given: native (the policy's own), vlagen, bridge or libero."""

    rotation: str = "axis_angle"
    """What other vla-eval clients are given: axis_angle, euler_xyz, quaternion_xyzw or rot6d_interleaved."""

    gripper: str = "binary_close_positive"
    """The same for the gripper: binary_close_positive, binary_close_negative, continuous_01 or binary_close_01."""

    execute_horizon: int | None = None
    """Actions of a chunk that other vla-eval clients are given before the policy is asked again; by default all."""

    seed: int = 0
    """From which episodes of other clients get their seeds."""

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise BadService(unknown("protocol", self.protocol, PROTOCOLS))
        if self.actions not in (NATIVE, *PRESETS):
            raise BadService(unknown("actions", self.actions, (NATIVE, *PRESETS)))
        vla_eval_format(self.rotation, self.gripper)
        for option, value, least in (
            ("max-batch", self.max_batch, 1),
            ("copies", self.copies, 1),
            ("execute-horizon", self.execute_horizon, 1),
            ("max-wait", self.max_wait, 0),
        ):
            if value is not None and value < least:
                raise BadService(f"--{option} {value}; allowed: {least} or more")
        if not 0.01 <= self.max_message <= 1024:
            raise BadService(f"--max-message {self.max_message:g}; allowed: 0.01 to 1024 MiB")


def make_server(source: PolicySource, service: Service, place: Place) -> PolicyServer:
    """Makes the policy, and a server of it that waits to be run.

    Raises:
        VlagenError: the policy cannot be made.
    """
    policy = source.make()
    return server_of(policy, service, place, name=source.name, identity=source.identity(), make=source.make)


def server_of(
    policy: Policy,
    service: Service,
    place: Place,
    *,
    name: str,
    identity: dict[str, Any],
    make: Callable[[], Policy] | None = None,
) -> PolicyServer:
    """Makes a server of a policy that is there.

    Args:
        policy: the first copy.
        service: how.
        place: where.
        name: told to clients.
        identity: JSON values that tell which policy it is; told to vlagen's clients, and part of their runs.
        make: makes further copies; None if there can be none.
    """
    spec = policy.spec
    metrics = Metrics()
    strategy = _strategy(policy, service, make)
    actions = PRESETS.get(service.actions)
    if service.protocol == "vla-eval":
        actions = vla_eval_format(service.rotation, service.gripper)
    manners = Manners(
        name=name,
        about={
            "version": VLAGEN_VERSION,
            "spec": spec_to_json(spec),
            "identity": identity,
            "independent": strategy.independent or spec.light,
        },
        image_key=service.image_key,
        state_key=service.state_key,
        prompt_key=service.prompt_key,
        emits=spec.emits,
        actions=actions,
        rotation=service.rotation,
        gripper=service.gripper,
        execute_horizon=service.execute_horizon,
        seed=service.seed,
        limits=replace(Limits(), message_bytes=int(service.max_message * 2**20)),
    )
    config = {
        "policy": name,
        "protocol": service.protocol,
        "max_batch_size": service.max_batch,
        "max_wait_time": service.max_wait / 1e3,
        "batches_across_sessions": strategy.independent,
    }
    return PolicyServer(service.protocol, Desk(spec, strategy, metrics), manners, place, metrics, config)


def _strategy(policy: Policy, service: Service, make: Callable[[], Policy] | None) -> Strategy:
    if service.stateless or isinstance(policy, EpisodewisePolicy):
        served = policy if isinstance(policy, EpisodewisePolicy) else Stateless(policy)
        return Independent(served, service.max_batch, service.max_wait / 1e3)
    copies = service.copies or (_LIGHT_COPIES if policy.spec.light else 1)
    return InStep(make, policy, copies if make is not None else 1)
