"""Sentences about the fields of a request for forecasts, with the names that another protocol has for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tsfm.errors import RequestError


def sentence(text: str, names: Mapping[str, str]) -> str:
    """A sentence that begins with the name of a field, with the other name for it."""
    for ours, theirs in names.items():
        if text.startswith(ours) and text[len(ours) : len(ours) + 1] in (":", "[", "."):
            return theirs + text[len(ours) :]
    return text


@contextmanager
def renamed(names: Mapping[str, str]) -> Iterator[None]:
    """Errors that are raised inside name the other protocol's fields."""
    try:
        yield
    except RequestError as error:
        raise type(error)(sentence(str(error), names)) from error.__cause__
