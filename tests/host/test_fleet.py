"""Faults of three hosts under load, in network namespaces: no request is lost, and none gets another's answer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from host import faultreport
from host.faultreport import Tables
from tools.fleet import faults
from tools.fleet.namespaces import Namespaces

HOSTS = 3


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Namespaces]:
    with Namespaces(tmp_path_factory.mktemp("fleet"), HOSTS, "deadline_s = 30\nstall_s = 60") as made:
        yield made


@pytest.fixture(scope="module")
def frail(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Namespaces]:
    """Hosts whose model hangs and crashes."""
    trouble = {"hang_above": faults.HANGS_ABOVE, "kill_above": faults.CRASHES_ABOVE}
    with Namespaces(tmp_path_factory.mktemp("frail"), HOSTS, faults.POISON_SETTINGS, **trouble) as made:
        yield made


@pytest.fixture(scope="module")
def report() -> Iterator[Tables]:
    with faultreport.written("balancer", "poison") as tables:
        yield tables


@pytest.mark.parametrize("fault", faults.FAULTS)
def test_a_fault_under_load_loses_and_crosses_nothing(fleet: Namespaces, report: Tables, fault: str) -> None:
    seen = faults.run(fleet, fault)
    report["balancer"][fault] = faultreport.shown(seen)
    assert (seen["lost"], seen["crossed"]) == (0, 0), seen
    assert seen["gets_not_405"] == 0, seen
    assert seen["requests"] > faults.CLIENTS
    assert seen["gets"] > 20


@pytest.mark.parametrize(
    ("poison", "answer", "hosts"), [("it hangs the model", 504, 1), ("it crashes the process", 502, 2)]
)
def test_a_request_that_breaks_hosts_leaves_one_that_answers_everybody_else(
    frail: Namespaces, report: Tables, poison: str, answer: int, hosts: int
) -> None:
    seen = faults.poison(frail, poison)
    report["poison"][poison] = faultreport.shown(seen)
    assert (seen["answer"], seen["hosts"], seen["crossed"]) == (answer, hosts, 0), seen
    # Lost is only what was with it on every host that it broke; haproxy closes a kept connection without a word then.
    assert all(kind.startswith((str(answer), "IncompleteReadError")) for kind in seen["words"]), seen
    assert seen["lost"] < faults.CLIENTS
    assert seen["gets_not_405"] == 0, seen
