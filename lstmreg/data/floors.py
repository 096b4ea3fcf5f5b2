"""What a forecast must beat: predictions that need no model, from earlier rows alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .table import Series
from .windows import last_known


def floor_predictions(
    series: Series, train_rows: int, rows: NDArray[np.int64], horizon: int, season: int | None
) -> dict[str, NDArray[np.float64]]:
    """Forecast ``horizon`` steps from each of ``rows`` without a model, from earlier rows alone.

    Args:
        series: The series.
        train_rows: How many first rows the mean may look at.
        rows: The first target row of each window, ``(N,)``.
        horizon: Steps ahead, O.
        season: Length of a season in steps, or ``None``.

    Returns:
        Predictions ``(N, O)`` in the target's own units: ``mean`` of the training rows, ``persistence``
        (the last value), and, with a season, ``seasonal`` (the value one season ago, or as many seasons as
        it takes to be in the past).
    """
    y = series.target
    floors = {
        "mean": np.full((len(rows), horizon), y[:train_rows].mean()),
        "persistence": np.repeat(y[rows - 1][:, None], horizon, axis=1),
    }
    if season is not None and season <= rows.min():
        floors["seasonal"] = last_known(y, rows, horizon, season)
    return floors
