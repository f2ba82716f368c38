"""From what the user names to a folder with a checkpoint: local folders and repositories on the Hugging Face hub.

Only named kinds of files are downloaded: weights as safetensors, JSON and tokenizer files. No code, no pickles.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from vlagen.baselines.openvla.errors import BadAdapter, BadCheckpoint

INDEX = "model.safetensors.index.json"
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
COMPANION_FILES = ("generation_config.json", "preprocessor_config.json", "dataset_statistics.json", *TOKENIZER_FILES)
_CHECKPOINT_FILES = ("config.json", INDEX, "*.safetensors", *COMPANION_FILES)
_ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_HUB_ID = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")


def checkpoint_folder(source: str | Path) -> Path:
    """Returns the folder of a checkpoint, downloaded first if it is on the hub.

    Args:
        source: a folder, or a hub id such as ``openvla/openvla-7b``; ``@`` and a branch, tag or commit may follow.

    Raises:
        BadCheckpoint: there is no such folder, the hub does not give it, or it holds no OpenVLA checkpoint.
    """
    folder, hub = _local(source)
    if hub is None:
        if not folder.is_dir():
            raise BadCheckpoint(f"no folder {folder}; give a folder or a hub id such as openvla/openvla-7b")
        check_model_type(folder)
        return folder
    # The configuration alone comes first: a repository of another model is turned down before its gigabytes come.
    check_model_type(_download(hub, ("config.json",)), hub)
    folder = _download(hub, _CHECKPOINT_FILES)
    if not any(folder.glob("*.safetensors")):
        names = _hub_names(hub)
        raise BadCheckpoint(f"{hub.group()} has no weights as safetensors{_pickle_advice(names)}{_contents(names)}")
    return folder


def adapter_folder(source: str | Path) -> Path:
    """Returns the folder of a LoRA adapter in peft's layout, downloaded first if it is on the hub.

    Raises:
        BadAdapter: there is none, or its weights are no safetensors.
        BadCheckpoint: the hub does not give it.
    """
    folder, hub = _local(source)
    if hub is not None:
        folder = _download(hub, _ADAPTER_FILES)
    elif not folder.is_dir():
        raise BadAdapter(f"no folder {folder}; give the folder of a LoRA adapter, or its hub id")
    for name in _ADAPTER_FILES:
        if not (folder / name).is_file():
            names = _names(folder)
            raise BadAdapter(f"{folder} is no LoRA adapter: no {name}{_pickle_advice(names)}{_contents(names)}")
    return folder


def weight_files(folder: Path) -> list[Path]:
    """Returns the safetensors files that together hold a checkpoint's weights.

    Raises:
        BadCheckpoint: there are none, or some are missing.
    """
    index = folder / INDEX
    single = folder / "model.safetensors"
    if index.is_file():
        names = sorted(set(read_json(index).get("weight_map", {}).values()))
    elif single.is_file():
        names = [single.name]
    else:
        names = _numbered(folder)
    if not names:
        there = _names(folder)
        raise BadCheckpoint(f"{folder} has no weights as safetensors{_pickle_advice(there)}{_contents(there)}")
    absent = [name for name in names if not (folder / name).is_file()]
    if absent:
        raise BadCheckpoint(f"{folder} lacks {len(absent)} of its {len(names)} weight files: {', '.join(absent)}")
    return [folder / name for name in names]


def hub_files(source: str | Path) -> list[str]:
    """Returns the names of all files of a repository on the hub; none of a folder, or if the hub cannot be asked."""
    hub = _local(source)[1]
    return [] if hub is None else _hub_names(hub)


def check_model_type(folder: Path, hub: re.Match[str] | None = None) -> None:
    """Raises ``BadCheckpoint`` unless a folder says that it is of an OpenVLA model.

    Args:
        folder: where `config.json` is.
        hub: the repository that it is of, if the rest was left there.
    """
    path = folder / "config.json"
    if not path.is_file():
        if (folder / "adapter_config.json").is_file():
            raise BadCheckpoint(f"{folder} is a LoRA adapter: load its base model and give this as the adapter")
        names = _hub_names(hub) if hub else _names(folder)
        raise BadCheckpoint(f"{_place(folder, hub)} has no config.json{_pickle_advice(names)}{_contents(names)}")
    content = read_json(path)
    kind = content.get("model_type")
    if kind != "openvla":
        code = ", ".join(map(str, (content.get("auto_map") or {}).values()))
        remote = f"; its model is code of its own ({code}), which is never run" if code else ""
        names = _hub_names(hub) if hub else _names(folder)
        raise BadCheckpoint(f"{_place(folder, hub)} is of model_type {kind!r}, not 'openvla'{remote}{_contents(names)}")


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
        BadCheckpoint: the file is something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BadCheckpoint(f"{path} is not JSON ({error}); fetch it again") from error
    if not isinstance(content, dict):
        raise BadCheckpoint(f"{path} holds a {type(content).__name__}, not an object")
    return content


def _local(source: str | Path) -> tuple[Path, re.Match[str] | None]:
    """Returns a path, and the hub id instead if there is no such folder but the text reads like one."""
    folder = Path(source).expanduser()
    hub = None if isinstance(source, Path) or folder.exists() else _HUB_ID.fullmatch(source)
    return folder, hub


def _download(hub: re.Match[str], patterns: tuple[str, ...]) -> Path:
    name, revision = hub["name"], hub["revision"]
    try:
        return Path(huggingface_hub.snapshot_download(name, revision=revision, allow_patterns=list(patterns)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BadCheckpoint(
            f"no folder {hub.group()}, and the Hugging Face hub does not give it: {reason}. Check the id, run "
            "`hf auth login` for a gated repository, or download it elsewhere and give the folder"
        ) from error


def _place(folder: Path, hub: re.Match[str] | None) -> str:
    return hub.group() if hub else str(folder)


def _hub_names(hub: re.Match[str]) -> list[str]:
    """Returns the names of a repository's files, as far as the hub can be asked."""
    try:
        information = huggingface_hub.HfApi().model_info(hub["name"], revision=hub["revision"], timeout=10)
    except Exception:  # noqa: BLE001 - it only adds to the words of an error, and the hub's own errors differ by version
        return []
    return [file.rfilename for file in information.siblings or ()]


