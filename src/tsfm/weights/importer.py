"""Import weights from a folder or tar file of ``tsfm pull --to``, or from plain files."""

from __future__ import annotations

import errno
import hashlib
import os
import tarfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from stat import S_ISREG
from typing import BinaryIO

from tsfm.card import Card, Checkpoint
from tsfm.errors import ConfigError, TsfmError, UsageError
from tsfm.weights import checkpoints, manifest, own, pins, progress, safe_path
from tsfm.weights import staging as staging_
from tsfm.weights.folder import Folder
from tsfm.weights.identify import Source, lacking, listing, unreadable
from tsfm.weights.manifest import File, Manifest
from tsfm.weights.problems import problems
from tsfm.weights.safe_path import Nearest

_BLOCK = 1 << 20


class _Folder:
    # The calling user opens the folder and its files, before privileges are dropped.
    def __init__(self, folder: Folder) -> None:
        self.label = str(folder.path)
        self._folder = folder

    def size(self, name: str) -> int | None:
        try:
            with self.open(name) as stream:
                return os.fstat(stream.fileno()).st_size
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EINVAL):  # EINVAL: a folder, a pipe
                return None
            raise unreadable(self._folder.path / name, error) from None

    def open(self, name: str) -> BinaryIO:
        return safe_path.open_found(self._folder, name)


class _Tar:
    # Members are looked up by known names and only their bytes are read: the archive does not decide
    # where anything is written.
    def __init__(self, tar: tarfile.TarFile, label: str, members: dict[str, tarfile.TarInfo]) -> None:
        self.label = label
        self._tar = tar
        self._members = members

    def size(self, name: str) -> int | None:
        return self._members[name].size if name in self._members else None

    def open(self, name: str) -> BinaryIO:
        stream = self._tar.extractfile(self._members[name])
        assert stream is not None  # noqa: S101  # only regular files are members
        return stream  # type: ignore[return-value]


@contextmanager
def sources(path: Path) -> Iterator[list[Source]]:
    """The folders of weights at ``path``: itself, those directly below it, or those in a tar file.

    Raises:
        TsfmError: the path holds nothing that could be weights.
    """
    with safe_path.nearest(path) as near, ExitStack() as opened:
        try:
            above = near if not near.missing else Nearest(near.descriptor, path.parent)
            folder = opened.enter_context(above.make())
            below = [] if near.missing else [opened.enter_context(each) for each in _listed_below(folder)]
        except OSError as error:
            raise unreadable(path, error) from None
        if not near.missing:
            alone = folder.look(manifest.NAME) or not below
            yield [_Folder(each) for each in ([folder] if alone else below)]
            return
        if len(near.missing) > 1 or not (found := folder.look(near.missing[0])) or not S_ISREG(found.st_mode):
            raise UsageError(f"{path}: expected a folder, a tar file or a file of weights, found nothing")
        with safe_path.open_found(folder, near.missing[0]) as stream:
            packed = tarfile.is_tarfile(stream)
            stream.seek(0)
            if packed:
                with _opened(stream, path) as tar:
                    yield _in_tar(tar, str(path))
            else:
                yield [_Folder(folder)]


def _listed_below(folder: Folder) -> Iterator[Folder]:
    """The folders directly below that hold a manifest."""
    for name in sorted(os.listdir(folder.descriptor)):
        if name.startswith(".") or not (folder.here / name).is_dir():
            continue
        with safe_path.nearest(folder.path / name, folder, name) as near:
            found = near.make()
        if found.look(manifest.NAME):
            yield found
        else:
            found.close()


