"""One training as a configuration describes it: network or ensemble, data and seeds from a ``Config`` and a split."""

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

from lstmreg.config import Config, TrainingConfig, with_settings
from lstmreg.data.floors import error_name, floors_on, forecast_error
from lstmreg.data.module import WindowsDataModule
from lstmreg.data.splits import Split, hold_out
from lstmreg.data.table import Series, read_series
from lstmreg.data.windows import Windower
from lstmreg.forecaster import Forecaster
from lstmreg.initializers import seeded
from lstmreg.models import Ensemble, Network
from lstmreg.population import Population

from .fitting import CRITERIA, FitResult, evaluate, fit
from .module import Criterion
from .population import fit_population


@dataclass(frozen=True)
class Trained:
    """A trained network or ensemble, the data it saw, and how its training went.

    Attributes:
        network: The network, in eval mode.
        data: What it was trained on; of an ensemble, in the order of its first member's batches.
        results: How the training of each of its members went; a network by itself is its only member.
        train_loss: Loss of ``network`` on the training data; of an ensemble, that of its mean prediction.
        val_loss: The same on the validation data.
    """

    network: Network | Ensemble
    data: WindowsDataModule
    results: tuple[FitResult, ...]
    train_loss: float
    val_loss: float

    @classmethod
    def alone(cls, network: Network, data: WindowsDataModule, result: FitResult) -> Trained:
        """Return a network by itself."""
        return cls(network, data, (result,), result.train_loss, result.val_loss)

    @property
    def result(self) -> FitResult:
        """How the training of a network by itself went."""
        (only,) = self.results
        return only

    def forecast(self, start: int, stop: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Forecast each window with targets in rows ``[start, stop)``, in the target's own units.

        Returns:
            Predictions ``(N, O)`` and the true values ``(N, O)``.
        """
        series, windower = self.data.series, self.data.windower
        windows = windower.cut(series, start, stop)
        return (
            self.forecaster().forecast_from(series, windows.rows),
            windower.unscaled(series, windows.rows, windows.targets),
        )

    def forecaster(self) -> Forecaster:
        """Return what is saved: the network, and what it needs to forecast a table like the one it was trained on."""
        series = self.data.series
        return Forecaster(
            self.network, series.features, series.target_name, self.data.windower, series.reading, self.val_loss
        )

    def about(self) -> dict[str, Any]:
        """Describe the network for its ``model.json``: the columns it reads, their scales, its score."""
        return self.forecaster().about()


def train_configured(config: Config, series: Series, split: Split, callbacks: Sequence[pl.Callback] = ()) -> Trained:
    """Train what is configured: one network or, with ``model.members``, an ensemble, all of its members at once.

    The first member is the network that would be trained alone; the others have seeds that follow from its own.
    Members that diverge are left out.

    Raises:
        DivergedError: As :func:`lstmreg.fit`; of an ensemble, if fewer than two members are left.
    """
    if config.model.members == 1:
        return train_single(config, series, split, callbacks)
    known: dict[object, WindowsDataModule] = {}
    seeds = [_member_seed(config.training.seed, number) for number in range(config.model.members)]
    tasks = [prepare(with_settings(config, {"training.seed": seed}), series, split, known) for seed in seeds]
    population = Population(task.network for task in tasks)
    results = fit_population(
        population, [task.data for task in tasks], [task.training for task in tasks], callbacks=callbacks
    )
    left = [k for k, result in enumerate(results) if result.failure is None]
    if len(left) < 2:
        raise next(result.failure for result in results if result.failure is not None)
    ensemble, data = Ensemble(population[k] for k in left).eval(), tasks[0].data
    train_loss, val_loss = (
        evaluate(ensemble, batches, CRITERIA[config.training.loss])
        for batches in (data.train_dataloader(), data.val_dataloader())
    )
    return Trained(ensemble, data, tuple(results[k] for k in left), train_loss, val_loss)


def _member_seed(seed: int, number: int) -> int:
    return seed if number == 0 else int(np.random.SeedSequence((seed, number)).generate_state(1)[0])


def train_single(config: Config, series: Series, split: Split, callbacks: Sequence[pl.Callback] = ()) -> Trained:
    """Train one network from ``config.training.seed``, however many ``model.members`` there are.

    Initial weights, the order of the batches and the masks come from three streams of that seed, so that
    turning a knob moves none of the others.

    Raises:
        DivergedError: As :func:`lstmreg.fit`.
    """
    task = prepare(config, series, split, {})
    with _threads(config):
        result = fit(task.network, task.data, task.training, callbacks=callbacks)
    return Trained.alone(task.network, task.data, result)


class Prepared(NamedTuple):
    """A network that is still to be trained, its data, and its settings, whose seed is that of the masks."""

    network: Network
    data: WindowsDataModule
    training: TrainingConfig


def prepare(config: Config, series: Series, split: Split, known: dict[object, WindowsDataModule]) -> Prepared:
    """Make the network that ``config`` describes; of an ensemble, the member of its seed.

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
        model = dataclasses.replace(config.model, members=1)
        network = Network(model, len(series.features), config.data.horizon)
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
    """What was trained and its errors on the test rows, in the target's units.

    Attributes:
        trained: The network or ensemble, and its training.
        val_floors: Validation loss of each prediction without a model, in scaled units like ``val_loss``.
        test_error: Of what was trained.
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
        return _behind(self.trained.val_loss, self.val_floors)

    @property
    def test_behind(self) -> Behind | None:
        """What it does not beat on the test rows."""
        return _behind(self.test_error, self.test_floors)


def _behind(error: float, floors: dict[str, float]) -> Behind | None:
    best = min(floors, key=floors.__getitem__)
    return Behind(best, floors[best], error) if not error < floors[best] else None


def fit_held_out(config: Config, callbacks: Sequence[pl.Callback] = ()) -> HeldOut:
    """Train what is configured once; the last rows test it, as many before them validate.

    Raises:
        DataError: If the data cannot be used, or are too few.
        DivergedError: As :func:`lstmreg.fit`.
    """
    series = read_series(config.data)
    validation, test = hold_out(len(series), config.data)
    trained = train_configured(config, series, validation, callbacks)
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
