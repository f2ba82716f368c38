"""The documentation: its commands parse, its links lead somewhere, its navigation is complete.

What commands do when they are run is tested in ``test_docs_run.py``.
"""

from __future__ import annotations

import fnmatch
import functools
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs_pages import PAGES, ROOT, SCRIPTS, blocks, name, our_commands, ours, page_commands, words
from tests.docs_running import ADDED, BEFORE, ELSEWHERE, EXEMPT, NAMES, PLAYED_PAGES, SMALLER, exempt, is_run, smaller

# Commands that take no simulator and no download; they are run as they are written, in this order, in one folder. The
# others are run page by page in test_docs_run.py.
QUICK = (
    "vlagen-eval --list",
    "vlagen-eval --new-adapter my_adapter.py",
    "vlagen-assets list",
    "vlagen-assets path builtin",
    "vlagen-assets verify builtin",
    "make help",
)

WRITTEN = [(page, command) for page in PAGES for command in our_commands(page)]
SHOWN = [(page, command) for page in PAGES for command in page_commands(page)]
TRAININGS = [(page, command) for page, command in WRITTEN if command.startswith("vlagen-train ") and "--" in command]


def readable(value: object) -> str | None:
    return value if isinstance(value, str) else name(value)


@functools.cache
def help_of(script: str, *subcommand: str) -> str:
    entry = SCRIPTS[script]
    code = f"import sys; sys.argv[0] = {script!r}; from {entry.module} import {entry.attr}; {entry.attr}()"
    answer = subprocess.run(
        [sys.executable, "-c", code, *subcommand, "--help"], capture_output=True, text=True, timeout=120, check=False
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


@functools.cache
def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def test_there_are_commands_to_test():
    assert {words(command)[0] for _, command in WRITTEN} >= {*SCRIPTS, "make"}


@pytest.mark.parametrize(("page", "command"), WRITTEN, ids=readable)
def test_commands_name_what_exists(page, command):
    program, *rest = words(command)
    if program == "make":
        targets = [word for word in rest if "=" not in word]
        assert set(targets) <= make_targets()
        return
    given = [word.split("=")[0] for word in rest if word.startswith("-")]
    text = help_of(program)
    subcommands = re.findall(r"^│   • ([a-z-]+)", text, re.MULTILINE)
    beside = re.findall(rf"`{program} ([a-z-]+)`", text)  # where the command itself does something, too
    if (rest and rest[0] in beside) or (subcommands and rest and not rest[0].startswith("-")):
        assert rest[0] in [*subcommands, *beside]
        text = help_of(program, rest[0])
    known = set(re.findall(r"(?<![\w-])--?[a-z][\w.-]*", text))
    assert set(given) <= known, f"{name(page)}: {command}"


@pytest.mark.parametrize(
    ("page", "command"),
    [(page, command) for page, command in WRITTEN if words(command)[0] == "vlagen-eval" and len(words(command)) > 1],
    ids=readable,
)
def test_evaluations_are_parsed_and_their_arguments_are_possible(page, command):
    arguments = importlib.import_module("vlagen.benchmark.arguments").parse(words(command)[1:])
    if arguments.request.policy:
        arguments.request.check()


@pytest.mark.parametrize(("page", "command"), TRAININGS, ids=readable)
def test_trainings_have_their_recipes_and_settings(page, command, capsys):
    for package in ("torch", "accelerate", "pyarrow"):
        pytest.importorskip(package)
    arguments = words(command)[1:]
    recipe = arguments[arguments.index("--recipe") + 1]
    if "/" in recipe:  # one that an earlier command leaves
        return
    assert importlib.import_module("vlagen.baselines.cli").main([*arguments, "--show"]) == 0, capsys.readouterr().err


@pytest.mark.parametrize(("page", "command"), SHOWN, ids=readable)
def test_commands_are_run_or_it_is_said_why_not(page, command):
    assert is_run(command) or exempt(command), f"{name(page)}: {command!r} is in neither list of tests/docs_running.py"


def test_python_is_run_where_it_is_shown():
    assert {name(page) for page in PAGES for block in blocks(page) if block.language == "python"} == set(NAMES)


def test_nothing_but_our_commands_is_run():
    for command in ("apt-get install podman", "rm -rf /", "vlagen-eval --list; rm -rf /", "vlagen-eval $(rm -rf /)"):
        assert not is_run(command)


def test_what_is_not_run_is_on_a_page():
    written = [command for _, command in SHOWN]
    for pattern, reason in EXEMPT.items():
        assert fnmatch.filter(written, pattern), f"no page has {pattern!r} any more, which is not run: {reason}"


def test_how_pages_are_run_is_about_what_they_have():
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    played = {name(page) for page in PLAYED_PAGES}
    assert {*BEFORE, *NAMES} <= played
    for address, _ in ELSEWHERE:
        assert address in text
    commands = [line.replace(".venv/bin/", "", 1) for _, line in SHOWN]
    for pattern, _ in ADDED:
        assert any(re.search(pattern, command) for command in commands), pattern
    for pattern, _ in SMALLER:
        assert re.search(pattern, text, re.MULTILINE), pattern


def test_commands_shrink_and_nothing_else():
    command = "vlagen-eval --policy openpi://host:8000 --episodes 64 --workers 2 --rows vision"
    assert smaller(command, 5) == "vlagen-eval --policy openpi://localhost:5 --episodes 1 --workers 1 --rows vision"
    command = "vlagen-check-policy openvla --policy-args checkpoint=/tmp/tiny"
    assert smaller(command, 5) == "vlagen-check-policy openvla --policy-args checkpoint=tmp/tiny"
    assert smaller("vlagen-leaderboard build runs/ --html", 5) == "vlagen-leaderboard build runs/ --html"


def test_code_says_its_language():
    # Whatever is indented without a fence is taken for commands, and run.
    for page in PAGES:
        assert all(block.language for block in blocks(page)), name(page)


def test_a_page_is_read_as_people_read_it(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "Run\n\n    make eval   # all rows\n\nor\n\n```bash\nvlagen-eval --policy expert \\\n    --episodes 8\n```\n"
        "- which prints\n\n  ```text\n  100.0\n  ```\n\n```console\n$ vlagen-doctor\nok\n```\n"
    )
    assert [block.language for block in blocks(page)] == ["bash", "bash", "text", "console"]
    assert page_commands(page) == ["make eval", "vlagen-eval --policy expert --episodes 8", "vlagen-doctor"]
    assert blocks(page)[2].text == "100.0\n"


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("docker run --rm -v a:b vlagen vlagen-eval --suite smoke", "vlagen-eval --suite smoke"),
        ("sbatch --nodes=8 docs/cluster/slurm.sbatch --policy expert", "vlagen-eval --policy expert"),
        ("accelerate launch --num_processes 4 -m vlagen.baselines.cli ppo", "vlagen-train ppo"),
        ("lerobot/bin/vlagen-serve --policy x", "vlagen-serve --policy x"),
        ("docker build -t vlagen .", ""),
    ],
)
def test_commands_that_others_are_told_to_run_are_ours(line, command):
    assert ours(line) == command


