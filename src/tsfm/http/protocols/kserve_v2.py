"""KServe's V2 inference protocol: POST /v2/models/NAME/infer, and what its GET paths tell.

Inputs are tensors. ``target`` has the shape [points], [series, points] or [series, variates, points]; ``item_id``,
``start`` and covariates, named ``past_covariates.NAME`` and ``future_covariates.NAME``, are optional. Outputs are
``mean`` and ``quantiles``; what else holds for a request is in its ``parameters``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from tsfm.card import Card
from tsfm.engine.fields import given, shown
from tsfm.engine.gather import Outcome
from tsfm.engine.schemas import Json, wave
from tsfm.engine.tasks import Fields
from tsfm.engine.v1 import forecast
from tsfm.engine.v1.forecast import ManyForecasts
from tsfm.engine.work import Many
from tsfm.errors import BadRequest
from tsfm.http.protocols import kserve_v2_description as description
from tsfm.http.protocols import tensors
from tsfm.http.protocols.kserve_v2_description import OPTIONAL, OUTPUTS, PREFIXES, VERSION
from tsfm.http.protocols.renamed import renamed
from tsfm.http.protocols.tensors import MOST_RANK, Values
from tsfm.series import Family
from tsfm.settings import Settings

# Parameters of Triton's clients that say nothing about a forecast.
OF_CLIENTS = ("binary_data_output", "priority", "timeout", "sequence_id", "sequence_start", "sequence_end")


@dataclass(frozen=True)
class Inference:
    """A request of the protocol: the request for forecasts, and how its answer is written.

    Attributes:
        rank: of the target.
        binary: for each wanted output, by name, whether its values are behind the JSON.
    """

    request: ManyForecasts
    rank: int
    binary: Mapping[str, bool]
    id: str | None


@dataclass(frozen=True)
class Inferences:
    """The steps of a task, for the family that clients name as their model."""

    family: str

    def read(self, fields: Fields, limits: Settings) -> Inference:
        """The checked request.

        Raises:
            BadRequest, TooLarge: one sentence that names the field, what was expected and what came.
        """
        listed = fields.get("inputs")
        if not isinstance(listed, list) or not listed:
            raise BadRequest(f"inputs: expected a list of tensors, got {shown(listed)}")
        named = dict(tensors.read(at, tensor) for at, tensor in enumerate(listed))
        target = _target(named)
        options = given(fields, "parameters", {})
        if not isinstance(options, dict):
            raise BadRequest(f"parameters: expected an object, got {shown(options)}")
        parameters = {name: _parameter(name, value) for name, value in options.items() if name not in OF_CLIENTS}
        if "quantile_levels" in named:
            parameters["quantile_levels"] = named["quantile_levels"].ravel().tolist()
        rank, series = target.ndim, target[np.newaxis] if target.ndim == 1 else target
        del named["target"]
        beside = {name: _rows(name, values, rank, len(series)) for name, values in named.items()}
        translated: Fields = {
            "inputs": [_entry(at, row, beside) for at, row in enumerate(series)],
            "parameters": parameters,
        }
        with renamed({name: f"parameters.{name}" for name in parameters}):
            request = forecast.read(translated, limits)
        request_id = fields.get("id")
        if request_id is not None and not isinstance(request_id, str):
            raise BadRequest(f"id: expected text, got {shown(request_id)}")
        return Inference(request, rank, _requested(fields, options), request_id)

    def work(self, request: Inference, model: Family, family: str) -> Many:
        """What the loaded model has to compute."""
        return forecast.work(request.request, model, family)

    def finish(self, request: Inference, outcomes: Sequence[Outcome]) -> Fields:
        """The fields of the answer.

        Raises:
            BadRequest: a series was refused, or failed: a tensor has no place for its error.
        """
        answer = forecast.finish(request.request, outcomes)
        predictions = cast(list[dict[str, Any]], answer["predictions"])
        for at, prediction in enumerate(predictions):
            if "error" in prediction:
                raise BadRequest(f"series {at} of {len(predictions)}: {prediction['error']}")
        levels = request.request.parameters.levels
        mean = np.array([prediction["mean"] for prediction in predictions], np.float64)
        quantiles = [[prediction[str(level)] for level in levels] for prediction in predictions]
        made = {"mean": mean, "quantiles": np.array(quantiles, np.float64), "quantile_levels": np.array(levels)}
        if request.rank == 1:
            made |= {"mean": made["mean"][0], "quantiles": made["quantiles"][0]}
        outputs = [_output(name, made[name], binary) for name, binary in request.binary.items()]
        warnings = cast(list[str], answer.get("warnings", []))
        extra: Fields = {"parameters": {"warnings": "; ".join(warnings)}} if warnings else {}
        extra |= {} if request.id is None else {"id": request.id}
        return {"model_name": self.family, "model_version": VERSION, "outputs": outputs} | extra

    def schema(self, card: Card, limits: Settings) -> tuple[Json, Json]:
        """JSON schemas of the request and of the answer."""
        return description.schema(card, limits)

    def example(self, points: int, limits: Settings) -> Fields:
        """A valid request of so many points, or of as many as the limits allow."""
        values = wave(min(points, limits.max_rows))
        tensor = {"name": "target", "shape": [1, len(values)], "datatype": "FP64", "data": values}
        return {"inputs": [tensor], "parameters": {"prediction_length": min(3, limits.max_horizon)}}


def refusal(sentence: str, _: int) -> Fields:
    """The protocol's own form of an error."""
    return {"error": sentence}


