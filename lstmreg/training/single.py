"""One training as a configuration describes it: network, data and seeds from a ``Config`` and a split."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import lightning.pytorch as pl
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lstmreg.config import Config, TrainingConfig
from lstmreg.data.floors import error_name, floors_on, forecast_error
from lstmreg.data.module import WindowsDataModule
from lstmreg.data.splits import Split, hold_out
from lstmreg.data.table import Series, read_series
from lstmreg.data.windows import Windower
from lstmreg.initializers import seeded
from lstmreg.models import Network

from .fitting import CRITERIA, FitResult, fit
from .module import Criterion


@dataclass(frozen=True)
class Trained:
    """A trained network, the data it saw, and how its training went."""

    network: Network
    data: WindowsDataModule
    result: FitResult

    def forecast(self, start: int, stop: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Forecast each window with targets in rows ``[start, stop)``, in the target's own units.

        Returns:
            Predictions ``(N, O)`` and the true values ``(N, O)``.
        """
        windows = self.data.windower.cut(self.data.series, start, stop)
        device = next(self.network.parameters()).device
        with torch.no_grad():
            scaled = self.network(torch.from_numpy(windows.inputs).to(device)).cpu().numpy()
        return (
            self.data.windower.unscaled(self.data.series, windows.rows, scaled),
            self.data.windower.unscaled(self.data.series, windows.rows, windows.targets),
        )

    def about(self) -> dict[str, Any]:
        """Describe the network for its ``model.json``: the columns it reads, their scales, its score."""
        windower, series = self.data.windower, self.data.series
        about = {
            "features": list(series.features),
            "target": series.target_name,
            "window": windower.window,
            "horizon": windower.horizon,
            "inputs": {"mean": windower.inputs.mean.tolist(), "scale": windower.inputs.scale.tolist()},
            "outputs": {"mean": float(windower.target.mean), "scale": float(windower.target.scale)},
            "val_loss": self.result.val_loss,
        }
        if windower.lag:
            own_past = [name for name in series.features if name == series.target_name]
            about["difference"] = {
                "lag": windower.lag,
                "inputs": own_past,
                "use": _use_of_differences(own_past, windower.lag),
            }
        return about


def _use_of_differences(own_past: list[str], lag: int) -> str:
    """Say what a reader of ``model.json`` must know where the target was differenced."""
    before = "the row before" if lag == 1 else f"{lag} rows before"
    goes_in = f"column {own_past[0]!r} goes in as its change from {before}. " if own_past else ""
    known = (
        "the last known value of the target, for each step of the horizon"
        if lag == 1
        else f"the target's value {lag} rows before that step, or as many times {lag} as it takes to be known by then"
    )
    return f"{goes_in}What comes out is a change: times scale plus mean, it is what to add to {known}"


def train_single(config: Config, series: Series, split: Split, callbacks: Sequence[pl.Callback] = ()) -> Trained:
    """Train one network from ``config.training.seed``.

    Initial weights, the order of the batches and the masks come from three streams of that seed, so that
    turning a knob moves none of the others.

    Raises:
        DivergedError: As :func:`lstmreg.fit`.
    """
    task = prepare(config, series, split, {})
    with _threads(config):
        result = fit(task.network, task.data, task.training, callbacks=callbacks)
    return Trained(task.network, task.data, result)


class Prepared(NamedTuple):
    """A network that is still to be trained, its data, and its settings, whose seed is that of the masks."""

    network: Network
    data: WindowsDataModule
    training: TrainingConfig


def prepare(config: Config, series: Series, split: Split, known: dict[object, WindowsDataModule]) -> Prepared:
    """Make what ``config`` describes.

    Args:
        config: The run.
        series: The data.
        split: Where training ends.
        known: Data modules that were made before; the same one is not made twice, but put in here.
    """
    weights, order, masks = (int(s) for s in np.random.SeedSequence(config.training.seed).generate_state(3))
    data = config.data
    windows = split, data.window, data.horizon, data.lag
    batches = *windows, config.training.batch_size, order
    if windows not in known:
        known[windows] = WindowsDataModule(series, split, window=data.window, horizon=data.horizon, lag=data.lag)
    if batches not in known:
        known[batches] = known[windows].in_batches(config.training.batch_size, order)
    with seeded(weights):
        network = Network(config.model, len(series.features), config.data.horizon)
    return Prepared(network, known[batches], dataclasses.replace(config.training, seed=masks))


