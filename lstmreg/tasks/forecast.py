"""Forecasting: each window of a series, from the steps behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from lstmreg.config import DataConfig, ModelConfig, SearchConfig, TrainingConfig
from lstmreg.data.blocks import Block, hold_out, make_blocks
from lstmreg.data.cases import Cases
from lstmreg.data.floors import floor_predictions
from lstmreg.data.table import Series, read_series
from lstmreg.data.windows import Windower

from .errors import mean_absolute_error, root_mean_square_error
from .losses import losses_of_numbers
from .task import Split, Splits, Task, Values

if TYPE_CHECKING:
    from lstmreg.forecaster import Forecaster
    from lstmreg.losses import Criterion
    from lstmreg.models import Ensemble, Network


class Forecast(Task):
    """Predicts the next steps of a series from the window before them; a case is a window.

    Case ``n`` is the window whose first step to forecast is row ``n + data.past``.

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
    floor_names: ClassVar[Mapping[str, str]] = {
        "mean": "the mean of the training rows",
        "persistence": "persistence (the last value again)",
        "seasonal": "seasonal persistence (the value one season ago)",
    }
    settings_shown: ClassVar[tuple[str, ...]] = ("window", "horizon", "season", "difference")
    no_leak: ClassVar[str] = (
        "Split by time first, then cut into windows; each scaler saw the training rows of its split alone."
    )
    losses_by_name: ClassVar[tuple[str, ...]] = ("mse", "mae", "huber")

    def __init__(self, data: DataConfig, series: Series) -> None:
        self.data, self.series = data, series
        self.path, self.sha256, self.notes = series.path, series.sha256, series.notes
        self.size = len(series)
        self.features, self.target = series.features, series.target_name

    @classmethod
    def read(cls, data: DataConfig) -> Self:
        """Read the table."""
        return cls(data, read_series(data))

    # ---------------------------------------------------------------- splits

    def splits(self, search: SearchConfig) -> Splits:
        """Train before a moment, validate on the block of rows behind it; the test is the end of the series."""
        blocks = make_blocks(len(self.series), self.data, search)
        return Splits(
            choose=tuple(self.split(block) for block in blocks.choose),
            confirm=tuple(self.split(block) for block in blocks.confirm),
            final=self.split(blocks.final, blocks.test),
        )

    def hold_out(self) -> Split:
        """The last rows are the test, and as many before them validate."""
        return self.split(*hold_out(len(self.series), self.data))

    def split(self, block: Block, test: Block | None = None) -> Split:
        """Return the split that trains before a block of rows, validates on it, and judges the test."""
        spanned = block if test is None else test
        return Split(
            key=(block.origin, block.end),
            span=(self.series.labels[spanned.origin], self.series.labels[spanned.end - 1]),
            train=self._cases(0, block.origin),
            validation=self._cases(block.origin, block.end),
            judged=self._cases(0, 0) if test is None else self._cases(test.origin, test.end),
        )

    def _cases(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the windows whose targets all lie in rows ``[start, stop)``."""
        first = max(start, self.data.past) - self.data.past
        return np.arange(first, max(first, stop - self.data.horizon + 1 - self.data.past))

    def _rows(self, cases: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the row of the first step that each window forecasts."""
        return cases + self.data.past

    def labels(self, cases: NDArray[np.int64]) -> list[str]:
        """Return the time of the first step of each forecast."""
        return [self.series.labels[row] for row in self._rows(cases)]

    def warnings(self, split: Split) -> list[str]:
        """Say where the judged rows leave what the training rows have shown: a trend, which no network follows."""
        train_rows, lag = split.key[0], self.data.lag
        outside = rows_outside(self.series, train_rows, self._rows(split.judged), self.data.horizon, lag)
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
        return Windower.fit(self.series, split.key[0], self.data.window, self.data.horizon, self.data.lag)

    def encoded(self, encoder: Windower) -> Cases:
        """Return every window, as views of one scaled series."""
        windows = encoder.cut(self.series, 0, len(self.series))
        return Cases(windows.inputs, windows.targets)

    def network(self, model: ModelConfig) -> Network:
        """Return a network that reads the columns and gives the steps of the horizon."""
        from lstmreg.models import Network

        return Network(model, len(self.features), self.data.horizon)

    def criterion(self, training: TrainingConfig, encoder: Windower) -> Criterion:
        """Return the loss by its name."""
        from lstmreg.losses import CRITERIA

        return CRITERIA[self.loss_name(training)]

    # ---------------------------------------------------------------- judging

    def predictions(self, encoder: Windower, outputs: NDArray[np.float32], cases: NDArray[np.int64]) -> Values:
        """Undo the scales and the differences: ``(M, O)``."""
        return encoder.unscaled(self.series, self._rows(cases), outputs)

    def truth(self, cases: NDArray[np.int64]) -> Values:
        """Return the target in the steps ahead, ``(M, O)``."""
        values: Values = self.series.target[self._rows(cases)[:, None] + np.arange(self.data.horizon)]
        return values

    def floors(self, split: Split, cases: NDArray[np.int64]) -> dict[str, Values]:
        """Return the mean of all rows before the first, the last value, and that of one season ago."""
        rows = self._rows(cases)
        return floor_predictions(self.series, int(rows[0]), rows, self.data.horizon, self.data.season)

    def scales(self, encoder: Windower) -> dict[str, Any]:
        """Return the standard deviation by which the target is scaled."""
        return {"target": float(encoder.target.scale)}

    @classmethod
    def losses(
        cls, training: TrainingConfig, predictions: Values, truth: Values, scales: Mapping[str, Any]
    ) -> NDArray[np.float64]:
        """Return the mean over the steps ahead, of scaled values."""
        return losses_of_numbers(cls.loss_name(training), predictions / scales["target"], truth / scales["target"])

    @classmethod
    def errors(
        cls, training: TrainingConfig, predictions: Values, truth: Values, scales: Mapping[str, Any]
    ) -> dict[str, float]:
        """Return the error in the target's units: mean absolute for the loss ``mae``, else root mean square."""
        if training.loss == "mae":
            return {"mean absolute error": mean_absolute_error(predictions, truth)}
        return {"root mean square error": root_mean_square_error(predictions, truth)}

    # ---------------------------------------------------------------- out

    def scores(self, predictions: Values, truth: Values) -> NDArray[np.float64]:
        """Return the distances from the truth, in the target's units: a column for each step ahead."""
        return np.abs(predictions - truth)

    def predictor(self, network: Network | Ensemble, encoder: Windower, val_loss: float | None = None) -> Forecaster:
        """Return what forecasts a table like the one that was read."""
        from lstmreg.forecaster import Forecaster

        return Forecaster(network, self.features, self.target, encoder, self.series.reading, val_loss)


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
    series: Series, train_rows: int, first_steps: NDArray[np.int64], horizon: int = 1, lag: int = 0
) -> Outside:
    """Compare the target in the rows that are forecast, or its change from ``lag`` rows before, with the training's."""
    values = series.target[lag:] - series.target[:-lag] if lag else series.target
    seen, new = values[: train_rows - lag], values[first_steps[0] - lag : first_steps[-1] + horizon - lag]
    return Outside(int((new > seen.max()).sum()), int((new < seen.min()).sum()), len(new))


def _before(lag: int) -> str:
    return "the row before" if lag == 1 else f"{lag} rows before"


def _remedy_for_a_trend(lag: int) -> str:
    if lag:
        return "Train on more recent rows, or try another data.difference."
    return (
        "Let it learn changes: data.difference: 1 (from the row before), or season (from data.season rows before); "
        "forecasts stay in the target's units."
    )
