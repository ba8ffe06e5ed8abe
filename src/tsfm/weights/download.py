"""Download a checkpoint from the hub into the family's folder, or into a folder or tar file for another host."""

from __future__ import annotations

import logging
import shutil
import tarfile
from pathlib import Path

from tsfm import kinds, settings
from tsfm.card import Card, Checkpoint
from tsfm.errors import ConfigError, TryLater, TsfmError
from tsfm.weights import checkpoints, fetch, hub, manifest, pins, progress, safe_path, staging
from tsfm.weights.folder import Folder
from tsfm.weights.http import Unreachable
from tsfm.weights.hub import Offer
from tsfm.weights.manifest import Manifest
from tsfm.weights.problems import UNUSABLE, problems
from tsfm.weights.safe_path import Nearest

log = logging.getLogger(__name__)


def ensure(card: Card, model_folder: str | None, name: str | None, mirror: bool) -> None:
    """Download the checkpoint that would be served, if it is missing.

    Args:
        model_folder: the family's folder; None: the default one, shared with TDgpt.
        name: the checkpoint's index or name; None: any present one is enough, else the first is downloaded.
        mirror: download from the mirror rather than from the hub.

    Raises:
        ConfigError: no such checkpoint, or it is not on the hub.
        TsfmError: it could not be downloaded; the sentence says why and what to run.
    """
    if not card.checkpoints or checkpoints.find(card, model_folder, name):
        return
    configured = str(settings.read(card.name, {}).mirror)
    with safe_path.nearest(checkpoints.family_folder(card, model_folder)) as near, near.as_owner():
        pull(card, requested(card, name), near, hub.endpoint(mirror, configured))


def requested(card: Card, name: str | None) -> Checkpoint:
    """The checkpoint to download: the named one, or the first."""
    if not card.checkpoints:
        raise ConfigError(f"{card.name}: its weights come with its package, there is nothing to download")
    return checkpoints.named(card, name) if name else card.checkpoints[0]


def pull(card: Card, checkpoint: Checkpoint, near: Nearest, address: str, revision: str | None = None) -> Path:
    """Download the checkpoint into its own folder below ``near``, unless it is present.

    Args:
        revision: a commit, a branch or a tag; None: the commit that the card pins.

    Returns:
        The folder, complete and checked.

    Raises:
        ConfigError: it is not on the hub.
        TsfmError: the download failed; the bytes received so far are kept for the next attempt.
    """
    return _pull(card, checkpoint, near, address, revision, _other_ways(card, checkpoint, near.path, address))


def export(
    card: Card, checkpoint: Checkpoint, near: Nearest, file: str, address: str, revision: str | None = None
) -> Path:
    """Download the checkpoint for another host: into the folder ``near``, or into the tar ``file`` in it.

    Returns:
        The folder or file to give to ``tsfm import``.
    """
    advice = _other_exports(card, checkpoint, near.path / file, address)
    if not file:
        return _pull(card, checkpoint, near, address, revision, advice)
    with staging.plain_errors(near.path), near.make() as parent:
        parent.own(file)
        with parent.child(f"{checkpoints.PARTIAL}{file}") as beside:
            inner = Nearest(beside.descriptor, beside.path)
            folder = _pull(card, checkpoint, inner, address, revision, advice).name
            _pack(beside, folder, file)
            beside.move(file, parent, file)
        parent.remove(beside.path.name)
    return near.path / file


def _pack(beside: Folder, folder: str, file: str) -> None:
    with beside.child(folder) as source:
        listed = manifest.read(source.here)
        assert listed is not None  # noqa: S101  # the download has just written it
        staging.require_space(beside, listed.bytes)
        with beside.create(file) as out, tarfile.open(fileobj=out, mode="w") as tar:
            for name in (manifest.NAME, *(each.name for each in listed.files)):
                tar.add(source.here / name, f"{folder}/{name}", filter=_anonymous)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Tar metadata without owner and date, so that the bytes are reproducible."""
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = "root"
    member.mode = 0o644
    return member


def _pull(card: Card, checkpoint: Checkpoint, near: Nearest, address: str, revision: str | None, advice: str) -> Path:
    if not checkpoint.pullable:
        raise ConfigError(f"{checkpoint.name}: {checkpoints.remedy(card, checkpoint, near.path)}")
    target = near.path / checkpoint.folder
    with staging.locked(near) as root, staging.recording_failure(root, checkpoint), staging.plain_errors(root.path):
        folder = root.here / checkpoint.folder
        found = problems(folder, checkpoint)
        complete = not found
        if found and found[0].kind == UNUSABLE and found[0].error is not TryLater:
            # Its folder would be replaced, and what is in it is somebody's and intact for what anybody knows.
            message = f"{target} {found[0].text}; {found[0].remedy}, and move {target} away"
            raise ConfigError(message.replace(str(folder), str(target)))
        if complete and (revision is None or pins.commit(folder) == revision):
            return target  # the process that held the lock downloaded it
        try:
            offered = hub.offer(address, checkpoint, revision or checkpoint.revision or checkpoint.branch)
            if not (complete and pins.commit(folder) == offered.revision):
                _download(card, offered, root)
        except Unreachable as error:
            raise TsfmError(f"{error}; {advice}") from error
    return target


def _download(card: Card, offered: Offer, root: Folder) -> None:
    checkpoint = offered.checkpoint
    with staging.staging(root, checkpoint) as folder:
        received = min(checkpoints.bytes_below(folder.here), offered.bytes)
        log.info(
            "%s from %s, commit %s: %s to download, %s on the disk of %s",
            checkpoint.name,
            offered.endpoint,
            offered.revision,
            staging.megabytes(offered.bytes - received),
            staging.megabytes(shutil.disk_usage(root.descriptor).free),
            root.path,
        )
        if note := pins.unpinned(checkpoint, offered.revision):
            log.warning("%s: %s", checkpoint.name, note)
        staging.require_space(root, offered.bytes - received)
        with progress.showing(checkpoint.folder, offered.bytes, received) as shown:
            files = fetch.fetch(offered, folder, pins.hashes(checkpoint, offered.revision), shown.at)
            shown.at(offered.bytes)
        staging.commit(root, folder, checkpoint, Manifest(card.name, checkpoint.name, offered.revision, files))


def _other_ways(card: Card, checkpoint: Checkpoint, root: Path, address: str) -> str:
    pull = f"tsfm pull {card.name} {checkpoint.name}"
    here = "" if root == settings.MODEL_ROOT / card.name else f" --folder {root}"
    instead = _instead(f"{pull} --mirror{here}", address)
    return f"{instead}on a machine with internet: {pull} --to DIR, and then here: tsfm import DIR{here}"


def _other_exports(card: Card, checkpoint: Checkpoint, to: Path, address: str) -> str:
    pull = f"tsfm pull {card.name} {checkpoint.name}"
    instead = _instead(f"{pull} --mirror --to {to}", address)
    return f"{instead}run {pull} --to {to.name} on another machine with internet"


def _instead(mirrored: str, address: str) -> str:
    return {hub.HUB: f"try the mirror: {mirrored}; or ", kinds.MIRROR: ""}.get(
        address, "check HF_ENDPOINT, and mirror in tsfm.ini; or "
    )
