"""Marks our lines in a file that belongs to others, and removes them so that the file is as before."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from tsfm.errors import TsfmError

BEGIN = "# >>> tsfm >>>"
END = "# <<< tsfm <<<"
WAS = "# was: "
"""The prefix of an original line that our block replaces."""
NO_LINE_END = "# the file's last line had no line end"
FROM_TEMPLATE = "# tsfm register made this file from its template"
HEADING = "# Written by `tsfm register`; `tsfm unregister` takes it out. Change tsfm.ini instead."


class Refused(TsfmError):
    """A file of TDgpt's that is not changed; the sentence gives the reason."""


@dataclass(frozen=True)
class Stripped:
    """A file without our lines.

    Attributes:
        text: the file as it was before our lines.
        ours: our lines, without marks and line ends.
    """

    text: str
    ours: tuple[str, ...]

    @property
    def from_template(self) -> bool:
        return FROM_TEMPLATE in self.ours


@dataclass
class Edit:
    """A file's new text, and notes for the operator."""

    text: str
    notes: list[str] = field(default_factory=list)


def replaced_note(source: str, key: str, current: str, url: str) -> str:
    """The note about a shipped line that is replaced."""
    return f"{source}: {key} was {current}, where no service answers; now it is {url} (`tsfm unregister` restores it)"


def unchanged_note(source: str, key: str, current: str, url: str) -> str:
    """The note about another person's line that stays."""
    return f"{source}: {key} = {current} is kept; to use {url} delete that line and run `tsfm register`"


def lines(text: str) -> list[str]:
    """The text's lines with their ends, whichever of CR LF, LF and CR they are."""
    return re.findall(r"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+", text)


def line_end(text: str) -> str:
    """The line end of the text's first line; LF for a text without one."""
    found = re.search(r"\r\n|\n|\r", text)
    return found.group() if found else "\n"


def block(body: Sequence[str], eol: str) -> list[str]:
    """The lines between their marks, each with its end."""
    return [line + eol for line in (BEGIN, *body, END)]


def with_line_end(text: str) -> tuple[str, list[str]]:
    """The text with a line end on its last line, and the remark with which ``strip`` removes that end again."""
    if not text or text.endswith(("\n", "\r")):
        return text, []
    return text + line_end(text), [NO_LINE_END]


def strip(text: str, source: str) -> Stripped:
    """The text without our blocks; the original lines behind ``WAS`` are restored.

    Raises:
        Refused: a begin mark without an end mark, or the other way round.
    """
    remaining: list[str] = []
    ours: list[str] = []
    opened = 0
    for number, line in enumerate(lines(text), start=1):
        content = line.rstrip()
        if content in (BEGIN, END):
            if (content == BEGIN) == bool(opened):
                raise _unpaired(source, number, content)
            opened = number if content == BEGIN else 0
        elif not opened:
            remaining.append(line)
        else:
            ours.append(content)
            if line.startswith(WAS):
                remaining.append(line[len(WAS) :])
    if opened:
        raise _unpaired(source, opened, BEGIN)
    rest = "".join(remaining)
    return Stripped(_without_line_end(rest) if NO_LINE_END in ours else rest, tuple(ours))


def _unpaired(source: str, number: int, mark: str) -> Refused:
    return Refused(
        f"{source}: line {number}: the mark {mark!r} stands without its counterpart; delete the marked lines by hand"
    )


def _without_line_end(text: str) -> str:
    return re.sub(r"(?:\r\n|\n|\r)\Z", "", text)
