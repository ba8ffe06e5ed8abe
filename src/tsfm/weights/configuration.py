"""A checkpoint's configuration, key by key: a key is either read or must have the one supported value.

Meanings and defaults of the keys are those of the official configuration class. A key that changes the official
answer and is not read here is refused: `tests/families/test_configurations.py` has the table of all keys of all
families.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from itertools import pairwise
from pathlib import Path

from tsfm.errors import ConfigError, OtherModel
from tsfm.weights import reading

NAME = "config.json"
# PretrainedConfig's own keys that change what transformers' models compute. The first two list parts to remove.
TRANSFORMERS: dict[str, object] = {"pruned_heads": {}, "quantization_config": {}, "tie_encoder_decoder": False}


class Config:
    """An object of config.json. Every error names the file, the key, what was expected and what was found."""

    def __init__(self, values: Mapping[str, object], where: str, prefix: str = "") -> None:
        self._values, self._where, self._prefix = values, where, prefix

    @classmethod
    def read(cls, folder: Path) -> Config:
        """The folder's config.json.

        Raises:
            TsfmError: missing, unreadable, or no JSON object.
        """
        path = folder / NAME
        return cls(parse(reading.content(path, "the checkpoint's configuration"), str(path)), str(path))

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def get(self, key: str) -> object:
        return self._values.get(key)

    def refused(self, key: str, expected: str) -> OtherModel:
        """The error to raise when ``key`` is not what was expected."""
        found = repr(self._values[key]) if key in self._values else "no such key"
        return OtherModel(f"{self._where}: {self._prefix}{key}: expected {expected}, found {found}")

    def section(self, key: str) -> Config:
        """The object below ``key``."""
        values = self._values.get(key)
        if not isinstance(values, Mapping):
            raise self.refused(key, "an object")
        return Config(values, self._where, f"{self._prefix}{key}.")

    def sections(self, key: str) -> list[Config]:
        """The objects in the list below ``key``."""
        values = self._values.get(key)
        if not isinstance(values, list) or not all(isinstance(value, Mapping) for value in values):
            raise self.refused(key, "a list of objects")
        return [Config(value, self._where, f"{self._prefix}{key}[{at}].") for at, value in enumerate(values)]

    def only(self, expected: Mapping[str, object]) -> None:
        """Require that each of these keys is absent or has its one supported value; null counts as false."""
        for key, value in expected.items():
            found = self._values.get(key, value)
            if found != value and (found is not None or value):
                raise self.refused(key, repr(value))

    def no_others(self, known: Collection[str]) -> None:
        """Refuse every other key: the official class accepts only these."""
        if unknown := sorted(set(self._values) - set(known)):
            raise self.refused(unknown[0], f"one of the keys {', '.join(sorted(known))}")

    def whole(self, key: str, default: int | None = None, *, also: str = "") -> int:
        """A whole number from 1. ``also`` is the other name that transformers accepts for the key."""
        value = self._value(key, default, also)
        if type(value) is not int or value < 1:
            raise self.refused(key, "a whole number from 1")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A finite number above 0."""
        value = self._value(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
            raise self.refused(key, "a number above 0")
        return value

    def flag(self, key: str, default: bool) -> bool:
        """A boolean; null counts as false, as in the official classes."""
        value = self._values.get(key, default)
        if not isinstance(value, bool | None):
            raise self.refused(key, "true or false")
        return bool(value)

    def word(self, key: str, default: str) -> str:
        value = self._value(key, default)
        if not isinstance(value, str):
            raise self.refused(key, "a word")
        return value

    def levels(self, key: str, default: tuple[float, ...] | None = None) -> tuple[float, ...]:
        """Quantile levels between 0 and 1, ascending, including 0.5."""
        value = self._value(key, default)
        found = tuple(value) if isinstance(value, list | tuple) else ()
        if not all(type(level) in (int, float) and 0 < level < 1 for level in found) or 0.5 not in found:
            raise self.refused(key, "levels between 0 and 1 with 0.5 among them")
        if any(level >= following for level, following in pairwise(found)):
            raise self.refused(key, "ascending levels")
        return tuple(float(level) for level in found)

    def ascending(self, key: str, default: int) -> tuple[int, ...]:
        """Whole numbers from 1, ascending; a single number is read as a list of one."""
        value = self._value(key, default)
        found = tuple(value) if isinstance(value, list) else (value,)
        if not found or any(type(each) is not int or each < 1 for each in found):
            raise self.refused(key, "whole numbers from 1")
        if any(each >= following for each, following in pairwise(found)):
            raise self.refused(key, "ascending numbers")
        return found

    def rope_theta(self, default: float = 10_000.0) -> float:
        """The base of the rotary positions: a top-level key (transformers 4) or in rope_parameters (transformers 5).

        Raises:
            ConfigError: a scaled kind of rotary positions, or two places with different values.
        """
        found = {} if self._values.get("rope_theta") is None else {"": self.number("rope_theta")}
        for key in ("rope_parameters", "rope_scaling"):
            if self._values.get(key) is None:
                continue
            nested = self.section(key)
            nested.no_others(("rope_theta", "rope_type", "type"))
            nested.only({"rope_type": "default", "type": "default"})
            if "rope_theta" in nested:
                found[key] = nested.number("rope_theta")
                if found[key] != next(iter(found.values())):
                    raise nested.refused("rope_theta", f"{next(iter(found.values()))}, its value elsewhere in the file")
        return next(iter(found.values()), default)

    def _value(self, key: str, default: object, also: str = "") -> object:
        value = self._values.get(key)
        other = self._values.get(also)
        if value is not None and other is not None and value != other:
            raise self.refused(also, f"the same value as {key}, {value!r}, since both name one setting")
        chosen = value if value is not None else other
        return chosen if chosen is not None else default


def parse(content: bytes, source: str) -> dict[str, object]:
    """A configuration's text as a dict; ``source`` names it in errors.

    Raises:
        ConfigError: no JSON object.
    """
    try:
        config = json.loads(content)
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{source}: expected the checkpoint's configuration as JSON: {reason}") from None
    if not isinstance(config, dict):
        raise ConfigError(f"{source}: expected a JSON object, found {type(config).__name__}")
    return config
