"""The families that a backtest compares: those that run, and those that can be started one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tsfm import settings
from tsfm.card import Card
from tsfm.cli import arguments, client, started
from tsfm.cli.scores import Absent, Tried
from tsfm.cli.started import NotStarted
from tsfm.errors import ConfigError, TsfmError

ALL = "all"


@dataclass(frozen=True)
class Service:
    """A service that runs: where it is, its facts, and how long it may take for an answer."""

    target: client.Target
    facts: dict[str, object]
    deadline_s: float


@dataclass(frozen=True)
class Outcome:
    """What came of the families; ``failed``: one that was named, or that runs, has no scores."""

    tried: list[Tried]
    absent: list[Absent]
    failed: bool


def chosen(text: str) -> list[Card]:
    """The families that a user names, separated by commas, or all that forecast.

    Raises:
        UsageError: one of them does not forecast.
    """
    names = arguments.forecasters() if text == ALL else [name.strip() for name in text.split(",")]
    return [arguments.forecaster(name) for name in dict.fromkeys(names)]


def each(text: str, backtest: Callable[[Service], Tried]) -> Outcome:
    """Run the backtest of each family that a user names, one after the other.

    Raises:
        TsfmError: the only family that is named fails.
    """
    families = chosen(text)
    tried: list[Tried] = []
    absent: list[Absent] = []
    failed = False
    for card in families:
        try:
            with _service(card, len(families) > 1) as service:
                tried.append(backtest(service))
        except TsfmError as error:
            if len(families) == 1:
                raise
            expected = text == ALL and isinstance(error, NotStarted | ConfigError)
            failed = failed or not expected
            if not expected or started.is_installed(card):
                absent.append(Absent(card.name, str(error)))
    return Outcome(tried, absent, failed)


@contextmanager
def _service(card: Card, several: bool) -> Iterator[Service]:
    """The family's service; one that is started ends with the block, before the next one needs its memory."""
    found = settings.read(card.name, {})
    with started.running(card, found, first_check=several) as (target, facts):
        yield Service(target, facts, found.deadline_s)
