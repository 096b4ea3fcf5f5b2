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

from lstmreg import models
from lstmreg.config import Config, TrainingConfig, with_settings
from lstmreg.data.cases import Cases
from lstmreg.initializers import seeded
from lstmreg.intervals import Calibration, GroupScores, Scores, levels_of, scores_by_group
from lstmreg.losses import Criterion, weighted
from lstmreg.models import Ensemble, Network
from lstmreg.population import Population
from lstmreg.tasks import Predictor, Split, Task, read_task
from lstmreg.tasks.task import Values

from . import memory
from .fitting import FitResult, evaluate, fit
from .population import fit_population


@dataclass(frozen=True, eq=False)
class Lesson:
    """What all trainings on a split have in common.

    Attributes:
        task: The question and the data.
        split: Which cases train.
        encoder: What those decide.
        cases: All cases, encoded.
    """

    task: Task
    split: Split
    encoder: Any
    cases: Cases

    @classmethod
    def of(cls, task: Task, split: Split) -> Lesson:
        """Encode the cases of a task by those that train."""
        encoder = task.encoder(split)
        cases = task.encoded(encoder)
        weights = task.relative_weights(split, np.arange(len(cases))) if isinstance(cases, Cases) else None
        if weights is not None:
            cases = dataclasses.replace(cases, weights=weights.astype(np.float32))
        return cls(task, split, encoder, cases)

    def criterion(self, training: TrainingConfig) -> Criterion:
        """Return what is minimized; where cases have weights, it takes them."""
        criterion = self.task.criterion(training, self.encoder)
        if getattr(self.cases, "weights", None) is None:
            return criterion
        return weighted(criterion, are_classes=self.cases.targets.dtype.kind == "i")

    def without(self, column: int) -> Lesson:
        """Return it with zeros in an input column."""
        return dataclasses.replace(self, cases=self.cases.without(column))

    def module(self, batch_size: int, seed: int) -> pl.LightningDataModule:
        """Return the split in batches, whose order the seed decides."""
        return self.task.batches(self.encoder, self.cases, self.split, batch_size=batch_size, seed=seed)


#: On so many of the judged cases the intervals of Monte-Carlo dropout are measured, with so many samples.
_MOST_SAMPLED, _SAMPLES = 200, 100


@dataclass(frozen=True)
class Trained:
    """A trained network or ensemble, what it learned, and how its training went.

    Attributes:
        network: The network, in eval mode.
        lesson: What it was trained on.
        results: How the training of each of its members went; a network by itself is its only member.
        train_loss: Loss of ``network`` on the training cases; of an ensemble, that of its mean prediction.
        val_loss: The same on the validation cases.
        training: How it was trained, which says what its loss is.
    """

    network: Network | Ensemble
    lesson: Lesson
    results: tuple[FitResult, ...]
    train_loss: float
    val_loss: float
    training: TrainingConfig

    @classmethod
    def alone(cls, network: Network, lesson: Lesson, result: FitResult, training: TrainingConfig) -> Trained:
        """Return a network by itself."""
        return cls(network, lesson, (result,), result.train_loss, result.val_loss, training)

    @property
    def result(self) -> FitResult:
        """How the training of a network by itself went."""
        (only,) = self.results
        return only

    def predict(self, cases: NDArray[np.int64]) -> Values:
        """Predict some cases of the task, in the user's units."""
        lesson = self.lesson
        outputs = lesson.task.outputs(self.network, lesson.cases, cases)
        return lesson.task.predictions(lesson.encoder, outputs, cases)

    def judged_losses(self) -> NDArray[np.float64]:
        """Return the loss of each judged case ``(M,)``, in the units of ``val_loss``, which had no say in the training.

        Where the prediction of several members is judged, it is that of their mean.
        """
        task, split = self.lesson.task, self.lesson.split
        scales = task.judging(self.lesson.encoder, split, split.judged)
        return task.weighted_losses(self.training, self.predict(split.judged), task.truth(split.judged), scales)

    def column_weights(self) -> NDArray[np.float64] | None:
        """Return the largest absolute input weight of each column ``(D,)``, of an ensemble in any of its members.

        It is ``None`` if a column is not one input.
        """
        if not isinstance(self.network, (Network, Ensemble)) or self.network.vocabularies:
            return None
        networks: Any = self.network.members if isinstance(self.network, Ensemble) else [self.network]
        named = [one for network in networks for one in network.layers[0].named_parameters()]
        rows = [weight.detach() for name, weight in named if name.startswith("weight_ih")]
        largest: NDArray[np.float64] = torch.cat(rows).abs().amax(0).numpy().astype(np.float64)
        return largest

    def switched_off(self) -> tuple[str, ...]:
        """Return the names of the input columns whose input weights are all exactly zero: they change nothing."""
        weights, names = self.column_weights(), self.lesson.task.features
        if weights is None or len(weights) != len(names):
            return ()
        return tuple(name for name, weight in zip(names, weights, strict=True) if weight == 0)

    def predictor(self) -> Predictor:
        """Return what is saved: the network, what it needs to predict from data like those, and its calibration."""
        made = self.lesson.task.predictor(self.network, self.lesson.encoder, self.val_loss)
        calibration = self.calibration()
        return made if calibration is None else made.calibrated(calibration)

    def calibration(self) -> Calibration | None:
        """Return what the validation cases say of the width of intervals, and the judged cases of their coverage.

        Neither have trained anything; but the validation cases have ended the training, so that what they say is a
        little too good, and what the judged ones say is not.
        """
        split = self.lesson.split
        found, judged = self._scores(split.validation), self._scores(split.judged)
        scores = None if found is None else Scores.of(found)
        if found is None or scores is None:
            return None
        of_judged = None if judged is None else Scores.of(judged)
        return Calibration(scores, of_judged, self._levels(split.judged), self._by_group(found, judged))

    def _by_group(self, found: Values, judged: Values | None) -> dict[str, GroupScores]:
        task, split = self.lesson.task, self.lesson.split
        groups, of_judged = task.groups_of(split.validation), task.groups_of(split.judged)
        if groups is None or of_judged is None or judged is None:
            return {}
        return scores_by_group(found, groups, judged, of_judged)

    def _scores(self, cases: NDArray[np.int64]) -> Values | None:
        task = self.lesson.task
        if not len(cases):
            return None
        scores, units = (
            task.scores(self.predict(cases), task.truth(cases)),
            task.score_units(self.lesson.encoder, cases),
        )
        return scores if scores is None or units is None else scores / units

    def _levels(self, cases: NDArray[np.int64]) -> Scores | None:
        """Return at which confidence the samples of Monte-Carlo dropout cover the truth of some of the cases."""
        if not isinstance(self.network, (Network, Ensemble)) or not models.drops(self.network) or not len(cases):
            return None
        cases = cases[np.unique(np.linspace(0, len(cases) - 1, _MOST_SAMPLED).astype(np.int64))]
        truth = self.lesson.task.truth(cases)
        inputs, lengths = self._encoded(cases)
        outputs = models.sampled_outputs(self.network, inputs, lengths, samples=_SAMPLES, seed=0).numpy()
        encoder = self.lesson.encoder
        samples = np.stack([self.lesson.task.predictions(encoder, of_all, cases) for of_all in outputs])
        if samples.shape[1:] != truth.shape:  # probabilities, of which nobody knows the truth
            return None
        return Scores.of(levels_of(samples, truth).reshape(len(cases), -1))

    def _encoded(self, cases: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor | None]:
        encoded, numbers = self.lesson.cases, torch.from_numpy(cases)
        inputs = torch.from_numpy(encoded.inputs).index_select(0, numbers)
        return inputs, None if encoded.lengths is None else torch.from_numpy(encoded.lengths).index_select(0, numbers)


