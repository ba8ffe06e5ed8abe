"""Put weights in place that were carried here: a folder or tar of `tsfm pull --to`, or bare files."""

from __future__ import annotations

import argparse
from pathlib import Path

from tsfm import families, settings
from tsfm.weights import checkpoints, importer, staging

EPILOG = """
Files with a list of hashes (tsfm-manifest.json) are checked against it. Bare files, such as the
taos.pth of TDgpt, need FAMILY and CHECKPOINT where their names and sizes do not tell what they are;
their hashes are recorded, so that `tsfm verify` can check them from then on.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.add_argument("path", metavar="PATH", type=Path, help="a folder, a tar file, or a file of weights")
    parser.add_argument("family", metavar="FAMILY", nargs="?", help="which family it is of")
    parser.add_argument("checkpoint", metavar="CHECKPOINT", nargs="?", help="which checkpoint it is")
    parser.add_argument("--folder", metavar="D", help="the family's folder, if not that of tsfm.ini")


def run(args: argparse.Namespace) -> int:
    if args.family:
        families.find(args.family)
    with importer.sources(args.path) as found:
        for source in found:
            card, checkpoint = importer.identify(source, args.family, args.checkpoint)
            root = settings.read(card.name, {"model_folder": args.folder}).model_folder
            folder = importer.take_in(source, card, checkpoint, root)
            size = staging.megabytes(checkpoints.bytes_below(folder))
            print(f"{checkpoint.name}: {size} checked and complete in {folder}")
    return 0
