"""A service beyond loopback: who may ask."""

import json
import resource
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from conftest import Live, to_the_end

from tsfm import settings
from tsfm.errors import ConfigError
from tsfm.http.auth import OPEN_PATHS, Access

pytestmark = pytest.mark.slow

BODY = {"input": list(range(12)), "next_len": 1}


@pytest.fixture
def configured(serve, tmp_path):
    def start(lines: str) -> Live:
        (tmp_path / "token").write_text("geheim\n")
        ini = tmp_path / "tsfm.ini"
        ini.write_text(f"[naive]\n{lines}\n")
        return serve("naive", env={"TSFM_INI": str(ini)}).until_ready()

    return start


def test_a_network_that_is_not_allowed_gets_403_with_its_address(configured):
    live = configured("allow = 10.0.0.0/8")
    refused = live.post("/ds_predict", BODY)
    assert refused.status == 403
    assert refused.json["error"] == "127.0.0.1 is in none of the networks of allow"


def test_a_network_that_is_allowed_is_answered(configured):
    assert configured("allow = 10.0.0.0/8, 127.0.0.0/8").post("/ds_predict", BODY).status == 200


def test_a_token_is_asked_for_everywhere_but_on_probes(configured, tmp_path):
    live = configured(f"token_file = {tmp_path}/token")
    assert live.post("/ds_predict", BODY).status == 401
    assert live.get("/metrics").status == 401
    assert live.post("/invocations", BODY).status == 401
    assert live.post("/v2/models/naive/infer", BODY).status == 401
    assert live.get("/v2/models/naive").status == 401
    assert all(live.get(path).status == 200 for path in OPEN_PATHS)
    assert live.post("/ds_predict", BODY, headers={"Authorization": "Bearer falsch"}).status == 401
    assert live.post("/ds_predict", BODY, headers={"Authorization": "Bearer geheim"}).status == 200


@pytest.mark.parametrize("content", [None, "  \n"])
def test_a_token_file_without_a_token_is_wrong_configuration(tmp_path, content):
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content)
    ini = tmp_path / "tsfm.ini"
    ini.write_text(f"[DEFAULT]\ntoken_file = {path}\n")
    with pytest.raises(ConfigError) as error:
        Access(settings.read("naive", {}, ini))
    what = "cannot be read: No such file or directory" if content is None else "is empty"
    assert str(error.value) == f"{ini}: [DEFAULT] token_file: {path} {what}"


def test_listening_for_everyone_is_warned_of(caplog):
    Access(settings.read("naive", {"host": "0.0.0.0"}))
    assert "listening on 0.0.0.0 for everyone" in caplog.text
    caplog.clear()
    Access(settings.read("naive", {"host": "0.0.0.0", "allow": "10.0.0.0/8"}))
    Access(settings.read("naive", {}))
    assert not caplog.text


def test_networks_are_refused_in_words():
    with pytest.raises(ConfigError, match=r"--allow: expected networks such as 10\.0\.0\.0/8, but"):
        settings.read("naive", {"allow": "10.0.0.1/8"})


# Strangers: whoever may not ask costs neither the budget for bodies, nor memory, nor the others' places.

MIB = 1 << 20
LARGE = json.dumps({"input": [0.1234567] * 30_000 + [1, 2], "next_len": 1}).encode()  # 280 kB
LENGTH = b"POST /ds_predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n"
CHUNKED = b"POST /ds_predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


@contextmanager
def stranger(live, address="127.0.0.2"):
    with socket.create_connection(("127.0.0.1", live.port), timeout=30, source_address=(address, 0)) as client:
        yield client


