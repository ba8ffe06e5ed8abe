"""The paths of the page: its files, tables, and the other models of this host."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from flask import Flask, Response, request

from tsfm.engine.admission import Slot
from tsfm.engine.engine import Engine
from tsfm.engine.pending import Pending
from tsfm.engine.tasks import Fields
from tsfm.errors import RequestError
from tsfm.http.page import files
from tsfm.http.page.neighbours import Client, Neighbours
from tsfm.http.page.query import Query
from tsfm.http.page.tables import Tables, in_terms_of_http
from tsfm.http.reading import Body
from tsfm.system.loopback import Reply

log = logging.getLogger(__name__)
TABLE, NEIGHBOURS = "/v1/table", "/v1/neighbours"
# Of a neighbour's answer, what is passed on.
PASSED_ON = ("content-type", "retry-after")


@dataclass(frozen=True)
class Answers:
    """How the app answers.

    Attributes:
        json: fields as JSON.
        error: a sentence, a status and the seconds of Retry-After as JSON.
        requested: the present request for the journal.
        admitted: lets the present request in, and gives its body to a function that begins it.
        when_done: calls a function for the answer, now or when what is pending is there.
    """

    json: Callable[[Fields], Response]
    error: Callable[[str, int, int | None], Response]
    requested: Callable[[], str]
    admitted: Callable[[Callable[[Body, Slot], Pending[Response]]], Pending[Response]]
    when_done: Callable[[Pending[Response], Callable[[], Response]], Response]


def add(app: Flask, engine: Engine, answers: Answers) -> None:
    """Add the page's paths to the app, where the settings want the page."""
    if not engine.settings.page:
        return
    for path, file in files.load().items():
        app.add_url_rule(path, path, lambda file=file: _file(file), methods=["GET"])
    tables, neighbours = Tables(engine.settings.max_rows), Neighbours(engine.card.name)
    engine.on_close(tables.close)
    engine.on_close(neighbours.close)

    @app.post(TABLE)
    def table() -> Response:
        query = _query()
        return _answer(answers, lambda body, slot: tables.read(body, query, slot).then(answers.json))

    @app.get(NEIGHBOURS)
    def neighbours_list() -> Response:
        pending = neighbours.list(_client()).then(lambda models: answers.json({"models": models}))
        return answers.when_done(pending, pending.get)

    @app.post(NEIGHBOURS)
    def neighbours_ask() -> Response:
        query, client = _query(), _client()
        return _answer(answers, lambda body, slot: neighbours.forward(query, body, client, slot).then(_reply))


def _file(file: files.File) -> Response:
    response = Response(file.body, content_type=file.content_type)
    response.set_etag(file.etag)
    response.headers.update(files.HEADERS)
    response.make_conditional(request)  # 304 where the browser has it
    return response


def _answer(answers: Answers, begin: Callable[[Body, Slot], Pending[Response]]) -> Response:
    """One POST within the bounds of the queue; it is no request for inference, so it is not counted as one."""
    requested = answers.requested()

    def refused(error: RequestError) -> Response:
        # The sentence may hold cells of somebody's table: it is not logged.
        log.info("%s: %d", requested, error.status)
        return answers.error(in_terms_of_http(error), error.status, error.retry_after_s)

    def finish() -> Response:
        try:
            return pending.get()
        except RequestError as error:
            return refused(error)

    try:
        pending = answers.admitted(begin)
    except RequestError as error:
        return refused(error)
    return answers.when_done(pending, finish)


def _query() -> Query:
    return request.args.to_dict(flat=False)


def _client() -> Client:
    return Client(request.remote_addr or "", request.headers.get("Authorization", ""))


def _reply(reply: Reply) -> Response:
    headers = {name: reply.headers[name] for name in PASSED_ON if name in reply.headers}
    return Response(reply.body, reply.status, headers)