def _target(named: Mapping[str, Values]) -> Values:
    for name in named:
        if name not in ("target", *OPTIONAL) and not name.startswith(PREFIXES):
            known = ", ".join(("target", *OPTIONAL, *(f"{prefix}NAME" for prefix in PREFIXES)))
            raise BadRequest(f"inputs: expected tensors with the names {known}, got {shown(name)}")
    target = named.get("target")
    if target is None or target.ndim == 0 or target.dtype == object:
        what = "none" if target is None else "another one"
        raise BadRequest(f"inputs: expected a tensor target of numbers with 1 to {MOST_RANK} dimensions, got {what}")
    return target


def _rows(name: str, values: Values, rank: int, series: int) -> Values:
    """The values of one tensor beside the target, one row for each series."""
    single = name in ("item_id", "start")
    if name == "quantile_levels":
        return values
    if rank == 1 and values.ndim == (0 if single else 1):
        values = values[np.newaxis]
    if values.ndim != (1 if single else 2) or len(values) != series:
        what = "one value" if single else "one row"
        raise BadRequest(
            f"inputs: expected {what} of {shown(name)} for each series, got the shape {list(values.shape)}"
        )
    return values


def _entry(at: int, target: Values, beside: Mapping[str, Values]) -> Fields:
    """The entry for one series in a request for forecasts."""
    entry: Fields = {"target": list(target) if target.ndim == 2 else target}
    for name in ("item_id", "start"):
        if name in beside:
            value = beside[name][at]
            entry[name] = value.item() if isinstance(value, np.generic) else value
    for prefix in PREFIXES:
        rows = {name.removeprefix(prefix): rows[at] for name, rows in beside.items() if name.startswith(prefix)}
        if rows:
            entry[prefix.rstrip(".")] = rows
    return entry


def _parameter(name: str, value: object) -> object:
    """A parameter as a request for forecasts has it: here a list is a text with commas, since lists are not allowed."""
    if name == "quantile_levels" and isinstance(value, str):
        try:
            return [float(word) for word in value.split(",")]
        except ValueError:
            return value
    return value


def _requested(fields: Fields, parameters: Mapping[str, object]) -> dict[str, bool]:
    """The outputs that the client asks for, and whether in binary."""
    listed = fields.get("outputs")
    if listed is None or listed == []:
        return dict.fromkeys(OUTPUTS, parameters.get("binary_data_output") is True)
    if not isinstance(listed, list):
        raise BadRequest(f"outputs: expected a list, got {shown(listed)}")
    requested = {}
    for at, output in enumerate(listed):
        name = output.get("name") if isinstance(output, dict) else output
        if not isinstance(output, dict) or name not in OUTPUTS:
            raise BadRequest(f"outputs[{at}].name: expected one of {', '.join(OUTPUTS)}, got {shown(name)}")
        own = output.get("parameters", {})
        if not isinstance(own, dict):
            raise BadRequest(f"outputs[{at}].parameters: expected an object, got {shown(own)}")
        requested[str(name)] = own.get("binary_data") is True
    return requested


def _output(name: str, values: Values, binary: bool) -> Fields:
    output: Fields = {"name": name, "shape": list(values.shape), "datatype": "FP64", "data": values.ravel()}
    return output | ({"binary": True} if binary else {})
