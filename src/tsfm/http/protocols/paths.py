"""The paths of the operations under /v1 and of other protocols: the form of their requests and of their errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from tsfm.card import Card
from tsfm.engine import tasks
from tsfm.engine.schemas import Json
from tsfm.engine.tasks import Fields, Operation, Steps
from tsfm.http import refusals
from tsfm.http.encoding import whole
from tsfm.http.formats import tables
from tsfm.http.protocols import kserve_timeseries, kserve_v2, tensors
from tsfm.http.protocols import kserve_v2_description as v2_description
from tsfm.http.protocols.kserve_v2 import Inferences
from tsfm.http.v1 import Form, Negotiation

INVOCATIONS, PING = "/invocations", "/ping"  # what SageMaker asks of a container
V2 = "/v2"
FORECASTS = {INVOCATIONS, kserve_timeseries.PATH}
"""Paths of other protocols that only families that forecast have; V2's have the family's name in them."""


def operations(card: Card) -> dict[str, Operation]:
    """What is asked for at each path that takes requests for many series."""
    own = tasks.find(card.task).operations
    paths = {f"/v1/{name}": operation for name, operation in own.items()}
    if forecast := own.get("forecast"):
        paths[INVOCATIONS] = forecast
        paths[kserve_timeseries.PATH] = Operation(_timeseries)
        # A list of its tensors says nothing about how many series there are.
        paths[f"{V2}/models/{card.name}/infer"] = Operation(partial(Inferences, card.name), heavy=True)
    return paths


def form(path: str, operation: Operation, negotiation: Negotiation) -> Form:
    """The form of one request at one of these paths.

    Raises:
        Unsupported: a table, on a host that cannot read it.
    """
    if path == kserve_timeseries.PATH:
        return Form(operation, encode=whole)
    if path.startswith(V2):
        return Form(operation, tensors.Decoder(negotiation.header(tensors.HEADER)), tensors.write)
    return tables.form(operation, negotiation)


def refusal(path: str) -> Callable[[str, int], Fields]:
    """The form of an error at a path, from its sentence and its status."""
    if path == kserve_timeseries.PATH:
        return kserve_timeseries.refusal
    return kserve_v2.refusal if path == V2 or path.startswith(f"{V2}/") else refusals.fields


def refused(path: str) -> Json:
    """The JSON schema of such an error."""
    schemas = {kserve_timeseries.refusal: kserve_timeseries.REFUSAL, kserve_v2.refusal: v2_description.REFUSAL}
    return schemas.get(refusal(path), refusals.ERROR)


def summary(path: str) -> str:
    """What is asked for at a path, for the description."""
    name = path.removeprefix("/v1/")
    if "/" not in name:
        return f"{name} of many series; also as an Arrow stream or a Parquet file, with the package {tables.PACKAGE}"
    return {INVOCATIONS: "as /v1/forecast, for SageMaker's clients"}.get(path, "a protocol of KServe's")


def always(card: Card) -> Mapping[str, object]:
    """What GET tells at once, whatever the state of the model."""
    found: dict[str, object] = {"/healthz": {"status": "alive"}, f"{V2}/health/live": {"live": True}}
    found |= {V2: v2_description.server(), f"{V2}/models": {"models": [card.name]}}
    if "forecast" in tasks.find(card.task).operations:
        found |= {f"{V2}/models/{card.name}": v2_description.model(card.name), "/v1/timeseries/models": [card.name]}
    return found


def when_ready(card: Card) -> Mapping[str, object]:
    """What GET tells while the model answers; else 503."""
    ready = {"status": "ready"}
    model = {"name": card.name, "ready": True}
    return {
        "/readyz": ready,
        PING: ready,
        f"{V2}/health/ready": {"ready": True},
        f"{V2}/models/{card.name}/ready": model,
    }


def _timeseries() -> Steps:
    return kserve_timeseries
