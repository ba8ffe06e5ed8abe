"""Every family on a simulated CUDA device (tests/card.py): tensors are in their place, and few lines wait for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from conftest import HERE

pytestmark = pytest.mark.long

# Waits within one forecast of 200 steps, for three series: one or a few a pass, of which some families make several.
MOST = {
    "chronos_bolt": 5,
    "chronos_2": 5,
    "flowstate": 1,
    "fracast": 5,
    "moirai_moe": 3,
    "moirai_2": 9,
    "moment": 2,
    "tdtsfm": 3,
    "timemoe": 2,
    "timesfm": 2,
    "timesfm_25": 3,
    "tirex": 1,
    "toto": 1,
}


@pytest.fixture(scope="module")
def found() -> dict[str, list[dict]]:
    environment = os.environ | {"PYTHONPATH": f"{HERE.parent / 'src'}"}
    ended = subprocess.run([sys.executable, HERE / "card.py"], env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(ended.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", MOST)
def test_it_computes_there_what_it_computes_on_a_cpu(found, name):
    for one in found[name]:
        assert one["apart"] <= 1e-5


@pytest.mark.parametrize("name", MOST)
def test_it_waits_for_the_device_a_few_times_a_pass(found, name):
    waits = found[name][-1]["waits"]
    assert 0 < sum(waits.values()) <= MOST[name], waits


def test_no_family_is_missing(found):
    assert set(found) == set(MOST)
