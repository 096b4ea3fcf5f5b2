"""Cuts series into windows, differenced if asked for, and scales them by what the training rows show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from lstmreg.errors import DataError, did_you_mean

from .table import Series
from .vocabulary import Vocabulary, refuse_strangers

#: A column of more tokens than these is left out where a linear model would learn a weight for each by heart.
_MOST_TOKENS = 50


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
    """Return, for each step of the forecasts from ``rows`` on, the value ``lag`` steps before it.

    A step that is further ahead than that takes as many lags as bring it before the forecast's first step.

    Shape:
        ``(M, H)`` of values ``(N,)``; ``(M, H, P)`` of values ``(N, P)``.
    """
    ahead = np.arange(horizon)
    known: NDArray[np.float64] = values[rows[:, None] + ahead - lag * (ahead // lag + 1)]
    return known


def steps_ahead(values: NDArray[np.float64], rows: NDArray[np.int64], horizon: int) -> NDArray[np.float64]:
    """Return the values ``(N, P)`` in the steps from each of ``rows`` on, ``(M, O)``: step by step, each with all P."""
    ahead: NDArray[np.float64] = values[rows[:, None] + np.arange(horizon)]
    return ahead.reshape(len(rows), horizon * values.shape[1])


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


class Scales(NamedTuple):
    """How the inputs and the targets of a group are scaled."""

    inputs: Scaler
    target: Scaler


@dataclass(frozen=True)
class Windower:
    """Knows the window, the horizon, and what a training part has fixed.

    Where ``lag`` is not zero, the targets are differenced: the network learns how much each step differs from the last
    known value whole lags before it, and reads a target's own past (if it is among the inputs) as the difference
    from ``lag`` rows before. Other inputs stay as they are.

    A step of the window has the inputs of its row, and behind them what is known in advance of the row ``horizon``
    steps after it; so the last ``horizon`` steps see those of the rows that are forecast, and no row after them.

    Attributes:
        window: Steps that a network sees, T.
        horizon: Steps that it forecasts.
        inputs: Scales the inputs ``(D,)``.
        target: Scales the targets: a number where there is one, else ``(P,)``.
        lag: How many rows back is differenced; 0 for not.
        by_group: Of groups that are scaled each by itself, their scales by name.
        tokens: The tokens of the inputs that hold some, by name. Of such a column the mean is 0 and the scale 1, in
            every group.
        until: The time of the last rows that it was fitted on, where rows have times.
    """

    window: int
    horizon: int
    inputs: Scaler
    target: Scaler
    lag: int = 0
    by_group: Mapping[str, Scales] = field(default_factory=dict)
    tokens: Mapping[str, Vocabulary] = field(default_factory=dict)
    until: str | None = None

    @property
    def past(self) -> int:
        """How many rows must lie before a forecast's first step."""
        return self.window + self.lag

    @classmethod
    def fit(
        cls, series: Series, origin: int, window: int, horizon: int, lag: int = 0, *, by_group: bool = False
    ) -> Windower:
        """Fit the scalers on the rows before a moment; of a single series, that is the number of these rows.

        Of ``by_group``, a group whose rows before it hold no window is scaled as all of them together: a few rows say
        nothing of a scale, and every window can be judged.
        """
        groups = series.groups
        stops = groups.before(origin)
        parts = list(zip(groups.starts.tolist(), stops.tolist(), strict=False))
        inputs = _inputs(series, lag)
        filled = [part for part in parts if part[1] > part[0]]
        tokens = _vocabularies(series, filled)
        common = _fitted(series, inputs, filled, horizon, lag)
        scales = {}
        if by_group:
            for name, (start, stop) in zip(groups.names, parts, strict=True):
                has_window = stop - start >= window + lag + horizon
                scales[name] = _fitted(series, inputs, [(start, stop)], horizon, lag) if has_window else common
        until = series.label_of(origin - 1) if series.reading.get("time") is not None else None
        return cls(window, horizon, *common, lag, scales, tokens, until)

    def vocabularies(self, names: Sequence[str]) -> dict[int, int]:
        """Return how many tokens each of some input columns has that holds some, by its place."""
        return {k: len(self.tokens[name].tokens) for k, name in enumerate(names) if name in self.tokens}

    def unknown(self, series: Series) -> dict[str, tuple[str, ...]]:
        """Return the tokens that training has not seen, of each column that has some.

        Raises:
            DataError: If it has seen no token of a column: it is then numbered or written in another way.
        """
        found: dict[str, tuple[str, ...]] = {}
        for name, column in _token_columns(series):
            unknown = self.tokens[name].unknown(column, series.tokens[name])
            refuse_strangers(name, self.tokens[name], unknown)
            if unknown.tokens:
                found[name] = unknown.tokens
        return found

    def cut(self, series: Series, start: int, stop: int) -> Windows:
        """Cut every window whose targets all lie in rows ``[start, stop)``.

        Its inputs are the ``window`` rows before the first target, which may lie before ``start``: the past
        is known when a forecast is made. Of several groups, whoever uses them leaves out those that cross from one
        group into the next; see :meth:`lstmreg.data.groups.Groups.first_steps`.
        """
        first = max(start, self.past)
        rows = np.arange(first, max(first, stop - self.horizon + 1))
        return Windows(self.before(series, rows), self._targets(series, rows), rows)

    def before(self, series: Series, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the inputs ``(N, T, D)`` of forecasts from ``rows`` on, scaled: the window before each.

        Each row has :attr:`past` rows of its group before it; it may be the one after its group's end. Of neighbouring
        rows they are views of one series.
        """
        windows = self._windows(self._scaled_inputs(series))
        if len(rows) == 0:
            return windows[:0]
        if rows[-1] - rows[0] == len(rows) - 1:
            return windows[rows[0] - self.window :][: len(rows)]
        return windows[rows - self.window]

    def numbers_alone(self, series: Series) -> NDArray[np.float32]:
        """Return the windows of :meth:`cut` for a model of numbers: of a token which one it is, 0 or 1 for each.

        A column of more than 50 tokens is left out.
        """
        columns = []
        for name, column in zip(_names(series), self._scaled_inputs(series).T, strict=True):
            tokens = np.arange(1, len(self.tokens[name].tokens) + 1) if name in self.tokens else None
            if tokens is None:
                columns.append(column[:, None])
            elif len(tokens) <= _MOST_TOKENS:
                columns.append((column[:, None] == tokens).astype(np.float32))
        rows = np.hstack(columns) if columns else np.zeros((len(series), 1), np.float32)
        first, last = self.past, max(self.past, len(series) - self.horizon + 1)
        return self._windows(rows)[first - self.window : last - self.window]

    def _windows(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return each window of rows ``(N, D)``, as views: ``(N - T + 1, T, D)``."""
        return sliding_window_view(rows, self.window, axis=0, writeable=True).transpose(0, 2, 1)

    def _scaled_inputs(self, series: Series) -> NDArray[np.float32]:
        inputs = _inputs(series, self.lag)
        if series.ahead is not None:
            inputs = np.hstack([inputs[:, : len(series.features)], _later(series, self.horizon)])
        scaled = np.empty(inputs.shape, np.float32)
        for rows, scales in self._of_groups(series):
            scaled[rows] = scales.inputs.scaled(inputs[rows])
        for k, name in enumerate(_names(series)):
            if name in self.tokens:
                # A row without a token, such as one after a group's end, is in no window that is used.
                scaled[:, k] = self.tokens[name].encoded(inputs[:, k], series.tokens[name])
        return scaled

    def _of_groups(self, series: Series) -> list[tuple[slice, Scales]]:
        if not self.by_group:
            return [(slice(None), Scales(self.inputs, self.target))]
        groups = series.groups
        edges = groups.starts.tolist()
        return [(slice(*edges[k : k + 2]), self.scales_of(name)) for k, name in enumerate(groups.names)]

    def scales_of(self, group: str) -> Scales:
        """Return the scales of a group.

        Raises:
            DataError: If each group has its own, and this one was not there in training.
        """
        if not self.by_group:
            return Scales(self.inputs, self.target)
        if group not in self.by_group:
            raise DataError(
                f"group {group!r} was not there in training, so its scale is not known."
                f"{did_you_mean(group, self.by_group)} Train with rows of it, or with data.scale: together."
            )
        return self.by_group[group]

    def target_of(self, series: Series, rows: NDArray[np.int64]) -> Scaler:
        """Return what scales the targets of forecasts from ``rows`` on: one scale for all, or ``(M, P)``."""
        if not self.by_group:
            return self.target
        of_each = [self.scales_of(name).target for name in series.groups.names]
        means, scales = (np.array([getattr(one, part) for one in of_each]) for part in ("mean", "scale"))
        group = series.groups.of(rows - 1)  # the row itself may be after the end
        shape = (len(rows), self.target.mean.size)
        return Scaler(means[group].reshape(shape), scales[group].reshape(shape))

    def units_of(self, series: Series, rows: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """Return the scales of what is forecast from ``rows`` on, ``(M, O)``; ``None`` where all groups have one."""
        if not self.by_group:
            return None
        scale = self.target_of(series, rows).scale.reshape(len(rows), self.target.scale.size)
        return np.tile(scale, (1, self.horizon))

    def _targets(self, series: Series, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        if self.lag:
            return self.scaled(series, rows, steps_ahead(series.targets, rows, self.horizon))
        scaled = np.empty(series.targets.shape, np.float32)
        for part, scales in self._of_groups(series):
            scaled[part] = scales.target.scaled(series.targets[part])
        width = len(series.targets.T)
        ahead = sliding_window_view(scaled.ravel(), self.horizon * width, writeable=True)[::width]
        return ahead[rows[0] :][: len(rows)] if len(rows) else ahead[:0]

    def scaled(self, series: Series, rows: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return values ``(N, O)`` of the targets, from ``rows`` on, as the network is to give them."""
        steps = values.reshape(self._shape(rows))
        if self.lag:
            steps = steps - last_known(series.targets, rows, self.horizon, self.lag)
        return _by_step(self.target_of(series, rows)).scaled(steps).reshape(values.shape)

    def unscaled(self, series: Series, rows: NDArray[np.int64], outputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return what the network gives ``(N, O)``, from ``rows`` on, as values of the targets in their own units."""
        steps = _by_step(self.target_of(series, rows)).unscaled(outputs.reshape(self._shape(rows)))
        if self.lag:
            steps = steps + last_known(series.targets, rows, self.horizon, self.lag)
        return steps.reshape(outputs.shape)

    def _shape(self, rows: NDArray[np.int64]) -> tuple[int, int, int]:
        return len(rows), self.horizon, self.target.mean.size


def _by_step(scaler: Scaler) -> Scaler:
    """Return a scaler of the targets as one of ``(M, H, P)``."""
    if scaler.mean.ndim < 2:
        return scaler
    return Scaler(scaler.mean[:, None], scaler.scale[:, None])


def _fitted(
    series: Series, inputs: NDArray[np.float64], parts: list[tuple[int, int]], horizon: int, lag: int
) -> Scales:
    """Fit the scales on parts of the rows, each of one group."""
    # The changes of a straight line are one constant, but for the rounding of what was subtracted.
    eps = 8 * np.finfo(np.float64).eps if lag else 0.0
    largest = [
        eps * max(np.abs(series.targets[a:b, p]).max() for a, b in parts) for p in range(len(series.target_names))
    ]
    rounding: NDArray[np.float64] | float = 0.0
    if lag:
        rounding = np.zeros(inputs.shape[1])
        for p, name in enumerate(series.target_names):
            rounding[: len(series.features)][_are(series, name)] = largest[p]
    targets = [
        Scaler.fit(_together([_learned(column, a, b, horizon, lag) for a, b in parts]), largest[p])
        for p, column in enumerate(np.ascontiguousarray(series.targets.T))
    ]
    rows = Scaler.fit(_together([inputs[a + lag : b] for a, b in parts if b > a + lag]), rounding)
    for k, name in enumerate(_names(series)):
        if name in series.tokens:
            rows.mean[k], rows.scale[k] = 0.0, 1.0
    if len(targets) == 1:
        return Scales(rows, targets[0])
    return Scales(rows, Scaler(np.array([t.mean for t in targets]), np.array([t.scale for t in targets])))


def _learned(column: NDArray[np.float64], start: int, stop: int, horizon: int, lag: int) -> NDArray[np.float64]:
    """Return what is learned of a target in some rows: its values, or its changes."""
    if not lag:
        return column[start:stop]
    first_steps = np.arange(start + lag, max(start + lag, stop - horizon + 1))
    changes = column[first_steps[:, None] + np.arange(horizon)] - last_known(column, first_steps, horizon, lag)
    return np.asarray(changes.ravel())


def _together(parts: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _names(series: Series) -> tuple[str, ...]:
    """Return the names of the columns that :func:`_inputs` returns."""
    return series.features if series.ahead is None else (*series.features, *series.ahead_names)


def _token_columns(series: Series) -> list[tuple[str, NDArray[np.float64]]]:
    """Return the columns of tokens, each once: that of a feature is the same in advance."""
    found: dict[str, NDArray[np.float64]] = {}
    for names, values in ((series.ahead_names, series.ahead), (series.features, series.inputs)):
        if values is not None:
            found |= {name: values[:, k] for k, name in enumerate(names) if name in series.tokens}
    return list(found.items())


def _vocabularies(series: Series, parts: list[tuple[int, int]]) -> dict[str, Vocabulary]:
    """Return the tokens of each column that has some, and which of them parts of the rows have."""
    return {
        name: Vocabulary.fit(series.tokens[name], _together([column[a:b] for a, b in parts]))
        for name, column in _token_columns(series)
    }


def _inputs(series: Series, lag: int) -> NDArray[np.float64]:
    """Return the inputs of each row and what is known of it in advance, ``(N, D)``.

    The targets' own past is differenced; in the first ``lag`` rows of a group it is NaN.
    """
    inputs, width = series.inputs, len(series.features)
    if series.ahead is not None:
        inputs = np.hstack([inputs, series.ahead])
    own_past = [(p, mask) for p, name in enumerate(series.target_names) if (mask := _are(series, name)).any()]
    if lag == 0 or not own_past:
        return inputs
    inputs = inputs if series.ahead is not None else inputs.copy()
    starts = series.groups.starts[:-1]
    first = (starts[:, None] + np.arange(lag)).ravel()
    first = first[first < len(inputs)]
    for p, mask in own_past:
        target = series.targets[:, p]
        inputs[lag:, :width][:, mask] = (target[lag:] - target[:-lag])[:, None]
        inputs[first[:, None], np.flatnonzero(mask)] = np.nan
    return inputs


def _later(series: Series, horizon: int) -> NDArray[np.float64]:
    """Return what is known in advance ``horizon`` rows after each; NaN where a group does not go on so far."""
    assert series.ahead is not None
    later = np.full(series.ahead.shape, np.nan)
    later[:-horizon] = series.ahead[horizon:]
    starts = series.groups.starts
    for start, stop in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        later[max(start, stop - horizon) : stop] = np.nan
    return later


def _are(series: Series, target: str) -> NDArray[np.bool_]:
    """Tell for each input column whether it is a target's own past."""
    return np.array([name == target for name in series.features], dtype=bool)
