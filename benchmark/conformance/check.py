"""Does an adapter keep its side of the protocol? ``check_policy`` tries it out and says what to fix."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from vlagen.assets.errors import VlagenError
from vlagen.benchmark.actions.wrappers import prepare
from vlagen.benchmark.conformance import specimens, trials
from vlagen.benchmark.loading.importing import explain
from vlagen.benchmark.loading.source import PolicySource, find_policy
from vlagen.benchmark.policy import Policy, PolicySpec
from vlagen.benchmark.simulator import NoRenderer, Simulator, choose_render_backend
from vlagen.tasks.interface import Observation
from vlagen.tasks.sampling import evaluation_episodes
from vlagen.tasks.variants import variant

EPISODES = 8
"""How many episodes the largest batch has."""

_MADE_UP, _UNWANTED = "made up: ", "the simulator was not to be used"


@dataclass(frozen=True)
class Check:
    """One line of the report.

    Attributes:
        name: what was looked at.
        status: ``"skip"`` means that it could not be, which is no fault of the policy.
        detail: what was found.
        fix: what to change; empty where nothing needs to.
    """

    name: str
    status: Literal["pass", "FAIL", "skip"]
    detail: str
    fix: str = ""


@dataclass(frozen=True)
class Report:
    """What ``check_policy`` found."""

    policy: str
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Tells whether nothing failed."""
        return not self.failures

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.status == "FAIL")

    def __str__(self) -> str:
        width = max(len(check.name) for check in self.checks)
        lines = []
        for check in self.checks:
            detail = check.detail.replace("\n", f"\n{'':{width + 8}}")
            lines.append(f"{check.status:<4}  {check.name:<{width}}  {detail}")
            if check.fix:
                lines.append(f"{'':4}  {'':{width}}  fix: {check.fix}")
        counts = {status: sum(check.status == status for check in self.checks) for status in ("pass", "FAIL", "skip")}
        skipped = f", {counts['skip']} skipped" if counts["skip"] else ""
        verdict = f"{counts['FAIL']} checks failed" if counts["FAIL"] else f"all {counts['pass']} checks passed"
        return "\n".join([*lines, f"\n{self.policy}: {verdict}{skipped}"])


@dataclass(frozen=True)
class Options:
    """How to try a policy out.

    Attributes:
        execute_horizon: as for an evaluation.
        ensemble: as for an evaluation.
        make_simulator: makes a simulator, with pictures if its argument says so; raises ``ImportError`` or
            ``NoRenderer`` where there is none.
        make_expert: makes the policy that shows what success takes, in canonical actions.
    """

    execute_horizon: int | None = None
    ensemble: str | None = None
    make_simulator: Callable[[bool], Simulator] | None = field(default=None)
    make_expert: Callable[[], Policy] | None = field(default=None)


def check_policy(
    source: PolicySource | str,
    *,
    execute_horizon: int | None = None,
    ensemble: str | None = None,
    simulate: bool = True,
) -> Report:
    """Tries a policy out.

    In a test of your own: ``report = check_policy("my_adapter"); assert report.passed, report``.

    Args:
        source: the policy, or its name.
        execute_horizon: as for an evaluation.
        ensemble: as for an evaluation.
        simulate: use the simulator where it is installed: its pictures, and an expert's episode played in the policy's
            format.
    """
    makers = (open_simulator, _expert) if simulate else (None, None)
    return try_out(source, Options(execute_horizon, ensemble, *makers))


def try_out(source: PolicySource | str, options: Options) -> Report:
    """Tries a policy out; see ``check_policy``."""
    name = source if isinstance(source, str) else source.name
    checks: list[Check] = []
    try:
        source = find_policy(source) if isinstance(source, str) else source
        policy = source.make()
        checks.append(Check("loads", "pass", _describe(source)))
        prepared = prepare(policy, name=name, execute_horizon=options.execute_horizon, ensemble=options.ensemble)
    except VlagenError as error:
        failed = "declaration" if checks else "loads"
        return Report(name, (*checks, Check(failed, "FAIL", str(error), "correct what it says, then run this again")))
    spec = prepared.spec
    checks.append(Check("declaration", "pass", _describe_spec(spec)))
    scene = _set_up(spec, options)
    try:
        checks.append(scene.check)
        if spec.needs_privileged and scene.simulator is None:
            checks.append(Check("behaviour", "skip", "privileged state comes from the simulator only"))
        else:
            bench = trials.Bench(policy, prepared, scene.specimens, options.execute_horizon, options.ensemble)
            checks += _behaviour(bench)
        checks.append(_replay(spec, scene, options))
    finally:
        if scene.simulator is not None:
            scene.simulator.close()
    return Report(name, tuple(checks))


