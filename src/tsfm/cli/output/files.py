"""Writes results into a file; its suffix tells the format."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

from tsfm.cli.output import picture, report
from tsfm.cli.output.plot import Plot
from tsfm.cli.output.report import Report
from tsfm.cli.source import clock, parquet
from tsfm.errors import UsageError

TIME = "timestamp"


class Document(Protocol):
    """Results of one kind, as each format needs them."""

    def fields(self) -> object:
        """What JSON holds."""

    def rows(self) -> Iterable[Sequence[object]]:
        """A table, its names first; the column TIME holds texts."""

    def report(self) -> Report:
        """The page."""


def check(paths: Iterable[Path]) -> None:
    """Find what would keep a file from being written, before a service works for minutes.

    Raises:
        UsageError: its folder does not exist.
        ConfigError: the package for its format is not installed.
    """
    for path in paths:
        if not path.absolute().parent.is_dir():
            raise UsageError(f"--output: {path} cannot be written: there is no such folder")
        if path.suffix.lower() == ".parquet":
            parquet.library(str(path))
        elif path.suffix.lower() == ".png":
            picture.library()


def write(path: Path, document: Document) -> None:
    """Raises:
    UsageError: it cannot be written.
    ConfigError: the package for this format is not installed.
    """
    data = _MAKERS[path.suffix.lower()](path, document)
    try:
        path.write_bytes(data)
    except OSError as error:
        raise UsageError(f"--output: {path} cannot be written: {error.strerror or error}") from None


def _csv(path: Path, document: Document) -> bytes:
    written = io.StringIO()
    lines = csv.writer(written, lineterminator="\n")
    lines.writerows([str(cell).lower() if isinstance(cell, bool) else cell for cell in row] for row in document.rows())
    return written.getvalue().encode()


def _json(path: Path, document: Document) -> bytes:
    return json.dumps(document.fields(), ensure_ascii=False, indent=1).encode() + b"\n"


def _parquet(path: Path, document: Document) -> bytes:
    first, *rows = document.rows()
    names = [str(name) for name in first]
    if not rows:
        raise UsageError(f"--output: {path}: there is no result to write")
    columns: list[Sequence[object]] = list(zip(*rows, strict=True))
    if TIME in names:
        at = names.index(TIME)
        columns[at] = clock.moments([str(text) for text in columns[at]])
    return parquet.write(str(path), names, columns)


def _png(path: Path, document: Document) -> bytes:
    return picture.png([one for one in document.report().plots if isinstance(one, Plot)])


def _html(path: Path, document: Document) -> bytes:
    return report.html(document.report()).encode()


_MAKERS: dict[str, Callable[[Path, Document], bytes]] = {
    ".csv": _csv,
    ".json": _json,
    ".parquet": _parquet,
    ".png": _png,
    ".html": _html,
}
