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

    The interval is Student's t over the means of the splits, so it covers splits and seeds alike.

    Attributes:
        mean: The effect.
        low: Lower end of its interval.
        high: Upper end.
        splits: How many repetitions the interval stands on: splits, or of a test its cases.
        failed: How many trainings failed, which count as harm.
    """

    mean: float
    low: float
    high: float
    splits: int
    failed: int = 0

    @classmethod
    def of(cls, log_ratios: dict[Replicate, float], confidence: float, failed: int = 0) -> Effect:
        """Summarize paired log ratios; with fewer than two splits the interval is unbounded."""
        means = np.array([np.mean(ratios) for ratios in _by_split(log_ratios)])
        center = float(means.mean())
        half = _half_width(len(means), float(means.std(ddof=1)) if len(means) > 1 else math.inf, confidence)
        return cls(relative(center), relative(center - half), relative(center + half), len(means), failed)


@dataclass(frozen=True)
class Resolution:
    """How small an effect these data can show: half of an interval's width, as a relative change of a loss.

    Attributes:
        half_width: Of the interval as it is.
        with_unlimited_seeds: What would be left of it, because splits differ, whatever the number of seeds.
        splits: How many there are.
        seeds: On each.
    """

    half_width: float
    with_unlimited_seeds: float
    splits: int
    seeds: int

    @classmethod
    def of(cls, log_ratios: dict[Replicate, float], confidence: float) -> Resolution | None:
        """Take the variance of an effect apart; ``None`` with fewer than two splits, which say nothing of it."""
        groups = _by_split(log_ratios)
        if len(groups) < 2:
            return None
        whole = float(np.var([np.mean(g) for g in groups], ddof=1))
        seeds = min(len(g) for g in groups)
        # With one seed for each split the two parts cannot be told apart.
        of_seeds = float(np.mean([np.var(g, ddof=1) / len(g) for g in groups])) if seeds > 1 else 0.0
        of_splits = max(0.0, whole - of_seeds)
        half_widths = [_half_width(len(groups), math.sqrt(v), confidence) for v in (whole, of_splits)]
        return cls(relative(half_widths[0]), relative(half_widths[1]), len(groups), seeds)


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
