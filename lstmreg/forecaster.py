"""A network with what it needs to forecast a table in the table's own units, saved and loaded as one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lstmreg import models
from lstmreg.data.given import Question as Question
from lstmreg.data.given import Reader
from lstmreg.data.given import Table as Table
from lstmreg.data.table import READING, Series
from lstmreg.data.windows import Scaler, Scales, Windower
from lstmreg.models import Ensemble, Network


@dataclass(frozen=True, eq=False)
class Forecaster:
    """Forecasts a table: scales it, differences it where the network learned changes, and undoes both.

    ``lstmreg fit`` and ``lstmreg search`` save one; :func:`lstmreg.load` returns it.

    Args:
        network: Reads windows ``(B, T, D)``, scaled, and returns ``(B, O)``.
        features: Names of its input columns, D.
        target: Name of the column that it forecasts, or names of several, P.
        windower: Window, horizon, difference, and the scales that the training rows gave.
        reading: How a file like that of the training is read: settings of :class:`DataConfig` by name.
        val_loss: Of the training, if known.
        question: What is read beside: the column of groups, and what is known in advance.

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
    target: str | tuple[str, ...]
    windower: Windower
    reading: Mapping[str, Any] = field(default_factory=dict)
    val_loss: float | None = None
    question: Question = field(default_factory=Question)

    def __post_init__(self) -> None:
        sizes = {
            "input_size": (self.network.input_size, len(self.features) + self.question.width),
            "output_size": (self.network.output_size, self.windower.horizon * len(self.targets)),
            "number of scales": (self.windower.inputs.scale.size, len(self.features) + self.question.width),
            "number of the target's scales": (self.windower.target.scale.size, len(self.targets)),
        }
        for name, (got, expected) in sizes.items():
            if got != expected:
                raise ValueError(f"{name} must be {expected}, as the columns and the horizon are, got {got}.")
        if self.network.config.stateful:
            raise ValueError("a forecaster's network must not be stateful: each window begins with zeros.")

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the columns that it forecasts, P."""
        return (self.target,) if isinstance(self.target, str) else self.target

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of numbers that a table must have, in the order of an array's.

        The inputs; the targets, if changes are to be added to their last known values, or if something is known in
        advance, so that rows without a target are those to forecast; and what is known in advance.
        """
        return self._reader.columns

    def predict(self, table: Table) -> NDArray[np.float64]:
        """Forecast the steps after a table's last row, or after the last one that has a target.

        Args:
            table: Rows in their own units, oldest first: the path of a file; a mapping or data frame with the
                :attr:`columns` among its own; or an array ``(N, columns)`` in their order, ``(N,)`` for a single one.
                Where columns are known in advance, it goes on with them for the steps of the horizon, and the target
                there is empty, or NaN. The calendar goes on by itself.

        Shape:
            ``(O,)``, in the targets' own units: step by step, each with all targets. Of a model of several groups
            ``(G, O)``, in the order in which the groups first come in the table.

        Raises:
            DataError: If a column is missing, a value is not finite, or the rows are too few for a window; if a group
                was not there in training and each has its own scale.
        """
        return self._predicted(table)[1]

    def predict_by_group(self, table: Table) -> dict[str, NDArray[np.float64]]:
        """Forecast as :meth:`predict`, each group by its name."""
        series, forecasts = self._predicted(table)
        return dict(zip(series.groups.names, np.atleast_2d(forecasts), strict=True))

    def _predicted(self, table: Table) -> tuple[Series, NDArray[np.float64]]:
        series = self._reader.with_future(self._series(table))
        after_the_last = self.forecast_from(series, series.groups.ends)
        return series, after_the_last[0] if self.question.group is None else after_the_last

    def historical_forecasts(
        self, table: Table, start: int = 0, stop: int | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Forecast from each row of a table on, as if it and all after it were not known yet.

        Args:
            table: As for :meth:`predict`.
            start: The first row to forecast from, counted from 0. Default: the first with a whole window before it,
                as wherever ``start`` has none.
            stop: The row after the last one to forecast from. Default: that after the table's end is the last.

        Of several groups, rows are counted group by group, in the order of :meth:`predict`. Where columns are known in
        advance, the forecasts end where the table has them for all steps.

        Returns:
            The rows ``(N,)`` at which the forecasts begin, and the forecasts ``(N, O)``.

        Raises:
            DataError: As :meth:`predict`.
        """
        series = self._series(table)
        groups, past = series.groups, self.windower.past
        edges = groups.starts.tolist()
        lasts = (
            np.minimum(groups.ends, groups.starts[1:] - self.windower.horizon) if self.question.future else groups.ends
        )
        rows = np.concatenate([np.arange(a + past, max(a + past, b + 1)) for a, b in zip(edges, lasts, strict=False)])
        rows = rows[(rows >= start) & (rows < (len(series) + 1 if stop is None else stop))]
        return rows, self.forecast_from(series, rows)

    def forecast_from(self, series: Series, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Forecast ``(N, O)`` from some rows of a series on, each with a whole window of its group before it."""
        windows = torch.from_numpy(self.windower.before(series, rows))
        return self.windower.unscaled(series, rows, models.outputs(self.network, windows).numpy())

    @property
    def _reader(self) -> Reader:
        windower, needed = self.windower, self.windower.lag > 0 or self.question.future
        targets = [name for name in self.targets if needed or name in self.features]
        return Reader(
            self.features,
            self.targets if needed else tuple(targets),
            windower.past,
            windower.horizon,
            self.question,
            self.reading,
        )

    def _series(self, table: Table) -> Series:
        """Return a table as a series; its targets are those of the model only as far as they are needed."""
        windower = self.windower
        before = f" and {windower.lag} rows before it" if windower.lag else ""
        return self._reader.series(table, f"a window of {windower.window}{before}")

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Write ``model.json`` and ``model.safetensors`` into a folder, which is made if there is none."""
        models.save(directory, self.network, self.about())

    def about(self) -> dict[str, Any]:
        """Return what ``model.json`` says beside the network: the columns, their scales, how its numbers are meant."""
        windower, question = self.windower, self.question
        about: dict[str, Any] = {
            "features": list(self.features),
            "target": self.target if isinstance(self.target, str) else list(self.target),
            "window": windower.window,
            "horizon": windower.horizon,
            **_written(Scales(windower.inputs, windower.target)),
            "reading": dict(self.reading),
            "val_loss": self.val_loss,
        }
        if windower.lag:
            own_past = [name for name in self.features if name in self.targets]
            use = _use_of_differences(own_past, windower.lag)
            about["difference"] = {"lag": windower.lag, "inputs": own_past, "use": use}
        if question.future:
            use = f"behind the features go in, of the row {windower.horizon} rows later: known_future, then calendar"
            about["future"] = {
                "known_future": list(question.known_future),
                "calendar": list(question.calendar),
                "use": use,
            }
        if question.group is not None:
            about["group"] = question.group
        if windower.by_group:
            about["by_group"] = {name: _written(scales) for name, scales in windower.by_group.items()}
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
        several = not isinstance(about["target"], str)
        names = tuple(_texts("target", about["target"] if several else [about["target"]]))
        common = _scales(about, several)
        by_group = {group: _scales(written, several) for group, written in about.get("by_group", {}).items()}
        if any(_sizes(scales) != _sizes(common) for scales in by_group.values()):
            raise ValueError("the scales of all groups must be of the same columns.")
        reading = {name: value for name, value in about.get("reading", {}).items() if name in READING}
        features = tuple(_texts("features", about["features"]))
        windower = Windower(counts["window"], counts["horizon"], *common, lag, by_group)
        future = about.get("future", {"known_future": [], "calendar": []})
        question = Question(
            tuple(_texts("known_future", future["known_future"])),
            tuple(_texts("calendar", future["calendar"])),
            about.get("group"),
        )
        target = names if several else names[0]
        forecaster = cls(network, features, target, windower, reading, about.get("val_loss"), question)
        forecaster._reader.config("")  # whose rules the reading keeps, or this is where it says so
        return forecaster


def _written(scales: Scales) -> dict[str, Any]:
    parts = {"inputs": scales.inputs, "outputs": scales.target}
    return {name: {"mean": one.mean.tolist(), "scale": one.scale.tolist()} for name, one in parts.items()}


def _scales(written: Mapping[str, Any], several: bool) -> Scales:
    return Scales(_scaler("inputs", written["inputs"], 1), _scaler("outputs", written["outputs"], int(several)))


def _sizes(scales: Scales) -> tuple[int, int]:
    return scales.inputs.scale.size, scales.target.scale.size


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


def _use_of_differences(own_past: list[str], lag: int) -> str:
    """Say what a reader of ``model.json`` must know where the target was differenced."""
    before = "the row before" if lag == 1 else f"{lag} rows before"
    goes_in = f"column {own_past[0]!r} goes in as its change from {before}. " if own_past else ""
    if len(own_past) > 1:
        goes_in = f"columns {', '.join(map(repr, own_past))} go in as their changes from {before}. "
    known = (
        "the last known value of the target, for each step of the horizon"
        if lag == 1
        else f"the target's value {lag} rows before that step, or as many times {lag} as it takes to be known by then"
    )
    return f"{goes_in}What comes out is a change: times scale plus mean, it is what to add to {known}"
