"""Whatever comes over the wire: refused in one sentence of JSON, or the connection ends; the service goes on."""

import gzip
import json
import resource
import select
import socket
import string
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from backports import zstd
from conftest import Answer, Live
from hypothesis import given, settings
from hypothesis import strategies as st
from waitress.adjustments import Adjustments

from tsfm.http.transport.channel import Parser

pytestmark = pytest.mark.long

WALK = [3.0, 4.0, 2.0, 5.0, 4.0, 6.0, 5.5, 7.0, 6.0, 8.0, 7.5, 9.0]
ASK = json.dumps({"input": WALK, "next_len": 3}).encode()
# 500 is not among them: nothing that a client sends may break the model or us.
STATUSES = {200, 400, 404, 405, 413, 414, 415, 429, 431, 501, 503, 504, 507}
CONTROL = {chr(code) for code in [*range(32), *range(127, 160)]}


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    served = Live("naive", log=tmp_path_factory.mktemp("hostile") / "naive.log").until_ready()
    yield served
    assert served.stop() == 0


@pytest.fixture(autouse=True)
def afterwards(live):
    """After every test: the same process, answering as before, nothing alarming in its log."""
    before = live.log.stat().st_size
    yield
    assert live.process.poll() is None
    answer = live.post("/ds_predict", {"input": WALK, "next_len": 3})
    assert answer.json["output"] == pytest.approx([9.0] * 3)
    said = live.log.read_bytes()[before:].decode()
    assert "Traceback" not in said
    assert "ERROR" not in said
    assert not CONTROL - {"\n"} & set(said)


@dataclass
class Client:
    """A raw connection: what is sent is what was said, answers are read one by one."""

    live: Live

    def __enter__(self):
        self.socket = socket.create_connection(("127.0.0.1", self.live.port), timeout=30)
        self.left = b""
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data: bytes):
        # It may refuse and close before it has read all.
        with suppress(BrokenPipeError, ConnectionResetError):
            self.socket.sendall(data)
        return self

    def answer(self, body: bool = True) -> Answer | None:
        """The next answer, checked; None when the connection ended instead."""
        while b"\r\n\r\n" not in self.left:
            if not self._more():
                assert self.left == b"", "an answer was cut"
                return None
        head, _, self.left = self.left.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:])
        status = int(lines[0].split()[1])
        if status == 100:
            return self.answer()
        length = int(headers["Content-Length"]) if body else 0
        while len(self.left) < length:
            assert self._more(), "an answer was cut"
        text, self.left = self.left[:length], self.left[length:]
        found = Answer(status, headers, text)
        return checked(found) if body else found

    def last(self) -> Answer | None:
        """The next answer, if it comes soon; then no more is sent, so that a half request does not wait.

        To waitress a client that has ended its side has left: it may get no answer.
        """
        if not select.select([self.socket], [], [], 0.05)[0]:
            self.socket.shutdown(socket.SHUT_WR)
        return self.answer()

    def _more(self) -> bool:
        try:
            data = self.socket.recv(1 << 16)
        except ConnectionResetError:
            return False
        self.left += data
        return bool(data)


def checked(answer: Answer) -> Answer:
    """Any answer, of any kind: a documented status, JSON, and when it refuses, one sentence."""
    assert answer.status in STATUSES, answer
    if "openmetrics" in answer.headers["Content-Type"] or "text/plain; version" in answer.headers["Content-Type"]:
        assert answer.status == 200
        return answer
    assert answer.headers["Content-Type"] == "application/json"
    fields = answer.json
    if answer.status != 200:
        assert set(fields) <= {"status", "error"}
        sentence = fields["error"]
        assert 5 < len(sentence) < 300, sentence
        assert not CONTROL & set(sentence), sentence
        assert "Traceback" not in sentence
    return answer


def post(live, body: bytes, *headers: str, method: str = "POST", path: str = "/ds_predict") -> Answer | None:
    lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", "Connection: close", *headers]
    with Client(live) as client:
        return client.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body).answer()


# Bodies

