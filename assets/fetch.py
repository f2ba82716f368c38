"""Brings the files of a pack to its root: from the network, or from a folder that somebody carried here.

Both ways skip what is already right, check everything before it takes its place, and go on after a bad file, so that
running the command again finishes the work.
"""

from __future__ import annotations

import urllib.parse
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from vlagen.assets.errors import FetchError, FetchStopped
from vlagen.assets.integrity import fault, stand_in
from vlagen.assets.packs import Pack, PackFile, forget_loaded_packs, load_manifest
from vlagen.assets.transfer import Advance, copy, part_path, prepare_folder, retrieve, save

# After so many failures in a row the reason is not in the files.
_FAILURES_IN_A_ROW = 5


@dataclass(frozen=True)
class Source:
    """Where the files under one prefix of a pack come from.

    Attributes:
        prefix: the part of the pack it brings, e.g. ``robots/widowx/``.
        kind: ``"file"``: one address per file, with ``{path}`` for the path below the prefix; ``"archive"``: one zip
            file whose single top folder holds them all.
        urls: addresses, tried in order.
        folders: where these files may lie below a folder given to ``copy_pack``.
    """

    prefix: str
    kind: str
    urls: tuple[str, ...]
    folders: tuple[str, ...]


@dataclass
class Outcome:
    """What a fetch did; the paths are relative to the pack's root."""

    fetched: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def sources(name: str) -> tuple[Source, ...]:
    """Returns where the files of a pack come from.

    Raises:
        UnknownPack: no pack is called so.
        FetchError: the pack comes with vlagen.
    """
    entries = load_manifest(name).get("download")
    if not entries:
        raise FetchError(f"asset pack {name!r} comes with vlagen: there is nothing to fetch")
    return tuple(
        Source(entry["prefix"], entry["kind"], tuple(entry["urls"]), tuple(entry["folders"])) for entry in entries
    )


def download_pack(
    pack: Pack, origins: tuple[Source, ...], *, force: bool = False, advance: Advance = lambda count: None
) -> Outcome:
    """Downloads what a pack lacks.

    Args:
        pack: which files, and where they go.
        origins: where they come from.
        force: fetch also what is already right.
        advance: told of progress.

    Returns:
        What was done. Files that failed keep what they had, if anything.

    Raises:
        FetchStopped: there is no network, no room or no permission; what arrived so far stays.
    """
    outcome = Outcome()
    for origin in origins:
        wanted = list(_wanted(pack, origin, force, outcome))
        if wanted and origin.kind == "archive":
            _download_archive(pack, origin, wanted, outcome, advance)
        else:
            _download_files(pack, origin, wanted, outcome, advance)
    forget_loaded_packs()
    return outcome


def copy_pack(
    pack: Pack, origins: tuple[Source, ...], folder: Path, *, force: bool = False, advance: Advance = lambda count: None
) -> Outcome:
    """Copies what a pack lacks from a folder: the pack's own layout, upstream's checkout, or a collection of both.

    Args:
        pack: which files, and where they go.
        origins: says under which names the files may lie in the folder.
        folder: what somebody carried here.
        force: copy also what is already right.
        advance: told of progress.

    Returns:
        What was done. A damaged file in the folder is refused by name; the others are copied.

    Raises:
        FetchError: the folder does not exist.
        FetchStopped: there is no room or no permission.
    """
    if not folder.is_dir():
        raise FetchError(f"--from {folder}: there is no such folder")
    outcome = Outcome()
    for origin in origins:
        for file in _wanted(pack, origin, force, outcome):
            below = file.path.removeprefix(origin.prefix)
            places = [folder / file.path, folder / "data" / file.path]
            places += [folder / name / below for name in origin.folders]
            _copy_file(pack, file, places, outcome, advance)
    forget_loaded_packs()
    return outcome


def _wanted(pack: Pack, origin: Source, force: bool, outcome: Outcome) -> Iterator[PackFile]:
    """Yields the files of an origin that are not right yet, and notes the others as kept."""
    for file in pack.files:
        if not file.path.startswith(origin.prefix):
            continue
        if not force and fault(pack.root / file.path, file) is None:
            outcome.kept.append(file.path)
        else:
            yield file


def _download_files(pack: Pack, origin: Source, wanted: list[PackFile], outcome: Outcome, advance: Advance) -> None:
    failures_in_a_row = 0
    for file in wanted:
        below = urllib.parse.quote(file.path.removeprefix(origin.prefix))
        reason = _download_file(pack, file, [url.format(path=below) for url in origin.urls], advance)
        if reason is None:
            _accept(pack, file, outcome)
            failures_in_a_row = 0
        else:
            outcome.failed[file.path] = reason
            failures_in_a_row += 1
        if failures_in_a_row == _FAILURES_IN_A_ROW:
            raise FetchStopped(f"{failures_in_a_row} files in a row failed, the last one with: {reason}")


