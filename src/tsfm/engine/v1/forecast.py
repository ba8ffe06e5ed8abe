"""Forecasts of many series in one request, under the names of Chronos-2's endpoint (POST /v1/forecast)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import cast

from tsfm.card import Card
from tsfm.engine import joint
from tsfm.engine.abilities import REGRESSION
from tsfm.engine.fields import unknown
from tsfm.engine.forecast import Output, covariates_how, item
from tsfm.engine.gather import Outcome
from tsfm.engine.joint import Prepared, Refusals
from tsfm.engine.room import Words
from tsfm.engine.schemas import Json
from tsfm.engine.tasks import Fields
from tsfm.engine.v1 import answers, inputs, parameters
from tsfm.engine.v1.inputs import Entry, Refused
from tsfm.engine.v1.parameters import Parameters
from tsfm.engine.work import Many, Part
from tsfm.errors import BadRequest, RequestError, TooLarge
from tsfm.numerics.exact import offset_added
from tsfm.series import Family, FloatArray, Group, JointFamily, Series
from tsfm.settings import Settings

WORDS = Words("target", "prediction_length", "past_covariates", "future_covariates")
FIELDS = ("inputs", "parameters")
WHOLE = (0, None, 0)
Cut = tuple[int, int | None, int]
"""The arguments of ``Entry.series`` behind the variate."""
MOST_NUMBERS = 8_000_000  # in one answer, so that its size is bounded; about 150 MB of JSON


@dataclass(frozen=True)
class ManyForecasts:
    """A request that is known to be answerable, except for its refused entries."""

    entries: Sequence[Entry | Refused]
    parameters: Parameters
    warnings: tuple[str, ...] = ()


def read(fields: Fields, limits: Settings) -> ManyForecasts:
    """Check the fields of a request; a bad series is kept as ``Refused``.

    Raises:
        BadRequest, TooLarge: what holds for all series is wrong.
    """
    options = parameters.read(fields, limits)
    entries, warnings = inputs.read(fields, limits, options.horizon)
    check_numbers(inputs.count(entries) * options.numbers)
    warnings = (*unknown(fields, FIELDS), *options.warnings, *warnings, *answers.unused_times(entries, options.freq))
    return ManyForecasts(entries, options, warnings)


def check_numbers(numbers: int) -> None:
    """Refuse a request whose answer would be too large."""
    if numbers > MOST_NUMBERS:
        raise TooLarge(
            f"inputs: expected a request whose answer has at most {MOST_NUMBERS} numbers, got one of {numbers}: "
            "send fewer series, steps or levels"
        )


def work(request: ManyForecasts, model: Family, family: str) -> Many:
    """What the loaded model has to compute, in the order of the series and their variates."""
    options = request.parameters
    if options.together and model.capabilities.cross_learning:
        parts = _together(request.entries, options, options.together, cast(JointFamily, model), family)
    else:
        parts = items(request.entries, lambda _: [WHOLE], options, model, family)
    count = inputs.count(request.entries)
    return Many(parts, count, count * options.numbers)


def items(
    entries: Sequence[Entry | Refused],
    cuts: Callable[[Entry], Sequence[Cut]],
    options: Parameters,
    model: Family,
    family: str,
) -> Iterator[Part]:
    """What has to be computed for each cut of each entry, variate by variate, and one error for each refused entry.

    Args:
        cuts: those of one entry.
    """
    for entry in entries:
        if isinstance(entry, Refused):
            yield entry.error
            continue
        for cut in cuts(entry):
            if model.capabilities.multivariate and not entry.flat:
                both = cast(JointFamily, model)
                yield from joint.part(
                    [_target(entry, cut, options, both, family)], options.horizon, options.levels, both
                )
            else:
                for variate in range(len(entry.targets)):
                    yield _item(entry.series(variate, *cut), options, model, family)


def finish(request: ManyForecasts, outcomes: Sequence[Outcome]) -> Fields:
    """The fields of the answer: a prediction, or a sentence, for each series in the order of the request."""
    predictions = [
        answers.refused(entry, error) if error else _prediction(entry, request.parameters, outputs)
        for entry, error, outputs in answers.by_entry(request.entries, outcomes)
    ]
    warnings = list(request.warnings)
    outputs = [outcome for outcome in outcomes if isinstance(outcome, Output)]
    if request.parameters.together and outputs and not any(output.crossed for output in outputs):
        warnings.append(parameters.NOT_TOGETHER)
    return {"predictions": predictions} | answers.how(request.entries, predictions, outcomes) | answers.warned(warnings)


def schema(card: Card, limits: Settings) -> tuple[Json, Json]:
    """JSON schemas of the request and of the answer."""
    request = answers.request_schema(card, limits, parameters.schema(limits))
    return request, answers.answer_schema({"mean": answers.ROW}, answers.QUANTILES)


def example(points: int, limits: Settings) -> Fields:
    """A valid request of so many points, or of as many as the limits allow."""
    return answers.example(points, limits) | {
        "parameters": {
            "prediction_length": min(3, limits.max_horizon),
            "quantile_levels": [0.1, 0.5, 0.9],
            "freq": "h",
        }
    }


def _together(
    entries: Sequence[Entry | Refused], options: Parameters, rows: int, model: JointFamily, family: str
) -> Iterator[Part]:
    """Groups of the entries that follow one another, each of as many rows or of a few more, as Chronos-2's pipeline."""
    waiting: list[Prepared | Refusals] = []
    count = 0
    for entry in entries:
        target = [entry.error] if isinstance(entry, Refused) else _target(entry, WHOLE, options, model, family)
        waiting.append(target)
        count += target.group.rows if isinstance(target, Prepared) else 0
        if count >= rows:
            yield from joint.part(waiting, options.horizon, options.levels, model, crossed=True)
            waiting, count = [], 0
    yield from joint.part(waiting, options.horizon, options.levels, model, crossed=True)