def test_quick_commands_run(tmp_path):
    written = {" ".join(words(command)) for _, command in WRITTEN}
    for command in QUICK:
        assert command in written, f"no page has {command!r} any more"
        program, *rest = words(command)
        if program == "make":
            call, folder = ["make", *rest], ROOT
        else:
            entry = SCRIPTS[program]
            code = f"import sys; from {entry.module} import {entry.attr}; sys.exit({entry.attr}())"
            call, folder = [sys.executable, "-c", code, *rest], tmp_path
        answer = subprocess.run(call, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
        assert answer.returncode == 0, f"{command}: {answer.stdout}{answer.stderr}"
    assert (tmp_path / "my_adapter.py").is_file()


@functools.cache
def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()).strip() for heading in headings]
    return {re.sub(r" +", "-", heading) for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name(page)} links to {link}"
        if anchor:
            assert anchor in anchors(target), f"{name(page)} links to {link}"


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    listed = re.findall(r": ([\w./-]+\.md)$", navigation, re.MULTILINE)
    assert sorted(listed) == sorted(page.relative_to(ROOT / "docs").as_posix() for page in PAGES[1:])


def test_the_configuration_shown_is_the_one_that_is_tested():
    page = (ROOT / "docs" / "vla-eval.md").read_text(encoding="utf-8")
    assert (ROOT / "docs" / "vla_eval.yaml").read_text(encoding="utf-8") in page


def test_each_command_has_its_help_on_the_site(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    hooks = importlib.import_module("docs_hooks")
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    marked = re.findall(r"<!-- help: ([a-z-]+)", page)
    assert set(marked) == set(SCRIPTS)
    built = hooks.on_page_markdown("before\n<!-- help: vlagen-assets path -->\nafter")
    assert built.startswith("before\n```text\nusage: vlagen-assets path")
    assert built.endswith("```\nafter")
    with pytest.raises(LookupError, match="vlagen has no command 'vlagen-evil'"):
        hooks.command_help("vlagen-evil")


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_fetches_nothing(tmp_path):
    pytest.importorskip("mkdocs", reason="MkDocs is not installed (the extra `docs`)")
    pytest.importorskip("material", reason="mkdocs-material is not installed (the extra `docs`)")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)
    assert answer.returncode == 0, answer.stderr
    for page in tmp_path.glob("*.html"):
        fetched = re.findall(
            r'<(?:script|link|img)[^>]+(?:src|href)="(https?://[^"]+)"', page.read_text(encoding="utf-8")
        )
        assert not [address for address in fetched if "canonical" not in address], page.name
    assert "usage: vlagen-eval" in (tmp_path / "commands.html").read_text(encoding="utf-8")
