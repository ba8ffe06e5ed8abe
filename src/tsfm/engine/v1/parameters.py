"""The field ``parameters`` of a request under /v1, with the names and defaults of Chronos-2's endpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np

from tsfm.engine.fields import given, shown, unknown, whole
from tsfm.engine.schemas import Json
from tsfm.errors import BadRequest
from tsfm.numerics.frequency import Frequency
from tsfm.settings import Settings

DEFAULT_HORIZON = 1
DEFAULT_LEVELS = (0.1, 0.5, 0.9)
MOST_LEVELS = 99
NARROWEST = 1e-6  # in float32 the level opposite to a smaller one would be 1
# Of Chronos-2's endpoint; without cross_learning it concerns nothing but speed there, and means nothing here.
BATCH = "batch_size"
NOT_TOGETHER = "parameters.cross_learning: not available; each series was forecast by itself"
MOST_TOGETHER = 256  # rows of one group, the default of chronos-forecasting
TOGETHER = ("cross_learning", "predict_batches_jointly")  # the second is the older name
FORECASTING = ("prediction_length", "quantile_levels", "freq", "season_length", "context_length", *TOGETHER)


@dataclass(frozen=True)
class Parameters:
    """What holds for all series of a request.

    Attributes:
        horizon: steps to forecast.
        levels: quantile levels, in the request's order.
        freq: the step from one time to the next; None: answers have no times.
        season: points of a season, as given; None: they are found, for each series, where they matter.
        context: the newest points of each series that are used; None: as many as the model takes.
        together: rows (targets and covariates) of the series that are forecast together; None: each series by itself.
        warnings: sentences about what was not used.
    """

    horizon: int
    levels: tuple[float, ...]
    freq: Frequency | None
    season: int | None
    context: int | None
    warnings: tuple[str, ...]
    together: int | None = None

    @property
    def usual_season(self) -> float | None:
        """Points of a season, as given or as the frequency says."""
        return self.season or (self.freq.season if self.freq else None)

    @property
    def numbers(self) -> int:
        """Numbers in the forecast of one series."""
        return self.horizon * (len(self.levels) + 1)


def of(fields: dict[str, object]) -> dict[str, object]:
    """The object ``parameters``; absent and null mean defaults only."""
    value = given(fields, "parameters", {})
    if not isinstance(value, dict):
        raise BadRequest(f"parameters: expected an object, got {shown(value)}")
    return value


def read(fields: dict[str, object], limits: Settings, also: tuple[str, ...] = ()) -> Parameters:
    """Check the parameters of a request for forecasts.

    Args:
        also: further fields that the caller reads.

    Raises:
        BadRequest: one sentence that names the field, what was expected and what came.
    """
    options = of(fields)
    context, season = options.get("context_length"), options.get("season_length")
    together = None
    if any([_switch(name, options.get(name)) for name in TOGETHER]):
        together = whole(BATCH, given(options, BATCH, MOST_TOGETHER), 1, MOST_TOGETHER)
        also = (*also, BATCH)
    warnings = [f"parameters.{warning}" for warning in unknown(options, (*FORECASTING, *also))]
    return Parameters(
        whole("prediction_length", given(options, "prediction_length", DEFAULT_HORIZON), 1, limits.max_horizon),
        levels(options.get("quantile_levels")),
        frequency(options.get("freq")),
        None if season is None else whole("season_length", season, 1, limits.max_rows),
        None if context is None else whole("context_length", context, 1, limits.max_rows),
        tuple(warnings),
        together,
    )


def levels(value: object) -> tuple[float, ...]:
    """Quantile levels, each between 0 and 1 and each once."""
    if value is None:
        return DEFAULT_LEVELS
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if not isinstance(value, list) or len(value) > MOST_LEVELS:
        raise BadRequest(f"quantile_levels: expected a list of at most {MOST_LEVELS} numbers, got {_size(value)}")
    found: list[float] = []
    for at, one in enumerate(value):
        number = level(f"quantile_levels[{at}]", one)
        if number in found:
            raise BadRequest(f"quantile_levels[{at}]: expected each level once, got {shown(one)} again")
        found.append(number)
    return tuple(found)


def level(field: str, value: object) -> float:
    """A quantile level.

    Raises:
        BadRequest: it is no number, or so near to 0 or 1 that float32 cannot tell.
    """
    if type(value) in (int, float) and NARROWEST <= (number := cast(float, value)) <= 1 - NARROWEST:
        return number
    raise BadRequest(f"{field}: expected a number from {NARROWEST:g} to {1 - NARROWEST:g}, got {shown(value)}")


def frequency(value: object) -> Frequency | None:
    """The step from one time to the next."""
    if value is None:
        return None
    try:
        if not isinstance(value, str):
            raise ValueError("expected text such as h, D or PT15M")
        return Frequency.of(value)
    except ValueError as error:
        raise BadRequest(f"freq: {error}, got {shown(value)}") from None


def schema(limits: Settings) -> Json:
    """JSON schemas of the parameters, by name."""
    level: Json = {"type": "number", "minimum": NARROWEST, "maximum": 1 - NARROWEST}
    levels_schema: Json = {"type": ["array", "null"], "items": level, "maxItems": MOST_LEVELS, "uniqueItems": True}
    return {
        "prediction_length": {
            "type": ["integer", "null"],
            "minimum": 1,
            "maximum": limits.max_horizon,
            "default": DEFAULT_HORIZON,
            "description": "steps to forecast",
        },
        "quantile_levels": levels_schema | {"default": list(DEFAULT_LEVELS)},
        "freq": FREQ,
        "season_length": {
            "type": ["integer", "null"],
            "minimum": 1,
            "maximum": limits.max_rows,
            "description": "points of a season, for models and scores that use them; default: what freq says, to a "
            "model that uses it, else found by autocorrelation",
        },
        "context_length": {
            "type": ["integer", "null"],
            "minimum": 1,
            "maximum": limits.max_rows,
            "description": "the newest points of each series that are used",
        },
        "cross_learning": {
            "type": ["boolean", "null"],
            "description": "forecast the series of the request together, in groups of batch_size rows (targets and "
            f"covariates, at most {MOST_TOGETHER}); a checkpoint that cannot gives a warning",
        },
    }


FREQ: Json = {
    "type": ["string", "null"],
    "pattern": "^([1-9][0-9]{0,5})?(h|min|s|ms|us|D|W|ME|MS|QE|QS|YE|YS|B)$|^PT[1-9][0-9]{0,2}[HMS]$|^P[1-9][DWMY]$",
    "description": "step of the times: a pandas alias (h, 15min, W-SUN, ME) or an ISO 8601 duration (PT15M, P1M); "
    "the pattern shows the most common ones",
    "examples": ["h", "15min", "P1D"],
}


def _switch(field: str, value: object) -> bool:
    if value is not None and not isinstance(value, bool):
        raise BadRequest(f"{field}: expected true or false, got {shown(value)}")
    return bool(value)


def _size(value: object) -> str:
    return f"{len(value)}" if isinstance(value, list) else shown(value)
