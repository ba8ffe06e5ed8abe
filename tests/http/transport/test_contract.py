"""What http/transport relies on in waitress, and the app's deferring in Flask, beyond their documentation.

The table lists each name by the file that uses it and by the object of waitress that has it. When a test here fails,
read the file that its sentence names again, beside the new source of waitress, before you change the pin.
"""

import ast
import inspect
import socket
import threading
from concurrent.futures import Future
from importlib.metadata import version
from io import BytesIO
from pathlib import Path

import flask
import pytest
from conftest import HERE
from waitress import receiver, utilities, wasyncore
from waitress.adjustments import Adjustments
from waitress.buffers import OverflowableBuffer, ReadOnlyFileBasedBuffer
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask, WSGITask

from tsfm.engine.ingress import Ingress
from tsfm.engine.pending import Deferred
from tsfm.http.arriving import Arriving
from tsfm.http.reading import LARGE
from tsfm.http.transport.listener import Bounds, listen
from tsfm.http.transport.parser import Parser

FOLDER = HERE.parent / "src/tsfm/http/transport"
WRITTEN_FOR = "3.0.2"

# file: {object: names that the file reads, sets, calls or overrides}
USES = {
    "channel.py": {
        "HTTPChannel": "_flush_exception _flush_outbufs_below_high_watermark _flush_some adj check_client_disconnected "
        "close_when_flushed connected current_outbuf_count error_task_class handle_close handle_read handle_write "
        "last_activity outbufs parser_class readable received recv request requests send send_continue sent_continue "
        "server service socket task_class total_outbufs_len will_close write_soon",
        "HTTPRequestParser": "body_bytes_received body_rcv command completed empty error expect_continue headers "
        "headers_finished path received",
        "WSGITask": "build_response_header channel complete content_bytes_written content_length execute finish "
        "get_environment has_body request response_headers set_close_on_finish status write wrote_header",
        "ErrorTask": "channel content_length execute request response_headers set_close_on_finish status write",
        "TcpWSGIServer": "active_channels add_task",
        "Adjustments": "outbuf_overflow recv_bytes",
        "ReadOnlyFileBasedBuffer": "prepare",
        "Error": "body code reason",
    },
    "listener.py": {
        "Adjustments": "clear_untrusted_proxy_headers connection_limit host ident inbuf_overflow "
        "max_request_body_size max_request_header_size outbuf_overflow port recv_bytes",
    },
    "loop.py": {
        "TcpWSGIServer": "active_channels add_task adj channel_class close handle_accept maintenance pull_trigger run "
        "socket trigger",
        "HTTPChannel": "handle_close requests service total_outbufs_len will_close",
        "HTTPRequestParser": "command",
        "Adjustments": "channel_timeout connection_limit listen",
        "trigger": "pull_trigger",
    },
    "parser.py": {
        "HTTPRequestParser": "adj body_bytes_received body_rcv chunked close command completed content_length empty "
        "error expect_continue headers_finished parse_header path received",
        "ChunkedReceiver": "control_line trailer",
        "FixedStreamReceiver": "buf",
        "Adjustments": "max_request_body_size",
        "Error": "code reason",
    },
}
# Names of our own objects, of a list, a dict or a socket, that some object of waitress has as well.
OURS = {
    "channel.py": "append get",
    "listener.py": "body socket",
    "loop.py": "append family getsockname sockets",
    "parser.py": "status",
}

