"""The balancer as haproxy runs it, before real services: what it passes on, asks again, refuses and says itself."""

from __future__ import annotations

import json
import signal
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from conftest import free_port
from fleet.lab import Lab, needs_haproxy, until
from tools.fleet.proxy import Proxy

from tsfm.system.loopback import exchange

pytestmark = [pytest.mark.long, needs_haproxy]
WALK = [3.0, 4.0, 2.0, 5.0, 4.0, 6.0, 5.5, 7.0, 6.0, 8.0, 7.5, 9.0]
# Standardised, a single spike stands at sqrt(n - 1): only such a series is above 5.
PEAK = {"input": [0.0] * 40 + [1.0]}


@pytest.fixture
def lab(tmp_path):
    """Start a lab: ``lab(count, settings, rules, **trouble)``."""
    started = []

    def start(*given, **trouble) -> Lab:
        started.append(Lab(tmp_path, *given, **trouble))
        return started[-1]

    yield start
    for one in started:
        one.stop()


@pytest.fixture(scope="module")
def quiet(tmp_path_factory):
    made = Lab(tmp_path_factory.mktemp("quiet"))
    yield made
    made.stop()


def error(answer) -> str:
    status, headers, body = answer
    fields = json.loads(body)
    assert headers["content-type"] == "application/json"
    assert fields["status"] == "error"
    assert status >= 400
    return fields["error"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
def test_a_probe_gets_the_services_own_405(quiet, method):
    status, headers, body = quiet.get("/ds_predict", method)
    service = quiet.services[0].get("/ds_predict")
    assert (status, headers["allow"], headers["server"]) == (405, "POST", "tsfm")
    if method == "GET":
        assert body == service.body
    else:
        assert body == (b"" if method == "HEAD" else service.body.replace(b"GET", b"PUT"))


def test_answers_are_those_of_the_hosts_byte_for_byte(quiet):
    for fields in ({"input": WALK, "next_len": 4}, {"input": WALK, "next_len": 0}, {"input": []}, [1]):
        direct = quiet.services[0].post("/ds_predict", fields)
        status, headers, body = quiet.post(fields)
        assert (status, body) == (direct.status, direct.body)
        assert headers["content-type"] == direct.headers["Content-Type"]
    large = {"input": [float(value % 97) + 0.123456 for value in range(39_000)], "next_len": 3}
    assert len(json.dumps(large)) > 128 << 10  # more than a buffer
    assert quiet.post(large)[2] == quiet.services[1].post("/ds_predict", large).body
    assert quiet.get("/v1/models")[0] == 200


def test_both_hosts_are_used(quiet):
    before = [service.counted(200) for service in quiet.services]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: quiet.post({"input": WALK})[0], range(40)))
    assert answers == [200] * 40
    assert all(service.counted(200) > count for service, count in zip(quiet.services, before, strict=True))


def test_a_balancer_asks_no_balancer(quiet):
    marked = {"X-Tsfm-Balancer": "1"}
    assert error(quiet.post({"input": WALK}, **marked)).startswith("a balancer asks a balancer")


def test_a_request_that_does_not_arrive_is_no_concern_of_the_hosts(quiet):
    before = [service.counted(400) for service in quiet.services]
    with socket.create_connection(("127.0.0.1", quiet.port), timeout=60) as client:
        client.sendall(b"POST /ds_predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    assert quiet.post({"input": WALK})[0] == 200
    assert [service.counted(400) for service in quiet.services] == before


def test_a_host_that_is_killed_loses_no_request_and_comes_back(lab):
    made = lab(2, delay_s=0.4)
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(made.post, {"input": [*WALK, float(last)], "next_len": 2}) for last in range(8)]
        until(lambda: all(service.metric("tsfm_batch_size_count") > 1 for service in made.services))
        made.services[0].process.kill()
        for last, answer in enumerate(answers):
            status, _, body = answer.result(60)
            assert (status, json.loads(body)["output"]) == (200, pytest.approx([last, last], abs=1e-5))
    made.services[0].process.wait()
    assert made.get("/readyz")[0] == 200
    made.services[1].process.kill()
    made.services[1].process.wait()
    # The probe of TDgpt's is answered with no host at all, and a forecast is refused in words.
    assert made.get("/ds_predict")[0] == 405
    until(lambda: made.post({"input": WALK})[0] == 503)
    answer = made.post({"input": WALK})
    assert (error(answer), answer[1]["retry-after"]) == ("no host is ready", "5")
    made.services[0] = made.serve(made.addresses[0])
    until(lambda: made.post({"input": WALK})[0] == 200)


def test_a_request_that_crashes_its_host_is_asked_on_one_more_host_and_not_on_a_third(lab):
    made = lab(3, kill_above=5)
    assert error(made.post(PEAK)).startswith("the host ended before it had answered")
    until(lambda: dead(made) == 2)
    assert made.post({"input": WALK})[0] == 200
    assert dead(made) == 2


def dead(made: Lab) -> int:
    return sum(service.process.poll() == -signal.SIGKILL for service in made.services)


