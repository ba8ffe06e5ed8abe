"""What the service says of itself in KServe's V2 inference protocol: its metadata, and the schemas of its requests."""

from __future__ import annotations

from typing import Any, cast

from tsfm import __version__
from tsfm.card import Card
from tsfm.engine.schemas import TEXT, Json, structure
from tsfm.engine.tasks import Fields
from tsfm.engine.v1 import forecast
from tsfm.http.protocols.tensors import DATATYPES, MOST_RANK
from tsfm.settings import Settings

VERSION = "1"
PREFIXES = ("past_covariates.", "future_covariates.")
COUNTS: Json = {"type": "array", "items": {"type": "integer", "minimum": 0}}
SHAPE: Json = COUNTS | {"maxItems": MOST_RANK}
DATA: Json = {"data": {"type": "array"}}
HEAD: Json = {"name": TEXT, "shape": SHAPE, "datatype": {"enum": list(DATATYPES)}}
TENSOR: Json = structure(HEAD | DATA, {"parameters": {"type": "object"}})
TARGET: Json = {"type": "object", "properties": {"name": {"const": "target"}}}
OPTIONAL = ("item_id", "start", "quantile_levels")
OUTPUTS = ("mean", "quantiles", "quantile_levels")
REQUESTED_OUTPUT: Json = structure({"name": {"enum": list(OUTPUTS)}}, {"parameters": {"type": "object"}})
REFUSAL: Json = structure({"error": TEXT})


def server() -> Fields:
    """What GET /v2 tells."""
    return {"name": "taos-tsfm", "version": __version__, "extensions": ["binary_tensor_data"]}


def model(family: str) -> Fields:
    """What GET /v2/models/NAME tells."""
    inputs = [_metadata("target", "FP64", [-1, -1]), _metadata("quantile_levels", "FP64", [-1])]
    inputs += [_metadata(name, "BYTES", [-1]) for name in ("item_id", "start")]
    shapes = {"mean": [-1, -1], "quantiles": [-1, -1, -1], "quantile_levels": [-1]}
    return {
        "name": family,
        "versions": [VERSION],
        "platform": "taos-tsfm",
        "inputs": inputs,
        "outputs": [_metadata(name, "FP64", shape) for name, shape in shapes.items()],
    }


def schema(card: Card, limits: Settings) -> tuple[Json, Json]:
    """JSON schemas of the request and of the answer."""
    ours, _ = forecast.schema(card, limits)
    parameters = dict(cast(Any, ours)["properties"]["parameters"]["properties"])
    parameters["quantile_levels"] = parameters["quantile_levels"] | {
        "type": ["string", "array", "null"],
        "description": "text with commas between the numbers, as the protocol has no lists here; or a tensor",
    }
    request = structure(
        {"inputs": {"type": "array", "minItems": 1, "items": TENSOR, "contains": TARGET}},
        {
            "id": {"type": ["string", "null"]},
            "parameters": {"type": ["object", "null"], "properties": parameters},
            "outputs": {"type": ["array", "null"], "items": REQUESTED_OUTPUT},
        },
    )
    output = structure({"name": {"enum": list(OUTPUTS)}, "shape": COUNTS, "datatype": {"const": "FP64"}} | DATA)
    head: Json = {"model_name": TEXT, "model_version": TEXT, "outputs": {"type": "array", "items": output}}
    return request, structure(head, {"id": TEXT, "parameters": structure({}, {"warnings": TEXT})})


def _metadata(name: str, datatype: str, shape: list[int]) -> Fields:
    return {"name": name, "datatype": datatype, "shape": shape}
