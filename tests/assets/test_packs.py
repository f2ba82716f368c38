"""Packs: what the manifests promise, what the loader makes of them, and how errors word the way out."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys

import pytest

from tests.assets.toy_pack import CONTENT, UNKNOWN, UNKNOWN_CONTENT, manifest, toy_pack, write
from vlagen.assets import integrity, packs
from vlagen.assets.errors import BrokenManifest, MissingAsset, UnknownPack, VlagenError, unknown
from vlagen.assets.packs import PACKS, build_pack, load_manifest, load_pack, require

# The built-in pack is the result of a generator; in a checkout before its first run there is nothing to state.
SHIPPED = [name for name in PACKS if packs.manifest_path(name).is_file()]


@pytest.fixture(autouse=True)
def _own_asset_directory(monkeypatch, tmp_path):
    monkeypatch.setenv("MS_ASSET_DIR", str(tmp_path / "maniskill"))


def test_every_pack_has_a_manifest():
    assert list(PACKS) == SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_pools_have_the_sizes_and_splits_of_the_paper(name):
    pack = load_pack(name)
    train_counts = {}
    for kind in ("objects", "receptacles", "tables"):
        splits = [entry.split for entry in getattr(pack, kind)]
        assert set(splits) == {"train", "held-out"}
        assert splits == sorted(splits, reverse=True), "the training ones come first"
        train_counts[kind] = (splits.count("train"), splits.count("held-out"))
    assert train_counts == {"objects": (16, 9), "receptacles": (1, 16), "tables": (16, 5)}
    assert len(pack.textures) == 21


@pytest.mark.parametrize("name", SHIPPED)
def test_models_are_physical_and_their_names_are_unique(name):
    pack = load_pack(name)
    for pool in (pack.objects, pack.receptacles):
        assert [model.index for model in pool] == list(range(len(pool)))
        assert len({model.name for model in pool}) == len(pool)
        for model in pool:
            assert model.density > 0
            assert model.text.strip() == model.text != ""
            assert all(low < high for low, high in zip(*model.bbox, strict=True))


@pytest.mark.parametrize("name", SHIPPED)
def test_every_path_that_a_pack_uses_has_a_line_in_its_manifest(name):
    pack = load_pack(name)
    listed = {pack.root / file.path for file in pack.files}
    used = {pack.robot_urdf}
    for model in (*pack.objects, *pack.receptacles):
        used |= {model.collision, model.visual}
    used |= {picture.image for picture in (*pack.tables, *pack.textures)}
    assert used <= listed
    assert all(path.is_absolute() for path in used)


@pytest.mark.parametrize("name", SHIPPED)
def test_checksums_look_like_checksums_and_no_path_leaves_the_root(name):
    for file in load_pack(name).files:
        assert file.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", file.sha256)
        assert not file.path.startswith("/")
        assert ".." not in file.path.split("/")
    licence = load_manifest(name)["licence"]
    assert licence, "everything that is shipped or fetched names its licence"


def test_facts_of_the_papers_pack_as_upstream_states_them():
    pack = load_pack("rl4vla")
    assert pack.objects[5].text == "zuchinni", "upstream's spelling is part of the instruction"
    assert pack.objects[4].density == 790
    assert pack.objects[0].bbox == ((-0.064146, -0.016275, -0.017784), (0.054168, 0.015944, 0.02342))
    assert pack.receptacles[16].name == "017_notepad_1"
    assert [texture.mix for texture in pack.textures] == [0.0] + [1.0] * 20
    assert pack.tables[16].image.name == "017_glass table_1.png"


def test_root_of_the_papers_pack_is_maniskills_asset_directory(tmp_path, monkeypatch):
    assert load_pack("rl4vla").root == tmp_path / "maniskill" / "data"
    monkeypatch.setenv("MS_ASSET_DIR", str(tmp_path / "elsewhere"))
    assert load_pack("rl4vla").root == tmp_path / "elsewhere" / "data"


def test_loading_twice_returns_the_same_object():
    assert load_pack("rl4vla") is load_pack("rl4vla")


def test_the_visual_is_the_first_that_exists_in_upstreams_order(tmp_path):
    model = tmp_path / "things/a cup"
    assert toy_pack(tmp_path).objects[0].visual == model / "textured.glb", "the named one where none exists"
    write(tmp_path, {UNKNOWN: UNKNOWN_CONTENT})
    assert toy_pack(tmp_path).stand_ins == ()
    for name in ("textured.dae", "textured.obj"):
        (model / name).write_bytes(b"")
        pack = toy_pack(tmp_path)
        assert pack.objects[0].visual == model / name
        assert pack.stand_ins == ("a cup",)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content["files"]["robot/arm.urdf"].update(sha256="0" * 64),
        lambda content: content["files"].pop("robot/arm.urdf"),
        lambda content: content["objects"][0].update(density=501),
        lambda content: content["objects"][0]["bbox"][0].__setitem__(0, -2),
        lambda content: content["textures"][0].update(mix=0.25),
    ],
)
def test_the_digest_changes_with_every_file_and_every_fact(change, tmp_path):
    changed = copy.deepcopy(manifest())
    change(changed)
    assert build_pack(changed, tmp_path).digest != toy_pack(tmp_path).digest


def test_the_digest_depends_neither_on_the_place_nor_on_the_order_of_files(tmp_path):
    shuffled = manifest()
    shuffled["files"] = dict(reversed(shuffled["files"].items()))
    assert build_pack(shuffled, tmp_path / "elsewhere").digest == toy_pack(tmp_path).digest


def test_unknown_pack_names_the_nearest_and_all():
    with pytest.raises(UnknownPack, match=r"unknown asset pack 'BUILTIM'; did you mean 'builtin'\? allowed: builtin"):
        load_pack("BUILTIM")
    assert issubclass(UnknownPack, ValueError)
    assert issubclass(UnknownPack, VlagenError)


def test_unknown_without_a_near_name_only_lists():
    assert unknown("row", "zzz", ["train", "vision/table"]) == "unknown row 'zzz'; allowed: train, vision/table"
    assert unknown("row", "visoin/table", ["train", "vision/table"]) == (
        "unknown row 'visoin/table'; did you mean 'vision/table'? allowed: train, vision/table"
    )
    assert unknown("row", None, []) == "unknown row None; allowed: (none)"


def test_require_names_the_file_and_the_command_that_fetches_it():
    pack = load_pack("rl4vla")
    with pytest.raises(MissingAsset, match=r"wx250s\.urdf; fetch it with `vlagen-assets download rl4vla`"):
        require(pack, pack.robot_urdf)
    write(pack.root, {"robots/widowx/wx250s.urdf": b""})
    assert require(pack, pack.robot_urdf) == require(pack, "robots/widowx/wx250s.urdf") == pack.robot_urdf


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", "is not JSON"), ("[]", "holds a list"), ('{"files": {}}', "KeyError"), (None, "has no manifest")],
)
def test_a_broken_manifest_is_named(text, words, tmp_path, monkeypatch):
    path = tmp_path / "manifest.json"
    if text is not None:
        path.write_text(text)
    monkeypatch.setattr(packs, "manifest_path", lambda name: path)
    packs.forget_loaded_packs()
    with pytest.raises(BrokenManifest, match=words):
        load_pack("builtin")


def test_verify_tells_missing_short_and_altered_files_apart(tmp_path):
    pack = toy_pack(tmp_path)
    assert set(integrity.verify(pack).values()) == {"missing"}
    write(tmp_path, {**CONTENT, UNKNOWN: UNKNOWN_CONTENT})
    assert integrity.verify(pack) == {}
    write(
        tmp_path, {"robot/arm.urdf": b"<robot>", "robot/meshes/link.stl": b"LINK", UNKNOWN: b"version https://git-lfs"}
    )
    faults = integrity.verify(pack)
    assert set(faults) == {"robot/arm.urdf", "robot/meshes/link.stl", UNKNOWN}
    assert faults["robot/arm.urdf"] == "7 bytes, expected 8"
    assert faults["robot/meshes/link.stl"].startswith("sha256 ")
    assert faults[UNKNOWN].startswith("not a .glb file")


def test_a_stand_in_counts_as_complete_and_only_where_the_checksum_is_unknown(tmp_path):
    write(tmp_path, {**CONTENT, "things/a cup/textured.obj": b"mesh"})
    pack = toy_pack(tmp_path)
    assert integrity.missing(pack) == []
    assert integrity.verify(pack) == {}
    (tmp_path / "things/plate/textured.glb").rename(tmp_path / "things/plate/textured.obj")
    assert integrity.missing(pack) == ["things/plate/textured.glb"]


def test_the_loader_imports_the_standard_library_only():
    program = (
        "import json, sys, vlagen.assets.packs; print(json.dumps(sorted({m.partition('.')[0] for m in sys.modules})))"
    )
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    allowed = sys.stdlib_module_names | {"vlagen", "__main__", "__mp_main__"}
    # What a `.pth` file of the environment imports at start is not ours.
    at_start = json.loads(
        subprocess.run(
            [sys.executable, "-c", program.replace(", vlagen.assets.packs", "")],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )
    assert set(json.loads(output)) - allowed - set(at_start) == set()
