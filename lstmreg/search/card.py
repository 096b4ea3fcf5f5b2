"""The data card: what a report must know about the data, so that it needs the data no more."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lstmreg.config import Config
from lstmreg.data.floors import floors_on, forecast_error
from lstmreg.data.splits import Split, Splits
from lstmreg.data.table import Series
from lstmreg.data.windows import Windower
from lstmreg.training.fitting import CRITERIA
from lstmreg.training.single import floor_losses

#: A loss below this, in units of the target's variance, is no loss but the rounding of 32 bits.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class DataCard:
    """The data of one run, in plain types.

    Attributes:
        path: The file.
        sha256: Of its bytes.
        rows: Rows in use, N.
        features: Input columns.
        target: The column to forecast.
        notes: What the reader noticed, a sentence each.
        choose: First and last target row of each choosing split, as the time column labels them.
        confirm: Likewise of each confirming split.
        test: Likewise of the test.
        floors: Validation loss of each prediction without a model, on each confirming split, in scaled units.
        test_floors: Their error on the test rows, in the target's units.
        test_labels: Time of each test row.
        test_truth: The true value there.
        test_scale: The standard deviation by which the tested models' losses are scaled.
    """

    path: str
    sha256: str
    rows: int
    features: list[str]
    target: str
    notes: list[str]
    choose: list[list[str]]
    confirm: list[list[str]]
    test: list[str]
    floors: dict[str, list[float]]
    test_floors: dict[str, float]
    test_labels: list[str]
    test_truth: list[float]
    test_scale: float

    @property
    def best_floor(self) -> str:
        """The prediction without a model that is hardest to beat on the confirming splits."""
        return min(self.floors, key=lambda name: float(np.mean([log_loss(x) for x in self.floors[name]])))


def make_card(config: Config, series: Series, splits: Splits) -> DataCard:
    """Describe the data of a run."""

    def span(split: Split) -> list[str]:
        return [series.labels[split.origin], series.labels[split.end - 1]]

    def floors(split: Split) -> dict[str, float]:
        data = config.data
        windower = Windower.fit(series, split.origin, data.window, data.horizon, data.lag)
        return floor_losses(series, split, windower, CRITERIA[config.training.loss], config.data.season)

    per_split = [floors(split) for split in splits.confirm]
    truth, predicted = floors_on(series, splits.test, config.data.horizon, config.data.season)
    tested = slice(splits.test.origin, splits.test.end)
    scale = Windower.fit(series, splits.final.origin, config.data.window, config.data.horizon).target.scale
    return DataCard(
        path=series.path,
        sha256=series.sha256,
        rows=len(series),
        features=list(series.features),
        target=series.target_name,
        notes=list(series.notes),
        choose=[span(s) for s in splits.choose],
        confirm=[span(s) for s in splits.confirm],
        test=span(splits.test),
        floors={name: [losses[name] for losses in per_split] for name in per_split[0]},
        test_floors={name: forecast_error(config.training.loss, floor, truth) for name, floor in predicted.items()},
        test_labels=list(series.labels[tested]),
        test_truth=[float(value) for value in series.target[tested]],
        test_scale=float(scale),
    )


def log_loss(loss: float) -> float:
    """Return the logarithm of a loss in scaled units; of one that is exactly zero, that of rounding."""
    return math.log(max(loss, _ROUNDING))
