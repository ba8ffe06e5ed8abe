"""Download a family's weights from the hub, check them, and resume an interrupted download."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tsfm import families, kinds, logs, settings
from tsfm.errors import ConfigError, UsageError
from tsfm.weights import checkpoints, download, hub, pins, safe_path

EPILOG = """
Without CHECKPOINT: the one named in tsfm.ini, else one that is already complete, else the first of `tsfm list`.
The pinned commit is downloaded, or the newest if none is pinned; --revision chooses another. Environment:
HF_ENDPOINT replaces the address of the hub, HF_TOKEN is the token for gated checkpoints, HTTPS_PROXY is the
proxy to use.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.add_argument("family", metavar="FAMILY", help="one of `tsfm list`")
    parser.add_argument("checkpoint", metavar="CHECKPOINT", nargs="?", help="a name or an index of `tsfm list`")
    parser.add_argument("--mirror", action="store_true", help=f"download from {kinds.MIRROR}, or tsfm.ini's mirror")
    parser.add_argument("--revision", metavar="REV", help="a commit, branch or tag, if not the pinned commit")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--folder", metavar="D", help="the family's folder, if not that of tsfm.ini")
    where.add_argument(
        "--to",
        metavar="DIR",
        type=Path,
        help="download into a folder or a file.tar for `tsfm import` on another machine",
    )


def run(args: argparse.Namespace) -> int:
    if args.revision is not None and not args.revision.strip():
        raise UsageError("--revision: expected a commit, a branch or a tag, got an empty text")
    card = families.find(args.family)
    chosen = settings.read(card.name, {"model_folder": args.folder, "checkpoint": args.checkpoint})
    if not card.checkpoints:
        print(f"{card.name}: its weights come with its package")
        return 0
    folder = None if args.to else checkpoints.find(card, chosen.model_folder, chosen.checkpoint)
    if folder and args.revision in (None, pins.commit(folder)):
        print(f"{card.name}: weights are complete in {folder}")
        return 0
    checkpoint = download.requested(card, chosen.checkpoint)
    root = checkpoints.family_folder(card, chosen.model_folder)
    if not checkpoint.pullable:
        raise ConfigError(f"weights of {checkpoint.name}: {checkpoints.remedy(card, checkpoint, root)}")
    if card.commercial != "yes":
        words = {"no": "does not permit commercial use", "limited": "limits commercial use"}[card.commercial]
        print(f"tsfm: {checkpoint.name}: its licence, {card.licence}, {words}", file=sys.stderr)
    logs.set_up(chosen.log_level)
    address = hub.endpoint(args.mirror, chosen.mirror)
    packed = args.to is not None and args.to.suffix == ".tar"
    with safe_path.nearest((args.to.parent if packed else args.to) if args.to else root) as near:
        # From here on the folder's owner controls the names, and the network is used: give up root first.
        near.step_down()
        if args.to:
            exported = download.export(card, checkpoint, near, args.to.name if packed else "", address, args.revision)
            print(f"{checkpoint.name}: complete in {exported}; on the other machine: tsfm import {args.to}")
        else:
            print(f"{checkpoint.name}: complete in {download.pull(card, checkpoint, near, address, args.revision)}")
    return 0
