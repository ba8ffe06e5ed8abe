"""What requests call their fields, and the refusal of one that leaves the model too little context."""

from __future__ import annotations

from dataclasses import dataclass

from tsfm.errors import BadRequest


@dataclass(frozen=True)
class Words:
    """What a request calls its fields, for sentences about them."""

    target: str = "input"
    horizon: str = "next_len"
    past: str = "past_dynamic_real"
    future: str = "dynamic_real"


TDGPT = Words()


@dataclass(frozen=True)
class Shape:
    """What shares the room of a model with its context.

    Attributes:
        horizon: steps that are asked for.
        schema: number of past and of future covariates.
        late: missing points at the end of the series, which are forecast too.
        variates: targets that are forecast together.
    """

    horizon: int
    schema: tuple[int, int]
    late: int = 0
    variates: int = 1

    def refusal(self, room: int, least: int, words: Words) -> BadRequest:
        """The error, where these leave room for ``room`` points and ``least`` are needed."""
        kinds = [
            f"{count} {kind} covariates" for count, kind in zip(self.schema, ("past", "future"), strict=True) if count
        ]
        several = self.variates > 1
        field = "covariates" if kinds else words.target if self.late or several else words.horizon
        ways = ["fewer variates"] * several + ["fewer covariates"] * bool(kinds) + ["newer points"] * bool(self.late)
        kinds = [f"{self.variates} variates"] * several + kinds
        steps = f"{words.horizon} {self.horizon}"
        if self.late:
            steps += f" after {self.late} missing points at the end of {words.target}"
        return BadRequest(
            f"{field}: {' and '.join([*kinds, steps])} leave room for {max(room, 0)} points of context; "
            f"at least {least} are needed: send {' or '.join([*ways, f'a smaller {words.horizon}'])}"
        )
