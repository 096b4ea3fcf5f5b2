"""What the experiment knows: all trainings of a run; and how it says an effect."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

from lstmreg.config import Config

from .card import DataCard
from .records import STAGES, Record, Replicate, Result, Stage
from .space import Setting, key


@dataclass(frozen=True)
class Effect:
    """A relative change of a loss with its interval: ``-0.12`` means 12 % lower.

    Attributes:
        mean: The effect.
        low: Lower end of its interval.
        high: Upper end.
        blocks: How many repetitions the interval stands on: blocks, or of a test its cases.
        failed: How many trainings failed, which count as harm.
    """

    mean: float
    low: float
    high: float
    blocks: int
    failed: int = 0


@dataclass(frozen=True)
class Resolution:
    """How small an effect can be seen, as relative changes of a loss, and what it would take to see a smaller one.

    Attributes:
        half_width: Half of the interval's width as it is.
        with_unlimited_seeds: What would be left of it however many seeds.
        wanted: The half-width that would decide.
        more_blocks: How many further blocks like these would decide; ``None`` if no number that anybody has.
        noise: To which share of itself the scatter would have to shrink instead; 1 if it need not.
        seeds_suffice: Whether more seeds alone would decide.
        blocks: How many blocks there are.
        seeds: How many seeds on each.
    """

    half_width: float
    with_unlimited_seeds: float
    wanted: float
    more_blocks: int | None
    noise: float
    seeds_suffice: bool
    blocks: int
    seeds: float


def relative(log_ratio: float) -> float:
    """Return a log ratio as a relative change."""
    return math.expm1(log_ratio) if log_ratio < 700 else math.inf


@dataclass
class Evidence:
    """Everything an answer is drawn from: the configuration, the data card, and all trainings.

    Attributes:
        config: As the run was configured, with all that was planned.
        card: The data.
        records: All trainings that have ended, by stage.
    """

    config: Config
    card: DataCard
    records: dict[Stage, list[Record]] = field(default_factory=lambda: {stage: [] for stage in STAGES})

    def __post_init__(self) -> None:
        self._found: dict[Stage, _Found] = {}

    def trials(self, setting: Setting, stage: Stage) -> dict[Replicate, Record]:
        """Return the trainings of a setting, by replicate."""
        records, found = self.records[stage], self._found.get(stage)
        if found is None or not found.is_of(records):
            found = self._found[stage] = _Found(records)
        return dict(found.of(key(setting)))

    def results(self, setting: Setting, stage: Stage) -> dict[Replicate, Result]:
        """Return what a setting's trainings gave that did not fail, by replicate."""
        return {replicate: r.result for replicate, r in self.trials(setting, stage).items() if r.result is not None}

    def failures(self, setting: Setting, stage: Stage) -> int:
        """Count the trainings of a setting that failed."""
        return sum(r.result is None for r in self.trials(setting, stage).values())


class _Found:
    """The trainings of each setting; of a list that may only become longer."""

    def __init__(self, records: list[Record]) -> None:
        self.records = records
        self._seen = 0
        self._by_key: dict[str, dict[Replicate, Record]] = {}

    def is_of(self, records: list[Record]) -> bool:
        """Tell whether it is of a list, which has not become shorter."""
        return self.records is records and self._seen <= len(records)

    def of(self, setting: str) -> dict[Replicate, Record]:
        """Return those of a setting, given by its key."""
        for record in itertools.islice(self.records, self._seen, None):
            self._by_key.setdefault(record.key, {})[record.replicate] = record
        self._seen = len(self.records)
        return self._by_key.get(setting, {})
