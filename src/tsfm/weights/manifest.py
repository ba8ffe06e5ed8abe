"""The manifest beside the weights: which checkpoint they are, and the hash of every file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from tsfm.errors import ConfigError
from tsfm.weights import reading
from tsfm.weights.folder import open_regular

NAME = "tsfm-manifest.json"
FORMAT = 1
_BLOCK = 1 << 20
LONGEST = 1 << 20  # a manifest has some hundred bytes


@dataclass(frozen=True)
class File:
    """One file: its name inside the checkpoint's folder, its size in bytes, its SHA-256 in hex."""

    name: str
    size: int
    sha256: str


class Sized(Protocol):
    """Something with a size in bytes."""

    @property
    def size(self) -> int: ...


class Listing:
    """A list of files with sizes."""

    files: Sequence[Sized]

    @property
    def bytes(self) -> int:
        """All files together."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True)
class Manifest(Listing):
    """What one checkpoint's folder holds.

    Attributes:
        family: the family's name.
        checkpoint: the full name, "amazon/chronos-bolt-tiny".
        revision: the hub's commit; empty: unknown, as for weights copied by hand.
        files: in the card's order, the weights last.
    """

    family: str
    checkpoint: str
    revision: str
    files: tuple[File, ...]

    def text(self) -> str:
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=2) + "\n"


def read(folder: Path) -> Manifest | None:
    """The folder's manifest; None: it has none.

    Raises:
        ConfigError: it cannot be read or is not a manifest.
    """
    path = folder / NAME
    try:
        with open_regular(path) as stream:
            return parse(stream.read(LONGEST), str(path))
    except OSError as error:
        if reading.absent(error):
            return None
        raise reading.refused(path, error, "a manifest") from None


def parse(content: bytes, source: str) -> Manifest:
    """A manifest from its text; ``source`` names it in errors.

    Raises:
        ConfigError: not a manifest of a known format.
    """
    try:
        values = json.loads(content)
        if values["format"] != FORMAT:
            raise ValueError(f"format {values['format']!r} is not {FORMAT}")
        files = tuple(File(str(f["name"]), int(f["size"]), str(f["sha256"])) for f in values["files"])
        if outside := [file.name for file in files if "/" in file.name or file.name in ("", ".", "..")]:
            raise ValueError(f"{outside[0]!r} is no name of a file in the folder")
        return Manifest(str(values["family"]), str(values["checkpoint"]), str(values["revision"]), files)
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{source}: expected a manifest as `tsfm pull` writes it: {error!r}") from None


def hash_file(stream: BinaryIO, size: int, on_bytes: Callable[[int], None] | None = None) -> tuple[str, str]:
    """The SHA-256 of an open file and its git blob hash (SHA-1), both in hex, in one pass.

    The hub identifies files in LFS by the first and small files by the second.
    """
    sha256 = hashlib.sha256()
    blob = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    while block := stream.read(_BLOCK):
        sha256.update(block)
        blob.update(block)
        if on_bytes:
            on_bytes(len(block))
    return sha256.hexdigest(), blob.hexdigest()


def differences(
    folder: Path, manifest: Manifest, on_bytes: Callable[[int], None] | None = None, name: Path | None = None
) -> list[str]:
    """Read every file again; one sentence for each that differs from the manifest.

    Args:
        name: the folder's path for messages, if ``folder`` is a path to a descriptor.

    Raises:
        TsfmError: a file cannot be read; its content may still be right.
    """
    found = []
    for file in manifest.files:
        try:
            with open_regular(folder / file.name) as stream:
                sha256, _ = hash_file(stream, file.size, on_bytes)
        except OSError as error:
            if not reading.absent(error):
                raise reading.refused((name or folder) / file.name, error, "a file of weights") from None
            found.append(f"{file.name}: is missing")
            continue
        if sha256 != file.sha256:
            found.append(f"{file.name}: expected SHA-256 {file.sha256}, found {sha256}")
    return found
