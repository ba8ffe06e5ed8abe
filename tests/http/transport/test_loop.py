"""The one thread of the edge: in which order it takes up what has come, and whom it does not wait for."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from types import SimpleNamespace

import pytest
from conftest import to_the_end

from tsfm.engine.ingress import Ingress
from tsfm.engine.pending import RESUME, Deferred
from tsfm.http.transport import loop
from tsfm.http.transport.listener import Bounds, listen

pytestmark = pytest.mark.slow


@pytest.fixture
def running(served):
    """The same, run, with little patience."""
    served._server.adj.channel_timeout = 1
    thread = threading.Thread(target=served.run, daemon=True)
    thread.start()
    yield served
    end(served, thread)


@pytest.fixture
def served():
    """A loop that nobody runs yet, with a server of an app that says its path."""
    later = Future()

    def app(environ, start_response):
        path = environ["PATH_INFO"]
        if path == "/later" and not environ[RESUME]:
            raise Deferred(later, lambda: app)
        body = bytes(20 << 20) if path == "/large" else path.encode()
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]

    server = listen(app, Ingress(), None, Bounds(1000, 32 << 20, 1 << 20), ("127.0.0.1", 0))
    made = server.loop
    made.port, made.later = server.effective_port, later
    yield made
    for one in list(made.sockets.values()):
        one.close()


class Asking:
    """In place of a connection: with one request, for which it takes its time."""

    def __init__(self, command, ran, pause=lambda: None):
        self.requests = [SimpleNamespace(command=command)]
        self.ran, self.pause = ran, pause

    def service(self):
        self.pause()
        self.ran.append(self)


def test_what_takes_next_to_nothing_goes_before_what_the_model_must_answer(served):
    ran = []
    asking = [Asking(command, ran) for command in ("POST", "GET", "POST", "")]
    for channel in asking:
        served.add_task(channel)
    served.turn()
    first, second, third, fourth = asking
    assert ran == [second, fourth, first, third]


def test_between_long_requests_the_loop_looks_for_others(served):
    ran = []
    long = threading.Event()
    asking = [Asking("POST", ran, lambda: long.wait(loop.TURN_S)) for _ in range(3)]
    for channel in asking:
        served.add_task(channel)
    for done in (1, 2, 3):
        served.turn()
        assert ran == asking[:done]


def test_what_has_come_is_known_until_it_is_run(served):
    ingress, none_left = served._ingress, threading.Event()
    ingress.on_drained = none_left.set
    ingress.drained()
    assert not none_left.is_set()  # there was nothing
    served.add_task(Asking("GET", []))
    assert not ingress.busy
    served.add_task(Asking("POST", []))
    assert ingress.busy
    thread = threading.Thread(target=served.run, daemon=True)
    thread.start()
    assert none_left.wait(10)
    assert not ingress.busy
    end(served, thread)


def test_requests_that_are_left_over_are_run_without_waiting_for_what_else_comes(served, monkeypatch):
    monkeypatch.setattr(loop, "IDLE_S", 60)
    ran, long = [], threading.Event()
    for _ in range(5):
        served.add_task(Asking("POST", ran, lambda: long.wait(loop.TURN_S)))
    thread = threading.Thread(target=served.run, daemon=True)
    thread.start()
    until(lambda: len(ran) == 5)
    end(served, thread)


def test_what_is_queued_while_the_edge_says_that_nothing_is_left_is_not_forgotten(served, monkeypatch):
    """Answers come from the model's threads, which may run between any two steps of the edge's."""
    monkeypatch.setattr(loop, "IDLE_S", 60)
    ran, long, queued = [], threading.Event(), []

    def queue():
        queued.extend(Asking("POST", ran, lambda: long.wait(loop.TURN_S)) for _ in range(5))
        for channel in queued:
            served.add_task(channel)

    def switch(frame, event, _):
        if event == "call" and frame.f_code is Ingress.drained.__code__ and ran and not queued:
            other = threading.Thread(target=queue)
            other.start()
            other.join(30)

    threading.setprofile(switch)
    try:
        served.add_task(Asking("POST", ran))
        thread = threading.Thread(target=served.run, daemon=True)
        thread.start()
    finally:
        threading.setprofile(None)
    until(lambda: len(ran) == 6)
    end(served, thread)


def test_all_who_have_connected_are_taken_in_at_once(served):
    clients = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(30)]
    served._server.handle_accept()
    assert len(served._server.active_channels) == 30
    for client in clients:
        client.close()


def test_a_loop_that_does_not_come_round_is_unhealthy(served):
    entered, gate = threading.Event(), threading.Event()

    def hang():
        entered.set()
        gate.wait(60)

    thread = threading.Thread(target=served.run, daemon=True)
    thread.start()
    assert served._server.healthy(10)
    served.add_task(Asking("GET", [], hang))
    assert entered.wait(10)
    assert not served._server.healthy(0.05)
    gate.set()
    assert served._server.healthy(10)
    end(served, thread)


def test_requests_of_one_connection_follow_at_once(served, monkeypatch):
    monkeypatch.setattr(loop, "IDLE_S", 60)
    thread = threading.Thread(target=served.run, daemon=True)
    thread.start()
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as client:
        client.sendall(b"GET /a HTTP/1.1\r\n\r\n" * 20)
        got = b""
        while got.count(b"/a") < 20:
            got += client.recv(1 << 16)
    end(served, thread)


def test_a_connection_that_fails_ends_alone(served, caplog):
    def fail():
        raise ValueError("broken")

    broken, sound = Asking("GET", [], fail), []
    served.add_task(broken)
    served.add_task(Asking("GET", sound))
    served.turn()
    assert broken.will_close
    assert len(sound) == 1
    assert "a connection failed" in caplog.text


def test_what_is_done_after_the_end_wakes_nobody(served):
    thread = threading.Thread(target=served.run, daemon=True)
    thread.start()
    end(served, thread)
    served.add_task(Asking("POST", []))


def connect(served, receive=None):
    client = socket.socket()
    if receive:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
    client.settimeout(20)
    client.connect(("127.0.0.1", int(served.port)))
    return client


def test_an_answer_that_nobody_reads_holds_nobody_up_and_its_connection_ends(running):
    """waitress would wait at 16 MiB for its loop to send some of it: on the loop's thread for ever."""
    with connect(running, 4096) as deaf, connect(running) as other:
        deaf.sendall(b"GET /large HTTP/1.1\r\n\r\n" * 10)
        other.sendall(b"GET /a HTTP/1.0\r\n\r\n")
        assert to_the_end(other).endswith(b"/a")
        assert running._server.healthy(10)
        until(lambda: not running._server.active_channels)
        assert len(to_the_end(deaf)) < 20 << 20


