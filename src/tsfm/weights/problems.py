"""Check a checkpoint's files in a folder by names, sizes and headers."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tsfm.card import Checkpoint
from tsfm.errors import ConfigError, TryLater, TsfmError
from tsfm.weights import manifest, reading, recognise, shards
from tsfm.weights.folder import open_regular

UNREADABLE, UNUSABLE, DAMAGED = "unreadable", "unusable", "damaged"


@dataclass(frozen=True)
class Problem:
    """Why a checkpoint cannot be loaded from a folder.

    Attributes:
        kind: "unreadable" (no permission, or the disk failed; the files may be intact), "unusable" (intact files of
            something else) or "damaged" (files are missing or truncated).
        text: the problem, written to follow the folder's name.
        remedy: what to do; empty: download or import the weights again.
        error: the class to raise; TryLater if the missing files may still arrive.
    """

    kind: str
    text: str
    remedy: str = ""
    error: type[TsfmError] = ConfigError


def files(folder: Path, checkpoint: Checkpoint) -> tuple[str, ...]:
    """The names of the checkpoint's files as stored in the folder: shards if there is no single file.

    Raises:
        TsfmError: the index of the shards cannot be read, or is not valid.
    """

    def read(name: str) -> bytes:
        return reading.content(folder / name, "an index of weights")

    return shards.as_stored(checkpoint.files, lambda name: os.path.lexists(folder / name), read, str(folder))


def missing(folder: Path, names: tuple[str, ...]) -> list[str]:
    """Names that are not files in the folder; a file that cannot be examined counts as present."""
    return [name for name in names if not reading.may_exist(folder / name) or os.path.isdir(folder / name)]


def size(folder: Path, checkpoint: Checkpoint) -> int:
    """Total bytes of the checkpoint's files that are present in the folder."""
    try:
        names = files(folder, checkpoint)
    except TsfmError:
        names = checkpoint.files  # ``problems`` reports what is wrong with the index
    return sum((folder / name).stat().st_size for name in names if os.path.isfile(folder / name))


def problems(folder: Path, checkpoint: Checkpoint) -> list[Problem]:
    """Why the checkpoint cannot be loaded from the folder; empty: it can, as far as names, sizes and headers show."""
    denied = reading.access_error(folder)
    if denied and not reading.absent(denied):
        return [_unreadable(folder, denied, "")]
    try:
        names = files(folder, checkpoint)
    except TsfmError as error:
        kind = DAMAGED if type(error) is ConfigError and "expected an index" in str(error) else UNREADABLE
        return [Problem(kind, f"has an invalid {shards.INDEX}: {error}", "", type(error))]
    if lacking := missing(folder, names):
        return [_incomplete(folder, lacking, len(lacking) < len(names))]
    errors = {name: reading.access_error(folder / name) for name in names}
    if denied_files := [_unreadable(folder / n, denied, f"has {n} that ") for n, denied in errors.items() if denied]:
        return denied_files
    return _foreign(folder, checkpoint, names) or _sizes(folder, checkpoint, names)


def may_hold(folder: Path, checkpoint: Checkpoint) -> bool:
    """Whether the folder may hold the checkpoint: all files present and of its kind, or not readable."""
    try:
        return not missing(folder, files(folder, checkpoint)) and not _other_kind(folder, checkpoint)
    except TsfmError:
        return True


def _unreadable(path: Path, error: OSError, has: str) -> Problem:
    sentence, remedy = reading.explain(path, error)
    return Problem(UNREADABLE, has + sentence, remedy, type(reading.refused(path, error, "")))


def _incomplete(folder: Path, lacking: list[str], partly: bool) -> Problem:
    text = f"lacks {', '.join(lacking)}"
    if os.path.lexists(folder / manifest.NAME):
        return Problem(DAMAGED, text, "", TryLater)
    try:
        found = recognise.content(folder)
    except TsfmError as error:
        return Problem(UNREADABLE, f"{text}: {error}", "", type(error))
    if found:
        return Problem(
            UNUSABLE, f"{text}: it {found.what}", found.remedy, TryLater if found.incomplete else ConfigError
        )
    return Problem(
        DAMAGED, text, "copy the missing files from where the other files come from" if partly else "", TryLater
    )


def _foreign(folder: Path, checkpoint: Checkpoint, names: tuple[str, ...]) -> list[Problem]:
    for name in names:
        path = folder / name
        if found := recognise.pointer(name, path.stat().st_size, partial(reading.content, path, "a file of weights")):
            return [Problem(UNUSABLE, found.what, found.remedy)]
    other = _other_kind(folder, checkpoint)
    return [other] if other else []


def _other_kind(folder: Path, checkpoint: Checkpoint) -> Problem | None:
    if recognise.CONFIG not in checkpoint.files:
        return None
    config = reading.content(folder / recognise.CONFIG, "the checkpoint's configuration")
    other = recognise.other_kind(config, checkpoint)
    if not other:
        return None
    family, kind = other
    return Problem(
        UNUSABLE,
        f"holds a model of {kind.name}'s kind, as its {recognise.CONFIG} says, and not {checkpoint.name}",
        f"give it a name of its own: tsfm import {folder} {family.name} --name NAME",
    )


def _sizes(folder: Path, checkpoint: Checkpoint, names: tuple[str, ...]) -> list[Problem]:
    try:
        listed = manifest.read(folder)
    except TsfmError as error:
        if denied := reading.access_error(folder / manifest.NAME):
            return [_unreadable(folder / manifest.NAME, denied, f"has {manifest.NAME} that ")]
        return [Problem(DAMAGED, str(error))]
    if listed is None:
        return [Problem(DAMAGED, wrong) for name in names if (wrong := _truncated(folder / name))]
    if listed.checkpoint != checkpoint.name:
        remedy = f"give it its own folder: tsfm import {folder}"
        return [Problem(UNUSABLE, f"holds {listed.checkpoint}", remedy)]
    expected = {file.name: file.size for file in listed.files}
    found = {name: (folder / name).stat().st_size for name in names}
    return [
        Problem(DAMAGED, f"has {name} of {found[name]} bytes, but its manifest lists {expected.get(name, 0)}")
        for name in names
        if found[name] != expected.get(name)
    ]


def _truncated(path: Path) -> str:
    """Why a safetensors file is truncated, by the length in its header; empty: it is complete.

    The format: eight bytes with the header's length, then the header (JSON), then the tensors.
    """
    if path.suffix != ".safetensors":
        return ""
    whole = f"has {path.name} that is cut off, or is not a safetensors file"
    try:
        with open_regular(path) as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(min(length, 1 << 26)))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        return "" if path.stat().st_size == 8 + length + max(ends, default=0) else whole
    except (ValueError, TypeError, KeyError, AttributeError):
        return whole