def resident(live) -> int:
    return int(Path(f"/proc/{live.process.pid}/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("rule", ["allow = 127.0.0.1", "token_file = {}"])
def test_a_stranger_is_refused_before_the_body_and_costs_no_budget(configured, tmp_path, rule, chunked):
    live = configured(f"queue_mib = 1\n{rule.format(tmp_path / 'token')}")
    known = {"Authorization": "Bearer geheim"}
    assert live.post("/ds_predict", LARGE, headers=known).status == 200
    before, block = resident(live), b" " * MIB
    refused = threading.Barrier(7)

    def ask():
        with stranger(live) as client:
            client.sendall(CHUNKED if chunked else LENGTH % (31 * MIB) + b"\r\n")
            said = client.recv(1 << 16)  # it is told although no byte of the body has been sent
            refused.wait(30)
            with suppress(BrokenPipeError, ConnectionResetError):
                for _ in range(31):
                    client.sendall(b"%x\r\n%s\r\n" % (MIB, block) if chunked else block)
            return said

    with ThreadPoolExecutor(6) as pool:
        asking = [pool.submit(ask) for _ in range(6)]
        refused.wait(30)
        statuses = {live.post("/ds_predict", LARGE, headers=known).status for _ in range(20)}
        answers = [future.result(60) for future in asking]
    assert statuses == {200}
    status = b"403 Forbidden" if "allow" in rule else b"401 Unauthorized"
    for answer in answers:
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 " + status)
        assert set(json.loads(body)) == {"status", "error"}
    assert resident(live) - before < 20 * MIB


def test_a_stranger_that_sends_all_of_its_body_before_it_reads_is_told_why(configured):
    live = configured("allow = 127.0.0.1")
    with stranger(live) as client:
        client.sendall(LENGTH % (8 * MIB) + b"\r\n" + b" " * (8 * MIB))
        assert b"127.0.0.2 is in none of the networks of allow" in to_the_end(client)


@pytest.mark.parametrize("rule", ["allow = 127.0.0.1", "token_file = {}"])
def test_a_stranger_is_not_told_to_continue(configured, tmp_path, rule):
    live = configured(rule.format(tmp_path / "token"))
    with stranger(live) as client:
        client.sendall(LENGTH % MIB + b"Expect: 100-continue\r\n\r\n")
        said = to_the_end(client)
    assert said.startswith(b"HTTP/1.1 40")
    assert b"100 Continue" not in said


def test_what_a_stranger_sends_behind_a_probe_is_refused(configured):
    live = configured("allow = 127.0.0.1")
    probe = b"GET /healthz HTTP/1.1\r\n\r\n"
    with stranger(live) as client:
        client.sendall(probe + probe + LENGTH % 5 + b"\r\n" + b"12345" + probe)
        said = to_the_end(client)
    assert [part[:3] for part in said.split(b"HTTP/1.1 ")[1:]] == [b"200", b"200", b"403"]


@pytest.mark.parametrize(
    "head",
    [
        b"POST /healthz HTTP/1.1\r\nContent-Length: 33000000\r\n\r\n",
        b"GET /readyz HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /healthz/../ds_predict HTTP/1.1\r\n\r\n",
        b"GET /openapi.json HTTP/1.1\r\n\r\n",
        b"GET /v1/models HTTP/1.0\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\n\r\n",
        LENGTH % (64 * MIB) + b"\r\n",
    ],
    ids=range(7),
)
def test_a_stranger_may_ask_for_probes_without_a_body_and_for_nothing_else(configured, head):
    live = configured("allow = 127.0.0.1")
    with stranger(live) as client:
        client.sendall(head)
        assert to_the_end(client).split()[1] == b"403"
    for path in (*OPEN_PATHS, "//readyz"):
        with stranger(live) as client:
            client.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            assert to_the_end(client).split()[1] == b"200"


@pytest.mark.parametrize("rule", ["allow = 127.0.0.1", ""])
def test_connections_that_say_nothing_do_not_keep_others_out(configured, rule):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (150, hard))
    try:
        live = configured(rule)  # with places for 50 connections
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    idle = [socket.create_connection(("127.0.0.1", live.port), source_address=("127.0.0.2", 0)) for _ in range(70)]
    assert live.post("/ds_predict", BODY, timeout=50).status == 200
    if rule:
        assert live.get("/readyz", timeout=5).status == 200
    for client in idle:
        client.close()


def test_what_is_refused_is_logged_without_its_data_and_counted(configured):
    live = configured("allow = 127.0.0.1")
    with stranger(live) as client:
        client.sendall(b"POST /ds_predict%0aforged?secret HTTP/1.1\r\nContent-Length: 1\r\n\r\n")
        assert to_the_end(client)
    said = live.log.read_text()
    assert "POST /ds_predict\\x0aforged: 403 127.0.0.2 is in none of the networks" in said
    assert "secret" not in said
    assert 'tsfm_requests_total{status="403"} 1.0' in live.get("/metrics").body.decode()
