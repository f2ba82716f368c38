"""Writes ``assets/rl4vla/manifest.json``, the facts and checksums of the paper's own asset pack.

Where the facts come from: ``model_db.json`` in each of upstream's folders ``more_carrot`` (objects), ``more_plate``
(receptacles) and ``more_table`` (pictures) of gen-robot/RL4VLA at commit 55f966d; the order of its keys is the index.
The splits are upstream's: objects 0-15, receptacle 0 and tables 0-15 are trained on. The robot is ManiSkill's download
``widowx250s``. Sizes and checksums are taken from the files themselves.

    python scripts/make_rl4vla_manifest.py --from ../shared/data/assets
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

TRAIN_OBJECTS, TRAIN_RECEPTACLES, TRAIN_TABLES = 16, 1, 16
PACK_FOLDER = "tasks/rl4vla"
ROBOT_FOLDER = "robots/widowx"

# The directory the facts were read from lacks these three meshes, so their checksums are unknown; a `textured.obj`
# stands in for each there (a copy of the collision mesh).
UNSEEN_VISUALS = ("more_carrot/010_toy bear_1", "more_carrot/017_travel cup_1", "more_plate/005_sheet metal_1")

# The second commit is the newest one known by its full name. Checksums guard against a file that changed in between.
UPSTREAM_FOLDER = "ManiSkill/mani_skill/assets/carrot"
UPSTREAM = f"https://raw.githubusercontent.com/gen-robot/RL4VLA/{{commit}}/{UPSTREAM_FOLDER}/{{{{path}}}}"
COMMITS = ("55f966d", "cb63c212771fdf3a11917c5b9496cd05e646151f")
ROBOT_ARCHIVE = "https://github.com/haosulab/ManiSkill-WidowX250S/archive/refs/tags/v0.2.0.zip"


def main() -> None:
    """Reads the folder named on the command line and writes the manifest beside the pack loader."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="source", type=Path, required=True, help="holds rl4vla/more_* and widowx250s/")
    source = parser.parse_args().source
    target = Path(__file__).resolve().parents[1] / "assets" / "rl4vla" / "manifest.json"
    text = json.dumps(manifest(source / "rl4vla", source / "widowx250s"), indent=1, ensure_ascii=False)
    target.write_text(text + "\n", encoding="utf-8")
    print(f"wrote {target}")


def manifest(pack: Path, robot: Path) -> dict[str, Any]:
    """Returns the manifest of the pack whose files lie in `pack` (``more_*``) and `robot` (URDF and meshes)."""
    tables = _read(pack / "more_table/model_db.json")
    return {
        "name": "rl4vla",
        "version": "55f966d",
        "licence": "MIT (gen-robot/RL4VLA; the origin of its single meshes is not stated), robot: see its repository",
        "source": "https://github.com/gen-robot/RL4VLA",
        "download": [
            {
                "prefix": f"{PACK_FOLDER}/",
                "kind": "file",
                "urls": [UPSTREAM.format(commit=commit) for commit in COMMITS],
                "folders": ["rl4vla", ".", UPSTREAM_FOLDER],
            },
            {
                "prefix": f"{ROBOT_FOLDER}/",
                "kind": "archive",
                "urls": [ROBOT_ARCHIVE],
                "folders": ["widowx250s", "widowx", "."],
            },
        ],
        "objects": _models(pack, "more_carrot", TRAIN_OBJECTS),
        "receptacles": _models(pack, "more_plate", TRAIN_RECEPTACLES),
        "tables": [
            {
                "name": Path(file).stem,
                "split": "train" if index < TRAIN_TABLES else "held-out",
                "image": f"{PACK_FOLDER}/more_table/imgs/{file}",
            }
            for index, file in enumerate(tables)
        ],
        "textures": [
            {
                "name": Path(fact["texture"]).stem,
                "image": f"{PACK_FOLDER}/more_table/textures/{fact['texture']}",
                "mix": fact["mix"],
            }
            for fact in tables.values()
        ],
        "robot": {"urdf": f"{ROBOT_FOLDER}/wx250s.urdf"},
        "files": {**_files(pack, PACK_FOLDER), **_files(robot, ROBOT_FOLDER)},
    }


def _models(pack: Path, folder: str, train_count: int) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "text": fact["name"],
            "split": "train" if index < train_count else "held-out",
            "density": fact["density"],
            "bbox": [fact["bbox"]["min"], fact["bbox"]["max"]],
            "collision": f"{PACK_FOLDER}/{folder}/{name}/collision.obj",
            "visual": f"{PACK_FOLDER}/{folder}/{name}/{_visual(pack / folder / name)}",
        }
        for index, (name, fact) in enumerate(_read(pack / folder / "model_db.json").items())
    ]


def _visual(model: Path) -> str:
    return "textured.dae" if (model / "textured.dae").is_file() else "textured.glb"


def _files(root: Path, prefix: str) -> dict[str, dict[str, Any]]:
    stand_ins = {f"{model}/textured.obj" for model in UNSEEN_VISUALS} if prefix == PACK_FOLDER else set()
    facts: dict[str, dict[str, Any]] = {}
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        relative = path.relative_to(root).as_posix()
        if relative in stand_ins:
            facts[f"{prefix}/{relative[: -len('obj')]}glb"] = {"sha256": None, "bytes": None}
        else:
            content = path.read_bytes()
            facts[f"{prefix}/{relative}"] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    return facts


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