def train_configured(config: Config, task: Task, split: Split, callbacks: Sequence[pl.Callback] = ()) -> Trained:
    """Train what is configured: one network or, with ``model.members``, an ensemble, all of its members at once.

    The first member is the network that would be trained alone; the others have seeds that follow from its own.
    Members that diverge are left out.

    Raises:
        DivergedError: As :func:`lstmreg.fit`; of an ensemble, if fewer than two members are left.
        ConfigError: If there is not enough memory for it.
    """
    memory.check_fits(config, task)
    with memory.told_if_it_ends(config, task):
        return _train_configured(config, task, split, callbacks)


def _train_configured(config: Config, task: Task, split: Split, callbacks: Sequence[pl.Callback]) -> Trained:
    if config.model.members == 1:
        return train_single(config, task, split, callbacks)
    known: Known = {}
    seeds = [_member_seed(config.training.seed, number) for number in range(config.model.members)]
    prepared = [prepare(with_settings(config, {"training.seed": seed}), task, split, known) for seed in seeds]
    population = Population(one.network for one in prepared)
    first = prepared[0]
    results = fit_population(
        population,
        [one.data for one in prepared],
        [one.training for one in prepared],
        criterion=[one.criterion for one in prepared],
        callbacks=callbacks,
    )
    left = [k for k, result in enumerate(results) if result.failure is None]
    if len(left) < 2:
        raise next(result.failure for result in results if result.failure is not None)
    ensemble = Ensemble(population[k] for k in left).eval()
    train_loss, val_loss = (
        evaluate(ensemble, batches, first.criterion)
        for batches in (first.data.train_dataloader(), first.data.val_dataloader())
    )
    return Trained(ensemble, first.lesson, tuple(results[k] for k in left), train_loss, val_loss, config.training)


def _member_seed(seed: int, number: int) -> int:
    return seed if number == 0 else int(np.random.SeedSequence((seed, number)).generate_state(1)[0])


def train_single(config: Config, task: Task, split: Split, callbacks: Sequence[pl.Callback] = ()) -> Trained:
    """Train one network from ``config.training.seed``, however many ``model.members`` there are.

    Initial weights, the order of the batches and the masks come from three streams of that seed, so that
    turning a knob moves none of the others.

    Raises:
        DivergedError: As :func:`lstmreg.fit`.
    """
    one = prepare(config, task, split, {})
    with _threads(config):
        result = fit(one.network, one.data, one.training, criterion=one.criterion, callbacks=callbacks)
    return Trained.alone(one.network, one.lesson, result, config.training)