texts = st.text(max_size=20)
numbers = st.one_of(
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0, -0.0, 5e-324, -5e-324, 1.7e308, -1.7e308, 2**63, -(2**63) - 1, 2**64, 1e-310]),
)
anything = st.recursive(
    st.none() | st.booleans() | numbers | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
series = st.lists(numbers | st.none(), min_size=9, max_size=40)
whole = {
    "input": series,
    "next_len": st.integers(-2, 1025) | st.sampled_from([2**31, 2**63, 10**400]),
    "conf_interval": st.floats(0, 1),
    "ts": st.lists(st.integers(-(2**65), 2**65), max_size=15),
    "past_dynamic_real": st.lists(series, max_size=3),
    "dynamic_real": st.lists(series, max_size=3),
}


def test_every_field_of_the_description_is_attacked(live):
    described = live.get("/openapi.json").json["paths"]["/ds_predict"]["post"]
    schema = described["requestBody"]["content"]["application/json"]["schema"]
    assert set(schema["properties"]) == set(whole)
    assert {int(code) for code in described["responses"]} - {500} <= STATUSES


@settings(max_examples=300)
@given(body=st.fixed_dictionaries({}, optional={name: kind | anything for name, kind in whole.items()}) | anything)
def test_any_json_is_answered_or_refused_in_one_sentence(live, body):
    checked(live.post("/ds_predict", json.dumps(body).encode()))


@settings(max_examples=300)
@given(
    target=st.lists(numbers | st.none(), min_size=10, max_size=40),
    next_len=st.integers(1, 40),
    confidence=st.floats(0, 1, exclude_max=True),
)
def test_numbers_of_any_size_give_finite_forecasts_in_order(live, target, next_len, confidence):
    ask = {"input": target, "next_len": next_len, "conf_interval": confidence}
    answer = checked(live.post("/ds_predict", json.dumps(ask).encode()))
    if any(value is not None for value in target):
        assert answer.status == 200, answer.json
        lower, output, upper = (np.array(answer.json[row], np.float64) for row in ("lower", "output", "upper"))
        assert np.isfinite([lower, output, upper]).all(), answer.json
        assert ((lower <= output) & (output <= upper)).all()


@settings(max_examples=150)
@given(body=st.binary(max_size=200))
def test_any_bytes_are_refused_in_one_sentence(live, body):
    assert checked(live.post("/ds_predict", body)).status == 400


@settings(max_examples=200)
@given(at=st.integers(0, len(ASK)), removed=st.integers(0, 20), put=st.binary(max_size=8))
def test_a_damaged_body_is_answered_or_refused(live, at, removed, put):
    checked(live.post("/ds_predict", ASK[:at] + put + ASK[at + removed :]))


NESTED = b'{"input":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
TEN = b"1,2,3,4,5,6,7,8,9,"


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (NESTED, 400, "nested too deeply"),
        (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, 400, "nested too deeply"),
        (b'{"input":[' + b"1," * 40_000 + b"1]}", 413, "at most 40000 points, got 40001"),
        (b'{"input":[' + TEN + b"1e400]}", 400, "input[9]: expected a finite number, got infinity"),
        (b'{"input":[' + TEN + b"-Infinity]}", 400, "input[9]: expected a finite number, got infinity"),
        (b'{"input":[' + TEN + b"1" + b"0" * 400 + b"]}", 400, "input[9]: expected a number up to 1.8e308"),
        (b'{"input":[' + TEN + b"1" * 5000 + b"]}", 400, "thousands of digits"),
        (b'{"input":[' + TEN + b'1],"input":7}', 400, "input: expected a list of numbers, got 7"),
        (b'{"input":[' + TEN + b"1],}", 400, "expected JSON"),
        (b'{"input":[' + TEN + b'"\xff"]}', 400, "expected JSON in UTF-8"),
        (b'{"input":[' + TEN + b'"\\ud800"]}', 400, "input[9]"),
        (b'{"\\ud800":1,"next_len":"\\udfff"}', 400, "input"),
        (b"", 400, "expected JSON"),
        (b"\x00" * 1000, 400, "expected JSON"),
        (b"[" + ASK + b"]", 400, "expected a JSON object, got a list"),
        (b" " * (1 << 20) + b"7", 400, "expected a JSON object, got a number"),
        (ASK + b"\n" * 100_000 + b"x", 400, "expected JSON"),
        (b'{"input":[' + TEN + b"true]}", 400, "input[9]: expected a number or null, got true"),
        (b'{"input":[' + b"null," * 20 + b"null]}", 400, "at least one number"),
        (b'{"input":[' + TEN + b'1],"next_len":1e30}', 400, "next_len"),
        (b'{"input":[' + TEN + b'1],"next_len":9223372036854775808}', 400, "next_len"),
        (b'{"input":[' + TEN + b'1],"conf_interval":1}', 400, "conf_interval"),
        (b'{"input":[' + TEN + b'1],"conf_interval":NaN}', 400, "conf_interval"),
    ],
    ids=range(23),
)
def test_a_crafted_body_is_refused_with_its_reason(live, body, status, said):
    answer = post(live, body)
    assert answer.status == status
    assert said in answer.json["error"]


