"""Requests and answers as tables in place of JSON: an Arrow stream or a Parquet file, with the package taos-tsfm-arrow.

pyarrow is imported where a table is read or written, never on the thread that serves the network.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tsfm.engine.tasks import Fields, Operation, Steps
from tsfm.errors import Unsupported
from tsfm.http.encoding import Content, pieces
from tsfm.http.v1 import Form, Negotiation

if TYPE_CHECKING:
    from tsfm.http.formats.long import Query
    from tsfm.settings import Settings

JSON = "application/json"
STREAM = "application/vnd.apache.arrow.stream"
PARQUET = "application/vnd.apache.parquet"
# Names of the same, as they are sent; the second one of Parquet is older than its registration and still more common.
NAMES = {STREAM: STREAM, PARQUET: PARQUET, "application/x-parquet": PARQUET}
PACKAGE = "taos-tsfm-arrow"
AVAILABLE = importlib.util.find_spec("pyarrow") is not None
SOURCE = "the table of the request"
"""A field that no JSON has, of requests and of answers: what the answer to a table is made with."""


def form(operation: Operation, negotiation: Negotiation) -> Form:
    """The form of one request for an operation: anything but a table is JSON.

    Without one of our media types in Accept the answer has the form of the request.

    Raises:
        Unsupported: a table, on a host without the package.
    """
    given = NAMES.get(negotiation.content_type)
    answer_type = next((NAMES.get(name, name) for name in negotiation.accept if name in (JSON, *NAMES)), given or JSON)
    for header, name in (("Content-Type", given), ("Accept", answer_type if answer_type != JSON else None)):
        if name and not AVAILABLE:
            raise Unsupported(
                f"{header}: expected {JSON}, since the package {PACKAGE} is not installed on this host, got {name}"
            )
    back = answer_type != JSON
    encode = TableEncoder(answer_type) if back else pieces
    if given is None:
        return Form(replace(operation, heavy=True) if back else operation, encode=encode)
    sourced = replace(operation, steps=WithSource(operation.steps)) if back else operation
    return Form(sourced, TableDecoder(given, negotiation.query, negotiation.most, back), encode, apart=True)


@dataclass(frozen=True)
class TableDecoder:
    """From a body to the fields of a request, and their source where the answer is a table."""

    media_type: str
    query: Query
    most: int
    back: bool

    def __call__(self, body: bytes) -> Fields:
        from tsfm.http.formats import arrow, long

        in_parquet = self.media_type == PARQUET
        with arrow.refused(in_parquet):
            fields, source = long.fields(arrow.read(body, in_parquet, self.most), self.query)
        return fields | ({SOURCE: source} if self.back else {})


@dataclass(frozen=True)
class TableEncoder:
    """From the fields of an answer to its body."""

    media_type: str

    def __call__(self, fields: Fields) -> Content:
        from tsfm.http.formats import arrow, predictions

        source: Any = fields.pop(SOURCE, None)
        body = arrow.write(predictions.table(fields, source), self.media_type == PARQUET)
        return Content([body], {"Content-Type": self.media_type})


@dataclass(frozen=True)
class WithSource:
    """The steps of an operation, and beside its fields the source of the table, from the request to the answer."""

    load: Callable[[], Steps]

    def __call__(self) -> Steps:
        return _Sourced(self.load())


class _Sourced:
    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self.schema, self.example = steps.schema, steps.example

    def read(self, fields: Fields, limits: Settings) -> tuple[Any, object]:
        source = fields.pop(SOURCE)
        return self._steps.read(fields, limits), source

    def work(self, request: tuple[Any, object], model: Any, family: str) -> Any:
        return self._steps.work(request[0], model, family)

    def finish(self, request: tuple[Any, object], output: Any) -> Fields:
        return self._steps.finish(request[0], output) | {SOURCE: request[1]}
