"""A network with what it needs to forecast a table in the table's own units, saved and loaded as one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from lstmreg import models
from lstmreg.config import DataConfig
from lstmreg.data.ahead import times_ahead
from lstmreg.data.sources.door import open_table
from lstmreg.data.table import READING, Series, read_series
from lstmreg.data.windows import Scaler, Windower
from lstmreg.errors import DataError, did_you_mean
from lstmreg.interop.raw import Differences, Raw
from lstmreg.intervals import Calibration
from lstmreg.models import Ensemble, Network
from lstmreg.predictions import STEP, Predictions, free_heading
from lstmreg.predictive import Predictive, number_columns

#: A CSV file by its path; columns by their names, as in a dict or a data frame; or an array ``(N, columns)``.
Table = str | os.PathLike[str] | Mapping[str, ArrayLike] | ArrayLike


@dataclass(frozen=True, eq=False)
class Forecaster:
    """Forecasts a table: scales it, differences it where the network learned changes, and undoes both.

    ``lstmreg fit`` and ``lstmreg search`` save one; :func:`lstmreg.load` returns it.

    Args:
        network: Reads windows ``(B, T, D)``, scaled, and returns ``(B, O)``.
        features: Names of its input columns, D.
        target: Name of the column that it forecasts.
        windower: Window, horizon, difference, and the scales that the training rows gave.
        reading: How a file like that of the training is read: settings of :class:`DataConfig` by name.
        val_loss: Of the training, if known.
        calibration: What intervals are made of, if known: a score for each step ahead.

    Raises:
        ValueError: If the network has other sizes, or is stateful: each window begins with zeros.

    Example:
        >>> import numpy as np
        >>> from lstmreg import ModelConfig
        >>> scaler, target = Scaler(np.zeros(2), np.ones(2)), Scaler(np.array(5.0), np.array(2.0))
        >>> network = Network(ModelConfig(hidden_size=8), input_size=2, output_size=3).eval()
        >>> forecaster = Forecaster(network, ("price", "sales"), "sales", Windower(12, 3, scaler, target))
        >>> forecaster.predict({"price": np.ones(20), "sales": np.arange(20.0)}).shape
        (3,)
    """

    network: Network | Ensemble
    features: tuple[str, ...]
    target: str
    windower: Windower
    reading: Mapping[str, Any] = field(default_factory=dict)
    val_loss: float | None = None
    calibration: Calibration | None = None

    def __post_init__(self) -> None:
        sizes = {
            "input_size": (self.network.input_size, len(self.features)),
            "output_size": (self.network.output_size, self.windower.horizon),
            "number of scales": (self.windower.inputs.scale.size, len(self.features)),
        }
        for name, (got, expected) in sizes.items():
            if got != expected:
                raise ValueError(f"{name} must be {expected}, as the columns and the horizon are, got {got}.")
        if self.calibration is not None:
            self.calibration.check_size(self.windower.horizon)
        if self.network.config.stateful:
            raise ValueError("a forecaster's network must not be stateful: each window begins with zeros.")

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns that a table must have, in the order of an array's.

        The inputs; and the target, if it is none of them and changes are to be added to its last known values.
        """
        needs_target = self.windower.lag > 0 and self.target not in self.features
        return (*self.features, self.target) if needs_target else self.features

    def predict(self, table: Table) -> NDArray[np.float64]:
        """Forecast the steps after a table's last row.

        Args:
            table: Rows in their own units, oldest first: the path of a CSV file; a mapping or data frame with the
                :attr:`columns` among its own; or an array ``(N, columns)`` in their order, ``(N,)`` for a single one.

        Shape:
            ``(O,)``, in the target's own units.

        Raises:
            DataError: If a column is missing, a value is not finite, or the rows are too few for a window.
        """
        series = self._series(table)
        after_the_last: NDArray[np.float64] = self.forecast_from(series, np.array([len(series)]))[0]
        return after_the_last

    def historical_forecasts(
        self, table: Table, start: int = 0, stop: int | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Forecast from each row of a table on, as if it and all after it were not known yet.

        Args:
            table: As for :meth:`predict`.
            start: The first row to forecast from, counted from 0. Default: the first with a whole window before it,
                as wherever ``start`` has none.
            stop: The row after the last one to forecast from. Default: that after the table's end is the last.

        Returns:
            The rows ``(N,)`` at which the forecasts begin, and the forecasts ``(N, O)``.

        Raises:
            DataError: As :meth:`predict`.
        """
        series = self._series(table)
        end = len(series) + 1
        first = max(start, self.windower.past)
        rows = np.arange(first, max(first, end if stop is None else min(stop, end)))
        return rows, self.forecast_from(series, rows)

    def forecast_from(self, series: Series, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Forecast ``(N, O)`` from neighbouring ``rows`` of a series on, each with a whole window before it."""
        windows = torch.from_numpy(self.windower.before(series, rows))
        return self.windower.unscaled(series, rows, models.outputs(self.network, windows).numpy())

    def predictions(
        self,
        source: Table,
        *,
        history: bool = False,
        samples: int = 0,
        seed: int = 0,
        confidence: float | None = None,
    ) -> Predictions:
        """Forecast as :meth:`predict` does, as a table with times and intervals.

        Args:
            source: As for :meth:`predict`.
            history: Whether to forecast from each row with a window before it too, as if it were not known yet.
            samples: So many times with masks drawn anew: their mean is the forecast, their quantiles the interval. 0:
                without masks; the interval then comes of the validation cases, if the model has been calibrated.
            seed: Decides the masks.
            confidence: Of the intervals. Default: 0.95, where there are enough validation cases for it.

        Raises:
            ConfigError: If the model has no dropout to draw masks of, or too few cases for such a confidence.
            DataError: As :meth:`predict`.
        """
        series = self._series(source, with_target=history)
        first = self.windower.past if history else len(series)
        rows = np.arange(first, len(series) + 1)
        found = Predictive(self.network, self.calibration, samples, seed, confidence).numbers(
            torch.from_numpy(self.windower.before(series, rows)),
            None,
            lambda outputs, part: self.windower.unscaled(series, rows[part], outputs),
        )
        horizon = self.windower.horizon
        numbers, (band,) = number_columns([self.target], found.in_one_column())
        steps_ahead = np.tile(np.arange(1, horizon + 1), len(rows))
        columns: dict[str, NDArray[Any]] = {free_heading(STEP, numbers): steps_ahead} if horizon > 1 else {}
        columns |= numbers
        steps = (rows[:, None] + np.arange(horizon)).ravel()
        if history and series.target_name == self.target:
            band = replace(band, truth=f"{self.target}_true")
            truth = np.append(series.target, np.full(horizon, np.nan))
            columns[f"{self.target}_true"] = truth[steps]
        times, notes = _times(series, horizon)
        names = tuple(times[step] for step in steps.tolist())
        heading = self.reading.get("time") if series.labels else None
        return Predictions(names, columns, heading or "row", (band,), notes=(*notes, *found.notes), in_time=True)

    def raw(self) -> Raw:
        """Return the network with its scales as one module, which takes windows of a table's own values.

        Windows are ``(B, T, columns)``; where changes were learned, with the rows before them that these take.
        """
        windower = self.windower
        differences = None
        if windower.lag:
            own_past = [name for name in self.features if name == self.target]
            columns = tuple(n for n, name in enumerate(self.features) if name == self.target)
            known = columns[0] if columns else None
            use = _use_of_differences(own_past, windower.lag, is_scaled=False)
            differences = Differences(windower.lag, columns, known, use)
        about = {
            "task": "forecast",
            "features": list(self.features),
            "target": self.target,
            "steps": windower.past if differences is not None and differences.known is not None else windower.window,
            "horizon": windower.horizon,
        }
        scaler = windower.inputs
        mean, scale = (
            np.broadcast_to(values, windower.horizon) for values in (windower.target.mean, windower.target.scale)
        )
        return Raw(self.network, scaler.mean, scaler.scale, mean, scale, differences=differences, about=about)

    def calibrated(self, calibration: Calibration) -> Forecaster:
        """Return the same with intervals."""
        return replace(self, calibration=calibration)

    def _series(self, table: Table, *, with_target: bool = False) -> Series:
        """Return a table as a series; its target is that of the model only where :attr:`columns` have it.

        Or where it is asked for, and a file has it.
        """
        if isinstance(table, (str, os.PathLike)):
            config = self._data(os.fspath(table))
            opened = open_table(config)
            if with_target and self.target in opened.header:
                config = replace(config, target=self.target)
            series = read_series(config, opened)
        else:
            values = self._values(table)
            target = values[:, self.columns.index(self._target)]
            inputs = values[:, : len(self.features)]
            series = Series("the table", "", self.features, self._target, inputs, target, (), ())
        if len(series) < self.windower.past:
            before = f" and {self.windower.lag} rows before it" if self.windower.lag else ""
            raise DataError(
                f"{series.path}: {len(series)} rows are too few; the model needs {self.windower.past} to forecast the "
                f"next (a window of {self.windower.window}{before})."
            )
        return series

    @property
    def _target(self) -> str:
        return self.target if self.target in self.columns else self.columns[0]

    def _data(self, path: str) -> DataConfig:
        return DataConfig(path, self._target, list(self.features), **self.reading)

    def _values(self, table: Mapping[str, ArrayLike] | ArrayLike) -> NDArray[np.float64]:
        """Return the columns ``(N, columns)`` of a table that is no file."""
        names = table if isinstance(table, Mapping) else getattr(table, "columns", None)  # those of a data frame
        values = _numbers(table) if names is None else self._by_name(table, list(names))
        if values.ndim == 1 and len(self.columns) == 1:
            values = values[:, None]
        if values.ndim != 2 or values.shape[1] != len(self.columns):
            expected = f"(N, {len(self.columns)}), the columns {', '.join(self.columns)}"
            raise DataError(f"the table must have shape {expected}, got {values.shape}.")
        too_large = ~(np.abs(values) <= np.finfo(np.float32).max)
        if too_large.any():
            row, column = np.argwhere(too_large)[0]
            raise DataError(
                f"the table must be finite in float32, got {values[row, column]} in row {row}, column "
                f"{self.columns[column]!r}. Fill it, or leave the row out."
            )
        return values

    def _by_name(self, table: Any, names: list[Any]) -> NDArray[np.float64]:
        for column in self.columns:
            if column not in names:
                known = [str(name) for name in names]
                raise DataError(
                    f"the table has no column {column!r}, which the model reads; columns: "
                    f"{', '.join(known)}.{did_you_mean(column, known)}"
                )
        columns = [_numbers(table[name]) for name in self.columns]
        if len({column.shape for column in columns}) > 1:
            lengths = ", ".join(f"{name} {column.shape}" for name, column in zip(self.columns, columns, strict=True))
            raise DataError(f"the columns must be equally long, got {lengths}.")
        return np.stack(columns, axis=-1)

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Write ``model.json`` and ``model.safetensors`` into a folder, which is made if there is none."""
        models.save(directory, self.network, self.about())

    def about(self) -> dict[str, Any]:
        """Return what ``model.json`` says beside the network: the columns, their scales, how its numbers are meant."""
        windower = self.windower
        about = {
            "features": list(self.features),
            "target": self.target,
            "window": windower.window,
            "horizon": windower.horizon,
            "inputs": {"mean": windower.inputs.mean.tolist(), "scale": windower.inputs.scale.tolist()},
            "outputs": {"mean": float(windower.target.mean), "scale": float(windower.target.scale)},
            "reading": dict(self.reading),
            "val_loss": self.val_loss,
        }
        if self.calibration is not None:
            about["calibration"] = self.calibration.about()
        if windower.lag:
            own_past = [name for name in self.features if name == self.target]
            use = _use_of_differences(own_past, windower.lag)
            about["difference"] = {"lag": windower.lag, "inputs": own_past, "use": use}
        return about

    @classmethod
    def restored(cls, network: Network | Ensemble, about: Mapping[str, Any]) -> Forecaster:
        """Make the forecaster whose :meth:`about` is given.

        Raises:
            KeyError, TypeError, ValueError: If it is not what :meth:`about` returns.
        """
        lag = about.get("difference", {"lag": 0})["lag"]
        counts = {"window": about["window"], "horizon": about["horizon"], "lag": lag}
        for name, count in counts.items():
            if type(count) is not int or count < (name != "lag"):
                raise ValueError(f"{name} must be a count, got {count!r:.40}.")
        inputs, target = (_scaler(name, about[name], axes) for name, axes in (("inputs", 1), ("outputs", 0)))
        reading = {name: value for name, value in about.get("reading", {}).items() if name in READING}
        if not all(type(value) in _READ[name] for name, value in reading.items()):
            raise TypeError(f"the reading is not understood: {reading!s:.80}.")
        features = tuple(_texts("features", about["features"]))
        (name,) = _texts("target", [about["target"]])
        windower = Windower(counts["window"], counts["horizon"], inputs, target, lag)
        calibration = Calibration.restored(about["calibration"]) if "calibration" in about else None
        forecaster = cls(network, features, name, windower, reading, about.get("val_loss"), calibration)
        forecaster._data("")  # whose rules the reading keeps, or this is where it says so
        return forecaster


def _times(series: Series, horizon: int) -> tuple[list[str], tuple[str, ...]]:
    """Return the times of a series and of the steps after it, and what must be said of these."""
    if not series.labels:  # of a table that is no file
        return [str(row) for row in range(len(series) + horizon)], ()
    ahead = times_ahead(series.labels, horizon)
    if ahead is not None:
        return [*series.labels, *ahead], ()
    steps = [f"+{step}" for step in range(1, horizon + 1)]
    note = f"The rows are not at regular times: {steps[0]} is the step after the last one, {series.labels[-1]}."
    return [*series.labels, *steps], (note,)


#: What the settings may be by which a file is read.
_READ: dict[str, tuple[type, ...]] = {name: (bool,) if name == "sort" else (str, type(None)) for name in READING}


def _scaler(name: str, written: Mapping[str, Any], axes: int) -> Scaler:
    mean, scale = (np.array(written[which], dtype=np.float64) for which in ("mean", "scale"))
    are_well = (
        mean.shape == scale.shape and mean.ndim == axes and np.isfinite([mean, scale]).all() and (scale > 0).all()
    )
    if not are_well:
        raise ValueError(f"the scales of the {name} must be finite and positive, one for each column.")
    return Scaler(mean, scale)


def _texts(name: str, written: Iterable[Any]) -> list[str]:
    texts = list(written)
    if not all(isinstance(text, str) for text in texts):
        raise TypeError(f"{name} must be names of columns, got {texts!r:.80}.")
    return texts


def _numbers(values: Any) -> NDArray[np.float64]:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(f"the table must hold numbers, got {str(values)[:80]!r}.") from None


def _use_of_differences(own_past: list[str], lag: int, *, is_scaled: bool = True) -> str:
    """Say what a reader of ``model.json`` must know where the target was differenced, or of a :class:`Raw` network."""
    before = "the row before" if lag == 1 else f"{lag} rows before"
    goes_in = f"column {own_past[0]!r} goes in as its change from {before}. " if own_past else ""
    known = (
        "the last known value of the target, for each step of the horizon"
        if lag == 1
        else f"the target's value {lag} rows before that step, or as many times {lag} as it takes to be known by then"
    )
    undone = "times scale plus mean, " if is_scaled else ""
    return f"{goes_in}What comes out is a change: {undone}it is what to add to {known}"
