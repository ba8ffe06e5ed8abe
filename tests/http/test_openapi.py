"""Schemathesis makes requests from our own description: whatever it sends, the answer is one that is described.

It sends what the description allows, at each limit and at random, what it forbids, and other methods and content
types. It runs as a process of its own: as a plugin of pytest it changes hypothesis, whose other tests would then no
longer show the values that made them fail.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from checkpoints import moment
from conftest import HERE, Live
from hypothesis import settings as hypothesis_settings

from tsfm import card, settings
from tsfm.engine import engine
from tsfm.http import app, openapi

pytestmark = pytest.mark.slow

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
# Small, so that what is just within a limit and just beyond it is small too.
LIMITS = {"max_rows": "40", "max_horizon": "30", "max_covariates": "2", "max_series": "4"}
TOKEN = "of-the-test"
HEADER = f"Authorization: Bearer {TOKEN}"
# For each operation, beside those at the limits. Behind a token there is the service that is asked without one.
EXAMPLES = {"naive": 100, "moment": 60, "token": 20}


@dataclass
class Described:
    """A running service and what it says of itself."""

    live: Live
    document: dict
    examples: int


@pytest.fixture(scope="module", params=["naive", "moment", "token"])
def described(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Described]:
    """A forecasting service, an imputing one, and one that asks for a token."""
    folder = tmp_path_factory.mktemp(request.param)
    family = {"token": "naive"}.get(request.param, request.param)
    given = LIMITS | ({"token_file": str(folder / "token")} if request.param == "token" else {})
    (folder / "token").write_text(TOKEN)
    (folder / "tsfm.ini").write_text("\n".join([f"[{family}]", *(f"{key} = {value}" for key, value in given.items())]))
    if family == "moment":
        moment.make(folder)
    options = ["--model-folder", str(folder), "--threads", "1"]
    env = {"TSFM_INI": str(folder / "tsfm.ini")}
    live = Live(family, *options, log=folder / "log", env=env, forked=family == "moment").until_ready()
    yield Described(live, openapi.describe(card.read(family), settings.read(family, given)), EXAMPLES[request.param])
    assert live.stop() == 0
    assert "Traceback" not in (folder / "log").read_text()


@pytest.mark.long
def test_every_answer_is_as_described(described: Described, tmp_path: Path) -> None:
    (tmp_path / "openapi.json").write_text(json.dumps(described.document))
    command = [SCHEMATHESIS, "--config-file", HERE / "openapi/schemathesis.toml", "run", "openapi.json"]
    command += [
        "--url",
        described.live.url,
        "--header",
        HEADER,
        "--max-examples",
        str(described.examples),
        "--no-color",
    ]
    command += ["--report", "json", "--report-json-path", "report.json"]
    if hypothesis_settings.default.derandomize:
        command.append("--generation-deterministic")
    environment = os.environ | {"TSFM_TESTS": str(HERE)}
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["operations"]["tested"] == sum(map(len, described.document["paths"].values()))
    assert report["test_cases"]["generated"] > described.examples
    # No neighbour runs, to which something could be passed on, and no schema says which texts are tables.
    free = ("POST /v1/neighbours", "POST /v1/table")
    rates = {name: rate["coverage"]["accepted"] for name, rate in report["valid_rates"].items() if name not in free}
    assert all(rates.values()), rates


def test_the_service_tells_that_description(described: Described) -> None:
    answer = described.live.get("/openapi.json", headers=dict([HEADER.split(": ")]))
    assert answer.json == described.document


def test_the_examples_of_the_description_are_answered(described: Described) -> None:
    examples = [
        (path, content["example"])
        for path, operations in described.document["paths"].items()
        for content in operations.get("post", {"requestBody": {"content": {}}})["requestBody"]["content"].values()
        if "example" in content  # a neighbour has its own
    ]
    assert len(examples) > 2
    for path, example in examples:
        body = example.encode() if isinstance(example, str) else example
        answer = described.live.post(path, body, headers=dict([HEADER.split(": ")]))
        assert answer.status == 200, answer.json
        assert not any("error" in one for one in answer.json.get("predictions", [])), answer.json


@pytest.mark.parametrize("family", card.names())
def test_every_path_is_described(family: str) -> None:
    limits = settings.read(family, {})
    rules = app.create_app(engine.Engine(card.read(family), limits)).url_map.iter_rules()
    assert {rule.rule for rule in rules} == set(openapi.describe(card.read(family), limits)["paths"])


VALIDATE = """\
import sys, schemathesis
from tsfm import card, settings
from tsfm.http import openapi
for family in card.names():
    for given in ({}, {"token_file": "/x", "allow": "10.0.0.0/8"}):
        document = openapi.describe(card.read(family), settings.read(family, given))
        schemathesis.openapi.from_dict(document).validate()
        print(family)
"""


def test_every_familys_description_is_openapi() -> None:
    ended = subprocess.run([sys.executable, "-c", VALIDATE], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    assert set(ended.stdout.split()) == set(card.names())
