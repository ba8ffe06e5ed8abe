"""The task "forecast": from a request's fields to quantiles of the next steps (tdgpt-contract: POST /ds_predict)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tsfm.engine.abilities import NATIVE, REGRESSION
from tsfm.engine.fields import (
    check_context,
    check_most,
    check_rows,
    covariates,
    exact,
    given,
    shown,
    timestamps,
    unknown,
    whole,
)
from tsfm.engine.forecast_schema import DEFAULT_CONFIDENCE, DEFAULT_HORIZON
from tsfm.engine.forecast_schema import example as example
from tsfm.engine.forecast_schema import schema as schema
from tsfm.engine.room import TDGPT, Shape, Words
from tsfm.engine.work import Known, WorkItem, check_shape
from tsfm.errors import BadRequest, TooLarge
from tsfm.numerics import regression, scaling
from tsfm.numerics.exact import offset_added
from tsfm.series import Capabilities, Family, FloatArray, Forecast, Series
from tsfm.settings import Settings

NARROWEST_TAIL = 1e-6  # in float32 the upper level would be 1 below this, which is not a quantile
FIELDS = ("input", "next_len", "conf_interval", "ts", "past_dynamic_real", "dynamic_real")


@dataclass(frozen=True)
class ForecastRequest:
    """A request that is known to be answerable.

    Attributes:
        confidence: probability of the central interval, in [0, 1).
        origin: the whole number that was subtracted from every point of ``series.target``, so that numbers beyond
            2^53 keep their last digits; else 0.
        warnings: sentences about ignored fields.
    """

    series: Series
    horizon: int
    confidence: float
    origin: int = 0
    warnings: tuple[str, ...] = ()

    @property
    def levels(self) -> tuple[float, float]:
        """The interval's two quantile levels; rounded, so that 0.8 gives 0.1 and not 0.0999999."""
        tail = max(round((1 - self.confidence) / 2, 12), NARROWEST_TAIL)
        return tail, round(1 - tail, 12)


@dataclass(frozen=True)
class ForecastCall:
    """A call of the model with these parameters.

    Attributes:
        horizon: steps from the end of the series as the model gets it.
        levels: quantile levels.
    """

    family: Family
    horizon: int
    levels: tuple[float, ...]

    def run(self, batch: Sequence[Series]) -> Sequence[Forecast]:
        outputs = self.family.forecast(batch, self.horizon, self.levels)
        for output in outputs:
            check_shape(output.median, self.horizon)
            check_shape(output.quantiles, len(self.levels), self.horizon)
        return outputs


@dataclass(frozen=True)
class Output:
    """A forecast in the unit of the request, and what the loaded checkpoint could not use of its series.

    Attributes:
        forecast: its quantile rows are the lower and the upper end of the interval.
        how: the covariates were used by the model (``NATIVE``), by a ``REGRESSION``, or there are none (None).
        joint: the variates of its target were forecast together.
        crossed: the series of its request were forecast together.
    """

    forecast: Forecast
    warnings: tuple[str, ...] = ()
    how: str | None = None
    joint: bool = False
    crossed: bool = False


def read(fields: dict[str, object], limits: Settings) -> ForecastRequest:
    """Check the fields of a forecast request.

    Raises:
        BadRequest, TooLarge: one sentence that names the field, what was expected and what came.
    """
    check_most("input", fields.get("input"), limits.max_rows)
    target, origin = exact("input", fields.get("input"))
    check_rows("input", len(target), limits)
    horizon = whole("next_len", given(fields, "next_len", DEFAULT_HORIZON), 1, limits.max_horizon)
    confidence = given(fields, "conf_interval", DEFAULT_CONFIDENCE)
    if isinstance(confidence, bool) or not isinstance(confidence, int | float) or not 0 <= confidence < 1:
        raise BadRequest(f"conf_interval: expected a number from 0 to below 1, got {shown(confidence)}")
    if np.isnan(target).all():
        raise BadRequest(f"input: expected at least one number, got {len(target)} missing values")
    check_times(fields.get("ts"), len(target))
    check_covariates(fields, limits)
    past = covariates("past_dynamic_real", fields.get("past_dynamic_real"), len(target))
    future = covariates("dynamic_real", fields.get("dynamic_real"), len(target) + horizon)
    return ForecastRequest(Series(target, past, future), horizon, float(confidence), origin, unknown(fields, FIELDS))