def install(source: Source, card: Card, checkpoint: Checkpoint, folder: str | None) -> Path:
    """Copy one checkpoint into its family's folder and check it while copying.

    Args:
        folder: the family's folder; None: the default one, shared with TDgpt.

    Returns:
        The folder that now holds the checkpoint.

    Raises:
        ConfigError: a file is missing.
        TsfmError: a hash differs, or the disk is full; nothing was installed.
    """
    listed = listing(source)
    if listed and checkpoint.own and listed.checkpoint != checkpoint.name:
        listed = None  # the manifest describes the folder before the checkpoint was renamed
    root_path = checkpoints.family_folder(card, folder)
    if checkpoint.own and Path(source.label) != root_path / checkpoint.name:
        own.require_free(card, root_path, checkpoint.name)
    if wrong := lacking(source, checkpoint):
        raise ConfigError(f"{source.label}: {wrong}")
    total = sum(source.size(file) or 0 for file in checkpoint.files)
    with ExitStack() as opened:
        streams = {file: opened.enter_context(source.open(file)) for file in checkpoint.files}
        near = opened.enter_context(safe_path.nearest(root_path))
        opened.enter_context(near.as_owner())
        root = opened.enter_context(staging_.locked(near))
        opened.enter_context(staging_.plain_errors(near.path))
        staging = opened.enter_context(staging_.staging(root, checkpoint))
        staging_.require_space(root, total)
        try:
            with progress.showing(checkpoint.folder, total) as shown:
                files = tuple(_copy(source, streams[file], file, staging, listed, shown.add) for file in streams)
            if not listed and (found := problems(staging.here, checkpoint)):
                raise TsfmError(f"{source.label} {'; '.join(p.text for p in found)}; nothing was installed")
            if listed and (differing := pins.differences(checkpoint, listed.revision, files)):
                raise TsfmError(f"{source.label}: {'; '.join(differing)}; nothing was installed")
        except BaseException:
            staging_.discard(root, checkpoint)
            raise
        # Weights that come with TDgpt belong directly in the family's folder, where TDgpt looks for them.
        alone = checkpoint.pullable or checkpoint.own
        commit = staging_.commit if alone else staging_.commit_flat
        revision = listed.revision if listed else pins.recognised(checkpoint, files)
        commit(root, staging, checkpoint, Manifest(card.name, checkpoint.name, revision, files))
        return near.path / checkpoint.folder if alone else near.path


def _copy(
    source: Source,
    stream: BinaryIO,
    name: str,
    folder: Folder,
    listed: Manifest | None,
    on_bytes: Callable[[int], None],
) -> File:
    sha256 = hashlib.sha256()
    with folder.create(name) as out:
        while block := _block(stream, source, name):
            out.write(block)
            sha256.update(block)
            on_bytes(len(block))
        entry = File(name, out.tell(), sha256.hexdigest())
    if listed and entry not in listed.files:
        expected = next((file for file in listed.files if file.name == name), None)
        described = f"{expected.size} bytes with SHA-256 {expected.sha256}" if expected else "no such file"
        raise TsfmError(
            f"{source.label}: {name} is damaged: its manifest lists {described}, "
            f"found {entry.size} bytes with {entry.sha256}; nothing was installed"
        )
    return entry


def _block(stream: BinaryIO, source: Source, name: str) -> bytes:
    try:
        return stream.read(_BLOCK)
    except OSError as error:
        raise unreadable(Path(source.label, name), error) from None


@contextmanager
def _opened(stream: BinaryIO, path: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(fileobj=stream) as tar:
            yield tar
    except (tarfile.TarError, EOFError) as error:
        raise TsfmError(f"{path}: cannot be read as a tar file: {error}") from error


def _in_tar(tar: tarfile.TarFile, label: str) -> list[Source]:
    folders: dict[PurePosixPath, dict[str, tarfile.TarInfo]] = {}
    for member in tar.getmembers():
        if member.isreg():
            path = PurePosixPath(member.name)
            folders.setdefault(path.parent, {})[path.name] = member
    listed = {folder: members for folder, members in folders.items() if manifest.NAME in members}
    return [_Tar(tar, f"{label}: {folder}", members) for folder, members in (listed or folders).items()]
