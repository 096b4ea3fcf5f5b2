"""Finds the season of a series: the lag at which it resembles itself most, once its trend is taken off."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .sighting import Season

#: So many seasons must have passed, or nothing is known of them.
_LEAST_SEASONS = 3

#: A correlation below is not worth a word, however many rows there are.
_LEAST = 0.2

#: The same where any lag may be one, of which some look like a season by chance.
_LEAST_OF_MANY = 0.35

#: Over m seasons, chance alone gives correlations of about 1 / sqrt(m): a random walk has waves too. What is asked for
#: is this many times as much, where the lag is known and where it is not.
_TIMES_CHANCE, _TIMES_CHANCE_OF_MANY = 1.2, 1.8

#: Where nothing is known of the step, lags up to here are tried.
_LONGEST = 60

#: More rows than this say nothing more; the last ones are looked at.
_MOST_ROWS = 100_000

#: Of two lags nearly as good the shorter one is the season, and the other perhaps its multiple.
_NEARLY = 0.9


def season_of(values: NDArray[np.float64], lags: Sequence[int]) -> Season | None:
    """Return the season of a series, if it has one.

    For each lag the trend is the mean over one such stretch around every row; what is left is correlated with itself
    one lag before.

    Args:
        values: ``(N,)`` in order of time; a missing one is filled in between its neighbours.
        lags: Those that make sense. Where there are none, all up to 60 are tried, and more is asked of them.
    """
    series = _filled(values[-_MOST_ROWS:])
    if series is None:
        return None
    tried = [lag for lag in lags or range(3, _LONGEST + 1) if len(series) >= _LEAST_SEASONS * lag]
    found = {lag: correlation(series, lag) for lag in tried}
    found = {lag: value for lag, value in found.items() if value >= _least(len(series) / lag, bool(lags))}
    if not found:
        return None
    enough = _NEARLY * max(found.values())
    lag = min(lag for lag, value in found.items() if value >= enough)
    if not lags:  # its neighbours resemble it, and one of them may be it
        lag = max(range(lag, lag + 1 + lag // 5), key=lambda near: found.get(near, 0.0))
    return Season(lag, found[lag], {other: value for other, value in found.items() if lags and other != lag})


def _least(seasons: float, is_known: bool) -> float:
    """Return the correlation that chance hardly gives."""
    least, times = (_LEAST, _TIMES_CHANCE) if is_known else (_LEAST_OF_MANY, _TIMES_CHANCE_OF_MANY)
    return max(least, times / float(np.sqrt(seasons - 1)))


def correlation(series: NDArray[np.float64], lag: int) -> float:
    """Return the correlation of ``(N,)`` with itself ``lag`` rows before, without its trend; 0 where nothing varies."""
    rest = _without_trend(series, lag)
    before, after = rest[:-lag], rest[lag:]
    if len(after) < 2:
        return 0.0
    before, after = before - before.mean(), after - after.mean()
    scale = float(np.sqrt((before**2).sum() * (after**2).sum()))
    # What is left of a straight line is rounding.
    if scale <= 1e-18 * len(after) * float(np.abs(series).max()) ** 2:
        return 0.0
    return float((before * after).sum() / scale)


def _without_trend(series: NDArray[np.float64], lag: int) -> NDArray[np.float64]:
    """Return what the mean over one season around each row leaves; of an even one both ends count half."""
    weights = np.ones(lag) if lag % 2 else np.array([0.5, *[1.0] * (lag - 1), 0.5])
    sums = np.concatenate([[0.0], np.cumsum(series)])
    wide = len(weights)
    means = sums[wide:] - sums[:-wide]
    half = wide // 2
    middle = series[half : len(series) - half]
    if lag % 2 == 0:
        means = means - 0.5 * (series[: len(series) - wide + 1] + series[wide - 1 :])
    rest: NDArray[np.float64] = middle - means / lag
    return rest


def _filled(values: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return a series without gaps and around zero, or nothing if too little of it is there."""
    present = ~np.isnan(values)
    if present.sum() < max(8, len(values) / 2):
        return None
    rows = np.arange(len(values))
    series = np.interp(rows, rows[present], values[present])
    series = series - series.mean()
    scale = float(np.abs(series).max())
    return series / scale if scale > 0 else None
