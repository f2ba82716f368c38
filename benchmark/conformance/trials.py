"""What a policy is put through by ``conformance``: each trial returns status, detail and fix.

Two sets of actions count as equal up to ``NEAR``, because kernels for other batch sizes add up in another order and
half-precision weights make that visible; the report says whether they were equal or near.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np

from vlagen.benchmark.actions.formats import ActionFormat, convert, express
from vlagen.benchmark.actions.wrappers import PreparedPolicy, prepare
from vlagen.benchmark.conformance.specimens import batch
from vlagen.benchmark.policy import Policy, PolicyEpisode, PolicySpec
from vlagen.benchmark.simulator import EpisodeLike, Simulator
from vlagen.tasks.interface import HORIZON, Observation

NEAR = 1e-3
"""[m], [rad], and on the gripper's scale from -1 to 1."""

TIMED_CALLS = 20
TIMED_SECONDS = 5.0
_TINY = 1e-4  # [m]; no demonstrated step is so short
_ROW = "train"
_YES = {True: "yes", False: "no"}

Verdict = tuple[str, str, str]
"""Status, detail, fix."""


@dataclass
class Bench:
    """A policy and what it is tried on.

    Attributes:
        policy: as it was made.
        prepared: as an evaluation would play it.
        specimens: first observations, B = 1 each.
        execute_horizon: as given.
        ensemble: as given.
    """

    policy: Policy
    prepared: PreparedPolicy
    specimens: Sequence[Observation]
    execute_horizon: int | None = None
    ensemble: str | None = None
    steps: int = field(default=2, init=False)

    def play(self, positions: Sequence[int], steps: int | None = None) -> np.ndarray:
        """Begins these episodes together and returns the canonical actions of the first steps (T, B, 7)."""
        self.prepared.reset([self.episode(position) for position in positions])
        chosen = [self.specimens[position] for position in positions]
        return np.stack([self.prepared.act(batch(chosen, step), _ROW) for step in range(steps or self.steps)])

    def episode(self, position: int) -> PolicyEpisode:
        """What the policy is told of an episode."""
        return PolicyEpisode(self.specimens[position].instruction[0], 1000 + position)


def shapes(bench: Bench) -> Verdict:
    """One action, or one chunk, for each episode; long enough afterwards that every chunk is asked for twice."""
    for size in (1, 3):
        bench.play(range(size), 1)
    chunk = bench.prepared.chunk
    executed = 1 if bench.ensemble else bench.execute_horizon or chunk
    bench.steps = min(executed + 2, HORIZON)
    for size in (1, 3):
        bench.play(range(size))
    shape = (
        f"(B, {bench.prepared.spec.emits.size})" if chunk == 1 else f"(B, {chunk}, {bench.prepared.spec.emits.size})"
    )
    return "pass", f"{shape} for B = 1 and 3", ""


def values(bench: Bench) -> Verdict:
    """Finite and in range."""
    actions = bench.play(range(3))
    if bench.prepared.faults:
        return "FAIL", next(iter(bench.prepared.faults.values())), "correct the declaration, or what act returns"
    longest = float(np.linalg.norm(actions[..., :3], axis=-1).max())
    note = f"; no step is longer than {1000 * longest:.2g} mm: is the unit right?" if 0 < longest < _TINY else ""
    turn = np.degrees(np.abs(actions[..., 3:6]).max())
    return "pass", f"finite and in range; up to {1000 * longest:.3g} mm and {turn:.3g} degrees a step{note}", ""


def same_seed(bench: Bench) -> Verdict:
    """The same episodes get the same actions."""
    return _compare(
        bench.play(range(3)),
        bench.play(range(3)),
        "the same actions for the same seeds",
        "draw from generators made in reset from each episode's seed; switch dropout off (model.eval())",
    )


def batches(bench: Bench) -> Verdict:
    """An episode gets the same actions alone as among others."""
    alone = np.concatenate([bench.play([position]) for position in range(3)], axis=1)
    return _compare(
        bench.play(range(3)),
        alone,
        "the same actions alone and in a batch",
        "give each episode its own generator and history; no statistics over the batch; mask what is padded",
    )


def resets(bench: Bench) -> Verdict:
    """What ran before leaves no trace, even where it was left in the middle of a chunk."""
    bench.play([0, 1], 1)
    first = bench.play([2])
    bench.play([1, 0, 3])
    return _compare(
        first,
        bench.play([2]),
        "the same actions after whatever ran before",
        "forget everything in reset: buffers, histories, generators",
    )


