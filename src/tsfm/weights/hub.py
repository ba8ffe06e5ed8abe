"""The model hub: which files it has of a checkpoint, and its errors.

A file's address is ADDRESS/OWNER/NAME/resolve/REVISION/FILE. HEAD returns the commit, the size and the
hash; GET returns the bytes or redirects to the host that has them. This is the protocol of
huggingface_hub's ``hf_hub_download`` and of the mirrors.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from urllib.parse import quote

from tsfm.card import Checkpoint
from tsfm.errors import TsfmError
from tsfm.kinds import MIRROR
from tsfm.weights import http, retry
from tsfm.weights.http import Busy, Reply
from tsfm.weights.manifest import Listing

HUB = "https://huggingface.co"


@dataclass(frozen=True)
class Remote:
    """One file on the hub: size in bytes, hash (SHA-256 of 64 digits or git blob of 40) and address.

    The address of a file in LFS is on another host and expires.
    """

    name: str
    size: int
    digest: str
    url: str


@dataclass(frozen=True)
class Offer(Listing):
    """What the hub offers for a checkpoint: the commit and the card's files in the card's order."""

    endpoint: str
    checkpoint: Checkpoint
    revision: str
    files: tuple[Remote, ...]

    def url(self, name: str) -> str:
        return _url(self.endpoint, self.checkpoint, self.revision, name)


def endpoint(mirror: bool, configured: str) -> str:
    """The hub's address. An explicit address has priority over `mirror = yes`, and the environment over the settings.

    Args:
        mirror: the option --mirror of the command line.
        configured: the setting ``mirror``: an address, or empty for no.

    Raises:
        ConfigError: the address in the environment is not valid.
    """
    chosen = os.environ.get("HF_ENDPOINT") or configured or (MIRROR if mirror else HUB)
    http.origin(chosen)
    return chosen.rstrip("/")


def offer(address: str, checkpoint: Checkpoint, revision: str) -> Offer:
    """Ask the hub at ``address`` for the checkpoint's files at a revision: a commit, a branch or a tag.

    Raises:
        Unreachable: no response from the address.
        TsfmError: the hub refuses, or lacks a file.
    """
    offline = [name for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE") if os.environ.get(name)]
    if offline and _is_set(offline[0]):
        raise TsfmError(f"{offline[0]} is set in the environment, so nothing can be downloaded")
    files = []
    for name in checkpoint.files:
        commit, remote = retry.call(partial(_look, address, checkpoint, revision, name))
        if re.fullmatch("[0-9a-f]{40}", revision) and commit != revision:
            raise TsfmError(f"{address} sends {name} of commit {commit}, but commit {revision} was requested")
        revision = commit  # the files after the first come from the same commit
        files.append(remote)
    return Offer(address, checkpoint, revision, tuple(files))


def _look(address: str, checkpoint: Checkpoint, revision: str, name: str) -> tuple[str, Remote]:
    """The commit, size and hash of one file."""
    url = _url(address, checkpoint, revision, name)
    # A file in LFS is on another host; the response that redirects there already holds commit, size and hash.
    with http.send("HEAD", url, {}, (address, token()), lambda reply: "X-Linked-Etag" in reply.headers) as reply:
        facts = reply.headers
        if reply.status >= 400:
            raise refusal(address, checkpoint, reply)
    commit = facts.get("X-Repo-Commit", "")
    digest = (facts.get("X-Linked-Etag") or facts.get("ETag") or "").removeprefix("W/").strip('"')
    size = facts.get("X-Linked-Size") or facts.get("Content-Length") or ""
    if not (re.fullmatch("[0-9a-f]{40}", commit) and re.fullmatch("[0-9a-f]{40,64}", digest) and size.isdigit()):
        raise TsfmError(
            f"{address} answers, but not like a model hub: its answer for {name} has no commit, hash or size"
        )
    return commit, Remote(name, int(size), digest, http.onward(reply))


def _url(address: str, checkpoint: Checkpoint, revision: str, name: str) -> str:
    return f"{address}/{checkpoint.name}/resolve/{quote(revision, safe='')}/{quote(name)}"


def token() -> str:
    """The user's token, from the environment or from the file of the hub's own client; empty: none."""
    given = os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN")
    if given or _is_set("HF_HUB_DISABLE_IMPLICIT_TOKEN"):
        return (given or "").strip()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or f"{cache}/huggingface"
    try:
        return Path(os.environ.get("HF_TOKEN_PATH") or f"{home}/token").expanduser().read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError, RuntimeError):
        return ""  # no such file, or not readable by this user


def _is_set(variable: str) -> bool:
    return os.environ.get(variable, "").upper() in ("1", "ON", "YES", "TRUE")


def refusal(address: str, checkpoint: Checkpoint, reply: Reply) -> TsfmError:
    status, code = reply.status, reply.headers.get("X-Error-Code", "")
    if http.shown(reply.url) != http.shown(address) and status < 500:
        return Busy(f"{http.shown(reply.url)}, to which {address} redirects, refuses the file ({status})")
    if status == 407:
        return http.proxy_refusal(address, status)
    if status in (401, 403) and code != "RepoNotFound":
        return TsfmError(
            f"{address} gives {checkpoint.name} only to users who have access ({status}): "
            "accept its terms there, then set HF_TOKEN to your token"
        )
    if status in (401, 404):
        what = {"EntryNotFound": "file", "RevisionNotFound": "revision"}.get(code, "model")
        return TsfmError(f"{address} has no such {what} ({status}): {checkpoint.name}, {reply.url}")
    if status == 429:
        wait_s = retry_after(reply.headers.get("Retry-After", ""))
        return Busy(f"{address} received too many requests (429); it asks for a pause of {wait_s:.0f} s", wait_s)
    if status >= 500:
        return Busy(f"{address} reports an internal error ({status})")
    return TsfmError(f"{address} refused {reply.url} ({status})")


def retry_after(text: str) -> float:
    """Seconds to wait, from either form of the header (RFC 9110, 10.2.3); 0: neither form."""
    if text.strip().isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return 0.0
