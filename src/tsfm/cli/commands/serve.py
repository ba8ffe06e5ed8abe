"""Serve one model family over HTTP until told to stop."""

from __future__ import annotations

import argparse
import faulthandler
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tsfm import families, paths, settings
from tsfm.card import Card
from tsfm.errors import ConfigError, TryLater
from tsfm.system import handover, systemd
from tsfm.weights import checkpoints

PATIENCE_S = 30
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
        also = ["--checkpoint"] if name == "checkpoint" else []
        parser.add_argument(flag(name), *also, dest=name, metavar=metavar, help=settings.KEYS[name].meaning)
    parser.add_argument(
        "--download",
        choices=("no", "hub", "mirror"),
        default="no",
        help="fetch the weights first where they are missing; the unit leaves that to tsfm-pull@FAMILY",
    )


def run(args: argparse.Namespace) -> int:
    card = families.find(args.family)
    chosen = settings.read(card.name, {name: getattr(args, name) for name in OPTIONS})
    _patiently(lambda: _enter_environment(card.name, args.words))
    if args.download == "no":
        _patiently(lambda: checkpoints.resolve(card, chosen.model_folder, chosen.checkpoint))
    # What every thread was doing, in the journal, when the watchdog or a native library ends the process.
    faulthandler.enable()
    if card.packaged:
        from tsfm.system import preload

        preload.begin()
    try:
        return _serve(card, chosen, args.download)
    except TryLater as reason:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the server that had a handler for it has ended
        systemd.notify(f"STATUS=waiting: {reason}")
        time.sleep(_patience_s())
        raise


def _serve(card: Card, chosen: settings.Settings, download: str) -> int:
    # Only here: flask, waitress and numpy are in the family's environment, not in the system's.
    try:
        from tsfm import logs
        from tsfm.http import server
    except ImportError as error:
        raise families.lacking(card.name, error) from error

    logs.set_up(chosen.log_level)
    if download != "no":
        from tsfm.weights import download as download_

        download_.ensure(card, chosen.model_folder, chosen.checkpoint, download == "mirror")
    return server.serve(card, chosen)


def _patiently(step: Callable[[], object]) -> None:
    """Do the step, again each second while only time can help."""
    end, told = time.monotonic() + _patience_s(), ""
    while True:
        try:
            step()
            return
        except TryLater as reason:
            if time.monotonic() >= end:
                raise
            if told != str(reason):
                told = str(reason)
                systemd.notify(f"STATUS=waiting: {told}")
            time.sleep(1)  # what is waited for tells nobody when it comes


def _patience_s() -> int:
    """How long to wait here before giving up, which makes systemd start the download and the service again.

    systemd has one pause between restarts for all causes, and a service that crashed is wanted back soon. So the
    pause of one that lacks something is here. A person at a terminal is told at once.
    """
    return PATIENCE_S if "NOTIFY_SOCKET" in os.environ else 0


def _enter_environment(family: str, words: Sequence[str]) -> None:
    """Go on in the family's own environment where it is installed and this is another one."""
    python = paths.venv_python(family)
    if python is None and paths.is_there(family):
        raise TryLater(
            f"the environment of {family} is incomplete: its packages are being installed; "
            f"if nothing installs them, reinstall taos-tsfm-runtime and taos-tsfm-{family}"
        )
    if python is None and Path(__file__).is_relative_to(paths.LIB):
        raise ConfigError(f"family {family} is not installed here; install taos-tsfm-{family}")
    if python:
        handover.enter(python, words)