def test_what_looks_odd_but_is_sound_is_answered(live):
    assert post(live, b'{"input":[' + TEN + b"-0.0]}").status == 200
    assert post(live, b'{"input":[' + b"5e-324,4e-320," * 10 + b"1e-310]}").status == 200
    assert post(live, b'{"input":[' + TEN + b"9223372036854775808,18446744073709551616]}").status == 200
    assert post(live, b'{"input":7,"input":[' + TEN + b"1]}").status == 200
    assert post(live, b'{"input":[' + TEN + b"NaN]}").status == 200
    assert post(live, b'{"input":[' + TEN + b'1],"conf_interval":0.9999999999999999}').status == 200
    assert post(live, b'{"input":[' + TEN + b'1],"next_len":1.0}').status == 200
    assert post(live, b"\xef\xbb\xbf" + ASK).status == 200
    assert post(live, ASK, "Content-Type: multipart/form-data; boundary=x").status == 200
    assert post(live, ASK, "Content-Type: \xff\xfe", "Accept: nothing/known").status == 200


BOMB = b"0" * (200 << 20)


def test_a_packed_body_is_unpacked_up_to_the_limit_and_no_further(live):
    for encoding, packed in {"gzip": gzip.compress(BOMB), "zstd": zstd.compress(BOMB)}.items():
        answer = post(live, packed, f"Content-Encoding: {encoding}", "Content-Type: application/json")
        assert answer.status == 413
        assert answer.json["error"] == "body: expected at most 32 MiB once unpacked, got more"


# HTTP

POST = b"POST /ds_predict HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
LENGTH = POST + b"Content-Length: %d\r\n\r\n"


def chunks(body: bytes, size: int) -> bytes:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (CHUNKED + chunks(ASK, 7), 200),
        (CHUNKED + chunks(ASK, 1), 200),
        (CHUNKED + b"5;ext=1\r\n" + ASK[:5] + b"\r\n" + chunks(ASK[5:], 99), 200),
        (CHUNKED + b"xyz\r\n" + ASK + b"\r\n0\r\n\r\n", 400),
        (CHUNKED + b"-5\r\nabc\r\n0\r\n\r\n", 400),
        (CHUNKED + b"5\r\nabcdefgh\r\n0\r\n\r\n", 400),
        (CHUNKED + b"f" * 3000 + b"\r\nabc", None),
        (CHUNKED + b"f" * 30_000, 400),
        (CHUNKED + b"0\r\nX: " + b"y" * 30_000, 400),
        (CHUNKED + b"ffffffffffffffff\r\nabc", None),
        (CHUNKED + b"5\r\nab", None),
        (LENGTH % (len(ASK) + 9) + ASK, None),
        (LENGTH % (len(ASK) - 9) + ASK, 400),
        (POST + b"\r\n" + ASK, 400),
        (POST + b"Content-Length: -1\r\n\r\n", 400),
        (POST + b"Content-Length: +5\r\n\r\nabcde", 400),
        (POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef", 400),
        (POST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", 400),
        (POST + b"Content-Length: 99999999999999999999\r\n\r\n", 413),
        (POST + b"Transfer-Encoding: gzip\r\n\r\n", 501),
        (POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n", 501),
        (POST + b"Expect: a-miracle\r\nContent-Length: 2\r\n\r\n{}", 400),
        (b"GET /healthz HTTP/1.1\r\n" + b"X-Flood: y\r\n" * 2000 + b"\r\n", 431),
        (b"GET /healthz HTTP/1.1\r\n" + b"X-Flood: y\r\n" * 1200 + b"\r\n", 200),
        (b"GET /healthz HTTP/1.1\r\nX: " + b"\xff\x00\x01" * 10 + b"\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\n: x\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nX: y\nZ: w\r\n\r\n", 400),
        (b"GET /healthz\r\n\r\n", 200),
        (b"GET /healthz HTTP/9.9\r\n\r\n", 200),
        (b"GET /healthz HTTP/1.1\r\nHost: [::::]]\r\n\r\n", 200),
        (b"GET /healthz HTTP/1.1\r\nHost: \xe4\r\nHost: b\r\n\r\n", 200),
        (b"get /healthz HTTP/1.1\r\n\r\n", 400),
        (b"FROB /healthz HTTP/1.1\r\n\r\n", 405),
        (b"GET http://[/ HTTP/1.1\r\n\r\n", 400),
        (b"GET http://[::1/healthz HTTP/1.1\r\n\r\n", 400),
        (b"GET http://elsewhere/healthz HTTP/1.1\r\n\r\n", 200),
        (b"GET //healthz HTTP/1.1\r\n\r\n", 200),
        (b"GET /v1//models HTTP/1.1\r\n\r\n", 404),
        (b"GET /v1/models/ HTTP/1.1\r\n\r\n", 404),
        (b"GET /../../etc/shadow HTTP/1.1\r\n\r\n", 404),
        (b"GET /static/%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\n\r\n", 404),
        (b"GET /%00%01%0a%1b[2J%7f HTTP/1.1\r\n\r\n", 404),
        (b"GET /%ff%fe%ed%a0%80 HTTP/1.1\r\n\r\n", 404),
        (b"GET /\xff\xfe HTTP/1.1\r\n\r\n", 400),
        (b"GET /<script>alert(1)</script> HTTP/1.1\r\n\r\n", 404),
        (b"GET /" + b"a" * 15_000 + b" HTTP/1.1\r\n\r\n", 404),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n", 431),
        (b"GET /healthz?" + b"%ff=%00&" * 1000 + b" HTTP/1.1\r\n\r\n", 200),
        (b"CONNECT elsewhere:80 HTTP/1.1\r\n\r\n", 404),
        (b"OPTIONS * HTTP/1.1\r\n\r\n", 404),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 404),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)), None),
        (b"\r\n" * 200 + b"GET /healthz HTTP/1.1\r\n\r\n", 200),
        (b"\x00" * 20_000, 431),
        (b"garbage\r\n\r\n", 400),
    ],
    ids=range(55),
)
def test_crafted_http_is_answered_in_json_or_the_connection_ends(live, request_bytes, status):
    with Client(live) as client:
        client.send(request_bytes)
        answer = client.last() if status is None else client.answer()
    assert (answer and answer.status) == status, answer