#: Up to so many hidden units one thread is the fastest, and on a busy machine by far: two threads that
#: wait for each other at every step were measured 30 times slower beside one other busy process.
_ONE_THREAD_UP_TO = 128


@contextmanager
def _threads(config: Config) -> Iterator[None]:
    """Let torch use one thread for a small network, and as many as it likes for a large one."""
    before = torch.get_num_threads()
    sizes = config.model.hidden_size
    if max(sizes if isinstance(sizes, list) else [sizes]) <= _ONE_THREAD_UP_TO:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Behind(NamedTuple):
    """Where a network is no better than a prediction without a model."""

    floor: str  #: the best such prediction
    error: float  #: its error, in the units of the network's
    network: float


class Outside(NamedTuple):
    """How many of the test rows lie outside what the training rows have shown."""

    above: int
    below: int
    rows: int  #: all test rows

    @property
    def is_trend(self) -> bool:
        """Whether they are too many for chance; of rows in random order it would be about one."""
        return max(self.above, self.below) > max(1.0, self.rows * _MANY_OUTSIDE)


_MANY_OUTSIDE = 0.1


@dataclass(frozen=True)
class HeldOut:
    """A single fit and its errors on the test rows, in the target's units.

    Attributes:
        trained: The network and its training.
        val_floors: Validation loss of each prediction without a model, in scaled units like ``val_loss``.
        test_error: Of the network.
        test_floors: Of each prediction without a model.
        metric: Name of the error.
        outside: Test rows whose target, or its change where that is learned, leaves the range of the training rows.
    """

    trained: Trained
    val_floors: dict[str, float]
    test_error: float
    test_floors: dict[str, float]
    metric: str
    outside: Outside

    @property
    def val_behind(self) -> Behind | None:
        """What the network does not beat on the validation rows."""
        return _behind(self.trained.result.val_loss, self.val_floors)

    @property
    def test_behind(self) -> Behind | None:
        """What it does not beat on the test rows."""
        return _behind(self.test_error, self.test_floors)


def _behind(error: float, floors: dict[str, float]) -> Behind | None:
    best = min(floors, key=floors.__getitem__)
    return Behind(best, floors[best], error) if not error < floors[best] else None


def fit_held_out(config: Config, callbacks: Sequence[pl.Callback] = ()) -> HeldOut:
    """Train the configured network once; the last rows test it, as many before them validate.

    Raises:
        DataError: If the data cannot be used, or are too few.
        DivergedError: As :func:`lstmreg.fit`.
    """
    series = read_series(config.data)
    validation, test = hold_out(len(series), config.data)
    trained = train_single(config, series, validation, callbacks)
    prediction, truth = trained.forecast(test.origin, test.end)
    loss, horizon, season = config.training.loss, config.data.horizon, config.data.season
    return HeldOut(
        trained=trained,
        val_floors=floor_losses(series, validation, trained.data.windower, CRITERIA[loss], season),
        test_error=forecast_error(loss, prediction, truth),
        test_floors={
            name: forecast_error(loss, floor, truth)
            for name, floor in floors_on(series, test, horizon, season)[1].items()
        },
        metric=error_name(loss),
        outside=rows_outside(series, validation.origin, test, config.data.lag),
    )


def rows_outside(series: Series, train_rows: int, test: Split, lag: int = 0) -> Outside:
    """Compare the target in the test rows, or its change from ``lag`` rows before, with the training rows."""
    values = series.target[lag:] - series.target[:-lag] if lag else series.target
    seen, new = values[: train_rows - lag], values[test.origin - lag : test.end - lag]
    return Outside(int((new > seen.max()).sum()), int((new < seen.min()).sum()), len(new))


def floor_losses(
    series: Series, split: Split, windower: Windower, criterion: Criterion, season: int | None
) -> dict[str, float]:
    """Return the validation loss of each prediction without a model, in the units of a fit's ``val_loss``."""
    rows = split.first_steps(windower.horizon)
    truth, floors = floors_on(series, split, windower.horizon, season)

    def scaled(values: NDArray[np.float64]) -> Tensor:
        return torch.from_numpy(windower.scaled(series, rows, values))

    return {name: float(criterion(scaled(floor), scaled(truth))) for name, floor in floors.items()}
