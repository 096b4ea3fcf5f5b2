"""What a training is worth, taken where it ran: its losses, or what it predicts of the test."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from lstmreg.training import DivergedError
from lstmreg.training.population.together import Assignment
from lstmreg.training.single import Trained

from .records import Result


@dataclasses.dataclass(frozen=True)
class Tested:
    """What a training gave that meets the test.

    Attributes:
        result: As of any other.
        predictions: What it predicted of the test's cases, ``(M, ...)``.
    """

    result: Result
    predictions: NDArray[np.float64]


def judged(assignment: Assignment, trained: Trained) -> Result | DivergedError:
    """Value a training by its loss on the cases that had no part in it."""
    result = _result(trained)
    if not math.isfinite(result.loss):
        return DivergedError(len(result.val), "judged", result.loss)
    return result


def tested(assignment: Assignment, trained: Trained) -> Tested:
    """Value a training by what it predicts of the test."""
    return Tested(_result(trained), trained.predict(assignment.split.judged))


def _result(trained: Trained) -> Result:
    """Return what the study keeps of a training."""
    fit = trained.result
    return Result(
        val_loss=fit.val_loss,
        train_loss=fit.train_loss,
        best_epoch=fit.best_epoch,
        stopped=fit.stopped,
        train=[float(f"{epoch.train_loss:.5g}") for epoch in fit.history],
        val=[float(f"{epoch.val_loss:.5g}") for epoch in fit.history],
        seconds=round(fit.seconds, 4),
        loss=float(trained.judged_losses().mean()),
        columns=_columns(trained),
    )


#: Of more columns nobody looks at each.
_MOST_COLUMNS = 100


def _columns(trained: Trained) -> list[float] | None:
    weights = trained.column_weights()
    if weights is None or len(weights) > _MOST_COLUMNS:
        return None
    return [float(f"{weight:.4g}") for weight in weights]