def _target(entry: Entry, cut: Cut, options: Parameters, model: JointFamily, family: str) -> Prepared | Refusals:
    group = entry.group(*cut)
    if covariates_how(group.members[0], model.capabilities) == REGRESSION:  # of each variate by itself
        group = Group(tuple(entry.series(variate, *cut) for variate in range(len(entry.targets))))
    try:
        return Prepared.of(
            group.newest(options.context) if options.context else group, options.horizon, model, family, WORDS
        )
    except RequestError as error:
        return [error for _ in group.members]


def _item(series: Series, options: Parameters, model: Family, family: str) -> Part:
    series = replace(series if options.context is None else series.newest(options.context), season=options.usual_season)
    try:
        return item(series, options.horizon, options.levels, model, family, WORDS)
    except RequestError as error:
        return error


def _prediction(entry: Entry, options: Parameters, outputs: Sequence[Output]) -> Fields:
    fields = answers.head(entry)
    if entry.start and options.freq:
        try:
            times = options.freq.times(entry.start, len(entry.targets[0]), options.horizon)
        except ValueError as error:
            return answers.refused(entry, BadRequest(f"start: {error}, got later ones"))
        fields |= {"start": times[0], "timestamps": times}
    rows = dict(quantile_rows(entry, options.levels, outputs))
    warnings = list(dict.fromkeys(warning for output in outputs for warning in output.warnings))
    return fields | rows | answers.warned(warnings)


def quantile_rows(entry: Entry, levels: Sequence[float], outputs: Sequence[Output]) -> Iterator[tuple[str, object]]:
    """The median as "mean", and a row for each level, by name; lists of rows for a 2-D target."""
    for at, name in enumerate(("mean", *map(str, levels))):
        rows: list[FloatArray | list[int | float]] = [
            offset_added(output.forecast.quantiles[at - 1] if at else output.forecast.median, origin)
            for output, origin in zip(outputs, entry.origins, strict=True)
        ]
        yield name, rows[0] if entry.flat else rows
