"""What the server scripts' documented arguments mean: ``python -m tsfm.script FAMILY [ARGUMENT...]``.

``chronos-server.py``                             the smallest model, downloaded on first start
``chronos-server.py 2``                           the model of that index
``chronos-server.py FOLDER MODEL True``           loads from the folder, downloads into it what is not there
``chronos-server.py --model-folder F --model-name M --port N``  as newer launchers call it
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tsfm import cli, families, settings
from tsfm.errors import TsfmError, UsageError


def translate(family: str, words: Sequence[str]) -> tuple[list[str], bool]:
    """The arguments of ``tsfm serve`` for those of a server script, and whether to use the mirror.

    Raises:
        UsageError: not one of the documented forms.
    """
    card = families.find(family)
    if not words or words[0].startswith("-"):
        return ["serve", family, *words], False
    if len(words) == 1:
        return ["serve", family, "--model-name", words[0]], False
    if len(words) <= 3:
        folder, name, *mirror = words
        return ["serve", family, "--model-folder", folder, "--model-name", name], _truth(mirror)
    indexes = ", ".join(f"{i} for {c.name}" for i, c in enumerate(card.checkpoints))
    raise UsageError(
        f"{family}-server.py: expected no arguments, an index ({indexes}), "
        f"or MODEL_FOLDER MODEL_NAME ENABLE_MIRROR, got {len(words)} arguments"
    )


def main(words: Sequence[str]) -> int:
    """Serve as the script was asked to."""
    try:
        arguments, mirror = translate(words[0], words[1:])
    except TsfmError as error:
        print(f"tsfm: {error}", file=sys.stderr)
        return error.exit_code
    return cli.main([*arguments, "--download", "mirror" if mirror else "hub"])


def _truth(words: Sequence[str]) -> bool:
    try:
        return settings.switch(words[0]) if words else False
    except ValueError as error:
        raise UsageError(f"ENABLE_MIRROR: {error}") from None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
