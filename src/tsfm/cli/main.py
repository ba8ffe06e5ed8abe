"""The command ``tsfm``: every file in ``commands/`` is one subcommand.

A command module has a one-line docstring (its help), ``add_arguments(parser)`` and ``run(args) -> exit code``.
It imports heavy packages only inside ``run``.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from tsfm import __version__
from tsfm.errors import TsfmError
from tsfm.system import systemd

FOLDER = Path(__file__).parent / "commands"


def commands() -> dict[str, str]:
    """Command name to module name: ``import_.py`` is ``import``, ``port_holder.py`` is ``port-holder``."""
    stems = sorted(path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("_"))
    return {stem.rstrip("_").replace("_", "-"): stem for stem in stems}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit code: 0 done, 1 failed, 2 wrong command line, 75 try later, 78 wrong configuration.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names from files may have letters that the terminal lacks
    words = list(sys.argv[1:] if argv is None else argv)
    known = commands()
    # Only the requested command is imported, so that no command slows down another.
    imported = [words[0]] if words and words[0] in known else list(known)
    parser = _parser({name: load(known[name]) for name in imported})
    args = parser.parse_args(words, argparse.Namespace(words=words))  # a hand-over to another environment repeats them
    try:
        code: int = args.run(args)
    except TsfmError as error:
        # The prefix makes it an error in the journal, where priorities can be filtered.
        level = "<3>" if "JOURNAL_STREAM" in os.environ else ""
        print(f"{level}tsfm: {error}", file=sys.stderr)
        systemd.notify(f"STATUS={error}")  # systemctl status shows it even after the process has ended
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader, such as head(1), has closed the pipe
        sys.stderr.close()
        return 0
    return code


def load(stem: str) -> ModuleType:
    """The module of a command."""
    return importlib.import_module(f"tsfm.cli.commands.{stem}")


def _parser(modules: dict[str, ModuleType]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tsfm",
        description="Serve time-series foundation models to TDengine's TDgpt.",
        epilog="Exit codes: 0 done, 1 failed, 2 wrong command line, 75 try later, 78 wrong configuration.",
    )
    parser.add_argument("--version", action="version", version=f"tsfm {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, module in modules.items():
        summary = (module.__doc__ or "").strip().splitlines()[0]
        sub = subparsers.add_parser(name, description=module.__doc__, help=summary)
        module.add_arguments(sub)
        sub.set_defaults(run=module.run)
    return parser
