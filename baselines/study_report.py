"""What became of a study: every method beside the warm-up it started from, and the leaderboard's tables and figures.

The leaderboard is asked as anybody asks it, by its command line: it knows nothing of training, and training nothing of
it.
"""

from __future__ import annotations

import csv
import glob
import json
import math
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from vlagen.baselines.exported import Played
from vlagen.baselines.splits import Gain, Score, gain, held_out_axes, score
from vlagen.benchmark.atomic import write_atomically
from vlagen.benchmark.paired import compare
from vlagen.benchmark.records import EpisodeRecord, read_records
from vlagen.benchmark.rounding import percent, points
from vlagen.benchmark.statistics import Interval, summarize_row

LABELS = {"warmup": "warm-up", "sft": "SFT", "ppo": "PPO", "grpo": "GRPO", "dpo": "DPO"}
"""What stages are called in tables and figures."""

COMPLETE, NO_SIGNAL, BROKEN = "complete", "no signal", "broken off"

CURVE_COLUMNS = ("entry", "seed", "environment_steps", "split", "success")

_HEADINGS = ("n", "success", "95%\ninterval", "against\nwarm-up", "95%\ninterval", "p")


@dataclass(frozen=True)
class Trained:
    """A stage that was trained, or given.

    Attributes:
        stage: one of ``LABELS``.
        seed: it was trained with.
        folder: of the run; None if the model was given.
        outcome: ``COMPLETE``, ``NO_SIGNAL`` or ``BROKEN``.
        note: what went wrong.
        played: how the model is played; None if there is none.
    """

    stage: str
    seed: int
    folder: Path | None
    outcome: str = COMPLETE
    note: str = ""
    played: Played | None = None

    @property
    def label(self) -> str:
        """What it is called in tables."""
        return LABELS[self.stage]

    def evaluation(self, out: Path) -> Path:
        """Where its evaluation lies in a study's folder."""
        return out / "evaluations" / self.label.lower() / f"seed-{self.seed}"


@dataclass(frozen=True)
class Line:
    """How one stage did, on the row that was trained on and on held-out ones; None where nothing was played.

    Attributes:
        entry: what it is called.
        seed: it was trained with.
        outcome: ``COMPLETE``, ``NO_SIGNAL`` or ``BROKEN``.
        note: what went wrong.
        in_distribution: success on the row that was trained on.
        held_out: success on the held-out rows.
        in_distribution_gain: over the warm-up; None for the warm-up itself.
        held_out_gain: likewise.
    """

    entry: str
    seed: int
    outcome: str
    note: str
    in_distribution: Score | None = None
    held_out: Score | None = None
    in_distribution_gain: Gain | None = None
    held_out_gain: Gain | None = None


@dataclass(frozen=True)
class Report:
    """What became of a study.

    Attributes:
        out: its folder.
        row: id of the row that was trained on.
        lines: one a stage.
        verdicts: of each method over all seeds against the warm-up, in words.
        problems: what is missing or went wrong, in words.
        complaints: of the leaderboard, about files that it could not write.
    """

    out: Path
    row: str
    lines: tuple[Line, ...]
    verdicts: tuple[str, ...]
    problems: tuple[str, ...]
    complaints: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        """No stage broke off, and all files are written."""
        return not self.complaints and all(line.outcome != BROKEN for line in self.lines)


def make_report(out: Path, stages: Sequence[Trained], row: str) -> Report:
    """Writes the leaderboard and the report of a study.

    Args:
        out: the study's folder.
        stages: the warm-ups first; what has a model has been evaluated.
        row: id of the row that was trained on.
    """
    played = [stage for stage in stages if stage.played is not None]
    records = {_key(stage): read_records(stage.evaluation(out) / "episodes.jsonl")[0] for stage in played}
    lines = [_line(stage, stages, records, row) for stage in stages]
    problems = [f"{line.entry}, seed {line.seed}: {line.outcome}. {line.note}" for line in lines if line.note]
    for stage in played:
        errors = sum(record.outcome == "error" for record in records[_key(stage)])
        if errors:
            problems.append(
                f"{stage.label}, seed {stage.seed}: {errors} episodes ended in errors and are in no rate; "
                "the same command plays them again"
            )
    has_errors = any(record.outcome == "error" for group in records.values() for record in group)
    verdicts, complaints = _leaderboard(out, played, lines, ["--allow-errors"] if has_errors else [])
    report = Report(out, row, tuple(lines), tuple(verdicts), tuple(problems), tuple(complaints))
    write_atomically(out / "report.json", (json.dumps(_plain(asdict(report)), indent=1) + "\n").encode())
    write_atomically(out / "report.md", _markdown(report).encode())
    return report


