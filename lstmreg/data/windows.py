"""Cuts a series into windows, differenced if asked for, and scales them by what the training rows show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from .table import Series


@dataclass(frozen=True)
class Scaler:
    """Mean and standard deviation of each column over the training rows; nothing else is ever looked at.

    A column that is constant there has scale 1, so that it becomes zero and not 0/0.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]

    @classmethod
    def fit(cls, rows: NDArray[np.float64], rounding: float | NDArray[np.float64] = 0.0) -> Scaler:
        """Fit on ``rows (N,)`` or ``(N, D)``; what varies by no more than ``rounding`` counts as constant."""
        spread = rows.std(axis=0)
        # The standard deviation of a constant such as 0.1 is not quite zero, so the range decides as well.
        varies = (np.ptp(rows, axis=0) > rounding) & (spread > 0)
        return cls(rows.mean(axis=0), np.where(varies, spread, 1.0))

    def scaled(self, rows: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return ``rows`` with the training rows' mean at 0 and standard deviation 1."""
        return ((rows - self.mean) / self.scale).astype(np.float32)

    def unscaled(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return scaled rows in their own units."""
        return rows.astype(np.float64) * self.scale + self.mean


def last_known(values: NDArray[np.float64], rows: NDArray[np.int64], horizon: int, lag: int) -> NDArray[np.float64]:
    """Return, for each step of the forecasts from ``rows`` on, the value ``lag`` steps before it, ``(N, O)``.

    A step that is further ahead than that takes as many lags as bring it before the forecast's first step.
    """
    ahead = np.arange(horizon)
    known: NDArray[np.float64] = values[rows[:, None] + ahead - lag * (ahead // lag + 1)]
    return known


@dataclass(frozen=True)
class Windows:
    """Inputs ``(N, T, D)`` and targets ``(N, O)``, float32, scaled; window ``n`` forecasts row ``rows[n]`` on.

    Neighbouring windows are views of one series, so do not write into them.
    """

    inputs: NDArray[np.float32]
    targets: NDArray[np.float32]
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Windower:
    """Knows the window, the horizon, and what a training part has fixed.

    Where ``lag`` is not zero, the target is differenced: the network learns how much each step differs from the last
    known value whole lags before it, and reads the target's own past (if it is among the inputs) as the difference
    from ``lag`` rows before. Other inputs stay as they are.
    """

    window: int
    horizon: int
    inputs: Scaler
    target: Scaler
    lag: int = 0

    @property
    def past(self) -> int:
        """How many rows must lie before a forecast's first step."""
        return self.window + self.lag

    @classmethod
    def fit(cls, series: Series, train_rows: int, window: int, horizon: int, lag: int = 0) -> Windower:
        """Fit the scalers on the first ``train_rows`` rows."""
        inputs, target = _inputs(series, lag)[lag:train_rows], series.target[:train_rows]
        if lag == 0:
            return cls(window, horizon, Scaler.fit(inputs), Scaler.fit(target))
        first_steps = np.arange(lag, train_rows - horizon + 1)
        changes = target[first_steps[:, None] + np.arange(horizon)] - last_known(target, first_steps, horizon, lag)
        # The changes of a straight line are one constant, but for the rounding of what was subtracted.
        rounding = 8 * np.finfo(np.float64).eps * np.abs(target).max()
        return cls(
            window,
            horizon,
            Scaler.fit(inputs, np.where(_are_target(series), rounding, 0.0)),
            Scaler.fit(changes.ravel(), rounding),
            lag,
        )

    def cut(self, series: Series, start: int, stop: int) -> Windows:
        """Cut every window whose targets all lie in rows ``[start, stop)``.

        Its inputs are the ``window`` rows before the first target, which may lie before ``start``: the past
        is known when a forecast is made.
        """
        first = max(start, self.past)
        rows = np.arange(first, max(first, stop - self.horizon + 1))
        return Windows(self.before(series, rows), self._targets(series, rows), rows)

    def before(self, series: Series, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the inputs ``(N, T, D)`` of forecasts from ``rows`` on, scaled: the window before each.

        The rows are neighbours, each with :attr:`past` rows before it; the last may be the one after the series' end.
        """
        x = self.inputs.scaled(_inputs(series, self.lag))
        windows = sliding_window_view(x, self.window, axis=0, writeable=True).transpose(0, 2, 1)
        return windows[rows[0] - self.window :][: len(rows)] if len(rows) else windows[:0]

    def _targets(self, series: Series, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        if self.lag == 0:
            ahead = sliding_window_view(self.target.scaled(series.target), self.horizon, writeable=True)
            return ahead[rows[0] :][: len(rows)] if len(rows) else ahead[:0]
        return self.scaled(series, rows, series.target[rows[:, None] + np.arange(self.horizon)])

    def scaled(self, series: Series, rows: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return values ``(N, O)`` of the target, from ``rows`` on, as the network is to give them."""
        return self.target.scaled(
            values - last_known(series.target, rows, self.horizon, self.lag) if self.lag else values
        )

    def unscaled(self, series: Series, rows: NDArray[np.int64], outputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return what the network gives ``(N, O)``, from ``rows`` on, as values of the target in its own units."""
        values = self.target.unscaled(outputs)
        return values + last_known(series.target, rows, self.horizon, self.lag) if self.lag else values


def _inputs(series: Series, lag: int) -> NDArray[np.float64]:
    """Return the inputs, with the target's own past differenced; its first ``lag`` rows then are NaN."""
    if lag == 0 or not _are_target(series).any():
        return series.inputs
    inputs = series.inputs.copy()
    inputs[:lag, _are_target(series)] = np.nan
    inputs[lag:, _are_target(series)] = (series.target[lag:] - series.target[:-lag])[:, None]
    return inputs


def _are_target(series: Series) -> NDArray[np.bool_]:
    """Tell for each input column whether it is the target's own past."""
    return np.array([name == series.target_name for name in series.features])