def chunks(bench: Bench) -> Verdict:
    """Chunks keep their length and can be cut."""
    length = bench.prepared.chunk
    if length == 1:
        return "skip", "act returns single actions", ""
    lengths = set()
    for horizon in {1, length}:
        prepared = prepare(bench.policy, name=bench.prepared.name, execute_horizon=horizon)
        for size in (1, 3):
            cut = Bench(bench.policy, prepared, bench.specimens)
            cut.play(range(size), min(horizon + 1, HORIZON))
            lengths.add(prepared.chunk)
    if len(lengths) > 1:
        found = ", ".join(map(str, sorted(lengths)))
        return "FAIL", f"chunks of different lengths: {found}", "always return the same number of actions"
    how = f"merged by {bench.ensemble}" if bench.ensemble else f"{bench.execute_horizon or length} executed at a time"
    hint = (
        ""
        if bench.policy.spec.chunk
        else f"; with chunk={length} in the spec a mismatch shows before the first episode"
    )
    return "pass", f"of {length}, {how}{hint}", ""


def untouched(bench: Bench) -> Verdict:
    """The observation belongs to others as well."""
    bench.prepared.reset([bench.episode(position) for position in range(3)])
    observation = batch(bench.specimens[:3], 0)
    arrays = {item.name: getattr(observation, item.name) for item in fields(observation)}
    arrays = {name: value for name, value in arrays.items() if isinstance(value, np.ndarray)}
    before = {name: value.copy() for name, value in arrays.items()}
    bench.prepared.act(observation, _ROW)
    changed = [name for name, value in arrays.items() if not np.array_equal(value, before[name])]
    if changed:
        return "FAIL", f"act changes observation.{', observation.'.join(changed)} in place", "work on a copy"
    return "pass", "act leaves the observation as it is", ""


def gripper(bench: Bench) -> Verdict:
    """Episodes start with an open, empty hand, so hardly anything closes it at once: a guess at swapped polarity."""
    first = bench.play(range(len(bench.specimens)), 1)[0, :, 6]
    opened, total = int((first > 0).sum()), len(first)
    emits = bench.prepared.spec.emits
    declared = f"gripper_open={emits.gripper_open:g} and gripper_closed={emits.gripper_closed:g}"
    if opened == 0:
        found = f"every one of {total} episodes begins by closing the open, empty hand"
        return "FAIL", found, f"probably {declared} are swapped; look at what the data set calls open"
    note = "" if 2 * opened >= total else f"; if that is a surprise, are {declared} swapped?"
    return "pass", f"{opened} of {total} episodes begin with the hand open{note}", ""


def attention(bench: Bench) -> Verdict:
    """Whether pictures and words reach the policy at all; a controller need not look at them, so nothing fails."""
    spec, told, seen = bench.prepared.spec, bench.episode(0), batch(bench.specimens[:1], 0)
    others = {"instruction": (PolicyEpisode("put onion on cloth", told.seed), ("put onion on cloth",), seen.rgb)}
    if spec.needs_images:
        others["picture"] = (told, seen.instruction, 255 - seen.rgb)

    def first(episode: PolicyEpisode, words: tuple[str, ...], rgb: np.ndarray | None) -> np.ndarray:
        bench.prepared.reset([episode])
        return bench.prepared.act(replace(seen, instruction=words, rgb=rgb), _ROW)

    usual = first(told, seen.instruction, seen.rgb)
    moved = {name: not np.array_equal(first(*other), usual) for name, other in others.items()}
    return "pass", "; ".join(f"another {name} changes the action: {_YES[moved[name]]}" for name in others), ""


def latency(bench: Bench) -> Verdict:
    """How long a call takes, resizing and conversion included."""
    prepared = prepare(bench.policy, name=bench.prepared.name, execute_horizon=1)
    calls = HORIZON if bench.ensemble else int(np.ceil(HORIZON / (bench.execute_horizon or bench.prepared.chunk)))
    found = []
    for size in (1, len(bench.specimens)):
        middle, high = np.quantile(_time(prepared, bench, size), [0.5, 0.95])
        times = f"{1000 * middle:.3g} ms (95% below {1000 * high:.3g} ms)"
        found.append(f"B = {size}: {times}, {calls * middle / size:.2g} s an episode")
    return "pass", "; ".join(found), ""


