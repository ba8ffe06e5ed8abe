"""Faults of a fleet of Ray under load, in network namespaces: no request is lost behind the balancer."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleet.environment import needs_ray
from tools.fleet import ray_faults
from tools.fleet.ray_hosts import RayFleet

pytestmark = needs_ray
ROOT = Path(__file__).resolve().parents[2]
NODES = 3
# TSFM_WRITE_DOCS=1: the figures go into the documents, from which packaging/docs.py makes the table.
REPORT = ROOT / ("docs/faults.json" if os.environ.get("TSFM_WRITE_DOCS") == "1" else "build/faults.json")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayFleet]:
    with RayFleet(tmp_path_factory.mktemp("ray"), NODES) as made:
        yield made


@pytest.fixture(scope="module")
def report() -> Iterator[dict[str, dict[str, object]]]:
    """What came of each fault; written into a file at the end, beside what other tests have found."""
    found: dict[str, dict[str, object]] = {}
    yield found
    REPORT.parent.mkdir(exist_ok=True)
    known = json.loads(REPORT.read_text()) if REPORT.exists() else {}
    REPORT.write_text(json.dumps(known | {"fleet": found}, indent=1) + "\n")


@pytest.mark.parametrize("fault", ray_faults.FAULTS)
def test_a_fault_under_load_loses_and_crosses_nothing(
    fleet: RayFleet, report: dict[str, dict[str, object]], fault: str
) -> None:
    seen = ray_faults.run(fleet, fault)
    report[fault] = {name: value for name, value in seen.items() if name != "words"}
    assert (seen["lost"], seen["crossed"]) == (0, 0), seen
    assert seen["gets_not_405"] == 0, seen
    assert seen["requests"] > ray_faults.CLIENTS
