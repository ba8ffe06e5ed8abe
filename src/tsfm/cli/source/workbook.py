"""Reads one sheet of a workbook: xlsx, xlsm, xlsb, the older xls, and ods, with python-calamine."""

from __future__ import annotations

import io
from dataclasses import replace

from tsfm.cli.source import typed
from tsfm.errors import ConfigError, UsageError
from tsfm.table.rows import Rows

OLD, ZIP = b"\xd0\xcf\x11\xe0", b"PK\x03\x04"


def matches(data: bytes) -> bool:
    """Whether these are the first bytes of a workbook; a zip archive of something else is refused by ``read``."""
    return data.startswith((OLD, ZIP))


def read(file: str, data: bytes, sheet: str | None, header: bool | None) -> Rows:
    """The table in a sheet; None: the first sheet that has cells.

    Raises:
        UsageError: it is no workbook, is protected, or has no such sheet.
        ConfigError: python-calamine is not installed.
    """
    try:
        from python_calamine import CalamineError, CalamineWorkbook
    except ImportError:
        missing = "python-calamine, which reads workbooks, is missing: install taos-tsfm-runtime"
        raise ConfigError(f"{file}: {missing}") from None
    try:
        with CalamineWorkbook.from_filelike(io.BytesIO(data)) as book:
            names = book.sheet_names
            if sheet is not None and sheet not in names:
                raise UsageError(f"--sheet: {file} has {', '.join(names)}; got {sheet!r}")
            sheets = {name: book.get_sheet_by_name(name) for name in ([sheet] if sheet is not None else names)}
            filled = [name for name, one in sheets.items() if one.height]
            if not filled:
                raise UsageError(f"{file}: expected a sheet with a header line and rows, found none")
            cells = sheets[filled[0]].to_python(skip_empty_area=False)
    except CalamineError as error:
        what = "a zip archive, no workbook; unpack it first" if data.startswith(ZIP) else "no workbook that can be read"
        raise UsageError(f"{file}: is {what} ({' '.join(str(error).split())})") from None
    found = typed.table(file, ([typed.text(cell) for cell in row] for row in cells), header)
    if len(filled) == 1:
        return found
    note = f"sheet {filled[0]} is read; --sheet names another: {', '.join(filled[1:])}"
    return replace(found, notes=[note, *found.notes])
