"""The Flask app: JSON in, checked once, to the engine, JSON out. Knows neither sockets nor systemd."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from http import HTTPStatus
from io import BytesIO
from mmap import mmap
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
from tsfm.errors import NotReady, RequestError
from tsfm.http import openapi, refusals
from tsfm.http.bodies import LargeBodies
from tsfm.http.encoding import Content
from tsfm.http.formats.packed import encoding
from tsfm.http.page import views
from tsfm.http.protocols import paths
from tsfm.http.reading import LARGE, Body, Reading
from tsfm.http.refusals import CLIENT_LEFT
from tsfm.http.v1 import Negotiation, Operations
from tsfm.logs import ESCAPES

log = logging.getLogger(__name__)
T = TypeVar("T")
Refusal = Callable[[str, int], Fields]


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
    answers = views.Answers(_json, _plain_error, _requested, lambda begin: _admitted(engine, begin), _when_done)
    views.add(app, engine, answers)
    _add_errors(app, engine)
    return app


def _add_operations(app: Flask, engine: Engine, large: LargeBodies) -> None:
    """The paths that take requests for many series."""
    operations = Operations(engine, large)

    def view(path: str, operation: Operation) -> Callable[[], Response]:
        def answer() -> Response:
            form = paths.form(path, operation, _negotiation(engine.settings.max_body_mib << 20))
            return _answer(engine, lambda body, slot: operations.answer(form, body, slot).then(_response))

        return answer

    for path, operation in paths.operations(engine.card).items():
        app.add_url_rule(path, path, view(path, operation), methods=["POST"])


def _add_readers(app: Flask, engine: Engine) -> None:
    """The paths that only read."""

    def known(value: object, when_ready: bool) -> Callable[[], Response]:
        def answer() -> Response:
            if when_ready and not engine.ready:
                return _error(engine.why_not_ready, 503, NotReady.retry_after_s, paths.refusal(request.path))
            return _json(value)

        return answer

    for path, value in paths.always(engine.card).items():
        app.add_url_rule(path, path, known(value, False), methods=["GET"])
    for path, value in paths.when_ready(engine.card).items():
        app.add_url_rule(path, path, known(value, True), methods=["GET"])

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
        return _refusal(error, _requested(), paths.refusal(request.path))

    @app.errorhandler(HTTPException)
    def not_ours(error: HTTPException) -> Response:
        # 404, 405, 413: raised by Flask, answered in our form.
        request.routing_exception = None  # whose frames keep the request, until a search for garbage
        sentence = _other_task(engine) if error.code == HTTPStatus.NOT_FOUND else None
        response = _error(
            f"{_requested()}: {sentence or error.name}", error.code or 500, None, paths.refusal(request.path)
        )
        if allow := dict(error.get_headers()).get("Allow"):
            # werkzeug's order changes from one start to the next.
            response.headers["Allow"] = ", ".join(sorted(allow.split(", ")))
        return response


def _other_task(engine: Engine) -> str | None:
    """What to say of a path that families of another task serve."""
    others = {f"/v1/{name}" for task in tasks.names() for name in tasks.find(task).operations} | paths.FORECASTS
    if request.path not in others:
        return None
    served = ", ".join(f"/v1/{name}" for name in engine.task.operations) or ", ".join(engine.card.paths)
    return f"{engine.card.name} does not serve it; it serves {served}"


def _answer(engine: Engine, begin: Callable[[Body, Slot], Pending[Response]]) -> Response:
    """Admit the present request, give its body to ``begin`` and return the answer, now or when the model has it."""
    began, requested, path = time.monotonic(), _requested(), request.path
    pending = _admitted(engine, begin)

    def finish() -> Response:
        try:
            response = pending.get()
        except RequestError as error:
            engine.count("POST", error.status)
            error.with_traceback(None)  # whose frames hold the future, which holds it
            return _refusal(error, requested, paths.refusal(path))
        engine.count("POST", 200)
        engine.metrics.latency.observe(time.monotonic() - began)
        return response

    return _when_done(pending, finish)


def _when_done(pending: Pending[Response], finish: Callable[[], Response]) -> Response:
    """The answer, now or when the pending one is there."""
    if RESUME in request.environ and not pending.future.done():
        raise Deferred(pending.future, finish)
    return finish()


def _admitted(engine: Engine, begin: Callable[[Body, Slot], Pending[T]]) -> Pending[T]:
    disconnected = request.environ.get(CLIENT_LEFT)
    present = (lambda: not disconnected()) if disconnected else always
    with engine.admit(request.content_length or 0, present) as slot:
        header = request.environ.get("HTTP_CONTENT_ENCODING")
        packed = encoding(header) if header else ""
        return slot.hold(begin(Body(_body(), packed), slot))


def _negotiation(most: int) -> Negotiation:
    """What the present request says about the form of its body and of its answer."""
    accept = [name.lower() for name in request.accept_mimetypes.values()]
    return Negotiation(request.mimetype, accept, request.args.to_dict(flat=False), most, request.headers.get)


def _one(engine: Engine, large: LargeBodies, body: Body, slot: Slot) -> Pending[Fields]:
    """The answer to a request of TDgpt's."""
    plain = not body.packed and len(body.data) <= LARGE
    if (small := bytes(body.data) if plain else body.small()) is not None:
        return engine.answer(decode(small), slot)
    reading = Reading(engine.task.steps, packed=body.packed, grows=bool(body.packed))
    return large.read(body.data, slot, reading).bind(lambda checked: engine.answer_checked(checked, slot))


def _body() -> bytes | memoryview:
    """The present request's body; without a copy where the server holds it in memory, since copying takes time."""
    stream = request.environ["wsgi.input"]
    if isinstance(stream, BytesIO):
        return stream.getvalue()
    return memoryview(stream) if isinstance(stream, mmap) else request.get_data(cache=False)


def _json(fields: object, status: int = 200) -> Response:
    return Response(encode(fields) + b"\n", status, content_type="application/json")


def _response(content: Content) -> Response:
    response = Response(content.pieces, headers=dict(content.headers))
    response.content_length = sum(map(len, content.pieces))
    return response


def _error(sentence: str, status: int, retry_after_s: int | None, form: Refusal) -> Response:
    response = _json(form(sentence, status), status)
    if retry_after_s is not None:
        response.headers["Retry-After"] = str(retry_after_s)
    return response


def _plain_error(sentence: str, status: int, retry_after_s: int | None) -> Response:
    return _error(sentence, status, retry_after_s, refusals.fields)


def _refusal(error: RequestError, requested: str, form: Refusal) -> Response:
    _log_refusal(error, requested)
    return _error(str(error), error.status, error.retry_after_s, form)


def _log_refusal(error: RequestError, requested: str) -> None:
    # The part after ", got " may be somebody's data: it is not logged.
    reason = str(error).partition(", got ")[0]
    level = logging.ERROR if error.status == 500 else logging.INFO
    log.log(level, "%s: %d %s", requested, error.status, reason, exc_info=error.__cause__)


def _requested() -> str:
    # Both can be of any length and contain anything.
    return f"{request.method[:20]} {request.path[:80]}".translate(ESCAPES)
