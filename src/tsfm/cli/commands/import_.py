"""Install weights that were brought by hand: a folder or tar file of `tsfm pull --to`, or bare files."""

from __future__ import annotations

import argparse
from pathlib import Path

from tsfm import families, settings
from tsfm.errors import UsageError
from tsfm.weights import checkpoints, identify, importer, staging

EPILOG = """
Files with a list of hashes (tsfm-manifest.json) are checked against it. Bare files are recognised by their
config.json and their sizes, TDgpt's taos.pth by its name; if that is not enough, give FAMILY and CHECKPOINT.
Their hashes are recorded, so that `tsfm verify` can check them later. Give a model of your own, such as a
fine-tuned one, a name with --name; serve it with --checkpoint NAME.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.add_argument("path", metavar="PATH", type=Path, help="a folder, a tar file, or a file of weights")
    parser.add_argument("family", metavar="FAMILY", nargs="?", help="the family of the weights")
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", nargs="?", help="the checkpoint: a name or an index of `tsfm list`"
    )
    parser.add_argument("--name", metavar="NAME", help="name for a model that is no official checkpoint")
    parser.add_argument("--folder", metavar="D", help="the family's folder, if not that of tsfm.ini")


def run(args: argparse.Namespace) -> int:
    if args.family:
        families.find(args.family)
    if args.name is not None and args.checkpoint:
        raise UsageError("give CHECKPOINT or --name, not both: --name is for a model that is no official checkpoint")
    identify.require_readable(args.path)
    with importer.sources(args.path) as found:
        if args.name is not None and len(found) > 1:
            raise UsageError(f"--name: {args.path} holds {len(found)} checkpoints; give the folder of one")
        for source in found:
            card, checkpoint = identify.identify(source, args.family, args.checkpoint, args.name)
            root = settings.read(card.name, {"model_folder": args.folder}).model_folder
            folder = importer.install(source, card, checkpoint, root)
            size = staging.megabytes(checkpoints.bytes_below(folder))
            print(f"{checkpoint.name}: {size} checked and complete in {folder}")
    return 0
