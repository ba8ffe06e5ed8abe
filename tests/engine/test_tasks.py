"""A made-up task, which only its own record knows, is served over HTTP, described, listed and called at the start."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from conftest import HERE, free_port
from werkzeug.serving import make_server

from tsfm import settings
from tsfm.card import Card
from tsfm.engine import tasks
from tsfm.engine.engine import Engine
from tsfm.engine.fields import numbers
from tsfm.engine.schemas import NUMBERS, structure
from tsfm.engine.work import Known, WorkItem
from tsfm.http.app import create_app
from tsfm.series import Capabilities, Runtime, Series

CARD = Card("adder", "Adds", "Apache-2.0", "yes", 2026, "none", ("adder",), "sum", ("/sum",), 6098, 1)


class Adder:
    """A model that adds the points of a series."""

    max_context, min_context, batch_points = 10_000, 2, 16384
    capabilities, path = Capabilities(), "float64 numpy"

    def __init__(self) -> None:
        self.batches: list[int] = []

    def add(self, batch: Sequence[Series]) -> list[np.ndarray]:
        self.batches.append(len(batch))
        return [np.array(series.target.sum()) for series in batch]


@dataclass(frozen=True)
class Call:
    model: Adder

    def run(self, batch: Sequence[Series]) -> list[np.ndarray]:
        return self.model.add(batch)


class Sum:
    """The steps of the task."""

    @staticmethod
    def read(fields, limits):
        return Series(numbers("input", fields.get("input")))

    @staticmethod
    def work(request, model, family):
        return WorkItem(request, Call(model), float) if len(request) else Known(0.0)

    @staticmethod
    def finish(request, output):
        return {"status": "success", "sum": output, "points": len(request)}

    @staticmethod
    def schema(card, limits):
        return structure({"input": NUMBERS}), structure({"sum": {"type": "number"}, "points": {"type": "integer"}})

    @staticmethod
    def example(points, limits):
        return {"input": list(range(points))}


def steps():
    return Sum


@pytest.fixture
def url(monkeypatch) -> Iterator[str]:
    monkeypatch.setattr(tasks, "_registered", dict(tasks._registered))
    tasks.register(tasks.Task("sum", tdgpt_folder=None, steps=steps))
    engine, model, port = Engine(CARD, settings.read("adder", {})), Adder(), free_port()
    engine.start(model, None, Runtime())
    assert model.batches  # the start has tried it with the record's example
    server = make_server("127.0.0.1", port, create_app(engine), threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{port}"
    server.shutdown()
    thread.join(10)
    server.server_close()
    engine.close()


def ask(url: str, body: object = None) -> dict[str, object]:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(url, data, timeout=60) as reply:
        return json.load(reply)


def test_a_registered_task_is_reached_by_http_and_described_and_listed(url):
    assert ask(f"{url}/sum", {"input": [1, 2, 3.5]}) == {"status": "success", "sum": 6.5, "points": 3}
    assert ask(f"{url}/sum", {"input": []}) == {"status": "success", "sum": 0.0, "points": 0}
    (model,) = ask(f"{url}/v1/models")["models"]
    assert (model["family"], model["task"], model["state"]) == ("adder", "sum", "ready")
    document = ask(f"{url}/openapi.json")
    post = document["paths"]["/sum"]["post"]
    request = post["requestBody"]["content"]["application/json"]
    assert post["summary"] == "sum"
    assert list(request["schema"]["properties"]) == ["input"]
    assert ask(f"{url}/sum", request["example"])["points"] == len(request["example"]["input"])
    (entry,) = [document["paths"]["/v1/models"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]]
    assert "sum" in entry["properties"]["models"]["items"]["properties"]["task"]["enum"]


def test_its_bad_requests_are_refused_in_the_one_form(url):
    with pytest.raises(urllib.error.HTTPError, match="400") as refused:
        ask(f"{url}/sum", {"input": "text"})
    assert json.load(refused.value) == {"status": "error", "error": 'input: expected a list of numbers, got "text"'}


def test_a_name_is_registered_once(url):
    with pytest.raises(ValueError, match="task sum: expected a new name; registered are forecast, imputation, sum"):
        tasks.register(tasks.Task("sum", None, steps))
    with pytest.raises(ValueError, match="task: expected one of forecast, imputation, sum, got 'product'"):
        tasks.find("product")


def test_the_records_are_read_without_numpy():
    """The registration with TDgpt runs under any Python."""
    code = (
        "import sys; sys.modules['numpy'] = sys.modules['flask'] = None\n"
        "from tsfm.tdgpt import adapters; from tsfm.engine import tasks\n"
        "print({name: tasks.find(name).tdgpt_folder for name in tasks.names()})"
    )
    environment = os.environ | {"PYTHONPATH": str(HERE.parent / "src")}
    printed = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "{'forecast': 'fc', 'imputation': None}"


BESIDE_THE_TASKS = ("http/app", "http/openapi", "http/bodies", "engine/engine", "engine/calibration", "engine/facts")
FOR_TDGPT = ("tdgpt/adapters", "tdgpt/templates", "doctor/link", "doctor/families")


@pytest.mark.parametrize("module", [*BESIDE_THE_TASKS, *FOR_TDGPT])
def test_a_task_is_named_by_its_record_alone(module: str) -> None:
    nodes = ast.walk(ast.parse((HERE.parent / f"src/tsfm/{module}.py").read_text()))
    strings = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    assert not strings & {"forecast", "imputation", "anomaly_detection"}
