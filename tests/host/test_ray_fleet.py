"""Faults of a fleet of Ray under load, in network namespaces: no request is lost behind the balancer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fleet.environment import needs_ray
from host import faultreport
from host.faultreport import Tables
from tools.fleet import faults, ray_faults
from tools.fleet.ray_hosts import RayFleet

pytestmark = needs_ray
NODES = 3


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayFleet]:
    trouble = {"hang_above": faults.HANGS_ABOVE, "kill_above": faults.CRASHES_ABOVE}
    with RayFleet(tmp_path_factory.mktemp("ray"), NODES, **trouble) as made:
        yield made


@pytest.fixture(scope="module")
def report() -> Iterator[Tables]:
    with faultreport.written("fleet", "fleetpoison") as tables:
        yield tables


@pytest.mark.parametrize("fault", ray_faults.FAULTS)
def test_a_fault_under_load_loses_and_crosses_nothing(fleet: RayFleet, report: Tables, fault: str) -> None:
    seen = ray_faults.run(fleet, fault)
    report["fleet"][fault] = faultreport.shown(seen)
    assert (seen["lost"], seen["crossed"]) == (0, 0), seen
    assert seen["gets_not_405"] == 0, seen
    assert seen["requests"] > faults.CLIENTS


@pytest.mark.parametrize(
    ("poison", "answers", "hosts", "times"),
    # A client may meet a hung replica once in each deadline (4 s) until that is replaced (after stall_s, 6 s).
    [("it hangs the model", (504,), (1,), 2), ("it crashes the process", (502, 503), (1, 2), 1)],
)
def test_a_request_that_breaks_replicas_leaves_one_that_answers_everybody_else(
    fleet: RayFleet, report: Tables, poison: str, answers: tuple[int, ...], hosts: tuple[int, ...], times: int
) -> None:
    seen = ray_faults.poison(fleet, poison)
    report["fleetpoison"][poison] = faultreport.shown(seen)
    assert seen["answer"] in answers, seen
    assert seen["hosts"] in hosts, seen
    # Lost is only what was with it on every replica that it broke; haproxy may close a kept connection without a word.
    assert all(kind.startswith(("502", "503", "504", "IncompleteReadError")) for kind in seen["words"]), seen
    assert (seen["crossed"], seen["gets_not_405"]) == (0, 0), seen
    assert seen["lost"] < times * faults.CLIENTS
