"""The app under uvicorn: the same bytes as under our own server, and the same care for what is not answered yet."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from checkpoints import chronos, moment
from conftest import HERE, Live, free_port, to_the_end
from contract import CASES, GOOD, LARGE, POST, WALK, ask, same, sent

pytestmark = pytest.mark.long


class Uvicorn(Live):
    """The ASGI app as a uvicorn process of its own; its settings come from an ini file."""

    def __init__(self, family: str, log: Path, env: dict[str, str]) -> None:
        self.port, self.log = free_port(), log
        command = [sys.executable, "-m", "uvicorn", "--factory", "tsfm.http.asgi:create", "--port", str(self.port)]
        environment = os.environ | {"PYTHONPATH": str(HERE.parent / "src"), "TSFM_FAMILY": family} | env
        with log.open("wb") as stderr:
            self.process = subprocess.Popen(command, env=environment, stdout=stderr, stderr=stderr)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Start both servers with the same settings: ``pair(family, lines)`` gives (ours, uvicorn)."""
    started = []

    def start(family: str, lines: str = "", ready: bool = True, threads: int = 1) -> tuple[Live, Uvicorn]:
        folder = tmp_path_factory.mktemp("pair")
        ini = folder / "tsfm.ini"
        ini.write_text(f"[{family}]\nthreads = {threads}\n{lines}\n")
        env = {"TSFM_INI": str(ini)}
        ours = Live(family, log=folder / "ours.log", env=env)
        started.append(ours)
        other = Uvicorn(family, folder / "uvicorn.log", env)
        started.append(other)
        return (ours.until_ready(), other.until_ready()) if ready else (ours, other)

    yield start
    for live in started:
        live.stop()


@pytest.fixture(scope="module")
def naive(pair):
    return pair("naive", "max_body_mib = 2")


@pytest.mark.parametrize("case", CASES)
def test_both_servers_give_the_same_answer(naive, case):
    status, *request = CASES[case]
    assert same(naive, *request).status == status


def test_metrics_are_served_with_their_type(naive):
    answers = [ask(live, "GET", "/metrics") for live in naive]
    assert [answer.status for answer in answers] == [200, 200]
    assert answers[0].headers["content-type"] == answers[1].headers["content-type"]
    assert b'tsfm_requests_total{status="200"}' in answers[1].body


def test_covariates_are_answered_alike(pair, tmp_path):
    chronos.make(tmp_path / "chronos-2", "tiny2")
    both = pair("chronos", f"model_folder = {tmp_path}\ncheckpoint = chronos-2")
    past, future = [WALK[::-1]] * 2, [[*WALK, 1.0, 2.0, 3.0, 4.0]]
    fields = {"input": WALK, "next_len": 4, "past_dynamic_real": past, "dynamic_real": future}
    answer = same(both, *POST, sent(**fields))
    assert answer.status == 200, answer.body
    assert same(both, *POST, sent(**fields | {"dynamic_real": [WALK]})).status == 400


def test_imputation_is_answered_alike(pair, tmp_path):
    moment.make(tmp_path)
    both = pair("moment", f"model_folder = {tmp_path}")
    wave = np.sin(np.arange(200) / 7).tolist()
    gaps = [None if 50 <= index < 60 else value for index, value in enumerate(wave)]
    times = list(range(0, 200_000, 1000))
    answer = same(both, "POST", "/imputation", sent(input=gaps, ts=times, freq="1S", precision="ms"))
    assert answer.status == 200, answer.body
    assert same(both, "POST", "/imputation", sent(input=gaps, ts=times[1:])).status == 400


