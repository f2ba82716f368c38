"""The apt source that setup adds on Debian 12, from made-up sources of a machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "backports_source.py"

INLINE_KEY = """Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
 -----END PGP PUBLIC KEY BLOCK-----"""


def stanza(apt: Path, files: dict[str, str]) -> subprocess.CompletedProcess[str]:
    for file, text in files.items():
        (apt / file).parent.mkdir(parents=True, exist_ok=True)
        (apt / file).write_text(text)
    return subprocess.run(
        [sys.executable, SCRIPT, "bookworm", "--apt", apt], capture_output=True, text=True, check=False
    )


def expected(uri: str, *options: str) -> str:
    return "\n".join(("Types: deb", f"URIs: {uri}", "Suites: bookworm-backports", "Components: main", *options, ""))


def test_a_deb822_source_gives_its_mirror_and_key(tmp_path):
    text = """# a comment
Types: deb deb-src
URIs: http://mirror.example/debian http://second.example/debian
# another
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://security.example/debian-security
Suites: bookworm-security
Components: main
"""
    answer = stanza(tmp_path, {"sources.list.d/debian.sources": text})
    signed_by = "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg"
    assert answer.stdout == expected("http://mirror.example/debian", signed_by)


def test_a_one_line_source_gives_its_mirror_and_key(tmp_path):
    text = """deb-src http://source.example/debian bookworm main
# deb http://commented.example/debian bookworm main
deb http://security.example/debian-security bookworm-security main
deb [arch=amd64 signed-by=/key.gpg] http://mirror.example/debian/ bookworm main contrib
"""
    assert stanza(tmp_path, {"sources.list": text}).stdout == expected(
        "http://mirror.example/debian/", "Signed-By: /key.gpg"
    )


def test_a_key_inside_the_source_is_kept_whole(tmp_path):
    text = f"Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm\nComponents: main\n{INLINE_KEY}\n"
    assert stanza(tmp_path, {"sources.list.d/a.sources": text}).stdout == expected(
        "http://mirror.example/debian", INLINE_KEY
    )


@pytest.mark.parametrize(
    "text",
    [
        "Types: deb\nURIs: http://off.example/debian\nSuites: bookworm\nComponents: main\nEnabled: no\n",
        "Types: deb-src\nURIs: http://source.example/debian\nSuites: bookworm\nComponents: main\n",
        "Types: deb\nURIs: http://new.example/debian\nSuites: trixie\nComponents: main\n",
        "",
    ],
)
def test_without_an_enabled_source_it_fails_and_says_so(text, tmp_path):
    answer = stanza(
        tmp_path, {"sources.list.d/a.sources": text, "sources.list.d/b.disabled": "deb http://x bookworm main"}
    )
    assert answer.returncode == 1
    assert answer.stdout == ""
    assert "no enabled source of 'bookworm'" in answer.stderr
