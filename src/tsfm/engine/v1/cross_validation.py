"""Forecasts from several cutoffs of series whose future is known, scored (POST /v1/cross_validation)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tsfm.card import Card
from tsfm.engine.fields import given, unknown, whole
from tsfm.engine.forecast import Output
from tsfm.engine.gather import Outcome
from tsfm.engine.schemas import Json, structure
from tsfm.engine.tasks import Fields
from tsfm.engine.v1 import answers, inputs, parameters
from tsfm.engine.v1.forecast import FIELDS, Cut, check_numbers, items, quantile_rows
from tsfm.engine.v1.inputs import Entry, Refused
from tsfm.engine.v1.parameters import Parameters
from tsfm.engine.work import Many
from tsfm.errors import BadRequest
from tsfm.numerics import backtest
from tsfm.numerics.backtest import Score
from tsfm.series import Family, Forecast
from tsfm.settings import Settings

PARAMETERS = ("n_windows", "step_size")
DEFAULT_WINDOWS = 1


@dataclass(frozen=True)
class CrossValidation:
    """A request that is known to be answerable, except for its refused entries.

    Attributes:
        windows: forecasts of each series.
        step: points from one cutoff to the next.
    """

    entries: Sequence[Entry | Refused]
    parameters: Parameters
    windows: int
    step: int
    warnings: tuple[str, ...] = ()

    def cutoffs(self, entry: Entry) -> list[int]:
        """For each window how many points are before it; the last window ends with the series."""
        last = len(entry.targets[0]) - self.parameters.horizon
        return [last - self.step * back for back in reversed(range(self.windows))]


@dataclass(frozen=True)
class Scores:
    """Of one series: the windows of each variate, the model's and those of the seasonal naive forecast."""

    ours: list[list[Score]]
    naive: list[list[Score]]


def read(fields: Fields, limits: Settings) -> CrossValidation:
    """Check the fields of a request; a bad series is kept as ``Refused``.

    Raises:
        BadRequest, TooLarge: what holds for all series is wrong.
    """
    shared = parameters.read(fields, limits, PARAMETERS)
    options = parameters.of(fields)
    windows = whole("n_windows", given(options, "n_windows", DEFAULT_WINDOWS), 1, limits.max_series)
    step = whole("step_size", given(options, "step_size", shared.horizon), 1, limits.max_rows)
    entries, warnings = inputs.read(fields, limits, None)
    series = inputs.count(entries, windows)
    inputs.check_count(series, limits)
    check_numbers(series * shared.numbers)
    found = CrossValidation(
        entries,
        shared,
        windows,
        step,
        (
            *unknown(fields, FIELDS),
            *shared.warnings,
            *([parameters.NOT_TOGETHER] if shared.together else []),
            *warnings,
            *answers.unused_times(entries, shared.freq),
        ),
    )
    return CrossValidation(**vars(found) | {"entries": [_checked(entry, found) for entry in entries]})


def work(request: CrossValidation, model: Family, family: str) -> Many:
    """What the loaded model has to compute: for each series, window by window, each variate."""

    def cuts(entry: Entry) -> list[Cut]:
        return [(0, cutoff, request.parameters.horizon) for cutoff in request.cutoffs(entry)]

    count = inputs.count(request.entries, request.windows)
    parts = items(request.entries, cuts, request.parameters, model, family)
    return Many(parts, count, count * request.parameters.numbers)


def finish(request: CrossValidation, outcomes: Sequence[Outcome]) -> Fields:
    """The fields of the answer: windows and metrics, or a sentence, for each series; and metrics over all."""
    predictions: list[Fields] = []
    ours: list[list[Score]] = []
    naive: list[list[Score]] = []
    counts = [request.windows * len(entry.targets) if isinstance(entry, Entry) else 1 for entry in request.entries]
    for entry, error, outputs in answers.by_entry(request.entries, outcomes, counts):
        if error:
            predictions.append(answers.refused(entry, error))
            continue
        shared = request.parameters.season
        seasons = [shared or backtest.season_of(row[: request.cutoffs(entry)[0]]) for row in entry.targets]
        scores = _scores(request, entry, outputs, seasons)
        ours += scores.ours
        naive += scores.naive
        predictions.append(_prediction(request, entry, outputs, seasons, scores))
    over_all = _metrics(ours, naive, request.parameters.levels)
    ways = answers.how(request.entries, predictions, outcomes)
    return {"predictions": predictions} | over_all | ways | answers.warned(request.warnings)