@pytest.mark.parametrize("rule", ["allow = 10.0.0.0/8", "token_file = {}"])
def test_access_is_checked_before_the_body_is_read(pair, tmp_path, rule):
    (tmp_path / "token").write_text("geheim")
    both = pair("naive", rule.format(tmp_path / "token"))
    status = 403 if "allow" in rule else 401
    for live in both:  # it is told although no byte of its body has been sent
        assert ask(live, *POST, b"", {"Content-Length": str(31 << 20)}).status == status
        told = talk(live, b"POST /ds_predict HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n")
        assert told.startswith(b"HTTP/1.1 %d " % status)
        whole = ask(live, *POST, b" " * (8 << 20))  # and why, although it sends everything before it reads
        assert whole.status == status
    assert same(both, *POST, GOOD).status == status
    assert same(both, *POST, b"", headers={"Content-Length": str(64 << 20)}).status == status
    assert same(both, *POST, GOOD, headers={"Authorization": "Bearer falsch"}).status == status
    assert same(both, "GET", "/metrics").status == status
    for live in both:
        assert talk(live, b"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n").endswith(b"\r\n\r\n")  # and no body
    assert same(both, "GET", "/healthz").status == 200
    assert same(both, "GET", "//readyz").status == 200
    assert same(both, "GET", "/healthz", b"{}").status == status
    known = same(both, *POST, GOOD, headers={"Authorization": "Bearer geheim"})
    assert known.status == (403 if "allow" in rule else 200)
    refused = f'tsfm_requests_total{{status="{status}"}}'.encode()
    if "token" in rule:
        counts = [ask(live, "GET", "/metrics", headers={"Authorization": "Bearer geheim"}).body for live in both]
        assert counted(counts[0], refused) == counted(counts[1], refused) > 0


def talk(live: Live, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", live.port), timeout=30) as client:
        client.sendall(request)
        return to_the_end(client)


def counted(metrics: bytes, name: bytes) -> float:
    return next((float(line.split()[-1]) for line in metrics.splitlines() if line.startswith(name)), 0.0)


# What is not answered yet


@pytest.fixture
def troubled(pair, tmp_path):
    """Both servers with a model that misbehaves: see families/naive.py."""

    def start(lines: str = "", ready: bool = True, **trouble):
        (tmp_path / "naive.json").write_text(json.dumps(trouble))
        return pair("naive", f"model_folder = {tmp_path}\n{lines}", ready)

    return start


def test_while_it_loads_and_when_its_queue_is_full_it_says_when_to_come_again(troubled):
    both = troubled("queue = 1\ndeadline_s = 2", ready=False, delay_s=4)
    until_up(both)
    assert same(both, *POST, GOOD).status == 503
    assert same(both, "GET", "/readyz").headers["retry-after"] == "5"
    assert same(both, "GET", "/healthz").status == 200
    for live in both:
        live.until_ready()
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(ask, live, *POST, GOOD) for live in both]
        for live in both:
            until(lambda live=live: counted(ask(live, "GET", "/metrics").body, b"tsfm_batch_size_count") == 2)
        assert same(both, *POST, GOOD).status == 429
        late = [one.result(60) for one in waiting]
    assert [answer.status for answer in late] == [504, 504]
    assert late[0].body == late[1].body


def until_up(both):
    for live in both:
        until(lambda live=live: up(live))


def up(live: Live) -> bool:
    with suppress(OSError):
        return ask(live, "GET", "/healthz").status == 200
    assert live.process.poll() is None, live.log.read_text()
    return False


def until(true):
    """Wait for it, a minute at most."""
    pause = threading.Event()
    for _ in range(3000):
        if true():
            return
        pause.wait(0.02)
    raise AssertionError("it did not become true within a minute")


def test_a_client_that_leaves_gives_its_place_in_the_queue_back_at_once(tmp_path, pair):
    (tmp_path / "naive.json").write_text(json.dumps({"hang_above": 3}))
    _, live = pair("naive", f"model_folder = {tmp_path}\nqueue = 1\ndeadline_s = 100", threads=2)
    peak = sent(input=[0.0] * 40 + [100.0])  # its model never comes back
    with socket.create_connection(("127.0.0.1", live.port), timeout=30) as client:
        client.sendall(b"POST /ds_predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(peak) + peak)
        until(lambda: counted(ask(live, "GET", "/metrics").body, b"tsfm_batch_size_count") == 2)
        assert ask(live, *POST, GOOD).status == 429
    until(lambda: ask(live, *POST, sent(input=[5.0] * 20)).status == 200)
    live.process.kill()  # its drain would wait for the model
    live.process.wait(30)


def test_at_the_end_it_says_so_and_what_was_accepted_is_answered(troubled):
    both = troubled(delay_s=3)
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(ask, live, *POST, GOOD) for live in both]
        for live in both:
            until(lambda live=live: counted(ask(live, "GET", "/metrics").body, b"tsfm_batch_size_count") == 2)
            live.process.send_signal(signal.SIGTERM)
        for live in both:  # the socket is open until then
            until(lambda live=live: ask(live, "GET", "/readyz").status == 503)
        assert "is stopping" in json.loads(same(both, "GET", "/readyz").body)["error"]
        assert same(both, *POST, GOOD).headers["retry-after"] == "5"
        assert same(both, "GET", "/healthz").status == 200
        assert not any(one.done() for one in waiting)
        assert [one.result(60).status for one in waiting] == [200, 200]
    for live in both:
        live.process.wait(40)
    assert "Application shutdown complete" in both[1].log.read_text()


