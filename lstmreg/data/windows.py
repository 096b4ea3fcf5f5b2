"""Cuts a series into windows, and scales them by what the training rows show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
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
    def fit(cls, rows: NDArray[np.float64]) -> Scaler:
        """Fit on ``rows (N,)`` or ``(N, D)``."""
        spread = rows.std(axis=0)
        # The standard deviation of a constant such as 0.1 is not quite zero, so the range decides as well.
        varies = (np.ptp(rows, axis=0) > 0) & (spread > 0)
        return cls(rows.mean(axis=0), np.where(varies, spread, 1.0))

    def scaled(self, rows: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return ``rows`` with the training rows' mean at 0 and standard deviation 1."""
        return ((rows - self.mean) / self.scale).astype(np.float32)

    def unscaled(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return scaled rows in their own units."""
        return rows.astype(np.float64) * self.scale + self.mean


@dataclass(frozen=True)
class Windows:
    """Inputs ``(N, T, D)`` and targets ``(N, O)``, float32, scaled; window ``n`` forecasts row ``rows[n]`` on."""

    inputs: NDArray[np.float32]
    targets: NDArray[np.float32]
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Windower:
    """Knows the window, the horizon, and the scalers that a training part has fixed."""

    window: int
    horizon: int
    inputs: Scaler
    target: Scaler

    @classmethod
    def fit(cls, series: Series, train_rows: int, window: int, horizon: int) -> Windower:
        """Fit the scalers on the first ``train_rows`` rows."""
        return cls(window, horizon, Scaler.fit(series.inputs[:train_rows]), Scaler.fit(series.target[:train_rows]))

    def cut(self, series: Series, start: int, stop: int) -> Windows:
        """Cut every window whose targets all lie in rows ``[start, stop)``.

        Its inputs are the ``window`` rows before the first target, which may lie before ``start``: the past
        is known when a forecast is made.
        """
        rows = np.arange(max(start, self.window), stop - self.horizon + 1)
        x, y = self.inputs.scaled(series.inputs), self.target.scaled(series.target)
        return Windows(
            inputs=x[rows[:, None] + np.arange(-self.window, 0)],
            targets=y[rows[:, None] + np.arange(self.horizon)],
            rows=rows,
        )
