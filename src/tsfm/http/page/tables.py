"""POST /v1/table: a text file as the product's own reader understands it.

The reader needs pandas, which only the command line's environment has, and it would hold this interpreter: it runs as a
process of its own.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import tsfm
from tsfm import paths
from tsfm.engine.admission import Slot
from tsfm.engine.pending import Pending
from tsfm.engine.tasks import Fields
from tsfm.errors import BadRequest, RequestError, TooLarge
from tsfm.http.formats.packed import unpack
from tsfm.http.page.query import Query, single
from tsfm.http.reader_process import ReaderProcess
from tsfm.http.reading import Body
from tsfm.kinds import one_of, whole
from tsfm.table import rows

LARGEST_MIB = 16
MOST_COLUMNS = 100_000
WORDS = {
    "separator": ("comma", "semicolon", "tab", "pipe", "none"),
    "decimal": (".", ","),
    "encoding": ("utf-8", "gb18030", "cp1252", "utf-16"),
    "header": ("yes", "no"),
}
PARAMETERS = ("file", "column", "time", "id", "series", *WORDS)
# The reader's sentences name options of the command line; here they are parameters of the same names.
OPTION = re.compile(r"--(column|time|id|separator|decimal|encoding|header)\b")
T = TypeVar("T")
NAME = re.compile(r"[^\x00-\x1f\x7f]{1,200}")


class Tables:
    """Reads tables one after the other.

    Args:
        most: so many values are given at most, the newest ones.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._reader = ReaderProcess("tables", "tsfm.table", lambda: None, _python)

    def read(self, body: Body, query: Query, slot: Slot) -> Pending[Fields]:
        """The columns and one series of a file; the parameters are those of the query.

        Raises:
            BadRequest: a parameter is wrong. ``get`` raises it with the reader's sentence.
            TooLarge
        """
        plain = unpack(bytes(body.data), body.packed, LARGEST_MIB << 20) if body.packed else body.data
        if len(plain) > LARGEST_MIB << 20:
            raise TooLarge(f"body: expected a table of at most {LARGEST_MIB} MiB, got more; keep the newest rows")
        request = _arguments(query) | {"most": self._most}
        return self._reader.submit(request, plain, slot).then(_answer)

    def close(self) -> None:
        """End the process, whatever it does."""
        self._reader.close()


def in_terms_of_http(sentence: object) -> str:
    """A sentence of the reader with parameters in place of the command line's options."""
    return OPTION.sub(r"\1", str(sentence))


def _answer(read: object) -> Fields:
    fields = cast(dict[str, Any], read)
    return fields | {"notes": [in_terms_of_http(note) for note in fields["notes"]]}


def _arguments(query: Query) -> dict[str, object]:
    """The arguments of ``table.view``.

    Raises:
        BadRequest: a parameter is unknown or wrong.
    """
    given = single(query, PARAMETERS)
    number, series = _checked(given, "id", whole(0, MOST_COLUMNS)), given.get("series")
    if series is not None and not number:
        raise BadRequest("series: expected the parameter id too, the number of the column that names the series")
    options = {
        "column": _checked(given, "column", whole(1, MOST_COLUMNS)),
        "time": _checked(given, "time", whole(0, MOST_COLUMNS)),
        "series": None if series is None else (number, series),
        **{name: _checked(given, name, one_of(*words)) for name, words in WORDS.items()},
    }
    if options["separator"]:
        options["separator"] = rows.separator(str(options["separator"]))
    if options["header"]:
        options["header"] = options["header"] == "yes"
    return {"file": _checked(given, "file", _file_name) or "table", "number": number, "options": options}


def _checked(given: Mapping[str, str], name: str, check: Callable[[str], T]) -> T | None:
    text = given.get(name)
    if text is None:
        return None
    try:
        return check(text)
    except ValueError as error:
        raise BadRequest(f"{name}: {error}") from None


def _file_name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise ValueError("expected a name on one line, of at most 200 characters")
    return text


def _python() -> tuple[str, str]:
    """An interpreter that has pandas, and where it finds tsfm."""
    own, command_line = str(Path(tsfm.__file__).parent.parent), paths.COMMAND_LINE / "bin" / "python"
    if importlib.util.find_spec("pandas"):
        return sys.executable, own
    if not command_line.exists():
        raise RequestError(f"pandas, which reads tables, is missing in {paths.COMMAND_LINE}: install taos-tsfm-runtime")
    return str(command_line), own
