"""How much the experiment does, and by which rules."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Literal

from lstmreg.rules import FRACTION, POSITIVE, SEED, between, check_section, ruled

from .space import Dimension, Range, Scalar, default_space


@dataclass(frozen=True)
class Plan:
    """How many trainings a search takes, by what they are for; the settings of the same names say more."""

    trials: int
    splits: int
    seeds: int
    confirm_splits: int
    confirm_seeds: int
    test_seeds: int


#: From the least that has an interval at all to what takes a small network an hour. A quick search takes the largest
#: that it has the time and the rows for, a thorough one the last.
PLANS = (
    Plan(trials=4, splits=3, seeds=1, confirm_splits=3, confirm_seeds=2, test_seeds=3),
    Plan(trials=6, splits=4, seeds=1, confirm_splits=4, confirm_seeds=2, test_seeds=3),
    Plan(trials=8, splits=5, seeds=1, confirm_splits=4, confirm_seeds=3, test_seeds=5),
    Plan(trials=12, splits=5, seeds=2, confirm_splits=4, confirm_seeds=3, test_seeds=5),
    Plan(trials=12, splits=5, seeds=3, confirm_splits=4, confirm_seeds=3, test_seeds=5),
    Plan(trials=24, splits=8, seeds=3, confirm_splits=6, confirm_seeds=5, test_seeds=10),
)

#: The numbers of a plan, which a configuration may leave open.
PLANNED = tuple(f.name for f in dataclasses.fields(Plan))


@dataclass(frozen=True)
class SearchConfig:
    """The experiment that answers which knobs to turn.

    What is null is planned: before it starts, the search measures how long a training takes. A run that has begun
    keeps its plan.

    Args:
        trials: Settings that are proposed in the stage in which all knobs are searched together, each on every split
            with one seed; a total, over all sittings.
        space: What to try, by the path of a setting: a list of values, or ``{low, high, log, step}``.
            Default: the six knobs with a ladder of three values each.
        learning_rates: Those among which the unregularized baseline chooses.
        splits: Rolling-origin splits on which values are chosen.
        seeds: Seeds for each split.
        confirm_splits: Further splits, for the confirmation alone.
        confirm_seeds: Seeds for each of them.
        test_seeds: Seeds with which winner and baseline meet the test rows.
        shortlist: How many of the best proposals are tried with every seed before one is chosen.
        smallest_effect: The least relative improvement of the validation loss that is worth a knob.
        confidence: Of the intervals.
        batch: Settings that are proposed and trained at once. More are faster, fewer learn more from each other.
        prune: Whether a training of a proposal ends early that does worse than the median of those before it on the
            same split, after as many epochs as the patience.
        sampler: Which of Optuna's samplers proposes settings.
        seed: Decides the sampler's proposals and the seeds of all trainings.
        effort: How much is planned: quick is what takes about five minutes, thorough is more and takes as long as it
            takes.
    """

    trials: int | None = field(default=None, metadata=ruled(between(1)))
    space: dict[str, Range | list[Scalar]] | None = None
    learning_rates: list[float] = field(
        default_factory=lambda: [0.001, 0.003, 0.01], metadata=ruled(POSITIVE, filled="a list of rates")
    )
    splits: int | None = field(default=None, metadata=ruled(between(2, 1000)))
    seeds: int | None = field(default=None, metadata=ruled(between(1, 1000)))
    confirm_splits: int | None = field(default=None, metadata=ruled(between(2, 1000)))
    confirm_seeds: int | None = field(default=None, metadata=ruled(between(1, 1000)))
    test_seeds: int | None = field(default=None, metadata=ruled(between(2, 1000)))
    shortlist: int = field(default=3, metadata=ruled(between(1, 1000)))
    smallest_effect: float = field(default=0.02, metadata=ruled(FRACTION))
    confidence: float = field(default=0.95, metadata=ruled(FRACTION))
    batch: int = field(default=6, metadata=ruled(between(1, 1000)))
    prune: bool = True
    sampler: Literal["tpe", "random", "gp"] = "tpe"
    seed: int = field(default=0, metadata=ruled(SEED))
    effort: Literal["quick", "thorough"] = "quick"

    def __post_init__(self) -> None:
        check_section(self, "search.")

    @property
    def plan(self) -> Plan:
        """The numbers of trainings; what was left open is that of the least plan."""
        given = {name: getattr(self, name) for name in PLANNED}
        return Plan(**{name: getattr(PLANS[0], name) if n is None else n for name, n in given.items()})

    @property
    def is_open(self) -> bool:
        """Whether there is something to plan."""
        return any(getattr(self, name) is None for name in PLANNED)

    def planned(self, plan: Plan) -> SearchConfig:
        """Return a copy in which the numbers that were left open are those of ``plan``."""
        return dataclasses.replace(self, **{n: getattr(plan, n) for n in PLANNED if getattr(self, n) is None})

    @property
    def dimensions(self) -> dict[str, Dimension]:
        """The space that is searched: the user's, or the default."""
        return default_space() if self.space is None else dict(self.space)