def _numbered(folder: Path) -> list[str]:
    """Returns the names of shards without an index, the missing ones among them too."""
    names = sorted(path.name for path in folder.glob("model-*.safetensors"))
    numbers = [match for match in (re.fullmatch(r"(model)-\d+-of-(\d+)\.safetensors", name) for name in names) if match]
    if not numbers:
        return []
    stem, total = numbers[0].groups()
    return [f"{stem}-{number:0{len(total)}d}-of-{total}.safetensors" for number in range(1, int(total) + 1)]


def _names(folder: Path) -> list[str]:
    """Returns the names of a folder's files and of those in `checkpoints/`, where Prismatic's training puts weights."""
    return sorted(path.relative_to(folder).as_posix() for path in (*folder.glob("*"), *folder.glob("checkpoints/*")))


def _pickle_advice(names: list[str]) -> str:
    pickles = [name for name in names if name.endswith(_PICKLES)]
    if not pickles:
        return ""
    if any(name.startswith("checkpoints/") for name in pickles):
        how = "convert the training checkpoint with upstream's vla-scripts/extern/convert_openvla_weights_to_hf.py"
    else:
        how = (
            "if you trust the file, `safetensors.torch.save_file(torch.load(FILE, map_location='cpu', "
            "weights_only=True), 'model.safetensors')` converts it"
        )
    return f"; {', '.join(pickles[:4])} would run code when unpickled and is not read: {how}"


def _contents(names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return f". It holds: {', '.join(names[:12])}{more}"
