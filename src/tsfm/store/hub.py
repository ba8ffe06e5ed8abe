"""The hub: what it has of a checkpoint, and the fetching of it. The only module that goes online.

The official client does the work (resuming by range requests, redirects, tokens, proxies); this
adds patience, hashes, and errors that say what to do.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tsfm import checkpoints
from tsfm.card import Checkpoint
from tsfm.errors import TsfmError
from tsfm.settings import MIRROR
from tsfm.store import place
from tsfm.store.manifest import File

if TYPE_CHECKING:
    import requests

HUB = "https://huggingface.co"
# Waits between attempts, until something has arrived, and afresh whenever more has.
WAITS_S = (1.0, 2.0, 4.0)
LATER_WAITS_S = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
PATIENCE_S = 30.0  # with a hub from which nothing has come: a name server that is away takes long to say so
LONGEST_WAIT_S = 60.0  # a hub that asks for more is told to the user instead

log = logging.getLogger(__name__)
T = TypeVar("T")


class Unreachable(TsfmError):
    """No answer from the hub at all: another way to the weights may help."""


class Busy(TsfmError):
    """The hub or the line failed for now; the same again may work."""

    def __init__(self, message: str, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.wait_s = wait_s


@dataclass(frozen=True)
class Remote:
    """One file on the hub: its size in bytes and its hash, SHA-256 (64 digits) or git blob (40)."""

    name: str
    size: int
    digest: str


@dataclass(frozen=True)
class Offer:
    """What the hub has of a checkpoint: the commit, and the card's files in the card's order."""

    endpoint: str
    checkpoint: Checkpoint
    revision: str
    files: tuple[Remote, ...]

    @property
    def bytes(self) -> int:
        return sum(file.size for file in self.files)


def endpoint(mirror: bool, configured: str) -> str:
    """Where to download from: an address beats a yes, and the environment beats the settings.

    Args:
        mirror: asked for on the command line.
        configured: the setting ``mirror``: an address, or empty for no.
    """
    return (os.environ.get("HF_ENDPOINT") or configured or (MIRROR if mirror else HUB)).rstrip("/")


def offer(address: str, checkpoint: Checkpoint) -> Offer:
    """Ask the hub at ``address`` for the checkpoint's files.

    Raises:
        Unreachable: nobody answers there.
        TsfmError: the hub refuses, or lacks something.
    """
    _prepare()
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.utils import get_session

    def knock() -> None:
        # The client's own requests go on trying for half a minute where nobody answers.
        get_session().head(address, timeout=10, allow_redirects=False)

    _patiently(checkpoint, address, knock)
    revision, files = "main", []
    for name in checkpoint.files:
        url = hf_hub_url(checkpoint.name, name, revision=revision, endpoint=address)
        found = _patiently(checkpoint, address, partial(get_hf_file_metadata, url, endpoint=address))
        if not (found.commit_hash and found.etag and found.size is not None):
            raise TsfmError(f"{address} answers, but not as a hub of models: it gives {name} no commit, hash or size")
        revision = found.commit_hash  # the files after the first come from the same commit
        files.append(Remote(name, found.size, found.etag))
    return Offer(address, checkpoint, revision, tuple(files))


def fetch(offered: Offer, folder: Path) -> tuple[File, ...]:
    """Download the offered files into the staging folder, going on where a download was broken off.

    Raises:
        TsfmError: it did not work; what has arrived is still there.
    """
    return tuple(_fetch_one(offered, remote, folder) for remote in offered.files)


def _fetch_one(offered: Offer, remote: Remote, folder: Path) -> File:
    from huggingface_hub import hf_hub_download

    def download() -> None:
        hf_hub_download(
            offered.checkpoint.name,
            remote.name,
            revision=offered.revision,
            endpoint=offered.endpoint,
            local_dir=folder,
        )

    _patiently(offered.checkpoint, offered.endpoint, download, lambda: checkpoints.bytes_below(folder))
    entry, blob = place.listed_file(folder, remote.name)
    if entry.size != remote.size or remote.digest not in (entry.sha256, blob):
        # What is wrong must not be taken for a good beginning the next time.
        (folder / remote.name).unlink()
        raise TsfmError(
            f"{remote.name} of {offered.checkpoint.name} came damaged from {offered.endpoint}: "
            f"expected {remote.size} bytes with hash {remote.digest}, got {entry.size} bytes with {entry.sha256}; "
            "it was deleted, so run the same command again"
        )
    return entry


def _prepare() -> None:
    """Set the client up before its first import, which is when it reads its environment."""
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"  # ours go on across files, and into the journal
    os.environ["HF_HUB_DISABLE_XET"] = "1"
    os.environ["HF_HUB_ENABLE_HF_TRANSFER"] = "0"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    if not os.access(Path("~").expanduser(), os.X_OK):
        os.environ.setdefault("HF_HOME", "/nonexistent")  # it would stumble over a token that it may not read
    from huggingface_hub import constants
    from huggingface_hub.utils import logging as client_logging

    # Its 10 MB are lost whenever a slow line breaks off, and are too coarse for lines of 10 %.
    constants.DOWNLOAD_CHUNK_SIZE = 1 << 18
    client_logging.set_verbosity_error()


def _patiently(
    checkpoint: Checkpoint, address: str, action: Callable[[], T], arrived: Callable[[], int] = lambda: 0
) -> T:
    """Do it until it works, or has failed a few times with nothing new."""
    waits, before, began = list(WAITS_S), arrived(), time.monotonic()
    anything = False
    while True:
        try:
            return _in_words(checkpoint, address, action)
        except (Busy, Unreachable) as error:
            if arrived() > before:
                before, waits, anything = arrived(), list(LATER_WAITS_S), True
            asked = getattr(error, "wait_s", None) or 0.0
            silent = isinstance(error, Unreachable) and not anything
            too_long = silent and time.monotonic() - began > PATIENCE_S
            if not waits or too_long or asked > LONGEST_WAIT_S:
                raise
            wait_s = max(asked, waits.pop(0))
            log.warning("%s; trying again in %.0f s", error, wait_s)
            threading.Event().wait(wait_s)


def _in_words(checkpoint: Checkpoint, address: str, action: Callable[[], T]) -> T:
    """Run one request of the client; its errors become ours."""
    import requests
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        return action()
    except LocalEntryNotFoundError as error:
        cause = error.__cause__
        if not isinstance(cause, requests.RequestException | OfflineModeIsEnabled):
            raise
        raise _plain(checkpoint, address, cause) from error
    except (requests.RequestException, OfflineModeIsEnabled) as error:
        raise _plain(checkpoint, address, error) from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise Busy(f"{address} sent too little: {_one_line(error)}") from error  # the client's check of the length


def _plain(checkpoint: Checkpoint, address: str, error: Exception) -> TsfmError:
    import requests
    from huggingface_hub.errors import OfflineModeIsEnabled

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return _refusal(checkpoint, address, error.response)
    if isinstance(error, OfflineModeIsEnabled):
        return TsfmError("HF_HUB_OFFLINE is set in the environment, so nothing can be downloaded")
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return Busy(f"the connection to {address} broke off")
    if isinstance(error, requests.exceptions.SSLError):
        return TsfmError(f"{address}: its certificate is not accepted ({_one_line(error)})")
    if isinstance(error, requests.ConnectionError | requests.Timeout):
        return Unreachable(f"{address} cannot be reached ({_one_line(error)})")
    return TsfmError(f"{address}: {_one_line(error)}")


def _refusal(checkpoint: Checkpoint, address: str, response: requests.Response) -> TsfmError:
    status, said = response.status_code, response.headers.get("X-Error-Code", "")
    if status in (401, 403) and said != "RepoNotFound":
        return TsfmError(
            f"{address} gives {checkpoint.name} only to those who were let in ({status}): "
            "accept its terms there, then set HF_TOKEN to a token of yours"
        )
    if status in (401, 404):
        what = "file" if said == "EntryNotFound" else "model"
        return TsfmError(f"{address} has no such {what} ({status}): {checkpoint.name}, {response.url}")
    if status == 429:
        wait_s = retry_after(response.headers.get("Retry-After", ""))
        return Busy(f"{address} has had too many requests (429); it asks to come again in {wait_s:.0f} s", wait_s)
    if status >= 500:
        return Busy(f"{address} has trouble of its own ({status})")
    return TsfmError(f"{address} refused {response.url} ({status})")


def retry_after(text: str) -> float:
    """Seconds to wait, from either form of the header (RFC 9110, 10.2.3); 0 where it is neither."""
    if text.strip().isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return 0.0


def _one_line(error: BaseException) -> str:
    """The innermost reason in one line: the client wraps it three times."""
    while (inner := getattr(error, "reason", None) or (error.args[0] if error.args else None)) is not None:
        if not isinstance(inner, BaseException):
            break
        error = inner
    return re.sub(r"^(<[^>]*>|HTTPS?Connection\w*\([^)]*\)): ", "", " ".join(str(error).split()))[:200]
