"""The page's paths in the OpenAPI description."""

from __future__ import annotations

from collections.abc import Callable

from tsfm import card
from tsfm.engine.schemas import GAPPY, TEXT, WHOLE, Json, structure
from tsfm.http.page import files
from tsfm.http.page.neighbours import TASKS
from tsfm.http.page.tables import LARGEST_MIB, MOST_COLUMNS, WORDS
from tsfm.http.page.views import NEIGHBOURS, TABLE

Responses = Callable[[str, Json, dict[str, str]], Json]
READING = {
    "400": "no table, or one that can be read in two ways; the sentence names the line",
    "413": f"the file has more than {LARGEST_MIB} MiB",
    "415": "the body is packed by HTTP; a file that is packed itself is accepted",
    "503": "loading or stopping",
    "504": "the file was not read within the deadline",
    "507": "reading the file takes too much memory",
}
FORWARDING = {
    "400": "no such family or task, or what the neighbour refuses",
    "401": "the neighbour asks for another token",
    "403": "the neighbour does not answer this client",
    "404": "the neighbour has no such path",
    "405": "the neighbour does another task",
    "415": "the body is packed",
    "503": "the neighbour does not answer",
    "504": "no answer within the deadline",
    "507": "the series needs more memory than there is",
}
NUMBER_OR_NONE: Json = {"type": ["integer", "null"]}
COLUMN = structure({"number": WHOLE, "name": TEXT, "kind": {"enum": ["time", "number", "text"]}})
ANSWER: Json = {
    "columns": {"type": "array", "items": COLUMN},
    "value_column": WHOLE,
    "time_column": NUMBER_OR_NONE,
    "series_column": NUMBER_OR_NONE,
    "series_names": {"type": "array", "items": TEXT},
    "series": {"type": ["string", "null"]},
    "values": GAPPY,
    "times": {"type": ["array", "null"], "items": TEXT},
    "freq": {"type": ["string", "null"], "description": "a pandas alias or an ISO 8601 duration"},
    "notes": {"type": "array", "items": TEXT, "description": "how the file was read"},
}


def paths(family: str, responses: Responses, refused: dict[str, str], refused_page: dict[str, str]) -> Json:
    """The items of the description's ``paths``.

    Args:
        family: the served one.
        responses: makes the responses of an operation from a text, the content of 200 and the refusals.
        refused: refusals on any path; ``refused_page``: on those that need no token.
    """
    found: Json = {path: {"get": _file(file, responses, refused_page)} for path, file in files.load().items()}
    entry: Json = {"type": "object", "description": "as in /v1/models, its port and resident_mib"}
    listed = _json(structure({"models": {"type": "array", "items": entry}}))
    found[TABLE] = {"post": _table(responses, refused)}
    found[NEIGHBOURS] = {
        "get": {"summary": "the other models of this host", "responses": responses("those that run", listed, refused)},
        "post": _forward(family, responses, refused),
    }
    return found


def _file(file: files.File, responses: Responses, refused: dict[str, str]) -> Json:
    content: Json = {file.content_type.partition(";")[0]: {"schema": TEXT}}
    return {"summary": "a file of the page", "security": [], "responses": responses("the file", content, refused)}


def _table(responses: Responses, refused: dict[str, str]) -> Json:
    numbers: dict[str, Json] = {name: WHOLE | {"maximum": MOST_COLUMNS} for name in ("column", "time", "id")}
    least = {"column": 1, "time": 0, "id": 0}
    schemas = {name: schema | {"minimum": least[name]} for name, schema in numbers.items()} | {
        "file": {
            "type": "string",
            "pattern": "^[^\\x00-\\x1f\\x7f]{1,200}$",
            "description": "name of the file, for sentences",
        },
        "series": TEXT | {"description": "one of series_names; needs id, the number of their column"},
        **{name: {"enum": list(words)} for name, words in WORDS.items()},
    }
    # Any text may be sent: there is none that a schema could forbid.
    text: Json = {"text/csv": {"schema": {}, "example": "time,value\n2026-03-01,1.5\n2026-03-02,2.5\n"}}
    return {
        "summary": "a text file as the product's own reader understands it",
        "parameters": [_parameter(name, schema) for name, schema in schemas.items()],
        "requestBody": {"required": True, "content": text},
        "responses": responses("its columns, and one series", _json(structure(ANSWER)), refused | READING),
    }


def _forward(family: str, responses: Responses, refused: dict[str, str]) -> Json:
    others = [name for name in card.names(packaged_only=True) if name != family]
    schemas: dict[str, Json] = {"family": {"enum": others}, "task": {"enum": list(TASKS)}}
    return {
        "summary": "a request to /v1/TASK of another model of this host",
        "parameters": [_parameter(name, schema) | {"required": True} for name, schema in schemas.items()],
        "requestBody": {"required": True, "content": _json({"type": "object"})},
        "responses": responses("its answer", _json({"type": "object"}), refused | FORWARDING),
    }


def _parameter(name: str, schema: Json) -> Json:
    return {"name": name, "in": "query", "schema": schema}


def _json(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}