def test_500_and_504_are_final(lab):
    made = lab(2, "deadline_s = 1\nstall_s = 60", hang_above=5.9, fail_above=3)
    assert made.post({"input": [0.0] * 20 + [1.0]})[0] == 500  # at 4.5
    assert [service.counted(500) for service in made.services] in ([1, 0], [0, 1])
    assert made.post(PEAK)[0] == 504  # at 6.3
    assert [service.counted(504) for service in made.services] in ([1, 0], [0, 1])


def test_a_host_that_stops_sends_nobody_away(lab):
    made = lab(2, delay_s=0.05)
    with ThreadPoolExecutor(8) as pool:
        sent = [pool.submit(lambda: [made.post({"input": WALK})[0] for _ in range(12)]) for _ in range(8)]
        until(lambda: made.services[0].counted(200) > 2)
        made.services[0].process.send_signal(signal.SIGTERM)
        assert [status for one in sent for status in one.result(60)] == [200] * 96
    assert made.services[0].process.wait(30) == 0


def test_a_reload_loses_nothing_and_takes_up_what_is_new(lab):
    made = lab(2, delay_s=0.05)
    with ThreadPoolExecutor(8) as pool:
        sent = [pool.submit(lambda: [made.post({"input": WALK})[0] for _ in range(12)]) for _ in range(8)]
        until(lambda: made.services[1].counted(200) > 2)
        made.ini.write_text(made.ini.read_text().replace(" ".join(made.addresses), made.addresses[0]))
        made.proxy.reload()
        assert [status for one in sent for status in one.result(60)] == [200] * 96
    before = made.services[1].counted(200)
    assert [made.post({"input": WALK})[0] for _ in range(4)] == [200] * 4
    assert made.services[1].counted(200) == before


def test_clients_of_other_networks_are_not_served(lab):
    made = lab(1, "", "allow = 10.0.0.0/8 127.0.0.1")
    assert made.get("/ds_predict")[0] == 405
    made.ini.write_text(made.ini.read_text().replace("10.0.0.0/8 127.0.0.1", "10.0.0.0/8"))
    made.proxy.reload()
    with pytest.raises(ConnectionError):
        made.get("/ds_predict")


class Node(ThreadingHTTPServer):
    """What listens on a node of a fleet: each forecast gets the same answer, and is counted."""

    daemon_threads = True

    def __init__(self, address: str, port: int, status: int, kind: str, body: bytes) -> None:
        self.status, self.kind, self.body, self.asked = status, kind, body, 0
        super().__init__((address, port), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *client: object) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # haproxy leaves when it asks another node, and as it ends
            super().handle_error(*client)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Node

    def do_GET(self) -> None:
        self._answer(200, OURS, b"{}\n")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked += 1
        self._answer(self.server.status, self.server.kind, self.server.body)

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


OURS, RAYS = "application/json", "text/plain"
ANSWERED = (200, OURS, b'{"output": [1]}\n')
UNKNOWN = (404, RAYS, b"Path '/naive/ds_predict' not found.")  # of a node that has not heard of the family yet
NO_REPLICA = (503, RAYS, b"Service Unavailable")
RAY_FAILED = (500, RAYS, b"Internal Server Error")
FAILED = (500, OURS, b'{"status":"error","error":"the model failed"}\n')
NO_PATH = (404, OURS, b'{"status":"error","error":"no such path"}\n')


@pytest.fixture
def fleet(tmp_path):
    """Start nodes that answer as given, and the balancer before them; its address."""
    began = []

    def start(*answers: tuple[int, str, bytes]) -> tuple[str, list[Node]]:
        port, ours, hosts = free_port(), free_port(), [f"127.0.0.{2 + number}" for number in range(len(answers))]
        ini = tmp_path / "tsfm.ini"
        ini.write_text(
            f"[naive]\nport = {ours}\n"
            f"[balancer]\nhosts = {' '.join(hosts)}\nfamilies = naive\nlisten = 127.0.0.1\nfleet_port = {port}\n"
        )
        nodes = [Node(host, port, *answer) for host, answer in zip(hosts, answers, strict=True)]
        began.append(Proxy(tmp_path, ini).stop)
        began.extend(end for node in nodes for end in (node.shutdown, node.server_close))
        url = f"http://127.0.0.1:{ours}"
        until(lambda: exchange(f"{url}/readyz").status == 200)
        return url, nodes

    yield start
    for end in began:
        end()


@pytest.mark.parametrize(
    ("answers", "status", "words", "times"),
    [
        ((UNKNOWN, ANSWERED), 200, "output", {1, 2}),
        ((NO_REPLICA, ANSWERED), 200, "output", {1, 2}),
        ((UNKNOWN, UNKNOWN, UNKNOWN), 503, "no host is ready", {2}),
        ((RAY_FAILED, RAY_FAILED), 503, "no host is ready", {1}),
        ((FAILED, FAILED), 500, "the model failed", {1}),
        ((NO_PATH, NO_PATH), 404, "no such path", {2}),
    ],
)
def test_what_a_node_says_is_asked_on_another_one_where_nothing_was_computed(fleet, answers, status, words, times):
    url, nodes = fleet(*answers)
    seen = set()
    for _ in range(4):
        before = sum(node.asked for node in nodes)
        reply = exchange(f"{url}/ds_predict", b'{"input": [1, 2]}')
        assert (reply.status, words in reply.body.decode()) == (status, True)
        seen.add(sum(node.asked for node in nodes) - before)
    assert seen == times
