"""Sends many series to a service, in requests within its limits, and gives the results in the same order."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, TypeVar

from tsfm.cli import client
from tsfm.cli.prediction import Failure
from tsfm.errors import TsfmError, UsageError

if TYPE_CHECKING:  # pandas is in the command line's environment, not in the system's
    from tsfm.cli.source.series import Series

FIRST = 16  # series in the first request, if the operation does not say otherwise
FASTER = 4  # a request has at most so many times the series of the one before
AIM_S = 5.0  # what a request should take: far less than deadline_s, which holds for a request as a whole
SPARE_BYTES = 65_536  # of a body, for parameters
OPTIONS = {"prediction_length": "--horizon", "quantile_levels": "--level", "n_windows": "--windows"}
OPTIONS |= {"step_size": "--step", "season_length": "--season", "level": "--level", "window": "--window"}
Result = TypeVar("Result")


@dataclass(frozen=True)
class Limits:
    """What the service accepts; its facts contain it."""

    min_rows: int
    max_rows: int
    max_horizon: int
    max_series: int
    max_bytes: int

    @classmethod
    def of(cls, facts: Mapping[str, object]) -> Limits:
        found = facts.get("limits")
        known = {key: value for key, value in found.items() if type(value) is int} if isinstance(found, dict) else {}
        return cls(
            known.get("min_rows", 1),
            known.get("max_rows", 1 << 62),
            known.get("max_horizon", 1024),
            known.get("max_series", FIRST),
            known.get("max_body_mib", 32) << 20,
        )

    def check(self, horizon: int) -> None:
        """Raises:
        UsageError: the service forecasts fewer steps.
        """
        if horizon > self.max_horizon:
            raise UsageError(f"--horizon: expected a whole number from 1 to {self.max_horizon}, got {horizon}")


@dataclass(frozen=True)
class Operation:
    """What is asked of a service: the path, and the parameters for all series; deadline_s is that of a request.

    Attributes:
        first: series in the first request; the time that it takes tells how many the next one has.
    """

    service: client.Target
    path: str
    parameters: Mapping[str, object]
    limits: Limits
    deadline_s: float
    first: int = FIRST


def send(
    operation: Operation, series: Sequence[Series | Failure], read: Callable[[Series, Mapping[str, object]], Result]
) -> list[Result | Failure]:
    """One result for each series: what ``read`` makes of its entry in the answer, or why there is none.

    Raises:
        UsageError: the only series is too short.
        TsfmError: the service cannot be reached, or its answer is none; or no series has a result.
    """
    ready = [one if isinstance(one, Failure) else _within(one, operation.limits, len(series)) for one in series]
    sent = [one for one in ready if not isinstance(one, Failure)]
    answers = iter(_answers(operation, sent, read))
    results = [one if isinstance(one, Failure) else next(answers) for one in ready]
    failures = [one for one in results if isinstance(one, Failure)]
    if len(failures) == len(results) and len({one.reason for one in failures}) == 1:
        raise TsfmError(failures[0].reason)
    for one in failures:
        print(f"tsfm: {one.item_id}: {one.reason}", file=sys.stderr)
    if len(failures) == len(results):
        raise TsfmError(f"none of {len(results)} series has a result")
    return results


def _within(series: Series, limits: Limits, count: int) -> Series | Failure:
    """The newest rows, as many as the service accepts; too few are a failure, and the only series' end the command."""
    column, rows = series.column, len(series.column.values)
    about = column.file if count == 1 else f"{column.file}: {series.item_id}"
    if rows > limits.max_rows:
        remark = f"of {rows} rows the newest {limits.max_rows} are sent (max_rows in tsfm.ini)"
        print(f"tsfm: {about}: {remark}", file=sys.stderr)
    if rows >= limits.min_rows:
        return series.newest(limits.max_rows)
    reason = f"expected at least {limits.min_rows} rows, got {rows}"
    if count == 1:
        raise UsageError(f"{column.file}: {reason}")
    return Failure(series.item_id, reason)


