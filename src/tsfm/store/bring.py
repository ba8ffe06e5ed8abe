"""Bring a checkpoint into the family's folder from the hub, or out of it onto a stick."""

from __future__ import annotations

import logging
import shutil
import tarfile
from pathlib import Path

from tsfm import checkpoints, settings
from tsfm.card import Card, Checkpoint
from tsfm.errors import ConfigError, TsfmError
from tsfm.store import hub, manifest, place, progress
from tsfm.store.manifest import Manifest

log = logging.getLogger(__name__)


def ensure(card: Card, model_folder: str | None, name: str | None, mirror: bool) -> None:
    """Download what serving would load, when it is not there; else return at once.

    Args:
        model_folder: the family's folder; None: the one that TDgpt uses too.
        name: the checkpoint's index or name; None: any will do, and the first is downloaded.
        mirror: download from the mirror rather than from the hub.

    Raises:
        ConfigError: no such checkpoint, or it is not on the hub.
        TsfmError: it could not be downloaded; the sentence says why and what to run.
    """
    if not card.checkpoints or checkpoints.find(card, model_folder, name):
        return
    configured = str(settings.read(card.name, {}).mirror)
    checkpoint = wanted(card, name)
    pull(card, checkpoint, checkpoints.family_folder(card, model_folder), hub.endpoint(mirror, configured))


def wanted(card: Card, name: str | None) -> Checkpoint:
    """The checkpoint to download: the named one, else the first."""
    if not card.checkpoints:
        raise ConfigError(f"{card.name}: its weights come with its package, there is nothing to download")
    return checkpoints.named(card, name) if name else card.checkpoints[0]


def pull(card: Card, checkpoint: Checkpoint, root: Path, address: str) -> Path:
    """Download the checkpoint into a folder of its own below ``root``, unless it is there.

    Returns:
        The folder, complete and checked.

    Raises:
        ConfigError: it is not on the hub.
        TsfmError: it could not be downloaded; what has arrived is kept for the next time.
    """
    if not checkpoint.pullable:
        raise ConfigError(f"{checkpoint.name}: {checkpoints.remedy(card, checkpoint, root)}")
    with place.locked(root), place.noted(root, checkpoint), place.plain_errors(root):
        target = root / checkpoint.folder
        if not checkpoints.problems(target, checkpoint):
            return target  # whoever held the lock brought it
        try:
            return _download(card, checkpoint, root, address)
        except hub.Unreachable as error:
            raise TsfmError(f"{error}; {_other_ways(card, checkpoint, root, address)}") from error


def export(card: Card, checkpoint: Checkpoint, to: Path, address: str) -> Path:
    """Download the checkpoint to carry it: into a folder, or a tar file when ``to`` ends with .tar.

    Returns:
        The folder or file to give to ``tsfm import``.
    """
    if to.suffix != ".tar":
        return pull(card, checkpoint, to, address)
    beside = to.with_name(f"{checkpoints.PARTIAL}{to.name}")
    with place.plain_errors(to.parent):
        folder = pull(card, checkpoint, beside, address)
        listed = manifest.read(folder)
        assert listed is not None  # noqa: S101  # pull has just written it
        place.require_space(to.parent, listed.bytes)
        packed = beside / to.name
        with tarfile.open(packed, "w") as tar:
            for name in (manifest.NAME, *(file.name for file in listed.files)):
                tar.add(folder / name, f"{folder.name}/{name}", filter=_nobodys)
        packed.rename(to)
        shutil.rmtree(beside)
    return to


def _nobodys(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """The same bytes whoever packs, and whenever."""
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = "root"
    member.mode = 0o644
    return member


def _download(card: Card, checkpoint: Checkpoint, root: Path, address: str) -> Path:
    offered = hub.offer(address, checkpoint)
    folder = place.staging(root, checkpoint)
    there = min(checkpoints.bytes_below(folder), offered.bytes)
    log.info(
        "%s from %s, commit %s: %s to download, %s on the disk of %s",
        checkpoint.name,
        address,
        offered.revision[:12],
        place.megabytes(offered.bytes - there),
        place.megabytes(shutil.disk_usage(root).free),
        root,
    )
    place.require_space(root, offered.bytes - there)
    with progress.watching(checkpoint.folder, offered.bytes, lambda: checkpoints.bytes_below(folder)):
        files = hub.fetch(offered, folder)
    place.settle(folder, root / checkpoint.folder, Manifest(card.name, checkpoint.name, offered.revision, files))
    return root / checkpoint.folder


def _other_ways(card: Card, checkpoint: Checkpoint, root: Path, address: str) -> str:
    pull = f"tsfm pull {card.name} {checkpoint.name}"
    here = "" if root == settings.MODEL_ROOT / card.name else f" --folder {root}"
    instead = {
        hub.HUB: f"try the mirror: {pull} --mirror{here}; or ",
        settings.MIRROR: "",
    }.get(address, "check HF_ENDPOINT, and mirror in tsfm.ini; or ")
    return f"{instead}on a machine with internet: {pull} --to DIR, and then here: tsfm import DIR{here}"
