"""Serve one model family over HTTP until told to stop."""

from __future__ import annotations

import argparse
import faulthandler
from collections.abc import Sequence
from pathlib import Path

from tsfm import families, handover, install, settings
from tsfm.errors import ConfigError

OPTIONS = {
    "host": "H",
    "port": "N",
    "model_folder": "D",
    "checkpoint": "M",
    "device": "D",
    "threads": "N",
    "dtype": "T",
    "log_level": "L",
}


def flag(name: str) -> str:
    """The option that sets the setting ``name``."""
    return "--model-name" if name == "checkpoint" else "--" + name.replace("_", "-")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("family", metavar="FAMILY", help="one of `tsfm list`")
    for name, metavar in OPTIONS.items():
        parser.add_argument(flag(name), dest=name, metavar=metavar, help=settings.KEYS[name].meaning)
    parser.add_argument(
        "--download",
        choices=("no", "hub", "mirror"),
        default="no",
        help="fetch the weights first where they are missing; the unit leaves that to tsfm-pull@FAMILY",
    )


def run(args: argparse.Namespace) -> int:
    card = families.find(args.family)
    chosen = settings.read(card.name, {name: getattr(args, name) for name in OPTIONS})
    _enter_environment(card.name, args.words)
    # What every thread was doing, in the journal, when the watchdog or a native library ends the process.
    faulthandler.enable()
    if card.packaged:
        from tsfm import preload

        preload.begin()
    # Only here: flask, waitress and numpy are in the family's environment, not in the system's.
    from tsfm import logs, server

    logs.set_up(chosen.log_level)
    if args.download != "no":
        from tsfm.store import bring

        bring.ensure(card, chosen.model_folder, chosen.checkpoint, args.download == "mirror")
    return server.serve(card, chosen)


def _enter_environment(family: str, words: Sequence[str]) -> None:
    """Go on in the family's own environment where it is installed and this is another one."""
    python = install.venv_python(family)
    if python is None and Path(__file__).is_relative_to(install.LIB):
        raise ConfigError(f"family {family} is not installed here; install taos-tsfm-{family}")
    if python:
        handover.enter(python, words)
