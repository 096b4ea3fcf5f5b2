"""Losses case by case, in numpy: what a network is trained by, for whatever predicts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def losses_of_numbers(loss: str, predictions: NDArray[np.float64], truth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each case's mean over its numbers: squared, absolute, or Huber's with its bend at 1.

    Shape:
        ``(M, O)`` both, in scaled units; ``(M,)`` out.
    """
    error = np.abs(predictions - truth)
    if loss == "mae":
        each = error
    elif loss == "huber":
        each = np.where(error < 1, 0.5 * error * error, error - 0.5)
    else:
        each = error * error
    return np.asarray(each.mean(axis=1))
