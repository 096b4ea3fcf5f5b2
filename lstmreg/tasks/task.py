"""What a task is: it makes cases of data, splits them, and says what predictions of them are worth.

Whatever trains, searches or reports asks the task, and knows of none in particular; and a task knows neither who asks
nor why. Nothing here loads torch before a network is asked for: what is wrong with the data is said before.
"""

from __future__ import annotations

import dataclasses
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from lstmreg.config import Config, DataConfig, ModelConfig, SearchConfig, TrainingConfig
from lstmreg.data.cases import Cases
from lstmreg.data.fingerprint import Fingerprint
from lstmreg.rules import require

if TYPE_CHECKING:
    import lightning.pytorch as pl

    from lstmreg.intervals import Calibration
    from lstmreg.losses import Criterion

#: What the training cases of a split decide, such as scales; only its task looks inside.
Encoder = Any

#: Predictions, or the truth: a row for each case, in the user's own units.
Values = NDArray[np.float64]

_NONE: NDArray[np.int64] = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Split:
    """Which cases train a network, end its training, and judge it.

    Attributes:
        key: By which the record of a training knows its split again, whatever other splits there are: the same numbers
            for the same cases.
        span: The first and the last of the cases that it is for, in words.
        train: Numbers of the cases that train.
        validation: Numbers of those whose loss ends the training.
        judged: Numbers of those whose loss is taken after it: a minimum over epochs flatters whatever overfits.
    """

    key: tuple[int, ...]
    span: tuple[str, str]
    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    judged: NDArray[np.int64] = field(default_factory=lambda: _NONE)


def _thinned(split: Split, cases: int) -> Split:
    if len(split.train) <= cases:
        return split
    chosen = len(split.train) - 1 - np.arange(cases) * len(split.train) // cases
    return dataclasses.replace(split, train=split.train[chosen[::-1]])


@dataclass(frozen=True)
class Splits:
    """The splits of one experiment.

    Attributes:
        blocks: On which settings are chosen and judged; as few cases as can be are judged in two of them.
        final: Trains the models that meet the test, which is what it judges.
    """

    blocks: tuple[Split, ...]
    final: Split

    def thinned(self, cases: int) -> Splits:
        """Return splits whose blocks train on so many cases at most, evenly chosen; all others stay.

        Where the cases of a block are in order of time, its last ones are among them.
        """
        return dataclasses.replace(self, blocks=tuple(_thinned(split, cases) for split in self.blocks))


