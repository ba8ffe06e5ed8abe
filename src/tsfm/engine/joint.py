"""Forecasts of several series together: of the variates of one target, or of the series of one request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tsfm.engine.abilities import REGRESSION
from tsfm.engine.fields import check_context
from tsfm.engine.forecast import Output, covariates_how, filled_covariates
from tsfm.engine.room import Shape, Words
from tsfm.engine.work import Part, WorkItem, check_shape
from tsfm.errors import BadRequest, RequestError, TooLarge
from tsfm.numerics import regression, scaling
from tsfm.numerics.scaling import Scale
from tsfm.series import FloatArray, Forecast, Group, JointFamily

T = TypeVar("T")
MOST_VARIATES = 64
# Points of all rows of one group. A group runs as a whole, so this bounds the time that others wait for it.
MOST_POINTS = 2**19


@dataclass(frozen=True)
class JointCall:
    """A call of the model with these parameters, for groups."""

    family: JointFamily
    horizon: int
    levels: tuple[float, ...]

    def run(self, batch: Sequence[Group]) -> Sequence[list[Forecast]]:
        outputs = self.family.forecast_joint(batch, self.horizon, self.levels)
        for group, made in zip(batch, outputs, strict=True):
            for one, _ in zip(made, group.members, strict=True):
                check_shape(one.median, self.horizon)
                check_shape(one.quantiles, len(self.levels), self.horizon)
        return outputs


@dataclass(frozen=True)
class Prepared:
    """One target as the model takes it.

    Attributes:
        group: its variates in unit spread; a constant one is zero throughout.
        scales: back to the unit of each variate.
        warnings: about its covariates.
        how: its covariates were used.
        effects: for each variate that of its covariates in the horizon, shape (horizon,), where a regression uses them.
    """

    group: Group
    scales: tuple[Scale, ...]
    warnings: tuple[str, ...]
    how: str | None
    effects: tuple[FloatArray | None, ...]

    @classmethod
    def of(cls, group: Group, horizon: int, model: JointFamily, family: str, words: Words) -> Prepared:
        """Cut to what the model looks at, and scaled.

        Raises:
            BadRequest: the checkpoint cannot use it.
        """
        first, variates = group.members[0], len(group.members)
        if variates > MOST_VARIATES:
            raise BadRequest(
                f"{words.target}: expected at most {MOST_VARIATES} variates, which {family} forecasts together, "
                f"got {variates}: send them as series of their own"
            )
        how = covariates_how(first, model.capabilities)
        effects: tuple[FloatArray | None, ...] = (None,) * variates
        if how == REGRESSION:
            group, effects = _explained(group, horizon)
        past, future = group.schema[0]
        room = model.context_for(horizon, (past, future + variates - 1))
        if room < model.min_room:
            raise Shape(horizon, group.schema[0], variates=variates).refusal(room, model.min_room, words)
        cut = group.newest(room)
        for at, member in enumerate(cut.members):
            field = f"{words.target}[{at}]" if variates > 1 else words.target
            check_context(member, room, model.min_context, family, field)
        begin = min(member.observed_span()[0] for member in cut.members)
        made = [scaling.standardise(member.between(begin, len(member)), False) for member in cut.members]
        warnings = filled_covariates(first, model.capabilities, family, words)
        return cls(Group(tuple(unit for unit, _ in made)), tuple(scale for _, scale in made), warnings, how, effects)

    def outputs(self, made: Sequence[Forecast], levels: Sequence[float], crossed: bool) -> list[Output]:
        """The forecasts of its variates in the unit of the request."""
        return [
            Output(_restored(one, scale, levels, effect), self.warnings, self.how, joint=True, crossed=crossed)
            for one, scale, effect in zip(made, self.scales, self.effects, strict=True)
        ]


Refusals = list[RequestError]
"""The outcomes of one target that is refused."""


def part(
    targets: Sequence[Prepared | Refusals],
    horizon: int,
    levels: tuple[float, ...],
    model: JointFamily,
    crossed: bool = False,
) -> list[Part]:
    """What the model has to compute for targets that are forecast together: one item, or the refusals of all.

    Args:
        crossed: they are series of one request, and not the variates of one target.
    """
    group = Group(tuple(member for one in targets if isinstance(one, Prepared) for member in one.group.members))

    def outcomes(of: Callable[[Prepared], Sequence[T]]) -> list[T | RequestError]:
        return [outcome for one in targets for outcome in (of(one) if isinstance(one, Prepared) else one)]

    def restore(made: Sequence[Forecast]) -> list[Output | RequestError]:
        left = iter(made)
        return outcomes(lambda one: one.outputs([next(left) for _ in one.scales], levels, crossed))

    if not group.members or group.points > MOST_POINTS:
        return list[Part](outcomes(lambda one: [_too_large(group, crossed)] * len(one.scales)))
    count = len(outcomes(lambda one: one.scales))
    return [WorkItem(group, JointCall(model, horizon, levels), restore, outcomes=count)]


def _too_large(group: Group, crossed: bool) -> TooLarge:
    return TooLarge(
        f"{'parameters.cross_learning' if crossed else 'target'}: {group.described} are {group.points} points, of "
        f"which at most {MOST_POINTS} are forecast together: send fewer series or a smaller context_length"
    )


def _explained(group: Group, horizon: int) -> tuple[Group, tuple[FloatArray, ...]]:
    """The variates without the effect of their covariates, and that effect in the horizon."""
    made = [regression.explain(member, horizon) for member in group.members]
    shortest = min(len(one.rest) for one in made)
    return Group(tuple(one.rest.newest(shortest) for one in made)), tuple(one.ahead for one in made)


def _restored(made: Forecast, scale: Scale, levels: Sequence[float], effect: FloatArray | None) -> Forecast:
    if scale.spread:
        restored = scaling.restore(made, scale, levels)
    else:
        restored = scaling.constant(len(made.median), levels, scale)
    return restored if effect is None else restored.shifted(effect)
