"""JSON schemas and an example of the task "forecast" as TDgpt asks for it; ``tsfm.engine.forecast`` has the checks."""

from __future__ import annotations

from tsfm.card import Card
from tsfm.engine.schemas import FLOATS, GAPPY, NUMBERS, TIME, WARNINGS, Json, rows, structure, wave
from tsfm.settings import Settings

DEFAULT_HORIZON = 10
DEFAULT_CONFIDENCE = 0.95


def schema(card: Card, limits: Settings) -> tuple[Json, Json]:
    """JSON schemas of the request and of the answer."""
    horizon: Json = {"type": ["integer", "null"], "minimum": 1, "maximum": limits.max_horizon}
    interval: Json = {"type": "number", "minimum": 0, "exclusiveMaximum": 1}
    series = rows(NUMBERS, limits.min_rows, limits.max_rows)
    times = rows({"type": ["array", "null"], "items": TIME}, 0, limits.max_rows)
    request = structure(
        {"input": series | {"description": "oldest first; null for a missing value"}},
        {
            "next_len": horizon | {"default": DEFAULT_HORIZON},
            "conf_interval": interval | {"type": ["number", "null"], "default": DEFAULT_CONFIDENCE},
            "ts": times | {"description": "one for each point of input, oldest first; or none"},
            "past_dynamic_real": _covariates_schema(card, limits, "past_covariates", "as long as input"),
            "dynamic_real": _covariates_schema(
                card, limits, "future_covariates", "as long as input and next_len together"
            ),
        },
    )
    steps = rows(FLOATS, 1, limits.max_horizon)
    success: Json = {"status": {"const": "success"}, "output": steps, "lower": steps, "upper": steps}
    how: Json = {"covariates_how": {"const": "regression", "description": "only where a regression used covariates"}}
    return request, structure(success | {"conf_interval": interval}, WARNINGS | how)


def example(points: int, limits: Settings) -> dict[str, object]:
    """A valid request of so many points, or of as many as the limits allow."""
    return {"input": wave(min(points, limits.max_rows)), "next_len": min(DEFAULT_HORIZON, limits.max_horizon)}


def _covariates_schema(card: Card, limits: Settings, capability: str, length: str) -> Json:
    taken = any(capability in checkpoint.capabilities for checkpoint in card.checkpoints)
    return {
        "type": ["array", "null"],
        "maxItems": limits.max_covariates,
        "items": GAPPY,
        "description": f"each {length}; " + ("used by the model" if taken else "used by a regression"),
    }