def printed(report: Report) -> Iterator[Any]:
    """Yields what a console is to print, part by part."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("trained", overflow="fold")
    table.add_column("played", overflow="fold")
    for heading in _HEADINGS:
        table.add_column(heading, justify="right", no_wrap=True)
    for line in report.lines:
        for cells in _cells(line):
            table.add_row(*map(escape, cells))
        table.add_section()
    yield f"In distribution is {escape(report.row)}; against the warm-up, the same episodes are compared.\n"
    yield table
    for text in (*report.verdicts, *report.problems, *report.complaints):
        yield f"\n{escape(text)}"
    yield f"\nWritten to {escape(str(report.out))}: report.md, report.json, leaderboard/"


def _key(stage: Trained) -> tuple[str, int]:
    return stage.label, stage.seed


def _line(
    stage: Trained, stages: Sequence[Trained], records: dict[tuple[str, int], list[EpisodeRecord]], row: str
) -> Line:
    line = Line(stage.label, stage.seed, stage.outcome, stage.note)
    own = records.get(_key(stage))
    if not own:
        return line
    trained_on = {row: "in-distribution"}
    rows = list(dict.fromkeys(record.row for record in own))
    summaries = [summarize_row(own[0].protocol, own[0].assets, row_id, "", own) for row_id in rows]
    held_out = held_out_axes(rows, row)
    scores = {"in_distribution": score(summaries, trained_on), "held_out": score(summaries, held_out)}
    gains = {}
    reference = _reference(stage, stages)
    if reference is not stage and records.get(_key(reference)):
        pairs = compare(records[_key(reference)], own).rows
        gains = {"in_distribution_gain": gain(pairs, trained_on), "held_out_gain": gain(pairs, held_out)}
    return Line(stage.label, stage.seed, stage.outcome, stage.note, **scores, **gains)


def _reference(stage: Trained, stages: Sequence[Trained]) -> Trained:
    """The warm-up that a stage started from."""
    warmups = [other for other in stages if other.stage == "warmup"]
    return next((other for other in warmups if other.seed == stage.seed), warmups[0])


def _leaderboard(
    out: Path, played: Sequence[Trained], lines: Sequence[Line], options: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Lets the leaderboard write its files; returns its verdicts, and what it complained about."""
    folder, entries = out / "leaderboard", list(dict.fromkeys(stage.label for stage in played))
    if not entries:
        return [], ["no stage has a model, so there is no leaderboard"]
    folder.mkdir(exist_ok=True)
    place = out.resolve() / "evaluations"
    names = {entry: {"runs": [f"{glob.escape(str(place / entry.lower()))}/*"], "method": entry} for entry in entries}
    (folder / "names.json").write_text(json.dumps(names, indent=1) + "\n", encoding="utf-8")
    runs = [str(stage.evaluation(out)) for stage in played]
    arguments = ["build", *runs, "--out", str(folder), "--html", "--names", str(folder / "names.json"), *options]
    if _write_curves(folder / "curves.csv", played, lines):
        arguments += ["--curves", str(folder / "curves.csv")]
    complaints, verdicts = _ask(arguments), []
    reference = LABELS["warmup"]
    for entry in entries[1:] if entries[0] == reference else ():
        file = folder / f"{entry.lower()}-against-{reference}.json"
        sides = [str(out / "evaluations" / name.lower()) for name in (reference, entry)]
        told = ["compare", *sides, "--name-a", reference, "--name-b", entry, "--json", str(file), *options]
        found = _ask(told)
        complaints += found
        if not found:
            verdicts.append(json.loads(file.read_text(encoding="utf-8"))["verdict"])
    return verdicts, complaints


def _ask(arguments: Sequence[str]) -> list[str]:
    """Calls the leaderboard's command line; returns what it complained about."""
    command = [sys.executable, "-m", "vlagen.leaderboard.cli", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return [] if done.returncode == 0 else [f"vlagen-leaderboard {arguments[0]}: {done.stderr.strip()[-500:]}"]


def _write_curves(path: Path, played: Sequence[Trained], lines: Sequence[Line]) -> bool:
    """Joins the learning curves of all stages; what learned from demonstrations is a level, as it took no steps.

    Returns:
        Whether there is anything to be drawn.
    """
    written = []
    known_lines = {(line.entry, line.seed): line for line in lines}
    for stage in played:
        line = known_lines[_key(stage)]
        curve = stage.folder / "learning.csv" if stage.folder is not None else path
        if stage.stage in ("warmup", "sft"):
            splits = {"in-distribution": line.in_distribution, "held-out": line.held_out}
            known = {split: found.rate for split, found in splits.items() if found is not None}
            written += [(line.entry, line.seed, math.nan, split, rate) for split, rate in known.items()]
        elif curve.exists():
            with curve.open(newline="", encoding="utf-8") as file:
                written += [tuple(entry[name] for name in CURVE_COLUMNS) for entry in csv.DictReader(file)]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([CURVE_COLUMNS, *written])
    return bool(written)


def _cells(line: Line) -> Iterator[tuple[str, ...]]:
    """Cells of the table's rows about one stage."""
    name = f"{line.entry}, seed {line.seed}" + ("" if line.outcome == COMPLETE else f" ({line.outcome})")
    splits = (
        ("in distribution", line.in_distribution, line.in_distribution_gain),
        ("held out", line.held_out, line.held_out_gain),
    )
    for place, (split, found, better) in enumerate(splits):
        cells = (name if place == 0 else "", split)
        if found is None:
            yield (*cells, *["–"] * len(_HEADINGS))
            continue
        low, high = (percent(bound) for bound in found.interval)
        cells = (*cells, str(found.n), str(percent(found.rate)), f"{low}–{high}")
        if better is None:
            yield (*cells, "", "", "")
        else:
            yield (*cells, points(better.difference), _span(better.interval), _p(better.p))


def _span(interval: Interval) -> str:
    return f"{points(interval.low)} to {points(interval.high)}"


def _p(p: float) -> str:
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _markdown(report: Report) -> str:
    headings = ("trained", "played", *(heading.replace("\n", " ") for heading in _HEADINGS))
    rows = [headings, ("---", "---", *["---:"] * len(_HEADINGS))]
    rows += [cells for line in report.lines for cells in _cells(line)]
    text = f"In distribution is `{report.row}`; p is McNemar's, exact and two-sided, of this seed's episodes.\n\n"
    text += "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
    return "\n\n".join([text, *report.verdicts, *report.problems, *report.complaints]) + "\n"


def _plain(value: Any) -> Any:
    """JSON values; undefined numbers are null."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value
