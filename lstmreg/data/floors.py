"""What a forecast must beat: predictions that need no model, from earlier rows alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .table import Series
from .windows import last_known


def floor_predictions(
    series: Series, origin: int, rows: NDArray[np.int64], horizon: int, season: int | None
) -> dict[str, NDArray[np.float64]]:
    """Forecast ``horizon`` steps from each of ``rows`` without a model, from earlier rows of its group alone.

    Args:
        series: The series.
        origin: The moment before which the mean may look; of a single series, the number of its first rows.
        rows: The first target row of each window, ``(N,)``.
        horizon: Steps ahead.
        season: Length of a season in steps, or ``None``.

    Returns:
        Predictions ``(N, O)`` in the targets' own units: ``mean`` of the rows before the origin; of a group that has
        none, of all groups' rows; ``persistence`` (the last value); ``drift`` (on from the last value, as the group
        has risen on average since its first row); and, with a season that at least one group has behind all of its
        forecasts, ``seasonal`` (the value one season ago, or as many seasons as it takes to be in the past; of a group
        that is too short for it, the last value).
    """
    y, groups = series.targets, series.groups
    group = groups.of(rows - 1)
    behind = rows - groups.starts[group]
    last = y[rows - 1]
    ahead = np.arange(1, horizon + 1)[:, None]
    slope = (last - y[groups.starts[group]]) / np.maximum(behind - 1, 1)[:, None]
    steps = np.broadcast_to(last[:, None], (len(rows), horizon, y.shape[1]))
    floors = {
        "mean": np.broadcast_to(_means(series, origin)[group][:, None], steps.shape),
        "persistence": steps,
        "drift": steps + ahead * slope[:, None],
    }
    if season is not None:
        shortest = np.full(len(groups), np.iinfo(np.int64).max)
        np.minimum.at(shortest, group, behind)
        has_season = season <= shortest[group]
        if has_season.any():
            seasonal = steps.copy()
            seasonal[has_season] = last_known(y, rows[has_season], horizon, season)
            floors["seasonal"] = seasonal
    return {
        name: np.array(predictions).reshape(len(rows), horizon * y.shape[1]) for name, predictions in floors.items()
    }


def _means(series: Series, origin: int) -> NDArray[np.float64]:
    """Return the means of each group's rows before a moment, ``(G, P)``."""
    groups = series.groups
    pairs = list(zip(groups.starts.tolist(), groups.before(origin).tolist(), strict=False))
    columns = np.ascontiguousarray(series.targets.T)
    common = [np.concatenate([column[a:b] for a, b in pairs]).mean() for column in columns]
    return np.array([[column[a:b].mean() for column in columns] if b > a else common for a, b in pairs])


def naive_errors(series: Series, origin: int) -> NDArray[np.float64]:
    """Return the mean absolute change from row to row before a moment, of each group and target, ``(G, P)``.

    What forecasts are compared with by the mean absolute scaled error. NaN where a group has fewer than two rows, or
    where nothing changes.

    References:
        Hyndman & Koehler (2006), Another look at measures of forecast accuracy.
    """
    groups = series.groups
    found = np.full((len(groups), series.targets.shape[1]), np.nan)
    for k, (a, b) in enumerate(zip(groups.starts.tolist(), groups.before(origin).tolist(), strict=False)):
        if b - a > 1:
            found[k] = np.abs(np.diff(series.targets[a:b], axis=0)).mean(axis=0)
    return np.where(found > 0, found, np.nan)
