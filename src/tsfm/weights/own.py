"""Checkpoints that no card lists, fine-tuned ones for example, imported with `--name`."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from tsfm import card as cards
from tsfm.card import Card, Checkpoint
from tsfm.errors import ConfigError, TsfmError, UsageError
from tsfm.weights import manifest, reading, recognise
from tsfm.weights.recognise import Finding

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def refusal(card: Card, name: str) -> str:
    """Why such a checkpoint cannot have this name, as "expected ..."; empty: it can."""
    if not _NAME.fullmatch(name) or name.isdigit():
        return (
            "expected 1 to 64 letters, digits, '.', '-' or '_' that begin with a letter or a digit "
            f"and are not a number alone, got {name!r}"
        )
    known = [checkpoint for each in cards.names() for checkpoint in cards.read(each).checkpoints]
    taken = {word.lower() for checkpoint in known for word in (checkpoint.name, checkpoint.folder)}
    if name.lower() in taken:
        return f"expected a new name, got the name of an official checkpoint, {name!r}"
    return ""


def checked(card: Card, name: str) -> str:
    """Return the name if such a checkpoint can have it.

    Raises:
        UsageError: it cannot.
    """
    if wrong := refusal(card, name):
        raise UsageError(f"--name: {wrong}")
    return name


def require_free(card: Card, root: Path, name: str) -> None:
    """Refuse to replace a folder that is not a checkpoint of that name.

    Raises:
        ConfigError: there is such a folder.
    """
    if reading.may_exist(root / name) and name not in [checkpoint.name for checkpoint in present(card, root)]:
        raise ConfigError(
            f"{root / name} already exists and holds no checkpoint of that name; choose another name, or move it away"
        )


def create(name: str, kind: Checkpoint, files: tuple[str, ...], size: int) -> Checkpoint:
    """A checkpoint with its own name, of the kind of an official one."""
    return Checkpoint(name, 0, size, files, kind.capabilities, pullable=False, marks=kind.marks, own=True)


def present(card: Card, root: Path) -> list[Checkpoint]:
    """The ones in the family's folder, by name; none for a family whose weights come with its package."""
    if not card.checkpoints:
        return []
    found = (_read(card, folder) for folder in _folders(card, root) if os.path.lexists(folder / manifest.NAME))
    return [checkpoint for checkpoint in found if checkpoint]


def unimported(card: Card, root: Path) -> list[Finding]:
    """Folders of weights in the family's folder that are not imported, with the command that imports them."""
    imported = {checkpoint.name for checkpoint in present(card, root)}
    found = [_unimported(card, folder) for folder in _folders(card, root) if folder.name not in imported]
    return [finding for finding in found if finding]


def _folders(card: Card, root: Path) -> list[Path]:
    """Folders below ``root`` other than the official checkpoints'; none if the root cannot be read."""
    if reading.access_error(root):
        return []  # reported as the state of the card's checkpoints
    official = {checkpoint.folder for checkpoint in card.checkpoints}
    return [
        root / name
        for name in sorted(os.listdir(root))
        if not name.startswith(".") and name not in official and os.path.isdir(root / name)
    ]


def _read(card: Card, folder: Path) -> Checkpoint | None:
    default = card.checkpoints[0]
    try:
        listed = manifest.read(folder)
    except TsfmError:
        return create(folder.name, default, default.files, 0)  # its state reports what is wrong with it
    if listed is None or (listed.family, listed.checkpoint) != (card.name, folder.name) or refusal(card, folder.name):
        return None
    names = tuple(file.name for file in listed.files)
    return create(folder.name, kind(card, folder) or default, names, listed.bytes)


def kind(card: Card, folder: Path) -> Checkpoint | None:
    """The checkpoint of the family whose kind the folder's config.json describes."""
    try:
        config = json.loads(reading.content(folder / recognise.CONFIG, "the checkpoint's configuration"))
    except (TsfmError, ValueError):
        return None
    same = [each for each in card.checkpoints if isinstance(config, dict) and recognise.fits(config, each.marks)]
    return same[0] if same else None


def _unimported(card: Card, folder: Path) -> Finding | None:
    try:
        found, names = recognise.content(folder) or recognise.deeper(folder), recognise.names(folder)
    except TsfmError as error:
        what, _, remedy = str(error).partition("; ")
        return Finding(what, remedy)
    if found:
        return Finding(f"{folder} {found.what}", found.remedy)
    if set(names) & set(recognise.WEIGHTS):
        word = folder.name if not refusal(card, folder.name) else "NAME"
        what = f"{folder} holds weights that are not imported"
        return Finding(what, f"import them: tsfm import {folder} {card.name} --name {word}")
    return None