PLAIN = LENGTH % len(ASK) + ASK


@settings(max_examples=200)
@given(
    at=st.integers(0, len(PLAIN)),
    removed=st.integers(0, 12),
    put=st.binary(max_size=6) | st.text(string.printable, max_size=6).map(str.encode),
)
def test_a_damaged_request_is_answered_in_json_or_the_connection_ends(live, at, removed, put):
    with Client(live) as client:
        client.send(PLAIN[:at] + put + PLAIN[at + removed :]).last()


@settings(max_examples=100)
@given(path=st.binary(min_size=1, max_size=60).filter(lambda path: not set(path) & set(b" \r\n?#")))
def test_any_path_is_answered_in_json(live, path):
    with Client(live) as client:  # "/" and what is below it in another form of writing is the page
        client.send(b"GET /nope/" + path + b" HTTP/1.1\r\n\r\n").last()


@pytest.mark.parametrize(
    "path", ["/ds_predict", "/healthz", "/readyz", "/metrics", "/v1/models", "/openapi.json", "/", "/nope"]
)
@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "POST"])
def test_other_methods_change_nothing_and_are_told_so(live, method, path):
    with Client(live) as client:
        client.send(f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}".encode())
        answer = client.answer(body=method != "HEAD")
    known, posts = path != "/nope", path == "/ds_predict"
    if not known:
        assert answer.status == 404
    elif method == "POST" and posts:
        assert answer.status == 400
    elif method == "HEAD" and not posts:
        assert answer.status == 200
    else:
        assert answer.status == 405
        assert "Allow" in answer.headers


def test_expecting_100_continue_is_honoured(live):
    with Client(live) as client:
        client.send(POST + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(ASK))
        assert client.socket.recv(100).startswith(b"HTTP/1.1 100 Continue")
        assert client.send(ASK).answer().status == 200


def test_who_expects_100_continue_for_too_large_a_body_is_refused_instead(live):
    with Client(live) as client:
        client.send(POST + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % (64 << 20))
        assert client.socket.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_body_beyond_the_limit_that_is_sent_whole_is_told_so(live):
    with Client(live) as client:
        client.socket.sendall(LENGTH % (33 << 20) + b" " * (33 << 20))
        assert client.answer().status == 413


def test_pipelined_requests_are_answered_in_order(live):
    bodies = [json.dumps({"input": WALK, "next_len": n}).encode() for n in range(1, 31)]
    with Client(live) as client:
        client.send(b"".join(LENGTH % len(body) + body for body in bodies))
        lengths = [len(client.answer().json["output"]) for _ in bodies]
    assert lengths == list(range(1, 31))


def test_a_bad_request_in_a_pipeline_harms_neither_those_before_it_nor_the_form(live):
    with Client(live) as client:
        client.send(PLAIN + b"GET /healthz HTTP/1.1\r\n\r\n" + b"nonsense\r\n\r\n" + PLAIN)
        statuses = [client.answer().status for _ in range(3)]
        assert statuses == [200, 200, 400]
        assert client.answer() is None


