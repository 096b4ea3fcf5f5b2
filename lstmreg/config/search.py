"""How much the experiment does, and by which rules."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Literal

from lstmreg.errors import ConfigError
from lstmreg.rules import ADDRESS, FLAG_OR_NULL, FRACTION, POSITIVE, SEED, between, check_section, require, ruled

from .space import Condition, Dimension, Range, Scalar, Values, conditions, default_space
from .storage import check_storage


@dataclass(frozen=True)
class Amount:
    """How much a search does; the settings of the same names say more."""

    blocks: int
    race: int
    judge_seeds: int
    test_seeds: int


#: From the least that has an interval to what takes a small network an hour. A search takes the largest that it has the
#: time and the data for, a thorough one the last.
AMOUNTS = (
    Amount(blocks=3, race=4, judge_seeds=4, test_seeds=3),
    Amount(blocks=4, race=6, judge_seeds=6, test_seeds=3),
    Amount(blocks=6, race=10, judge_seeds=8, test_seeds=5),
    Amount(blocks=8, race=12, judge_seeds=8, test_seeds=5),
    Amount(blocks=8, race=25, judge_seeds=8, test_seeds=8),
    Amount(blocks=12, race=60, judge_seeds=16, test_seeds=16),
)

#: The numbers of an amount, which a configuration may leave open.
PLANNED = tuple(f.name for f in dataclasses.fields(Amount))


@dataclass(frozen=True)
class SearchConfig:
    """The experiment that answers which knobs to turn.

    What is null is planned: before it starts, the search measures how long a training takes. A run that has begun
    keeps its plan.

    Args:
        space: What to try, by the path of a setting, or of its value in one layer, such as ``model.dropout[1]``: a list
            of values, ``{values, when, grow}``, or ``{low, high, log, step, when}``. The list of a knob grows where its
            best value lies at an edge. Default: the knobs that make sense for the data, each with a ladder of values.
        weight_decay: Values of AdamW's weight decay, which is tried as a knob is, because it is what one would try
            without any. An empty list leaves it out.
        learning_rates: Those among which the unregularized baseline chooses.
        blocks: On how many stretches of the data, or folds, everything is measured: training ends by one block, and the
            loss is taken on the next.
        race: Further trainings on each block, for the settings about which they may decide.
        judge_seeds: With how many fresh seeds each block is judged at least.
        test_seeds: Seeds with which the pick and the baseline meet the test.
        cases: On so many cases at most each network of a block trains, evenly chosen; those that meet the test train on
            all. Null: on all, unless not even the least search would end in time.
        screen: Whether every value is tried alone first. Without it the sampler's proposals alone join the race.
        trials: Settings of all that is searched at once, which one of Optuna's samplers proposes; each joins the race.
        sampler: Which of Optuna's samplers; grid takes listed values and the steps of intervals, each point once.
        batch: Settings that are proposed at once. Fewer learn more from each other, more are faster.
        smallest_effect: The least relative improvement of the loss that is worth a knob.
        confidence: Of the judge's intervals. Those of the table hold together at 95 %.
        seed: Decides the sampler's proposals and the seeds of all trainings.
        effort: How much is planned: quick is the least, default is what takes about five minutes, thorough takes as
            long as it takes.
        explain: Whether further trainings, after the test, say what leaving a column out does, and what each knob does
            without early stopping. They decide nothing. Null: none where effort is quick, all where it is thorough, and
            else as many as make a search at most 15 % longer.
        workers: So many processes of this machine train side by side, each with its share of the cores; 0: this process
            alone. It changes no digit.
        cluster: Address of a Dask scheduler, such as tcp://host:8786, whose workers train in their place.
        storage: Where the study is kept: null is a file in the run's folder, else a PostgreSQL database, such as
            postgresql+psycopg://anna@db.example.org/studies; its password is read from PGPASSWORD or ~/.pgpass.
    """

    space: dict[str, Range | Values | list[Scalar]] | None = None
    weight_decay: list[float] = field(default_factory=lambda: [0.01, 0.1, 0.3, 1.0], metadata=ruled(POSITIVE))
    learning_rates: list[float] = field(
        default_factory=lambda: [0.001, 0.003, 0.01], metadata=ruled(POSITIVE, filled="a list of rates")
    )
    blocks: int | None = field(default=None, metadata=ruled(between(3, 1000)))
    race: int | None = field(default=None, metadata=ruled(between(0, 100_000)))
    judge_seeds: int | None = field(default=None, metadata=ruled(between(2, 1000)))
    test_seeds: int | None = field(default=None, metadata=ruled(between(2, 1000)))
    cases: int | None = field(default=None, metadata=ruled(between(50)))
    screen: bool = True
    trials: int = field(default=0, metadata=ruled(between(0)))
    sampler: Literal["tpe", "gp", "random", "grid"] = "tpe"
    batch: int = field(default=6, metadata=ruled(between(1, 1000)))
    smallest_effect: float = field(default=0.02, metadata=ruled(FRACTION))
    confidence: float = field(default=0.97, metadata=ruled(FRACTION))
    seed: int = field(default=0, metadata=ruled(SEED))
    effort: Literal["quick", "default", "thorough"] = "default"
    explain: bool | None = field(default=None, metadata=ruled(FLAG_OR_NULL))
    workers: int = field(default=0, metadata=ruled(between(0, 256)))
    cluster: str | None = field(default=None, metadata=ruled(ADDRESS))
    storage: str | None = None

    def __post_init__(self) -> None:
        check_section(self, "search.")
        check_storage(self.storage)
        proposes = self.screen or self.trials > 0
        require(proposes, "search.trials", "above 0 where search.screen is false, so that something is tried", 0)
        is_alone = self.cluster is None or not self.workers
        require(is_alone, "search.workers", "0 where search.cluster says who trains", self.workers)
        _ = self.conditions  # raises where they cannot be
        for path, dimension in self.dimensions.items():
            if self.sampler == "grid" and isinstance(dimension, Range) and dimension.step is None:
                raise ConfigError(
                    f"search.space: {path} must have a step where search.sampler is grid, got an interval without. "
                    f"Give it a step, or list its values; the other samplers draw from it as it is."
                )

    @property
    def amount(self) -> Amount:
        """How much is done; what was left open is that of the least."""
        given = {name: getattr(self, name) for name in PLANNED}
        return Amount(**{name: getattr(AMOUNTS[0], name) if n is None else n for name, n in given.items()})

    @property
    def is_open(self) -> bool:
        """Whether there is something to plan."""
        return any(getattr(self, name) is None for name in PLANNED)

    def planned(self, amount: Amount) -> SearchConfig:
        """Return a copy in which the numbers that were left open are those of ``amount``."""
        return dataclasses.replace(self, **{n: getattr(amount, n) for n in PLANNED if getattr(self, n) is None})

    @property
    def dimensions(self) -> dict[str, Dimension]:
        """The space that is searched: the user's, or all that makes sense for several columns.

        What a condition names comes before what waits for it.
        """
        if self.space is None:
            return default_space()
        found, waits_for = {}, self.conditions
        for path in sorted(self.space, key=lambda path: len(waits_for[path])):
            dimension = self.space[path]
            found[path] = dimension.values if isinstance(dimension, Values) else dimension
        return found

    def grows(self, path: str) -> bool | None:
        """Return what the space says of whether a list grows; ``None`` if nothing."""
        dimension = None if self.space is None else self.space.get(path)
        return dimension.grow if isinstance(dimension, Values) else None

    @property
    def conditions(self) -> dict[str, Condition]:
        """Under which conditions each setting of the space is searched; mostly under none."""
        return conditions(default_space() if self.space is None else self.space)
