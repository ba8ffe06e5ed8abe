"""What the app is shown of an ASGI request: the same as of waitress's."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from waitress.adjustments import Adjustments

from tsfm.errors import BadRequest
from tsfm.http.transport.parser import Parser
from tsfm.http.wsgi import UNKNOWN, Incoming


def scope(raw: bytes, **more):
    return {"type": "http", "method": "GET", "path": "/", "raw_path": raw, "headers": []} | more


@given(st.text(string.ascii_letters + string.digits + "/%#.:;@[]-_~", max_size=30))
def test_a_path_is_the_one_that_waitress_gives(text):
    target = f"/{text}".encode()
    parser = Parser(Adjustments())
    parser.received(b"GET " + target + b" HTTP/1.1\r\n\r\n")
    if parser.error:
        with pytest.raises(BadRequest):
            Incoming.of(scope(target))
        return
    assert Incoming.of(scope(target)).path == "/" + parser.path.lstrip("/")


@pytest.mark.parametrize("target", [b"http://x/a%20b", b"*", b"http://[", b"//a//b", b"http://x"])
def test_a_target_that_is_no_path_is_read_as_by_waitress(target):
    parser = Parser(Adjustments())
    parser.received(b"GET " + target + b" HTTP/1.1\r\n\r\n")
    if parser.error:
        with pytest.raises(BadRequest, match="not well-formed"):
            Incoming.of(scope(target))
        return
    path = parser.path
    assert Incoming.of(scope(target)).path == ("/" + path.lstrip("/") if path.startswith("/") else path)


def test_headers_are_joined_and_those_that_could_pass_for_others_are_left_out():
    lines = [(b"x-a", b"1"), (b"x-a", b"2"), (b"content_length", b"9"), (b"content-type", b"text/plain")]
    incoming = Incoming.of(scope(b"/", headers=lines))
    assert incoming.headers == {"X_A": "1, 2", "CONTENT_TYPE": "text/plain"}
    environ = incoming.environ()
    assert (environ["HTTP_X_A"], environ["CONTENT_TYPE"]) == ("1, 2", "text/plain")
    assert "CONTENT_LENGTH" not in environ


def test_the_prefix_that_a_server_mounts_the_app_at_is_no_part_of_the_path():
    environ = Incoming.of(scope(b"/fleet/chronos/ds_predict", root_path="/fleet/chronos")).environ()
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/fleet/chronos", "/ds_predict")


def test_where_the_server_keeps_no_raw_path_the_decoded_one_is_used():
    incoming = Incoming.of({"type": "http", "method": "GET", "path": "/中", "headers": []})
    assert incoming.path.encode("latin-1").decode() == "/中"


def test_a_client_without_an_address_has_one_that_no_network_allows():
    assert Incoming.of(scope(b"/", client=None)).address == UNKNOWN
    assert Incoming.of(scope(b"/", client=("192.0.2.1", 5))).address == "192.0.2.1"


@pytest.mark.parametrize(("value", "length"), [(b"12", 12), (b"-1", 0), (b"1" * 40, 0), (b"\xb2", 0)])
def test_a_declared_length_is_a_whole_number(value, length):
    assert Incoming.of(scope(b"/", headers=[(b"content-length", value)])).declared_bytes == length
