"""Errors that readers of a field look at, in the units of what is predicted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def mean_absolute_error(predictions: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    """Return the mean distance from the truth."""
    return float(np.abs(predictions - truth).mean())


def root_mean_square_error(predictions: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    """Return the root of the mean squared distance from the truth."""
    return float(np.sqrt(np.square(predictions - truth).mean()))


def mean_absolute_scaled_error(
    predictions: NDArray[np.float64], truth: NDArray[np.float64], naive: NDArray[np.float64]
) -> float:
    """Return the mean distance from the truth in units of the naive errors; NaN of these are left out.

    Shape:
        ``naive`` can be broadcast to the others' shape.
    """
    scaled = np.abs(predictions - truth) / naive
    return float(np.nanmean(scaled)) if not np.isnan(scaled).all() else float("nan")
