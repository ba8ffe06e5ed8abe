"""Translates the arguments of TDgpt's server scripts: ``python -m tsfm.cli.legacy_scripts FAMILY [ARGUMENT...]``.

``chronos-server.py``                             the smallest model, downloaded on first start
``chronos-server.py 2``                           the model of that index; also ``-i 2``, ``--model-index 2``
``chronos-server.py FOLDER MODEL True``           loads from the folder, downloads missing files into it,
                                                  from the mirror if True; also ``--enable-ep``
``tdtsfm-server.py FOLDER --action server``       as TDgpt's launcher calls this script
``... -f FOLDER -n MODEL``                        also ``--model-folder``, ``--model-name``

Each form takes ``--host``, ``--port`` and the other options of ``tsfm serve``.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from tsfm import families, kinds
from tsfm.card import Card
from tsfm.cli import main as command_line
from tsfm.cli.commands import serve
from tsfm.errors import TsfmError, UsageError

_ALSO = {"model_folder": ["-f"], "checkpoint": ["-n", "-i", "--model-index"]}
"""Further names of options of ``tsfm serve`` in the scripts; a checkpoint may be given by index or name."""
_WORDS = {"model_folder": "the model's folder", "checkpoint": "the model"}
_OPTIONS = list(dict.fromkeys([*_WORDS, *serve.OPTIONS]))
_FLAGS = [*(flag for name in _OPTIONS for flag in (serve.flag(name), *_ALSO.get(name, []))), "--enable-ep", "--action"]


class _Parser(argparse.ArgumentParser):
    """A parser that raises its error as one sentence."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.prog}: {message}")


def translate(family: str, words: Sequence[str]) -> tuple[list[str], bool]:
    """The arguments of ``tsfm serve`` for those of a server script, and whether to use the mirror.

    Raises:
        UsageError: not one of the documented forms; the sentence names the argument.
    """
    card = families.find(family)
    if {"-h", "--help"} & set(words):
        return ["serve", family, "--help"], False
    parser = _parser(f"{family}-server.py")
    parsed, unknown = parser.parse_known_intermixed_args(list(words))
    if unknown:
        raise UsageError(f"{parser.prog}: unknown argument {unknown[0]!r}; known are {', '.join(_FLAGS)}")
    given = _by_position(card, parsed.positional)
    for name, value in given.items():
        if getattr(parsed, name) is not None:
            raise UsageError(f"{parser.prog}: {value!r} and {getattr(parsed, name)!r} are both given as {_WORDS[name]}")
    chosen = {name: getattr(parsed, name) for name in _OPTIONS} | given
    if not card.checkpoints:
        # Its weights are in its package, but launchers give a folder and a model anyway.
        chosen |= {"model_folder": None, "checkpoint": None}
    arguments = [word for name, value in chosen.items() if value is not None for word in (serve.flag(name), value)]
    mirror = parsed.enable_ep or (len(parsed.positional) == 3 and _truth(parsed.positional[2]))
    return ["serve", family, *arguments], mirror


def _parser(name: str) -> _Parser:
    parser = _Parser(prog=name, allow_abbrev=False, add_help=False)
    parser.add_argument("positional", nargs="*")
    for option in _OPTIONS:
        parser.add_argument(serve.flag(option), *_ALSO.get(option, []), dest=option)
    parser.add_argument("--enable-ep", action="store_true")
    parser.add_argument("--action", choices=["server"])
    return parser


def _by_position(card: Card, words: Sequence[str]) -> dict[str, str]:
    """The settings given by position, by the name of the setting."""
    if len(words) > 3:
        indexes = ", ".join(f"{i} for {c.name}" for i, c in enumerate(card.checkpoints)) or "none here"
        raise UsageError(
            f"{card.name}-server.py: expected no arguments, an index ({indexes}), "
            f"or MODEL_FOLDER MODEL_NAME ENABLE_MIRROR, got {len(words)} arguments"
        )
    if len(words) > 1:
        return {"model_folder": words[0], "checkpoint": words[1]}
    if not words:
        return {}
    names = {known for checkpoint in card.checkpoints for known in (checkpoint.name, checkpoint.folder)}
    is_folder = words[0] not in names and (os.sep in words[0] or os.path.isdir(words[0]))
    return {"model_folder" if is_folder else "checkpoint": words[0]}


def _truth(word: str) -> bool:
    try:
        return kinds.switch(word)
    except ValueError as error:
        raise UsageError(f"ENABLE_MIRROR: {error}") from None


def main(words: Sequence[str]) -> int:
    """Serve with the arguments of the script."""
    try:
        arguments, mirror = translate(words[0], words[1:])
    except TsfmError as error:
        print(f"tsfm: {error}", file=sys.stderr)
        return error.exit_code
    return command_line.main([*arguments, "--download", "mirror" if mirror else "hub"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
