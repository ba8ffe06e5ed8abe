"""Parses tsfm.ini into sections and keys with their line numbers; an invalid file raises a ConfigError."""

from __future__ import annotations

import codecs
import difflib
import io
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from tsfm.errors import ConfigError

DEFAULT = "DEFAULT"
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class Entry:
    """The value of one key, and the line of the file with the key."""

    value: str
    line: int


@dataclass(frozen=True)
class Section:
    """The keys of one section, in lower case, and the line of its header."""

    line: int
    keys: dict[str, Entry]


Sections = dict[str, Section]


def read(path: Path) -> Sections:
    """Read every section of the file. A file that does not exist has no sections.

    The format is that of ConfigParser without interpolation: ``key = value`` or ``key: value``. A comment is a
    separate line that starts with # or ;. An indented line continues the value of the line above it.

    Raises:
        ConfigError: the file cannot be read or has another format; the message names the file and the line.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    return parse(_decoded(data, path), str(path))


def parse(text: str, source: str) -> Sections:
    """Parse the sections of a text; error messages name it as ``source``."""
    return _Reader(source).read(text)


def _decoded(data: bytes, path: Path) -> str:
    # A NUL between ASCII letters means UTF-16 without a byte order mark.
    if data.startswith(_UTF16) or b"\0" in data:
        raise ConfigError(f"{path}: cannot be read: it looks like UTF-16 (Notepad's Unicode); save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}: cannot be read: line {line} is not UTF-8; save the file as UTF-8") from None


class _Reader:
    """The current position in the text, and the sections read so far."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._sections: Sections = {}
        self._section = self._key = ""
        self._indent = self._line = 0

    def read(self, text: str) -> Sections:
        for self._line, raw in enumerate(io.StringIO(text, newline=None), 1):
            words = raw.strip()
            if not words or words[0] in "#;":
                continue
            indent = len(raw) - len(raw.lstrip())
            if self._key and indent > self._indent:
                self._go_on(words)
            elif words[0] == "[":
                self._begin(words)
            else:
                self._take(words, indent)
        return self._sections

    def _begin(self, words: str) -> None:
        if not words.endswith("]") or not words[1:-1].strip():
            raise self._wrong(f"expected a section such as [DEFAULT] alone in its line, got {words!r}")
        name = words[1:-1]
        if name in self._sections:
            raise self._wrong(f"[{name}] already exists, in line {self._sections[name].line}: keep one of them")
        self._section, self._key = name, ""
        self._sections[name] = Section(self._line, {})

    def _take(self, words: str, indent: int) -> None:
        if not self._sections:
            raise self._wrong(f"File contains no section headers above {words!r}: write [DEFAULT] there")
        found = re.fullmatch(r"(.*?)\s*[=:]\s*(.*)", words)
        if not found or not found[1]:
            raise self._wrong(f"expected key = value, got {words!r}")
        self._key, self._indent = found[1].lower(), indent
        keys = self._sections[self._section].keys
        if self._key in keys:
            there = f"[{self._section}] {self._key}"
            raise self._wrong(f"{there} already exists, in line {keys[self._key].line}: keep one of them")
        keys[self._key] = Entry(found[2], self._line)

    def _go_on(self, words: str) -> None:
        keys = self._sections[self._section].keys
        entry = keys[self._key]
        # An indented setting or section would otherwise become part of the value of the line above it.
        if words[0] == "[" or re.match(r"\w+\s*=", words):
            what = f"is indented, and so goes on with {self._key} of line {entry.line}: move it to the left"
            raise self._wrong(f"{words!r} {what}")
        keys[self._key] = Entry(f"{entry.value}\n{words}", entry.line)

    def _wrong(self, what: str) -> ConfigError:
        return ConfigError(f"{self._source}: line {self._line}: {what}")


def nearest(word: str, known: Collection[str]) -> str:
    """A question to append to an error message: did you mean the most similar known word? Empty if none is similar."""
    plain = {name.casefold(): name for name in known}
    found = difflib.get_close_matches(word.strip().casefold(), plain, n=1)
    return f"; did you mean {plain[found[0]]}?" if found else ""
