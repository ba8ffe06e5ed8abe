"""The Flask app: JSON in, checked once, to the engine, JSON out. Knows neither sockets nor systemd."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from http import HTTPStatus
from io import BytesIO
from typing import TypeVar

from flask import Flask, Response, request
from prometheus_client import CONTENT_TYPE_LATEST
from werkzeug.exceptions import HTTPException

from tsfm.engine import tasks
from tsfm.engine.admission import Slot
from tsfm.engine.engine import Engine
from tsfm.engine.fields import decode, encode
from tsfm.engine.pending import RESUME, Deferred, Pending
from tsfm.engine.tasks import Fields, Operation
from tsfm.engine.work import always
from tsfm.errors import Encoded, NotReady, RequestError
from tsfm.http import openapi
from tsfm.http.bodies import LARGE, LargeBodies, Reading
from tsfm.http.refusals import CLIENT_LEFT
from tsfm.http.v1 import Operations
from tsfm.logs import ESCAPES

log = logging.getLogger(__name__)
T = TypeVar("T")


def create_app(engine: Engine) -> Flask:
    """The app around an engine, whose model may still be loading."""
    app = Flask("tsfm", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = engine.settings.max_body_mib << 20
    # Flask would answer both in HTML.
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.url_map.merge_slashes = False
    large = LargeBodies(lambda: engine.limits)
    engine.on_close(large.close)

    def infer() -> Response:
        return _answer(engine, lambda body, slot: _one(engine, large, body, slot).then(_json))

    for path in engine.card.paths:
        app.add_url_rule(path, path, infer, methods=["POST"])
    _add_operations(app, engine, large)
    _add_readers(app, engine)
    _add_errors(app, engine)
    return app


def _add_operations(app: Flask, engine: Engine, large: LargeBodies) -> None:
    """The paths under /v1 of the family's task."""
    operations = Operations(engine, large)

    def view(operation: Operation) -> Callable[[], Response]:
        return lambda: _answer(engine, lambda body, slot: operations.answer(operation, body, slot).then(_in_pieces))

    for name, operation in engine.task.operations.items():
        app.add_url_rule(f"/v1/{name}", f"/v1/{name}", view(operation), methods=["POST"])


def _add_readers(app: Flask, engine: Engine) -> None:
    """The paths that only read."""

    @app.get("/healthz")
    def healthz() -> Response:
        return _json({"status": "alive"})

    @app.get("/readyz")
    def readyz() -> Response:
        if engine.ready:
            return _json({"status": "ready"})
        return _error(engine.why_not_ready, 503, NotReady.retry_after_s)

    @app.get("/openapi.json")
    def description() -> Response:
        return _json(openapi.describe(engine.card, engine.limits))

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(engine.metrics.render(), content_type=CONTENT_TYPE_LATEST)

    @app.get("/v1/models")
    def models() -> Response:
        return _json({"models": [engine.describe()]})


def _add_errors(app: Flask, engine: Engine) -> None:
    """The one form of every refusal."""

    @app.errorhandler(RequestError)
    def refused(error: RequestError) -> Response:
        engine.count(request.method, error.status)
        return _refusal(error, _requested())

    @app.errorhandler(HTTPException)
    def not_ours(error: HTTPException) -> Response:
        # 404, 405, 413: raised by Flask, answered in our form.
        sentence = _other_task(engine) if error.code == HTTPStatus.NOT_FOUND else None
        response = _error(f"{_requested()}: {sentence or error.name}", error.code or 500, None)
        if allow := dict(error.get_headers()).get("Allow"):
            # werkzeug's order changes from one start to the next.
            response.headers["Allow"] = ", ".join(sorted(allow.split(", ")))
        return response


def _other_task(engine: Engine) -> str | None:
    """What to say of a path that families of another task serve."""
    others = {f"/v1/{name}" for task in tasks.names() for name in tasks.find(task).operations}
    if request.path not in others:
        return None
    paths = ", ".join(f"/v1/{name}" for name in engine.task.operations) or ", ".join(engine.card.paths)
    return f"{engine.card.name} does not serve it; it serves {paths}"


def _answer(engine: Engine, begin: Callable[[bytes, Slot], Pending[Response]]) -> Response:
    """Admit the present request, give its body to ``begin`` and return the answer, now or when the model has it."""
    began, requested = time.monotonic(), _requested()
    pending = _admitted(engine, begin)

    def finish() -> Response:
        try:
            response = pending.get()
        except RequestError as error:
            engine.count("POST", error.status)
            return _refusal(error, requested)
        engine.count("POST", 200)
        engine.metrics.latency.observe(time.monotonic() - began)
        return response

    if RESUME in request.environ and not pending.future.done():
        raise Deferred(pending.future, finish)
    return finish()


def _admitted(engine: Engine, begin: Callable[[bytes, Slot], Pending[T]]) -> Pending[T]:
    disconnected = request.environ.get(CLIENT_LEFT)
    present = (lambda: not disconnected()) if disconnected else always
    with engine.admit(request.content_length or 0, present) as slot:
        _check_encoding()
        return slot.hold(begin(_body(), slot))


def _one(engine: Engine, large: LargeBodies, body: bytes, slot: Slot) -> Pending[Fields]:
    """The answer to a request of TDgpt's."""
    if len(body) <= LARGE:
        return engine.answer(decode(body), slot)
    return large.read(body, slot, Reading(engine.task.steps)).bind(lambda checked: engine.answer_checked(checked, slot))


def _check_encoding() -> None:
    encoding = request.environ.get("HTTP_CONTENT_ENCODING", "identity")
    if encoding.strip().lower() not in ("identity", ""):
        raise Encoded(f"Content-Encoding: expected none, since bodies are not unpacked, got {encoding[:40]}")


def _body() -> bytes:
    """The present request's body; without a copy where the server holds it in memory, since copying takes time."""
    stream = request.environ["wsgi.input"]
    return stream.getvalue() if isinstance(stream, BytesIO) else request.get_data(cache=False)


def _json(fields: Fields, status: int = 200) -> Response:
    return Response(encode(fields) + b"\n", status, content_type="application/json")


def _in_pieces(pieces: list[bytes]) -> Response:
    response = Response(pieces, content_type="application/json")
    response.content_length = sum(map(len, pieces))
    return response


def _error(sentence: str, status: int, retry_after_s: int | None) -> Response:
    response = _json({"status": "error", "error": sentence}, status)
    if retry_after_s is not None:
        response.headers["Retry-After"] = str(retry_after_s)
    return response


def _refusal(error: RequestError, requested: str) -> Response:
    _log_refusal(error, requested)
    return _error(str(error), error.status, error.retry_after_s)


def _log_refusal(error: RequestError, requested: str) -> None:
    # The part after ", got " may be somebody's data: it is not logged.
    reason = str(error).partition(", got ")[0]
    level = logging.ERROR if error.status == 500 else logging.INFO
    log.log(level, "%s: %d %s", requested, error.status, reason, exc_info=error.__cause__)


def _requested() -> str:
    # Both can be of any length and contain anything.
    return f"{request.method[:20]} {request.path[:80]}".translate(ESCAPES)