def test_a_large_answer_arrives_whole(running):
    with connect(running) as client:
        client.sendall(b"GET /large HTTP/1.1\r\n\r\nGET /a HTTP/1.0\r\n\r\n")
        got = to_the_end(client)
    assert len(got) > 20 << 20
    assert got.endswith(b"/a")


def test_of_a_pipeline_no_more_is_read_than_one_request_ahead(served):
    ask = b"GET /a HTTP/1.1\r\n\r\n"
    with connect(served) as client:
        client.sendall(ask * 1000)
        served._server.handle_accept()
        (channel,) = served._server.active_channels.values()
        while channel.readable():
            channel.handle_read()
        assert [request.path for request in channel.requests] == ["/a", "/a"]
        assert channel.request is None
        thread = threading.Thread(target=served.run, daemon=True)
        thread.start()
        got = b""
        while got.count(b"/a") < 1000:
            got += client.recv(1 << 16)
    end(served, thread)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"POST /a HTTP/1.1\r\nContent-",
        b"POST /a HTTP/1.1\r\nContent-Length: 200000\r\n\r\n" + b" " * 100_000,
        b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"POST /a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n",
        b"GET /a HTTP/1.1\r\n\r\nPOST /a HTTP/1.1\r\nContent-Length: 9\r\n\r\n",
    ],
    ids=["nothing", "head", "length", "chunked", "expects", "second"],
)
@pytest.mark.parametrize("drips", [False, True])
def test_a_request_that_does_not_come_to_its_end_ends_with_its_connection(running, head, drips):
    stop = threading.Event()

    def drip():
        with suppress(OSError):
            while not stop.wait(0.2):
                client.sendall(b"\r\n"[:1] if not head else b"1")

    with connect(running) as client:
        client.sendall(head)
        thread = threading.Thread(target=drip if drips else stop.wait)
        thread.start()
        try:
            said = to_the_end(client)
        finally:
            stop.set()
            thread.join(10)
        assert b"500" not in said
    until(lambda: not running._server.active_channels)


def test_a_client_that_waits_for_the_model_is_not_ended(running):
    with connect(running) as client:
        client.sendall(b"POST /later HTTP/1.0\r\n\r\n")
        until(lambda: any(channel.requests for channel in running._server.active_channels.values()))
        client.settimeout(3.5)
        with pytest.raises(TimeoutError):  # for longer than any client may take over anything
            client.recv(1)
        running.later.set_result(None)
        client.settimeout(20)
        assert to_the_end(client).endswith(b"/later")


def until(true):
    """Wait for it, half a minute at most."""
    ends, pause = time.monotonic() + 30, threading.Event()
    while not true():
        assert time.monotonic() < ends
        pause.wait(0.01)


def end(served, thread):
    served._server.trigger.pull_trigger(lambda: [one.close() for one in list(served.sockets.values())])
    thread.join(10)
    assert not thread.is_alive()
