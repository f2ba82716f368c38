"""RLDS: a TensorFlow dataset of episodes, as OpenVLA's own fine-tuning and RL4VLA read it; written without TensorFlow.

``tfds.builder_from_directory(folder)`` opens the result. Steps have the names of the community's builder template
(``observation/image``, ``action``, ``language_instruction``, ...), and vlagen's own beside them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from vlagen.baselines.data.codecs import decode, encode_picture
from vlagen.baselines.data.dataset import Dataset
from vlagen.baselines.data.demonstration import (
    BadDemonstrations,
    Codec,
    Demonstration,
    Pictures,
    episode_from_json,
    episode_to_json,
)
from vlagen.baselines.data.tfrecord import Feature, read_example, read_records, write_example, write_records

NAME = "vlagen"
RLDS_VERSION = "1.0.0"
SHARD = 64
"""Episodes a file."""

_TENSORS = {
    "steps/observation/state": ("states", 8),
    "steps/observation/gripper_pose": ("gripper_poses", 7),
    "steps/action": ("actions", 7),
    "steps/executed_action": ("executed_actions", 7),
}
_FLAGS = ("is_first", "is_last", "is_terminal", "success")


def export_rlds(dataset: Dataset, folder: Path, codec: Codec = "png") -> Path:
    """Writes a data set as RLDS.

    Args:
        dataset: what to write.
        folder: gets ``vlagen/1.0.0`` with everything in it.
        codec: of the pictures: png, or jpeg as the study's.

    Returns:
        The folder to give to ``tfds.builder_from_directory``.

    Raises:
        BadDemonstrations: there is one already, or a picture cannot be decoded.
    """
    target = folder / NAME / RLDS_VERSION
    if target.exists():
        raise BadDemonstrations(f"{target} exists already; choose another folder")
    draft = folder / NAME / f".{RLDS_VERSION}.tmp"
    draft.mkdir(parents=True, exist_ok=True)
    files = -(-len(dataset.episodes) // SHARD)
    demonstrations = dataset.demonstrations()
    lengths, size = [], 0
    for number in range(files):
        records = (_example(demonstration, codec) for demonstration in islice(demonstrations, SHARD))
        written = write_records(draft / f"{NAME}-train.tfrecord-{number:05d}-of-{files:05d}", records)
        lengths.append(len(written))
        size += sum(written)
    (draft / "features.json").write_text(json.dumps(_features(dataset.picture_size, codec), indent=1))
    (draft / "dataset_info.json").write_text(json.dumps(_info(lengths, size), indent=1))
    draft.rename(target)
    return target


def import_rlds(folder: Path) -> Iterator[Demonstration]:
    """Reads what ``export_rlds`` wrote.

    Args:
        folder: the one that holds ``dataset_info.json``.

    Raises:
        BadDemonstrations: files are missing or damaged, or lack what a demonstration needs.
    """
    info = json.loads((folder / "dataset_info.json").read_text())
    split = info["splits"][0]
    counts = [int(count) for count in split["shardLengths"]]
    for number, count in enumerate(counts):
        path = folder / f"{info['name']}-{split['name']}.tfrecord-{number:05d}-of-{len(counts):05d}"
        if not path.is_file():
            raise BadDemonstrations(f"{path} is missing; restore it from a copy")
        found = 0
        for record in read_records(path):
            found += 1
            yield _demonstration(read_example(record), f"{path.name}, episode {found}")
        if found != count:
            raise BadDemonstrations(f"{path} has {found} episodes; dataset_info.json says {count}")


def _example(demonstration: Demonstration, codec: Codec) -> bytes:
    count = len(demonstration)
    pictures = demonstration.pictures
    parts = pictures.parts if pictures.codec == codec else [encode_picture(image, codec) for image in decode(pictures)]
    is_last = np.arange(count) == count - 1
    flags = {"is_first": np.arange(count) == 0, "is_last": is_last, "is_terminal": is_last}
    features: dict[str, Feature] = {
        "steps/observation/image": list(parts),
        "steps/language_instruction": [demonstration.instruction.encode()] * count,
        "steps/reward": demonstration.rewards,
        "steps/discount": np.ones(count, dtype=np.float32),
        "steps/control_step": demonstration.steps,
        "episode_metadata/episode": [episode_to_json(demonstration.episode).encode()],
        "episode_metadata/assets": [demonstration.assets.encode()],
        "episode_metadata/replay": demonstration.replay.reshape(-1),
    }
    flags["success"] = demonstration.successes
    features |= {f"steps/{name}": values.astype(np.int64) for name, values in flags.items()}
    features |= {key: getattr(demonstration, name).reshape(-1) for key, (name, _) in _TENSORS.items()}
    return write_example(features)


def _demonstration(features: dict[str, Feature], where: str) -> Demonstration:
    try:
        parts = tuple(features["steps/observation/image"])
        codec: Codec = "png" if parts[0].startswith(b"\x89PNG") else "jpeg"
        height, width = decode(Pictures(codec, parts[:1], 1, 0, 0)).shape[1:3]
        demonstration = Demonstration(
            episode=episode_from_json(features["episode_metadata/episode"][0].decode()),
            assets=features["episode_metadata/assets"][0].decode(),
            instruction=features["steps/language_instruction"][0].decode(),
            pictures=Pictures(codec, parts, len(parts), height, width),
            rewards=features["steps/reward"],
            successes=features["steps/success"].astype(bool),
            steps=features["steps/control_step"],
            replay=features["episode_metadata/replay"].reshape(-1, 7),
            **{name: features[key].reshape(-1, size) for key, (name, size) in _TENSORS.items()},
        )
    except KeyError as error:
        raise BadDemonstrations(f"{where} lacks {error}; only RLDS that vlagen wrote can be imported") from None
    demonstration.check()
    return demonstration


def _features(size: tuple[int, int], codec: Codec) -> dict[str, Any]:
    """``features.json``: the types of everything, in the words of TensorFlow Datasets."""
    shape = {"dimensions": [str(size[0]), str(size[1]), "3"]}
    image = {"shape": shape, "dtype": "uint8", "encodingFormat": codec}
    observation = {"image": _feature("image_feature.Image", image=image)}
    steps = {"language_instruction": _feature("text_feature.Text", text={})}
    for key, (_, length) in _TENSORS.items():
        name = key.rsplit("/", 1)[1]
        (observation if "observation" in key else steps)[name] = _tensor("tensor_feature.Tensor", "float32", length)
    steps |= {name: _tensor("scalar.Scalar", "float32") for name in ("reward", "discount")}
    steps |= {name: _tensor("scalar.Scalar", "bool") for name in _FLAGS}
    steps |= {"control_step": _tensor("scalar.Scalar", "int64"), "observation": _dictionary(observation)}
    metadata = {
        "episode": _feature("text_feature.Text", text={}),
        "assets": _feature("text_feature.Text", text={}),
        "replay": _tensor("tensor_feature.Tensor", "float32", -1, 7),
    }
    sequence = {"feature": _dictionary(steps), "length": "-1"}
    return _dictionary(
        {"steps": _feature("dataset_feature.Dataset", sequence=sequence), "episode_metadata": _dictionary(metadata)}
    )


def _feature(kind: str, **content: Any) -> dict[str, Any]:
    return {"pythonClassName": f"tensorflow_datasets.core.features.{kind}", **content}


def _dictionary(features: dict[str, Any]) -> dict[str, Any]:
    return _feature("features_dict.FeaturesDict", featuresDict={"features": features})


def _tensor(kind: str, dtype: str, *shape: int) -> dict[str, Any]:
    dimensions = {"dimensions": [str(size) for size in shape]} if shape else {}
    return _feature(kind, tensor={"shape": dimensions, "dtype": dtype, "encoding": "none"})


def _info(lengths: list[int], size: int) -> dict[str, Any]:
    split = {
        "name": "train",
        "shardLengths": [str(length) for length in lengths],
        "numBytes": str(size),
        "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
    }
    return {
        "name": NAME,
        "version": RLDS_VERSION,
        "description": "Demonstrations of putting objects on receptacles, collected with vlagen-collect.",
        "fileFormat": "tfrecord",
        "splits": [split],
    }
