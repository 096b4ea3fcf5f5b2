"""A network with what it needs to forecast a table in the table's own units, saved and loaded as one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lstmreg import models
from lstmreg.data.ahead import times_ahead
from lstmreg.data.reader import Question as Question
from lstmreg.data.reader import Reader
from lstmreg.data.reader import Table as Table
from lstmreg.data.sources.door import open_table
from lstmreg.data.table import READING, Series
from lstmreg.data.times import not_after, time_stamp
from lstmreg.data.vocabulary import Vocabulary, notes_on_unknown
from lstmreg.data.windows import Scaler, Scales, Windower
from lstmreg.errors import ConfigError
from lstmreg.interop.raw import Differences, Raw
from lstmreg.intervals import Calibration
from lstmreg.models import Ensemble, Network
from lstmreg.predictions import STEP, Predictions, free_heading
from lstmreg.predictive import Predictive, number_columns


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
    target: str | tuple[str, ...]
    windower: Windower
    reading: Mapping[str, Any] = field(default_factory=dict)
    val_loss: float | None = None
    question: Question = field(default_factory=Question)
    calibration: Calibration | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        sizes = {
            "input_size": (self.network.input_size, len(self.features) + self.question.width),
            "output_size": (self.network.output_size, self.windower.horizon * len(self.targets)),
            "number of scales": (self.windower.inputs.scale.size, len(self.features) + self.question.width),
            "number of the target's scales": (self.windower.target.scale.size, len(self.targets)),
            "vocabularies": (self.network.vocabularies, self.windower.vocabularies(self._inputs)),
        }
        for name, (got, expected) in sizes.items():
            if got != expected:
                raise ValueError(f"{name} must be {expected}, as the columns and the horizon are, got {got}.")
        if self.calibration is not None:
            self.calibration.check_size(self.network.output_size)
        if self.network.config.stateful:
            raise ValueError("a forecaster's network must not be stateful: each window begins with zeros.")

    @property
    def _inputs(self) -> tuple[str, ...]:
        """Names of all inputs, in the order in which the network reads them."""
        return (*self.features, *self.question.names_ahead)

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the columns that it forecasts, P."""
        return (self.target,) if isinstance(self.target, str) else self.target

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of numbers and of tokens that a table must have, in the order of an array's.

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
                was not there in training and each has its own scale; if training has seen no token of a column.
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
        rows = self._history(series)
        rows = rows[(rows >= start) & (rows < (len(series) + 1 if stop is None else stop))]
        return rows, self.forecast_from(series, rows)

    def _history(self, series: Series) -> NDArray[np.int64]:
        """Return the rows from which can be forecast: those with a window before them, and what is known in advance."""
        groups, past = series.groups, self.windower.past
        lasts = (
            np.minimum(groups.ends, groups.starts[1:] - self.windower.horizon) if self.question.future else groups.ends
        )
        pairs = zip(groups.starts.tolist(), lasts.tolist(), strict=False)
        return np.concatenate([np.arange(a + past, max(a + past, b + 1)) for a, b in pairs])

    def forecast_from(self, series: Series, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Forecast ``(N, O)`` from some rows of a series on, each with a whole window of its group before it."""
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
        series = self._reader.with_future(self._series(source, with_target=history))
        rows = self._history(series) if history else series.groups.ends
        found = Predictive(self.network, self.calibration, samples, seed, confidence).numbers(
            torch.from_numpy(self.windower.before(series, rows)),
            None,
            lambda outputs, part: self.windower.unscaled(series, rows[part], outputs),
            None if self.question.group is None else [series.groups.names[k] for k in series.groups.of(rows - 1)],
            self.windower.units_of(series, rows),
        )
        steps = rows[:, None] + np.arange(self.windower.horizon)  # as if each group went on behind its end
        groups = np.repeat(series.groups.of(rows - 1), self.windower.horizon)
        numbers, bands = number_columns(self.targets, found.by_step(self.windower.horizon))
        columns: dict[str, NDArray[Any]] = {}
        group = None if self.question.group is None else free_heading(self.question.group, numbers)
        if group is not None:
            columns[group] = np.array(series.groups.names, dtype=object)[groups]
        if self.windower.horizon > 1:
            columns[free_heading(STEP, numbers)] = np.tile(np.arange(1, self.windower.horizon + 1), len(rows))
        columns |= numbers
        if history and series.target_names == self.targets:
            bands = tuple(replace(band, truth=f"{band.value}_true") for band in bands)
            truth = _truth(series, steps.ravel(), groups)
            columns |= {f"{name}_true": truth[:, k] for k, name in enumerate(self.targets)}
        times, notes = _times(series, self.windower.horizon)
        notes = (*notes_on_unknown(self.windower.unknown(series)), *notes)
        if history:
            until = self.windower.until
            ends = "" if until is None else f" The column 'trained' marks those, which end with {until}."
            notes = (*notes, _ABOUT_HISTORY + ends)
        names = tuple(times[g][step] for g, step in zip(groups.tolist(), steps.ravel().tolist(), strict=True))
        trained = self._trained(names) if history and series.labels else None
        marked = None if trained is None else free_heading("trained", columns)
        if marked is not None and trained is not None:
            columns[marked] = np.where(trained, "yes", "").astype(object)
        heading = self.reading.get("time") if series.labels else None
        notes = (*notes, *found.notes)
        return Predictions(
            names, columns, heading or "row", bands, trained=marked, notes=notes, in_time=True, group=group
        )

    def _trained(self, times: Sequence[str]) -> NDArray[np.bool_] | None:
        """Tell which times the model was trained on; ``None`` where that is not known."""
        until = self.windower.until
        return None if until is None or self.reading.get("time") is None else not_after(times, until)

    def raw(self) -> Raw:
        """Return the network with its scales as one module, which takes windows of a table's own values.

        Windows are ``(B, T, columns)``: the features, and behind them what is known in advance, as it is ``horizon``
        rows later. Where changes were learned, with the rows before them that these take. In a column of tokens go in
        their numbers, which ``about`` lists; what training has not seen is 0.

        Raises:
            ConfigError: If each group has scales of its own.
        """
        windower = self.windower
        if windower.by_group:
            raise ConfigError(
                "the model has scales for each group (data.scale: by_group), and one graph holds one scale. Use "
                "lstmreg.load in Python, or train with data.scale: together."
            )
        differences = None
        if windower.lag:
            own_past = [name for name in self.features if name in self.targets]
            columns = tuple(n for n, name in enumerate(self.features) if name in self.targets)
            known = columns[0] if len(columns) == len(self.targets) == 1 else None
            use = _use_of_differences(own_past, windower.lag, is_scaled=False)
            differences = Differences(windower.lag, columns, known, use)
        names = [*self.features, *(f"{name}, {windower.horizon} ahead" for name in self.question.names_ahead)]
        about = {
            "task": "forecast",
            "features": names,
            "target": self.target if isinstance(self.target, str) else list(self.target),
            "steps": windower.past if differences is not None and differences.known is not None else windower.window,
            "horizon": windower.horizon,
        }
        if windower.tokens:
            inputs = zip(names, self._inputs, strict=True)
            about["tokens"] = {name: windower.tokens[own].known for name, own in inputs if own in windower.tokens}
        scaler = windower.inputs
        # Step by step, each with all targets.
        mean, scale = (
            np.tile(np.atleast_1d(v), windower.horizon) for v in (windower.target.mean, windower.target.scale)
        )
        return Raw(self.network, scaler.mean, scaler.scale, mean, scale, differences=differences, about=about)

    def calibrated(self, calibration: Calibration) -> Forecaster:
        """Return the same with intervals."""
        return replace(self, calibration=calibration)

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
            tuple(windower.tokens),
        )

    def _series(self, table: Table, *, with_target: bool = False) -> Series:
        """Return a table as a series; its targets are those of the model only as far as they are needed.

        Or where they are asked for, and the table has them.
        """
        windower, reader = self.windower, self._reader
        before = f" and {windower.lag} rows before it" if windower.lag else ""
        if with_target and set(self.targets) <= set(_columns_of(table, reader)):
            reader = replace(reader, targets=self.targets)
        series = reader.series(table, f"a window of {windower.window}{before}")
        windower.unknown(series)  # refuses tokens that mean something else
        return series

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
        if self.calibration is not None:
            about["calibration"] = self.calibration.about()
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
        if windower.until is not None:
            about["trained_until"] = windower.until
        if windower.tokens:
            about["tokens"] = {name: list(one.tokens) for name, one in windower.tokens.items()}
            about["seen"] = {name: one.seen.tolist() for name, one in windower.tokens.items()}
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
        if not all(type(value) in _READ[name] for name, value in reading.items()):
            raise TypeError(f"the reading is not understood: {reading!s:.80}.")
        features = tuple(_texts("features", about["features"]))
        tokens = _vocabularies(about.get("tokens", {}), about.get("seen", {}))
        until = about.get("trained_until")
        if until is not None:
            time_stamp(*_texts("trained_until", [until]))
        windower = Windower(counts["window"], counts["horizon"], *common, lag, by_group, tokens, until)
        future = about.get("future", {"known_future": [], "calendar": []})
        question = Question(
            tuple(_texts("known_future", future["known_future"])),
            tuple(_texts("calendar", future["calendar"])),
            None if about.get("group") is None else _texts("group", [about["group"]])[0],
        )
        target = names if several else names[0]
        calibration = Calibration.restored(about["calibration"]) if "calibration" in about else None
        forecaster = cls(network, features, target, windower, reading, about.get("val_loss"), question, calibration)
        forecaster._reader.config("")  # whose rules the reading keeps, or this is where it says so
        return forecaster


def _written(scales: Scales) -> dict[str, Any]:
    parts = {"inputs": scales.inputs, "outputs": scales.target}
    return {name: {"mean": one.mean.tolist(), "scale": one.scale.tolist()} for name, one in parts.items()}


def _scales(written: Mapping[str, Any], several: bool) -> Scales:
    return Scales(_scaler("inputs", written["inputs"], 1), _scaler("outputs", written["outputs"], int(several)))


def _vocabularies(tokens: Mapping[str, Any], seen: Mapping[str, Any]) -> dict[str, Vocabulary]:
    found = {name: Vocabulary(tuple(_texts("tokens", tokens[name])), np.array(seen[name], bool)) for name in tokens}
    for name, one in found.items():
        if one.seen.shape != (len(one.tokens),):
            raise ValueError(f"of each token of {name!r:.40} must be said whether training has seen it.")
    return found


def _sizes(scales: Scales) -> tuple[int, int]:
    return scales.inputs.scale.size, scales.target.scale.size


def _times(series: Series, horizon: int) -> tuple[list[dict[int, str]], tuple[str, ...]]:
    """Return of each group the times of its rows and of the steps after it, by row, and what must be said of these."""
    groups, found, notes = series.groups, [], []
    for start, stop in zip(groups.starts.tolist(), groups.starts[1:].tolist(), strict=False):
        labels = list(series.labels[start:stop]) or [str(row) for row in range(start, stop)]  # of what is no file
        ahead = times_ahead(labels, horizon) if series.labels else [str(stop + step) for step in range(horizon)]
        if ahead is None:
            ahead = [f"+{step}" for step in range(1, horizon + 1)]
            notes.append(f"The rows are not at regular times: +1 is the step after the last one, {labels[-1]}.")
        found.append(dict(enumerate([*labels, *ahead], start)))
    return found, tuple(notes[:1])


def _truth(series: Series, steps: NDArray[np.int64], groups: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the targets ``(N, P)`` at some rows of groups; NaN where a group has ended."""
    is_known = steps < series.groups.ends[groups]
    return np.where(is_known[:, None], series.targets[np.where(is_known, steps, 0)], np.nan)


_ABOUT_HISTORY = (
    "Rows that the model was trained on are among these if the table holds them, and are forecast better than new "
    "ones: only what comes after its training shows how good it is."
)

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


def _columns_of(table: Table, reader: Reader) -> list[Any]:
    """Return the names of a table's columns, if it has some."""
    if isinstance(table, (str, os.PathLike)):
        return list(open_table(reader.config(os.fspath(table))).header)
    names: Any = table if isinstance(table, Mapping) else getattr(table, "columns", [])
    return list(names)


def _texts(name: str, written: Iterable[Any]) -> list[str]:
    texts = list(written)
    if not all(isinstance(text, str) for text in texts):
        raise TypeError(f"{name} must be names of columns, got {texts!r:.80}.")
    return texts


def _use_of_differences(own_past: list[str], lag: int, *, is_scaled: bool = True) -> str:
    """Say what a reader of ``model.json`` must know where the target was differenced, or of a :class:`Raw` network."""
    before = "the row before" if lag == 1 else f"{lag} rows before"
    goes_in = f"column {own_past[0]!r} goes in as its change from {before}. " if own_past else ""
    if len(own_past) > 1:
        goes_in = f"columns {', '.join(map(repr, own_past))} go in as their changes from {before}. "
    known = (
        "the last known value of the target, for each step of the horizon"
        if lag == 1
        else f"the target's value {lag} rows before that step, or as many times {lag} as it takes to be known by then"
    )
    undone = "times scale plus mean, " if is_scaled else ""
    return f"{goes_in}What comes out is a change: {undone}it is what to add to {known}"
