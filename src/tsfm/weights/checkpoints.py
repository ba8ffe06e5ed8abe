"""Which weights to load, and which are there: from names, indexes and folders to one checked folder.

Weights lie in a folder of their own below the family's, so that several can lie side by side, or
directly in the family's folder, as TDgpt lays them.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from tsfm.card import Card, Checkpoint
from tsfm.errors import ConfigError, TryLater
from tsfm.settings import MODEL_ROOT
from tsfm.weights import manifest
from tsfm.weights.folder import open_regular

PARTIAL = ".partial-"
# Files laid by hand carry no name. A card's size and the real one differ by a configuration file
# at most, while two checkpoints of one family differ by a factor.
SAME_SIZE = 0.02


@dataclass(frozen=True)
class State:
    """What lies on the disk of one checkpoint.

    Attributes:
        status: "complete", "damaged" (files lack or have a wrong size), "partial" (a download that
            was broken off and will go on from there) or "missing".
        folder: where the files lie; None when nothing can be loaded.
        bytes: how much disk it takes.
        detail: what is wrong; empty when complete or missing.
    """

    checkpoint: Checkpoint
    status: str
    folder: Path | None
    bytes: int
    detail: str


def named(card: Card, name: str) -> Checkpoint:
    """The card's checkpoint by index ("2"), full name, or the name without its owner.

    Raises:
        ConfigError: none such; the message lists them.
    """
    for index, checkpoint in enumerate(card.checkpoints):
        if name in (str(index), checkpoint.name, checkpoint.folder):
            return checkpoint
    known = ", ".join(f"{i}: {c.name}" for i, c in enumerate(card.checkpoints))
    raise ConfigError(f"checkpoint: {card.name} has {known or 'none to choose from'}; got {name!r}")


def family_folder(card: Card, model_folder: str | None) -> Path:
    """The folder of the family's weights: the given one, else the one that TDgpt uses too."""
    return Path(model_folder) if model_folder else MODEL_ROOT / card.name


def find(card: Card, model_folder: str | None, name: str | None) -> Path | None:
    """The folder of the checkpoint ``name``, or of the first that is complete; None: there is none.

    Raises:
        ConfigError: the family has no checkpoint of that name.
    """
    root = family_folder(card, model_folder)
    for checkpoint in [named(card, name)] if name else card.checkpoints:
        if not problems(root / checkpoint.folder, checkpoint):
            return root / checkpoint.folder
        if not problems(root, checkpoint) and checkpoint in _flat(card, root):
            return root
    return None


def resolve(card: Card, model_folder: str | None, name: str | None) -> Path | None:
    """The folder to load, or None for a family whose weights come with its package.

    Raises:
        TryLater: the files are not there, or not yet; the message says which, and what to run.
        ConfigError: what is there cannot be loaded.
    """
    root = family_folder(card, model_folder)
    if not card.checkpoints:
        return root if model_folder else None
    if folder := find(card, model_folder, name):
        return folder
    checkpoint = named(card, name) if name else card.checkpoints[0]
    own = root / checkpoint.folder
    where = own if os.path.isdir(own) else root
    wrong = "; ".join(problems(where, checkpoint)) or "holds another checkpoint of the family"
    wrong += _last_failure(root, checkpoint)
    kind = TryLater if _may_come(where, checkpoint) else ConfigError
    raise kind(f"weights of {checkpoint.name}: {where} {wrong}; {remedy(card, checkpoint, root)}")


def remedy(card: Card, checkpoint: Checkpoint, root: Path) -> str:
    """What to run, or to do, so that the weights are in the family's folder ``root``."""
    folder = "" if root == MODEL_ROOT / card.name else f" --folder {root}"
    if checkpoint.pullable:
        return f"run: tsfm pull {card.name} {checkpoint.name}{folder}"
    files = ", ".join(checkpoint.files)
    return f"{files} comes with TDgpt and is not on the hub: copy it to {root}, or run: tsfm import FILE{folder}"


def state(card: Card, root: Path) -> list[State]:
    """What lies in the family's folder ``root`` of each checkpoint, in index order."""
    flat = _flat(card, root)
    return [_state(checkpoint, root, checkpoint in flat[:1]) for checkpoint in card.checkpoints]