def test_a_second_signal_ends_it_although_a_request_hangs(troubled):
    _, live = troubled("deadline_s = 100", hang_above=3)
    with socket.create_connection(("127.0.0.1", live.port), timeout=30) as client:
        peak = sent(input=[0.0] * 40 + [100.0])  # its model never comes back
        client.sendall(b"POST /ds_predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(peak) + peak)
        until(lambda: counted(ask(live, "GET", "/metrics").body, b"tsfm_batch_size_count") == 2)
        live.process.send_signal(signal.SIGINT)
        until(lambda: ask(live, "GET", "/readyz").status == 503)
        live.process.send_signal(signal.SIGINT)
        until(lambda: refused(live))
        live.process.send_signal(signal.SIGINT)  # uvicorn's own rule: at its second one it waits for no request
        live.process.wait(30)


def refused(live: Live) -> bool:
    with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", live.port), timeout=30):
        return False
    return True


def test_bodies_together_are_bounded_while_they_are_received(pair):
    _, live = pair("naive", "queue_mib = 4")
    head = b"POST /ds_predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (2 << 20)
    clients = [socket.create_connection(("127.0.0.1", live.port), timeout=30) for _ in range(8)]
    for client in clients:
        client.sendall(head + b" " * (1 << 20))
    refused = []
    for client in clients:
        client.settimeout(1)
        with suppress(TimeoutError):
            refused.append(client.recv(1 << 16))
    assert 1 <= len(refused) <= 4
    for answer in refused:
        assert answer.startswith(b"HTTP/1.1 429 ")
        assert b"retry-after: 1\r\n" in answer.lower()
    for client in clients:
        client.close()
    until(lambda: ask(live, *POST, sent(input=LARGE)).status == 200)  # what they held is free again


def test_a_model_that_cannot_be_loaded_is_told_to_probes_too(troubled):
    _, live = troubled(ready=False, exit_at_load="no licence")
    until(lambda: answers(live, 503))
    assert ask(live, "GET", "/readyz").status == 503
    assert "could not be loaded" in json.loads(ask(live, *POST, GOOD).body)["error"]
    assert "no licence" in live.log.read_text()


def answers(live: Live, status: int) -> bool:
    with suppress(OSError):
        return ask(live, "GET", "/healthz").status == status
    return False


def test_requests_that_come_together_are_batched_as_under_our_own_server(troubled):
    """While one batch runs, the others come; then all of them are one batch."""
    both, bodies = troubled(delay_s=1), [sent(input=[*WALK, float(last)]) for last in range(20)]
    for live in both:
        with ThreadPoolExecutor(21) as pool:
            first = pool.submit(ask, live, *POST, GOOD)
            until(lambda live=live: counted(ask(live, "GET", "/metrics").body, b"tsfm_batch_size_count") == 2)
            others = list(pool.map(lambda body, live=live: ask(live, *POST, body), bodies))
            assert first.result(60).status == 200
        assert {answer.status for answer in others} == {200}
        for last, answer in enumerate(others):  # and each gets its own
            np.testing.assert_allclose(json.loads(answer.body)["output"], last, atol=1e-5)
        assert counted(ask(live, "GET", "/metrics").body, b"tsfm_batch_size_count") <= 4
