"""Download the files that a hub offers, resume interrupted downloads, and check the files."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from functools import partial
from io import FileIO

from tsfm.errors import TsfmError
from tsfm.weights import http, hub, retry, staging
from tsfm.weights.folder import Folder
from tsfm.weights.http import Busy, Reply
from tsfm.weights.hub import Offer, Remote
from tsfm.weights.manifest import File


def fetch(
    offered: Offer, folder: Folder, pinned: Mapping[str, str], arrived: Callable[[int], None]
) -> tuple[File, ...]:
    """Download the offered files into the staging folder and resume interrupted downloads.

    Args:
        pinned: the required SHA-256 by file name, for the files that have one.
        arrived: called with the number of bytes of the offer that are present.

    Raises:
        TsfmError: the download failed; the bytes received so far are kept.
    """
    for remote in offered.files:
        if len(remote.digest) == 64 and remote.digest != pinned.get(remote.name, remote.digest):
            raise _not_pinned(offered, remote.name, remote.digest, pinned[remote.name])
    entries, before = [], 0
    for remote in offered.files:
        entries.append(_fetch_one(offered, remote, folder, pinned, partial(_report, before, arrived)))
        before += remote.size
    return tuple(entries)


def _report(before: int, arrived: Callable[[int], None], position: int) -> None:
    arrived(before + position)


def _fetch_one(
    offered: Offer, remote: Remote, folder: Folder, pinned: Mapping[str, str], arrived: Callable[[int], None]
) -> File:
    # The partial file's name contains the hash, so that another commit's partial file is never resumed.
    part = f"{remote.name}.{remote.digest[:16]}.part"
    if folder.own(remote.name) and not folder.own(part):
        folder.move(remote.name, folder, part)  # already complete; it is checked again
    with folder.resume(part) as out:
        out.seek(0, os.SEEK_END)
        at_first = iter([remote.url])  # the address expires: later attempts ask the hub for a new one
        retry.call(lambda: _continue(offered, remote, next(at_first, offered.url(remote.name)), out, arrived), out.tell)
    entry, blob = staging.listed_file(folder, part)
    if entry.size != remote.size or remote.digest not in (entry.sha256, blob):
        folder.remove(part)  # a damaged file must not be resumed next time
        raise TsfmError(
            f"{remote.name} of {offered.checkpoint.name} arrived damaged from {offered.endpoint}: "
            f"expected {remote.size} bytes with hash {remote.digest}, got {entry.size} bytes with {entry.sha256}; "
            "it was deleted, so run the same command again"
        )
    if entry.sha256 != pinned.get(remote.name, entry.sha256):
        folder.remove(part)
        raise _not_pinned(offered, remote.name, entry.sha256, pinned[remote.name])
    folder.move(part, folder, remote.name)
    return File(remote.name, entry.size, entry.sha256)


def _continue(offered: Offer, remote: Remote, url: str, out: FileIO, arrived: Callable[[int], None]) -> None:
    """Request the missing bytes and write them as they arrive."""
    position = out.tell()
    if position == remote.size:
        return
    if position > remote.size:
        position = _start_again(out)
    span = {"Range": f"bytes={position}-"} if position else {}
    with http.send("GET", url, span, (offered.endpoint, hub.token())) as reply:
        if reply.status == 416 or (reply.status == 206 and not _starts_at(reply, position)):
            _start_again(out)
            raise Busy(
                f"{http.shown(reply.url)} cannot continue at byte {position} of {remote.name}; "
                "the download starts again"
            )
        if reply.status == 200 and position:
            _start_again(out)
        elif reply.status not in (200, 206):
            raise hub.refusal(offered.endpoint, offered.checkpoint, reply)
        while (position := out.tell()) < remote.size and (block := reply.read()):
            _write(out, block[: remote.size - position])
            arrived(out.tell())
    if out.tell() < remote.size:
        raise Busy(f"the connection to {offered.endpoint} was interrupted")


def _write(out: FileIO, block: bytes) -> None:
    view = memoryview(block)
    while view:  # an unbuffered write may be partial, just before the disk is full
        view = view[out.write(view) :]


def _start_again(out: FileIO) -> int:
    out.seek(0)
    out.truncate()
    return 0


def _starts_at(reply: Reply, position: int) -> bool:
    return re.match(rf"bytes {position}-", reply.headers.get("Content-Range", "")) is not None


def _not_pinned(offered: Offer, name: str, found: str, pinned: str) -> TsfmError:
    return TsfmError(
        f"{name} of {offered.checkpoint.name}, commit {offered.revision}, from {offered.endpoint} is not the file that "
        f"this version of tsfm pins: expected SHA-256 {pinned}, got {found}; nothing was installed"
    )
