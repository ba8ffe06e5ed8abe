"""The facts of an engine: its entry in GET /v1/models, and its line in STATUS= and the journal."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import cast

from tsfm import __version__
from tsfm.card import Card
from tsfm.engine import abilities
from tsfm.series import Family, Model
from tsfm.settings import Settings


def describe(card: Card, state: str, limits: Settings, model: Model | None, folder: Path | None) -> dict[str, object]:
    """The entry of one model in /v1/models.

    Args:
        model: None while it is not loaded.
        folder: of the weights; None: they are in the family's package.
    """
    loaded: dict[str, object] = {}
    most_covariates = limits.max_covariates
    if model:
        can = asdict(model.capabilities)
        loaded = {
            "checkpoint": folder.name if folder else "packaged",
            "capabilities": can | {abilities.DETECTION: abilities.detects(card.task)},
            "max_context": model.max_context,
            "min_context": model.min_context,
            "path": model.path,
            "covariates_beside_max_horizon": _covariates(model, limits.max_horizon, limits.max_covariates),
            **abilities.ways(card.task, {name for name, has in can.items() if has}),
        }
        most_covariates = max(_covariates(model, 1, limits.max_covariates).values())
    return {
        "family": card.name,
        "task": card.task,
        "sql": card.keys[0],
        "version": __version__,
        "engine": limits.engine,
        "licence": card.licence,
        "commercial": card.commercial,
        "year": card.year,
        "state": state,
        **loaded,
        "limits": _limits(limits) | {"max_covariates": most_covariates},
    }


def _limits(limits: Settings) -> dict[str, object]:
    names = ("min_rows", "max_rows", "max_horizon", "max_covariates", "max_series", "max_body_mib")
    return {name: getattr(limits, name) for name in (*names, "queue", "deadline_s")}


def summary(card: Card, model: Model, folder: Path | None) -> str:
    """One line for STATUS= and the journal."""
    where = f" from {folder}" if folder else ""
    return f"{card.name}{where}, {model.path}, context up to {model.max_context}"


def weights(card: Card, folder: Path | None) -> str:
    """The file of the model's weights."""
    if not folder:
        return f"the weights in the package of {card.name}"
    names = [checkpoint.files[-1] for checkpoint in card.checkpoints]
    return str(folder / next((name for name in names if (folder / name).exists()), ""))


def _covariates(model: Model, horizon: int, most: int) -> dict[str, int]:
    """How many of each kind fit beside a horizon, if there are none of the other kind.

    A regression takes any number, since the model does not see them.
    """
    if not _forecasts(model):
        return {"past": 0, "future": 0}
    family, can = cast(Family, model), model.capabilities

    def fitting(native: bool, schemas: list[tuple[int, int]]) -> int:
        counted = schemas if native else [(0, 0)] * most
        return sum(family.context_for(horizon, schema) >= family.min_room for schema in counted)

    counts = range(1, most + 1)
    return {
        "past": fitting(can.past_covariates, [(count, 0) for count in counts]),
        "future": fitting(can.future_covariates, [(0, count) for count in counts]),
    }


def _forecasts(model: Model) -> bool:
    return hasattr(model, "context_for")  # what only a ``Family`` has