def _answers(
    operation: Operation, series: Sequence[Series], read: Callable[[Series, Mapping[str, object]], Result]
) -> list[Result | Failure]:
    """Send requests one after the other, each with as many series as the service answers in ``AIM_S``."""
    found: list[Result | Failure] = []
    warnings: dict[str, None] = {}
    bodies = [json.dumps(_input(one)).encode() for one in series]
    count, most = operation.first, len(series)
    while len(found) < len(series):
        part = slice(len(found), len(found) + _fitting(bodies[len(found) :], min(count, most), operation.limits))
        began = time.monotonic()
        try:
            results, remarks = _answer(operation, series[part], bodies[part], read)
        except client.Refused:
            most = (part.stop - part.start) // 2
            continue
        count = max(int(len(results) * min(AIM_S / (time.monotonic() - began), FASTER)), 1)
        found += results
        warnings |= dict.fromkeys(remarks)
        _show(len(found), len(series))
    for warning in warnings:
        print(f"tsfm: {warning}", file=sys.stderr)
    return found


def _answer(
    operation: Operation,
    sent: Sequence[Series],
    bodies: Sequence[bytes],
    read: Callable[[Series, Mapping[str, object]], Result],
) -> tuple[list[Result | Failure], list[str]]:
    """One request: its results, and the warnings of the answer.

    Raises:
        Refused: several series are too much for one request.
    """
    parameters = json.dumps(operation.parameters).encode()
    body = b'{"inputs":[%s],"parameters":%s}' % (b",".join(bodies), parameters)
    try:
        answer = client.request(operation.service, operation.path, body, operation.deadline_s)
    except client.Refused as error:
        if error.is_too_much and len(sent) > 1:
            raise
        return [Failure(one.item_id, _in_words(str(error), one)) for one in sent], []
    results: list[Result | Failure] = []
    for one, entry in zip(sent, client.entries(operation.service, answer, "predictions", len(sent)), strict=True):
        reason = entry.get("error")
        failed = Failure(one.item_id, _in_words(str(reason), one))
        results.append(failed if reason is not None else read(one, entry))
    return results, client.texts(answer.get("warnings"))


def _input(series: Series) -> dict[str, object]:
    """The series as /v1 takes it."""
    covariates = {"past_covariates": series.past, "future_covariates": series.future}
    used = {name: values for name, values in covariates.items() if values}
    return {"item_id": series.item_id, "target": series.column.values, **used}


def _fitting(bodies: Sequence[bytes], count: int, limits: Limits) -> int:
    """How many of the next series go into one request; one that is too large goes alone, and the service says so."""
    sizes = accumulate(len(body) + 1 for body in bodies[: min(count, limits.max_series)])
    return max(sum(size <= limits.max_bytes - SPARE_BYTES for size in sizes), 1)


def _in_words(sentence: str, series: Series) -> str:
    """The service's sentence, with lines of the source and our options instead of HTTP fields."""
    column = series.column
    sentence = re.sub(r"^(?:inputs\[\d+\]|parameters)\.", "", sentence)
    if found := re.match(r"target\[(\d+)\]", sentence):
        return f"{column.file}: line {column.lines[int(found[1])]}, column {column.name}{sentence[found.end() :]}"
    field, colon, rest = sentence.partition(":")
    names = OPTIONS | {"target": f"{column.file}: column {column.name}"}
    return names.get(field, field) + colon + rest


def _show(done: int, total: int) -> None:
    """Progress on stderr, if there are many series: in place on a terminal, else a line for each request."""
    if total <= FIRST:
        return
    if sys.stderr.isatty():
        print(f"\r{done} of {total} series", end="\n" if done == total else "", file=sys.stderr, flush=True)
    else:
        print(f"{done} of {total} series", file=sys.stderr)
