"""One line of the doctor's report."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    OK = "ok"
    NOTE = "note"  # worth knowing, nothing to do
    WARNING = "warning"  # works, but not as it could
    BROKEN = "broken"  # does not work until somebody repairs it


@dataclass(frozen=True)
class Finding:
    """Attributes:
    about: the subject of the check, "TDgpt" or a family's name.
    text: the result of the check.
    remedy: the next step; empty when there is nothing to do.
    """

    level: Level
    about: str
    text: str
    remedy: str = ""

    def __str__(self) -> str:
        line = f"{self.level:8} {self.about:12} {self.text}"
        return f"{line}; {self.remedy}" if self.remedy else line


def ok(about: str, text: str) -> Finding:
    return Finding(Level.OK, about, text)


def note(about: str, text: str, remedy: str = "") -> Finding:
    return Finding(Level.NOTE, about, text, remedy)


def warning(about: str, text: str, remedy: str) -> Finding:
    return Finding(Level.WARNING, about, text, remedy)


def broken(about: str, text: str, remedy: str) -> Finding:
    return Finding(Level.BROKEN, about, text, remedy)
