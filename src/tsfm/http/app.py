"""The HTTP face: JSON in, checked once, arrays to the service, JSON out. Knows neither sockets nor systemd."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import orjson
from flask import Flask, Response, request
from prometheus_client import CONTENT_TYPE_LATEST
from werkzeug.exceptions import HTTPException

from tsfm.engine.engine import Service
from tsfm.engine.pending import COMES_BACK, Answer, ComeBack
from tsfm.engine.work import always
from tsfm.errors import Encoded, NotReady, RequestError
from tsfm.http import imputation, openapi, requests
from tsfm.logs import ESCAPES
from tsfm.numerics.exact import placed
from tsfm.series import Forecast

log = logging.getLogger(__name__)
Fields = dict[str, object]


def create_app(service: Service) -> Flask:
    """The app around a service, which may still be loading."""
    app = Flask("tsfm", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = service.settings.max_body_mib << 20
    # Both would be answered in HTML.
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.url_map.merge_slashes = False

    def infer() -> Response:
        began, asked = time.monotonic(), _asked()
        answer = _begin(service)

        def finish() -> Response:
            try:
                fields = answer.get()
            except RequestError as error:
                counted(error.status)
                return _refusal(error, asked)
            counted(200)
            service.metrics.latency.observe(time.monotonic() - began)
            return _json(fields)

        if COMES_BACK in request.environ and not answer.future.done():
            raise ComeBack(answer.future, finish)
        return finish()

    def counted(status: int) -> None:
        service.metrics.requests.labels(str(status)).inc()

    for path in service.card.paths:
        app.add_url_rule(path, path, infer, methods=["POST"])

    @app.get("/healthz")
    def healthz() -> Response:
        return _json({"status": "alive"})

    @app.get("/readyz")
    def readyz() -> Response:
        if service.ready:
            return _json({"status": "ready"})
        return _error(f"{service.card.name} is {service.why_not_ready}", 503, NotReady.retry_after_s)

    @app.get("/openapi.json")
    def description() -> Response:
        return _json(openapi.describe(service.card, service.limits))

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(service.metrics.render(), content_type=CONTENT_TYPE_LATEST)

    @app.get("/v1/models")
    def models() -> Response:
        return _json({"models": [service.describe()]})

    @app.errorhandler(RequestError)
    def refused(error: RequestError) -> Response:
        if request.method == "POST":
            counted(error.status)
        return _refusal(error, _asked())

    @app.errorhandler(HTTPException)
    def not_ours(error: HTTPException) -> Response:
        # 404, 405, 413: the framework's own, in our words and form.
        answer = _error(f"{_asked()}: {error.name}", error.code or 500, None)
        answer.headers.extend((k, v) for k, v in error.get_headers() if k == "Allow")
        return answer

    return app


def _begin(service: Service) -> Answer[Fields]:
    """Check the present request and hand it to the model."""
    left = request.environ.get("waitress.client_disconnected")
    wanted = (lambda: not left()) if left else always

    def begin(deadline: float) -> Answer[Fields]:
        encoding = request.headers.get("Content-Encoding", "identity")
        if encoding.strip().lower() not in ("identity", ""):
            raise Encoded(f"Content-Encoding: expected none, since bodies are not unpacked, got {encoding[:40]}")
        start = TASKS[service.card.task]
        return service.read(_body(), deadline, wanted, lambda asked: start(service, asked, deadline, wanted))

    return service.admitted(request.content_length or 0, begin)


def _body() -> bytes:
    """The present request's body; as it lies in memory where the server keeps it there, since copying takes time."""
    stream = request.environ["wsgi.input"]
    return stream.getvalue() if isinstance(stream, BytesIO) else request.get_data(cache=False)


def _forecast(
    service: Service, asked: requests.ForecastRequest, deadline: float, wanted: Callable[[], bool]
) -> Answer[Fields]:
    warnings = [*asked.warnings, *service.warnings(asked.series)]

    def fields(answer: Forecast) -> Fields:
        output, lower, upper = (placed(row, asked.origin) for row in (answer.median, *answer.quantiles))
        made: Fields = {"status": "success", "output": output, "lower": lower, "upper": upper}
        return made | {"conf_interval": asked.confidence} | ({"warnings": warnings} if warnings else {})

    return service.forecast(asked, deadline, wanted).then(fields)


def _impute(
    service: Service, asked: imputation.ImputationRequest, deadline: float, wanted: Callable[[], bool]
) -> Answer[Fields]:
    return service.impute(asked.series, deadline, wanted).then(lambda filled: imputation.answer(asked, filled))


# From a checked request to the fields of the answer, by the task of the family's card.
TASKS: dict[str, Callable[[Service, Any, float, Callable[[], bool]], Answer[Fields]]] = {
    "forecast": _forecast,
    "imputation": _impute,
}


def _json(fields: Fields, status: int = 200) -> Response:
    # Not OPT_SERIALIZE_NUMPY: orjson 3.13.0 writes beyond its buffer where an array's numbers are long.
    body = orjson.dumps(fields, default=_listed, option=orjson.OPT_APPEND_NEWLINE)
    return Response(body, status, content_type="application/json")


def _listed(value: object) -> object:
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"no JSON for {type(value).__name__}")


def _error(sentence: str, status: int, retry_after_s: int | None) -> Response:
    answer = _json({"status": "error", "error": sentence}, status)
    if retry_after_s is not None:
        answer.headers["Retry-After"] = str(retry_after_s)
    return answer


def _refusal(error: RequestError, asked: str) -> Response:
    _log_refusal(error, asked)
    return _error(str(error), error.status, error.retry_after_s)


def _log_refusal(error: RequestError, asked: str) -> None:
    # What came may be somebody's data: the sentence is logged up to there.
    reason = str(error).partition(", got ")[0]
    level = logging.ERROR if error.status == 500 else logging.INFO
    log.log(level, "%s: %d %s", asked, error.status, reason, exc_info=error.__cause__)


def _asked() -> str:
    # Both can be of any length, and hold anything.
    return f"{request.method[:20]} {request.path[:80]}".translate(ESCAPES)
