"""A pytest plugin: ``pytest --vlagen-policy my_adapter`` scores a policy, one test a row.

Everybody who has vlagen installed loads this file with every run of pytest, so it imports nothing until it is asked to
play. ``docs/statistics.md`` says when a row fails.
"""

from __future__ import annotations

import argparse
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from vlagen.benchmark.gate.run import GatedRun

_NEXT_STEP = (
    "No thresholds were given, so each row only had to finish without errors. --vlagen-thresholds FILE.toml sets some "
    '(default = 0.8, and under [rows] lines such as "vision/table" = 0.7); --vlagen-baseline RUN compares with a run.'
)


class RowFailed(Exception):
    """A row that ended in errors, missed its threshold or dropped."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the options; all names begin with ``--vlagen-``."""
    group = parser.getgroup("vlagen", "scoring a robot policy, one test a row (vlagen)")
    group.addoption("--vlagen-policy", metavar="NAME", help="policy to score, as for vlagen-eval --policy")
    group.addoption(
        "--vlagen-policy-args", action="append", metavar="NAME=VALUE", help="argument of the policy; may be repeated"
    )
    group.addoption("--vlagen-suite", metavar="NAME", help="what to play; by default as the baseline did, else smoke")
    group.addoption(
        "--vlagen-rows", action="append", metavar="ROWS", help="rows or axes, comma-separated; may be repeated"
    )
    group.addoption("--vlagen-episodes", type=int, metavar="N", help="episodes a row, instead of the suite's number")
    group.addoption("--vlagen-assets", metavar="PACK", help="asset pack, instead of the suite's")
    group.addoption("--vlagen-workers", type=int, metavar="N", help="processes that play; by default 1")
    group.addoption(
        "--vlagen-video", metavar="MODE", help="which episodes leave a video: failures (default), none, all or a number"
    )
    group.addoption("--vlagen-out", type=Path, metavar="DIR", help="the run's folder; by default a new one below runs/")
    group.addoption(
        "--vlagen-baseline", type=Path, metavar="RUN", help="run to compare with; only significant drops fail"
    )
    group.addoption("--vlagen-thresholds", type=Path, metavar="FILE", help="TOML file with the success to be reached")
    group.addoption("--vlagen-simulator", metavar="MODULE:ATTRIBUTE", help=argparse.SUPPRESS)


def pytest_configure(config: pytest.Config) -> None:
    """Registers the marker and, if a policy was named, what plays it."""
    config.addinivalue_line("markers", "vlagen: a row of a vlagen evaluation, made by --vlagen-policy")
    given = _given(config)
    if not given:
        return
    if "policy" not in given:
        raise pytest.UsageError(f"--vlagen-{next(iter(given)).replace('_', '-')} needs --vlagen-policy")
    if hasattr(config, "workerinput") or getattr(config.option, "dist", "no") != "no":
        raise pytest.UsageError(
            "vlagen's rows share one policy and one run folder, so pytest-xdist cannot spread them: "
            "add -n 0, and --vlagen-workers N to play in N processes"
        )
    config.pluginmanager.register(_RowTests(given), "vlagen-rows")


def _given(config: pytest.Config) -> dict[str, Any]:
    """The plugin's options that were used, by their names without prefix."""
    prefix = "vlagen_"
    return {
        name.removeprefix(prefix): value
        for name, value in vars(config.option).items()
        if name.startswith(prefix) and value is not None
    }


class _RowTests:
    """Makes the tests, plays while they run, and reports at the end."""

    def __init__(self, given: dict[str, Any]) -> None:
        # The commas between brackets are those of a row's id.
        rows = [row for text in given.pop("rows", ()) for row in re.split(r",(?![^\[]*\])", text) if row]
        self._given = {**given, "rows": tuple(rows), "policy_args": tuple(given.get("policy_args", ()))}
        self._run: GatedRun | None = None

    # First, so that -k, -m, --last-failed and the like find the rows as well.
    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, session: pytest.Session, items: list[pytest.Item]) -> None:
        # Imported here because it brings numpy and more.
        from vlagen.assets.errors import VlagenError
        from vlagen.benchmark.gate.run import GatedRun, Options

        try:
            self._run = GatedRun(Options(**self._given))
        except VlagenError as error:
            raise pytest.UsageError(f"vlagen: {error}") from None
        made = [
            RowItem.from_parent(session, name=f"vlagen[{row}]", nodeid=f"vlagen[{row}]", row=row, run=self._run)
            for row in self._run.rows
        ]
        # As pytest does for each file; it counts items by these reports.
        report = pytest.CollectReport(nodeid="vlagen", outcome="passed", longrepr=None, result=made)
        session.config.hook.pytest_collectreport(report=report)
        items.extend(made)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        from vlagen.assets.errors import VlagenError

        rows = [item.row for item in session.items if isinstance(item, RowItem)]
        if not rows or session.config.option.collectonly:
            return
        try:
            self._run.open(rows)
        except VlagenError as error:
            raise pytest.UsageError(f"vlagen: {error}") from None

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        if self._run is not None:
            self._run.close()

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._run is None or not self._run.is_open:
            return
        terminalreporter.section("vlagen")
        for line in _report(self._run, terminalreporter.hasmarkup):
            terminalreporter.write_line(line)


class RowItem(pytest.Item):
    """The test of one row."""

    def __init__(self, *, row: str, run: GatedRun, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.row = row
        self._run = run
        self.add_marker("vlagen")

    def runtest(self) -> None:
        problems = self._run.judge(self.row)
        summary = self._run.summary(self.row)
        for name in ("n", "successes", "errors"):
            self.user_properties.append((f"vlagen_{name}", getattr(summary, name)))
        if problems:
            raise RowFailed("\n".join(problems))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        from vlagen.assets.errors import VlagenError

        # These say what is wrong; a traceback through vlagen would not add to it.
        if isinstance(excinfo.value, RowFailed | VlagenError):
            return f"{self.row}: {excinfo.value}"
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        return self.path, None, self.name


def _report(run: GatedRun, markup: bool) -> list[str]:
    """Words a run's end: the table, how it compares, and where it lies."""
    from rich.console import Console

    from vlagen.benchmark.rounding import percent

    console = Console(file=io.StringIO(), force_terminal=markup, width=100)
    for part in run.tables():
        console.print(part)
    lines = console.file.getvalue().rstrip().splitlines()
    comparison = run.comparison()
    if comparison is not None:
        lines += ["", f"Baseline (A): {run.baseline.folder}. {comparison.coverage}."]
        if comparison.overall is not None:
            overall, bounds = comparison.overall, comparison.overall.interval
            rows = f"{overall.rows} row{'s' if overall.rows > 1 else ''}"
            lines.append(
                f"Mean difference over {rows}: {percent(overall.difference):+} points, 95% interval "
                f"{percent(bounds.low):+} to {percent(bounds.high):+}."
            )
        lines += [f"Not as in the baseline: {text}" for text in run.changed_conditions()]
    elif run.thresholds is None:
        lines += ["", _NEXT_STEP]
    return [*lines, "", f"Records and videos: {run.out}; it can be the next --vlagen-baseline."]
