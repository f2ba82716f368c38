"""Fetching: against a real HTTP server on this machine that misbehaves in the ways servers and networks do."""

from __future__ import annotations

import io
import os
import threading
import urllib.parse
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.assets.toy_pack import CONTENT, UNKNOWN, UNKNOWN_CONTENT, toy_pack, write
from vlagen.assets import cli, integrity, transfer
from vlagen.assets.errors import FetchError, FetchStopped
from vlagen.assets.fetch import Source, copy_pack, download_pack, sources
from vlagen.assets.packs import Pack, load_pack

BIG = "things/a cup/collision.obj"
CORPUS = Path(__file__).resolve().parents[3] / "shared" / "data" / "assets"
needs_corpus = pytest.mark.skipif(not CORPUS.is_dir(), reason=f"the paper's assets are not at {CORPUS}")


@dataclass
class Server:
    """What the server offers, how it misbehaves, and what it was asked."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    cut_first: dict[str, int] = field(default_factory=dict)
    """Path -> bytes after which the first answer breaks off."""
    status_first: dict[str, int] = field(default_factory=dict)
    """Path -> status of the first answer."""
    asked: list[tuple[str, str | None]] = field(default_factory=list)


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = urllib.parse.unquote(self.path).removeprefix("/")
            wanted = self.headers.get("Range")
            state.asked.append((path, wanted))
            status = state.status_first.pop(path, 200 if path in state.files else 404)
            if status != 200:
                self.send_error(status)
                return
            body, start = state.files[path], 0
            if wanted and state.ranges:
                start = int(wanted.removeprefix("bytes=").rstrip("-"))
                if start >= len(body):
                    self.send_error(416)
                    return
            self.send_response(206 if wanted and state.ranges else 200)
            if wanted and state.ranges:
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            self.wfile.write(body[start : start + state.cut_first.pop(path, len(body))])

        def log_message(self, *arguments: object) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.address = f"http://127.0.0.1:{listening.server_port}"
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(transfer, "_FIRST_PAUSE_S", 0.0)
    yield state
    listening.shutdown()
    thread.join()
    listening.server_close()


@pytest.fixture
def pack(tmp_path) -> Pack:
    return toy_pack(tmp_path / "root")


def origins(server: Server, *mirrors: str) -> tuple[Source, ...]:
    """The things come file by file from `mirrors`, the robot in a zip file."""
    urls = tuple(f"{server.address}/{mirror}/{{path}}" for mirror in mirrors or ("good",))
    return (
        Source("things/", "file", urls, ("collection", ".")),
        Source("robot/", "archive", (f"{server.address}/robot.zip",), ("arm",)),
    )


def serve_everything(server: Server, mirror: str = "good") -> None:
    things = {**CONTENT, UNKNOWN: UNKNOWN_CONTENT}
    server.files |= {
        f"{mirror}/{path.removeprefix('things/')}": data for path, data in things.items() if path.startswith("things/")
    }
    robot = {path: data for path, data in CONTENT.items() if path.startswith("robot/")}
    server.files["robot.zip"] = zipped({path.replace("robot/", "robot-0.2.0/"): data for path, data in robot.items()})


def zipped(content: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, data in content.items():
            archive.writestr(path, data)
    return buffer.getvalue()


def leftovers(pack: Pack) -> list[Path]:
    return [path for path in pack.root.rglob("*") if path.suffix in {".part", ".zip"}]


def test_everything_arrives_is_right_and_a_second_run_asks_for_nothing(server, pack):
    serve_everything(server)
    counts = []
    outcome = download_pack(pack, origins(server), advance=counts.append)
    assert outcome.failed == {}
    assert sorted(outcome.fetched) == sorted(file.path for file in pack.files)
    assert integrity.verify(pack) == {}
    assert leftovers(pack) == []
    assert sum(counts) >= sum(map(len, CONTENT.values())) - len(CONTENT["robot/meshes/link.stl"]) - 8
    asked = len(server.asked)
    again = download_pack(pack, origins(server))
    assert (again.fetched, sorted(again.kept)) == ([], sorted(outcome.fetched))
    assert len(server.asked) == asked


def test_a_body_that_breaks_off_is_resumed_where_it_stopped(server, pack):
    serve_everything(server)
    server.cut_first["good/a cup/collision.obj"] = 1000
    assert download_pack(pack, origins(server)).failed == {}
    assert (pack.root / BIG).read_bytes() == CONTENT[BIG]
    assert [asked for path, asked in server.asked if path.endswith("cup/collision.obj")] == [None, "bytes=1000-"]


def test_an_interrupted_run_is_resumed_by_the_next(server, pack):
    serve_everything(server)
    write(pack.root, {f"{BIG}.part": CONTENT[BIG][:5000]})
    assert download_pack(pack, origins(server)).failed == {}
    assert ("good/a cup/collision.obj", "bytes=5000-") in server.asked
    assert integrity.verify(pack) == {}


@pytest.mark.parametrize("stale", [b"other content", CONTENT[BIG], CONTENT[BIG] + b"more"])
def test_a_stale_beginning_is_thrown_away(stale, server, pack):
    serve_everything(server)
    write(pack.root, {f"{BIG}.part": stale})
    assert download_pack(pack, origins(server)).failed == {}
    assert integrity.verify(pack) == {}


def test_a_server_without_ranges_is_read_from_the_start(server, pack):
    serve_everything(server)
    server.ranges = False
    write(pack.root, {f"{BIG}.part": CONTENT[BIG][:5000]})
    assert download_pack(pack, origins(server)).failed == {}
    assert integrity.verify(pack) == {}


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_passing_fault_of_the_server_is_tried_again(status, server, pack):
    serve_everything(server)
    server.status_first["good/table.png"] = status
    assert download_pack(pack, origins(server)).failed == {}


def test_wrong_content_is_refused_by_name_and_the_rest_arrives(server, pack):
    serve_everything(server)
    server.files["good/plate/collision.obj"] = b"PLATE"
    outcome = download_pack(pack, origins(server))
    assert list(outcome.failed) == ["things/plate/collision.obj"]
    assert "sha256" in outcome.failed["things/plate/collision.obj"]
    assert not (pack.root / "things/plate/collision.obj").exists()
    assert leftovers(pack) == []
    assert len(outcome.fetched) == len(pack.files) - 1


def test_the_next_mirror_is_asked_where_one_lacks_a_file_or_has_a_wrong_one(server, pack):
    serve_everything(server)
    serve_everything(server, "old")
    del server.files["old/table.png"]
    server.files["old/plate/collision.obj"] = b"PLATE"
    assert download_pack(pack, origins(server, "old", "good")).failed == {}
    assert ("good/plate/textured.glb", None) not in server.asked, "the first mirror had it"


def test_a_page_instead_of_a_mesh_of_unknown_checksum_is_refused(server, pack):
    serve_everything(server)
    server.files["good/a cup/textured.glb"] = b"<html>sign in</html>"
    assert list(download_pack(pack, origins(server)).failed) == [UNKNOWN]


def test_a_replaced_file_stays_whole_when_its_new_content_is_bad(server, pack):
    serve_everything(server)
    download_pack(pack, origins(server))
    server.files["good/table.png"] = b"\x89PNG TABLE"
    outcome = download_pack(pack, origins(server), force=True)
    assert list(outcome.failed) == ["things/table.png"]
    assert integrity.verify(pack) == {}


def test_a_broken_archive_fails_its_files_only(server, pack):
    serve_everything(server)
    server.files["robot.zip"] = b"PK no zip"
    outcome = download_pack(pack, origins(server))
    assert sorted(outcome.failed) == ["robot/arm.urdf", "robot/meshes/link.stl"]
    assert leftovers(pack) == []


def test_an_archive_writes_only_what_the_manifest_lists(server, pack):
    serve_everything(server)
    server.files["robot.zip"] = zipped(
        {"top/../../evil": b"x", "top/arm.urdf": CONTENT["robot/arm.urdf"], "top/other": b"x"}
    )
    outcome = download_pack(pack, origins(server))
    assert outcome.failed == {"robot/meshes/link.stl": "the archive lacks it"}
    assert [path.name for path in (pack.root / "robot").rglob("*")] == ["arm.urdf"]


def test_without_a_network_it_stops_at_once_and_says_what_to_do(server, pack, monkeypatch):
    gone = Source("things/", "file", ("http://127.0.0.1:1/{path}",), ())
    with pytest.raises(FetchStopped, match=r"cannot reach 127\.0\.0\.1:1 .* `--from DIR`"):
        download_pack(pack, (gone,))


def test_after_many_failures_in_a_row_it_stops(server, tmp_path):
    content = {f"things/{index}": bytes([index]) for index in range(9)}
    pack = toy_pack(tmp_path)
    files = tuple(integrity.PackFile(path, "0" * 64, None) for path in content)
    object.__setattr__(pack, "files", files)
    with pytest.raises(FetchStopped, match="5 files in a row failed"):
        download_pack(pack, origins(server))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_named(server, pack):
    pack.root.mkdir()
    pack.root.chmod(0o500)
    serve_everything(server)
    with pytest.raises(FetchStopped, match="cannot make"):
        download_pack(pack, origins(server))


def test_a_file_where_a_folder_should_be_is_named(server, pack):
    write(pack.root, {"things": b""})
    serve_everything(server)
    with pytest.raises(FetchStopped, match=r"cannot make .*MS_ASSET_DIR"):
        download_pack(pack, origins(server))


@pytest.mark.parametrize(
    "layout",
    [
        {"things/": "things/", "robot/": "robot/"},
        {"things/": "data/things/", "robot/": "data/robot/"},
        {"things/": "collection/", "robot/": "arm/"},
        {"things/": "", "robot/": "arm/"},
    ],
    ids=["own", "asset directory", "collection", "bare"],
)
def test_copies_from_every_layout(layout, server, pack, tmp_path):
    carried = {**CONTENT, UNKNOWN: UNKNOWN_CONTENT}
    for prefix, folder in layout.items():
        write(
            tmp_path / "carried",
            {folder + path.removeprefix(prefix): data for path, data in carried.items() if path.startswith(prefix)},
        )
    outcome = copy_pack(pack, origins(server), tmp_path / "carried")
    assert outcome.failed == {}
    assert integrity.verify(pack) == {}
    assert server.asked == []


def test_a_damaged_file_in_the_folder_is_refused_by_name_and_the_rest_is_copied(server, pack, tmp_path):
    write(tmp_path / "carried", {**CONTENT, UNKNOWN: UNKNOWN_CONTENT, "robot/arm.urdf": b"<ROBOT/>"})
    outcome = copy_pack(pack, origins(server), tmp_path / "carried")
    assert list(outcome.failed) == ["robot/arm.urdf"]
    assert outcome.failed["robot/arm.urdf"].startswith("damaged: sha256")
    assert len(outcome.fetched) == len(pack.files) - 1
    assert leftovers(pack) == []


def test_a_stand_in_is_copied_with_a_note_and_goes_when_the_real_mesh_comes(server, pack, tmp_path):
    write(tmp_path / "carried", {**CONTENT, "things/a cup/textured.obj": b"mesh"})
    outcome = copy_pack(pack, origins(server), tmp_path / "carried")
    assert outcome.failed == {}
    assert len(outcome.notes) == 1
    assert toy_pack(pack.root).stand_ins == ("a cup",)
    assert copy_pack(pack, origins(server), tmp_path / "carried").fetched == []
    serve_everything(server)
    assert download_pack(pack, origins(server)).fetched == [UNKNOWN]
    assert toy_pack(pack.root).stand_ins == ()


def test_a_folder_that_lacks_the_robot_says_so(server, pack, tmp_path):
    write(tmp_path / "carried", {path: data for path, data in CONTENT.items() if path.startswith("things/")})
    outcome = copy_pack(pack, origins(server), tmp_path / "carried")
    assert outcome.failed["robot/arm.urdf"] == "not in that folder"


def test_copying_a_pack_onto_itself_does_not_empty_it(server, pack):
    write(pack.root, {**CONTENT, UNKNOWN: UNKNOWN_CONTENT, "robot/arm.urdf": b"damaged!"})
    outcome = copy_pack(pack, origins(server), pack.root)
    assert "is the pack itself" in outcome.failed["robot/arm.urdf"]
    assert (pack.root / "robot/arm.urdf").read_bytes() == b"damaged!"


def test_a_folder_that_does_not_exist_is_named(server, pack, tmp_path):
    with pytest.raises(FetchError, match="there is no such folder"):
        copy_pack(pack, origins(server), tmp_path / "nowhere")


def test_the_builtin_pack_has_nothing_to_fetch():
    with pytest.raises(FetchError, match="comes with vlagen"):
        sources("builtin")


def test_every_file_of_the_papers_pack_has_exactly_one_origin():
    for file in load_pack("rl4vla").files:
        assert sum(file.path.startswith(origin.prefix) for origin in sources("rl4vla")) == 1


def run_cli(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["vlagen-assets", *arguments])
    return cli.main()


@needs_corpus
def test_command_line_from_nothing_to_complete_to_damaged_and_back(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("MS_ASSET_DIR", str(tmp_path))
    assert run_cli(monkeypatch, "path", "rl4vla") == 0
    assert capsys.readouterr().out == f"{tmp_path / 'data'}\n"
    assert run_cli(monkeypatch, "verify", "rl4vla") == 1
    assert run_cli(monkeypatch, "download", "rl4vla", "--from", str(CORPUS)) == 0
    assert run_cli(monkeypatch, "verify", "rl4vla") == 0
    urdf = load_pack("rl4vla").robot_urdf
    urdf.write_bytes(b"short")
    capsys.readouterr()
    assert run_cli(monkeypatch, "verify", "rl4vla") == 1
    assert f"5 bytes, expected {(CORPUS / 'widowx250s/wx250s.urdf').stat().st_size}: {urdf}" in capsys.readouterr().out
    assert run_cli(monkeypatch, "download", "rl4vla", "--from", str(CORPUS)) == 0
    assert run_cli(monkeypatch, "verify", "rl4vla") == 0


def test_command_line_words_errors_in_one_line(monkeypatch, capsys):
    assert run_cli(monkeypatch, "path", "rl4vlaa") == 1
    assert capsys.readouterr().err.startswith("error: unknown asset pack 'rl4vlaa'; did you mean 'rl4vla'?")
