"""How waitress speaks for us: an answer in one piece, and its own refusals in our form, JSON with a sentence."""

from __future__ import annotations

import orjson
from waitress.channel import HTTPChannel
from waitress.task import ErrorTask, WSGITask

WORDS = {
    400: "the request is not well-formed HTTP",
    413: "body: expected at most {limit} MiB, got more",
    431: "the request's headers are too large",
    500: "the service failed before it could answer",
    501: "Transfer-Encoding: expected chunked, got something else",
}


class OneSendTask(WSGITask):  # type: ignore[misc]  # waitress ships no types
    """waitress's run of the app (waitress.task.WSGITask), but header and body leave in one packet."""

    wrote_header = False

    def write(self, data: bytes) -> None:
        if self.wrote_header or not (self.complete and self.has_body and data and self.content_length == len(data)):
            super().write(data)
            return
        self.wrote_header = True
        self.content_bytes_written = len(data)
        self.channel.write_soon(self.build_response_header() + data)


class JsonErrorTask(ErrorTask):  # type: ignore[misc]
    """waitress's answer to a request that it could not parse (waitress.task.ErrorTask)."""

    def execute(self) -> None:
        error = self.request.error
        limit = self.channel.adj.max_request_body_size >> 20
        sentence = WORDS.get(error.code, error.reason).format(limit=limit)
        body = orjson.dumps({"status": "error", "error": sentence}, option=orjson.OPT_APPEND_NEWLINE)
        self.status = f"{error.code} {error.reason}"
        self.response_headers.append(("Content-Type", "application/json"))
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class Channel(HTTPChannel):  # type: ignore[misc]
    """A connection whose answers leave in one piece and whose errors are JSON."""

    task_class = OneSendTask
    error_task_class = JsonErrorTask
