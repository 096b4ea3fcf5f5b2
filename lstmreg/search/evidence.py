"""What the experiment knows: all trials of a run, and effects of settings from pairs of them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from scipy.special import stdtrit

from lstmreg.config import Config, Dimension

from .card import DataCard
from .records import STAGES, Record, Replicate, Result, Stage
from .space import Setting, key

#: A training that failed counts as the worst of its setting's, and as a loss twice as high at least.
_LEAST_HARM = math.log(2.0)


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


def _by_split(log_ratios: dict[Replicate, float]) -> list[list[float]]:
    by_split: dict[int, list[float]] = defaultdict(list)
    for replicate, ratio in log_ratios.items():
        by_split[replicate.split].append(ratio)
    return list(by_split.values())


def _half_width(count: int, deviation: float, confidence: float) -> float:
    """Return half the width of Student's interval around a mean."""
    if count < 2:
        return math.inf
    return float(stdtrit(count - 1, 0.5 + confidence / 2)) * deviation / math.sqrt(count)


def relative(log_ratio: float) -> float:
    """Return a log ratio as a relative change."""
    return math.expm1(log_ratio) if log_ratio < 700 else math.inf


@dataclass
class Evidence:
    """Everything an answer is drawn from: the configuration, the data card, and all trials.

    Attributes:
        config: As the run was configured.
        card: The data.
        dimensions: What is searched, by path.
        records: All finished trials, by stage.
        looks: How often the confirming splits were looked at.
        tested: How many settings ever met the test rows.
    """

    config: Config
    card: DataCard
    dimensions: dict[str, Dimension]
    records: dict[Stage, list[Record]] = field(default_factory=lambda: {stage: [] for stage in STAGES})
    looks: int = 0
    tested: int = 0

    def trials(self, setting: Setting, stages: Iterable[Stage]) -> dict[Replicate, Record]:
        """Return the trials of a setting that went to their end or failed, by replicate."""
        wanted = key(setting)
        return {
            r.replicate: r for stage in stages for r in self.records[stage] if not r.is_cut and key(r.setting) == wanted
        }

    def results(self, setting: Setting, stages: Iterable[Stage]) -> dict[Replicate, Result]:
        """Return what a setting's trials gave that did not fail, by replicate."""
        return {replicate: r.result for replicate, r in self.trials(setting, stages).items() if r.result is not None}

    def failures(self, setting: Setting, stages: Iterable[Stage]) -> int:
        """Count the trials of a setting that failed."""
        return sum(r.result is None for r in self.trials(setting, stages).values())

    def log_ratios(self, setting: Setting, against: Setting, stages: Iterable[Stage]) -> dict[Replicate, float]:
        """Pair two settings: the log ratio of their losses on each replicate where the second one finished.

        Where the first one failed there, it counts as worse, or the setting that fails most would look best.
        """
        stages = list(stages)
        theirs = {replicate: r.log_loss for replicate, r in self.results(against, stages).items()}
        return against_losses(self.trials(setting, stages), theirs)

    def effect(self, setting: Setting, against: Setting, stages: Iterable[Stage]) -> Effect | None:
        """Return what a setting does relative to another; ``None`` if they share no replicate."""
        stages = list(stages)
        found = self.log_ratios(setting, against, stages)
        return Effect.of(found, self.config.search.confidence, self.failures(setting, stages)) if found else None


def against_losses(trials: dict[Replicate, Record], log_losses: dict[Replicate, float]) -> dict[Replicate, float]:
    """Return the log ratio of each trial's loss to a given one; a trial that failed counts as worse."""
    both = [replicate for replicate in log_losses if replicate in trials]
    results = {replicate: trials[replicate].result for replicate in both}
    found = {r: result.log_loss - log_losses[r] for r, result in results.items() if result is not None}
    return {r: found.get(r, max([_LEAST_HARM, *found.values()])) for r in both}
