"""The doctor: each verdict from a made-up finding, and probes that crash, hang or babble."""

from __future__ import annotations

import json
import time

import pytest

from vlagen.benchmark import doctor, probes
from vlagen.benchmark.doctor import Finding, check_mesa, check_pack, check_rendering, check_room, is_healthy, report
from vlagen.benchmark.probes import ProbeResult, finish, start


def run(program: str, timeout_s: float = 20) -> ProbeResult:
    return finish(start(program), timeout_s)


def test_a_probe_that_works_returns_its_last_line():
    assert run("print('noise'); print('{\"version\": \"1\"}')") == ProbeResult({"version": "1"}, None)


@pytest.mark.parametrize(
    ("program", "problem"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "crashed with SIGSEGV"),
        ("raise RuntimeError('no device')", "RuntimeError: no device"),
        ("import sys; sys.exit(3)", "exit code 3 without a message"),
        ("", "exit code 0 without a message"),
        ("print('not json')", "unreadable answer: not json"),
    ],
)
def test_a_probe_that_fails_says_how_in_one_line(program, problem):
    assert run(program) == ProbeResult({}, problem)


def test_a_probe_that_hangs_is_stopped_with_its_children():
    started = time.monotonic()
    program = "import subprocess; subprocess.run(['sleep', '60'])"
    assert run(program, timeout_s=0.5) == ProbeResult({}, "no answer within 0.5 s", timed_out=True)
    assert time.monotonic() - started < 10


def test_a_probe_cannot_wait_for_an_answer_from_the_terminal():
    assert run("input('download? ')").problem == "EOFError: EOF when reading a line"


def test_a_red_box_must_look_red():
    def seen(*colour: float) -> str:
        return check_rendering(ProbeResult({"device": "llvmpipe", "centre": list(colour)}, None)).status

    assert seen(1.0, 0.0, 0.0) == "ok"
    assert seen(0.0, 0.0, 0.0) == "FAIL"
    assert seen(1.0, 1.0, 1.0) == "FAIL"
    assert seen(float("nan"), 0.0, 0.0) == "FAIL"


def test_a_missing_driver_file_that_the_user_named_is_the_first_suspect(monkeypatch, tmp_path):
    monkeypatch.setenv("VK_ICD_FILENAMES", str(tmp_path / "gone.json"))
    finding = check_rendering(ProbeResult({}, "ErrorIncompatibleDriver"))
    assert finding.status == "FAIL"
    assert finding.fix.startswith("unset VK_ICD_FILENAMES")
    assert "gone.json" in finding.fix


def test_every_failure_and_warning_says_how_to_mend_it(monkeypatch):
    monkeypatch.delenv("VK_ICD_FILENAMES", raising=False)
    broken = ProbeResult({}, "broken")
    findings = [
        doctor.check_python((3, 13)),
        doctor.check_package("torch", broken),
        doctor.check_physics(broken),
        doctor.check_physics(ProbeResult({"version": "3", "fell_m": float("nan")}, None)),
        check_rendering(broken),
        check_mesa("22.3.6", gpu=False),
        doctor.check_gpu(ProbeResult({"version": "2+cpu", "cuda_gpu": None}, None), driver=True),
        check_room("disk", 1, 2.0, "free some"),
    ]
    assert [finding.status for finding in findings] == ["FAIL"] * 5 + ["warning"] * 3
    assert all(finding.fix for finding in findings)


def test_an_old_mesa_does_not_matter_with_a_gpu():
    assert check_mesa("22.3.6", gpu=True).status == "ok"
    assert check_mesa(None, gpu=True).status == "ok"
    assert check_mesa("25.0.7", gpu=False).status == "ok"


def test_the_papers_pack_may_be_missing(monkeypatch, tmp_path):
    monkeypatch.setenv("MS_ASSET_DIR", str(tmp_path))
    finding = check_pack("rl4vla")
    assert (finding.status, finding.fix) == ("warning", "vlagen-assets download rl4vla")


def test_room_is_compared_in_gib():
    assert check_room("disk", 2 * 2**30, 2.0, "").status == "ok"
    assert check_room("disk", 2 * 2**30 - 2**20, 2.0, "").status == "warning"
    assert check_room("memory", None, 2.0, "").status == "ok"


def test_only_a_failure_makes_the_machine_unfit():
    assert is_healthy([Finding("a", "ok", ""), Finding("b", "warning", "", "x")])
    assert not is_healthy([Finding("a", "ok", ""), Finding("b", "FAIL", "", "x")])


def test_the_report_is_aligned_and_shows_fixes_below():
    text = report([Finding("a", "ok", "1"), Finding("longer", "FAIL", "2", "do this")])
    assert text.splitlines() == [
        "ok       a       1",
        "FAIL     longer  2",
        "                 fix: do this",
    ]


@pytest.mark.parametrize(("status", "code"), [("ok", 0), ("warning", 0), ("FAIL", 1)])
def test_the_exit_code_and_the_json_agree(status, code, monkeypatch, capsys):
    monkeypatch.setattr(doctor, "examine", lambda timeout_s: [Finding("a", status, "1")])
    monkeypatch.setattr("sys.argv", ["vlagen-doctor", "--json"])
    assert doctor.main() == code
    assert json.loads(capsys.readouterr().out)["healthy"] is (code == 0)


@pytest.mark.sim
def test_physics_steps_here():
    pytest.importorskip("sapien")
    result = run(probes.PROBES["physics"], timeout_s=60)
    assert result.problem is None
    # One step of 0.01 s under 9.81 m/s^2, integrated semi-implicitly: 9.81 * 0.01^2 m.
    assert result.values["fell_m"] == pytest.approx(9.81e-4, rel=1e-3)


@pytest.mark.parametrize(
    "check", [doctor.check_physics, doctor.check_rendering, lambda p: doctor.check_package("x", p)]
)
def test_who_was_too_slow_is_not_told_to_install_anything(check):
    finding = check(ProbeResult({}, "no answer within 60 s", timed_out=True))
    assert finding.status == "FAIL"
    assert "--timeout 300" in finding.fix
    assert "setup" not in finding.fix
