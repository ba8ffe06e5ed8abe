"""Identify the checkpoint of imported files: by manifest, then config.json, then file names and sizes."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, Protocol

from tsfm import card as cards
from tsfm.card import Card, Checkpoint
from tsfm.errors import ConfigError, TsfmError, UsageError
from tsfm.weights import checkpoints, configuration, manifest, own, reading, recognise, shards
from tsfm.weights.manifest import Manifest
from tsfm.weights.recognise import Finding

Found = tuple[Card, Checkpoint]
_IDENTIFYING = (
    *(recognise.ADAPTER, recognise.CONFIG, *recognise.WEIGHTS),
    *("pytorch_model.bin", "pytorch_model.bin.index.json"),
)


class Source(Protocol):
    """The files of one flat folder, on disk or in a tar file."""

    label: str

    def size(self, name: str) -> int | None:
        """Size of the file in bytes; None: no such file."""
        ...

    def open(self, name: str) -> BinaryIO: ...


def require_readable(path: Path) -> None:
    """Refuse a path that is not a folder, tar file or weights file readable by this user.

    Raises:
        UsageError: the path does not exist or is a zip file.
        TsfmError: the path cannot be read.
    """
    if denied := reading.access_error(path):
        if reading.absent(denied):
            raise UsageError(f"{path}: expected a folder, a tar file or a file of weights, found nothing")
        raise unreadable(path, denied)
    # torch.save writes zip files too.
    if path.is_file() and zipfile.is_zipfile(path) and path.name not in recognise.WEIGHTS:
        raise UsageError(f"{path}: a zip file is not read; unpack it and give the folder: unzip {path} -d DIR")


def unreadable(path: Path, error: OSError) -> TsfmError:
    """The error for an unreadable source: a failure of the command (exit 1), not of the configuration."""
    sentence, remedy = reading.explain(path, error)
    return TsfmError(f"{path} {sentence}; {remedy}")


def identify(source: Source, family: str | None, name: str | None, called: str | None) -> Found:
    """Identify the checkpoint; its files are those present in the source, shards included.

    Args:
        family, name: what the user says they are.
        called: the new name for a checkpoint of the user's own.

    Raises:
        UsageError: the new name is not allowed.
        ConfigError: the files are not what the user says, or cannot be identified; the sentence says what to type.
    """
    inspection = _Inspection(source, family)
    if called is not None:
        return inspection.called(called)
    listed = listing(source)
    card, checkpoint = _as_listed(inspection, listed, name) if listed else inspection.decide(name)
    return card, _as_stored(source, checkpoint)


def listing(source: Source) -> Manifest | None:
    """The source's manifest; None: it has none."""
    if source.size(manifest.NAME) is None:
        return None
    with source.open(manifest.NAME) as stream:
        return manifest.parse(stream.read(manifest.LONGEST), f"{source.label}/{manifest.NAME}")


def lacking(source: Source, checkpoint: Checkpoint) -> str:
    """Which of the checkpoint's files the source lacks, and what to do; empty: it has them all."""
    names = [file for file in checkpoint.files if source.size(file) is None]
    if not names:
        found = _pointer(source, checkpoint)
        return f"it {found.what}; {found.remedy}" if found else ""
    needs = f"{checkpoint.name} needs {', '.join(names)}, which is missing"
    found = _finding(source)
    return f"{needs}: it {found.what}; {found.remedy}" if found else needs