# file: {callable: the parameters that the file passes or declares}
SIGNATURES = {
    "channel.py": {
        HTTPChannel.__init__: "self server sock addr adj map",
        HTTPChannel.received: "self data",
        HTTPChannel._flush_exception: "self flush do_close",
        HTTPChannel._flush_some: "self do_close",
        HTTPChannel.send: "self data do_close",
        HTTPChannel.write_soon: "self data",
        OverflowableBuffer.__init__: "self overflow",
        ReadOnlyFileBasedBuffer.__init__: "self file block_size",
        WSGITask.__init__: "self channel request",
        WSGITask.write: "self data",
    },
    "loop.py": {
        TcpWSGIServer.__init__: "self application map _start _sock dispatcher adj sockinfo bind_socket kw",
        TcpWSGIServer.maintenance: "self now",
        wasyncore.close_all: "map ignore_all",
        wasyncore.poll2: "timeout map",
    },
    "parser.py": {HTTPRequestParser.__init__: "self adj", HTTPRequestParser.received: "self data"},
}


def again(file: str) -> str:
    return f"read src/tsfm/http/transport/{file} again: it was written for waitress {WRITTEN_FOR}"


@pytest.fixture(scope="module")
def objects():
    """One object of each kind, as waitress makes them, by the names of the table."""
    adj = Adjustments(host="127.0.0.1", port=0)
    server = TcpWSGIServer(lambda environ, start_response: [], {}, dispatcher=object(), adj=adj)
    ours, theirs = socket.socketpair()
    channel = HTTPChannel(server, ours, ("127.0.0.1", 1), adj, map={})
    parser = HTTPRequestParser(adj)
    parser.received(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
    fixed = receiver.FixedStreamReceiver(3, BytesIO())
    tasks = {"WSGITask": WSGITask(channel, parser), "ErrorTask": ErrorTask(channel, parser)}
    rest = {"ChunkedReceiver": parser.body_rcv, "FixedStreamReceiver": fixed, "trigger": server.trigger}
    rest["Error"] = utilities.Error("why")
    rest["ReadOnlyFileBasedBuffer"] = ReadOnlyFileBasedBuffer(BytesIO(b"piece"))
    yield {
        **{"TcpWSGIServer": server, "HTTPChannel": channel, "HTTPRequestParser": parser, "Adjustments": adj},
        **tasks,
        **rest,
    }
    for one in (ours, theirs):
        one.close()
    server.close()


@pytest.fixture
def server():
    """Ours, which nobody runs yet; its app tells what it was asked."""
    made = listen(echo, Ingress(), None, Bounds(100, 1 << 20, 1 << 20), ("127.0.0.1", 0))
    yield made
    wasyncore.close_all(made.loop.sockets, ignore_all=True)


def echo(environ, start_response):
    start_response("200 OK", [])
    return [environ["wsgi.input"].read()]


def test_waitress_is_the_version_that_transport_was_written_for():
    installed = version("waitress")
    assert installed == WRITTEN_FOR, (
        f"waitress is {installed}: read every file of src/tsfm/http/transport again beside its source, then set "
        f"WRITTEN_FOR here and the pin in packaging/locks/runtime.in"
    )
    pins = (HERE.parent / "packaging/locks/runtime.in").read_text()
    assert f"\nwaitress=={WRITTEN_FOR} " in pins
    assert f"\nflask=={version('flask')}\n" in pins


@pytest.mark.parametrize("file", USES)
def test_every_name_that_a_file_uses_is_there(objects, file):
    for owner, names in USES[file].items():
        for name in names.split():
            assert hasattr(objects[owner], name), f"waitress's {owner} has no {name}: {again(file)}"


@pytest.mark.parametrize("file", [path.name for path in FOLDER.glob("*.py")])
def test_the_table_lists_every_name_of_waitress_that_a_file_uses(objects, file):
    theirs = {name for one in objects.values() for name in dir(one)} - set(dir(object))
    listed = {name for names in USES.get(file, {}).values() for name in names.split()}
    missing = used_names(FOLDER / file) & theirs - listed - set(OURS.get(file, "").split())
    assert not missing, f"{file} uses names that waitress has too: list them in USES, or in OURS of this test"


@pytest.mark.parametrize("file", SIGNATURES)
def test_what_a_file_calls_or_overrides_takes_the_same_parameters(file):
    for call, parameters in SIGNATURES[file].items():
        found = " ".join(inspect.signature(call).parameters)
        assert found == parameters, f"waitress's {call.__qualname__} takes ({found}): {again(file)}"


def test_no_other_file_imports_waitress():
    for path in (HERE.parent / "src").rglob("*.py"):
        imported = {
            name.partition(".")[0]
            for node in ast.walk(ast.parse(path.read_text()))
            for name in (
                [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else []
            )
        }
        assert "waitress" not in imported or path.parent == FOLDER, f"{path}: use tsfm.http.transport.listener"


# Behaviour


def test_a_deferred_request_stays_the_channels_oldest(objects, monkeypatch):
    """channel.py, Channel.service: HTTPChannel.service lets a BaseException pass and changes nothing on its way."""
    channel, request = objects["HTTPChannel"], HTTPRequestParser(objects["Adjustments"])
    request.received(b"POST / HTTP/1.1\r\n\r\n")
    channel.requests = [request]

    def app(environ, start_response):
        raise Deferred(Future(), lambda: app)

    monkeypatch.setattr(objects["TcpWSGIServer"], "application", app)
    with pytest.raises(Deferred):
        channel.service()
    assert channel.requests == [request], again("channel.py")
    assert not channel.close_when_flushed, again("channel.py")
    channel.requests = []


def test_a_full_buffer_is_waited_for_in_the_method_that_channel_empties(objects, monkeypatch):
    """channel.py: else a client that does not read would stop the loop's thread for ever."""
    called = []
    monkeypatch.setattr(HTTPChannel, "_flush_outbufs_below_high_watermark", lambda self: called.append(self))
    objects["HTTPChannel"].write_soon(b"x")
    assert called == [objects["HTTPChannel"]], again("channel.py")
    source = inspect.getsource(HTTPChannel)
    assert source.count(".wait(") == source.split("def _flush_outbufs_below_high_watermark")[1].split("def ")[0].count(
        ".wait("
    ), f"waitress's channel waits in another method too: {again('channel.py')}"


def test_a_piece_among_the_buffers_is_sent_in_its_place_and_freed(objects):
    """channel.py, Channel.write_soon: HTTPChannel._flush_some sends any buffer that has these methods."""
    channel = objects["HTTPChannel"]
    piece, sent = ReadOnlyFileBasedBuffer(BytesIO(b"piece")), []
    channel.total_outbufs_len = channel.outbufs[-1].__len__() + piece.prepare()
    channel.outbufs += [piece, OverflowableBuffer(100)]
    channel.send = lambda data, do_close: sent.append(data) or len(data)
    channel._flush_some()
    del channel.send
    assert (b"".join(sent)[-5:], channel.total_outbufs_len) == (b"piece", 0), again("channel.py")
    assert piece.file.closed, again("channel.py")


def test_a_client_that_closes_its_side_counts_as_gone(server):
    """channel.py, OneSendTask: check_client_disconnected is true then."""
    client = socket.create_connection(("127.0.0.1", int(server.effective_port)))
    wasyncore.poll2(5, server.loop.sockets)
    (channel,) = server.active_channels.values()
    assert not channel.check_client_disconnected()
    client.close()
    wasyncore.poll2(5, server.loop.sockets)
    assert channel.check_client_disconnected(), again("channel.py")


def test_the_listener_is_told_of_what_it_overrides(server, monkeypatch):
    """loop.py: poll2 calls handle_accept for a new client and readable calls maintenance."""
    calls = []
    monkeypatch.setattr(type(server), "maintenance", lambda self, now: calls.append("maintenance"))
    monkeypatch.setattr(type(server), "handle_accept", lambda self: calls.append("accept"))
    with socket.create_connection(("127.0.0.1", int(server.effective_port))):
        wasyncore.poll2(5, server.loop.sockets)
    assert calls == ["maintenance", "accept"], again("loop.py")


def test_closing_the_listening_socket_leaves_the_trigger_and_the_connections(server):
    """loop.py, _last_call and end: wasyncore.dispatcher.close closes one socket, close_all every one."""
    with socket.create_connection(("127.0.0.1", int(server.effective_port))):
        wasyncore.poll2(5, server.loop.sockets)
        assert len(server.loop.sockets) == 3, again("loop.py")
        wasyncore.dispatcher.close(server)
        assert len(server.loop.sockets) == 2, again("loop.py")
        wasyncore.close_all(server.loop.sockets, ignore_all=True)
        assert not server.loop.sockets, again("loop.py")


def test_what_the_trigger_is_given_runs_on_the_thread_that_polls(server):
    """loop.py, healthy, drain and end."""
    threads = []
    other = threading.Thread(target=server.trigger.pull_trigger, args=[lambda: threads.append(threading.get_ident())])
    other.start()
    other.join(10)
    wasyncore.poll2(5, server.loop.sockets)
    assert threads == [threading.get_ident()], again("loop.py")


def test_the_parser_gives_what_access_and_the_app_are_shown():
    """channel.py, _check, and parser.py: header names in capitals, no name with "_", a body in memory."""
    head = b"POST //a%2fb?q HTTP/1.1\r\nauthorization: Bearer x\r\nX_Y: z\r\nContent-Length: 3\r\n\r\n"
    parser = Parser(Adjustments(inbuf_overflow=1 << 20))
    assert parser.received(head) == len(head)
    assert parser.headers_finished, again("parser.py")
    assert parser.body_rcv is not None, again("channel.py")
    assert (parser.command, parser.path) == ("POST", "//a/b"), again("channel.py")
    assert parser.headers == {"AUTHORIZATION": "Bearer x", "CONTENT_LENGTH": "3"}, again("channel.py")
    assert parser.received(b"abcGET") == 3
    assert parser.completed
    stream = parser.get_body_stream()
    assert isinstance(stream, BytesIO), "read _body in src/tsfm/http/app.py again: the body is copied once more"
    assert stream.getvalue() == b"abc"


def test_a_large_body_is_received_into_memory_of_ours():
    """parser.py, parse_header: the receiver appends to ``buf``, and the app is given its ``getfile``."""
    parser = Parser(Adjustments(inbuf_overflow=1 << 20))
    parser.received(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (LARGE + 1))
    parser.received(b"ab")
    assert isinstance(parser.body_rcv.buf, Arriving), again("parser.py")
    assert len(parser.body_rcv.buf) == 2
    parser.received(b"c" * LARGE)
    assert parser.get_body_stream() is parser.body_rcv.buf.getfile(), again("parser.py")


def test_a_line_between_chunks_has_no_limit_of_waitress_own():
    """parser.py, MAX_CHUNK_LINE: when this fails, waitress may have one, and ours can go."""
    chunked = receiver.ChunkedReceiver(BytesIO())
    chunked.received(b"1" * 100_000)
    assert len(chunked.control_line) == 100_000
    assert chunked.error is None


def test_flask_lets_a_deferred_request_pass_and_leaves_no_context():
    """app.py raises through Flask what is no Exception."""
    app = flask.Flask("made-up")

    @app.get("/")
    def view():
        raise Deferred(Future(), lambda: app)

    with pytest.raises(Deferred):
        app.test_client().get("/")
    assert not flask.has_request_context(), "read infer in src/tsfm/http/app.py again: Flask kept the request's context"


def used_names(path: Path) -> set[str]:
    """The names after a dot, and the methods and attributes that classes define."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.ClassDef):
            for part in node.body:
                if isinstance(part, ast.FunctionDef):
                    found.add(part.name)
                targets = part.targets if isinstance(part, ast.Assign) else [getattr(part, "target", None)]
                found.update(target.id for target in targets if isinstance(target, ast.Name))
    return found