@pytest.mark.parametrize("head", [LENGTH % (33 << 20), CHUNKED], ids=["by-length", "chunked"])
def test_a_body_beyond_the_limit_is_413_however_it_is_sent(live, head):
    with Client(live) as client:
        client.send(head)
        if head == CHUNKED:
            block = b"100000\r\n" + b" " * (1 << 20) + b"\r\n"
            for _ in range(40):
                client.send(block)
        answer = client.answer()
    # One who goes on sending may see the connection end before the answer: so is TCP.
    assert answer is None or answer.status == 413
    assert answer or head == CHUNKED


def test_two_hundred_half_sent_requests_hold_nobody_up(live):
    pieces = [PLAIN[: 10 + n] for n in range(len(PLAIN) - 11)]
    with ThreadPoolExecutor(1) as pool:
        clients = [Client(live).__enter__() for _ in range(200)]
        for number, client in enumerate(clients):
            client.send(pieces[number % len(pieces)])
        others = pool.submit(lambda: [live.get("/healthz", timeout=10).status for _ in range(50)])
        assert live.post("/ds_predict", {"input": WALK}, timeout=10).status == 200
        assert others.result() == [200] * 50
        for number, client in enumerate(clients):
            client.send(PLAIN[10 + number % len(pieces) :])
        assert {client.answer().status for client in clients} <= {200, 429}
        for client in clients:
            client.__exit__()


def test_a_request_that_drips_in_byte_by_byte_is_answered_and_holds_nobody_up(live):
    pause = threading.Event()
    with Client(live) as client:
        for at in range(len(PLAIN)):
            client.send(PLAIN[at : at + 1])
            if at % 40 == 0:
                pause.wait(0.01)
                assert live.get("/readyz", timeout=10).status == 200
        assert client.answer().status == 200


def test_clients_that_never_read_do_not_hold_others_up(live):
    ask = json.dumps({"input": WALK, "next_len": 1024}).encode()
    with ThreadPoolExecutor(1):
        deaf = [Client(live).__enter__() for _ in range(20)]
        for client in deaf:
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.socket.settimeout(0.2)
            with suppress(TimeoutError):  # it no longer reads from who does not read
                client.socket.sendall((LENGTH % len(ask) + ask) * 30)
        assert live.post("/ds_predict", {"input": WALK}, timeout=20).status in (200, 429)
        assert live.get("/readyz", timeout=10).status == 200
        for client in deaf:
            client.__exit__()
    while live.post("/ds_predict", {"input": WALK}).status == 429:
        pass


def test_a_long_pipeline_is_run_only_as_far_as_its_answers_are_read(live):
    count, ask = 1500, b"GET /openapi.json HTTP/1.1\r\n\r\n"
    statm = Path(f"/proc/{live.process.pid}/statm")
    pages = int(statm.read_text().split()[1])
    with Client(live) as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 17)
        client.send(ask * count)
        assert [live.get("/readyz", timeout=10).status for _ in range(20)] == [200] * 20
        answers = len(client.answer().body) * count
        grown = (int(statm.read_text().split()[1]) - pages) * resource.getpagesize()
        assert grown < answers / 3
        assert {client.answer().status for _ in range(count - 1)} == {200}


def test_bodies_together_are_bounded_while_they_are_received(serve, tmp_path):
    ini = tmp_path / "tsfm.ini"
    ini.write_text("[naive]\nqueue_mib = 4\n")
    served = serve("naive", env={"TSFM_INI": str(ini)}).until_ready()
    clients = [Client(served).__enter__() for _ in range(8)]
    for client in clients:
        client.send(LENGTH % (2 << 20) + b" " * (1 << 20))
    refused = [client.answer() for client in clients if select.select([client.socket], [], [], 1)[0]]
    assert 1 <= len(refused) <= 4
    for answer in filter(None, refused):
        assert answer.status == 429
        assert answer.headers["Retry-After"] == "1"
    assert served.post("/ds_predict", {"input": WALK}).status == 200
    for client in clients:
        client.__exit__()


def test_connections_that_are_reset_leave_nothing_behind(live):
    for number in range(400):
        with Client(live) as client:
            client.send(PLAIN[: 20 + number % 150] if number % 2 else b"garbage\r\n\r\n")
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    assert live.get("/readyz").status == 200


def test_a_request_that_could_not_be_read_has_what_the_log_asks_for():
    # Its client may leave before it is told; waitress then logs the path.
    parser = Parser(Adjustments())
    parser.received(b"garbage\r\n\r\n")
    assert parser.error.code == 400
    assert parser.path == ""