def schema(card: Card, limits: Settings) -> tuple[Json, Json]:
    """JSON schemas of the request and of the answer."""
    whole_number: Json = {"type": ["integer", "null"], "minimum": 1}
    options = parameters.schema(limits) | {
        "n_windows": whole_number | {"maximum": limits.max_series, "default": DEFAULT_WINDOWS},
        "step_size": whole_number | {"maximum": limits.max_rows, "description": "default: prediction_length"},
    }
    window = structure({"cutoff": {"type": "integer", "minimum": 1}, "mean": answers.ROW}, answers.TIMES)
    window |= {"patternProperties": answers.QUANTILES}
    coverage: Json = {"type": "object", "patternProperties": {"^[0-9]": {"type": "number"}}}
    names = ("mase", "rmsse", "wql")
    fields: Json = {name: answers.NUMBER for name in names}
    metrics = structure(fields | {"coverage": coverage})
    both: Json = {"metrics": metrics, "seasonal_naive": metrics}
    seasons: Json = {"type": ["integer", "array"], "items": {"type": "integer"}}
    one: Json = {"season_length": seasons, "windows": {"type": "array", "items": window}}
    request = answers.request_schema(card, limits, options)
    return request, answers.answer_schema(one | both, more=both)


def example(points: int, limits: Settings) -> Fields:
    """A valid request of so many points, or of as many as the limits allow."""
    options = {"prediction_length": min(2, limits.max_horizon), "n_windows": 2, "season_length": 1}
    return answers.example(max(points + 4, 16), limits) | {"parameters": options}


def _checked(entry: Entry | Refused, request: CrossValidation) -> Entry | Refused:
    if isinstance(entry, Entry) and request.cutoffs(entry)[0] < 1:
        points = len(entry.targets[0])
        least = points - request.cutoffs(entry)[0] + 1
        sentence = f"target: expected at least {least} points for {request.windows} windows, got {points}"
        return Refused(entry.item_id, BadRequest(f"{sentence}: send more points, or fewer or shorter windows"))
    return entry


def _scores(request: CrossValidation, entry: Entry, outputs: Sequence[Output], seasons: Sequence[int]) -> Scores:
    horizon, levels = request.parameters.horizon, request.parameters.levels
    scores = Scores([], [])
    for at, (row, season) in enumerate(zip(entry.targets, seasons, strict=True)):
        made = iter(outputs[at :: len(entry.targets)])  # outputs are ordered by window and then by variate
        cuts = [(row[:cutoff], row[cutoff : cutoff + horizon]) for cutoff in request.cutoffs(entry)]
        scores.ours.append([backtest.score(*cut, next(made).forecast, levels, season) for cut in cuts])
        beside: list[Forecast] = [backtest.seasonal_naive(cut[0], horizon, levels, season) for cut in cuts]
        scores.naive.append([backtest.score(*cut, one, levels, season) for cut, one in zip(cuts, beside, strict=True)])
    return scores


def _prediction(
    request: CrossValidation, entry: Entry, outputs: Sequence[Output], seasons: Sequence[int], scores: Scores
) -> Fields:
    levels, freq = request.parameters.levels, request.parameters.freq
    windows = []
    for at, cutoff in enumerate(request.cutoffs(entry)):
        window: Fields = {"cutoff": cutoff}
        if entry.start and freq:
            try:
                times = freq.times(entry.start, cutoff, request.parameters.horizon)
            except ValueError as error:
                return answers.refused(entry, BadRequest(f"start: {error}, got later ones"))
            window |= {"start": times[0], "timestamps": times}
        variates = len(entry.targets)
        windows.append(window | dict(quantile_rows(entry, levels, outputs[at * variates : (at + 1) * variates])))
    season = {"season_length": seasons[0] if entry.flat else list(seasons)}
    warnings = list(dict.fromkeys(warning for output in outputs for warning in output.warnings))
    found = {"windows": windows} | _metrics(scores.ours, scores.naive, levels)
    return answers.head(entry) | season | found | answers.warned(warnings)


def _metrics(ours: Sequence[list[Score]], naive: Sequence[list[Score]], levels: Sequence[float]) -> Fields:
    return {"metrics": backtest.metrics(ours, levels), "seasonal_naive": backtest.metrics(naive, levels)}
