"""What a search tries of each setting."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lstmreg.knobs import KNOBS
from lstmreg.rules import POSITIVE, require

#: A single value of a setting.
Scalar = int | float | str | bool


@dataclass(frozen=True)
class Range:
    """An interval that the search draws from.

    Args:
        low: Least value.
        high: Greatest value.
        log: Whether to draw on a logarithmic scale.
        step: Distance between neighbouring values, or null for none.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None

    def __post_init__(self) -> None:
        ok = math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high
        require(ok, "search.space: low", "below high", f"low={self.low}, high={self.high}")
        require(not self.log or self.low > 0, "search.space: low", "positive where log is true", self.low)
        if self.step is not None:
            POSITIVE.check("search.space: step", self.step)
            require(not self.log, "search.space: step", "null where log is true", self.step)


#: What a search tries for one setting: some values, or an interval.
Dimension = Range | list[Scalar]


def default_space(input_columns: int = 2, *, proximal: bool = False) -> dict[str, Dimension]:
    """Return the knobs that make sense for so many input columns, each with its ladder of values.

    Off is always tried too. Where there is a single column, a knob that chooses among columns has nothing to choose.

    Args:
        input_columns: How many columns there are.
        proximal: Whether the L1 on weights is a step of its own after Adam's, which takes other strengths.
    """
    return {
        path: list((proximal and knob.proximal_ladder) or knob.ladder)
        for path, knob in KNOBS.items()
        if knob.by_default and (input_columns > 1 or not knob.chooses_columns)
    }
