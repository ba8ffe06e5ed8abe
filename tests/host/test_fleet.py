"""Faults of one of two hosts under load, in network namespaces: no request is lost, and none gets another's answer."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tools.fleet import faults
from tools.fleet.hosts import Fleet

ROOT = Path(__file__).resolve().parents[2]
# TSFM_WRITE_DOCS=1: the figures go into the documents, from which packaging/docs.py makes the table.
REPORT = ROOT / ("docs/faults.json" if os.environ.get("TSFM_WRITE_DOCS") == "1" else "build/faults.json")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with Fleet(tmp_path_factory.mktemp("fleet")) as made:
        yield made


@pytest.fixture(scope="module")
def report() -> Iterator[dict[str, object]]:
    """What came of each fault; written into a file at the end."""
    found: dict[str, object] = {}
    yield found
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps(found, indent=1) + "\n")


@pytest.mark.parametrize("fault", faults.FAULTS)
def test_a_fault_under_load_loses_and_crosses_nothing(fleet: Fleet, report: dict[str, object], fault: str) -> None:
    seen = faults.run(fleet, fault)
    report[fault] = {name: value for name, value in seen.items() if name != "words"}
    assert (seen["lost"], seen["crossed"]) == (0, 0), seen
    assert seen["gets_not_405"] == 0, seen
    assert seen["requests"] > faults.CLIENTS
    assert seen["gets"] > 50