TRIALS: dict[str, Callable[[Bench], Verdict]] = {
    "shapes": shapes,
    "values": values,
    "same seed": same_seed,
    "batches": batches,
    "resets": resets,
    "chunks": chunks,
    "observation": untouched,
    "gripper": gripper,
    "attention": attention,
    "latency": latency,
}
"""In the order in which they are run."""


def replay(
    simulator: Simulator, make_expert: Callable[[], Policy], episode: EpisodeLike, emits: ActionFormat
) -> Verdict:
    """Plays an expert's episode whose actions are written in a format and read back, as a policy's would be.

    Args:
        simulator: with privileged state.
        make_expert: makes a policy of canonical actions that succeeds in this episode.
        episode: which.
        emits: the format.
    """
    speaking = _Speaking(make_expert(), emits)
    if _succeeds(simulator, speaking, episode):
        return "pass", f"succeeds in this format, to within {speaking.error:.1g} of the expert's own actions", ""
    if not _succeeds(simulator, _Speaking(make_expert(), ActionFormat()), episode):
        return "skip", "the expert fails here even with its own actions", ""
    lost = f"{speaking.error:.2g} (m, rad or on the gripper's scale)"
    return (
        "FAIL",
        f"the expert fails when its actions are written in this format: what it says is off by up to {lost}",
        "widen the bounds of `normalised`: they cannot express the steps that the task takes"
        if emits.normalised
        else "declare a format that can express vlagen's actions",
    )


class _Speaking:
    """An expert whose canonical actions come out in a format, cut to what the format can say.

    Attributes:
        error: the largest difference that this made.
    """

    def __init__(self, expert: Policy, emits: ActionFormat) -> None:
        self._expert = expert
        spec = expert.spec
        self.spec = PolicySpec(
            needs_images=spec.needs_images,
            needs_proprioception=spec.needs_proprioception,
            needs_privileged=spec.needs_privileged,
            emits=emits,
        )
        self.error = 0.0

    def reset(self, episodes: Sequence[PolicyEpisode]) -> None:
        self._expert.reset(episodes)

    def act(self, observation: Observation) -> np.ndarray:
        wanted = self._expert.act(observation)
        written = express(wanted, self.spec.emits, observation.gripper_pose)
        if self.spec.emits.normalised is not None:
            written[..., :-1] = np.clip(written[..., :-1], -1, 1)
        read = convert(written.astype(np.float32), self.spec.emits, observation.gripper_pose)
        self.error = max(self.error, float(np.abs(read - wanted).max()))
        return written.astype(np.float32)


def _succeeds(simulator: Simulator, policy: Policy, episode: EpisodeLike) -> bool:
    prepared = prepare(policy, name="expert")
    observation = simulator.start([episode])
    prepared.reset([PolicyEpisode(observation.instruction[0], 0)])
    for _ in range(simulator.horizon):
        result = simulator.step(prepared.act(observation, _ROW))
        observation = result.observation
    return bool(result.success[0])


def _compare(first: np.ndarray, second: np.ndarray, claim: str, fix: str) -> Verdict:
    if np.array_equal(first, second):
        return "pass", f"{claim}, to the last bit", ""
    differences = np.abs(first - second)
    largest = float(differences.max())
    if largest <= NEAR:
        return "pass", f"{claim}, to within {largest:.1g} (allowed: {NEAR:g})", ""
    step, position, number = np.argwhere(differences > NEAR)[0]
    was, now = first[step, position, number], second[step, position, number]
    found = f"number {number} at step {step} was {was:.4g}, then {now:.4g}"
    return "FAIL", f"expected {claim}, but {found}", fix


def _time(prepared: PreparedPolicy, bench: Bench, size: int) -> list[float]:
    """Times calls [s] for a batch; the first is left out, for it may compile or allocate."""
    prepared.reset([bench.episode(position) for position in range(size)])
    times: list[float] = []
    started = time.perf_counter()
    for step in range(TIMED_CALLS + 1):
        observation = batch(bench.specimens[:size], step)
        asked = time.perf_counter()
        prepared.act(observation, _ROW)
        times.append(time.perf_counter() - asked)
        if len(times) > 3 and time.perf_counter() - started > TIMED_SECONDS:
            break
    return times[1:]