class _Inspection:
    """Identification by a source's config.json, file names and sizes."""

    def __init__(self, source: Source, family: str | None) -> None:
        self.source, self.family = source, family
        self.config = _config(source)
        self.kinds = recognise.kinds(self.config)
        self.exact = [each for each in self.kinds if recognise.fits(self.config, each[1].shape)]

    def decide(self, name: str | None) -> Found:
        """The official checkpoint that the source holds; ``name``: what the user says it is."""
        self._require_family()
        if self.family and name:
            return self._named(cards.read(self.family), name)
        fits = [each for each in self._likely() if not lacking(self.source, _as_stored(self.source, each[1]))]
        exact = [each for each in fits if each in self.exact]
        sized = [each for each in fits if _near(self.source, each[1])]
        # The configuration decides; without one the size does, unless only one checkpoint has such files.
        chosen = next((each for each in (exact, sized, fits) if len(each) == 1), [])
        if not chosen or (self.kinds and not exact and not sized):
            raise ConfigError(f"{self.source.label}: {self._undecided(fits)}")
        return chosen[0]

    def called(self, name: str) -> Found:
        """A checkpoint with a new name, of the kind that its configuration describes."""
        self._require_family()
        if not self.family and not self.kinds:
            advice = f"name its family: tsfm import {self.source.label} FAMILY --name {name}"
            raise ConfigError(f"{self.source.label}: {self._unknown()}; {advice}")
        card = cards.read(self.family) if self.family else self.kinds[0][0]
        own.checked(card, name)
        return card, self.made(card, name)

    def made(self, card: Card, name: str) -> Checkpoint:
        kind = next((each for each in card.checkpoints if recognise.fits(self.config, each.marks)), None)
        if kind is None:
            if not card.checkpoints:
                raise ConfigError(f"{card.name}: its weights come with its package; give a folder with --model-folder")
            kind = card.checkpoints[0]
            if kind.marks:
                raise ConfigError(f"{self.source.label}: {self._unknown()}, which {card.name} does not serve")
        stored = _as_stored(self.source, kind)
        return own.create(name, kind, stored.files, sum(self.source.size(file) or 0 for file in stored.files))

    def _likely(self) -> list[Found]:
        known = [cards.read(each) for each in ([self.family] if self.family else cards.names(packaged_only=True))]
        return self._own_kinds() or [(card, each) for card in known for each in card.checkpoints]

    def _own_kinds(self) -> list[Found]:
        return [each for each in self.kinds if self.family in (None, each[0].name)]

    def _named(self, card: Card, name: str) -> Found:
        checkpoint = checkpoints.named(card, name)
        same = [each for each in self.kinds if each[1] == checkpoint]
        if (self.kinds and not same) or (self.exact and not [each for each in self.exact if each in same]):
            found = (self.exact or self.kinds)[0]
            what = found[1].name if self.exact else f"a model of {found[1].name}'s kind"
            raise ConfigError(
                f"{self.source.label}: expected {checkpoint.name}, found {what}, as its {recognise.CONFIG} says; "
                f"type: {self._command(found[0])}"
            )
        if wrong := lacking(self.source, _as_stored(self.source, checkpoint)):
            raise ConfigError(f"{self.source.label}: {wrong}")
        return card, checkpoint

    def _require_family(self) -> None:
        if not self.family or self._own_kinds():
            return
        expected = f"{self.source.label}: expected a model of {self.family}, found"
        if self.kinds:
            card = self.kinds[0][0]
            found = f"one of {card.name}, as its {recognise.CONFIG} says; type: {self._command(card)}"
            raise ConfigError(f"{expected} {found}")
        named, served = recognise.model_name(self.config), cards.read(self.family).checkpoints
        if named and served and all(each.marks for each in served):
            raise ConfigError(f"{expected} {named} in its {recognise.CONFIG}, which is not served")

    def _undecided(self, fits: Sequence[Found]) -> str:
        kinds = self._own_kinds()
        if kinds and fits:
            card, kind = kinds[0]
            return f"a model of {kind.name}'s kind, of another size; give it a name: {self._command(card)}"
        if kinds:
            return lacking(self.source, _as_stored(self.source, kinds[0][1]))
        if found := None if fits else _finding(self.source):
            return f"{found.what}; {found.remedy}"
        what = "more than one checkpoint has such files" if fits else self._unknown()
        return f"{what}; say which it is: tsfm import PATH FAMILY CHECKPOINT (see tsfm list)"

    def _command(self, card: Card) -> str:
        which = self.exact[0][1].folder if self.exact else "--name NAME"
        return f"tsfm import {self.source.label} {card.name} {which}"

    def _unknown(self) -> str:
        if named := recognise.model_name(self.config):
            return f"its {recognise.CONFIG} says {named}"
        if found := _finding(self.source):
            return f"{found.what}: {found.remedy}"
        described = self.source.size(recognise.CONFIG) is not None
        return f"its {recognise.CONFIG} names no model" if described else "no checkpoint has such files"


def _as_listed(inspection: _Inspection, listed: Manifest, name: str | None) -> Found:
    label = inspection.source.label
    if inspection.family not in (None, listed.family):
        raise ConfigError(f"{label}: expected weights of {inspection.family}, found {listed.checkpoint}")
    if listed.family not in cards.names():
        raise ConfigError(f"{label}: {listed.checkpoint} belongs to the unknown family {listed.family}")
    card = cards.read(listed.family)
    official = listed.checkpoint in [each.name for each in card.checkpoints]
    is_own = not official and not own.refusal(card, listed.checkpoint)
    checkpoint = inspection.made(card, listed.checkpoint) if is_own else checkpoints.named(card, listed.checkpoint)
    if name and name != checkpoint.name and checkpoints.named(card, name) != checkpoint:
        raise ConfigError(f"{label}: expected {name}, found {checkpoint.name}")
    return card, checkpoint


def _finding(source: Source) -> Finding | None:
    path = Path(source.label)
    if os.path.isdir(path):
        return recognise.content(path) or recognise.deeper(path)
    return recognise.files([name for name in _IDENTIFYING if source.size(name) is not None])


def _pointer(source: Source, checkpoint: Checkpoint) -> Finding | None:
    each = (recognise.pointer(n, source.size(n) or 0, partial(_read, source, n)) for n in checkpoint.files)
    return next((found for found in each if found), None)


def _as_stored(source: Source, checkpoint: Checkpoint) -> Checkpoint:
    def has(name: str) -> bool:
        return source.size(name) is not None

    return replace(checkpoint, files=shards.as_stored(checkpoint.files, has, partial(_read, source), source.label))


def _config(source: Source) -> dict[str, object]:
    """The source's configuration; empty: it has none."""
    if source.size(recognise.CONFIG) is None:
        return {}
    return configuration.parse(_read(source, recognise.CONFIG), f"{source.label}/{recognise.CONFIG}")


def _read(source: Source, name: str) -> bytes:
    try:
        with source.open(name) as stream:
            return stream.read()
    except OSError as error:
        raise unreadable(Path(source.label, name), error) from None


def _near(source: Source, checkpoint: Checkpoint) -> bool:
    size = sum(source.size(file) or 0 for file in _as_stored(source, checkpoint).files)
    return abs(size - checkpoint.bytes) <= checkpoints.SAME_SIZE * checkpoint.bytes
