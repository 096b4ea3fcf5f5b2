"""What the experiment knows: one record per trial, and effects of settings from paired records."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.special import stdtrit

from lstmreg.config import Config, Dimension

from .card import DataCard
from .space import Setting, key

#: The stages of the experiment, in order; each is one Optuna study.
STAGES = ("baseline", "alone", "together", "confirm", "test")


@dataclass(frozen=True, order=True)
class Replicate:
    """One repetition of a setting: which split, and which of its seeds, both counted from 0."""

    split: int
    seed: int


@dataclass(frozen=True)
class Record:
    """One trial.

    Attributes:
        stage: One of :data:`STAGES`.
        number: The trial's number in its study.
        role: Why it was run, such as ``alone``, ``sampled``, ``shortlist`` or ``leave one out``.
        setting: What differs from the baseline.
        replicate: On what.
        failure: Why it has no result, or ``None``.
        result: What the training gave: ``val_loss``, ``train_loss``, ``best_epoch``, the curves ``train`` and
            ``val``, ``seconds``; of a test trial also ``test_error`` and ``predictions``.
        position: Of a sampled trial: which one.
        traceback: Of an error that is no divergence.
    """

    stage: str
    number: int
    role: str
    setting: Setting
    replicate: Replicate
    failure: str | None
    result: dict[str, Any]
    position: int | None = None
    traceback: str | None = None

    @property
    def identity(self) -> tuple[str, Replicate]:
        """What the trial was of; two trials with the same identity repeat each other."""
        return key(self.setting), self.replicate

    @property
    def log_loss(self) -> float:
        """The logarithm of the best epoch's validation loss: differences of it are relative effects."""
        return math.log(max(self.result["val_loss"], 1e-300))


@dataclass(frozen=True)
class Effect:
    """A relative change of a loss with its interval: ``-0.12`` means 12 % lower.

    The interval is Student's t over the means of the splits, so it covers splits and seeds alike.
    """

    mean: float
    low: float
    high: float
    splits: int

    @classmethod
    def of(cls, log_ratios: dict[Replicate, float], confidence: float) -> Effect:
        """Summarize paired log ratios; with fewer than two splits the interval is unbounded."""
        by_split: dict[int, list[float]] = defaultdict(list)
        for replicate, ratio in log_ratios.items():
            by_split[replicate.split].append(ratio)
        means = np.array([np.mean(ratios) for ratios in by_split.values()])
        center = float(means.mean())
        half = math.inf
        if len(means) > 1:
            t = float(stdtrit(len(means) - 1, 0.5 + confidence / 2))
            half = t * float(means.std(ddof=1)) / math.sqrt(len(means))
        return cls(math.expm1(center), math.expm1(center - half), _expm1(center + half), len(means))


def _expm1(x: float) -> float:
    return math.expm1(x) if x < 700 else math.inf


@dataclass
class Evidence:
    """Everything an answer is drawn from: the configuration, the data card, and all trials.

    Attributes:
        config: As the run was configured.
        card: The data.
        dimensions: What is searched, by path.
        records: All finished trials, by stage.
    """

    config: Config
    card: DataCard
    dimensions: dict[str, Dimension]
    records: dict[str, list[Record]] = field(default_factory=lambda: {stage: [] for stage in STAGES})

    def results(self, setting: Setting, stages: Iterable[str]) -> dict[Replicate, Record]:
        """Return the successful trials of a setting, by replicate."""
        wanted = key(setting)
        return {
            r.replicate: r
            for stage in stages
            for r in self.records[stage]
            if r.failure is None and key(r.setting) == wanted
        }

    def log_ratios(self, setting: Setting, against: Setting, stages: Iterable[str]) -> dict[Replicate, float]:
        """Pair two settings: the log ratio of their losses on each replicate that both finished."""
        stages = list(stages)
        ours, theirs = self.results(setting, stages), self.results(against, stages)
        return {r: ours[r].log_loss - theirs[r].log_loss for r in ours if r in theirs}