class Prepared(NamedTuple):
    """A network that is still to be trained, its data, and its settings, whose seed is that of the masks."""

    network: Network
    lesson: Lesson
    data: pl.LightningDataModule
    training: TrainingConfig
    criterion: Criterion


#: What several trainings share, by what decides it.
Known = dict[object, Any]


def prepare(config: Config, task: Task, split: Split, known: Known, without: int | None = None) -> Prepared:
    """Make the network that ``config`` describes; of an ensemble, the member of its seed.

    Args:
        config: The run.
        task: The question and the data.
        split: Which cases train.
        known: Lessons and data modules that were made before; the same one is not made twice, but put in here.
        without: Number of an input column of which the network is to see zeros alone.
    """
    weights, order, masks = (int(s) for s in np.random.SeedSequence(config.training.seed).generate_state(3))
    batches = split.key, without, config.training.batch_size, order
    if split.key not in known:
        known[split.key] = Lesson.of(task, split)
    lesson: Lesson = known[split.key]
    if without is not None:
        if (split.key, without) not in known:
            known[split.key, without] = lesson.without(without)
        lesson = known[split.key, without]
    if batches not in known:
        known[batches] = lesson.module(config.training.batch_size, order)
    with seeded(weights):
        network = task.network(dataclasses.replace(config.model, members=1))
    training = dataclasses.replace(config.training, seed=masks)
    return Prepared(network, lesson, known[batches], training, lesson.criterion(training))


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


@dataclass(frozen=True)
class HeldOut:
    """What was trained and its errors on the test, in the user's units.

    Attributes:
        trained: The network or ensemble, and its training.
        val_floors: Validation loss of each prediction without a model, in scaled units like ``val_loss``.
        errors: Of what was trained, on the test, by name, the most important first.
        floors: Those of each prediction without a model.
    """

    trained: Trained
    val_floors: dict[str, float]
    errors: dict[str, float]
    floors: dict[str, dict[str, float]]

    @property
    def metric(self) -> str:
        """Name of the most important error."""
        return next(iter(self.errors))

    @property
    def test_error(self) -> float:
        """The most important error of what was trained."""
        return self.errors[self.metric]

    @property
    def test_floors(self) -> dict[str, float]:
        """That of each prediction without a model."""
        return {name: errors[self.metric] for name, errors in self.floors.items()}

    @property
    def val_behind(self) -> Behind | None:
        """What the network does not beat in validation."""
        return _behind(self.trained.val_loss, self.val_floors)

    @property
    def test_behind(self) -> Behind | None:
        """What it does not beat on the test."""
        return _behind(self.test_error, self.test_floors)

    @property
    def warnings(self) -> list[str]:
        """What else a reader must know, a sentence each."""
        return self.trained.lesson.task.warnings(self.trained.lesson.split)


def _behind(error: float, floors: dict[str, float]) -> Behind | None:
    best = min(floors, key=floors.__getitem__)
    return Behind(best, floors[best], error) if not error < floors[best] else None


def fit_held_out(
    config: Config, callbacks: Sequence[pl.Callback] = (), *, data: Any = None, task: Task | None = None
) -> HeldOut:
    """Train what is configured once; some of the task's cases test it, as many others validate.

    Args:
        config: The run.
        callbacks: Further Lightning callbacks.
        data: The data themselves, in place of those that ``config.data.path`` names; see :func:`lstmreg.search.run`.
        task: In place of both: a task with its data.

    Raises:
        DataError: If the data cannot be used, or are too few.
        DivergedError: As :func:`lstmreg.fit`.
    """
    task = read_task(config, data) if task is None else task
    config, split = task.completed(config), task.hold_out()
    trained = train_configured(config, task, split, callbacks)
    truth, scales = task.truth(split.judged), task.judging(trained.lesson.encoder, split, split.judged)

    def errors(predictions: Values) -> dict[str, float]:
        return task.errors(config.training, predictions, truth, scales)

    return HeldOut(
        trained=trained,
        val_floors=floor_losses(config.training, trained.lesson),
        errors=errors(trained.predict(split.judged)),
        floors={name: errors(floor) for name, floor in task.floors(split, split.judged).items()},
    )


def floor_losses(training: TrainingConfig, lesson: Lesson, cases: NDArray[np.int64] | None = None) -> dict[str, float]:
    """Return the loss of each prediction without a model on some cases, in the units of a fit's ``val_loss``.

    Args:
        training: Says what the loss is.
        lesson: What would be trained on.
        cases: Numbers of the cases. Default: those that validate.
    """
    task, cases = lesson.task, lesson.split.validation if cases is None else cases
    truth, scales = task.truth(cases), task.judging(lesson.encoder, lesson.split, cases)
    floors = task.floors(lesson.split, cases)
    return {name: float(task.weighted_losses(training, floor, truth, scales).mean()) for name, floor in floors.items()}