class Predictor(Protocol):
    """A network with what it needs to predict from data in their own units; it can be saved."""

    def calibrated(self, calibration: Calibration) -> Predictor:
        """Return the same with intervals; asked for where the task has :meth:`Task.scores`."""

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Write it into a folder, which is made if there is none."""


def weights_of(scales: Mapping[str, Any]) -> NDArray[np.float64] | None:
    """Return how much each judged case counts, ``(M,)``, of what :meth:`Task.judging` returns."""
    return np.array(scales["weights"], dtype=np.float64) if "weights" in scales else None


class Task(ABC):
    """A question, and the data to answer it from.

    Attributes:
        name: As it stands in ``lstmreg.yaml``.
        cases_are: What its cases are called, such as ``windows``.
        parts_are: What its data consist of, such as ``rows``; in words like "the test rows".
        predictions_are: What one of its predictions is called, such as ``forecast``.
        columns_are: What the columns of its predictions are, if each is judged by itself too: ``steps ahead``.
        do_neighbours_depend: Whether neighbouring cases depend on each other, as windows that overlap do.
        losses_by_name: What ``training.loss`` may be, the default first.
        higher_is_better: Those of its errors that are no errors but scores; never the first, by which all is compared.
        floor_names: What a prediction without a network is called in a sentence, by its name.
        simple_models: Which of these learn from the cases, so that one may use them instead. The others learn next to
            nothing: a network that does not beat them has learnt nothing either.
        has_own_networks: Whether its networks are others than :class:`lstmreg.Network`: they are trained one by one,
            and what they predict is not looked at.
        can_leave_out: Whether its losses leave out a truth that is NaN, and are means over the others, so that one can
            say which part of a loss is whose.
        settings_shown: Which of the settings of the data a report shows.
        no_leak: How it comes that nothing is known in training that is judged later, in a sentence.
        data: The settings by which the data were read.
        path: Where they came from.
        sha256: Of the file's bytes.
        size: How many rows the table has, or how many sequences there are.
        features: Names of the input columns, D.
        target: Name of what is predicted.
        notes: What was noticed while reading, a sentence each.
    """

    name: ClassVar[str]
    cases_are: ClassVar[str]
    parts_are: ClassVar[str]
    predictions_are: ClassVar[str] = "prediction"
    columns_are: ClassVar[str] = ""
    do_neighbours_depend: ClassVar[bool] = False
    losses_by_name: ClassVar[tuple[str, ...]]
    higher_is_better: ClassVar[frozenset[str]] = frozenset()
    floor_names: ClassVar[Mapping[str, str]] = {}
    simple_models: ClassVar[frozenset[str]] = frozenset({"ridge", "logistic"})
    has_own_networks: ClassVar[bool] = False
    can_leave_out: ClassVar[bool] = False
    settings_shown: ClassVar[tuple[str, ...]] = ()
    no_leak: ClassVar[str] = "All that was fitted saw the training part of its split alone."

    data: DataConfig
    path: str
    sha256: str
    size: int
    features: tuple[str, ...]
    target: str
    notes: tuple[str, ...]

    def completed(self, config: Config) -> Config:
        """Fill in what a configuration leaves to the task.

        Raises:
            ConfigError: If it asks for what the task does not have.
        """
        possible = self.possible_losses()
        loss: Any = config.training.loss or possible[0]
        require(loss in possible, "training.loss", f"one of {', '.join(possible)} where task is {self.name}", loss)
        return dataclasses.replace(config, training=dataclasses.replace(config.training, loss=loss))

    def possible_losses(self) -> tuple[str, ...]:
        """Return those of the losses that suit the data, the default first."""
        return self.losses_by_name

    @classmethod
    def loss_name(cls, training: TrainingConfig) -> str:
        """Return the name of the loss: the one that is configured, or the task's own."""
        return training.loss or cls.losses_by_name[0]

    # ---------------------------------------------------------------- data

    @classmethod
    @abstractmethod
    def read(cls, data: DataConfig, given: Any = None) -> Self:
        """Read the data.

        Args:
            data: Which they are.
            given: The data themselves, from Python, in place of those that ``data.path`` names.

        Raises:
            DataError: If they cannot be used.
        """

    @abstractmethod
    def splits(self, search: SearchConfig) -> Splits:
        """Return the splits of an experiment, of which none leaks.

        Raises:
            DataError: If there are too few cases; it says how many are needed.
        """

    @abstractmethod
    def hold_out(self) -> Split:
        """Return the split of a single fit: some cases train, some end the training, and the test is judged.

        Raises:
            DataError: If there are too few cases; it says how many are needed.
        """

    def fingerprint(self) -> Fingerprint:
        """Return by what it can be said which of the :attr:`parts_are` are others than they were."""
        return Fingerprint()

    def labels(self, cases: NDArray[np.int64]) -> list[str]:
        """Return how a reader knows each of some cases: its time, its name."""
        return [str(case) for case in cases]

    def groups(self, cases: NDArray[np.int64]) -> list[str]:
        """Return what each of some cases belongs to, by name; nothing where there are no groups."""
        return []

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of what is predicted, of which a row of predictions has all, step by step."""
        return (self.target,)

    def warnings(self, split: Split) -> list[str]:
        """Say what a reader must know who sees how a network does on the judged cases, a sentence each."""
        return []

    # ---------------------------------------------------------------- training

    @abstractmethod
    def encoder(self, split: Split) -> Encoder:
        """Return what the training cases of a split decide; nothing else is ever looked at."""

    @abstractmethod
    def encoded(self, encoder: Encoder) -> Cases:
        """Return all cases as a network reads them."""

    def batches(
        self, encoder: Encoder, cases: Cases, split: Split, *, batch_size: int, seed: int
    ) -> pl.LightningDataModule:
        """Return the cases of a split in batches, whose order the seed decides."""
        from lstmreg.data.module import CasesDataModule

        return CasesDataModule(cases, split.train, split.validation, batch_size=batch_size, seed=seed)

    @abstractmethod
    def network(self, model: ModelConfig) -> Any:
        """Return a new network of the sizes that the task needs; see :attr:`has_own_networks`."""

    @abstractmethod
    def criterion(self, training: TrainingConfig, encoder: Encoder) -> Criterion:
        """Return what is minimized: the mean loss of a batch of outputs and targets."""

    # ---------------------------------------------------------------- judging

    def outputs(self, network: Any, cases: Cases, numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return what a network gives for some cases, ``(M, ...)``."""
        import torch

        from lstmreg import models

        chosen = torch.from_numpy(numbers)
        inputs = torch.from_numpy(cases.inputs).index_select(0, chosen)
        lengths = None if cases.lengths is None else torch.from_numpy(cases.lengths).index_select(0, chosen)
        outputs: NDArray[np.float32] = models.outputs(network, inputs, lengths).numpy()
        return outputs

    @abstractmethod
    def predictions(self, encoder: Encoder, outputs: NDArray[np.float32], cases: NDArray[np.int64]) -> Values:
        """Return what a network's outputs ``(M, ...)`` for some cases mean, in the user's units."""

    @abstractmethod
    def truth(self, cases: NDArray[np.int64]) -> Values:
        """Return what should have been predicted of some cases, in the user's units."""

    @abstractmethod
    def floors(self, split: Split, cases: NDArray[np.int64]) -> dict[str, Values]:
        """Return predictions of some cases that need no network, from what may be known at the time, by name."""

    @abstractmethod
    def scales(self, encoder: Encoder, split: Split, cases: NDArray[np.int64]) -> dict[str, Any]:
        """Return what :meth:`losses` and :meth:`errors` must know beside predictions and truth, as JSON holds it.

        Args:
            encoder: That of the split.
            split: Whose training cases may be looked at.
            cases: Those that are judged.
        """

    def weights(self, cases: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """Return how much each of some cases counts ``(M,)``, positive; ``None`` where all count alike, as here."""
        return None

    def relative_weights(self, split: Split, cases: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """Return the same, so that the mean of those that train is 1."""
        weights, of_training = self.weights(cases), self.weights(split.train)
        return None if weights is None or of_training is None else weights / of_training.mean()

    def judging(self, encoder: Encoder, split: Split, cases: NDArray[np.int64]) -> dict[str, Any]:
        """Return :meth:`scales` and, as ``weights``, how much each case counts."""
        weights = self.relative_weights(split, cases)
        scales = self.scales(encoder, split, cases)
        return scales if weights is None else scales | {"weights": weights.tolist()}

    @classmethod
    def weighted_losses(
        cls, training: TrainingConfig, predictions: Values, truth: Values, scales: Mapping[str, Any]
    ) -> NDArray[np.float64]:
        """Return :meth:`losses`, times the weights of the cases."""
        losses = cls.losses(training, predictions, truth, scales)
        weights = weights_of(scales)
        return losses if weights is None else losses * weights

    @classmethod
    @abstractmethod
    def losses(
        cls, training: TrainingConfig, predictions: Values, truth: Values, scales: Mapping[str, Any]
    ) -> NDArray[np.float64]:
        """Return the loss of each case ``(M,)``, as a network is trained by it."""

    @classmethod
    @abstractmethod
    def errors(
        cls, training: TrainingConfig, predictions: Values, truth: Values, scales: Mapping[str, Any]
    ) -> dict[str, float]:
        """Return what readers of the field look at, by name; the first, which is lower where it is better, compares.

        Where ``scales`` has ``weights``, each case counts as much; see :func:`weights_of`.
        """

    # ---------------------------------------------------------------- out

    def groups_of(self, cases: NDArray[np.int64]) -> list[str] | None:
        """Return the group of each of some cases, where intervals are made for each group by itself."""
        return None

    def score_units(self, encoder: Encoder, cases: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """Return in which units the scores of some cases are kept ``(M, S)``, where not all cases have the same."""
        return None

    def scores(self, predictions: Values, truth: Values) -> NDArray[np.float64] | None:
        """Return how far predictions of some cases are from the truth ``(M, S)``, as the task's intervals measure it.

        Where it returns ``None``, as here, what is saved gives no intervals.
        """
        return None

    @abstractmethod
    def predictor(self, network: Any, encoder: Encoder, val_loss: float | None = None) -> Predictor:
        """Return what is saved: the network, and what it needs to predict from data like these."""
