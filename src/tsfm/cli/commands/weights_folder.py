"""Make a family's weights folder for the downloader if it is missing; tsfm-pull@ runs this as root."""

from __future__ import annotations

import argparse
import os
import pwd
import stat
from pathlib import Path

from tsfm import families, settings
from tsfm.errors import TsfmError

USER = "tsfm-pull"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("family", metavar="FAMILY", help="one of `tsfm list`")


def run(args: argparse.Namespace) -> int:
    card = families.find(args.family)
    if card.checkpoints:
        folder, owner = settings.MODEL_ROOT / card.name, pwd.getpwnam(USER)
        make(folder, owner)
        # In its sandbox the downloader cannot see who owns the folder.
        if folder.exists() and folder.stat().st_uid != owner.pw_uid:
            print(f"{folder} belongs to {name_of(folder)}: a download into it needs root, run: tsfm pull {card.name}")
    return 0


def name_of(path: Path) -> str:
    """The owner of a file, by name if the user has one."""
    number = path.stat().st_uid
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def make(folder: Path, owner: pwd.struct_passwd) -> None:
    """Make the folder and its missing parents, and give the folder to the owner; an existing folder is not changed.

    Raises:
        TsfmError: another user than root can change a folder above it, and could redirect the new folder.
    """
    if os.path.lexists(folder):
        return
    nearest = next(parent for parent in folder.parents if os.path.lexists(parent))
    for parent in (resolved := nearest.resolve(), *resolved.parents):
        facts = parent.stat()
        if facts.st_uid or facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise TsfmError(
                f"{folder} is not made, as {parent} belongs to {name_of(parent)} and is not root's alone to change; "
                f"run: install -d -o {owner.pw_name} -g {owner.pw_name} {folder}"
            )
    for missing in reversed([folder, *(parent for parent in folder.parents if not os.path.lexists(parent))]):
        missing.mkdir()
        missing.chmod(0o755)  # whatever the umask of who runs this
    os.chown(folder, owner.pw_uid, owner.pw_gid)