def missing(folder: Path, checkpoint: Checkpoint) -> list[str]:
    """The checkpoint's files that the folder lacks."""
    return [name for name in checkpoint.files if not os.path.isfile(folder / name)]


def problems(folder: Path, checkpoint: Checkpoint) -> list[str]:
    """Why the checkpoint cannot be loaded from the folder, as far as sizes show; empty: it can."""
    if os.path.isdir(folder) and not os.access(folder, os.R_OK | os.X_OK):
        return ["cannot be read by this user"]
    if lacking := missing(folder, checkpoint):
        return [f"lacks {', '.join(lacking)}"]
    try:
        listed = manifest.read(folder)
    except ConfigError as error:
        return [str(error)]
    if listed is None:
        return [wrong for name in checkpoint.files if (wrong := _cut_off(folder / name))]
    if listed.checkpoint != checkpoint.name:
        return [f"holds {listed.checkpoint}"]
    sizes = {name: (folder / name).stat().st_size for name in checkpoint.files}
    expected = {file.name: file.size for file in listed.files}
    return [
        f"has {name} with {size} bytes where {expected.get(name, 0)} were listed"
        for name, size in sizes.items()
        if size != expected.get(name)
    ]


def _may_come(folder: Path, checkpoint: Checkpoint) -> bool:
    """Whether files lack that a download, an import or TDgpt's installer still brings."""
    unreadable = os.path.isdir(folder) and not os.access(folder, os.R_OK | os.X_OK)
    return not unreadable and bool(missing(folder, checkpoint))


def size(folder: Path, checkpoint: Checkpoint) -> int:
    """How many bytes the checkpoint's files take that are in the folder."""
    return sum((folder / name).stat().st_size for name in checkpoint.files if os.path.isfile(folder / name))


def bytes_below(folder: Path) -> int:
    """What the files below the folder take; one that vanishes meanwhile counts nothing."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(parent, name)).st_size
            except FileNotFoundError:
                continue  # the client renames its files when they are complete
    return total


def failure_note(root: Path, folder: str) -> Path:
    """Where the sentence lies with which the last download into ``folder`` ended, if it failed."""
    return root / f".failed-{folder}"


def _last_failure(root: Path, checkpoint: Checkpoint) -> str:
    try:
        with open_regular(failure_note(root, checkpoint.folder)) as note:
            said = note.read(4096).decode(errors="replace")
    except OSError:
        return ""
    return f"; the last download failed: {' '.join(said.split())[:500]}"


def _flat(card: Card, root: Path) -> list[Checkpoint]:
    """Which checkpoints the files directly in the family's folder may be.

    A manifest says it; else the size does, when it is that of a known checkpoint; else it may be
    any whose files are there (weights of one's own), the first one before the others.
    """
    there = [checkpoint for checkpoint in card.checkpoints if not missing(root, checkpoint)]
    try:
        listed = manifest.read(root)
    except ConfigError:
        return []
    if listed:
        return [checkpoint for checkpoint in there if checkpoint.name == listed.checkpoint]
    sized = [c for c in there if abs(size(root, c) - c.bytes) <= SAME_SIZE * c.bytes]
    return sized or there


def _state(checkpoint: Checkpoint, root: Path, flat: bool) -> State:
    own = root / checkpoint.folder
    partial = root / f"{PARTIAL}{checkpoint.folder}"
    for folder in (own, root) if flat else (own,):
        if os.path.isdir(folder):
            wrong = "; ".join(problems(folder, checkpoint))
            return State(checkpoint, "damaged" if wrong else "complete", folder, size(folder, checkpoint), wrong)
    if os.path.isdir(partial):
        there = bytes_below(partial)
        return State(checkpoint, "partial", None, there, f"{there * 100 // max(checkpoint.bytes, 1)} % are there")
    return State(checkpoint, "missing", None, 0, "")


def _cut_off(path: Path) -> str:
    """Why a file of safetensors, which says itself how long it is, is not whole; empty: it is.

    The format: eight bytes with the header's length, then the header (JSON), then the tensors.
    """
    if path.suffix != ".safetensors":
        return ""
    whole = f"has {path.name} that is cut off or no safetensors file"
    try:
        with open_regular(path) as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(min(length, 1 << 26)))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        return "" if path.stat().st_size == 8 + length + max(ends, default=0) else whole
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return whole
