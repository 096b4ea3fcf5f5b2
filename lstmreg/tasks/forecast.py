"""Forecasting: each window of a series, from the steps behind it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from lstmreg.config import DataConfig, ModelConfig, SearchConfig, TrainingConfig
from lstmreg.data.blocks import Block, hold_out, make_blocks
from lstmreg.data.cases import Cases
from lstmreg.data.fingerprint import Fingerprint
from lstmreg.data.floors import floor_predictions, naive_errors
from lstmreg.data.sources.given import table_given
from lstmreg.data.table import Series, read_series
from lstmreg.data.windows import Windower, steps_ahead
from lstmreg.errors import DataError

from .errors import mean_absolute_error, mean_absolute_scaled_error, root_mean_square_error
from .floors import ridge_on_windows
from .losses import losses_of_numbers
from .task import Split, Splits, Task, Values, weights_of

if TYPE_CHECKING:
    from lstmreg.forecaster import Forecaster
    from lstmreg.losses import Criterion
    from lstmreg.models import Ensemble, Network


class Forecast(Task):
    """Predicts the next steps of a series from the window before them; a case is a window.

    Case ``n`` is the window whose first step to forecast is row ``n + data.past``; numbers of windows that would cross
    from one group into the next are in no split. What is predicted of it is a number for each step and target: all
    targets of the first step, then those of the second.

    Args:
        data: The question.
        series: The table.
    """

    name: ClassVar[str] = "forecast"
    cases_are: ClassVar[str] = "windows"
    parts_are: ClassVar[str] = "rows"
    predictions_are: ClassVar[str] = "forecast"
    columns_are: ClassVar[str] = "steps ahead"
    do_neighbours_depend: ClassVar[bool] = True
    can_leave_out: ClassVar[bool] = True
    floor_names: ClassVar[Mapping[str, str]] = {
        "mean": "the mean of the training rows",
        "persistence": "persistence (the last value again)",
        "drift": "drift (on from the last value, as the series has risen on average)",
        "seasonal": "seasonal persistence (the value one season ago)",
        "ridge": "a ridge regression on the window",
    }
    settings_shown: ClassVar[tuple[str, ...]] = ("window", "horizon", "season", "difference", "tokens", "weight")
    no_leak: ClassVar[str] = (
        "Split by time first, then cut into windows; each scaler, and which tokens are known, saw the training rows of "
        "its split alone."
    )
    losses_by_name: ClassVar[tuple[str, ...]] = ("mse", "mae", "huber")

    def __init__(self, data: DataConfig, series: Series) -> None:
        self.data, self.series = data, series
        self.path, self.sha256 = series.path, series.sha256
        self.size = len(series)
        self.features = (*series.features, *(f"{name}, {data.horizon} ahead" for name in series.ahead_names))
        self.target = ", ".join(series.target_names)
        self._first_steps = series.groups.first_steps(data.past, data.horizon)
        self.notes = (*series.notes, *self._notes())

    @classmethod
    def read(cls, data: DataConfig, given: Any = None) -> Self:
        """Read the table: a file, or a frame, columns by name or an array ``(N, columns)``."""
        return cls(data, read_series(data, None if given is None else table_given(given, data)))

    def fingerprint(self) -> Fingerprint:
        """Return that of the rows, with all that is read of them."""
        series = self.series
        numbers = [a for a in (series.inputs, series.targets, series.ahead, series.weights) if a is not None]

        def content(first: int, last: int) -> bytes:
            labels = "\n".join(series.labels[first:last]).encode()
            return labels + b"".join(array[first:last].tobytes() for array in numbers)

        return Fingerprint.of(len(series), content, self.parts_are)

    def _notes(self) -> list[str]:
        """Say what is left out."""
        data, groups, notes = self.data, self.series.groups, []
        if data.group is not None and data.time is None:
            notes.append("Without data.time, the last rows of all groups count as those of one time.")
        short = groups.lacking(data.past + data.horizon)
        if short and len(groups) > 1:
            shown = ", ".join(short[:3]) + (", ..." if len(short) > 3 else "")
            notes.append(
                f"{len(short)} of {len(groups)} groups have fewer than {data.past + data.horizon} rows, which is no "
                f"window, and are left out: {shown}."
            )
        before_test = groups.count - round(groups.count * data.test_fraction)
        behind = int((groups.before(before_test) - groups.starts[:-1]).max())
        if data.season is not None and data.season > behind:
            notes.append(
                f"data.season={data.season} is longer than the {behind} rows before the test, so there is no forecast "
                f"from one season ago to compare with."
            )
        return notes

    # ---------------------------------------------------------------- splits

    def splits(self, search: SearchConfig) -> Splits:
        """Train before a moment, stop on the stretch of times behind it, judge the next; the test is the end.

        Of several groups, the moments are common to all: nothing of the future of any group is seen.
        """
        blocks = make_blocks(self.series.groups.count, self.data, search)
        return Splits(
            blocks=tuple(self.split(block, judged) for block, judged in pairwise(blocks.stretches)),
            final=self.split(blocks.stretches[-1], blocks.test),
        )

    def hold_out(self) -> Split:
        """The last rows are the test, and as many before them validate."""
        return self.split(*hold_out(self.series.groups.count, self.data))

    def split(self, block: Block, judged: Block | None = None) -> Split:
        """Return the split that trains before a block of moments, validates on it, and judges a later one.

        Its key is where each of the three ends; the second and the third are the same where nothing is judged.

        Raises:
            DataError: If no group has a window in one of them.
        """
        spanned = block if judged is None else judged
        return Split(
            key=(block.origin, block.end, spanned.end),
            span=(self.series.label_of(spanned.origin), self.series.label_of(spanned.end - 1)),
            train=self._cases(0, block.origin),
            validation=self._cases(block.origin, block.end),
            judged=np.empty(0, dtype=np.int64) if judged is None else self._cases(judged.origin, judged.end),
        )

    def _cases(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the windows whose targets all lie in moments ``[start, stop)``."""
        rows, moments = self._first_steps, self.series.groups.moments
        cases = rows[(moments[rows] >= start) & (moments[rows + self.data.horizon - 1] < stop)] - self.data.past
        if not len(cases) and self.data.group is not None:
            where = self.series.label_of(start), self.series.label_of(stop - 1)
            raise DataError(
                f"{self.path}: from {where[0]} to {where[1]} no group has a window (data.window={self.data.window}, "
                f"data.horizon={self.data.horizon}) whose steps ahead lie there. Give longer series, a shorter window, "
                f"or fewer search.blocks."
            )
        return cases

    def _rows(self, cases: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the row of the first step that each window forecasts."""
        return cases + self.data.past

    def labels(self, cases: NDArray[np.int64]) -> list[str]:
        """Return the time of the first step of each forecast, behind the name of its group if it has one."""
        rows, groups = self._rows(cases), self.series.groups
        times = [self.series.labels[row] for row in rows]
        if self.data.group is None:
            return times
        return [f"{groups.names[k]}, {time}" for k, time in zip(groups.of(rows), times, strict=True)]

    def groups(self, cases: NDArray[np.int64]) -> list[str]:
        """Return the name of the group of each window."""
        groups = self.series.groups
        return [] if self.data.group is None else [groups.names[k] for k in groups.of(self._rows(cases))]

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the targets."""
        return tuple(self.series.target_names)

    def warnings(self, split: Split) -> list[str]:
        """Say where the judged rows leave what the training rows have shown: a trend, which no network follows."""
        origin, lag = split.key[0], self.data.lag
        outside = rows_outside(self.series, origin, self._rows(split.judged), self.data.horizon, lag)
        if not outside.is_trend:
            return []
        count, where = max((outside.above, "above"), (outside.below, "below"))
        what = f"a change from {_before(lag)}" if lag else "a target"
        return [
            f"{count} of {outside.rows} test rows have {what} {where} all that the training rows show, and a network "
            f"hardly forecasts what it has never seen. {_remedy_for_a_trend(lag)}"
        ]

    # ---------------------------------------------------------------- training

    def encoder(self, split: Split) -> Windower:
        """Fit the scales on the rows before the split's block."""
        data = self.data
        by_group = data.scale == "by_group"
        return Windower.fit(self.series, split.key[0], data.window, data.horizon, data.lag, by_group=by_group)

    def encoded(self, encoder: Windower) -> Cases:
        """Return every window, as views of one scaled series."""
        windows = encoder.cut(self.series, 0, len(self.series))
        return Cases(windows.inputs, windows.targets)

    def network(self, model: ModelConfig) -> Network:
        """Return a network that reads the columns and gives the steps of the horizon, each with all targets."""
        from lstmreg.models import Network

        series = self.series
        vocabularies = {
            k: len(series.tokens[name])
            for k, name in enumerate((*series.features, *series.ahead_names))
            if name in series.tokens
        }
        outputs = self.data.horizon * len(series.target_names)
        return Network(model, len(self.features), outputs, vocabularies=vocabularies)

    def criterion(self, training: TrainingConfig, encoder: Windower) -> Criterion:
        """Return the loss by its name."""
        from lstmreg.losses import CRITERIA

        return CRITERIA[self.loss_name(training)]

    # ---------------------------------------------------------------- judging

    def predictions(self, encoder: Windower, outputs: NDArray[np.float32], cases: NDArray[np.int64]) -> Values:
        """Undo the scales and the differences: ``(M, O)``."""
        return encoder.unscaled(self.series, self._rows(cases), outputs)

    def truth(self, cases: NDArray[np.int64]) -> Values:
        """Return the targets in the steps ahead, ``(M, O)``."""
        return steps_ahead(self.series.targets, self._rows(cases), self.data.horizon)

    def weights(self, cases: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """Return the mean weight of the rows that each window forecasts."""
        if self.series.weights is None:
            return None
        weights: NDArray[np.float64] = steps_ahead(self.series.weights[:, None], self._rows(cases), self.data.horizon)
        return np.asarray(weights.mean(axis=1))

    def floors(self, split: Split, cases: NDArray[np.int64]) -> dict[str, Values]:
        """Return the mean of all rows before the first, the last value, its drift, that of one season ago, and a ridge.

        The ridge regression is from the window, as a network reads it, to what the network is taught, of all groups
        together; of a token it knows which one it is. It is left out where a window is too large, see
        :func:`lstmreg.tasks.floors.ridge_on_windows`.
        """
        rows = self._rows(cases)
        origin = int(self.series.groups.moments[rows].min())
        found = floor_predictions(self.series, origin, rows, self.data.horizon, self.data.season)
        encoder = self.encoder(split)
        known = self.encoded(encoder)
        inputs = encoder.numbers_alone(self.series) if self.series.tokens else known.inputs
        weights = self.relative_weights(split, np.arange(len(known)))
        outputs = ridge_on_windows(inputs, known.targets, split.train, split.validation, cases, weights)
        return found if outputs is None else found | {"ridge": self.predictions(encoder, outputs, cases)}

    def scales(self, encoder: Windower, split: Split, cases: NDArray[np.int64]) -> dict[str, Any]:
        """Return by what targets are scaled, and the naive errors of the rows that train.

        Of one target and no groups a number each. Else ``target`` and ``naive`` hold a list for each group with a
        number for each target, ``group`` the number of each case's group, and ``names`` the targets.
        """
        series, groups = self.series, self.series.groups
        naive = naive_errors(series, split.key[0])
        if len(series.target_names) == 1 and self.data.group is None:
            found = {"target": float(encoder.target.scale)}
            return found if np.isnan(naive[0, 0]) else found | {"naive": float(naive[0, 0])}
        of_groups = [np.atleast_1d(encoder.scales_of(name).target.scale).tolist() for name in groups.names]
        return {
            "target": of_groups,
            "naive": [[None if np.isnan(one) else one for one in of_targets] for of_targets in naive.tolist()],
            "group": groups.of(self._rows(cases)).tolist(),
            "names": list(series.target_names),
        }

    @classmethod
    def losses(
        cls, training: TrainingConfig, predictions: Values, truth: Values, scales: Mapping[str, Any]
    ) -> NDArray[np.float64]:
        """Return the mean over the steps ahead and the targets, of scaled values."""
        each = _of_outputs(scales, "target", predictions.shape)
        return losses_of_numbers(cls.loss_name(training), predictions / each, truth / each)

    @classmethod
    def errors(
        cls, training: TrainingConfig, predictions: Values, truth: Values, scales: Mapping[str, Any]
    ) -> dict[str, float]:
        """Return root mean square, mean absolute, and mean absolute scaled error; of the loss ``mae`` absolute first.

        In the target's units. Of several targets, each error is divided by the scale of its target, and the errors of
        the targets are averaged; behind those comes that of each target by itself, in its own units. The scaled error
        is in units of the naive error of the training rows (the mean absolute change from row to row), of each group
        its own; it is left out where no group has one.
        """
        names, weights = scales.get("names", [""]), weights_of(scales)
        ours, true = (values.reshape(len(values), -1, len(names)) for values in (predictions, truth))
        kinds = {"root mean square error": root_mean_square_error, "mean absolute error": mean_absolute_error}
        if cls.loss_name(training) == "mae":
            kinds = dict(reversed(kinds.items()))
        found = {}
        if len(names) > 1:
            each = _of_outputs(scales, "target", predictions.shape).reshape(-1, ours.shape[1], len(names))
            for kind, error in kinds.items():
                of_each = [error((ours / each)[..., p], (true / each)[..., p], weights) for p in range(len(names))]
                found[f"scaled {kind}"] = float(np.mean(of_each))
        else:
            found = {kind: error(ours, true, weights) for kind, error in kinds.items()}
        if "naive" in scales:
            naive = _of_outputs(scales, "naive", predictions.shape)
            scaled = mean_absolute_scaled_error(predictions, truth, naive, weights)
            found |= {} if np.isnan(scaled) else {"mean absolute scaled error": scaled}
        if len(names) > 1:
            found |= {
                f"{kind} of {name}": error(ours[..., p], true[..., p], weights)
                for p, name in enumerate(names)
                for kind, error in kinds.items()
            }
        return found

    # ---------------------------------------------------------------- out

    def groups_of(self, cases: NDArray[np.int64]) -> list[str] | None:
        """Return the group of each window, where there are several series."""
        if self.data.group is None:
            return None
        groups = self.series.groups
        return [groups.names[k] for k in groups.of(self._rows(cases)).tolist()]

    def score_units(self, encoder: Windower, cases: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """Return the scales of the targets, where each group has its own.

        The errors of a large shop are no interval of a small one.
        """
        return encoder.units_of(self.series, self._rows(cases))

    def scores(self, predictions: Values, truth: Values) -> NDArray[np.float64]:
        """Return the distances from the truth, in the targets' units: a column for each output."""
        return np.abs(predictions - truth)

    def predictor(self, network: Network | Ensemble, encoder: Windower, val_loss: float | None = None) -> Forecaster:
        """Return what forecasts a table like the one that was read."""
        from lstmreg.forecaster import Forecaster, Question

        data, series = self.data, self.series
        question = Question(tuple(data.known_future or []), tuple(data.calendar or []), data.group)
        targets = series.target_names
        target = targets[0] if len(targets) == 1 else targets
        return Forecaster(network, series.features, target, encoder, series.reading, val_loss, question)


def _of_outputs(scales: Mapping[str, Any], name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return a scale of each output ``(M, O)`` of predictions of that shape; one for all where it is a number."""
    if not isinstance(scales[name], list):
        return np.array(scales[name], dtype=np.float64)
    of_groups = np.array(scales[name], dtype=np.float64)
    of_cases = of_groups[np.array(scales["group"], dtype=np.int64)]
    return np.tile(of_cases, (1, shape[1] // of_cases.shape[1]))


class Outside(NamedTuple):
    """How many of the judged rows lie outside what the training rows have shown."""

    above: int
    below: int
    rows: int  #: all of them

    @property
    def is_trend(self) -> bool:
        """Whether they are too many for chance; of rows in random order it would be about one."""
        return max(self.above, self.below) > max(1.0, self.rows * _MANY_OUTSIDE)


_MANY_OUTSIDE = 0.1


def rows_outside(
    series: Series, origin: int, first_steps: NDArray[np.int64], horizon: int = 1, lag: int = 0
) -> Outside:
    """Compare the targets in the rows that are forecast, or their change from ``lag`` rows before, with the training's.

    Each group is compared with its own rows before the origin; one that has none is left out.
    """
    above = below = rows = 0
    groups = series.groups
    of_steps = groups.of(first_steps)
    stops = groups.before(origin)
    for k in np.unique(of_steps).tolist():
        start, stop, steps = groups.starts[k], stops[k], first_steps[of_steps == k]
        if stop - start <= lag:
            continue
        for column in series.targets.T:
            values = column[start + lag :] - column[start : len(column) - lag] if lag else column[start:]
            seen, new = values[: stop - start - lag], values[steps[0] - start - lag : steps[-1] + horizon - start - lag]
            above, below = above + int((new > seen.max()).sum()), below + int((new < seen.min()).sum())
            rows += len(new)
    return Outside(above, below, rows)


def _before(lag: int) -> str:
    return "the row before" if lag == 1 else f"{lag} rows before"


def _remedy_for_a_trend(lag: int) -> str:
    if lag:
        return "Train on more recent rows, or try another data.difference."
    return (
        "Let it learn changes: data.difference: 1 (from the row before), or season (from data.season rows before); "
        "forecasts stay in the target's units."
    )