def _download_file(pack: Pack, file: PackFile, urls: list[str], advance: Advance) -> str | None:
    """Downloads one file from the first address that gives the right content; returns why none did, or None."""
    target = pack.root / file.path
    part = part_path(target)
    prepare_folder(target, file.size or 0)
    reason: str | None = None
    for url in urls:
        # Twice: what an interrupted run left behind may be no beginning of this body, which only the checksum tells.
        for _ in range(2):
            resumed = part.is_file()
            try:
                retrieve(url, part, advance)
            except FetchStopped:
                raise
            except FetchError as error:
                reason = str(error)
                break
            wrong = fault(part, file)
            if wrong is None:
                part.replace(target)
                return None
            reason = f"{wrong} from {url}"
            part.unlink()
            if not resumed:
                break
    return reason


def _download_archive(pack: Pack, origin: Source, wanted: list[PackFile], outcome: Outcome, advance: Advance) -> None:
    """Downloads a zip file and takes the wanted files out of it; names the archive does not have are reported."""
    part = part_path(pack.root / f"{origin.prefix.rstrip('/')}.zip")
    prepare_folder(part, sum(file.size or 0 for file in wanted))
    reason = "the archive lacks it"
    for url in origin.urls:
        try:
            # Archives are packed on demand: their bytes may change, so a half one from earlier is of no use.
            part.unlink(missing_ok=True)
            retrieve(url, part, advance)
            _unpack(pack, origin, wanted, part, outcome)
            break
        except FetchStopped:
            raise
        except FetchError as error:
            reason = str(error)
        except zipfile.BadZipFile as error:
            reason = f"{error} from {url}"
        finally:
            part.unlink(missing_ok=True)
    for file in wanted:
        if file.path not in outcome.fetched:
            outcome.failed.setdefault(file.path, reason)


def _unpack(pack: Pack, origin: Source, wanted: list[PackFile], archive: Path, outcome: Outcome) -> None:
    with zipfile.ZipFile(archive) as opened:
        # Only names that the manifest lists are looked up, so no entry can write outside the pack's root.
        entries = {name.partition("/")[2]: name for name in opened.namelist()}
        for file in wanted:
            entry = entries.get(file.path.removeprefix(origin.prefix))
            if entry is None:
                continue
            part = part_path(pack.root / file.path)
            prepare_folder(part)
            with opened.open(entry) as stream:
                save(stream, part, lambda count: None)
            _place(pack, file, part, outcome)


def _copy_file(pack: Pack, file: PackFile, places: list[Path], outcome: Outcome, advance: Advance) -> None:
    target = pack.root / file.path
    part = part_path(target)
    for place in places:
        if not place.is_file():
            continue
        if place.resolve() == target.resolve():
            outcome.failed[file.path] = f"{place} is the pack itself, and the file is damaged"
            return
        prepare_folder(target, file.size or 0)
        copy(place, part, advance)
        _place(pack, file, part, outcome)
        return
    if file.sha256 is None and _copy_stand_in(pack, file, places, outcome, advance):
        return
    outcome.failed[file.path] = "not in that folder"


def _copy_stand_in(pack: Pack, file: PackFile, places: list[Path], outcome: Outcome, advance: Advance) -> bool:
    """Copies the mesh that stands in for a missing one; returns whether there was one, or is one in place."""
    replacement = Path(file.path).with_suffix(".obj").as_posix()
    if (pack.root / file.path).is_file():
        return False
    if stand_in(pack.root, file) is not None:
        outcome.kept.append(replacement)
        return True
    for place in places:
        if place.with_suffix(".obj").is_file():
            target = pack.root / replacement
            prepare_folder(target)
            copy(place.with_suffix(".obj"), part_path(target), advance)
            part_path(target).replace(target)
            outcome.fetched.append(replacement)
            outcome.notes.append(f"{replacement} stands in for {Path(file.path).name}: this model looks plainer")
            return True
    return False


def _place(pack: Pack, file: PackFile, part: Path, outcome: Outcome) -> None:
    """Checks a complete content and puts it in its place, or refuses it by name."""
    wrong = fault(part, file)
    if wrong is None:
        part.replace(pack.root / file.path)
        _accept(pack, file, outcome)
    else:
        part.unlink()
        outcome.failed[file.path] = f"damaged: {wrong}"


def _accept(pack: Pack, file: PackFile, outcome: Outcome) -> None:
    outcome.fetched.append(file.path)
    replacement = (pack.root / file.path).with_suffix(".obj")
    if file.sha256 is None and replacement.is_file():
        # Upstream's search order would go on drawing the stand-in.
        replacement.unlink()
        outcome.notes.append(f"removed {replacement.name}, which stood in for {file.path}")
