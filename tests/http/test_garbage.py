"""What a request leaves behind: nothing that only a search for garbage would find, which stops everything meanwhile."""

import gc
import json
import threading
import time
from collections import Counter
from contextlib import contextmanager

import pytest
import uvicorn
from conftest import free_port

from tsfm import card, settings
from tsfm.engine.engine import Engine
from tsfm.families import naive
from tsfm.http.app import create_app
from tsfm.http.asgi import Asgi
from tsfm.http.transport.listener import Bounds, listen
from tsfm.series import Runtime
from tsfm.system.loopback import exchange

WALK = [3, 4, 2, 5, 4, 6, 5.5, 7, 6, 8]
COUNT = 20  # more than one request has of anything: the last one may just be ending
# One function of werkzeug's is not among them: it knows itself.
PACKAGES = ("tsfm", "flask", "werkzeug", "waitress", "concurrent", "_asyncio")
CASES = {
    "a forecast": ("/ds_predict", {"input": WALK}, 200),
    "many series": ("/v1/forecast", {"inputs": [{"target": WALK}] * 10}, 200),
    "an imputation, which it does not do": ("/v1/imputation", {"inputs": [{"target": WALK}]}, 404),
    "no series": ("/ds_predict", [1], 400),
    "a probe": ("/ds_predict", None, 405),
    "no such path": ("/nowhere", {}, 404),
}


@contextmanager
def own():
    engine = Engine(card.read("naive"), settings.read("naive", {}))
    engine.start(naive.load(None, Runtime()), None, Runtime())
    server = listen(create_app(engine), engine.ingress, None, Bounds(100, 1 << 20, 1 << 20), ("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.effective_port}"
    server.end()
    thread.join(30)
    engine.close()


@contextmanager
def asgi():
    app, port = Asgi(card.read("naive"), settings.read("naive", {}), None), free_port()
    app.load()
    config = uvicorn.Config(app, port=port, lifespan="off", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(30)
    app.stop()


@pytest.fixture(scope="module", params=[own, asgi])
def url(request):
    with request.param() as address:
        yield address


@pytest.mark.parametrize("case", CASES)
def test_a_request_is_freed_once_it_is_answered(url, case):
    path, fields, status = CASES[case]
    body = None if fields is None else json.dumps(fields).encode()
    gc.collect()
    gc.disable()
    try:
        before = kept()
        for _ in range(COUNT):
            assert exchange(url + path, body).status == status
        assert not {name: more for name, more in (kept() - before).items() if more >= COUNT}
    finally:
        gc.enable()


def kept() -> Counter[str]:
    types = map(type, gc.get_objects())
    return Counter(f"{one.__module__}.{one.__qualname__}" for one in types if one.__module__.split(".")[0] in PACKAGES)


def until(true) -> None:
    ends, pause = time.monotonic() + 30, threading.Event()
    while not true():
        assert time.monotonic() < ends
        pause.wait(0.01)