def work(request: ForecastRequest, model: Family, family: str) -> WorkItem | Known:
    """What the loaded model has to compute.

    Raises:
        BadRequest: the checkpoint cannot use what was sent.
    """
    return item(request.series, request.horizon, request.levels, model, family)


def item(
    series: Series, horizon: int, levels: tuple[float, ...], model: Family, family: str, words: Words = TDGPT
) -> WorkItem | Known:
    """What the loaded model has to compute for one series; a constant series is forecast without it.

    Raises:
        BadRequest: the checkpoint cannot use the series.
    """
    how = covariates_how(series, model.capabilities)
    warnings = filled_covariates(series, model.capabilities, family, words)
    effect: FloatArray | None = None
    if how == REGRESSION:
        explained = regression.explain(series, horizon)
        series, effect = explained.rest, explained.ahead
    fit = scaling.fitted(series, model, horizon)
    check_fit(fit, horizon, model, family, words)
    unit, scale = scaling.standardise(fit.series, not model.capabilities.missing_values)

    def output(made: Forecast) -> Output:
        return Output(made if effect is None else made.shifted(effect), warnings, how)

    if not scale.spread:
        return Known(output(scaling.constant(horizon, levels, scale)))

    def restore(made: Forecast) -> Output:
        return output(scaling.restore(made.last(horizon), scale, levels))

    return WorkItem(unit, ForecastCall(model, fit.lead, levels), restore)


def finish(request: ForecastRequest, output: Output) -> dict[str, object]:
    """The fields of the answer."""
    made: list[object] = [output.forecast.median, *output.forecast.quantiles]
    if request.origin:
        made = [offset_added(row, request.origin) for row in (output.forecast.median, *output.forecast.quantiles)]
    fields = {"status": "success"} | dict(zip(("output", "lower", "upper"), made, strict=True))
    warnings = [*request.warnings, *output.warnings]
    if output.how == REGRESSION:  # the answers to what TDgpt's own services can do stay as they are
        fields["covariates_how"] = REGRESSION
    return fields | {"conf_interval": request.confidence} | ({"warnings": warnings} if warnings else {})


def covariates_how(series: Series, can: Capabilities) -> str | None:
    """How the loaded checkpoint's forecast uses the covariates of a series; None: there are none.

    Where it takes only one kind of two, a regression uses both.
    """
    past, future = series.schema
    if not past and not future:
        return None
    native = (can.past_covariates or not past) and (can.future_covariates or not future)
    return NATIVE if native else REGRESSION


def filled_covariates(series: Series, can: Capabilities, family: str, words: Words = TDGPT) -> tuple[str, ...]:
    """A warning for each kind of covariates with gaps, where the loaded checkpoint cannot mask gaps."""
    if can.covariate_gaps or series.schema == (0, 0):
        return ()
    given = {words.past: series.past_covariates, words.future: series.future_covariates}
    missing = {field: int(np.isnan(values).sum()) for field, values in given.items()}
    return tuple(
        f"{field}: {family} cannot mask missing covariates; {count} were filled by the mean of their past"
        for field, count in missing.items()
        if count
    )


def check_fit(fit: scaling.Fitted, horizon: int, model: Family, family: str, words: Words = TDGPT) -> None:
    """Refuse a request that leaves the model too little context."""
    if fit.room < model.min_room:
        raise Shape(horizon, fit.series.schema, fit.lead - horizon).refusal(fit.room, model.min_room, words)
    check_context(fit.series, fit.room, model.min_context, family, words.target)


def check_covariates(fields: dict[str, object], limits: Settings) -> None:
    """Refuse more covariates than the settings allow, before any of them is read."""
    lists = [fields.get(field) for field in ("past_dynamic_real", "dynamic_real")]
    count = sum(len(value) for value in lists if isinstance(value, list))
    if count > limits.max_covariates:
        raise TooLarge(f"covariates: expected at most {limits.max_covariates}, got {count}")


def check_times(value: object, points: int) -> None:
    """Timestamps are optional: whole numbers, one for each point, oldest first."""
    if value is None or value == []:
        return
    times = timestamps(value, points)
    # Compared and not subtracted: a difference may need more than 64 bits.
    if (late := np.flatnonzero(times[1:] < times[:-1])).size:
        raise BadRequest(f"ts: expected oldest first, got an earlier timestamp at position {late[0] + 1}")
