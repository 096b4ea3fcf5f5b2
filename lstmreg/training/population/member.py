"""One member of a population in training: its own early stopping, and its records."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch

from lstmreg.config import TrainingConfig
from lstmreg.losses import Criterion
from lstmreg.training.fitting import Epoch, FitResult, Stopped
from lstmreg.training.module import DivergedError


@dataclass
class Member:
    """One member's own early stopping and records.

    Attributes:
        number: In the population.
        training: Its settings.
        source: Which batches it reads.
        criterion: What it minimizes on them.
        masks: What masks it draws.
        kinds: The kinds of its penalties.
        generator: Draws its masks.
        history: Its epochs so far.
        steps: Optimizer steps so far.
        stopped: What ended it; ``None`` while it trains.
        failure: Why it diverged, if it did.
        fault: Of its validation batches, which number is not finite, if one was seen.
    """

    number: int
    training: TrainingConfig
    source: int
    criterion: Criterion
    masks: tuple[tuple[int, int], ...]
    kinds: set[str]
    generator: torch.Generator
    history: list[Epoch] = field(default_factory=list)
    steps: int = 0
    best_value: float = math.inf
    best_epoch: int | None = None
    kept_value: float = math.inf
    kept_epoch: int | None = None
    stopping_value: float = math.inf
    waited: int = 0
    seconds: float = 0.0
    stopped: Stopped | None = None
    failure: DivergedError | None = None
    fault: str = ""

    def end_epoch(self, epoch: Epoch) -> bool:
        """Take an epoch in, and return whether its weights are to be kept so far."""
        self.history.append(epoch)
        value, number = epoch.val_loss, len(self.history) - 1
        is_best = math.isfinite(value) and value < self.best_value
        if is_best:
            self.best_value, self.best_epoch = value, number
        is_kept = math.isfinite(value) if self.training.keep == "last" else is_best
        if is_kept:
            self.kept_value, self.kept_epoch = value, number
        # As Lightning's EarlyStopping counts, whose best value may lie above, by min_delta.
        if value + self.training.min_delta < self.stopping_value:
            self.stopping_value, self.waited = value, 0
        else:
            self.waited += 1
        if self.training.patience is not None and self.waited >= self.training.patience:
            self.stopped = "patience"
        elif len(self.history) >= self.training.max_epochs:
            self.stopped = "max_epochs"
        return is_kept

    def diverge(self, loss: float, fault: str) -> None:
        """End at a step whose loss is not finite, perhaps for a fault in the data."""
        self.stopped, self.failure = "diverged", DivergedError(self.steps, "training", loss, fault)

    @property
    def has_no_finite_validation(self) -> bool:
        """Whether all validation losses so far are NaN or infinite."""
        return self.failure is None and self.best_epoch is None and bool(self.history)

    def result(self, train_loss: float) -> FitResult:
        """Return how the fit went; of one that never had a finite validation loss, that it diverged."""
        if self.has_no_finite_validation:
            self.failure = DivergedError(self.steps, "validation", self.history[-1].val_loss, self.fault)
        failed = self.failure is not None
        return FitResult(
            history=tuple(self.history),
            best_epoch=self.best_epoch or 0,
            kept_epoch=self.kept_epoch or 0,
            val_loss=math.inf if failed else self.kept_value,
            train_loss=math.inf if failed else train_loss,
            stopped="diverged" if failed else self.stopped or "callback",
            seconds=self.seconds,
            failure=self.failure,
        )