def open_simulator(pictures: bool) -> Simulator:
    """Makes the simulator that episodes are tried in; with privileged state, for the expert.

    Raises:
        ImportError: the extra ``sim`` is not installed.
        NoRenderer: pictures are asked for, and this machine makes none.
    """
    if importlib.util.find_spec("mani_skill") is None:
        raise ImportError("the simulator is not installed: pip install 'vlagen[sim]'")
    from vlagen.benchmark.backends.put_on_plate import ManiSkillSimulator

    return ManiSkillSimulator("builtin", choose_render_backend() if pictures else "none", privileged=True)


def _expert() -> Policy:
    from vlagen.benchmark.adapters.expert import ExpertPolicy

    return ExpertPolicy()


def _describe(source: PolicySource) -> str:
    identity = source.identity()
    arguments = ", ".join(f"{name}={value!r}" for name, value in identity["arguments"].items())
    return f"{identity['name']}({arguments})"


def _describe_spec(spec: PolicySpec) -> str:
    needs = [
        word
        for word, needed in (
            ("pictures", spec.needs_images),
            ("joints", spec.needs_proprioception),
            ("privileged state (an oracle, no competitor)", spec.needs_privileged),
        )
        if needed
    ]
    size = f", {spec.image.height} x {spec.image.width} by {spec.image.fit}, {spec.image.filter}" if spec.image else ""
    return f"sees {' and '.join(needs) or 'the instruction only'}{size}; emits {spec.emits.describe()}"


@dataclass(frozen=True)
class _Scene:
    """What a policy is tried on."""

    specimens: list[Observation]
    simulator: Simulator | None
    check: Check


def _set_up(spec: PolicySpec, options: Options) -> _Scene:
    """Opens the simulator, if there is one, and takes or makes the observations."""
    simulator, problem, pictures = None, _UNWANTED, spec.needs_images
    if options.make_simulator is not None:
        try:
            simulator = options.make_simulator(pictures)
        except NoRenderer as error:
            problem, pictures = str(error), False
            simulator = options.make_simulator(False)
        except ImportError as error:
            problem = str(error)
    if simulator is None or pictures != spec.needs_images:
        made = specimens.synthetic(EPISODES, spec.needs_images)
        return _Scene(made, simulator, Check("observations", "skip", f"{_MADE_UP}{problem}"))
    seen = specimens.real(simulator, evaluation_episodes(variant("train"), 3), EPISODES)
    return _Scene(seen, simulator, Check("observations", "pass", "from the simulator"))


def _behaviour(bench: trials.Bench) -> list[Check]:
    """Runs the trials one after the other; without actions of the right shape the others would say nothing."""
    checks: list[Check] = []
    for name, trial in trials.TRIALS.items():
        if checks and checks[0].status == "FAIL":
            checks.append(Check(name, "skip", "once the actions have the right shape"))
            continue
        try:
            checks.append(Check(name, *trial(bench)))
        except VlagenError as error:
            checks.append(
                Check(name, "FAIL", str(error), "make act return what is allowed, or declare what it returns")
            )
        except Exception as error:  # noqa: BLE001 - the policy may raise anything, and the other trials still say something
            checks.append(Check(name, "FAIL", f"the policy raised {explain(error)}", "the last line is where"))
    return checks


def _replay(spec: PolicySpec, scene: _Scene, options: Options) -> Check:
    if scene.simulator is None or options.make_expert is None:
        return Check("expert episode", "skip", scene.check.detail.removeprefix(_MADE_UP))
    (episode,) = evaluation_episodes(variant("train"), 1)
    return Check("expert episode", *trials.replay(scene.simulator, options.make_expert, episode, spec.emits))
